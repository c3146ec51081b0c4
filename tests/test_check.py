"""``check``: planted faults are found and named, and what is right is ok."""

import json
from pathlib import Path

import ase.build
import ase.io
import openmm.app as app
import openmm.unit as unit
import pytest
import torch
from toy import CUTOFF_NM, EPSILON_KJ_PER_MOL, SIGMA_NM, LennardJones, make_topology

import openmm_nequip
from openmm_nequip import load_model
from openmm_nequip.app.cli import main
from openmm_nequip.kernels.read.mean_neighbors import mean_neighbors
from openmm_nequip.models import fused, locate
from openmm_nequip.models.eager import load_module
from openmm_nequip.upstream.nequip_state import preserved_global_state

DATA = Path(openmm_nequip.__file__).parent / "data"
MODEL = str(DATA / "alanine-dipeptide.nequip.zip")
PEPTIDE = str(DATA / "alanine-dipeptide.pdb")
FORCEFIELD = ("amber14-all.xml",)
SYMBOLS = [atom.element.symbol for atom in app.PDBFile(PEPTIDE).topology.atoms()]
BENZENE = """<ForceField>
 <AtomTypes><Type name="c" class="c" element="C" mass="12.011"/><Type name="h" class="h" element="H" mass="1.008"/>
 </AtomTypes>
 <Residues><Residue name="BNZ">{atoms}{bonds}</Residue></Residues>
 <HarmonicBondForce><Bond class1="c" class2="c" length="0.14" k="400000"/>
  <Bond class1="c" class2="h" length="0.108" k="300000"/></HarmonicBondForce>
 <HarmonicAngleForce><Angle class1="c" class2="c" class3="c" angle="2.0944" k="500"/>
  <Angle class1="c" class2="c" class3="h" angle="2.0944" k="300"/></HarmonicAngleForce>
 <NonbondedForce coulomb14scale="0.83" lj14scale="0.5">
  <Atom type="c" charge="-0.1" sigma="0.34" epsilon="0.36"/><Atom type="h" charge="0.1" sigma="0.26" epsilon="0.06"/>
 </NonbondedForce></ForceField>"""


def bad(report):
    """Names of the checks that are not ok, with their levels."""
    return {verdict.name: verdict.level for verdict in report.verdicts if verdict.level != "ok"}


def quick(structure=PEPTIDE, model=MODEL, **settings):
    return openmm_nequip.check(model, structure, dynamics=False, **settings)


def written(tmp_path, atoms, name="s.extxyz"):
    path = str(tmp_path / name)
    ase.io.write(path, atoms)
    return path


