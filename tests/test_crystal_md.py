"""Dynamics of a crystal: constant energy, and the lattice constant that each of OpenMM's barostats finds."""

from __future__ import annotations

import ase.build
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from crystals import random_rotation, rotated
from openmmml import MLPotential
from scipy.optimize import minimize_scalar
from toy import reference_energy, write_toy

from openmm_nequip.crystal import fromAse
from openmm_nequip.stress import StressCalculator

pytestmark = pytest.mark.slow

#: K: cold enough for thermal expansion (some 1e-5 of the lattice constant) to vanish in the error bars.
COLD = 0.05
#: Largest error bar of a lattice constant that the runs must reach, relative.
ERROR_BAR = 4e-4
#: Error bars between a mean and the minimum of the energy.
ERROR_BARS = 4.0
FRAMES, DISCARDED, BLOCKS = 260, 60, 5
STEPS_PER_FRAME, BAROSTAT_STEPS = 10, 2
#: kJ/mol per atom: how far the total energy may move in 2 ps at 40 K, where the kinetic energy moves by 0.2.
TOTAL_ENERGY = 2e-4
#: bar: at the minimum the pressure vanishes; the bulk modulus is some 25000 bar.
ZERO_PRESSURE = 1.0


@pytest.fixture(scope="module")
def argon(tmp_path_factory):
    """Potential, and the lattice constant (Å) at the minimum of its energy by brute force over images."""
    path = write_toy(tmp_path_factory.mktemp("argon") / "toy.pth", types="Ar")

    def energy(constant):
        atoms = ase.build.bulk("Ar", "fcc", constant, cubic=True)
        return reference_energy(atoms.positions / 10, atoms.cell[:] / 10)

    best = minimize_scalar(energy, bounds=(5.0, 5.6), method="bounded", options={"xatol": 1e-7})
    return MLPotential("nequip", modelPath=str(path)), best.x


def make_simulation(potential, crystal, temperature, barostat=None):
    """A Simulation on the Reference platform: Langevin with a barostat, leapfrog without."""
    system = potential.createSystem(crystal.topology, backend="PythonForce")
    integrator = openmm.VerletIntegrator(0.002)
    if barostat is not None:
        barostat.setRandomNumberSeed(5)
        system.addForce(barostat)
        integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.01)
        integrator.setRandomNumberSeed(6)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(crystal.topology, system, integrator, platform)
    simulation.context.setPositions(crystal.positions)
    simulation.context.setVelocitiesToTemperature(temperature, 7)
    return simulation


def mean_and_error(values):
    """Mean of (n, ...) values and its standard error from the means of blocks."""
    blocks = np.array([block.mean(axis=0) for block in np.array_split(np.asarray(values), BLOCKS)])
    return blocks.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS)


def test_pressure_vanishes_at_the_minimum(argon):
    potential, constant = argon
    crystal = fromAse(ase.build.bulk("Ar", "fcc", constant))
    calculator = StressCalculator(potential.createSystem(crystal.topology, backend="PythonForce"))
    stress = calculator.potential(crystal.positions._value, crystal.box._value)
    assert np.abs(stress).max() < ZERO_PRESSURE
    squeezed = calculator.potential(crystal.positions._value * 0.99, crystal.box._value * 0.99)
    assert -np.trace(squeezed) / 3 > 300 and np.allclose(squeezed, squeezed[0, 0] * np.eye(3), atol=ZERO_PRESSURE)


BAROSTATS = {
    "isotropic": lambda: openmm.MonteCarloBarostat(0.0, COLD, BAROSTAT_STEPS),
    "anisotropic": lambda: openmm.MonteCarloAnisotropicBarostat(
        openmm.Vec3(0, 0, 0), COLD, True, True, True, BAROSTAT_STEPS
    ),
}


