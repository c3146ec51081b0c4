"""Energies and forces of mixed Systems: the subtractive identity, links, boundary charges, pressure."""

import itertools

import numpy as np
import openmm
import pytest
from openmm import app, unit
from openmmml.mlpotential import MLPotential, MLPotentialImpl, MLPotentialImplFactory
from test_mixed_standin import (
    DIPEPTIDE,
    REFERENCE,
    SIDE_CHAIN,
    PairModel,
    add_stand_in,
    build,
    dipeptide,
    evaluate,
    force_field,
    numerical_force,
    solution,
    solution_system,
    vacuum_system,
)

from openmm_nequip.hybrid import Region

pytestmark = pytest.mark.torchforce_stack

OPENMM_ML_TOLERANCE = 1e-6  # kJ/mol and kJ/mol/nm, the same model through openmm-ml 1.8's own embedding
IDENTITY_TOLERANCE = 0.01  # kJ/mol, E_tot = E_model(Q) + E_MM(all) - E_MM(Q)
FORCE_TOLERANCE = 0.01  # kJ/mol/nm, the same for forces
LATTICE_FORCE_TOLERANCE = 0.1  # kJ/mol/nm, the same where E_MM(Q) comes from a larger box and another grid
LINK_TOLERANCE = 5e-4  # of the largest force, central differences around a link
BALANCE_TOLERANCE = 1e-8  # kJ/mol/nm, total force and torque of the model in vacuum
RIGID_TOLERANCE = 1e-9  # nm, distances in the region across volume moves
CHARGE_TOLERANCE = 1e-10  # e
COULOMB = 138.93545764438198  # kJ/mol nm/e^2, OpenMM's


def nearest(points, i, j, box):
    """Distance of the nearest images of two particles in a rectangular box, nm."""
    step = points[j] - points[i]
    return np.linalg.norm(step if box is None else step - box * np.round(step / box))


def region_pairs(force, particles, points, box, cutoff, kind):
    """Non-bonded energy between some particles, summed pair by pair in kJ/mol; written without OpenMM's forces."""
    exceptions = {}
    for index in range(force.getNumExceptions()):
        i, j, *values = force.getExceptionParameters(index)
        exceptions[frozenset((i, j))] = [value._value for value in values]
    dielectric = force.getReactionFieldDielectric()
    k = (dielectric - 1) / (2 * dielectric + 1) / cutoff**3
    c = 3 * dielectric / (2 * dielectric + 1) / cutoff
    parameters = {i: [value._value for value in force.getParticleParameters(i)] for i in particles}
    energy = 0.0
    for i, j in itertools.combinations(particles, 2):
        r = nearest(points, i, j, box)
        special = exceptions.get(frozenset((i, j)))
        (qi, si, ei), (qj, sj, ej) = parameters[i], parameters[j]
        charge, sigma, epsilon = special or (qi * qj, (si + sj) / 2, np.sqrt(ei * ej))
        near = special or kind == "none" or r < cutoff
        if near:
            energy += 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)
        if special or kind != "rf":
            energy += COULOMB * charge / r
        elif near:
            energy += COULOMB * charge * (1 / r + k * r * r - c)
    return energy


def bonded_energy(water, ions, particles, points):
    """Bonded energy of some whole molecules from the force field applied to them alone, kJ/mol."""
    topology, _ = solution(water, ions)
    modeller = app.Modeller(topology, [openmm.Vec3(*p) for p in points] * unit.nanometer)
    inside = set(particles)
    modeller.delete([atom for atom in topology.atoms() if atom.index not in inside])
    system = force_field(water).createSystem(modeller.topology, constraints=None, rigidWater=False)
    for force in system.getForces():
        force.setForceGroup(1 if isinstance(force, openmm.NonbondedForce) else 0)
    return evaluate(system, points[sorted(particles)], groups=1)[0]


def first_molecule(topology, edge):
    """Topology of the dipeptide alone, in a cubic box of `edge` nm."""
    molecule = app.Topology()
    chain = molecule.addChain()
    copies = []
    for residue in list(topology.residues())[:3]:
        new = molecule.addResidue(residue.name, chain)
        copies += [molecule.addAtom(atom.name, atom.element, new) for atom in residue.atoms()]
    for bond in topology.bonds():
        if bond.atom1.index < len(copies):
            molecule.addBond(copies[bond.atom1.index], copies[bond.atom2.index])
    molecule.setUnitCellDimensions(openmm.Vec3(edge, edge, edge) * unit.nanometer)
    return molecule


def choose(water, ions):
    """The dipeptide, one water next to it, and the ions if there are any: whole molecules."""
    topology, points = solution(water, ions)
    residues = list(topology.residues())
    waters = [r for r in residues if r.name == "HOH"]
    closest = min(waters, key=lambda r: np.linalg.norm(points[:22] - points[next(r.atoms()).index], axis=1).min())
    salt = [a.index for r in residues if r.name in ("NA", "CL") for a in r.atoms()]
    return DIPEPTIDE + [a.index for a in closest.atoms() if a.element is not None] + salt


