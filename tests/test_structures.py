"""Structure files of every kind, bad ones included, and what dynamics needs to know about them."""

from __future__ import annotations

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from ase import Atoms

from openmm_nequip.app.structures.bonds import find_molecules, nearest_images, perceive_bonds
from openmm_nequip.app.structures.structure_files import read_structure
from openmm_nequip.app.structures.typed_box import parse_box, reduce_cell

PEPTIDE = Path(__file__).parents[1] / "openmm_nequip" / "data" / "alanine-dipeptide.pdb"


@pytest.fixture
def waters() -> Atoms:
    """Three water molecules in a box, the first broken across a face."""
    rng = np.random.default_rng(5)
    frames = []
    for center in ([0.0, 2.0, 2.0], [4.5, 4.0, 2.0], [4.0, 6.5, 6.0]):
        molecule = ase.build.molecule("H2O")
        molecule.rotate(float(rng.uniform(0, 180)), rng.normal(size=3))
        molecule.positions += np.array(center) - molecule.positions.mean(axis=0)
        frames.append(molecule)
    atoms = frames[0] + frames[1] + frames[2]
    atoms.set_cell([8.0, 8.5, 9.0])
    atoms.pbc = True
    atoms.wrap()
    assert np.ptp(atoms.positions[:3], axis=0).max() > 4  # broken indeed
    return atoms


def gro_text(atoms: Atoms) -> str:
    lines = ["three waters", f"{len(atoms):5d}"]
    for i, (name, position) in enumerate(zip(["OW", "HW1", "HW2"] * 3, atoms.positions * 0.1, strict=True)):
        lines.append(f"{i // 3 + 1:5d}{'SOL':5s}{name:>5s}{i + 1:5d}" + "".join(f"{x:8.3f}" for x in position))
    return "\n".join([*lines, " ".join(f"{x:.5f}" for x in atoms.cell.lengths() * 0.1)]) + "\n"


@pytest.mark.parametrize("suffix", [".extxyz", ".cif", ".vasp", ".gro", ".pdb"])
def test_formats_agree(waters, tmp_path, suffix):
    path = tmp_path / f"waters{suffix}"
    if suffix == ".gro":
        path.write_text(gro_text(waters))
    else:
        ase.io.write(path, waters)
    structure = read_structure(path)
    assert structure.symbols == waters.get_chemical_symbols()
    assert np.allclose(structure.box_nm, np.diag([0.8, 0.85, 0.9]), atol=1e-6)
    assert np.allclose(structure.positions_nm, waters.positions * 0.1, atol=6e-4 if suffix == ".gro" else 2e-4)
    ready, molecules = structure.for_dynamics()
    assert molecules.count == 3
    assert ready.topology.getNumBonds() == 6
    for i in range(3):
        assert np.ptp(ready.positions_nm[3 * i : 3 * i + 3], axis=0).max() < 0.2  # in one piece now


def test_mmcif_keeps_bonds(tmp_path):
    pdb = app.PDBFile(str(PEPTIDE))
    path = tmp_path / "peptide.cif"
    with open(path, "w") as file:
        app.PDBxFile.writeFile(pdb.topology, pdb.positions, file)
    structure, molecules = read_structure(path).for_dynamics()
    assert structure.topology.getNumBonds() == 21 and molecules.count == 1 and structure.box_nm is None


def test_gro_elements_of_ions_and_one_letter_names(tmp_path):
    path = tmp_path / "ions.gro"
    names = [("MOL", "C"), ("MOL", "CA"), ("MOL", "H1"), ("NA", "NA"), ("CL-", "CL")]
    lines = [f"{i + 1:5d}{residue:5s}{name:>5s}{i + 1:5d}" + "   0.100   0.200" + f"{i:8.3f}"
             for i, (residue, name) in enumerate(names)]  # fmt: skip
    path.write_text("\n".join(["ions", "    5", *lines, "0.0 0.0 0.0"]) + "\n")
    structure = read_structure(path)
    assert structure.symbols == ["C", "C", "H", "Na", "Cl"]
    assert structure.box_nm is None


