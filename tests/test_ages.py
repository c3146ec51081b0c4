"""Files of every age give the right number or say why not."""

import json
import re
import warnings
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from toy import make_topology

from openmm_nequip import ModelFileError, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import locate, read_info
from openmm_nequip.models.ages import altered_by, differs
from openmm_nequip.models.formats import checkpoint
from openmm_nequip.units import KJ_PER_MOL_PER_EV, Units

FAULTS = Path(__file__).resolve().parents[2] / "shared" / "faults" / "models"
CP2K = FAULTS.parents[1] / "data" / "cp2k"
#: eV per structure, float64.
ENERGY = 1e-7
#: kJ/mol/nm.
FORCE = 1e-3


def shared(path):
    """A file beside the repository; skips with its name where it is absent."""
    if not path.exists():
        pytest.skip(f"not part of the repository, and absent: {path.name}")
    return path


def energy_and_forces(model, frame):
    types = np.array([model.info.type_names.index(symbol) for symbol in frame.get_chemical_symbols()])
    periodic = bool(frame.pbc.all())
    evaluator = Evaluator(model, Units(), Placement(len(types), types), periodic, 0.0)
    energy, forces = evaluator(frame.positions / 10, np.array(frame.cell) / 10 if periodic else None)
    return energy / KJ_PER_MOL_PER_EV, forces


PARITY = {"_target_": "nequip.model.NequIPGNNModel", "l_max": 2, "parity": True}
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal"}
#: Its exponent stands in the configuration of the radial embedding.
ALLEGRO = {"_target_": "allegro.model.AllegroModel", "l_max": 2, "parity": True, "pair_potential": ZBL}


@pytest.mark.parametrize(
    ("config", "made_with", "installed", "count"),
    [
        (PARITY, "0.14.0", "0.19.1", 1),
        (PARITY, "0.15.2", "0.16.0", 1),
        (PARITY, "0.16.0", "0.19.1", 0),
        (PARITY, "0.19.1", "0.14.0", 1),
        (PARITY | {"parity": False}, "0.14.0", "0.19.1", 0),
        (PARITY | {"l_max": 1}, "0.14.0", "0.19.1", 0),
        ({"_target_": "allegro.model.AllegroModel", "l_max": 2, "parity": True}, "0.14.0", "0.19.1", 0),
        (PARITY | {"l_max": 1, "pair_potential": ZBL, "polynomial_cutoff_p": 5}, "0.16.3", "0.17.0", 1),
        (PARITY | {"l_max": 1, "pair_potential": ZBL}, "0.16.3", "0.17.0", 0),
        (PARITY | {"pair_potential": ZBL, "polynomial_cutoff_p": 5}, "0.14.0", "0.19.1", 2),
        (ALLEGRO | {"radial_chemical_embed": {"polynomial_cutoff_p": 5}}, "0.16.3", "0.17.0", 1),
        (ALLEGRO | {"radial_chemical_embed": {"polynomial_cutoff_p": 6}}, "0.16.3", "0.17.0", 0),
        (ALLEGRO | {"radial_chemical_embed": {"num_splines": 8}}, "0.16.3", "0.17.0", 0),
        (PARITY, None, "0.19.1", 0),
        (PARITY, "0.14.0", "none", 0),
    ],
)
def test_changes_that_alter_a_model(config, made_with, installed, count):
    assert len(altered_by(config, made_with, installed)) == count


def test_patches_do_not_count():
    assert differs("0.18.2", "0.19.1") and not differs("0.19.0", "0.19.1") and not differs(None, "0.19.1")


def test_an_old_checkpoint_with_other_energies_is_refused():
    """-53.14531 eV came without a word; its own nequip, and the package made under it, give -53.37678454."""
    old = shared(FAULTS / "nequip014-l2-parity.ckpt")
    words = "trained with nequip 0.14.0.*would give it other energies: nequip 0.16 orders.*`nequip-package` under neq"
    potential = MLPotential("nequip", modelPath=old)
    for attempt in (lambda: load_model(old, compile=False), lambda: potential.createSystem(make_topology(["H", "C"]))):
        with pytest.raises(ModelFileError, match=words):
            attempt()
    assert read_info(locate(old), run_code=False).versions["nequip"] == "0.14.0", "its facts can be read"
    frame = ase.io.read(FAULTS / "fr_triclinic24.extxyz")
    package = load_model(FAULTS / "nequip014-l2-parity.nequip.zip", compile=False)
    assert energy_and_forces(package, frame)[0] == pytest.approx(-53.37678454, abs=ENERGY)