CASES = [
    (app.NoCutoff, "none", "tip3p", False),
    (app.CutoffPeriodic, "rf", "tip3p", False),
    (app.CutoffPeriodic, "rf", "tip4pew", False),
    (app.PME, "pme", "tip3p", False),
    (app.PME, "pme", "tip4pew", False),
    (app.PME, "pme", "tip3p", True),
]


@pytest.mark.parametrize("method, kind, water, ions", CASES, ids=str)
def test_energy_is_model_plus_all_minus_region(method, kind, water, ions):
    topology, points = solution(water, ions)
    cutoff = 0.6
    # Pairs beyond the cutoff lose all of 1/r but what the splitting leaves out there: a tight tolerance.
    system = solution_system(water, ions, method=method, cutoff=cutoff, ewaldErrorTolerance=1e-5)
    atoms = choose(water, ions)
    mixed = build(topology, system, atoms)
    (region,) = mixed.regions
    assert not region.links and len(region.sites) == (water == "tip4pew") and len(atoms) > (27 if ions else 24)
    box = None if kind == "none" else np.full(3, 1.8)
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    model = PairModel(mixed.regions, box is not None, None)

    energy, _ = model.energy_and_forces(points[model.particles], None if box is None else np.diag(box))
    energy += evaluate(system, points)[0]
    energy -= bonded_energy(water, ions, region.particles, points)
    energy -= region_pairs(force, region.particles, points, box, cutoff, kind)
    found = evaluate(mixed.system, points)[0]
    assert abs(found - energy) < IDENTITY_TOLERANCE, (found, energy)


@pytest.mark.parametrize("method", [app.PME, app.LJPME], ids=str)
def test_energy_and_forces_are_model_plus_all_minus_region_for_lattice_sums(method):
    topology, points = solution()
    system = solution_system(method=method, cutoff=0.8, ewaldErrorTolerance=1e-5)
    mixed = build(topology, system, DIPEPTIDE)
    # The region alone in a box so large that its images do not matter, with the same cutoff and splitting.
    region = force_field().createSystem(
        first_molecule(topology, 9.0), nonbondedMethod=method, nonbondedCutoff=0.8 * unit.nanometer,
        constraints=None, ewaldErrorTolerance=1e-5,
    )  # fmt: skip
    model = PairModel(mixed.regions, True, None)
    energy, forces = model.energy_and_forces(points[:22], np.diag([1.8] * 3))
    all_energy, all_forces = evaluate(system, points)
    own_energy, own_forces = evaluate(region, points[:22])
    found, found_forces = evaluate(mixed.system, points)
    assert abs(found - (energy + all_energy - own_energy)) < IDENTITY_TOLERANCE
    expected = all_forces.copy()
    expected[:22] += forces - own_forces
    np.testing.assert_allclose(found_forces, expected, atol=LATTICE_FORCE_TOLERANCE)


@pytest.mark.parametrize("method", [app.NoCutoff, app.CutoffPeriodic], ids=str)
def test_forces_are_model_plus_all_minus_region(method):
    topology, points = solution()
    system = solution_system(method=method, cutoff=0.6)
    mixed = build(topology, system, DIPEPTIDE)
    alone = force_field().createSystem(
        first_molecule(topology, 1.8), nonbondedMethod=method, nonbondedCutoff=0.6 * unit.nanometer, constraints=None
    )
    model = PairModel(mixed.regions, method is app.CutoffPeriodic, None)
    box = np.diag([1.8] * 3) if method is app.CutoffPeriodic else None
    _, forces = model.energy_and_forces(points[:22], box)
    expected = evaluate(system, points)[1].copy()
    expected[:22] += forces - evaluate(alone, points[:22])[1]
    np.testing.assert_allclose(evaluate(mixed.system, points)[1], expected, atol=FORCE_TOLERANCE)


class StandInImpl(MLPotentialImpl):
    """The stand-in as one of openmm-ml's potentials; its caps are particles of the System."""

    def addForces(self, topology, system, atoms, forceGroup, **arguments):
        periodic = arguments["periodic"]
        regions = [Region(tuple(atoms))]
        given = {"system": system, "periodic": periodic, "forceGroup": forceGroup, "lambdaName": None}
        system.addForce(add_stand_in(regions=regions, **given)[0])


class StandInFactory(MLPotentialImplFactory):
    def createImpl(self, name, **arguments):
        return StandInImpl()


