"""Frames of alanine dipeptide with the energies and forces of the shipped NequIP model, as TorchMD-Net's Custom reads.

    python label.py [frames]

The model is run at 400 K, one frame every 50 fs; energies are those of the frame less the mean, eV and eV/Å.
"""

import sys
from importlib.resources import files

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from openmmml import MLPotential

EV, EV_PER_ANGSTROM = 96.48533212331002, 964.8533212331002  # in kJ/mol and kJ/mol/nm


def main(n_frames):
    """Write coordinates.npy, numbers.npy, energies.npy and forces.npy."""
    shipped = files("openmm_nequip.data")
    pdb = app.PDBFile(str(shipped / "alanine-dipeptide.pdb"))
    system = MLPotential("nequip", modelPath=str(shipped / "alanine-dipeptide.nequip.zip")).createSystem(pdb.topology)
    integrator = openmm.LangevinMiddleIntegrator(400 * unit.kelvin, 10 / unit.picosecond, 0.5 * unit.femtosecond)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(pdb.topology, system, integrator)
    simulation.context.setPositions(pdb.positions)
    simulation.context.setVelocitiesToTemperature(400 * unit.kelvin, 1)
    positions, energies, forces = [], [], []
    for _ in range(n_frames):
        simulation.step(100)
        state = simulation.context.getState(positions=True, energy=True, forces=True)
        positions.append(state.getPositions(asNumpy=True)._value * 10)
        energies.append(state.getPotentialEnergy()._value / EV)
        forces.append(state.getForces(asNumpy=True)._value / EV_PER_ANGSTROM)
    np.save("coordinates.npy", np.array(positions, dtype=np.float32))
    np.save("energies.npy", np.array(energies, dtype=np.float64)[:, None] - np.mean(energies))
    np.save("forces.npy", np.array(forces, dtype=np.float32))
    np.save("numbers.npy", np.array([atom.element.atomic_number for atom in pdb.topology.atoms()]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
