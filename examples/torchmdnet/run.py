"""Dynamics with a model that TorchMD-Net has trained, and how far it is from the model that it learned from.

    python run.py CHECKPOINT [steps]
"""

import sys
from importlib.resources import files

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from openmmml import MLPotential

EV_PER_ANGSTROM = 964.8533212331002  # kJ/mol/nm


def main(checkpoint, steps):
    """Print the error of the forces on the last frames, and run."""
    pdb = app.PDBFile(str(files("openmm_nequip.data") / "alanine-dipeptide.pdb"))
    # The data set was Custom: nothing in the checkpoint says its units.
    potential = MLPotential("nequip", modelPath=checkpoint, lengthUnit="angstrom", energyUnit="eV")
    system = potential.createSystem(pdb.topology)
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 5 / unit.picosecond, 0.5 * unit.femtosecond)
    simulation = app.Simulation(pdb.topology, system, integrator)
    frames, forces = np.load("coordinates.npy")[-10:], np.load("forces.npy")[-10:]
    errors = []
    for frame, expected in zip(frames, forces, strict=True):
        simulation.context.setPositions(frame * 0.1)
        found = simulation.context.getState(forces=True).getForces(asNumpy=True)._value
        errors.append(np.abs(found / EV_PER_ANGSTROM - expected).mean())
    size = 1000 * np.abs(forces).mean()
    print(f"forces: mean absolute error {1000 * np.mean(errors):.0f} meV/Å, mean size {size:.0f}")
    simulation.context.setPositions(frames[-1] * 0.1)
    simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
    simulation.reporters.append(
        app.StateDataReporter(sys.stdout, max(1, steps // 10), step=True, potentialEnergy=True, temperature=True)
    )
    simulation.step(steps)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
