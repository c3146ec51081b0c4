"""Atoms as files and users name them: isotopes, types, copies of an atom; slabs and wires."""

import re
import zipfile

import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import DATA
from openmmml import MLPotential
from toy import make_topology

from openmm_nequip import ModelFileError, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.app.structures.structure_files import read_structure
from openmm_nequip.errors import AtomTypeError, SamePlaceError, StructureError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.kept_error import error_behind
from openmm_nequip.models import check_execution, locate
from openmm_nequip.models.execution import Execution
from openmm_nequip.topology import atom_types
from openmm_nequip.units import Units

MODEL = DATA / "tiny-nequip.nequip.zip"
#: Types of the model: H C N O; its cutoff is 4 Å.
METHANE = "C 5 5 10\nH 5.63 5.63 10.63\nH 4.37 4.37 10.63\nH 4.37 5.63 9.37\nH 5.63 4.37 9.37\n"
#: kJ/mol, float64.
ENERGY = 1e-6


def write(path, comment, atoms=METHANE):
    path.write_text(f"{len(atoms.splitlines())}\n{comment}\n{atoms}")
    return str(path)


def energy(arguments, capsys):
    assert main(["energy", str(MODEL), *arguments]) == 0
    answer = capsys.readouterr()
    return float(re.search(r"= ([-\d.]+) eV", answer.out)[1]) * 96.48533212331, answer


def refusal(arguments, capsys):
    assert main(["energy", str(MODEL), *arguments]) != 0
    return capsys.readouterr().err


@pytest.mark.parametrize("kernels", ["none", "fused"])
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("selected", [False, True])
def test_atoms_at_one_place_are_named(kernels, periodic, selected):
    """Fused kernels alone said that the energy is NaN while all forces are finite."""
    model = load_model(MODEL, compile=False if kernels == "none" else None, kernels=kernels)
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1.5]]) / 10
    types = np.array([1, 0, 0, 0, 0])
    placement = Placement(5, types)
    first, second = 1, 3
    if selected:
        placement = Placement(7, types, np.array([6, 1, 0, 4, 2]))
        moved = np.full((7, 3), 0.9)
        moved[placement.atoms] = positions
        positions, first, second = moved, 1, 4
    if periodic:
        positions[second] += 2.0
    evaluator = Evaluator(model, Units(), placement, periodic, 0.0)
    box = np.eye(3) * 2.0 if periodic else None
    for attempt in (evaluator, evaluator.evaluate):
        with pytest.raises(SamePlaceError, match=rf"indices {first}, {second}\), which are at one place") as caught:
            attempt(positions, box)
        assert caught.value.indices == (first, second) and caught.value.n_atoms == len(positions)


@pytest.mark.parametrize("kernels", ["none", "fused"])
def test_openmm_tells_which_atoms_are_at_one_place(kernels):
    """By their index in the System, also for a part of it."""
    potential = MLPotential("nequip", modelPath=MODEL)
    topology = make_topology(["O", "H", "H", "O", "H", "H"], residue_sizes=[3, 3])
    plain = openmm.System()
    for atom in topology.atoms():
        plain.addParticle(atom.element.mass)
    how = {"compile": False} if kernels == "none" else {"kernels": "fused"}
    system = potential.createMixedSystem(topology, plain, [3, 4, 5], **how)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.array([[1, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 0, 0], [0, 0, 0.1], [0, 0, 0.1]]))
    with pytest.raises(openmm.OpenMMException, match=r"indices 4, 5\), which are at one place") as caught:
        context.getState(getEnergy=True)
    assert isinstance(error_behind(caught.value), SamePlaceError)