@pytest.mark.slow
def test_the_demonstration_is_ok(tmp_path, capsys):
    picture = tmp_path / "check.png"
    code = main(["check", MODEL, PEPTIDE, "--platform", "Reference", "--picture", str(picture), "--json", "--quiet"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert [row for row in document["verdicts"] if row["level"] != "ok"] == []
    assert document["level"] == "ok"
    assert document["largest_time_step_fs"] in (1.0, 2.0)
    assert document["ns_per_day"]["Reference"] > 0
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    "units", [("angstrom", "kcal/mol"), ("angstrom", "kJ/mol"), ("bohr", "hartree"), ("nm", "kJ/mol")]
)
def test_a_wrong_unit_is_called_out_with_the_right_one(units):
    verdict = quick(units=units).of("units")
    assert verdict.level == "stop"
    assert "with --units angstrom eV the numbers would be those of matter" in verdict.text


@pytest.mark.parametrize("swapped", [("C", "N"), ("H", "O"), ("C", "O")])
def test_exchanged_types_are_named(swapped):
    other = dict([swapped, swapped[::-1]])
    verdict = quick(types=[other.get(symbol, symbol) for symbol in SYMBOLS]).of("types")
    assert verdict.level == "stop"
    assert f"types {min(swapped)} and {max(swapped)} look exchanged" in verdict.text


def test_an_element_that_the_model_lacks(tmp_path):
    atoms = ase.io.read(PEPTIDE)
    atoms[0].symbol = "Cl"
    report = quick(written(tmp_path, atoms))
    assert bad(report) == {"set-up": "stop"}
    assert "atom 0" in report.of("set-up").text and "H, C, N, O" in report.of("set-up").text


def test_overlapping_atoms(tmp_path):
    atoms = ase.io.read(PEPTIDE)
    atoms.positions[1] = atoms.positions[8] + [0.2, 0, 0]
    verdict = quick(written(tmp_path, atoms)).of("contacts")
    assert verdict.level == "stop"
    assert verdict.value == pytest.approx(0.2, abs=1e-3)


def test_a_time_step_that_is_too_large():
    report = openmm_nequip.check(MODEL, PEPTIDE, timestep=4.0, platform="Reference")
    assert {"time step": "stop", "energy conservation": "stop"}.items() <= bad(report).items()
    assert report.facts["largest_time_step_fs"] in (1.0, 2.0)


@pytest.mark.parametrize(
    ("atom", "found"),
    [
        (1, "C1) has three neighbours that are not in a plane with it: a fourth is missing"),
        (7, "N1) has 2 neighbours and no double bond: another is missing"),
        (17, "N2) has 2 neighbours and no double bond: another is missing"),
    ],
)
def test_a_missing_hydrogen(tmp_path, atom, found):
    atoms = ase.io.read(PEPTIDE)
    del atoms[atom]
    verdict = quick(written(tmp_path, atoms)).of("hydrogens")
    assert verdict.level == "stop"
    assert found in verdict.text and "77 electrons, an odd number" in verdict.text


def test_hydrogens_of_oxygen(tmp_path):
    atoms = ase.build.molecule("CH3OH")
    assert quick(written(tmp_path, atoms)).of("hydrogens").level == "ok"
    del atoms[3]
    verdict = quick(written(tmp_path, atoms)).of("hydrogens")
    assert verdict.level == "look"
    assert "its hydrogen is missing" in verdict.text
    water = ase.build.molecule("H2O")
    del water[1]
    assert "one hydrogen alone" in quick(written(tmp_path, water)).of("hydrogens").text


def test_molecules_that_lack_nothing(tmp_path):
    every = ase.Atoms()
    for place, name in enumerate("NH3 HCN CH3CONH2 HCOOH CO2 CH3CN CH3NO2 C5H5N N2O H2CCO N2H4 C4H4NH".split()):
        molecule = ase.build.molecule(name)
        molecule.translate([15.0 * place, 0, 0])
        every += molecule
    assert quick(written(tmp_path, every)).of("hydrogens").level == "ok"


def test_a_box_that_is_not_reduced_and_one_that_is_narrow(tmp_path):
    atoms = ase.io.read(PEPTIDE)
    atoms.set_cell([[20, 0, 0], [15, 20, 0], [3, -14, 22]])
    atoms.pbc = True
    assert bad(quick(written(tmp_path, atoms))) == {"box": "look"}
    atoms.set_cell([8.0, 8.0, 8.0])
    report = quick(written(tmp_path, atoms))
    assert report.of("box and cutoff").level == "look"
    assert report.of("box and cutoff").value == pytest.approx(0.8)


def test_a_hydrogen_outside_the_region():
    report = quick(ml_atoms="resname ALA and not name HA", forcefield=FORCEFIELD)
    assert report.of("cut bonds").level == "stop"
    assert "leaves a hydrogen outside" in report.of("cut bonds").text


def test_a_hydrogen_without_its_atom():
    report = quick(ml_atoms="resname ALA or (resname ACE and name H1)", forcefield=FORCEFIELD)
    assert report.of("cut bonds").level == "stop"
    assert "takes a hydrogen in without its atom" in report.of("cut bonds").text


def test_a_conjugated_cut_and_a_good_one():
    amide = quick(ml_atoms="resname ALA", forcefield=FORCEFIELD).of("cut bonds")
    assert amide.level == "look"
    assert "conjugated" in amide.text
    side_chain = quick(ml_atoms="name CB HB1 HB2 HB3", forcefield=FORCEFIELD)
    assert side_chain.of("cut bonds").level == side_chain.of("hydrogens").level == "ok"


def test_a_region_that_cuts_an_aromatic_ring(tmp_path):
    atoms = ase.build.molecule("C6H6")
    names = [f"{symbol}{k}" for k, symbol in enumerate(atoms.get_chemical_symbols())]
    lengths = atoms.get_all_distances()
    pairs = [(i, j) for i in range(12) for j in range(i) if lengths[i, j] < 1.6]
    lines = "".join(f'<Atom name="{name}" type="{name[0].lower()}"/>' for name in names)
    bonds = "".join(f'<Bond atomName1="{names[i]}" atomName2="{names[j]}"/>' for i, j in pairs)
    (tmp_path / "ff.xml").write_text(BENZENE.format(atoms=lines, bonds=bonds))
    topology = make_topology(atoms.get_chemical_symbols(), bonds=pairs)
    for atom, name in zip(topology.atoms(), names, strict=True):
        atom.name, atom.residue.name = name, "BNZ"
    structure = tmp_path / "benzene.cif"
    with open(structure, "w") as file:
        app.PDBxFile.writeFile(topology, atoms.positions / 10 * unit.nanometer, file)
    forcefield = (str(tmp_path / "ff.xml"),)
    half = quick(str(structure), ml_atoms="index 0 1 2 6 7 8", forcefield=forcefield).of("cut bonds")
    assert half.level == "stop"
    assert "conjugated bond of a ring" in half.text
    whole = quick(str(structure), ml_atoms="all", forcefield=forcefield)
    assert whole.of("cut bonds").level == "ok"


def argon(tmp_path, periodic):
    """Solid argon of 256 atoms, in a box of more than two cutoffs."""
    atoms = ase.build.bulk("Ar", "fcc", 5.3, cubic=True) * (4, 4, 4)
    atoms.rattle(0.05, seed=1)
    atoms.pbc = periodic
    if not periodic:
        atoms.cell = None
    return written(tmp_path, atoms, "argon.extxyz")


def toy(path, wrap):
    """The Lennard-Jones model, with something done to its answers."""
    inner = LennardJones(SIGMA_NM / 0.1, EPSILON_KJ_PER_MOL / 96.48533212331002, CUTOFF_NM / 0.1)
    extra = {"r_max": str(CUTOFF_NM / 0.1), "type_names": "Ar", "model_dtype": "float64", "allow_tf32": "0"}
    torch.jit.save(torch.jit.script(wrap(inner)), str(path), _extra_files=extra)
    return str(path)


class Whole(torch.nn.Module):
    """What it is."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return self.inner(data)


class Noisy(Whole):
    """Random numbers in the forces."""

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = self.inner(data)
        out["forces"] = out["forces"] + 0.01 * torch.randn_like(out["forces"])
        return out


class Half(Whole):
    """Edge vectors of half precision: the same numbers each time, but in stairs."""

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        data["pos"] = data["pos"].half().double()
        return self.inner(data)


class NotGradient(Whole):
    """Forces that are not those of the energy."""

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = self.inner(data)
        out["forces"] = 1.2 * out["forces"]
        return out


class Directed(Whole):
    """A model that knows up from down."""

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        data["pos"] = data["pos"] * torch.tensor([1.0, 1.0, 1.03], dtype=torch.float64)
        out = self.inner(data)
        out["forces"] = out["forces"] * torch.tensor([1.0, 1.0, 1.03], dtype=torch.float64)
        return out


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("wrap", "found"),
    [
        (Whole, {}),
        (Noisy, {"repeats itself": "stop"}),
        (Half, {"noise": "look", "forces and energy": "stop"}),
        (NotGradient, {"forces and energy": "stop"}),
        (Directed, {"rotation": "stop"}),
    ],
)
def test_models_that_are_not_of_this_physics(tmp_path, wrap, found):
    report = quick(argon(tmp_path, True), toy(tmp_path / "toy.pth", wrap), kernels="none")
    assert found.items() <= bad(report).items()
    if not found:
        assert bad(report) == {}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_box_that_is_not_said(tmp_path):
    verdict = quick(argon(tmp_path, False), toy(tmp_path / "toy.pth", Whole), kernels="none").of("periodicity")
    assert verdict.level == "look"
    assert "to its corners" in verdict.text and "--box" in verdict.text
    assert quick().of("periodicity").level == "ok"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_molecules_without_a_box_and_in_too_large_a_one(cp2k):
    water = cp2k / "waterscan-neq0.16.nequip.pth", cp2k / "water-bulk.xyz"
    verdict = quick(water[1], water[0]).of("periodicity")
    assert verdict.level == "look"
    assert verdict.text.startswith("32 molecules and no box")
    assert quick(water[1], water[0], box=(98.528,) * 3).of("density").level == "look"


def test_another_density_than_that_of_the_training_data(tmp_path):
    verdict = quick().of("neighbours")
    assert verdict.level == "ok" and "14 in the model's training data" in verdict.text
    apart = ase.build.molecule("H2O")
    verdict = quick(written(tmp_path, apart)).of("neighbours")
    assert verdict.level == "look" and "another density or phase" in verdict.text


def test_a_fused_model_is_not_opened_again_for_its_neighbours(monkeypatch):
    source = locate(MODEL)
    with preserved_global_state():
        expected = mean_neighbors(load_module(source))
    load_model(source.path, kernels="fused")
    monkeypatch.setattr(fused, "_module_and_facts", None)
    assert fused.training_neighbors(source) == expected > 1


@pytest.mark.slow
def test_water_of_cp2k_is_ok(cp2k):
    report = openmm_nequip.check(
        cp2k / "waterscan-neq0.16.nequip.pth", cp2k / "water-bulk.xyz", box=(9.8528,) * 3, platform="Reference"
    )
    assert set(bad(report)) <= {"box and cutoff"}, str(report)
    assert report.of("units").level == report.of("energy conservation").level == "ok"


def test_a_run_that_is_checked_first_does_not_start(tmp_path, capsys):
    output = tmp_path / "out"
    command = ["run", "--check", "--model", MODEL, "--structure", PEPTIDE, "--output", str(output), "--timestep", "4",
               "--platform", "Reference", "--quiet"]  # fmt: skip
    assert main(command) == 1
    assert "stop  time step" in capsys.readouterr().out
    assert not output.exists()


def test_words_for_wrong_use(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["check", MODEL])
    assert "check needs structure" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["check", MODEL, PEPTIDE, "--picture", str(tmp_path / "x.txt")])
    assert ".png, .pdf or .svg" in capsys.readouterr().err
    with pytest.raises(ValueError, match="setting 'tempature' is unknown"):
        openmm_nequip.check(MODEL, PEPTIDE, tempature=300)
    with pytest.raises(ValueError, match="was not made"):
        quick().of("nonsense")


@pytest.mark.parametrize(("factor", "name"), [(0.529177**-1, "bohr"), (0.1, "nm")])
def test_positions_in_another_unit(tmp_path, factor, name):
    atoms = ase.io.read(PEPTIDE)
    atoms.positions *= factor
    verdict = quick(written(tmp_path, atoms)).of("positions")
    assert verdict.level == "stop"
    assert f"numbers in {name} taken for Å" in verdict.text
