"""Model files: every kind gives the same numbers, no loader leaves a trace, and bad files say what is wrong."""

import json
import os
import pickle
import random
import shutil
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import DATA

from openmm_nequip import CompileError, ModelFileError, load_model
from openmm_nequip.models import locate, read_info, source
from openmm_nequip.models.compiling import aot
from openmm_nequip.models.compiling.example import example_graph

pytestmark = pytest.mark.torchforce_stack

#: Energy per atom (eV) and forces (eV/Å) of float64 models, between formats.
ENERGY_PER_ATOM = 1e-10
FORCE = 1e-10
#: Against NequIPCalculator.
CALCULATOR = 1e-6
MODELS = ["tiny-nequip", "tiny-allegro"]


def graph(n_atoms=None):
    data = example_graph(4, 4.0)
    positions, types = data["pos"], data["atom_types"]
    edges, shifts, cell = data["edge_index"], data["edge_cell_shift"], data["cell"][0]
    if n_atoms is not None:
        positions, types = positions[:n_atoms], types[:n_atoms]
        edges, shifts = edges[:, :0], shifts[:0]
    return positions, types, edges, shifts, cell


@pytest.fixture(scope="session")
def artefacts(compiled, packages):
    """Every form of each model: name -> list of (label, path, keywords)."""
    return {
        name: [
            ("ckpt", DATA / f"{name}.ckpt", {"compile": False}),
            ("zip eager", DATA / f"{name}.nequip.zip", {"compile": False}),
            ("zip compiled", DATA / f"{name}.nequip.zip", {"compile": True, "kernels": "none"}),
            ("zip auto", DATA / f"{name}.nequip.zip", {}),
            ("pth", DATA / f"{name}.nequip.pth", {}),
            ("pt2", compiled / f"{name}.nequip.pt2", {}),
        ]
        for name in MODELS
    }


@pytest.mark.parametrize("name", MODELS)
def test_every_artefact_gives_the_same_numbers(artefacts, name):
    inputs = graph()
    reference = load_model(DATA / f"{name}.ckpt", compile=False)(*inputs)
    assert reference["energy"].shape == () and reference["forces"].shape == inputs[0].shape
    for label, path, keywords in artefacts[name]:
        out = load_model(path, **keywords)(*inputs)
        assert abs(out["energy"] - reference["energy"]) < ENERGY_PER_ATOM * len(inputs[0]), label
        assert (out["forces"] - reference["forces"]).abs().max() < FORCE, label
        assert (out["atomic_energies"] - reference["atomic_energies"]).abs().max() < ENERGY_PER_ATOM, label
        assert (out["virial"] - reference["virial"]).abs().max() < 1e-9, label
        assert all(value.dtype == torch.float64 for value in out.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_atoms", [1, 2])
def test_isolated_atoms_have_their_own_energy(artefacts, name, n_atoms):
    inputs = graph(n_atoms)
    energies = []
    for label, path, keywords in artefacts[name]:
        out = load_model(path, **keywords)(*inputs)
        assert not out["forces"].any(), label
        assert out["forces"].shape == (n_atoms, 3)
        energies.append(float(out["energy"]))
    assert np.ptp(energies) < ENERGY_PER_ATOM


@pytest.mark.parametrize("name", MODELS)
def test_padding_edges_change_nothing(artefacts, name):
    from openmm_nequip.graph.padding import PAD_DISTANCE, pad_edges

    positions, types, edges, shifts, cell = graph()
    for label, path, keywords in artefacts[name]:
        model = load_model(path, **keywords)
        out = model(positions, types, edges, shifts, cell)
        more = model(positions, types, *pad_edges(edges, shifts, cell, len(positions), PAD_DISTANCE * 4.0, 7), cell)
        assert abs(out["energy"] - more["energy"]) < 1e-12, label
        assert (out["forces"] - more["forces"]).abs().max() < 1e-12, label


@pytest.mark.parametrize("name", MODELS)
def test_info_is_the_same_for_every_artefact(artefacts, name):
    facts = set()
    for _, path, keywords in artefacts[name]:
        found = locate(path)
        for info in (load_model(path, **keywords).info, read_info(found, run_code=False)):
            facts.add((info.type_names, info.cutoff, info.dtype, info.per_edge_type_cutoff))
        assert found.path == str(path) and len(found.sha256) == 64 and found.size_bytes == os.path.getsize(path)
    assert len(facts) == 1
    assert facts.pop()[:3] == (("H", "C", "N", "O"), 4.0, "float64")


def test_agrees_with_nequip_calculator(compiled):
    """Energies and forces of NequIPCalculator on a periodic structure, through our neighbour list and units."""
    from ase.build import molecule
    from nequip.integrations.ase import NequIPCalculator

    from openmm_nequip.evaluate.evaluator import Evaluator
    from openmm_nequip.evaluate.placement import Placement
    from openmm_nequip.units import KJ_PER_MOL_PER_EV, Units
    from openmm_nequip.upstream.nequip_state import preserved_global_state

    atoms = molecule("CH3CONH2")
    atoms.set_cell([[7.0, 0, 0], [2.0, 6.0, 0], [-1.0, 1.5, 8.0]])
    atoms.pbc = True
    with preserved_global_state():
        atoms.calc = NequIPCalculator.from_compiled_model(
            str(compiled / "tiny-nequip.nequip.pt2"), chemical_species_to_atom_type_map=True
        )
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
    types = np.array(["HCNO".index(symbol) for symbol in atoms.get_chemical_symbols()])
    for path, keywords in ((compiled / "tiny-nequip.nequip.pt2", {}), (DATA / "tiny-nequip.nequip.pth", {})):
        model = load_model(path, **keywords)
        out = Evaluator(model, Units(), Placement(len(atoms), types), True, 0.05).evaluate(
            atoms.positions / 10, np.array(atoms.cell) / 10
        )
        assert abs(out["energy"] / KJ_PER_MOL_PER_EV - energy) < CALCULATOR
        assert np.abs(out["forces"] / Units().force - forces).max() < CALCULATOR
        assert np.abs(out["stress"] / Units().stress_bar - stress).max() < CALCULATOR


def touched_copy(source, target):
    """A copy with another content hash, so that no cache knows it."""
    path = shutil.copy(source, target)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0].split("/")[0] + "/extra/note", "changes the hash")
    return path


