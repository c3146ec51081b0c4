"""Molecular dynamics of one molecule with a compiled NequIP model, as short as it can be (an OpenMM PythonForce)."""

import subprocess
import sys

import numpy as np
import openmm as mm
import torch
from nequip.integrations.ase import NequIPCalculator
from nequip.model.saved_models import load_saved_model
from nequip.utils.global_state import set_global_state
from openmm import unit
from tqdm import tqdm

EV = 96.48533212331  # kJ/mol


def compile_model(package, output):
    """Run nequip-compile (AOTInductor, CPU) on a model package."""
    code = "from nequip.scripts.compile import main; main()"
    arguments = [str(package), str(output), "--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


class Potential:
    """Energy and forces of a molecule in vacuum.

    Parameters
    ----------
    path : path-like
        A ``.nequip.pt2`` file, compiled for the CPU with the target ``ase``, or a ``.nequip.zip`` package, whose eager
        model is slower but needs no compilation.
    symbols : list of str
        Element symbols, which are the model's type names.
    r_max : float
        Cutoff of the model in angstrom.
    """

    def __init__(self, path, symbols, r_max=4.5):
        if str(path).endswith(".zip"):
            set_global_state()
            self.model = load_saved_model(str(path)).eval()
        else:
            self.model = NequIPCalculator.from_compiled_model(str(path), device="cpu").model
        self.r_max = r_max
        self.pairs = np.array(np.where(~np.eye(len(symbols), dtype=bool)))
        self.fixed = {
            "atom_types": torch.tensor([["H", "C", "N", "O"].index(symbol) for symbol in symbols]),
            "cell": 30.0 * torch.eye(3, dtype=torch.float64).view(1, 3, 3),
            "pbc": torch.zeros(1, 3, dtype=torch.bool),
        }

    def __call__(self, positions):
        """Energy (eV) and forces (eV/angstrom) for positions (angstrom)."""
        i, j = self.pairs
        near = np.linalg.norm(positions[i] - positions[j], axis=1) < self.r_max
        # Contiguous, because compiled code trusts the strides that it was compiled for and else reads wrong edges.
        edges = torch.from_numpy(np.ascontiguousarray(self.pairs[:, near]))
        shifts = torch.zeros(edges.shape[1], 3, dtype=torch.float64)
        inputs = {"pos": torch.from_numpy(positions), "edge_index": edges, "edge_cell_shift": shifts, **self.fixed}
        output = self.model(inputs)
        return output["total_energy"].item(), output["forces"].detach().numpy()

    def compute(self, state):
        """The callback of openmm.PythonForce: energy (kJ/mol) and forces (kJ/mol/nm)."""
        energy, forces = self(np.ascontiguousarray(state.getPositions(asNumpy=True)._value * 10.0))
        return energy * EV, forces * (10.0 * EV)


def context(topology, potential, integrator):
    """An OpenMM context in which the model is the only force."""
    system = mm.System()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
    system.addForce(mm.PythonForce(potential.compute))
    return mm.Context(system, integrator, mm.Platform.getPlatform("Reference"))


def langevin(topology, potential, positions, picoseconds, seed, temperature=300.0, every=100, label=""):
    """Langevin dynamics with a step of 0.5 fs and a friction of 1/ps.

    Parameters
    ----------
    topology : openmm.app.Topology
    potential : Potential
    positions : numpy.ndarray
        Start, in angstrom.
    picoseconds : float
        Length of the run.
    seed : int
        Of the integrator and the velocities.
    temperature : float
        In kelvin.
    every : int
        Steps between the frames that are kept.
    label : str
        For the progress bar.

    Returns
    -------
    frames : numpy.ndarray
        Positions in angstrom, shape (frames, atoms, 3); ends early when a bond is beyond doubt broken.
    temperatures : numpy.ndarray
        Instantaneous temperature of each frame in kelvin.
    """
    integrator = mm.LangevinMiddleIntegrator(temperature * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    run = context(topology, potential, integrator)
    run.setPositions(positions * unit.angstrom)
    mm.LocalEnergyMinimizer.minimize(run, 10.0, 100)
    run.setVelocitiesToTemperature(temperature * unit.kelvin, seed)
    bonds = np.array([(bond[0].index, bond[1].index) for bond in topology.bonds()])
    frames, temperatures = [], []
    for _ in tqdm(range(round(picoseconds * 2000 / every)), desc=label, mininterval=10):
        integrator.step(every)
        state = run.getState(positions=True, energy=True)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        frames.append(x)
        temperatures.append(2 * state.getKineticEnergy()._value / (x.size * 8.31446261815324e-3))
        lengths = np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)
        if not (np.all(lengths < 2.5) and np.all(lengths > 0.6)):
            break
    return np.array(frames), np.array(temperatures)


def nve(topology, potential, positions, picoseconds, seed, temperature=300.0, every=100):
    """Total energy (kJ/mol) along a velocity Verlet run with a step of 0.5 fs, every `every` steps."""
    integrator = mm.VerletIntegrator(0.5 * unit.femtosecond)
    run = context(topology, potential, integrator)
    run.setPositions(positions * unit.angstrom)
    run.setVelocitiesToTemperature(temperature * unit.kelvin, seed)
    energies = []
    for _ in tqdm(range(round(picoseconds * 2000 / every)), desc="NVE", mininterval=10):
        integrator.step(every)
        state = run.getState(energy=True)
        energies.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
    return np.array(energies)
