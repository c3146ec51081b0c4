"""The same in OpenMM: constant energy from where ASE stood, step for step the same, then Langevin for production."""

from __future__ import annotations

import argparse

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.io.trajectory import Trajectory
from openmmml import MLPotential

from openmm_nequip.crystal import fromAse
from openmm_nequip.units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM

TEMPERATURE_K = 300
STEP_FS = 0.5
FRICTION_PER_PS = 10
#: One nm/ps in ASE's unit of velocity, Å per ASE time unit.
ASE_VELOCITY = 1 / NM_PER_ANGSTROM / (1000 * units.fs)


class Start:
    """What OpenMM needs of ASE's atoms: topology, positions (nm) and velocities (nm/ps) in its own frame.

    Parameters
    ----------
    atoms : ase.Atoms
        Without periodicity, or periodic in all directions with any cell.
    """

    def __init__(self, atoms: Atoms) -> None:
        self.rotation = np.eye(3)
        if atoms.pbc.any():
            crystal = fromAse(atoms)  # the cell in OpenMM's form, and the rotation that this takes
            self.topology, self.rotation = crystal.topology, crystal.rotation
        else:
            self.topology = app.Topology()
            residue = self.topology.addResidue("MOL", self.topology.addChain())
            for number in atoms.numbers.tolist():
                element = app.Element.getByAtomicNumber(number)
                self.topology.addAtom(element.symbol, element, residue)
        self.positions = atoms.positions @ self.rotation.T * NM_PER_ANGSTROM
        self.velocities = atoms.get_velocities() @ self.rotation.T / ASE_VELOCITY


def velocity_verlet(step: unit.Quantity) -> openmm.CustomIntegrator:
    """ASE's integrator. OpenMM's own VerletIntegrator keeps its velocities half a step behind the positions."""
    integrator = openmm.CustomIntegrator(step)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
    integrator.addComputePerDof("x", "x + dt*v")
    integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
    return integrator


def to_ase(state: openmm.State, atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """A state as ASE's atoms with energy and forces, in ASE's units and in the frame of ``atoms``."""
    frame = atoms.copy()
    frame.positions = state.getPositions(asNumpy=True)._value @ rotation / NM_PER_ANGSTROM
    frame.set_velocities(state.getVelocities(asNumpy=True)._value @ rotation * ASE_VELOCITY)
    forces = state.getForces(asNumpy=True)._value @ rotation * (NM_PER_ANGSTROM / KJ_PER_MOL_PER_EV)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_PER_MOL_PER_EV
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
    return frame


def main() -> None:
    """Write ``openmm.traj``, every step at constant energy, and ``production.dcd`` with ``production.csv``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", help="any trajectory ASE reads; its last frame is taken")
    parser.add_argument("model", help="the same file as in ASE, or any other of the same model")
    parser.add_argument("--nve-steps", type=int, default=100)
    parser.add_argument("--langevin-steps", type=int, default=2000)
    arguments = parser.parse_args()

    atoms = read(arguments.start)
    start = Start(atoms)
    potential = MLPotential("nequip", modelPath=arguments.model)
    system = potential.createSystem(start.topology, removeCMMotion=False)
    for index, mass in enumerate(atoms.get_masses()):
        system.setParticleMass(index, mass)

    simulation = app.Simulation(start.topology, system, velocity_verlet(STEP_FS * unit.femtosecond))
    simulation.context.setPositions(start.positions)
    simulation.context.setVelocities(start.velocities)
    with Trajectory("openmm.traj", "w") as trajectory:
        for step in range(arguments.nve_steps + 1):
            if step:
                simulation.step(1)
            state = simulation.context.getState(positions=True, velocities=True, forces=True, energy=True)
            frame = to_ase(state, atoms, start.rotation)
            trajectory.write(frame)
    print(f"openmm.traj: {arguments.nve_steps} steps, total energy at the end {frame.get_total_energy():.6f} eV")

    langevin = openmm.LangevinMiddleIntegrator(
        TEMPERATURE_K * unit.kelvin, FRICTION_PER_PS / unit.picosecond, STEP_FS * unit.femtosecond
    )
    production = app.Simulation(start.topology, system, langevin)
    production.context.setState(state)
    production.reporters.append(app.DCDReporter("production.dcd", 20, enforcePeriodicBox=False))
    production.reporters.append(
        app.StateDataReporter("production.csv", 20, time=True, potentialEnergy=True, temperature=True)
    )
    production.step(arguments.langevin_steps)
    print(f"production.dcd, production.csv: {arguments.langevin_steps} steps at {TEMPERATURE_K} K")


if __name__ == "__main__":
    main()