#: Names by residue that mean one element whatever stands around them; "" for no atom.
NAMES = {
    "ions": ("SOD:SOD Na, CLA:CLA Cl, POT:POT K, CAL:CAL Ca, CA:CA Ca, NA:NA Na, NA+:NA Na, CL:CL Cl, CL-:CL- Cl, "
             "ZN:ZN Zn, ZN2:ZN Zn, MG:MG Mg, ION:NA Na, ION:CL Cl, ION:K K, K+:K K, LI:LI Li, IOD:I I, CES:CES Cs, "
             "RUB:RUB Rb, BAR:BAR Ba, CD2:CD2 Cd, CAD:CAD Cd, SIL:SI Si, LIT:LIT Li, BR:BR Br, MN:MN Mn, F:F F"),
    "ligands": ("LIG:CL1 Cl, LIG:BR1 Br, LIG:C1 C, LIG:HG11 H, LIG:Cl1 Cl, LIG:BRA Br, LIG:SI1 Si, LIG:I1 I, "
                "LIG:F12 F, LIG:CA C, LIG:Co Co, LIG:N N, LIG:OAB O, LIG:CAB C, LIG:H12 H, LIG:S1 S, LIG:FE Fe, "
                "LIG:LP1 -"),
    "proteins": ("ALA:CA C, ALA:CB C, CYS:SG S, MET:SD S, MSE:SE Se, HEM:FE Fe, HEM:NA N, ACE:CH3 C, NME:1HH3 H, "
                 "ALA:1HB H, HIS:CD2 C, HIS:NE2 N, GLU:OE1 O, LYS:HE2 H, DA:P P, DA:H5'' H, PHE:CE1 C, ASN:ND2 N"),
    "waters": "SOL:OW O, SOL:HW1 H, SOL:MW -, TIP3:OH2 O, TIP4:M -, WAT:EPW -, HOH:H2 H, SOL:LP1 -",
}  # fmt: skip


def gro_of(rows, path, together):
    """A GRO file of (residue, name), each in a residue of its own or, with a carbon before, in larger ones."""
    lines = []
    for number, (residue, name) in enumerate(rows):
        for one in (["C1", name] if together else [name]):
            lines.append(f"{number + 1:5d}{residue:5s}{one:>5s}{len(lines) + 1:5d}" + f"{len(lines) * 0.3:8.3f}" * 3)
    path.write_text("\n".join(["names", f"{len(lines):5d}", *lines, "  99.0 99.0 99.0"]) + "\n")
    return path


@pytest.mark.parametrize("kind", NAMES)
def test_elements_from_names_in_gro_files(tmp_path, caplog, kind):
    rows = [item.strip().replace(" ", ":").split(":") for item in NAMES[kind].split(", ")]
    expected = ["" if symbol == "-" else symbol for *_, symbol in rows]
    together = kind == "ligands"
    with caplog.at_level("INFO"):
        structure = read_structure(gro_of([row[:2] for row in rows], tmp_path / "names.gro", together))
    assert structure.symbols[1::2] == expected if together else structure.symbols == expected
    for residue, name, symbol in rows:  # every guess is logged
        assert f"{residue}:{name} is {'no atom' if symbol == '-' else symbol}" in caplog.text


@pytest.mark.parametrize("name", ["CLA", "CLX", "CO", "CU", "NI", "SN", "BA", "SIA", "XX", "Q1", "QC"])
def test_names_in_doubt_are_an_error(tmp_path, name):
    path = gro_of([("LIG", name)], tmp_path / "doubt.gro", together=True)
    with pytest.raises(ValueError, match=f"names of LIG:{name} do not tell them for sure.*Cl1.*PDB"):
        read_structure(path)
    assert read_structure(path, elements=False).symbols == ["C", ""]


def test_several_ions_may_share_a_residue_number(tmp_path):
    path = tmp_path / "ions.gro"
    lines = [f"    1SOD    SOD{k + 1:5d}" + f"{k * 0.3:8.3f}" * 3 for k in range(3)]
    path.write_text("\n".join(["ions", "    3", *lines, "9.0 9.0 9.0"]) + "\n")
    assert read_structure(path).symbols == ["Na", "Na", "Na"]