@pytest.mark.slow
def test_a_package_without_parity_of_an_old_nequip():
    """It labels its edge harmonics even: fused as others are."""
    path = shared(FAULTS / "nequip014-l2-noparity.nequip.zip")
    frame = ase.io.read(FAULTS / "fr_triclinic24.extxyz")
    energy, forces = energy_and_forces(load_model(path, compile=False), frame)
    assert energy == pytest.approx(-65.3243724827, abs=ENERGY)
    fused_energy, fused_forces = energy_and_forces(load_model(path, kernels="fused"), frame)
    assert fused_energy == pytest.approx(-65.3243724827, abs=ENERGY)
    assert np.abs(fused_forces - forces).max() < FORCE


def aged(path, version):
    """A copy of a checkpoint that states another nequip."""
    with zipfile.ZipFile(DATA / "tiny-nequip.ckpt") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/data.pkl"):
                known = re.search(rb"0\.19\.1", content)[0]
                assert len(known) == len(version)
                content = content.replace(known, version.encode())
            new.writestr(name, content)
    return path


def test_other_differences_of_version_are_said(tmp_path):
    """The numbers stay, and the two versions are named; a patch is no difference."""
    with pytest.warns(RuntimeWarning, match="trained with nequip 0.18.0 and is computed with 0.19.1"):
        checkpoint.warn_of_age(locate(aged(tmp_path / "old.ckpt", "0.18.0")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint.warn_of_age(locate(aged(tmp_path / "patch.ckpt", "0.19.0")))


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["none", "fused"])
def test_a_model_of_energies_alone_gives_forces(kernels):
    path = shared(FAULTS / "energy-only.nequip.zip")
    model = load_model(path, compile=False if kernels == "none" else None, kernels=kernels)
    energy, forces = energy_and_forces(model, ase.io.read(FAULTS / "methane.xyz"))
    assert energy == pytest.approx(-7.0587306072, abs=ENERGY)
    assert np.linalg.norm(forces, axis=1).max() == pytest.approx(607.0715, abs=FORCE)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("inputs/seed/NequIP/water-double.pth", "float64"),
        pytest.param("inputs/mid/Allegro/gra-water-deployed-neq060sp.pth", "float32", marks=pytest.mark.slow),
        ("water-deployed-neq060sp.pth", "float32"),
        pytest.param("waterscan-neq0.16.nequip.pth", "float64", marks=pytest.mark.slow),
    ],
)
def test_precision_is_that_of_the_parameters(name, dtype):
    """Files of nequip 0.5 state none; the wrong one is an error of TorchScript, or the end of the process."""
    path = shared(CP2K / name)
    assert read_info(locate(path)).dtype == load_model(path).info.dtype == dtype


def test_published_energy_of_a_double_precision_file_of_nequip_0_5():
    path = shared(CP2K / "inputs" / "seed" / "NequIP" / "water-double.pth")
    frame = ase.io.read(CP2K / "inputs" / "seed" / "H2O-32.xyz")
    text = (CP2K / "inputs" / "seed" / "NequIP_water_double.inp").read_text()
    edges = re.search(r"ABC\s+(?:\[angstrom\]\s+)?([\d.]+)\s+([\d.]+)\s+([\d.]+)", text)
    frame.set_cell([float(word) for word in edges.groups()])
    frame.pbc = True
    energy, _ = energy_and_forces(load_model(path), frame)
    # CP2K's Hartree, CODATA 2006.
    assert energy / 27.211383856556 == pytest.approx(-550.638647597308932, rel=1e-8)


#: eV/A: float32 arithmetic of one structure, at the origin and a thousand cells away.
FLOAT32_FORCE = 2e-4


def test_single_precision_files_far_from_the_origin():
    """OpenMM does not wrap positions: a thousand cells away forces were off by 2e-2 eV/A."""
    model = load_model(shared(CP2K / "water-deployed-neq060sp.pth"))
    frame = ase.io.read(CP2K / "water-bulk.xyz")
    frame.set_cell([9.8528] * 3)
    frame.pbc = True
    energy, forces = energy_and_forces(model, frame)
    rng = np.random.default_rng(1)
    for images in (np.full((96, 3), 1000), rng.integers(-1000, 1001, (96, 3))):
        moved = frame.copy()
        moved.positions += images @ np.array(frame.cell)
        far_energy, far_forces = energy_and_forces(model, moved)
        assert abs(far_energy - energy) < 1e-4 * 96
        assert np.abs(far_forces - forces).max() / Units().force < FLOAT32_FORCE


def test_outputs_are_those_of_the_file(capsys):
    """Files of nequip <= 0.6 give a virial only where they were deployed with one."""
    path = shared(FAULTS / "deployed062-nostress.pth")
    assert main(["info", str(path)]) == 0
    assert re.search(r"^outputs +energy, forces, atomic_energies$", capsys.readouterr().out, re.MULTILINE)
    assert "virial" in read_info(locate(DATA / "tiny-nequip.nequip.pth")).outputs


