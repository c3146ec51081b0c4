"""Bonds that the topology does not have: read from every bonded class, told from ties, named where cut, or refused."""

import copy
import warnings

import numpy as np
import openmm
import pytest
from openmm import app, unit
from test_mixed_standin import (
    DIPEPTIDE,
    SIDE_CHAIN,
    build,
    charmm_like_system,
    dipeptide,
    evaluate,
    solution,
    solution_system,
    vacuum_system,
)

from openmm_nequip.hybrid.bond_search import find_bonds

ENERGY_TOLERANCE = 1e-6  # kJ/mol
TIE_STRENGTH = 1000.0  # kJ/mol/nm^2
SHIFT_NM = 0.02


def without_bonds(topology):
    """A topology with the same atoms and no bonds."""
    bare = app.Topology()
    chain = bare.addChain()
    for residue in topology.residues():
        copied = bare.addResidue(residue.name, chain)
        for atom in residue.atoms():
            bare.addAtom(atom.name, atom.element, copied)
    bare.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    return bare


def pairs(bonds):
    return {(i, j) for i, near in enumerate(bonds.neighbours) for j in near if i < j}


def stated(topology):
    return {tuple(sorted((bond.atom1.index, bond.atom2.index))) for bond in topology.bonds()}


def gromos_like_system(lengths=True):
    """Bonds in a CustomBondForce and angles in a CustomAngleForce, as GROMOS topologies have them."""
    system = vacuum_system()
    kinds = [type(force).__name__ for force in system.getForces()]
    bonds = openmm.CustomBondForce("0.25*k*(r^2-r0^2)^2" if lengths else "0.25*k*(r^2-c)^2")
    for name in ("r0" if lengths else "c", "k"):
        bonds.addPerBondParameter(name)
    old = system.getForce(kinds.index("HarmonicBondForce"))
    for index in range(old.getNumBonds()):
        i, j, length, k = old.getBondParameters(index)
        bonds.addBond(i, j, [length._value if lengths else length._value**2, k._value])
    angles = openmm.CustomAngleForce("0.5*k*(cos(theta)-cos(t0))^2")
    for name in ("t0", "k"):
        angles.addPerAngleParameter(name)
    bends = system.getForce(kinds.index("HarmonicAngleForce"))
    for index in range(bends.getNumAngles()):
        i, j, k, angle, strength = bends.getAngleParameters(index)
        angles.addAngle(i, j, k, [angle._value, strength._value])
    for kind in sorted((kinds.index("HarmonicBondForce"), kinds.index("HarmonicAngleForce")), reverse=True):
        system.removeForce(kind)
    system.addForce(bonds)
    system.addForce(angles)
    return system


SYSTEMS = {
    "harmonic": vacuum_system,
    "HBonds": lambda: vacuum_system(constraints=app.HBonds),
    "AllBonds": lambda: vacuum_system(constraints=app.AllBonds),
    "HAngles": lambda: vacuum_system(constraints=app.HAngles),
    "Urey-Bradley": charmm_like_system,
    "GROMOS": gromos_like_system,
    "GROMOS without lengths": lambda: gromos_like_system(False),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_bonds_are_read_from_every_bonded_class(name):
    topology, _ = dipeptide()
    system = SYSTEMS[name]()
    assert pairs(find_bonds(without_bonds(topology), system)) == stated(topology)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with_bonds, without = (build(t, system, SIDE_CHAIN) for t in (topology, without_bonds(topology)))
    assert without.regions == with_bonds.regions  # the same two caps
    assert openmm.XmlSerializer.serialize(without.system) == openmm.XmlSerializer.serialize(with_bonds.system)


@pytest.mark.parametrize("options", [{"rigidWater": True}, {"constraints": app.HAngles}, {"constraints": app.HBonds}])
def test_bonds_of_waters_are_read(options):
    topology, _ = solution()
    assert pairs(find_bonds(without_bonds(topology), solution_system(**options))) == stated(topology)


def test_cut_bonds_of_a_bare_topology_are_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = build(without_bonds(dipeptide()[0]), vacuum_system(), SIDE_CHAIN).report
    named = [note for note in report.notes if "which the topology does not have" in note]
    assert len(named) == 2 and "atoms 8 and 6" in named[0] and "atoms 8 and 14" in named[1]


def test_a_cut_bond_missing_in_the_topology_is_warned_about():
    topology, _ = dipeptide()
    modeller = app.Modeller(topology, [])
    gap = without_bonds(topology)
    atoms = list(gap.atoms())
    for bond in modeller.topology.bonds():
        if {bond.atom1.index, bond.atom2.index} != {8, 14}:
            gap.addBond(atoms[bond.atom1.index], atoms[bond.atom2.index])
    with pytest.warns(UserWarning, match="cuts the bond of atoms 8 and 14, which the topology does not have"):
        mixed = build(gap, vacuum_system(), SIDE_CHAIN)
    assert mixed.regions == build(topology, vacuum_system(), SIDE_CHAIN).regions


def test_atoms_whose_bonds_nothing_tells_are_refused():
    """Bonds as compound terms: angles and torsions of the region could not be found."""
    system = vacuum_system()
    kinds = [type(force).__name__ for force in system.getForces()]
    old = system.getForce(kinds.index("HarmonicBondForce"))
    bonds = openmm.CustomCompoundBondForce(2, "k*(distance(p1,p2)-l)^2")
    for name in "lk":
        bonds.addPerBondParameter(name)
    for index in range(old.getNumBonds()):
        i, j, length, k = old.getBondParameters(index)
        bonds.addBond([i, j], [length._value, k._value])
    system.removeForce(kinds.index("HarmonicBondForce"))
    system.addForce(bonds)
    topology, _ = dipeptide()
    with pytest.raises(ValueError, match="The topology has no bonds, and no force tells those of atom"):
        build(without_bonds(topology), system, SIDE_CHAIN)
    build(topology, system, SIDE_CHAIN)


# ---- ties between molecules


def two_molecules(blind=True):
    """Two dipeptides almost in one place that do not see each other, as in a dual topology."""
    topology, points = dipeptide()
    modeller = app.Modeller(topology, points * unit.nanometer)
    modeller.add(topology, (points + SHIFT_NM) * unit.nanometer)
    system = app.ForceField("amber99sbildn.xml").createSystem(modeller.topology, constraints=None)
    if blind:
        force = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
        for i in DIPEPTIDE:
            for j in DIPEPTIDE:
                force.addException(i, 22 + j, 0.0, 1.0, 0.0)
    return modeller.topology, system, np.vstack([points, points + SHIFT_NM])


def own_force(system, length):
    force = openmm.HarmonicBondForce()
    force.addBond(8, 30, length, TIE_STRENGTH)
    system.addForce(force)


def in_the_force_field(system, length):
    force = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce))
    force.addBond(8, 30, length, TIE_STRENGTH)


