"""Bonded terms: counts of the three rules, openmm-ml's own removal, restraints."""

import random
import warnings

import openmm
import pytest
from openmm import app, unit
from openmmml.embeddings import utilities
from test_mixed_standin import (
    DIPEPTIDE,
    REFERENCE,
    SIDE_CHAIN,
    build,
    charmm_like_system,
    dipeptide,
    evaluate,
    vacuum_system,
)

from openmm_nequip.hybrid import FORCE_CLASSES, Role
from openmm_nequip.hybrid.bond_search import find_bonds

# GROMACS' test suite and openmm-ml 1.8 on this molecule: bonds, angles, dihedrals removed.
REFERENCE_COUNTS = {"gromacs": (5, 11, 9), "openmm-ml": (5, 12, 9), "all-in-set": (5, 7, 3)}
LJ14_PAIRS = 3
ENERGY_TOLERANCE = 1e-5  # kJ/mol


def cmap_system():
    return app.ForceField("amber19/protein.ff19SB.xml").createSystem(dipeptide()[0], constraints=None)


def terms(system):
    """All terms of all forces that have any, as a list of (class, particles) with repetition."""
    return sorted(
        (type(force).__name__, atoms)
        for force in system.getForces()
        if FORCE_CLASSES.of(force).role is Role.TERMS and force.getName() != "NequIPMolecules"
        for atoms in FORCE_CLASSES.of(force).term_atoms(force)
    )


@pytest.mark.parametrize("rule", REFERENCE_COUNTS)
def test_counts_on_alanine(rule):
    topology, _ = dipeptide()
    system = vacuum_system()
    report = build(topology, system, SIDE_CHAIN, rule=rule).report
    kinds = ("HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce")
    assert tuple(report.removed(kind) for kind in kinds) == REFERENCE_COUNTS[rule]
    assert [entry.pairs for entry in report.forces if entry.kind == "NonbondedForce"] == [LJ14_PAIRS]
    links = [(link.q, link.m, link.element) for link in report.regions[0].region.links]
    assert links == [(8, 6, "H"), (8, 14, "H")]


def test_alanine_has_the_totals_of_the_gromacs_topology():
    names = [row.name for row in FORCE_CLASSES if row.role is Role.TERMS]
    counts = {name: len({atoms for kind, atoms in terms(vacuum_system()) if kind == name}) for name in names}
    assert (counts["HarmonicBondForce"], counts["HarmonicAngleForce"]) == (21, 36)
    nonbonded = next(f for f in vacuum_system().getForces() if isinstance(f, openmm.NonbondedForce))
    scaled = [nonbonded.getExceptionParameters(k) for k in range(nonbonded.getNumExceptions())]
    assert sum(1 for *_, epsilon in scaled if epsilon._value != 0) == 41


@pytest.mark.slow
@pytest.mark.parametrize("make", [vacuum_system, cmap_system])
def test_default_rule_removes_what_openmm_ml_removes(make):
    topology, _ = dipeptide()
    system = make()
    choose = random.Random(7)
    for _ in range(12):
        region = sorted(choose.sample(DIPEPTIDE, choose.randint(1, 21)))
        theirs = utilities.removeBonds(system, topology, region, True)
        assert terms(build(topology, system, region, allowSharedCaps=True).system) == terms(theirs), region


@pytest.mark.parametrize("make", [cmap_system, charmm_like_system])
def test_rules_agree_where_no_bond_is_cut(make):
    topology, _ = dipeptide()
    system = make()
    texts = {
        rule: openmm.XmlSerializer.serialize(build(topology, system, DIPEPTIDE, rule=rule).system)
        for rule in REFERENCE_COUNTS
    }
    assert len(set(texts.values())) == 1
    mixed = build(topology, system, DIPEPTIDE)
    assert not mixed.regions[0].links
    assert terms(mixed.system) == []


def test_urey_bradley_terms_follow_their_angles():
    topology, _ = dipeptide()
    system = charmm_like_system()
    bonds = find_bonds(topology, system)
    for rule in REFERENCE_COUNTS:
        report = build(topology, system, SIDE_CHAIN, rule=rule).report
        angles = {frozenset(a) for e in report.forces if e.kind == "HarmonicAngleForce" for a in e.removed}
        stretches = [a for e in report.forces if e.kind == "HarmonicBondForce" for a in e.removed]
        urey = [a for a in stretches if not bonds.bonded(*a)]
        assert len(stretches) - len(urey) == 5 and len(urey) == len(angles)
        for i, k in urey:
            (centre,) = bonds.centres(i, k)
            assert frozenset((i, centre, k)) in angles


