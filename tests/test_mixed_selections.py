"""Selections that used to mean something else: residues and chains, atoms of another topology, names with digits."""

import pytest
from openmm import app
from test_mixed_standin import DIPEPTIDE, build, dipeptide, vacuum_system

from openmm_nequip.hybrid import select_atoms, select_regions

ALANINE = tuple(range(6, 16))


def residue(name):
    return next(r for r in dipeptide()[0].residues() if r.name == name)


def test_residues_and_chains_stand_for_their_atoms():
    topology, _ = dipeptide()
    assert select_atoms(topology, [residue("ALA")]) == ALANINE
    assert select_atoms(topology, residue("ALA")) == ALANINE
    assert select_atoms(topology, list(topology.chains())) == tuple(DIPEPTIDE)
    assert select_atoms(topology, [residue("NME"), 3, residue("ALA")]) == (*range(16, 22), 3, *ALANINE)
    assert build(topology, vacuum_system(), list(topology.residues())).regions[0].atoms == tuple(DIPEPTIDE)


def test_residues_make_one_region_and_lists_of_them_several():
    topology, _ = dipeptide()
    assert select_regions(topology, [residue("ACE"), residue("NME")]) == [(*range(6), *range(16, 22))]
    assert select_regions(topology, [[residue("ACE")], [residue("NME")]]) == [tuple(range(6)), tuple(range(16, 22))]
    assert select_regions(topology, residue("ALA")) == [ALANINE]
    with pytest.raises(ValueError, match="Atom index 6 is given more than once"):
        select_atoms(topology, [residue("ALA"), 6])


def test_atoms_of_another_topology_are_refused():
    """The index of an atom means nothing in a topology with other atoms before it."""
    topology, positions = dipeptide()
    modeller = app.Modeller(topology, positions)
    modeller.delete([next(modeller.topology.atoms())])
    shorter = modeller.topology
    with pytest.raises(ValueError, match="belongs to another topology.*select them again"):
        select_atoms(topology, [list(shorter.atoms())[7]])
    with pytest.raises(ValueError, match="belongs to another topology"):
        select_atoms(topology, [list(shorter.residues())[1]])
    with pytest.raises(ValueError, match="another topology, and atom 21 here is not there"):
        select_atoms(shorter, [list(topology.atoms())[21]])
    same = app.Modeller(topology, positions).topology
    assert select_atoms(topology, list(same.residues())[1:2]) == ALANINE


class Numbered:
    """Something with an index that is no atom."""

    index = 3


def test_things_with_an_index_are_no_atoms():
    with pytest.raises(ValueError, match="of type Numbered is not an atom index"):
        select_atoms(dipeptide()[0], [Numbered()])


def named(*names):
    """One carbon in a residue of each name."""
    topology = app.Topology()
    chain = topology.addChain("1")
    for name in names:
        topology.addAtom("C1", app.Element.getBySymbol("C"), topology.addResidue(name, chain))
    return topology


@pytest.mark.parametrize("name", ["4IP", "0A1", "1", "NA+", "CL-", "C-1", "<0>", "or", "not"])
def test_names_that_need_quotes_are_named(name):
    topology = named(name, "HOH")
    with pytest.raises(ValueError, match="need quotes: write '") as caught:
        select_atoms(topology, f"resname {name}")
    assert f"'{name}'" in str(caught.value)
    assert select_atoms(topology, f"resname '{name}'") == (0,)


@pytest.mark.parametrize("text", ["resname LIG 4IP", "resname LIG or resname 4IP", "(resname == 4IP) or resname LIG"])
def test_a_longer_selection_does_not_lose_such_atoms(text):
    """Without quotes mdtraj finds the ligand alone."""
    topology = named("LIG", "4IP", "HOH")
    with pytest.raises(ValueError, match="need quotes: write '4IP'"):
        select_atoms(topology, text)
    assert select_atoms(topology, "resname LIG '4IP'") == (0, 1)


@pytest.mark.parametrize("name", ["LIG", "A", "G3P", "all", "UNL"])
def test_plain_names_need_none(name):
    assert select_atoms(named(name, "HOH"), f"resname {name}") == (0,)


def test_numbers_stay_numbers():
    topology = named("LIG", "1", "0")
    assert select_atoms(topology, "resid 1") == (1,)
    assert select_atoms(topology, "index 0 to 1 and name C1") == (0, 1)
    assert select_atoms(topology, "name C1 and index 1 2") == (1, 2)
    with pytest.raises(ValueError, match="matches none of the 3 atoms"):
        select_atoms(topology, "resname 7")