def custom(system, length):
    force = openmm.CustomBondForce(f"{TIE_STRENGTH / 2}*(r-{length})^2")
    force.addBond(8, 30, [])
    system.addForce(force)


def with_length_parameter(system, length):
    force = openmm.CustomBondForce(f"{TIE_STRENGTH / 2}*(r-r0)^2")
    force.addPerBondParameter("r0")
    force.addBond(8, 30, [length])
    system.addForce(force)


@pytest.mark.parametrize("length", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("add", [own_force, in_the_force_field, custom, with_length_parameter])
def test_a_tie_between_molecules_is_no_bond(add, length):
    topology, plain, points = two_molecules()
    tied = copy.deepcopy(plain)
    add(tied, length)
    mixed, base = (build(topology, system, DIPEPTIDE) for system in (tied, plain))
    assert mixed.regions[0].links == ()
    assert ((8, 30) in [atoms for _, atoms in mixed.report.restraints])
    tie = evaluate(tied, points)[0] - evaluate(plain, points)[0]
    assert abs(evaluate(mixed.system, points)[0] - evaluate(base.system, points)[0] - tie) < ENERGY_TOLERANCE
    bare = without_bonds(topology)
    assert pairs(find_bonds(bare, tied)) == stated(topology)


def test_a_tie_by_constraint_is_no_bond():
    topology, system, _ = two_molecules()
    system.addConstraint(8, 30, 0.4)
    mixed = build(topology, system, DIPEPTIDE)
    assert mixed.regions[0].links == () and mixed.report.constraints.across == [(8, 30)]


def test_a_bond_with_its_angles_is_found_in_a_topology_with_others():
    """A force field's bond that the file does not have, as of a disulfide bridge, differs from a tie by its angles."""
    topology, system, _ = two_molecules()
    own_force(system, 0.15)
    angles = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicAngleForce))
    angles.addAngle(6, 8, 30, 1.9, 400.0)
    with pytest.warns(UserWarning, match="cuts the bond of atoms 8 and 30, which the topology does not have"):
        links = build(topology, system, DIPEPTIDE).regions[0].links
    assert [(link.q, link.m) for link in links] == [(8, 30)]


def test_kept_forces_tell_nothing_of_bonds():
    topology, system, _ = two_molecules()
    force = openmm.HarmonicBondForce()
    force.addBond(8, 30, 0.15, TIE_STRENGTH)
    force.setName("Tie")
    system.addForce(force)
    angles = openmm.HarmonicAngleForce()
    angles.addAngle(6, 8, 30, 1.9, 400.0)
    angles.setName("Bend")
    system.addForce(angles)
    mixed = build(topology, system, DIPEPTIDE, keepForces=["Tie", "Bend"])
    assert mixed.regions[0].links == ()