def test_elements_from_names_in_pdb_files_that_state_none(tmp_path):
    """CHARMM-GUI writes such files; what columns 77 and 78 state stands."""
    rows = [("SOD", "SOD", ""), ("CLA", "CLA", ""), ("POT", "POT", ""), ("CAL", "CAL", ""), ("TIP3", "OH2", ""),
            ("CES", "CES", ""), ("LIG", "CA", "CA"), ("LIG", "BR1", "")]  # fmt: skip
    lines = [
        f"HETATM{k + 1:5d} {name:<4s} {residue:<4s}A{k + 1:4d}    {k * 3.0:8.3f}{0.0:8.3f}{0.0:8.3f}  1.00  0.00"
        + f"{'':10s}{element:>2s}"
        for k, (residue, name, element) in enumerate(rows)
    ]
    path = tmp_path / "charmm.pdb"
    path.write_text("\n".join([*lines, "END"]) + "\n")
    assert read_structure(path).symbols == ["Na", "Cl", "K", "Ca", "O", "Cs", "Ca", "Br"]


@pytest.mark.parametrize("suffix", [".cif", ".pdb"])
def test_dummy_cell_in_every_format(tmp_path, suffix):
    pdb = app.PDBFile(str(PEPTIDE))
    pdb.topology.setPeriodicBoxVectors(np.eye(3) * 0.1 * unit.nanometer)
    path = tmp_path / f"dummy{suffix}"
    with open(path, "w") as file:
        (app.PDBxFile if suffix == ".cif" else app.PDBFile).writeFile(pdb.topology, pdb.positions, file)
    structure = read_structure(path)
    assert structure.box_nm is None and structure.for_dynamics()[0].topology.getPeriodicBoxVectors() is None


def test_pdb_dummy_cell_is_no_box(tmp_path):
    path = tmp_path / "dummy.pdb"
    path.write_text("CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n" + PEPTIDE.read_text())
    assert read_structure(path).box_nm is None


def test_box_argument_wins(waters, tmp_path):
    path = tmp_path / "w.extxyz"
    ase.io.write(path, waters)
    assert np.allclose(read_structure(path, [10, 11, 12]).box_nm, np.diag([1.0, 1.1, 1.2]))
    assert np.allclose(read_structure(path, [10, 0, 0, 1, 11, 0, 0, 2, 12]).box_nm[2], [0, 0.2, 1.2])


def test_frames(waters, tmp_path):
    path = tmp_path / "w.extxyz"
    moved = waters.copy()
    moved.positions += 0.5
    ase.io.write(path, [waters, moved])
    assert np.allclose(read_structure(path, frame=0).positions_nm, waters.positions * 0.1)
    assert np.allclose(read_structure(path).positions_nm, moved.positions * 0.1)
    with pytest.raises(ValueError, match="frame 5 was asked for, but the file has fewer"):
        read_structure(path, frame=5)
    with pytest.raises(ValueError, match="frame 3 was asked for, but there are 1"):
        read_structure(PEPTIDE, frame=3)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("foreign.pdb", "this is no structure\n", r"cannot be read as \.pdb"),
        ("foreign.gro", "a\nb\nc\n", "cannot be read"),
        ("foreign.xyz", "hello world\n\n\n", "cannot be read"),
        ("foreign.cif", "data_x\n", "cannot be read|no atoms"),
        ("foreign.zip", "PK\x03\x04", "cannot be read"),
        ("empty.xyz", "0\n\n", "no atoms|cannot be read"),
        ("nan.xyz", "2\n\nH 0 0 0\nH nan 0 0\n", "NaN or infinite, of the atoms 1"),
        ("slab.xyz", '1\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T F"\nH 0 0 0\n', "some directions only"),
        ("flat.xyz", '1\nLattice="9 0 0 9 0 0 0 0 9" pbc="T T T"\nH 0 0 0\n', "has no volume"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_structure(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_structure(tmp_path / "nothing.pdb")
    with pytest.raises(ValueError, match="is a folder"):
        read_structure(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([1, 2], "has 2 numbers"), ([1, 2, -3], "must be positive"), ([1, 0, 0, 2, 0, 0, 0, 0, 1], "no volume"),
     ([1, 1, float("nan")], "must be positive")],
)  # fmt: skip
def test_bad_boxes(numbers, message):
    with pytest.raises(ValueError, match=message):
        parse_box(numbers)


def test_unknown_bonds_choice():
    with pytest.raises(ValueError, match="bonds='some' is unknown"):
        read_structure(PEPTIDE).for_dynamics("some")


@pytest.mark.parametrize("seed", range(6))
def test_reduced_cell_is_the_same_crystal(seed):
    rng = np.random.default_rng(seed)
    box = rng.normal(size=(3, 3)) + 2.0 * np.eye(3)  # skewed, rotated, of either handedness
    positions = rng.uniform(size=(5, 3)) @ box
    moved, reduced = reduce_cell(positions, box)
    a, b, c = reduced
    assert np.allclose(reduced, np.tril(reduced)) and (np.diag(reduced) > 0).all()
    assert 2 * abs(b[0]) <= a[0] + 1e-9 and 2 * abs(c[0]) <= a[0] + 1e-9 and 2 * abs(c[1]) <= b[1] + 1e-9
    assert np.isclose(np.linalg.det(reduced), abs(np.linalg.det(box)))
    # One proper rotation takes the old lattice and atoms to the new ones.
    rotation = np.linalg.lstsq(positions, moved, rcond=None)[0]
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) > 0
    steps = box @ rotation @ np.linalg.inv(reduced)
    assert np.allclose(steps, np.rint(steps), atol=1e-9) and np.isclose(abs(np.linalg.det(steps)), 1)


