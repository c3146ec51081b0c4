"""Structure files of hybrid runs: molecules broken over the faces, other orders of atoms, waters with extra sites."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import DATA
from toy import evaluate

import openmm_nequip
from openmm_nequip.app.run import hybrid_system
from openmm_nequip.app.run.hybrid_system import make_hybrid, molecules_of, read_hybrid_structure
from openmm_nequip.app.run.run_config import make_config

MODEL = str(DATA / "tiny-nequip.nequip.pth")
PEPTIDE = str(Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb")
PRMTOP = str(DATA / "peptide-water.prmtop")
INPCRD = str(DATA / "peptide-water.inpcrd")
#: A tripeptide as whole molecule and wrapped atom by atom, with its topology; not part of the repository.
FAULTS = Path(__file__).resolve().parents[2] / "shared" / "faults"
ARGININE_ENERGY = -212.5642  # kJ/mol, the tiny model on ARG in the force field of that topology
ENERGY_TOLERANCE = 1e-4  # kJ/mol
#: kJ/mol; PME of one configuration in two images.
IMAGE_TOLERANCE = 0.05


def settings(structure, **more):
    return make_config({"model": MODEL, "structure": str(structure), "output": "unused", **more})


def built(structure, **more):
    """Structure and System; that the charge of a cut residue is no whole number is another test's."""
    config = settings(structure, **more)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        return make_hybrid(config, read_hybrid_structure(config))


def energy(structure, **more):
    found, system = built(structure, **more)
    return evaluate(system, found.positions_nm)[0]


# ---- molecules broken over the faces


@pytest.mark.parametrize("name", ["whole.gro", "wrapped.gro"])
def test_a_broken_peptide_has_the_energy_of_the_whole_one(tmp_path, name):
    if not FAULTS.is_dir():
        pytest.skip(f"the structures are absent: {FAULTS}")
    topology = tmp_path / "one.top"
    head, tail = (FAULTS / "two.top").read_text().split("[ molecules ]")
    topology.write_text(head + "[ molecules ]" + re.sub(r"2\s*$", "1\n", tail.rstrip()))
    model = str(DATA / "tiny-nequip.nequip.zip")
    config = {"model": model, "topology": str(topology), "ml_atoms": "resname ARG"}
    assert abs(energy(FAULTS / name, **config) - ARGININE_ENERGY) < ENERGY_TOLERANCE


def gro(path, topology, positions, edge, names=None):
    """Write a GRO file."""
    lines = ["molecules", str(len(positions))]
    for i, (atom, xyz) in enumerate(zip(topology.atoms(), positions, strict=True)):
        name = atom.name if names is None else names[i]
        residue = f"{atom.residue.index + 1:5d}{atom.residue.name:5s}"
        lines.append(f"{residue}{name:>5s}{i + 1:5d}" + "".join(f"{x:8.3f}" for x in xyz))
    path.write_text("\n".join([*lines, "".join(f"{edge:10.5f}" for _ in range(3))]) + "\n")
    return path


WATER_TOP = """[ defaults ]
1 2 yes 0.5 0.8333
[ atomtypes ]
OW 8 15.999 -0.834 A 0.315075 0.635968
HW 1 1.008 0.417 A 0.0 0.0
CT 6 12.011 0.0 A 0.34 0.45
HC 1 1.008 0.0 A 0.26 0.06
[ moleculetype ]
ETH 3
[ atoms ]
{ethane}
[ bonds ]
{bonds}
[ angles ]
{angles}
[ moleculetype ]
SOL 2
[ atoms ]
1 OW 1 SOL OW 1 -0.834 15.999
2 HW 1 SOL HW1 1 0.417 1.008
3 HW 1 SOL HW2 1 0.417 1.008
[ settles ]
1 1 0.09572 0.15139
[ exclusions ]
1 2 3
2 1 3
3 1 2
[ system ]
ethane and water
[ molecules ]
ETH 1
SOL 3
"""
EDGE = 1.9


