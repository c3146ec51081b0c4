"""Non-bonded forces that must agree with each other, and caps and charges at cut bonds that cannot be right."""

import copy

import numpy as np
import openmm
import pytest
from openmm import unit
from test_mixed_standin import (
    DIPEPTIDE,
    REFERENCE,
    SIDE_CHAIN,
    build,
    charmm_like_system,
    dipeptide,
    evaluate,
    solution,
    solution_system,
    vacuum_system,
)

CPU = openmm.Platform.getPlatformByName("CPU")
PLATFORM_TOLERANCE = 0.5  # kJ/mol, PME in single against double precision; the wall has hundreds
ENERGY_TOLERANCE = 1e-5  # kJ/mol
COULOMB = 138.93545764438198  # kJ mol⁻¹ nm e⁻²
ALANINE = list(range(6, 16))


def nonbonded(system):
    return next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))


# ---- excluded pairs


def wall(system, *groups):
    """A soft wall between interaction groups, with the exceptions of the NonbondedForce as exclusions."""
    force = openmm.CustomNonbondedForce("5000*max(0,0.35-r)^2")
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.5)
    for _ in range(system.getNumParticles()):
        force.addParticle([])
    other = nonbonded(system)
    for index in range(other.getNumExceptions()):
        force.addExclusion(*other.getExceptionParameters(index)[:2])
    for first, second in groups:
        force.addInteractionGroup(first, second)
    return force


WATER = range(22, solution()[0].getNumAtoms())
GROUPS = {
    "solute and solvent": [(range(22), WATER)],
    "water alone": [(WATER, WATER)],
    "one atom of the region": [([8], WATER), ([8], [8])],
    "region inside": [(range(22), range(22))],
    "all": [],
}


@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_forces_have_the_same_exclusions(name, interpolate):
    """Whatever the interaction groups, the CPU platform makes a Context and its energy is that of Reference."""
    topology, points = solution()
    system = solution_system()
    system.addForce(wall(system, *GROUPS[name]))
    mixed = build(topology, system, DIPEPTIDE, interpolate=interpolate)
    for value in (0.0, 1.0) if interpolate else (None,):
        parameters = {} if value is None else {"lambda_interpolate": value}
        reference = evaluate(mixed.system, points, parameters)[0]
        assert abs(evaluate(mixed.system, points, parameters, platform=CPU)[0] - reference) < PLATFORM_TOLERANCE
        if value == 0.0:
            assert abs(evaluate(system, points)[0] - reference) < ENERGY_TOLERANCE


def test_interactions_with_the_surroundings_stay():
    topology, points = solution()
    plain, walled = solution_system(), solution_system()
    walled.addForce(wall(walled, (range(22), WATER)))
    energies = [evaluate(build(topology, s, DIPEPTIDE).system, points)[0] for s in (plain, walled)]
    expected = evaluate(walled, points)[0] - evaluate(plain, points)[0]
    assert abs(energies[1] - energies[0] - expected) < ENERGY_TOLERANCE and expected > 1.0


def test_a_pair_force_kept_as_asked_is_warned_about():
    topology, points = solution()
    system = solution_system()
    force = wall(system, (range(22), WATER))
    force.setName("Wall")
    system.addForce(force)
    with pytest.warns(UserWarning, match="'Wall' is kept as asked by keepForces and does not exclude"):
        mixed = build(topology, system, DIPEPTIDE, keepForces=["Wall"])
    assert np.isfinite(evaluate(mixed.system, points, platform=REFERENCE)[0])
    with pytest.raises(openmm.OpenMMException, match="exclusions"):
        evaluate(mixed.system, points, platform=CPU)
    build(topology, system, [8], keepForces=["Wall"])  # one atom has no pairs


# ---- caps


@pytest.mark.parametrize(
    ("atoms", "outer"), [([10, 11, 12, 13, 6, 7, 4, 5, 0, 1, 2, 3], 8), ([14, 15, 6], 8), ([11, 12], 10)]
)
def test_two_caps_for_one_atom_are_refused(atoms, outer):
    with pytest.raises(ValueError, match=f"both bonded to atom {outer} outside.*put atom {outer} into the region"):
        build(dipeptide()[0], vacuum_system(), atoms)
    region = build(dipeptide()[0], vacuum_system(), atoms, allowSharedCaps=True).regions[0]
    assert [link.m for link in region.links].count(outer) == 2


def test_two_regions_may_leave_one_atom_between_them():
    """Their caps do not see each other."""
    regions = build(dipeptide()[0], vacuum_system(), [[10, 11, 12, 13], ALANINE[:2]]).regions
    assert [[link.m for link in region.links] for region in regions] == [[8], [4, 8]]