def test_input_is_left_alone():
    topology, _ = dipeptide()
    system = vacuum_system()
    before = openmm.XmlSerializer.serialize(system), topology.getNumAtoms(), topology.getNumBonds()
    mixed = build(topology, system, SIDE_CHAIN, interpolate=True)
    assert (openmm.XmlSerializer.serialize(system), topology.getNumAtoms(), topology.getNumBonds()) == before
    assert mixed.topology is topology and mixed.oldToNew == DIPEPTIDE
    assert mixed.system.getNumParticles() == system.getNumParticles()


def test_forces_keep_their_order():
    topology, _ = dipeptide()
    system = vacuum_system()
    mixed = build(topology, system, SIDE_CHAIN)
    kinds = [type(force) for force in system.getForces()]
    assert [type(force) for force in mixed.system.getForces()][: len(kinds)] == kinds


def test_topology_without_bonds_takes_them_from_the_forces():
    topology, _ = dipeptide()
    bare = app.Topology()
    chain = bare.addChain()
    for residue in topology.residues():
        copy = bare.addResidue(residue.name, chain)
        for atom in residue.atoms():
            bare.addAtom(atom.name, atom.element, copy)
    for system in (vacuum_system(), vacuum_system(constraints=app.HBonds), charmm_like_system()):
        bonds = {(i, j) for i, near in enumerate(find_bonds(bare, system).neighbours) for j in near if i < j}
        expected = {tuple(sorted((bond.atom1.index, bond.atom2.index))) for bond in topology.bonds()}
        assert bonds == expected
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert terms(build(bare, system, SIDE_CHAIN).system) == terms(build(topology, system, SIDE_CHAIN).system)


# ---- restraints: name -> force, particles


def harmonic_restraint():
    force = openmm.HarmonicBondForce()
    force.addBond(8, 13, 0.2, 100.0)  # 1-3
    force.addBond(9, 21, 0.5, 100.0)  # far apart, one end outside the region
    force.addBond(0, 20, 0.5, 100.0)  # outside the region
    return force


def external():
    force = openmm.CustomExternalForce("x^2")
    for i in (1, 8, 10):
        force.addParticle(i, [])
    return force


def custom_bond(i, j):
    force = openmm.CustomBondForce("3*r")
    force.addBond(i, j, [])
    return force


def custom_torsion(*atoms):
    force = openmm.CustomTorsionForce("theta^2")
    force.addTorsion(*atoms, [])
    return force


def compound(*atoms):
    force = openmm.CustomCompoundBondForce(len(atoms), f"distance(p1,p{len(atoms)})")
    force.addBond(atoms, [])
    return force


def centroid(first, second):
    force = openmm.CustomCentroidBondForce(2, "distance(g1,g2)")
    force.addGroup(first)
    force.addGroup(second)
    force.addBond([0, 1], [])
    return force


def periodic_torsion(*atoms):
    force = openmm.PeriodicTorsionForce()
    force.addTorsion(*atoms, 1, 0.0, 2.0)
    return force


def added(force, **options):
    """Report entry of a force that was added to the vacuum dipeptide."""
    topology, _ = dipeptide()
    system = vacuum_system()
    force.setName("Added")
    system.addForce(force)
    mixed = build(topology, system, SIDE_CHAIN, **options)
    return next(entry for entry in mixed.report.forces if entry.name == "Added"), mixed


KEPT = {
    "external": (external, [(8,), (10,)]),
    "bond between far atoms": (lambda: custom_bond(11, 21), [(11, 21)]),
    "second term on a bond": (lambda: custom_bond(8, 10), [(8, 10)]),
    "second term on a torsion": (lambda: custom_torsion(9, 8, 10, 11), [(9, 8, 10, 11)]),
    "same, read backwards": (lambda: custom_torsion(11, 10, 8, 9), [(11, 10, 8, 9)]),
    "Boresch-like": (lambda: compound(8, 10, 11, 20, 21), [(8, 10, 11, 20, 21)]),
    "centroids": (lambda: centroid([8, 10], [11, 12]), [(8, 10, 11, 12)]),
    "torsion over unbonded atoms": (lambda: periodic_torsion(9, 11, 12, 13), [(9, 11, 12, 13)]),
}