@pytest.fixture
def ethane(tmp_path):
    """GROMACS topology of ethane and three rigid waters without bonds, its path, and positions in nm."""
    from ase.build import molecule

    atoms = molecule("C2H6")
    names = ["C1", "C2", "H11", "H12", "H13", "H21", "H22", "H23"]
    rows = [f"{i + 1} {'CT' if n[0] == 'C' else 'HC'} 1 ETH {n} 1 0.0 {12.011 if n[0] == 'C' else 1.008}"
            for i, n in enumerate(names)]  # fmt: skip
    bonds = [(1, 2), *[(1, k) for k in (3, 4, 5)], *[(2, k) for k in (6, 7, 8)]]
    near = {i: [b for a, b in [*bonds, *[x[::-1] for x in bonds]] if a == i] for i in (1, 2)}
    angles = [(a, i, b) for i, ends in near.items() for k, a in enumerate(ends) for b in ends[k + 1 :]]
    path = tmp_path / "ethane.top"
    path.write_text(WATER_TOP.format(
        ethane="\n".join(rows), bonds="\n".join(f"{i} {j} 1 0.{15 if j == 2 else 11} 250000" for i, j in bonds),
        angles="\n".join(f"{i} {j} {k} 1 109.5 300" for i, j, k in angles),
    ))  # fmt: skip
    water = molecule("H2O").positions * 0.1
    water[1:] = water[0] + [[0.09572, 0, 0], [-0.023999, 0.092663, 0]]
    parts = [atoms.positions * 0.1, *[water + shift for shift in ([0.6, 0, 0], [0, 0.7, 0], [0, 0, 0.8])]]
    return path, np.round(np.vstack(parts) + 1.0, 3)


@pytest.mark.parametrize("shift", [[0, 0, 0], [-1.0, -1.0, -1.0], [-1.6, -0.95, 0.1]])
@pytest.mark.parametrize("selection", ["resname ETH", "resid 2", "name C1 H11 H12 H13"])
def test_molecules_come_together_by_bonds_and_settles(tmp_path, ethane, shift, selection):
    path, positions = ethane
    topology = app.GromacsTopFile(str(path)).topology
    energies = []
    for place, points in (("whole", positions), ("wrapped", np.mod(positions + shift, EDGE))):
        file = gro(tmp_path / f"{place}.gro", topology, points, EDGE)
        structure, system = built(file, topology=str(path), ml_atoms=selection)
        energies.append(evaluate(system, structure.positions_nm)[0])
        assert molecules_of(structure).count == 4
        for first, size in ((0, 8), (8, 3), (11, 3), (14, 3)):
            assert np.ptp(structure.positions_nm[first : first + size], axis=0).max() < 0.4
    assert abs(energies[1] - energies[0]) < IMAGE_TOLERANCE


def test_broken_molecules_of_amber_files(tmp_path):
    """Coordinates wrapped atom by atom, in an inpcrd."""
    config = {"topology": PRMTOP, "ml_atoms": "resname ACE ALA NME"}
    expected, _ = built(INPCRD, **config)
    text = Path(INPCRD).read_text().splitlines()
    edges = np.diag(expected.box_nm)
    points = np.mod(np.array(app.AmberInpcrdFile(INPCRD).positions.value_in_unit(unit.nanometer)) + 0.7, edges)
    numbers = [f"{x:12.7f}" for x in (points * 10.0).ravel()]
    lines = ["".join(numbers[k : k + 6]) for k in range(0, len(numbers), 6)]
    wrapped = tmp_path / "wrapped.inpcrd"
    wrapped.write_text("\n".join([text[0], text[1], *lines, text[-1]]) + "\n")
    assert abs(energy(wrapped, **config) - energy(INPCRD, **config)) < IMAGE_TOLERANCE


# ---- other orders


def test_a_structure_in_another_order_is_refused(tmp_path, ethane):
    path, positions = ethane
    topology = app.GromacsTopFile(str(path)).topology
    names = [atom.name for atom in topology.atoms()]
    config = {"topology": str(path), "ml_atoms": "resname ETH"}
    for i, j, message in (
        (1, 2, r"atom 1 is H11 \(H\) of ETH here and C2 \(C\) of ETH there"),
        (2, 3, r"atom 2 is H12 \(H\) of ETH here and H11 \(H\) of ETH there"),
        (8, 9, r"atom 8 is H1 \(H\) of HOH here and O \(O\) of HOH there"),
    ):
        order = list(range(len(names)))
        order[i], order[j] = j, i
        file = gro(tmp_path / "other.gro", topology, positions[order], EDGE, [names[k] for k in order])
        with pytest.raises(ValueError, match=f"same atoms in the same order: {message}"):
            built(file, **config)


