"""Geometries of alanine dipeptide in vacuum with GFN2-xTB energies and forces, as extended XYZ.

Each start is a piece of amber14 MD under random phi/psi restraints, which spreads the frames over the whole torsion
map. From there a short GFN2-xTB Langevin run lets bonds and angles forget amber's equilibrium values. A few raw amber
frames, randomly displaced frames and frames on the way to a GFN2-xTB minimum are added.
"""

import argparse

import ase.io
import numpy as np
import openmm as mm
from ase import units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS
from common import PDB, gfn2, labelled, load_molecule
from openmm import app, unit
from tqdm import tqdm


def restrained_simulation(topology, positions, torsions, seed):
    """An amber14 vacuum simulation with an adjustable restraint k*(1-cos(theta-theta0)) on phi and psi.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : numpy.ndarray
        In angstrom.
    torsions : array_like
        Atom indices, shape (2, 4).
    seed : int

    Returns
    -------
    simulation : openmm.app.Simulation
    force : openmm.CustomTorsionForce
        Parameters k (kJ/mol) and theta0 (rad).
    """
    system = app.ForceField("amber14-all.xml").createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=None)
    force = mm.CustomTorsionForce("k*(1-cos(theta-theta0))")
    force.addPerTorsionParameter("k")
    force.addPerTorsionParameter("theta0")
    for quadruple in torsions:
        force.addTorsion(*(int(i) for i in quadruple), [0.0, 0.0])
    system.addForce(force)
    integrator = mm.LangevinMiddleIntegrator(300 * unit.kelvin, 5 / unit.picosecond, 0.5 * unit.femtosecond)
    integrator.setRandomNumberSeed(seed)
    # Reference is the fastest platform for so few atoms.
    simulation = app.Simulation(topology, system, integrator, mm.Platform.getPlatform("Reference"))
    simulation.context.setPositions(positions * unit.angstrom)
    simulation.minimizeEnergy()
    return simulation, force


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="extended XYZ file to write")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--starts", type=int, default=230, help="restrained pieces of amber MD")
    parser.add_argument("--max-force", type=float, default=25.0, help="leave out frames with a larger force, eV/A")
    parser.add_argument("--pdb", default=str(PDB))
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    topology, atoms, torsions = load_molecule(options.pdb)
    simulation, restraint = restrained_simulation(topology, atoms.get_positions(), torsions, options.seed)
    atoms.calc = gfn2()
    frames, failed = [], 0

    for _ in tqdm(range(options.starts), desc=f"seed {options.seed}", mininterval=5):
        simulation.integrator.setTemperature(float(rng.choice([300.0, 500.0, 800.0])))
        for k, quadruple in enumerate(torsions):
            parameters = [float(rng.choice([20.0, 100.0])), float(rng.uniform(-np.pi, np.pi))]
            restraint.setTorsionParameters(k, *(int(i) for i in quadruple), parameters)
        restraint.updateParametersInContext(simulation.context)
        simulation.step(1500)
        state = simulation.context.getState(positions=True)
        start = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        temperature = float(rng.choice([300.0, 400.0, 600.0, 900.0], p=[0.3, 0.3, 0.25, 0.15]))
        displace, keep_amber, relax = rng.random(3) < (0.35, 0.3, 0.25)
        try:
            if displace:
                atoms.positions = start + rng.standard_normal(start.shape) * rng.choice([0.02, 0.05, 0.08])
                frames.append(labelled(atoms, "displaced"))
            atoms.positions = start
            if keep_amber:
                frames.append(labelled(atoms, "amber"))
            if relax:
                optimizer = BFGS(atoms, logfile=None)
                for steps in (8, 24):
                    optimizer.run(fmax=1e-3, steps=steps)
                    frames.append(labelled(atoms, "relaxing"))
                atoms.positions = start
            thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
            bath = {"temperature_K": temperature, "friction": 0.02 / units.fs, "rng": rng, "fixcm": False}
            md = Langevin(atoms, 0.5 * units.fs, **bath)
            for _ in range(4):
                md.run(30)
                frames.append(labelled(atoms, f"gfn2_{temperature:.0f}K"))
        except Exception as error:  # an SCF that does not converge must not end the run
            failed += 1
            tqdm.write(f"start left out: {error}")

    frames = [frame for frame in frames if np.abs(frame.get_forces()).max() < options.max_force]
    ase.io.write(options.output, frames, format="extxyz")
    print(f"{options.output}: {len(frames)} frames, {failed} failed starts")


if __name__ == "__main__":
    main()
