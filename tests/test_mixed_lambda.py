"""Interpolation between force field and model: end points, straight line, derivative, constraints."""

import numpy as np
import openmm
import pytest
from openmm import app, unit
from test_mixed_standin import (
    DIPEPTIDE,
    REFERENCE,
    SIDE_CHAIN,
    PairModel,
    add_stand_in,
    build,
    charmm_like_system,
    dipeptide,
    evaluate,
    solution,
    solution_system,
    vacuum_system,
)

from openmm_nequip.hybrid import build_mixed_system
from openmm_nequip.hybrid.interpolation import weighted_forces

pytestmark = pytest.mark.torchforce_stack

ENERGY_TOLERANCE = 1e-5  # kJ/mol in total, double precision
FORCE_TOLERANCE = 1e-5  # kJ/mol/nm
CONSTRAINED_FORCE_TOLERANCE = 1e-2  # kJ/mol/nm, where stiff bonds turn the 1e-8 nm that SETTLE leaves into a force
SINGLE_TOLERANCE = 1e-3  # kJ/mol, the CPU platform
LAMBDA = "lambda_interpolate"
METHODS = [app.NoCutoff, app.CutoffNonPeriodic, app.CutoffPeriodic, app.Ewald, app.PME, app.LJPME]


def check_line(original, mixed, interpolated, points, force_tolerance=FORCE_TOLERANCE, name=LAMBDA):
    """λ = 0 is the force field, λ = 1 the mixed System, and both ends are joined by a straight line."""
    e0, f0 = evaluate(original, points)
    e1, f1 = evaluate(mixed, points)
    context = openmm.Context(interpolated, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(points)
    context.computeVirtualSites()
    for value in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        context.setParameter(name, value)
        state = context.getState(getEnergy=True, getForces=True, getParameterDerivatives=True)
        assert abs(state.getPotentialEnergy()._value - (e0 + value * (e1 - e0))) < ENERGY_TOLERANCE, value
        forces = state.getForces(asNumpy=True)._value
        np.testing.assert_allclose(forces, f0 + value * (f1 - f0), atol=force_tolerance)
        if value > 0:
            assert abs(state.getEnergyParameterDerivatives()[name] - (e1 - e0)) < ENERGY_TOLERANCE


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_ends_and_line_for_a_region_larger_than_the_cutoff(method):
    topology, points = solution()
    assert np.linalg.norm(points[:22, None] - points[None, :22], axis=2).max() > 0.8  # cutoff 0.5
    system = solution_system(method=method)
    plain, moving = (build(topology, system, DIPEPTIDE, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


@pytest.mark.parametrize("method", [app.CutoffPeriodic, app.PME, app.LJPME], ids=str)
def test_ends_and_line_with_links_switching_and_several_regions(method):
    topology, points = solution("tip4pew")
    waters = [a.index for r in list(topology.residues())[4:6] for a in r.atoms()]
    system = solution_system("tip4pew", method=method, switchDistance=0.4 * unit.nanometer)
    atoms = [SIDE_CHAIN, waters, [0, 1, 2, 3]]
    plain, moving = (build(topology, system, atoms, interpolate=flag, rule="gromacs") for flag in (False, True))
    assert [len(region.sites) for region in moving.regions] == [0, 2, 0]
    check_line(system, plain.system, moving.system, points)


@pytest.mark.parametrize("rule", ["openmm-ml", "gromacs"])
def test_regions_that_share_a_cut_bond(rule):
    topology, points = solution()
    system = solution_system(method=app.PME)
    atoms = [SIDE_CHAIN, [6, 7], [14, 15, 16, 17]]
    plain, moving = (build(topology, system, atoms, interpolate=flag, rule=rule) for flag in (False, True))
    assert [[(link.q, link.m) for link in region.links] for region in plain.regions] == [
        [(8, 6), (8, 14)], [(6, 4), (6, 8)], [(14, 8), (16, 18)]
    ]  # fmt: skip
    check_line(system, plain.system, moving.system, points)


def test_more_terms_than_one_force_has_variables():
    forces = []
    for i in range(40):
        forces.append(openmm.CustomExternalForce(f"{i + 1}*x"))
        forces[-1].addParticle(0, [])
    system = openmm.System()
    system.addParticle(1.0)
    for force in weighted_forces("Many", "1-half", forces, 4, "half"):
        system.addForce(force)
    assert system.getNumForces() == 2
    energy, _ = evaluate(system, [(2.0, 0.0, 0.0)], {"half": 0.5}, groups=1 << 4)
    assert abs(energy - 0.5 * 2.0 * 820) < ENERGY_TOLERANCE


def test_many_regions():
    topology, points = solution()
    waters = [[atom.index for atom in residue.atoms()] for residue in list(topology.residues())[3:38]]
    system = solution_system(method=app.CutoffPeriodic)
    plain, moving = (build(topology, system, waters, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


def test_regions_across_periodic_images():
    topology, points = solution()
    residues = [[a.index for a in r.atoms()] for r in list(topology.residues())[3:]]
    low = min(residues, key=lambda atoms: points[atoms[0]].sum())
    high = max(residues, key=lambda atoms: points[atoms[0]].sum())
    system = solution_system(method=app.PME)
    plain, moving = (build(topology, system, low + high, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


@pytest.mark.parametrize("method", [app.Ewald, app.PME, app.LJPME], ids=str)
def test_long_range_model(method):
    topology, points = solution()
    system = solution_system(method=method)
    options = {"mlLongRange": True}
    plain, moving = (build(topology, system, SIDE_CHAIN, interpolate=flag, **options) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)
    names = [force.getName() for force in plain.system.getForces()]
    assert "NequIPRegionSelfEnergy" in names


def test_long_range_model_removes_the_whole_lattice_sum():
    """The difference between the two settings is the region's sum over images in tinfoil boundary conditions."""
    topology, points = solution()
    system = solution_system(method=app.PME, ewaldErrorTolerance=1e-6)
    local, lattice = (build(topology, system, DIPEPTIDE, mlLongRange=flag).system for flag in (False, True))
    difference = evaluate(lattice, points)[0] - evaluate(local, points)[0]
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    charges = np.array([nonbonded.getParticleParameters(i)[0]._value for i in DIPEPTIDE])
    alone = openmm.System()
    alone.setDefaultPeriodicBoxVectors(*np.diag([1.8] * 3))
    sums = openmm.NonbondedForce()
    sums.setNonbondedMethod(openmm.NonbondedForce.Ewald)
    sums.setEwaldErrorTolerance(1e-6)
    sums.setCutoffDistance(0.7)
    for charge in charges:
        alone.addParticle(1.0)
        sums.addParticle(charge, 1.0, 0.0)
    alone.addForce(sums)
    step = points[:22, None] - points[None, :22]
    r = np.linalg.norm(step - 1.8 * np.round(step / 1.8), axis=2)
    pairs = np.triu_indices(22, 1)
    direct = 138.93545764438198 * (np.outer(charges, charges)[pairs] / r[pairs]).sum()
    assert abs(difference + evaluate(alone, points[:22])[0] - direct) < 0.01  # kJ/mol


def test_custom_nonbonded_forces():
    topology, points = dipeptide()
    plain, moving = (build(topology, charmm_like_system(), SIDE_CHAIN, interpolate=flag) for flag in (False, True))
    check_line(charmm_like_system(), plain.system, moving.system, points)


@pytest.mark.parametrize("groups", [[], [(range(0, 12), range(10, 22))], [(range(0, 8), range(14, 22))]], ids=len)
def test_custom_nonbonded_interaction_groups_are_respected(groups):
    topology, points = dipeptide()
    system = vacuum_system()
    force = openmm.CustomNonbondedForce("scale*a1*a2*exp(-r)")
    force.addPerParticleParameter("a")
    force.addGlobalParameter("scale", 3.0)
    for i in DIPEPTIDE:
        force.addParticle([1.0 + 0.1 * i])
    force.addExclusion(8, 10)
    for first, second in groups:
        force.addInteractionGroup(first, second)
    system.addForce(force)
    atoms = [SIDE_CHAIN, [0, 1, 2, 3]]
    plain, moving = (build(topology, system, atoms, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


def test_parameter_offsets_inside_the_region():
    topology, points = dipeptide()
    system = vacuum_system()
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force.addGlobalParameter("grow", 0.7)
    force.addParticleParameterOffset("grow", 8, 0.1, 0.0, 0.2)
    force.addParticleParameterOffset("grow", 1, 0.1, 0.0, 0.2)
    for index in range(force.getNumExceptions()):
        i, j, *_ = force.getExceptionParameters(index)
        if {i, j} in ({9, 11}, {6, 11}):
            force.addExceptionParameterOffset("grow", index, 0.2, 0.0, 0.3)
    plain, moving = (build(topology, system, SIDE_CHAIN, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


@pytest.mark.parametrize("scheme", ["zero", "redistribute"])
@pytest.mark.parametrize("method", [app.CutoffPeriodic, app.PME], ids=str)
def test_boundary_charges_interpolate(scheme, method):
    topology, points = solution()
    system = solution_system(method=method)
    options = {"linkCharge": scheme}
    plain, moving = (build(topology, system, SIDE_CHAIN, interpolate=flag, **options) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


def test_another_parameter_name_and_force_groups():
    topology, points = dipeptide()
    system = vacuum_system()
    for force in system.getForces():
        force.setForceGroup(3 if isinstance(force, openmm.NonbondedForce) else 2)
    options = {"forceGroup": 1, "lambdaName": "model_weight"}
    plain, moving = (build(topology, system, SIDE_CHAIN, interpolate=flag, **options) for flag in (False, True))
    check_line(system, plain.system, moving.system, points, name="model_weight")
    model = PairModel(plain.regions, False, None)
    energy, _ = model.energy_and_forces(points[model.particles], None)
    for mixed in (plain, moving):
        assert abs(evaluate(mixed.system, points, groups=1 << 1)[0] - energy) < ENERGY_TOLERANCE
    assert abs(
        evaluate(moving.system, points, {"model_weight": 0.0}, groups=1 << 3)[0]
        - evaluate(system, points, groups=1 << 3)[0]
    ) < ENERGY_TOLERANCE


def test_model_rests_at_zero():
    topology, points = dipeptide()
    moving = build(topology, vacuum_system(), SIDE_CHAIN, interpolate=True)
    PairModel.evaluations = 0
    evaluate(moving.system, points, {LAMBDA: 0.0})
    assert PairModel.evaluations == 0
    evaluate(moving.system, points, {LAMBDA: 1e-6})
    assert PairModel.evaluations > 0


@pytest.mark.parametrize("method", [app.CutoffPeriodic, app.PME], ids=str)
def test_cpu_platform_takes_the_forces_of_an_interpolated_system(method):
    """On all platforms but Reference, forces in one Context must agree in their excluded pairs."""
    topology, points = solution()
    platform = openmm.Platform.getPlatformByName("CPU")
    system = solution_system(method=method)
    moving = build(topology, system, [DIPEPTIDE, [22, 23, 24]], interpolate=True)
    expected = evaluate(system, points, platform=platform)[0]
    assert abs(evaluate(moving.system, points, {LAMBDA: 0.0}, platform)[0] - expected) < SINGLE_TOLERANCE


def test_cpu_platform_takes_custom_nonbonded_forces():
    topology, points = dipeptide()
    platform = openmm.Platform.getPlatformByName("CPU")
    system = charmm_like_system()
    moving = build(topology, system, [SIDE_CHAIN, [0, 1, 2, 3]], interpolate=True)
    expected = evaluate(system, points, platform=platform)[0]
    assert abs(evaluate(moving.system, points, {LAMBDA: 0.0}, platform)[0] - expected) < SINGLE_TOLERANCE


# ---- constraints


def constrained_points(system, points):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(points)
    context.applyConstraints(1e-12)
    return context.getState(getPositions=True).getPositions(asNumpy=True)._value


@pytest.mark.parametrize("method", [app.NoCutoff, app.PME], ids=str)
@pytest.mark.parametrize("constraints", [app.HBonds, app.HAngles], ids=str)
def test_constrained_bonds_come_back_from_a_reference_system(method, constraints):
    topology, points = solution()
    system = solution_system(method=method, constraints=constraints, rigidWater=True, hydrogenMass=3.0)
    points = constrained_points(system, points)
    atoms = [*DIPEPTIDE, 22, 23, 24]
    options = {"referenceSystem": solution_system(method=method)}
    plain = build(topology, system, atoms)
    moving = build(topology, system, atoms, interpolate=True, **options)
    check_line(system, plain.system, moving.system, points, CONSTRAINED_FORCE_TOLERANCE)
    bonds = 12 + 2
    assert len(moving.report.constraints.removed) >= bonds + 1 and moving.report.restoredTerms >= bonds + 1
    assert not moving.report.constraints.across
    for i in range(system.getNumParticles()):
        assert moving.system.getParticleMass(i) == system.getParticleMass(i)
    # What came back holds the atoms: a stretched bond costs what it costs without constraints.
    stretched = points.copy()
    stretched[13] += 0.02 * (points[13] - points[10]) / np.linalg.norm(points[13] - points[10])
    at_zero = [evaluate(moving.system, p, {LAMBDA: 0.0})[0] for p in (points, stretched)]
    free = [evaluate(options["referenceSystem"], p)[0] for p in (points, stretched)]
    if constraints is app.HBonds:
        assert abs((at_zero[1] - at_zero[0]) - (free[1] - free[0])) < 0.01  # kJ/mol


def test_flexible_constraints_need_no_reference():
    topology, points = dipeptide()
    system = vacuum_system(constraints=app.HBonds, flexibleConstraints=True)
    plain, moving = (build(topology, system, SIDE_CHAIN, interpolate=flag) for flag in (False, True))
    check_line(system, plain.system, moving.system, points)


def test_bonds_that_nothing_holds_are_warned_of():
    topology, _ = dipeptide()
    system = vacuum_system(constraints=app.HBonds)
    with pytest.warns(UserWarning) as caught:
        mixed = build_mixed_system(topology, system, SIDE_CHAIN, add_stand_in, interpolate=True)
    assert any("4 removed constraints" in str(w.message) and "referenceSystem" in str(w.message) for w in caught)
    assert any("4 removed constraints" in note for note in mixed.report.notes)


def test_constraints_across_the_border_and_kept_ones_are_reported():
    topology, _ = dipeptide()
    system = vacuum_system(constraints=app.HBonds)
    mixed = build(topology, system, [8, 10, 11, 12, 13])
    assert mixed.report.constraints.across == [(8, 9)] and len(mixed.report.constraints.removed) == 3
    assert mixed.system.getNumConstraints() == system.getNumConstraints() - 3
    assert "8-9" in str(mixed.report)
    kept = build(topology, system, SIDE_CHAIN, removeConstraints=False)
    assert len(kept.report.constraints.inside) == 4
    assert kept.system.getNumConstraints() == system.getNumConstraints()