def test_crystals_and_metals_have_no_molecules(tmp_path):
    for atoms, bonds in ((ase.build.bulk("C", cubic=True), 0), (ase.build.bulk("NaCl", "rocksalt", 5.64), 0)):
        path = tmp_path / "crystal.extxyz"
        ase.io.write(path, atoms)
        structure, molecules = read_structure(path).for_dynamics()
        assert structure.topology.getNumBonds() == bonds and molecules.count == len(atoms)


def test_molecules_beside_a_crystal_stay_molecules(waters, tmp_path):
    chain = Atoms("C6", [[1.0 + 8 / 6 * i, 0.2, 7.5] for i in range(6)])  # carbyne without end along x
    path = tmp_path / "both.extxyz"
    ase.io.write(path, waters + chain)
    structure, molecules = read_structure(path).for_dynamics()
    assert structure.topology.getNumBonds() == 6 and molecules.count == 3 + 6


def test_bonds_file_and_none(waters, tmp_path):
    path = tmp_path / "w.extxyz"
    ase.io.write(path, waters)
    assert read_structure(path).for_dynamics("file")[1].count == 9
    assert read_structure(PEPTIDE).for_dynamics("none")[1].count == 22
    assert read_structure(PEPTIDE).for_dynamics("file")[1].count == 1


def test_distance_bonds_are_those_of_the_file():
    structure = read_structure(PEPTIDE)
    stated = {tuple(sorted((b[0].index, b[1].index))) for b in structure.topology.bonds()}
    seen = perceive_bonds(structure.symbols, structure.positions_nm, None)
    assert {tuple(sorted(pair)) for pair in seen.pairs.tolist()} == stated


def test_scattered_molecules_keep_the_order_of_atoms(waters, tmp_path):
    order = [0, 3, 6, 1, 2, 4, 5, 7, 8]
    path = tmp_path / "w.extxyz"
    ase.io.write(path, waters[order])
    structure, molecules = read_structure(path).for_dynamics()
    assert structure.symbols == waters[order].get_chemical_symbols()
    assert molecules.labels.tolist() == [0, 1, 2, 0, 0, 1, 1, 2, 2]
    positions = structure.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    assert np.allclose(positions, structure.box_nm)


def test_file_bonds_across_the_boundary():
    box = np.eye(3)
    bonds = nearest_images(np.array([[0, 1]]), np.array([[0.05, 0, 0], [0.95, 0, 0]]), box)
    assert bonds.shifts.tolist() == [[-1, 0, 0]]
    assert find_molecules(2, bonds).offsets.tolist() == [[0, 0, 0], [-1, 0, 0]]