AGAINST_OPENMM_ML = [
    (app.NoCutoff, DIPEPTIDE, False),
    (app.NoCutoff, SIDE_CHAIN, False),
    (app.CutoffPeriodic, SIDE_CHAIN, False),
    (app.PME, SIDE_CHAIN, False),
    (app.PME, DIPEPTIDE, True),
]


@pytest.mark.parametrize("method, atoms, long_range", AGAINST_OPENMM_ML, ids=str)
def test_energy_and_forces_are_those_of_openmm_ml(method, atoms, long_range):
    topology, points = solution()
    # Their caps are particles without Lennard-Jones terms, which the dispersion correction counts (0.002 kJ/mol).
    system = solution_system(method=method, useDispersionCorrection=False)
    MLPotential.registerImplFactory("mixed-test-stand-in", StandInFactory())
    theirs = MLPotential("mixed-test-stand-in").createMixedSystem(
        topology, system, atoms, mlLongRange=long_range, periodic=method is not app.NoCutoff
    )
    ours = build(topology, system, atoms, mlLongRange=long_range)
    caps = theirs.getNumParticles() - len(points)
    assert caps == len(ours.regions[0].links) == (2 if atoms is SIDE_CHAIN else 0)
    energy, forces = evaluate(theirs, np.vstack([points, np.zeros((caps, 3))]))
    found, found_forces = evaluate(ours.system, points)
    assert abs(found - energy) < OPENMM_ML_TOLERANCE
    np.testing.assert_allclose(found_forces, forces[: len(points)], atol=OPENMM_ML_TOLERANCE)


# ---- links


@pytest.mark.parametrize("name", ["side chain", "one atom", "backbone"])
@pytest.mark.parametrize("edge", [False, True], ids=["inside", "across the edge"])
def test_forces_around_links_are_the_gradient(name, edge):
    topology, points = dipeptide()
    atoms = {"side chain": SIDE_CHAIN, "one atom": [8], "backbone": [6, 7, 8, 9, 14, 15]}[name]
    mixed = build(topology, vacuum_system(), atoms, linkAtomDistances=[(8, 6, 0.109)] if atoms == [8] else None)
    (region,) = mixed.regions
    model = PairModel(mixed.regions, edge, None)
    box = np.array([[2.0, 0, 0], [0.5, 2.0, 0], [-0.4, 0.3, 2.0]]) if edge else None
    if edge:
        shifts = np.random.default_rng(2).integers(-1, 2, size=points.shape)
        points = points + shifts @ box
    points = points[model.particles]
    _, forces = model.energy_and_forces(points, box)
    for row in range(len(points)):
        numerical = numerical_force(lambda p: model.energy_and_forces(p, box)[0], points, row)
        assert np.abs(forces[row] - numerical).max() < LINK_TOLERANCE * np.abs(forces).max()
    assert len(region.links) == {"side chain": 2, "one atom": 4, "backbone": 3}[name]


def test_whole_mixed_system_forces_are_the_gradient_with_wrapped_atoms():
    topology, points = solution()
    system = solution_system(method=app.CutoffPeriodic, cutoff=0.8)
    for force in system.getForces():
        if not isinstance(force, (openmm.NonbondedForce, openmm.CMMotionRemover)):
            force.setUsesPeriodicBoundaryConditions(True)
        if isinstance(force, openmm.NonbondedForce):
            force.setExceptionsUsePeriodicBoundaryConditions(True)
    mixed = build(topology, system, SIDE_CHAIN)
    inside = points - points[8]
    wrapped = np.mod(inside, 1.8)
    assert np.linalg.norm(wrapped[8] - wrapped[6]) > 0.9 or np.linalg.norm(wrapped[8] - wrapped[14]) > 0.9
    energy, forces = evaluate(mixed.system, wrapped)
    assert abs(energy - evaluate(mixed.system, inside)[0]) < IDENTITY_TOLERANCE
    context = openmm.Context(mixed.system, openmm.VerletIntegrator(0.001), REFERENCE)

    def at(positions):
        context.setPositions(positions)
        return context.getState(getEnergy=True).getPotentialEnergy()._value

    for atom in (6, 8, 10, 14):
        numerical = numerical_force(at, wrapped, atom, step=1e-6)
        assert np.abs(forces[atom] - numerical).max() < LINK_TOLERANCE * np.abs(forces[:22]).max()


@pytest.mark.parametrize("atoms", [SIDE_CHAIN, [8], [14, 15, 6]], ids=["two links", "four", "shared"])
def test_model_exerts_no_total_force_or_torque_in_vacuum(atoms):
    topology, points = dipeptide()
    mixed = build(topology, vacuum_system(), atoms, allowSharedCaps=True)
    for force in mixed.system.getForces():
        force.setForceGroup(1 if force.getName() == "StandIn" else 0)
    _, forces = evaluate(mixed.system, points, groups=1 << 1)
    assert np.abs(forces.sum(0)).max() < BALANCE_TOLERANCE
    assert np.abs(np.cross(points, forces).sum(0)).max() < BALANCE_TOLERANCE


