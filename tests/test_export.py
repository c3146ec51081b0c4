"""Models and structures for GROMACS, CP2K, LAMMPS and ASE: the files, evaluated as engines do, give our numbers."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from conftest import DATA

import openmm_nequip
from openmm_nequip import load_model
from openmm_nequip.app.cli import main
from openmm_nequip.app.export.lammps_structure import LammpsData, PlacedAtoms
from openmm_nequip.app.export.mliap_export import MliapAtoms
from openmm_nequip.errors import ExportError, UpstreamError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import read_info
from openmm_nequip.models.compiling.example import example_graph
from openmm_nequip.units import KJ_PER_MOL_PER_EV, resolve_units
from openmm_nequip.upstream.nequip_compile import compile_target
from openmm_nequip.upstream.nequip_state import preserved_global_state

SHIPPED = Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.nequip.zip"
PEPTIDE = SHIPPED.with_name("alanine-dipeptide.pdb")
MODELS = {"NequIP": DATA / "tiny-nequip.nequip.pth", "Allegro": DATA / "tiny-allegro.nequip.pth"}
FLOAT64_RELATIVE, FLOAT32_RELATIVE = 1e-9, 1e-6
FORCE_RELATIVE = 1e-7
FLOAT32_FORCE_RELATIVE = 1e-4
#: Skewed and with edges shorter than two cutoffs of the models: several images of a pair count.
TRICLINIC = np.array([[5.0, 0.0, 0.0], [1.0, 5.2, 0.0], [-0.7, 0.6, 5.5]])
SYMBOLS = "OHHCHHNHCH"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Three structure files of the same atoms, in another order than the models' types: triclinic, turned, open."""
    folder = tmp_path_factory.mktemp("frames")
    generator = np.random.default_rng(5)
    positions: list[np.ndarray] = []
    while len(positions) < len(SYMBOLS):
        trial = generator.random(3) @ TRICLINIC
        images = [trial + np.array(n) @ TRICLINIC for n in itertools.product((-1, 0, 1), repeat=3)]
        if all(np.linalg.norm(image - other) > 1.2 for image in images for other in positions):
            positions.append(trial)
    # Some atoms lie in other cells, as programs write them.
    positions[3], positions[7] = positions[3] + TRICLINIC[0], positions[7] - 2 * TRICLINIC[2]
    atoms = ase.Atoms(list(SYMBOLS), positions, cell=TRICLINIC, pbc=True)
    ase.io.write(folder / "triclinic.extxyz", atoms)
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    ase.io.write(folder / "turned.extxyz", turned)
    atoms.wrap()
    ase.io.write(folder / "open.xyz", ase.Atoms(SYMBOLS, atoms.positions))
    return folder