@pytest.mark.parametrize("kind", BAROSTATS)
def test_lattice_constant_of_a_cubic_cell(argon, kind):
    """Four atoms, one cell that is smaller than the cutoff, started 0.5 % too small."""
    potential, constant = argon
    crystal = fromAse(ase.build.bulk("Ar", "fcc", 0.995 * constant, cubic=True))
    simulation = make_simulation(potential, crystal, COLD, BAROSTATS[kind]())
    assert len(simulation.context.getMolecules()) == 4, "every atom is scaled by itself"
    edges = []
    for _ in range(FRAMES):
        simulation.step(STEPS_PER_FRAME)
        box = np.array(simulation.context.getState().getPeriodicBoxVectors().value_in_unit(unit.angstrom))
        assert np.array_equal(box, np.diag(np.diag(box)))
        edges.append(np.diag(box))
    mean, error = mean_and_error(edges[DISCARDED:])
    assert (error < ERROR_BAR * constant).all()
    assert (np.abs(mean - constant) < ERROR_BARS * error).all(), (mean, error, constant)


def test_cell_of_a_triclinic_crystal_with_the_flexible_barostat(argon, tmp_path):
    """The primitive cell has angles of 60 degrees, b_x = a_x/2: the barostat goes over the edge of the reduced form and
    back. The user's vectors, in the user's frame, are followed through a DCD file all the same."""
    potential, constant = argon
    rotation = random_rotation(3)
    ideal = rotated(ase.build.bulk("Ar", "fcc", constant), rotation)
    start = ideal.copy()
    start.set_cell(ideal.cell[:] * 0.995, scale_atoms=True)
    crystal = fromAse(start, 2)
    barostat = openmm.MonteCarloFlexibleBarostat(0.0, COLD, BAROSTAT_STEPS)
    simulation = make_simulation(potential, crystal, COLD, barostat)
    path = tmp_path / "trajectory.dcd"
    simulation.reporters.append(app.DCDReporter(str(path), STEPS_PER_FRAME))
    boxes = []
    for _ in range(FRAMES):
        simulation.step(STEPS_PER_FRAME)
        boxes.append(simulation.context.getState().getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
    flips = np.sign([box[1, 0] for box in boxes])
    assert len(set(flips)) == 2, "the run must go over the edge"
    del simulation.reporters[:]
    frames = crystal.trajectoryToUser(path)
    assert len(frames) == FRAMES
    mean, error = mean_and_error([frame.cell[:] / 2 for frame in frames[DISCARDED:]])
    # The frame of a flexible box is fixed by a along x, so shear shows in b and c: compare lengths and angles.
    metric = mean @ mean.T
    expected = ideal.cell[:] @ ideal.cell[:].T
    assert (error < ERROR_BAR * constant).all()
    assert (np.abs(metric - expected) < ERROR_BARS * 2 * np.linalg.norm(mean, axis=1).max() * error.max()).all()
    assert np.abs(mean - ideal.cell[:]).max() < 2 * ERROR_BARS * error.max()
    # Every atom has the same neighbours in the user's cell as in OpenMM's box.
    last = frames[-1]
    assert np.isclose(last.get_volume(), np.linalg.det(boxes[-1]) * 1000, rtol=1e-5)
    distances = last.get_all_distances(mic=True)[np.triu_indices(8, 1)]
    assert distances.min() == pytest.approx(constant / np.sqrt(2), rel=0.02)
    in_openmm = crystal.topology
    assert in_openmm.getNumAtoms() == len(last) == 8


def test_constant_energy(argon):
    potential, constant = argon
    crystal = fromAse(rotated(ase.build.bulk("Ar", "fcc", constant), random_rotation(8)), (2, 2, 3))
    simulation = make_simulation(potential, crystal, 40.0)
    totals, kinetic = [], []
    for _ in range(100):
        simulation.step(10)
        state = simulation.context.getState(energy=True)
        kinetic.append(state.getKineticEnergy()._value / 12)
        totals.append(state.getPotentialEnergy()._value / 12 + kinetic[-1])
    assert np.ptp(totals) < TOTAL_ENERGY < 0.05 * np.ptp(kinetic)