def test_link_distances_and_elements():
    topology, _ = dipeptide()
    plain = build(topology, vacuum_system(), SIDE_CHAIN).regions[0].links
    assert [link.distance_nm for link in plain] == [0.107, 0.107]
    changed = build(
        topology, vacuum_system(), SIDE_CHAIN, linkElement="F", linkAtomDistances=[(14, 8, 1.4 * unit.angstrom)]
    ).regions[0].links
    assert [(link.element, round(link.distance_nm, 6)) for link in changed] == [("F", 0.139), ("F", 0.14)]


def test_m1_shared_by_two_links_is_one_particle():
    topology, _ = dipeptide()
    region = build(topology, vacuum_system(), [6, 7, 14, 15], allowSharedCaps=True).regions[0]
    assert [(link.q, link.m) for link in region.links] == [(6, 4), (6, 8), (14, 8), (14, 16)]
    assert region.modelParticles == (6, 7, 14, 15, 4, 8, 16)


# ---- charges behind cut bonds


def charges_of(system):
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    return np.array([force.getParticleParameters(i)[0]._value for i in range(force.getNumParticles())]), force


def test_redistributed_charge_is_conserved_and_zeroed_charge_reported():
    topology, _ = dipeptide()
    system = vacuum_system()
    before, original = charges_of(system)
    mixed = build(topology, system, SIDE_CHAIN, linkCharge="redistribute")
    after, force = charges_of(mixed.system)
    assert after[6] == after[14] == 0.0
    np.testing.assert_allclose(after[[4, 7]] - before[[4, 7]], before[6] / 2, atol=CHARGE_TOLERANCE)
    np.testing.assert_allclose(after[[15, 16]] - before[[15, 16]], before[14] / 2, atol=CHARGE_TOLERANCE)
    assert abs(after.sum() - before.sum()) < CHARGE_TOLERANCE
    assert mixed.report.totalCharge == pytest.approx((before.sum(), after.sum()), abs=CHARGE_TOLERANCE)
    # 1-4 exceptions keep their scale.
    scale = {}
    for index in range(original.getNumExceptions()):
        i, j, product, *_ = original.getExceptionParameters(index)
        scale[frozenset((i, j))] = product._value / (before[i] * before[j])
    for index in range(force.getNumExceptions()):
        i, j, product, *_ = force.getExceptionParameters(index)
        if not {i, j} <= set(SIDE_CHAIN):
            assert product._value == pytest.approx(scale[frozenset((i, j))] * after[i] * after[j], abs=1e-12)
    assert "Charges behind cut bonds (redistribute)" in str(mixed.report)

    mixed = build(topology, system, SIDE_CHAIN, linkCharge="zero")
    after, _ = charges_of(mixed.system)
    np.testing.assert_allclose(after.sum(), before.sum() - before[6] - before[14], atol=CHARGE_TOLERANCE)


def test_fourteen_exceptions_across_the_border_stay():
    topology, _ = dipeptide()
    system = vacuum_system()
    mixed = build(topology, system, SIDE_CHAIN)  # owns its forces
    _, old = charges_of(system)
    _, new = charges_of(mixed.system)
    inside = set(SIDE_CHAIN)

    def crossing(force):
        rows = [force.getExceptionParameters(k) for k in range(force.getNumExceptions())]
        return [str(row) for row in rows if not {row[0], row[1]} <= inside]

    assert crossing(old) == crossing(new)


# ---- molecules under pressure


@pytest.mark.parametrize("interpolate", [False, True], ids=["mixed", "interpolated"])
def test_volume_moves_keep_the_region_rigid(interpolate):
    topology, points = solution()
    system = solution_system(method=app.CutoffPeriodic, cutoff=0.6)
    system.addForce(openmm.MonteCarloBarostat(2000 * unit.bar, 300 * unit.kelvin, 1))
    mixed = build(topology, system, SIDE_CHAIN, interpolate=interpolate)
    # A step of almost no length leaves volume moves as the only motion.
    context = openmm.Context(mixed.system, openmm.VerletIntegrator(1e-9), REFERENCE)
    context.setPositions(points)
    context.getIntegrator().step(12)
    state = context.getState(getPositions=True)
    assert abs(state.getPeriodicBoxVolume()._value - 1.8**3) > 1e-3
    moved = state.getPositions(asNumpy=True)._value[:22]
    assert np.abs(moved - points[:22]).max() > RIGID_TOLERANCE * 100

    def table(p):
        return np.linalg.norm(p[:, None] - p[None], axis=2)

    np.testing.assert_allclose(table(moved), table(points[:22]), atol=RIGID_TOLERANCE)