def test_other_names_are_no_other_order(tmp_path, ethane):
    path, positions = ethane
    topology = app.GromacsTopFile(str(path)).topology
    names = [atom.name.replace("HW", "H").replace("H1", "HA").replace("H2", "HB") for atom in topology.atoms()]
    file = gro(tmp_path / "renamed.gro", topology, positions, EDGE, names)
    assert np.isfinite(energy(file, topology=str(path), ml_atoms="resname ETH"))


def test_coordinates_without_names_in_another_order_are_refused(tmp_path):
    text = Path(INPCRD).read_text().splitlines()
    points = np.array(app.AmberInpcrdFile(INPCRD).positions.value_in_unit(unit.angstrom))
    points[[4, 30]] = points[[30, 4]]
    numbers = [f"{x:12.7f}" for x in points.ravel()]
    lines = ["".join(numbers[k : k + 6]) for k in range(0, len(numbers), 6)]
    other = tmp_path / "other.inpcrd"
    other.write_text("\n".join([text[0], text[1], *lines, text[-1]]) + "\n")
    with pytest.raises(ValueError, match="bonds of the topology are torn; atoms .* nm apart"):
        built(other, topology=PRMTOP, ml_atoms="resname ALA")


def test_numbers_of_atoms_are_compared(tmp_path, ethane):
    path, positions = ethane
    topology = app.GromacsTopFile(str(path)).topology
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.delete([list(topology.residues())[-1]])
    file = gro(tmp_path / "fewer.gro", modeller.topology, positions[:-3], EDGE)
    with pytest.raises(ValueError, match="has 17 atoms, .*fewer.gro has 14"):
        built(file, topology=str(path), ml_atoms="resname ETH")


def test_a_topology_file_tells_elements_that_names_do_not(tmp_path, ethane):
    path, positions = ethane
    topology = app.GromacsTopFile(str(path)).topology
    names = [atom.name for atom in topology.atoms()]
    names[0] = "CLX"
    file = gro(tmp_path / "doubt.gro", topology, positions, EDGE, names)
    structure, _ = built(file, topology=str(path), ml_atoms="resname ETH")
    assert structure.symbols[:3] == ["C", "C", "H"]


# ---- waters with extra sites


@pytest.mark.parametrize(
    ("forcefield", "sites"),
    [
        (["amber14-all.xml", "amber14/tip3p.xml"], 3),
        (["amber14-all.xml", "amber14/tip4pfb.xml"], 4),
        (["amber19-all.xml", "amber19/opc.xml"], 4),
        (["amber99sbildn.xml", "tip5p.xml"], 5),
    ],
)
def test_solvate_adds_the_sites_of_the_water_model(forcefield, sites, monkeypatch):
    # The box keeps its gaps, which takes no time and leaves the peptide far from its images.
    monkeypatch.setattr(hybrid_system, "relax_density", lambda config, topology, make, positions, box: (positions, box))
    structure, system = built(PEPTIDE, forcefield=forcefield, solvate=0.3, ml_atoms="all and not water")
    waters = [residue for residue in structure.topology.residues() if residue.name == "HOH"]
    assert len(waters) > 10 and all(len(list(residue.atoms())) == sites for residue in waters)
    assert sum(system.isVirtualSite(i) for i in range(system.getNumParticles())) == len(waters) * (sites - 3)
    assert len(structure.positions_nm) == system.getNumParticles()
    assert np.isfinite(evaluate(system, structure.positions_nm)[0])


@pytest.mark.slow
def test_waters_of_the_file_get_their_sites(tmp_path):
    modeller = app.Modeller(app.PDBFile(PEPTIDE).topology, app.PDBFile(PEPTIDE).positions)
    modeller.addSolvent(app.ForceField("amber14-all.xml", "amber14/tip3p.xml"), padding=0.3 * unit.nanometer)
    path = tmp_path / "three.pdb"
    app.PDBFile.writeFile(modeller.topology, modeller.positions, str(path))
    waters = sum(residue.name == "HOH" for residue in modeller.topology.residues())
    config = {"forcefield": ["amber14-all.xml", "amber14/tip4pew.xml"], "ml_atoms": "all and not water"}
    structure, system = built(path, **config)
    assert system.getNumParticles() == modeller.topology.getNumAtoms() + waters
    # Written with its sites, the structure is read as it was.
    again = tmp_path / "four.pdb"
    app.PDBFile.writeFile(structure.topology, structure.positions_nm * unit.nanometer, str(again))
    same, system = built(again, **config)
    assert same.symbols == structure.symbols and system.getNumParticles() == len(structure.positions_nm)