def snapshot():
    return {
        "python": random.getstate(),
        "numpy": pickle.dumps(np.random.get_state()),
        "torch": bytes(torch.get_rng_state().numpy()),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "environment": dict(os.environ),
    }


@pytest.mark.parametrize("suffix", ["ckpt", "nequip.zip", "nequip.pth"])
def test_loading_and_running_leaves_no_trace(tmp_path, suffix):
    """The loader really runs, in a process whose default dtype is not nequip's."""
    path = touched_copy(DATA / f"tiny-nequip.{suffix}", tmp_path / f"model.{suffix}")
    load_model(DATA / "tiny-nequip.ckpt", compile=False)  # nequip's imports set variables of the environment, once
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float32)
    before = snapshot()
    model = load_model(path, compile=False)
    out = model(*graph())
    after = snapshot()
    assert {key for key in before if before[key] != after[key]} == set()
    assert out["energy"].dtype == torch.float64


def test_eager_model_is_frozen():
    module = load_model(DATA / "tiny-nequip.ckpt", compile=False).module
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_evaluation_works_where_gradients_are_off():
    inputs = graph()
    for path in ("tiny-nequip.nequip.pth", "tiny-nequip.ckpt"):
        model = load_model(DATA / path, compile=False)
        expected = model(*inputs)["energy"]
        with torch.no_grad():
            assert model(*inputs)["energy"] == expected


@pytest.mark.slow
def test_kind_is_told_by_content_not_name(tmp_path):
    for name, kind in (
        ("tiny-nequip.ckpt", "checkpoint"),
        ("tiny-nequip.nequip.zip", "package"),
        ("tiny-nequip.nequip.pth", "torchscript"),
    ):
        path = shutil.copy(DATA / name, tmp_path / "model.bin")
        assert locate(path).kind == kind
        expected = load_model(DATA / name, compile=False)(*graph())["energy"]
        assert load_model(path, compile=False)(*graph())["energy"] == expected


def write(path, content):
    path.write_bytes(content)
    return path


def foreign_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.txt", "hello")
    return path


def foreign_script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    return path


def foreign_torch_file(path):
    torch.save({"weights": torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "does not exist"),
        (lambda path: path.parent, "is a folder"),
        (lambda path: write(path, b""), "is empty"),
        (lambda path: write(path, b"hello world, no model"), "no zip archive"),
        (lambda path: write(path, pickle.dumps({"a": 1})), "a bare pickle"),
        (lambda path: write(path, (DATA / "tiny-nequip.nequip.zip").read_bytes()[:50000]), "is truncated"),
        (lambda path: write(path, (DATA / "tiny-nequip.nequip.pth").read_bytes()[:5000]), "is truncated"),
        (foreign_zip, "is a zip archive, but not a model"),
        (foreign_script, "is no NequIP or Allegro potential: it lacks the extra files r_max, type_names"),
        (foreign_torch_file, "no nequip training checkpoint"),
    ],
)
def test_bad_files(tmp_path, make, message):
    with pytest.raises(ModelFileError, match=message):
        load_model(make(tmp_path / "model.nequip.zip"))