def test_deuterium_is_hydrogen_to_the_model_and_keeps_its_mass(tmp_path, capsys, caplog):
    light = write(tmp_path / "light.xyz", "")
    heavy = write(tmp_path / "heavy.xyz", "", METHANE.replace("H 5.63", "D 5.63"))
    right, _ = energy([light], capsys)
    found, answer = energy([heavy, "--forces", str(tmp_path / "f.extxyz")], capsys)
    assert found == pytest.approx(right, abs=ENERGY)
    assert answer.err.count("2 atoms are deuterium") == 1
    assert ase.io.read(tmp_path / "f.extxyz").get_chemical_symbols() == list("CHHHH")
    structure, molecules = read_structure(heavy).for_dynamics()
    assert structure.symbols == list("CDHHD") and molecules.count == 1
    system = MLPotential("nequip", modelPath=MODEL).createSystem(structure.topology)
    masses = [system.getParticleMass(i)._value for i in range(5)]
    assert masses[1] == pytest.approx(2.0136, abs=1e-3) and masses[2] == pytest.approx(1.008, abs=1e-3)
    lonely = [atom for atom in structure.topology.atoms() if atom.element.symbol == "D"]
    assert atom_types(("D", "H"), lonely, None).tolist() == [0, 0], "a model with a type of its own for it uses that"
    with pytest.raises(AtomTypeError, match="is D, which the model does not know"):
        atom_types(("C", "O"), lonely, None)


def test_deuterium_of_pdb_and_cif(tmp_path, capsys):
    pdb = tmp_path / "d.pdb"
    atom = "HETATM    {i}  {name:<3} DOD A   1    {x:8.3f}   0.000   0.000  1.00  0.00           {element}\n"
    pdb.write_text(
        atom.format(i=1, name="O", x=0.0, element="O") + atom.format(i=2, name="D1", x=0.96, element="D")
        + atom.format(i=3, name="D2", x=-0.96, element="D") + "END\n"
    )  # fmt: skip
    assert read_structure(pdb).symbols == ["O", "D", "D"]
    assert energy([str(pdb)], capsys)[1].err.count("2 atoms are deuterium") == 1
    cif = tmp_path / "d.cif"
    cif.write_text(
        "data_d\n_cell_length_a 8\n_cell_length_b 8\n_cell_length_c 8\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
        "_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nO1 O 0.5 0.5 0.5\nD1 D 0.62 0.5 0.5\n"
        "D2 D 0.5 0.62 0.5\n"
    )
    assert read_structure(cif).symbols == ["O", "D", "D"]


def test_errors_about_types_name_the_option_that_the_user_has(tmp_path, capsys):
    path = write(tmp_path / "uranium.xyz", "", "H 0 0 0\nU 0 0 2\n")
    for given, words in [
        ([], r"is U, which the model does not know.*give --types$"),
        (["--types", "H"], r"--types has 1 entries; expected one for each of the 2 atoms"),
        (["--types", "H", "Q"], r"--types, entry 1 \(from 0\): 'Q' is no type"),
        (["--types", "0", "9"], r"--types, entry 1 \(from 0\): 9 is no type"),
    ]:
        text = refusal([path, *given], capsys).strip()
        assert re.search(words, text.splitlines()[-1]) and "atomTypes" not in text
    run = ["run", "--model", str(MODEL), "--structure", path, "--output", str(tmp_path / "run")]
    assert main([*run, "--types", "H"]) != 0
    assert "--types has 1 entries" in capsys.readouterr().err
    topology = app.Topology()
    residue = topology.addResidue("U", topology.addChain())
    topology.addAtom("U", app.Element.getBySymbol("U"), residue)
    with pytest.raises(AtomTypeError, match="give atomTypes=$") as caught:
        MLPotential("nequip", modelPath=MODEL).createSystem(topology)
    assert caught.value.index == 0


SLAB = 'Lattice="10 0 0 0 10 0 0 0 20" Properties=species:S:1:pos:R:3 pbc="T T F"'