def answer(model, atoms, length="angstrom", energy="eV"):
    """Energy in kJ/mol and forces in kJ/mol/nm by the package itself."""
    opened = load_model(model, kernels="none")
    types = np.array([opened.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    periodic = bool(atoms.pbc.any())
    evaluator = Evaluator(opened, resolve_units(length, energy), Placement(len(types), types), periodic, 0.0)
    out = evaluator.evaluate(atoms.positions / 10, atoms.cell.array / 10 if periodic else None)
    return out["energy"], out["forces"]


def export(*arguments):
    assert main(["export", *map(str, arguments), "--quiet"]) == 0


def loaded(path):
    facts = dict.fromkeys(("r_max", "type_names", "num_types", "model_dtype", "default_dtype", "allow_tf32"), "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), _extra_files=facts)
    return torch.jit.freeze(module.eval()), {k: v.decode() if isinstance(v, bytes) else v for k, v in facts.items()}


def edges(positions, cell, cutoff):
    """Directed edges by brute force: centre, neighbour and whole numbers of cells."""
    reach = range(-3, 4) if cell is not None else (0,)
    found = []
    for n in itertools.product(reach, repeat=3):
        shift = np.array(n) @ cell if cell is not None else np.zeros(3)
        distances = np.linalg.norm(positions[None] + shift - positions[:, None], axis=2)
        for i, j in np.argwhere(distances < cutoff):
            if i != j or any(n):
                found.append((i, j, *n))
    return np.array(found).reshape(-1, 5)


def gromacs_tensors(atoms, cutoff_nm):
    """What GROMACS hands over by the names of its inputs, with its half list: x[first] - x[second] + shift."""
    positions = atoms.positions / 10
    cell = atoms.cell.array / 10 if atoms.pbc.any() else None
    half = [row for row in edges(positions, cell, cutoff_nm).tolist() if (row[0], *row[2:]) < (row[1], 0, 0, 0)]
    half = np.array(half).reshape(-1, 5)
    box = np.zeros((3, 3)) if cell is None else cell
    return {
        "atom-positions": torch.tensor(positions, dtype=torch.float32, requires_grad=True),
        "atom-numbers": torch.tensor(atoms.numbers, dtype=torch.int32),
        "box": torch.tensor(box, dtype=torch.float32),
        "pbc": torch.tensor([cell is not None] * 3),
        "atom-pairs": torch.tensor(half[:, [1, 0]], dtype=torch.int32),
        "pair-shifts": torch.tensor(half[:, 2:] @ box, dtype=torch.float32),
    }


MODULE_INPUTS = [
    ("atom-positions", "atom-numbers", "box", "atom-pairs", "pair-shifts"),
    ("atom-positions", "pair-shifts", "atom-pairs", "atom-numbers"),
    ("atom-positions", "pbc", "box", "atom-numbers"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "frame", "inputs"), [
    ("NequIP", "triclinic.extxyz", MODULE_INPUTS[0]), ("NequIP", "triclinic.extxyz", MODULE_INPUTS[2]),
    ("Allegro", "triclinic.extxyz", MODULE_INPUTS[1]), ("Allegro", "open.xyz", ("atom-positions", "atom-numbers")),
])  # fmt: skip
def test_gromacs_modules(tmp_path, frames, family, frame, inputs):
    target = ["--format", "gromacs", "--output", tmp_path / "g"]
    export(MODELS[family], frames / frame, *target, "--module-inputs", *inputs)
    atoms = ase.io.read(frames / frame)
    tensors = gromacs_tensors(atoms, 0.4)
    module, _ = loaded(tmp_path / "g" / "model.pt")
    energy, forces = module(*(tensors[name].clone() for name in inputs))
    assert energy.dim() == 0 and energy.dtype == forces.dtype == torch.float32
    right, right_forces = answer(MODELS[family], atoms)
    assert float(energy.detach()) == pytest.approx(right, rel=FLOAT32_RELATIVE)
    allowed = FLOAT32_FORCE_RELATIVE * np.abs(right_forces).max()
    np.testing.assert_allclose(forces.detach().numpy(), right_forces, atol=allowed)
    lines = (tmp_path / "g" / "nnpot.mdp").read_text()
    assert [name for _, name in re.findall(r"nnpot-model-input(\d) = (\S+)", lines)] == list(inputs)
    assert ("nnpot-pair-cutoff   = 0.4" in lines) == ("atom-pairs" in inputs)


@pytest.mark.slow
def test_a_gromacs_module_of_the_published_water(cp2k, tmp_path):
    path = cp2k / "waterscan-neq0.16.nequip.pth"
    box = ["--box", "9.8528", "9.8528", "9.8528"]
    export(path, cp2k / "water-bulk.xyz", *box, "--format", "gromacs", "--output", tmp_path / "g")
    atoms = ase.io.read(cp2k / "water-bulk.xyz")
    atoms.cell, atoms.pbc = [9.8528] * 3, True
    tensors = gromacs_tensors(atoms, 0.5)
    energy, _ = loaded(tmp_path / "g" / "model.pt")[0](*(tensors[name] for name in MODULE_INPUTS[0]))
    assert float(energy.detach()) == pytest.approx(-1445692.0287, rel=FLOAT32_RELATIVE)


@pytest.mark.slow
def test_gromacs_modules_know_one_atom_and_say_what_they_do_not(tmp_path, frames):
    export(MODELS["NequIP"], "--format", "gromacs", "--output", tmp_path / "g",
           "--module-inputs", "atom-positions", "atom-numbers")  # fmt: skip
    module, _ = loaded(tmp_path / "g" / "model.pt")
    one = ase.Atoms("N", [[1.0, 2.0, 3.0]])
    energy, forces = module(torch.tensor(one.positions / 10), torch.tensor([7]))
    assert float(energy.detach()) == pytest.approx(answer(MODELS["NequIP"], one)[0], rel=FLOAT32_RELATIVE)
    assert forces.shape == (1, 3)
    with pytest.raises(Exception, match="does not know an element"):
        module(torch.zeros((2, 3)), torch.tensor([7, 17]))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "frame", "dialect"), [
    ("NequIP", "triclinic.extxyz", "new"), ("NequIP", "turned.extxyz", "old"),
    ("Allegro", "turned.extxyz", "new"), ("Allegro", "open.xyz", "old"),
])  # fmt: skip
def test_cp2k_files(tmp_path, frames, family, frame, dialect):
    export(MODELS[family], frames / frame, "--format", "cp2k", "--dialect", dialect, "--output", tmp_path / "c")
    text = (tmp_path / "c" / "input.inp").read_text()
    module, facts = loaded(tmp_path / "c" / "model.nequip.pth")
    rows = [line.split() for line in re.search(r"&COORD\n(.*?)\n *&END COORD", text, re.DOTALL)[1].splitlines()]
    section = re.search(r"&CELL\n(.*?)&END CELL", text, re.DOTALL)[1]
    cell = np.array([row.split()[1:] for row in re.findall(r"^ +[ABC] .*$", section, re.MULTILINE)], dtype=float)
    periodic = "PERIODIC NONE" not in text
    symbols, positions = [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=float)
    names = facts["type_names"].split()
    if dialect == "old":
        # CP2K numbered kinds in the order in which they come.
        assert names == list(dict.fromkeys(symbols))
        assert facts["default_dtype"] == facts["model_dtype"] == "float64"
        assert f"&{family.upper()}" in text and "PARM_FILE_NAME model.nequip.pth" in text
    else:
        assert int(facts["num_types"]) == len(names)
        assert "&NEQUIP" in text and f"MODEL_TYPE {family.upper()}" in text and "UNIT_LENGTH angstrom" in text
    assert "UNIT_FORCES eV*angstrom^-1" in text
    found = edges(positions, cell if periodic else None, float(facts["r_max"]))
    if family == "NequIP" and dialect == "new":  # it has cutoffs by type, of which CP2K of 2026 reads the table
        cutoffs = load_model(MODELS[family], kernels="none").info
        table = np.array(cutoffs.per_edge_type_cutoff)
        kinds = np.array([cutoffs.type_names.index(symbol) for symbol in symbols])
        vectors = positions[found[:, 1]] - positions[found[:, 0]] + found[:, 2:] @ cell * periodic
        found = found[np.linalg.norm(vectors, axis=1) < table[kinds[found[:, 0]], kinds[found[:, 1]]]]
    out = module({
        "pos": torch.tensor(positions), "cell": torch.tensor(cell),
        "edge_index": torch.tensor(found[:, :2].T.copy()), "edge_cell_shift": torch.tensor(found[:, 2:]).double(),
        "atom_types": torch.tensor([names.index(symbol) for symbol in symbols]),
    })  # fmt: skip
    atoms = ase.Atoms(symbols, positions, cell=cell if periodic else None, pbc=periodic)
    right, forces = answer(MODELS[family], atoms)
    assert right == pytest.approx(answer(MODELS[family], ase.io.read(frames / frame))[0], rel=FLOAT64_RELATIVE)
    for energy in (out["total_energy"][0, 0], out["atomic_energy"].sum()):
        assert float(energy.detach()) * KJ_PER_MOL_PER_EV == pytest.approx(right, rel=FLOAT64_RELATIVE)
    given = out["forces"].detach().numpy() * KJ_PER_MOL_PER_EV * 10
    np.testing.assert_allclose(given, forces, atol=FORCE_RELATIVE * np.abs(forces).max())
    assert out["virial"].shape == (1, 3, 3) and out["virial"].dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize(("family", "frame"), [
    ("NequIP", "turned.extxyz"), ("Allegro", "triclinic.extxyz"), ("Allegro", "open.xyz"),
])  # fmt: skip
def test_lammps_files(tmp_path, frames, family, frame):
    export(MODELS[family], frames / frame, "--format", "lammps", "--output", tmp_path / "l")
    script = (tmp_path / "l" / "in.lammps").read_text()
    assert "units        metal" in script and f"pair_style   {family.lower()}" in script
    assert f"newton       {'off' if family == 'NequIP' else 'on'}" in script
    assert f"boundary     {'f f f' if frame == 'open.xyz' else 'p p p'}" in script
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms = ase.io.read(tmp_path / "l" / "structure.data", format="lammps-data", atom_style="atomic", units="metal")
    names = re.search(r"pair_coeff   \* \* model.nequip.pth (.*)", script)[1].split()
    assert [names[kind - 1] for kind in atoms.arrays["type"]] == list(SYMBOLS)
    atoms.set_chemical_symbols(list(SYMBOLS))
    atoms.pbc = frame != "open.xyz"
    scaled = atoms.get_scaled_positions(wrap=False)
    assert (scaled >= -1e-9).all() and (scaled <= 1 + 1e-9).all()
    assert np.allclose(atoms.cell.array, np.tril(atoms.cell.array))
    right, _ = answer(MODELS[family], atoms)
    assert right == pytest.approx(answer(MODELS[family], ase.io.read(frames / frame))[0], rel=FLOAT64_RELATIVE)
    module, facts = loaded(tmp_path / "l" / "model.nequip.pth")
    assert int(facts["num_types"]) == 4 and facts["allow_tf32"] in ("0", "1")


class MliapData:
    """What LAMMPS' ML-IAP hands over, by brute force: all pairs within one cutoff, images as atoms."""

    def __init__(self, atoms, names, cutoff):
        rows = edges(atoms.positions, atoms.cell.array, cutoff)
        images = [(j, *n) for _, j, *n in rows.tolist() if any(n)]
        self.images = list(dict.fromkeys(images))
        place = {image: len(atoms) + k for k, image in enumerate(self.images)}
        self.owners = torch.tensor([*range(len(atoms)), *(image[0] for image in self.images)])
        self.pair_i = np.array([row[0] for row in rows], dtype=np.int32)
        self.pair_j = np.array([place.get(tuple(row[1:]), row[1]) for row in rows.tolist()], dtype=np.int32)
        moved = (atoms.positions[j] + np.array(n) @ atoms.cell.array for j, *n in self.images)
        at = np.array([*atoms.positions, *moved])
        self.rij = at[self.pair_j] - at[self.pair_i]
        kinds = np.array([names.index(symbol) for symbol in atoms.get_chemical_symbols()], dtype=np.int32)
        self.elems = kinds[self.owners.numpy()]
        self.nlocal, self.ntotal, self.npairs = len(atoms), len(self.owners), len(rows)
        self.eatoms, self.energy, self.forces = np.zeros(len(atoms)), 0.0, np.zeros((len(atoms), 3))

    def forward_exchange(self, features, out, width):
        assert features.shape == out.shape == (self.ntotal, width)
        out.copy_(features[self.owners])

    def reverse_exchange(self, gradients, out, width):
        out.copy_(torch.zeros_like(gradients).index_add_(0, self.owners, gradients))

    def update_pair_forces_gpu(self, forces):
        assert forces.shape == (self.npairs, 3) and forces.dtype == torch.float64 and forces.is_contiguous()
        np.add.at(self.forces, self.owners.numpy()[self.pair_i], forces.numpy())
        np.subtract.at(self.forces, self.owners.numpy()[self.pair_j], forces.numpy())


@pytest.mark.slow
@pytest.mark.parametrize("family", MODELS)
def test_lammps_files_for_mliap(tmp_path, frames, family):
    package = DATA / f"tiny-{family.lower()}.nequip.zip"
    export(package, frames / "triclinic.extxyz", "--format", "lammps", "--form", "mliap", "--output", tmp_path / "l")
    script = (tmp_path / "l" / "in.lammps").read_text()
    assert "pair_style   mliap unified model.nequip.lmp.pt 0\npair_coeff   * * H C N O\n" in script
    assert "newton       on" in script
    file = torch.load(tmp_path / "l" / "model.nequip.lmp.pt", weights_only=False)
    assert file.compile and list(file.element_types) == ["H", "C", "N", "O"]
    file.compile = False
    atoms = ase.io.read(frames / "triclinic.extxyz")
    data = MliapData(atoms, file.element_types, 2 * file.rcutfac)
    with preserved_global_state():
        file.compute_forces(data)
    right, forces = answer(MODELS[family], atoms)
    assert float(data.energy) * KJ_PER_MOL_PER_EV == pytest.approx(right, rel=FLOAT64_RELATIVE)
    assert data.eatoms.sum() * KJ_PER_MOL_PER_EV == pytest.approx(right, rel=FLOAT64_RELATIVE)
    allowed = FORCE_RELATIVE * np.abs(forces).max()
    np.testing.assert_allclose(data.forces * KJ_PER_MOL_PER_EV * 10, forces, atol=allowed)


@pytest.mark.slow
def test_lammps_files_by_aotinductor(tmp_path, frames, compiled, monkeypatch):
    """An Allegro model with the target of pair_nequip, which is in the cache, evaluated as this hands atoms over."""
    from openmm_nequip.app.export import exported_model

    monkeypatch.setattr(exported_model, "family_of", lambda source: "NequIP")
    package = DATA / "tiny-allegro.nequip.zip"
    form = ["--format", "lammps", "--form", "aotinductor"]
    export(package, frames / "turned.extxyz", *form, "--output", tmp_path / "l")
    assert (tmp_path / "l" / "model.nequip.pt2").read_bytes() == (compiled / "tiny-allegro.nequip.pt2").read_bytes()
    assert "pair_coeff   * * model.nequip.pt2 H C N O" in (tmp_path / "l" / "in.lammps").read_text()


def test_compile_targets_of_lammps():
    """nequip's and Allegro's own: pair_allegro has images as atoms of their own, and neither cell nor shifts."""
    local, ghosts = compile_target("pair_nequip"), compile_target("pair_allegro")
    assert local.inputs == ["pos", "edge_index", "atom_types", "cell", "edge_cell_shift"]
    assert local.outputs == ghosts.outputs == ["atomic_energy", "forces", "virial"]
    assert ghosts.inputs == local.inputs[:3]
    example = ghosts.example(example_graph(4, 4.0))
    assert set(example) == set(ghosts.inputs) and len(example["pos"]) > 27 == len(example_graph(4, 4.0)["pos"])
    assert ghosts.dimensions({"node": 1})["graph"] == torch.export.Dim.STATIC
    with pytest.raises(UpstreamError, match="no compile target pair_mace"):
        compile_target("pair_mace")


@pytest.mark.parametrize(("model", "more", "words"), [
    ("tiny-nequip.nequip.pth", ["--form", "mliap"], "form mliap is made of the .ckpt or .nequip.zip"),
    ("tiny-nequip.nequip.pth", ["--form", "aotinductor"], "form aotinductor is made of the .ckpt"),
])  # fmt: skip
def test_forms_that_a_model_does_not_have(tmp_path, frames, capsys, model, more, words):
    arguments = ["export", str(DATA / model), str(frames / "open.xyz"), "--format", "lammps", *more]
    assert main([*arguments, "--output", str(tmp_path / "x")]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_forms_that_convert_no_units(frames, tmp_path):
    """The TorchScript file passes for the package, which takes seconds to script."""
    from openmm_nequip.app.export import exported_model, lammps_export

    with exported_model.opened(str(MODELS["Allegro"]), str(frames / "open.xyz"), ("bohr", "hartree")) as model:
        package = dataclasses.replace(model, source=dataclasses.replace(model.source, kind="package"))
        for form in ("mliap", "aotinductor"):
            with pytest.raises(ExportError, match=f"form {form} cannot convert them, --form torchscript does"):
                lammps_export.export_lammps(package, tmp_path, form)


def test_pairs_that_a_file_leaves_out_are_noticed(tmp_path):
    """LAMMPS reads the forces of all its pairs from where the tensor begins, whatever it holds."""
    data = LammpsData(np.eye(3), np.ones(3, dtype=np.int64), 9 * np.eye(3))
    handed = MliapAtoms(PlacedAtoms(data, np.zeros(3, dtype=np.int64), np.eye(3), True), 3.0)
    assert handed.npairs == 6
    with pytest.raises(ExportError, match="forces of 5 pairs where LAMMPS has 6"):
        handed.update_pair_forces_gpu(torch.zeros((5, 3), dtype=torch.float64))


def test_units_that_a_file_states_are_used(tmp_path, frames, monkeypatch):
    """No NequIP file states any today; the facts of one are made to."""
    from openmm_nequip.app.export import exported_model

    def stated(source):
        return dataclasses.replace(read_info(source), units=resolve_units("bohr", "hartree"), units_source="metadata")

    monkeypatch.setattr(exported_model, "read_info", stated)
    for more, length in (((None, None), 0.529177210903), (("angstrom", "eV"), 1.0)):
        with exported_model.opened(str(MODELS["Allegro"]), str(frames / "open.xyz"), more) as model:
            assert model.units.length * 10 == pytest.approx(length, rel=1e-9)


@pytest.mark.slow
def test_lammps_files_of_a_model_in_other_units(tmp_path, frames):
    """The model is taken to be in bohr and hartree: LAMMPS gets Å and eV."""
    export(MODELS["Allegro"], frames / "triclinic.extxyz", "--format", "lammps", "--units", "bohr", "hartree",
           "--output", tmp_path / "l")  # fmt: skip
    _, facts = loaded(tmp_path / "l" / "model.nequip.pth")
    assert float(facts["r_max"]) == pytest.approx(4.0 * 0.529177210903, rel=1e-9)
    right, _ = answer(MODELS["Allegro"], ase.io.read(frames / "triclinic.extxyz"), "bohr", "hartree")
    assert answer(tmp_path / "l" / "model.nequip.pth", ase.io.read(frames / "triclinic.extxyz"))[0] == pytest.approx(
        right, rel=FLOAT64_RELATIVE
    )


@pytest.mark.slow
def test_ase_script_runs_by_itself(tmp_path, frames):
    export(MODELS["NequIP"], frames / "triclinic.extxyz", "--format", "ase", "--output", tmp_path / "a")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "run.py"], cwd=tmp_path / "a", capture_output=True, text=True, check=True
    )
    right, _ = answer(MODELS["NequIP"], ase.io.read(frames / "triclinic.extxyz"))
    printed = re.search(r"^-?\d+\.\d+(e[+-]?\d+)?$", run.stdout, re.MULTILINE)[0]
    assert float(printed) * KJ_PER_MOL_PER_EV == pytest.approx(right, rel=FLOAT64_RELATIVE)


