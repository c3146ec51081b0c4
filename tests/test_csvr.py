"""Stochastic velocity rescaling: the canonical ensemble's mean and fluctuation, with and without constraints."""

from __future__ import annotations

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest

from openmm_nequip import csvr_integrator
from openmm_nequip.reporters import degrees_of_freedom
from openmm_nequip.units import GAS_CONSTANT

KELVIN, TAU_PS = 300.0, 0.01
#: Means and variances are right within so many of their own standard errors, which come from blocks.
ERRORS, BLOCKS = 4.0, 25
#: A factor of one part in this is an error of rounding, not of the constraints.
CONSTRAINT_NM = 1e-5


def oscillators(count=10):
    """Uncoupled, each stiffer than the one before; the last one has no mass and does not move."""
    system, force = openmm.System(), openmm.CustomExternalForce("0.5*k*(x^2+y^2+z^2)")
    force.addPerParticleParameter("k")
    for i in range(count):
        system.addParticle(12.0)
        force.addParticle(i, [1000.0 * (1 + i)])
    system.addParticle(0.0)
    system.addForce(force)
    return system, np.random.default_rng(0).normal(0, 0.03, (count + 1, 3)), 0.001


def rigid_water(edge=2):
    """Waters on a grid, rigid, with the motion of their centre taken out."""
    topology, positions = app.Topology(), []
    chain = topology.addChain()
    for place in np.ndindex(edge, edge, edge):
        residue = topology.addResidue("HOH", chain)
        oxygen, *hydrogens = (topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in ("O", "H1", "H2"))
        for hydrogen in hydrogens:
            topology.addBond(oxygen, hydrogen)
        corner = 0.31 * np.array(place)
        positions += [corner, corner + (0.09572, 0, 0), corner + (-0.023999, 0.092663, 0)]
    system = app.ForceField("tip3p.xml").createSystem(topology, rigidWater=True)
    # What leaves the drop would be gone: a soft wall keeps the waters together and acts on none of the momenta's sums.
    wall = openmm.CustomCentroidBondForce(2, "20*max(0, distance(g1, g2)-0.5)^2")
    groups = [wall.addGroup([3 * i]) for i in range(edge**3)]
    for i in groups:
        for j in groups[:i]:
            wall.addBond([i, j])
    system.addForce(wall)
    return system, np.array(positions), 0.002


def kinetic_energies(system, positions, step, samples, every):
    integrator = csvr_integrator(system, KELVIN * unit.kelvin, TAU_PS, step * unit.picosecond, seed=5)
    # What a run writes and reads back is the same integrator.
    integrator = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(integrator))
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.applyConstraints(1e-8)
    context.setVelocitiesToTemperature(KELVIN, 1)
    integrator.step(1000)
    found = []
    for _ in range(samples):
        integrator.step(every)
        found.append(context.getState(energy=True).getKineticEnergy()._value)
    return np.array(found), context


def assert_within_errors(values, expected):
    """The mean of a series, by the scatter of its blocks."""
    blocks = values[: len(values) // BLOCKS * BLOCKS].reshape(BLOCKS, -1).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(BLOCKS)
    assert abs(blocks.mean() - expected) < ERRORS * error, (blocks.mean(), expected, error)
    assert error < 0.08 * expected  # an error bar that hides nothing


@pytest.mark.torchforce_stack
@pytest.mark.parametrize("build", [oscillators, rigid_water])
def test_kinetic_energy_is_that_of_the_canonical_ensemble(build):
    system, positions, step = build()
    degrees = degrees_of_freedom(system)
    assert degrees == {oscillators: 30, rigid_water: 8 * 6 - 3}[build]
    kinetic, context = kinetic_energies(system, positions, step, samples=4000, every=5)
    kT = GAS_CONSTANT * KELVIN
    assert_within_errors(kinetic, degrees / 2 * kT)
    assert_within_errors((kinetic - degrees / 2 * kT) ** 2, degrees / 2 * kT**2)
    state = context.getState(positions=True)
    at = state.getPositions(asNumpy=True)._value
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        assert np.linalg.norm(at[i] - at[j]) == pytest.approx(length._value, abs=CONSTRAINT_NM)


def test_equal_seeds_give_equal_steps_and_others_do_not():
    ends = []
    for seed in (3, 3, 4):
        system, positions, step = oscillators(2)
        integrator = csvr_integrator(system, KELVIN, TAU_PS, step, seed)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions)
        context.setVelocitiesToTemperature(KELVIN, 1)
        integrator.step(20)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    assert np.array_equal(ends[0], ends[1]) and not np.array_equal(ends[0], ends[2])


def test_a_checkpoint_holds_all_of_its_state():
    system, positions, step = oscillators(3)
    integrator = csvr_integrator(system, KELVIN, TAU_PS, step, 7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(KELVIN, 1)
    integrator.step(10)
    saved = context.createCheckpoint()
    ends = []
    for _ in range(2):
        context.loadCheckpoint(saved)
        integrator.step(30)
        ends.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    assert np.array_equal(*ends)


def test_without_thermal_motion_nothing_breaks():
    system, positions, step = oscillators(2)
    integrator = csvr_integrator(system, KELVIN, TAU_PS, step, 7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.zeros_like(positions))
    integrator.step(5)
    assert np.isfinite(context.getState(positions=True).getPositions(asNumpy=True)._value).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0}, "temperature=0: give a positive"),
        ({"time_constant": -1.0}, "time_constant=-1.0: give a positive"),
        ({"step": float("nan")}, "step=nan: give a positive"),
        ({"time_constant": 1 * unit.kelvin}, "no quantity of that kind"),
    ],
)
def test_bad_numbers_are_named(change, words):
    given = {"temperature": KELVIN, "time_constant": TAU_PS, "step": 0.001, **change}
    with pytest.raises(ValueError, match=words):
        csvr_integrator(oscillators(1)[0], **given)


def test_a_system_that_cannot_move_is_refused():
    system = openmm.System()
    system.addParticle(0.0)
    with pytest.raises(ValueError, match="no particle of the System can move"):
        csvr_integrator(system, KELVIN, TAU_PS, 0.001)
