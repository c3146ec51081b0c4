"""Lattice constant and equation of state of a crystal, by OpenMM and a NequIP model, from energies, stress and NPT.

Energy against volume with a Birch-Murnaghan fit, the pressure of the stress tensor against the same volumes, the volume
at which that pressure vanishes, and the mean volume at zero pressure under a Monte Carlo barostat. By default the
crystal is fcc argon and the model a Lennard-Jones potential that the script writes itself in the format of a scripted
NequIP model; ``--model`` and ``--structure`` take others. README.md explains.
Run: ``python run.py [--output DIR]``, or ``python run.py --quick`` for a look without the molecular dynamics.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import ase.build
import ase.io
import ase.units
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from ase import Atoms
from ase.eos import EquationOfState, birchmurnaghan
from matplotlib.figure import Figure
from openmmml import MLPotential
from scipy.optimize import brentq
from tqdm.auto import tqdm

from openmm_nequip.crystal import Crystal, fromAse
from openmm_nequip.stress import StressCalculator

#: Argon: Å and eV.
SIGMA, EPSILON, CUTOFF = 3.405, 0.01032, 10.0
ARGON_CONSTANT = 5.25
BAR_PER_GPA = 1e4
#: Steps between samples of the volume, and samples per block of the error bar.
SAMPLE_STEPS, BLOCKS = 10, 8


class LennardJones(torch.nn.Module):
    """Pair energies that fade smoothly at the cutoff, with the inputs and outputs of a scripted NequIP model."""

    def __init__(self, sigma: float, epsilon: float, cutoff: float) -> None:
        super().__init__()
        self.sigma, self.epsilon, self.cutoff = sigma, epsilon, cutoff

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Energy, forces and virial of one structure."""
        positions, cell = data["pos"], data["cell"].view(3, 3)
        centre, neighbor = data["edge_index"][0], data["edge_index"][1]
        vectors = positions[neighbor] - positions[centre] + data["edge_cell_shift"] @ cell
        r = torch.linalg.vector_norm(vectors, dim=1)
        x = (r / self.cutoff).clamp(max=1.0)
        fade = (1 - x) ** 3 * (1 + 3 * x + 6 * x**2)
        fade_slope = -30 * x**2 * (1 - x) ** 2 / self.cutoff
        s6 = (self.sigma / r) ** 6
        bare = 2 * self.epsilon * (s6 * s6 - s6)  # each pair comes twice
        bare_slope = 2 * self.epsilon * (6 * s6 - 12 * s6 * s6) / r
        atomic = torch.zeros_like(positions[:, 0]).index_add(0, centre, bare * fade)
        gradients = ((bare_slope * fade + bare * fade_slope) / r).unsqueeze(1) * vectors
        forces = torch.zeros_like(positions).index_add(0, centre, gradients).index_add(0, neighbor, -gradients)
        return {
            "total_energy": atomic.sum().view(1, 1),
            "atomic_energy": atomic.view(-1, 1),
            "forces": forces,
            "virial": -(vectors.t() @ gradients).view(1, 3, 3),
        }