def test_slabs_and_wires_with_vacuum_are_the_same_system(tmp_path, capsys):
    right, _ = energy([write(tmp_path / "m.xyz", "")], capsys)
    slab = write(tmp_path / "slab.extxyz", SLAB)
    found, answer = energy([slab], capsys)
    assert found == pytest.approx(right, abs=ENERGY) and "18.74 Å of vacuum" in answer.err
    assert energy([slab, "--box", "10", "10", "6"], capsys)[0] == pytest.approx(right, abs=ENERGY)
    assert energy([slab, "--box", "10", "0", "0", "0", "10", "0", "3", "2", "6"], capsys)[0] == pytest.approx(right)
    without = write(tmp_path / "zero.extxyz", SLAB.replace("0 0 20", "0 0 0"))
    assert energy([without], capsys)[0] == pytest.approx(right, abs=ENERGY)
    wire = write(tmp_path / "wire.extxyz", SLAB.replace("T T F", "F T F"))
    assert energy([wire], capsys)[0] == pytest.approx(right, abs=ENERGY)


def test_the_periodic_directions_of_a_slab_are_periodic(tmp_path, capsys):
    """Beside a whole crystal with much vacuum."""
    narrow = SLAB.replace("10 0 0 0 10 0", "3.5 0 0 0 3.6 0")
    whole = write(tmp_path / "whole.extxyz", narrow.replace("T T F", "T T T"))
    slab = write(tmp_path / "slab.extxyz", narrow)
    right = energy([whole], capsys)[0]
    assert energy([slab], capsys)[0] == pytest.approx(right, abs=ENERGY)
    assert abs(right - energy([write(tmp_path / "m.xyz", "")], capsys)[0]) > 0.1


def test_too_little_vacuum_is_refused_with_numbers(tmp_path, capsys):
    slab = write(tmp_path / "slab.extxyz", SLAB)
    for height, gap, more in (("5", "3.74", "0.26"), ("1", "-0.26", "4.26")):
        words = f"leaves {gap} Å of vacuum there; the model reaches 4.00 Å.*c that is longer by at least {more} Å"
        assert re.search(words, refusal([slab, "--box", "10", "10", height], capsys))
    high = write(tmp_path / "high.extxyz", SLAB, METHANE + "H 5 5 28\n")
    assert "leaves 1.37 Å" in refusal([high], capsys), "atoms outside of the box count where they are"
    with pytest.raises(StructureError, match="not for slabs and wires"):
        read_structure(slab)


def test_runs_of_slabs(tmp_path, capsys):
    slab = write(tmp_path / "slab.extxyz", SLAB)
    run = ["run", "--model", str(MODEL), "--structure", slab, "--output", str(tmp_path / "run"), "--steps", "2"]
    assert main([*run, "--ensemble", "npt"]) != 0
    assert "a barostat would press its vacuum" in capsys.readouterr().err
    assert main([*run, "--box", "10", "10", "5"]) != 0
    assert "longer by at least 0.26 Å" in capsys.readouterr().err
    assert main([*run, "--equilibrate", "0", "--no-minimize"]) == 0
    assert "18.74 Å of vacuum" in capsys.readouterr().err
    final = app.PDBFile(str(tmp_path / "run" / "final.pdb"))
    box = np.array(final.topology.getPeriodicBoxVectors().value_in_unit(unit.angstrom))
    np.testing.assert_allclose(np.diag(box), [10, 10, 20], atol=1e-3)


def test_packages_of_nequip_0_7_are_named(tmp_path):
    """The zip reader of nequip says that the file is corrupted."""
    old = tmp_path / "old.nequip.zip"
    with zipfile.ZipFile(MODEL) as package, zipfile.ZipFile(old, "w") as new:
        for name in package.namelist():
            new.writestr(name.replace("package_metadata.txt", "package_metadata.pkl"), package.read(name))
    words = "was packaged by nequip 0.7, in a form that later versions do not read.*from its checkpoint"
    with pytest.raises(ModelFileError, match=words):
        check_execution(locate(old), Execution())
    with pytest.raises(ModelFileError, match=words):
        load_model(old, compile=False)
    assert main(["info", str(old)]) == 0, "its facts can be read"