def unnamed_package(path, counts, **metadata):
    """The text of a package of nequip < 0.17, which names no fields: C++ that states their numbers."""
    facts = {"r_max": "4", "type_names": "H O", "model_dtype": "float64"} | metadata
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/a.wrapper_metadata.json", json.dumps(facts))
        archive.writestr("model/data/aotinductor/model/a.kernel.cpp", "// kernels")
        if counts:
            text = "    : AOTInductorModelBase({},\n                           {},\n                           23,"
            archive.writestr("model/data/aotinductor/model/a.wrapper.cpp", text.format(*counts))
    return path


@pytest.mark.parametrize(
    ("counts", "metadata", "target", "outputs"),
    [
        ((5, 4), {}, "ase", ("atomic_energies", "energy", "forces", "virial")),
        ((5, 3), {}, "pair_nequip", ("atomic_energies", "energy", "forces", "virial")),
        ((5, 2), {}, "openmm", ("energy", "forces")),
        ((5, 4), {"openmm-nequip_version": "0.1.0"}, "openmm-full", ("atomic_energies", "energy", "forces", "virial")),
        (None, {}, "ase", ("atomic_energies", "energy", "forces", "virial")),
    ],
)
def test_targets_of_packages_that_name_no_fields(tmp_path, counts, metadata, target, outputs):
    info = read_info(locate(unnamed_package(tmp_path / "old.nequip.pt2", counts, **metadata)))
    assert (info.target, info.outputs) == (target, outputs)


@pytest.mark.parametrize(
    ("counts", "words"),
    [((3, 3), "ghost atoms"), ((7, 4), "batched target"), ((6, 4), "has 6 and 4 of them"), ((5, 1), "5 and 1 of")],
)
def test_targets_that_cannot_run_are_refused_by_their_numbers(tmp_path, counts, words):
    path = unnamed_package(tmp_path / "old.nequip.pt2", counts)
    with pytest.raises(ModelFileError, match=words):
        read_info(locate(path))
    with pytest.raises(ModelFileError, match=words):
        load_model(path)


@pytest.mark.parametrize(("name", "target"), [("tiny-nequip", "ase"), ("tiny-allegro", "pair_nequip")])
def test_a_compiled_package_without_names_runs(tmp_path, compiled, name, target):
    """Compiled as nequip < 0.17 did: the names are taken out again."""
    path = compiled / f"{name}.nequip.pt2"
    old = tmp_path / "old.nequip.pt2"
    with zipfile.ZipFile(path) as package, zipfile.ZipFile(old, "w") as new:
        for entry in package.namelist():
            content = package.read(entry)
            if entry.endswith("_metadata.json"):
                facts = json.loads(content)
                content = json.dumps({key: value for key, value in facts.items() if "nequip_aoti" not in key}).encode()
            new.writestr(entry, content)
    frame = ase.io.read(shared(FAULTS / "methane.xyz"))
    model = load_model(old)
    assert model.info.target == target
    right = energy_and_forces(load_model(DATA / f"{name}.nequip.zip", compile=False), frame)
    found = energy_and_forces(model, frame)
    assert found[0] == pytest.approx(right[0], abs=ENERGY) and np.abs(found[1] - right[1]).max() < FORCE


def test_packages_of_nequip_0_8_name_their_metadata_otherwise(tmp_path):
    """Their GraphModel keeps in ``metadata`` what later ones keep in ``_metadata``."""
    old = tmp_path / "old.nequip.zip"
    renamed = 0
    with zipfile.ZipFile(DATA / "tiny-nequip.nequip.zip") as given, zipfile.ZipFile(old, "w") as written:
        for entry in given.infolist():
            content = given.read(entry)
            if entry.filename.endswith("/model/eager_model.pkl"):
                before, after = (b"X" + len(name).to_bytes(4, "little") + name for name in (b"_metadata", b"metadata"))
                renamed += content.count(before)
                content = content.replace(before, after)
            written.writestr(entry, content)
    assert renamed
    facts = [read_info(locate(path), run_code=False) for path in (DATA / "tiny-nequip.nequip.zip", old)]
    assert facts[0] == facts[1]


def test_checkpoints_whose_weights_do_not_fit_say_why_and_what_to_do(tmp_path):
    """Settings that a file leaves open had other defaults once: radial networks of nequip 0.16 were deeper."""
    content = torch.load(DATA / "tiny-nequip.ckpt", map_location="cpu", weights_only=False)
    model = content["hyper_parameters"]["model"]
    model["radial_mlp_width"] = 2 * model["radial_mlp_width"]
    torch.save(content, tmp_path / "other.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ModelFileError, match=r"not fit the installed nequip 0\.19.*`nequip-package` under that"):
            load_model(tmp_path / "other.ckpt", compile=False)