# ---- charges behind cut bonds, in other places than the NonbondedForce


def split_system(custom_pairs=False):
    """The force field with Lennard-Jones and all 1-4 interactions in custom forces, as OpenFF writes some."""
    system = vacuum_system()
    index = next(i for i, force in enumerate(system.getForces()) if isinstance(force, openmm.NonbondedForce))
    old = copy.deepcopy(system.getForce(index))
    system.removeForce(index)
    charges = openmm.NonbondedForce()
    pairs = openmm.CustomNonbondedForce("4*e*((s/r)^12-(s/r)^6);e=sqrt(e1*e2);s=(s1+s2)/2")
    close = openmm.CustomBondForce("4*e*((s/r)^12-(s/r)^6)")
    close_charges = openmm.CustomBondForce(f"{COULOMB}*product/r")
    for force, names in ((pairs, "se"), (close, "se")):
        for name in names:
            getattr(force, "addPerParticleParameter" if force is pairs else "addPerBondParameter")(name)
    close_charges.addPerBondParameter("product")
    for i in range(old.getNumParticles()):
        charge, sigma, epsilon = old.getParticleParameters(i)
        charges.addParticle(charge, 1.0, 0.0)
        pairs.addParticle([sigma, epsilon])
    for k in range(old.getNumExceptions()):
        i, j, product, sigma, epsilon = old.getExceptionParameters(k)
        charges.addException(i, j, 0.0, 1.0, 0.0)
        pairs.addExclusion(i, j)
        if epsilon._value:
            close.addBond(i, j, [sigma, epsilon])
        if product._value:
            close_charges.addBond(i, j, [product])
    for force in (charges, pairs, close, close_charges):
        system.addForce(force)
    return system


def test_charges_stay_where_the_force_field_put_them():
    """With the charges kept, the place of the 1-4 terms makes no difference."""
    topology, points = dipeptide()
    for atoms in (SIDE_CHAIN, ALANINE, DIPEPTIDE):
        energies = [evaluate(build(topology, s, atoms).system, points)[0] for s in (vacuum_system(), split_system())]
        assert abs(energies[1] - energies[0]) < ENERGY_TOLERANCE


@pytest.mark.parametrize("scheme", ["zero", "redistribute"])
def test_charges_in_bonds_do_not_keep_their_old_value(scheme):
    topology, points = dipeptide()
    with pytest.raises(ValueError, match=f"bond term that falls like 1/r, which linkCharge='{scheme}'"):
        build(topology, split_system(), SIDE_CHAIN, linkCharge=scheme)
    whole = build(topology, split_system(), DIPEPTIDE, linkCharge=scheme)  # nothing is cut, nothing changes
    assert np.isfinite(evaluate(whole.system, points)[0])


def test_special_lennard_jones_is_no_charge():
    """CHARMM's 1-4 Lennard-Jones terms are bonds, too, and have nothing to do with charges."""
    system = vacuum_system()
    close = openmm.CustomBondForce("4*0.3*((0.3/r)^12-(0.3/r)^6)")
    old = nonbonded(system)
    for k in range(old.getNumExceptions()):
        i, j, product, sigma, epsilon = old.getExceptionParameters(k)
        if epsilon._value:
            close.addBond(i, j, [])
            old.setExceptionParameters(k, i, j, product, sigma, 0.0)
    system.addForce(close)
    report = build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero").report
    assert [change.particle for change in report.chargeChanges] == [6, 14]


def test_charges_under_another_name_are_found():
    """A CustomNonbondedForce whose parameter holds the charges, scaled or not, would keep the old ones."""
    system = charmm_like_system()
    charges = [nonbonded(system).getParticleParameters(i)[0]._value for i in range(22)]
    pairs = openmm.CustomNonbondedForce("z1*z2*exp(-r)/r")
    pairs.addPerParticleParameter("z")
    for charge in charges:
        pairs.addParticle([11.8 * charge])
    system.addForce(pairs)
    with pytest.raises(ValueError, match="has charges of its own \\(parameter 'z'\\)"):
        build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero")


def test_a_scheme_is_not_ignored_where_all_charges_are_custom():
    system = vacuum_system()
    pairs = openmm.CustomNonbondedForce(f"{COULOMB}*charge1*charge2/r")
    pairs.addPerParticleParameter("charge")
    force = nonbonded(system)
    for i in range(22):
        charge, sigma, epsilon = force.getParticleParameters(i)
        pairs.addParticle([charge])
        force.setParticleParameters(i, 0 * unit.elementary_charge, sigma, epsilon)
    system.addForce(pairs)
    with pytest.raises(ValueError, match="has charges of its own"):
        build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero")
    build(dipeptide()[0], system, DIPEPTIDE, linkCharge="zero")