def test_files_that_are_there_stay(tmp_path, frames, capsys):
    arguments = ["export", str(MODELS["NequIP"]), str(frames / "open.xyz"), "--format", "lammps", "--output"]
    folder = tmp_path / "l"
    folder.mkdir()
    (folder / "in.lammps").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, str(folder)])
    assert stopped.value.code == 2 and "--overwrite" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["in.lammps"]
    assert main([*arguments, str(folder), "--overwrite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["family"] == "NequIP" and document["differences"]["energy"] < FLOAT64_RELATIVE
    assert sorted(path.name for path in folder.iterdir()) == sorted(document["files"])
    assert "mine" not in (folder / "in.lammps").read_text()


@pytest.mark.parametrize(("arguments", "words"), [
    (["--format", "cp2k"], "give STRUCTURE"),
    (["open.xyz", "--format", "lammps", "--dialect", "old"], "--dialect belongs to --format cp2k"),
    (["open.xyz", "--format", "ase", "--form", "mliap"], "--form belongs to --format lammps"),
    (["open.xyz", "--format", "lammps", "--device", "cuda"], "--device belongs to --form aotinductor"),
    (["open.xyz", "--format", "gromacs", "--module-inputs", "atom-numbers", "atom-positions"], "comes first"),
    (["open.xyz", "--format", "gromacs", "--module-inputs", "atom-positions"], "lacks atom-numbers"),
    (["--format", "gromacs", "--module-inputs", "atom-positions", "atom-charges-mm"], "mechanical embedding"),
    (["--format", "gromacs", "--module-inputs", "atom-positions", "atom-numbers", "mass"], "is no input"),
])  # fmt: skip
def test_wrong_options(tmp_path, frames, capsys, arguments, words):
    given = [str(frames / word) if word == "open.xyz" else word for word in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(MODELS["NequIP"]), *given, "--output", str(tmp_path / "x")])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_models_that_are_not_exported(cp2k, tmp_path, capsys):
    mace = cp2k / "inputs" / "mace"
    arguments = [str(mace / "MACE" / "MACE_scratch_run-3.model-cp2k.pth"), str(mace / "mace-test.xyz")]
    for engine in ("gromacs", "cp2k", "lammps", "ase"):
        assert main(["export", *arguments, "--format", engine, "--output", str(tmp_path / "x")]) == 1
        assert "neither a NequIP nor an Allegro model" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.torchforce_stack
@pytest.mark.parametrize("name", ["torch213-nequip.nnpot.pt", "torch213-nequip.nequip.pth"])
def test_files_of_torch_213_load_here(name):
    """Written with torch 2.13; whatever torch runs this test reads them."""
    atoms = ase.Atoms("OHH", [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    right, forces = answer(MODELS["NequIP"], atoms)
    if name.endswith(".pth"):
        assert answer(DATA / name, atoms)[0] == pytest.approx(right, rel=FLOAT64_RELATIVE)
        return
    energy, given = loaded(DATA / name)[0](torch.tensor(atoms.positions / 10), torch.tensor(atoms.numbers))
    assert float(energy.detach()) == pytest.approx(right, rel=FLOAT32_RELATIVE)
    np.testing.assert_allclose(given.detach().numpy(), forces, atol=FLOAT32_FORCE_RELATIVE * np.abs(forces).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "structure", "cutoff"),
    [(SHIPPED, PEPTIDE, 0.45), (DATA / "tiny-nequip.nequip.pth", "triclinic.extxyz", 0.4)],
    ids=["shipped", "tiny"],
)
def test_an_exported_module_comes_back_in(tmp_path, frames, capsys, model, structure, cutoff):
    """Through the check at first use too: energies of single precision are coarse, forces near a minimum small."""
    export(model, frames / structure, "--format", "gromacs", "--output", tmp_path / "out")
    capsys.readouterr()
    inputs = re.findall(r"model-input\d\s*=\s*(\S+)", (tmp_path / "out" / "nnpot.mdp").read_text())
    command = ["energy", str(frames / structure), "--json", "--quiet"]
    energies = []
    for file, more in ((model, []), (tmp_path / "out" / "model.pt", ["--module-inputs", *inputs, f"cutoff={cutoff}"])):
        assert main([command[0], str(file), *command[1:], *more]) == 0, capsys.readouterr().err
        energies.append(json.loads(capsys.readouterr().out)["energy_kj_per_mol"])
    assert energies[1] == pytest.approx(energies[0], rel=FLOAT32_RELATIVE)