@pytest.mark.parametrize("name", KEPT)
def test_restraints_stay_and_are_reported(name):
    make, particles = KEPT[name]
    entry, mixed = added(make())
    assert entry.restraints == particles and not entry.removed
    assert all(("Added", atoms) in mixed.report.restraints for atoms in particles)
    assert "restraints on the region kept" in str(mixed.report)


@pytest.mark.parametrize("name", KEPT)
def test_restraints_inside_go_when_asked(name):
    make, particles = KEPT[name]
    entry, _ = added(make(), removeRestraints=True)
    assert entry.removed == [atoms for atoms in particles if set(atoms) <= set(SIDE_CHAIN)]


def test_harmonic_restraint_is_told_from_bonds():
    with pytest.warns(UserWarning, match="8-13 are taken for restraints and kept.*1 of 36 places of the kind 1-3 pair"):
        entry, _ = added(harmonic_restraint())
    assert entry.restraints == [(8, 13), (9, 21)] and not entry.removed and entry.kept == 3
    assert entry.doubtful == [(8, 13)]


def places(size):
    """All chains of bonded atoms of the dipeptide, of three atoms (angles) or four (torsions), each once."""
    bonds = find_bonds(dipeptide()[0], vacuum_system()).neighbours
    chains = [(i, j) for i in DIPEPTIDE for j in bonds[i]]
    for _ in range(size - 2):
        chains = [(*chain, k) for chain in chains for k in bonds[chain[-1]] if k not in chain]
    return [chain for chain in chains if chain[0] < chain[-1]]


def special_14():
    force = openmm.CustomBondForce("3*r")
    for chain in places(4):
        force.addBond(chain[0], chain[-1], [])
    return force


def cross_terms():
    force = openmm.CustomCompoundBondForce(3, "distance(p1,p2)*angle(p1,p2,p3)")
    for chain in places(3):
        force.addBond(chain, [])
    return force


#: Force, number of its terms inside the region that the model replaces.
FORCE_FIELD = {"special 1-4": (special_14, 3), "cross term": (cross_terms, 12)}


@pytest.mark.parametrize("name", FORCE_FIELD)
def test_custom_terms_of_a_force_field_go(name):
    """What is there throughout is the force field's, in a region with cut bonds and in the whole molecule."""
    make, count = FORCE_FIELD[name]
    entry, _ = added(make())
    assert len(entry.removed) == count and not entry.restraints
    topology, _ = dipeptide()
    system = vacuum_system()
    system.addForce(make())
    entry = build(topology, system, DIPEPTIDE).report.forces[-1]
    assert len(entry.removed) > 3 and entry.kept == 0 and not entry.restraints


def test_overrides():
    entry, _ = added(special_14(), keepForces=["Added"])
    assert not entry.removed and "keepForces" in entry.action
    entry, _ = added(KEPT["second term on a bond"][0](), forceFieldForces="Added")
    assert entry.removed == [(8, 10)]


def test_removed_restraints_come_back_at_lambda_zero():
    topology, positions = dipeptide()
    system = vacuum_system()
    for make in (external, harmonic_restraint, lambda: centroid([8, 10], [11, 12]), KEPT["Boresch-like"][0]):
        system.addForce(make())
    with pytest.warns(UserWarning, match="8-13 are taken for restraints"):
        mixed = build(topology, system, SIDE_CHAIN, removeRestraints=True, interpolate=True)
    expected = evaluate(system, positions)[0]
    assert abs(evaluate(mixed.system, positions, {"lambda_interpolate": 0})[0] - expected) < ENERGY_TOLERANCE


def test_molecules_stay_molecules():
    topology, positions = dipeptide()
    for options in ({}, {"interpolate": True}):
        system = vacuum_system(constraints=app.HBonds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mixed = build(topology, system, SIDE_CHAIN, **options)
        names = [force.getName() for force in mixed.system.getForces()]
        assert "NequIPMolecules" in names and mixed.report.molecules == 5
        context = openmm.Context(mixed.system, openmm.VerletIntegrator(0.001 * unit.picosecond), REFERENCE)
        assert [sorted(m) for m in context.getMolecules()] == [DIPEPTIDE]