def write_lennard_jones(path: Path) -> Path:
    """Write the model with the facts that ``nequip-compile --mode torchscript`` stores beside a network."""
    facts = {"r_max": str(CUTOFF), "type_names": "Ar", "model_dtype": "float64", "allow_tf32": "0"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls scripting deprecated
        torch.jit.save(torch.jit.script(LennardJones(SIGMA, EPSILON, CUTOFF)), str(path), _extra_files=facts)
    return path


@dataclass(frozen=True)
class Curve:
    """What was computed at each volume.

    Parameters
    ----------
    volumes : numpy.ndarray, (n,)
        Å^3 per atom.
    energies : numpy.ndarray, (n,)
        eV per atom.
    pressures : numpy.ndarray, (n,)
        GPa, from the stress tensor, atoms at rest.
    """

    volumes: np.ndarray
    energies: np.ndarray
    pressures: np.ndarray


class Cell:
    """A crystal in a Context, stretched or squeezed alike in all directions.

    Parameters
    ----------
    potential : MLPotential
        The model.
    atoms : ase.Atoms
        The crystal.
    relax : bool
        Whether to minimise the energy by the positions of the atoms at every volume.
    """

    def __init__(self, potential: MLPotential, atoms: Atoms, relax: bool) -> None:
        self.crystal: Crystal = fromAse(atoms)
        self._relax = relax
        system = potential.createSystem(self.crystal.topology)
        platform = openmm.Platform.getPlatformByName("Reference")
        self._context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        self._stress = StressCalculator(system)

    def at(self, scale: float) -> tuple[float, float, float]:
        """Volume (Å^3), energy (eV) and pressure (GPa), all per atom but the last, for a scale of the lengths."""
        count = self.crystal.topology.getNumAtoms()
        self._context.setPeriodicBoxVectors(*(self.crystal.box * scale))
        self._context.setPositions(self.crystal.positions * scale)
        if self._relax:
            openmm.LocalEnergyMinimizer.minimize(self._context, tolerance=0.01)
        state = self._context.getState(energy=True, positions=True, velocities=True)
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * ase.units.kJ / ase.units.mol
        volume = state.getPeriodicBoxVolume().value_in_unit(unit.angstrom**3)
        pressure = self._stress.compute(state).potentialPressure / BAR_PER_GPA
        return volume / count, energy / count, pressure

    def curve(self, strain: float, points: int) -> Curve:
        """Energy and pressure at volumes whose lengths are within ``strain`` of the given ones."""
        scales = np.cbrt(np.linspace((1 - strain) ** 3, (1 + strain) ** 3, points))
        return Curve(*np.array([self.at(scale) for scale in tqdm(scales, desc="volumes")]).T)

    def scale_without_pressure(self, strain: float) -> float:
        """Scale of the lengths at which the pressure of the stress tensor vanishes."""
        low, high = self.at(1 - strain)[2], self.at(1 + strain)[2]
        if low < 0 or high > 0:
            raise SystemExit(
                f"the pressure is {low:.3f} and {high:.3f} GPa at the ends and does not vanish in between; start "
                "nearer to equilibrium, or give a larger --strain"
            )
        return brentq(lambda scale: self.at(scale)[2], 1 - strain, 1 + strain, xtol=1e-8)


def volume_under_barostat(
    potential: MLPotential, atoms: Atoms, supercell: int, temperature: float, samples: int
) -> tuple[float, float]:
    """Mean volume per atom (Å^3) at zero pressure, and its standard error from means of blocks."""
    crystal = fromAse(atoms, supercell)
    system = potential.createSystem(crystal.topology)
    barostat = openmm.MonteCarloBarostat(0.0, temperature, 5)
    barostat.setRandomNumberSeed(1)
    system.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, 0.005)
    integrator.setRandomNumberSeed(2)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(crystal.topology, system, integrator, platform)
    simulation.context.setPositions(crystal.positions)
    simulation.context.setVelocitiesToTemperature(temperature, 3)
    volumes = []
    for _ in tqdm(range(samples), desc=f"{temperature:g} K"):
        simulation.step(SAMPLE_STEPS)
        volumes.append(simulation.context.getState().getPeriodicBoxVolume().value_in_unit(unit.angstrom**3))
    kept = np.array(volumes[samples // 4 :]) / crystal.topology.getNumAtoms()
    blocks = np.array([block.mean() for block in np.array_split(kept, BLOCKS)])
    return float(kept.mean()), float(blocks.std(ddof=1) / np.sqrt(BLOCKS))


def draw(path: Path, curve: Curve, fit: tuple[float, ...], hot: list[dict[str, float]], title: str) -> None:
    """Energy, pressure and, where there was dynamics, volume against temperature."""
    energy_0, bulk, slope, volume_0 = fit
    figure = Figure(figsize=(4.2 * (2 + bool(hot)), 3.4), layout="constrained")
    axes = figure.subplots(1, 2 + bool(hot))
    fine = np.linspace(curve.volumes.min(), curve.volumes.max(), 200)
    energies = birchmurnaghan(fine, energy_0, bulk, slope, volume_0)
    axes[0].plot(fine, energies, color="tab:blue", lw=1.5, label="Birch-Murnaghan fit")
    axes[0].plot(curve.volumes, curve.energies, "o", color="black", ms=4, label="energy in OpenMM")
    axes[0].axvline(volume_0, color="grey", lw=1, ls="--")
    axes[0].set_ylabel("energy (eV/atom)")
    axes[1].plot(
        fine, -np.gradient(energies, fine) / ase.units.GPa, color="tab:blue", lw=1.5, label="-dE/dV of the fit"
    )
    axes[1].plot(curve.volumes, curve.pressures, "o", color="black", ms=4, label="from the stress tensor")
    axes[1].axhline(0, color="grey", lw=1)
    axes[1].axvline(volume_0, color="grey", lw=1, ls="--")
    axes[1].set_ylabel("pressure (GPa)")
    for axis in axes[:2]:
        axis.set_xlabel("volume (Å³/atom)")
        axis.legend(frameon=False, fontsize=8)
    if hot:
        temperatures, volumes, errors = ([row[key] for row in hot] for key in ("temperature_k", "volume", "error"))
        axes[2].errorbar(temperatures, volumes, errors, fmt="o", color="tab:red", ms=4, capsize=3, label="NPT, 0 bar")
        axes[2].plot(0, volume_0, "s", color="tab:blue", ms=5, label="minimum of the fit")
        axes[2].set_xlabel("temperature (K)")
        axes[2].set_ylabel("volume (Å³/atom)")
        axes[2].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=90)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="model file (default: a Lennard-Jones model of argon, written to --output)")
    parser.add_argument("--structure", help="CIF, POSCAR, extxyz, ... (default: fcc argon)")
    parser.add_argument("--length-unit", default="angstrom", help="the model's unit of length")
    parser.add_argument("--energy-unit", default="eV", help="the model's unit of energy")
    parser.add_argument("--strain", type=float, default=0.03, help="largest change of the lengths (default: 0.03)")
    parser.add_argument("--points", type=int, default=15, help="volumes on the curve (default: 15)")
    parser.add_argument("--relax", action="store_true", help="minimise by the atoms' positions at every volume")
    parser.add_argument("--supercell", type=int, default=2, help="cells along each vector in the dynamics (default: 2)")
    parser.add_argument("--temperatures", type=float, nargs="*", default=[5.0, 15.0, 30.0], metavar="K")
    parser.add_argument("--samples", type=int, default=600, help=f"of the volume, every {SAMPLE_STEPS} steps of 5 fs")
    parser.add_argument("--quick", action="store_true", help="no dynamics")
    parser.add_argument("--output", type=Path, default=Path("equation-of-state"), help="folder (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if (arguments.model is None) != (arguments.structure is None):
        parser.error("give both --model and --structure, or neither")
    if arguments.points < 5 or not 0 < arguments.strain < 0.2:
        parser.error("a fit needs --points of at least 5 and a --strain between 0 and 0.2")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Compute, fit, draw, print."""
    arguments = parse(argv)
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.model is None:
        atoms, name = ase.build.bulk("Ar", "fcc", ARGON_CONSTANT, cubic=True), "fcc argon, Lennard-Jones"
        path: Path | str = write_lennard_jones(arguments.output / "lennard-jones.nequip.pth")
    else:
        atoms, path = ase.io.read(arguments.structure), arguments.model
        name = f"{atoms.get_chemical_formula()}, {Path(arguments.model).name}"
    potential = MLPotential(
        "nequip", modelPath=str(path), lengthUnit=arguments.length_unit, energyUnit=arguments.energy_unit
    )
    cell = Cell(potential, atoms, arguments.relax)
    curve = cell.curve(arguments.strain, arguments.points)
    fitted = EquationOfState(curve.volumes, curve.energies, eos="birchmurnaghan")
    volume_0, energy_0, bulk = fitted.fit(warn=False)
    scale = cell.scale_without_pressure(arguments.strain)
    lengths = atoms.cell.lengths()
    hot = []
    for temperature in [] if arguments.quick else arguments.temperatures:
        mean, error = volume_under_barostat(potential, atoms, arguments.supercell, temperature, arguments.samples)
        hot.append({"temperature_k": temperature, "volume": mean, "error": error})
    draw(arguments.output / "picture.png", curve, tuple(fitted.eos_parameters), hot, name)
    results = {
        "crystal": name,
        "volume_of_fit": volume_0,
        "volume_without_pressure": cell.at(scale)[0],
        "lattice_constants_of_fit": (lengths * np.cbrt(volume_0 * len(atoms) / atoms.get_volume())).tolist(),
        "lattice_constants_without_pressure": (lengths * scale).tolist(),
        "energy_ev_per_atom": energy_0,
        "bulk_modulus_gpa": bulk / ase.units.GPa,
        "bulk_modulus_derivative": fitted.eos_parameters[2],
        "volumes": curve.volumes.tolist(),
        "energies": curve.energies.tolist(),
        "pressures_gpa": curve.pressures.tolist(),
        "npt": hot,
        "versions": {package: version(package) for package in ("openmm", "torch", "ase")},
    }
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"{name}: volumes in Å^3 per atom")
    print(f"  fit       V0 = {volume_0:.5f}, a, b, c = {np.round(results['lattice_constants_of_fit'], 5)} Å")
    print(f"            E0 = {energy_0:.6f} eV/atom, B0 = {results['bulk_modulus_gpa']:.4f} GPa, "
          f"B0' = {results['bulk_modulus_derivative']:.3f}")  # fmt: skip
    print(f"  stress=0  V0 = {results['volume_without_pressure']:.5f}, a, b, c = {np.round(lengths * scale, 5)} Å")
    for row in hot:
        print(f"  {row['temperature_k']:5g} K   V  = {row['volume']:.4f} ± {row['error']:.4f}")
    print(f"results.json and picture.png are in {arguments.output}")


if __name__ == "__main__":
    main()