def test_a_package_with_a_missing_member_is_refused(tmp_path):
    path = tmp_path / "broken.nequip.zip"
    with zipfile.ZipFile(DATA / "tiny-nequip.nequip.zip") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if not name.endswith("eager_model.pkl"):
                new.writestr(name, old.read(name))
    with pytest.raises(ModelFileError, match="is damaged .*eager_model"):
        load_model(path, compile=False)


def test_trusted_hash_is_checked_before_anything_runs(tmp_path):
    good = source.sha256_of(str(DATA / "tiny-nequip.ckpt"))
    assert load_model(DATA / "tiny-nequip.ckpt", compile=False, trusted=good.upper())
    with pytest.raises(ModelFileError, match="not the trusted one.*nothing of it was loaded"):
        load_model(DATA / "tiny-nequip.ckpt", compile=False, trusted="0" * 64)


def foreign_package(path, metadata):
    """The text of an AOTInductor package, without its machine code."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/model_metadata.json", json.dumps(metadata))
    return path


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"nequip_aoti_inputs": "pos edge_index atom_types"}, "compiled for ghost atoms.*--target ase"),
        ({"nequip_aoti_inputs": "pos edge_index atom_types cell edge_cell_shift batch num_atoms"}, "batched target"),
        ({"nequip_aoti_outputs": "total_energy"}, "energy and forces are needed"),
    ],
)
def test_unsuitable_compile_targets_are_refused(tmp_path, metadata, message):
    path = foreign_package(tmp_path / "model.nequip.pt2", {"r_max": "4", "type_names": "H O"} | metadata)
    for read in (load_model, lambda path: read_info(locate(path))):
        with pytest.raises(ModelFileError, match=message):
            read(path)


def test_a_package_for_another_device_is_refused(tmp_path):
    facts = {"AOTI_DEVICE_KEY": "cuda", "r_max": "4", "type_names": "H O"}
    path = foreign_package(tmp_path / "model.nequip.pt2", facts)
    with pytest.raises(ModelFileError, match="compiled for 'cuda' and cannot run on 'cpu'.*--device cpu"):
        load_model(path)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps", 3.5])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match="device="):
        load_model(DATA / "tiny-nequip.nequip.pth", device=device)


def test_without_a_compiler_it_runs_eagerly_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    path = touched_copy(DATA / "tiny-nequip.ckpt", tmp_path / "copy.ckpt")
    with pytest.warns(RuntimeWarning, match=r"runs uncompiled.*no C\+\+ compiler was found"):
        model = load_model(path)
    assert not model.info.compiled
    with pytest.raises(CompileError, match="apt-get install"):
        aot.cached_package(locate(path), torch.device("cpu"))


@pytest.mark.slow
def test_a_failed_compilation_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
    monkeypatch.setattr(aot, "WORKER", "openmm_nequip.models.no_such_worker")
    with pytest.raises(CompileError, match="no_such_worker"):
        aot.cached_package(locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu"))
    assert [path for path in (tmp_path / "compiled").rglob("*")] == []


def test_two_compilations_at_once_do_no_harm(tmp_path, monkeypatch):
    """Both find a whole file at the end, and nobody sees part of one in between."""
    import slow_worker

    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(DATA.parent))
    monkeypatch.setattr(aot, "WORKER", "slow_worker")
    found = locate(DATA / "tiny-nequip.ckpt")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(aot.cached_package, found, torch.device("cpu")) for _ in range(2)]
        while not all(job.done() for job in jobs):
            for path in (tmp_path / "compiled").glob("*.nequip.pt2"):
                assert path.read_bytes() == slow_worker.CONTENT
    assert jobs[0].result() == jobs[1].result()
    assert [path.name for path in (tmp_path / "compiled").iterdir()] == [jobs[0].result().name]


def test_a_nequip_net_id_that_cannot_be_fetched(monkeypatch):
    """nequip's own client is asked; without a network its error arrives with what to do."""
    from nequip.utils import model_repository

    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(model_repository.NequIPNetAPIClient, "get_model_download_info", refuse)
    with pytest.raises(ModelFileError, match="could not be fetched: ConnectionError: no network; check the id"):
        load_model("nequip.net:group/model:1")


def test_compiled_files_are_found_again(packages):
    device = torch.device("cpu")
    first = aot.cached_package(locate(DATA / "tiny-nequip.nequip.zip"), device)
    stamp = first.stat().st_mtime_ns
    assert aot.cached_package(locate(DATA / "tiny-nequip.nequip.zip"), device) == first
    assert first.stat().st_mtime_ns == stamp
    assert aot.cached_package(locate(DATA / "tiny-allegro.nequip.zip"), device) != first
