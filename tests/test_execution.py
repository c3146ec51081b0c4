"""How a model is to be run: checked once, the key of what is loaded, and nothing is loaded before it is needed."""

import gc
import json
import shutil
import threading
import time
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm
import pytest
from conftest import DATA
from openmmml import MLPotential
from toy import make_topology, write_toy

from openmm_nequip import create_mixed_system, load_model
from openmm_nequip.errors import CompileError, CudaGraphError, KernelsError, ModifierError
from openmm_nequip.models import Execution, locate, open_model, opening, read_info

pytestmark = pytest.mark.torchforce_stack

ZIP = DATA / "tiny-nequip.nequip.zip"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "tpu"}, ValueError, "device='tpu' is no torch device; use 'cpu', 'cuda' or 'cuda:N'"),
        ({"device": "mps"}, ValueError, "device='mps' is not supported"),
        ({"device": "cuda:x"}, ValueError, "device='cuda:x' is no torch device"),
        ({"compile": "yes"}, TypeError, "compile='yes' is neither True nor False nor None"),
        ({"compile": 1}, TypeError, "compile=1 is neither"),
        ({"tables": "False"}, TypeError, "tables='False' is neither True nor False"),
        ({"tables": None}, TypeError, "tables=None is neither"),
        ({"kernels": "fast"}, ValueError, "kernels='fast' is unknown; use one of 'auto', 'none', 'fused'"),
        ({"modifiers": "enable_A"}, TypeError, "modifiers='enable_A': give a list of names"),
        ({"modifiers": [1]}, TypeError, "give a list of names"),
        ({"modifiers": ["a"], "kernels": "fused"}, ModifierError, "exclude each other"),
        ({"cuda_graphs": "on"}, ValueError, "cudaGraphs='on' is unknown; use 'auto', True or False"),
        ({"cuda_graphs": 1}, ValueError, "cudaGraphs=1 is unknown"),
        ({"cuda_graphs": True, "device": "cpu"}, CudaGraphError, "only CUDA devices have CUDA graphs"),
    ],
)
def test_bad_values(options, error, message):
    with pytest.raises(error, match=message):
        Execution(**options)


def test_equal_executions_are_one_key_and_plain_data():
    one = Execution("cpu", None, "none", False, ["enable_A"], False)
    other = Execution("cpu", None, "none", False, ("enable_A",), False)
    assert one == other and hash(one) == hash(other)
    assert Execution.from_dict(one.as_dict()) == one
    assert all(isinstance(value, (str, bool, list, type(None))) for value in one.as_dict().values())


def test_true_after_a_fallback_is_an_error(tmp_path, monkeypatch):
    """What was run eagerly for want of a compiler does not pass for compiled."""
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(RuntimeWarning, match="runs uncompiled"):
        kept = load_model(ZIP, kernels="none")
    assert not kept.info.compiled
    with pytest.raises(CompileError, match="no C"):
        load_model(ZIP, kernels="none", compile=True)


def test_a_file_of_the_same_content_is_known_by_its_own_path(tmp_path):
    first, second = (write_toy(tmp_path / name) for name in ("first.pth", "second.pth"))
    shutil.copy(first, second)
    kept = load_model(first)
    first.unlink()
    model = load_model(second)
    assert model.source.path == str(second) and kept.source.path == str(first)


def test_models_that_nobody_uses_are_let_go(tmp_path):
    path = write_toy(tmp_path / "toy.pth")
    model = load_model(path)
    assert load_model(path) is model, "while somebody uses it, it is loaded once"
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_two_threads_load_two_models_at_once(tmp_path, monkeypatch):
    """Neither waits for the other; both loads are under way at one time."""
    both = threading.Barrier(2, timeout=20)
    original = opening.format_of

    def wait(kind):
        row = original(kind)
        if threading.current_thread() is not threading.main_thread():
            both.wait()
        return row

    paths = [write_toy(tmp_path / f"{name}.pth", types=f"H {name}") for name in ("C", "O")]
    sources = [locate(path) for path in paths]
    monkeypatch.setattr(opening, "check_execution", lambda source, execution: None)
    monkeypatch.setattr(opening, "format_of", wait)
    with ThreadPoolExecutor(2) as pool:
        models = list(pool.map(lambda source: open_model(source, Execution("cpu")), sources))
    assert [model.info.type_names[1] for model in models] == ["C", "O"]


def test_many_threads_load_one_model_once(tmp_path, monkeypatch):
    source, calls = locate(write_toy(tmp_path / "toy.pth")), []
    original = opening.format_of

    def count(kind):
        calls.append(kind)
        time.sleep(0.05)
        return original(kind)

    monkeypatch.setattr(opening, "check_execution", lambda source, execution: None)
    monkeypatch.setattr(opening, "format_of", count)
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: open_model(source, Execution("cpu")), range(8)))
    assert len(calls) == 1 and all(model is models[0] for model in models)


def test_eager_models_in_several_threads(tmp_path):
    """nequip needs another default dtype while it computes, and the default is one for all threads."""
    import torch

    from openmm_nequip.models.compiling.example import example_graph

    data = list(example_graph(4, 4.0).values())
    inputs = data[0], data[1], data[2], data[3], data[4].view(3, 3)
    model = load_model(ZIP, compile=False)
    expected = model(*inputs)
    before = torch.get_default_dtype()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model(*inputs), range(12)))
    assert all(torch.equal(out["forces"], expected["forces"]) for out in found)
    assert torch.get_default_dtype() == before


FILES = ["tiny-nequip.ckpt", "tiny-nequip.nequip.zip", "tiny-allegro.ckpt", "tiny-allegro.nequip.zip",
         "tiny-nequip.nequip.pth"]  # fmt: skip


@pytest.fixture
def nothing_opens(tmp_path, monkeypatch):
    """Opening any model is an error, and the cache is empty."""

    def refuse(*arguments, **keywords):
        raise AssertionError("a model was opened")

    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(opening.OPEN_MODELS, "get", refuse)
    return tmp_path / "cache"


@pytest.mark.parametrize("name", FILES)
def test_setting_up_opens_nothing(nothing_opens, name):
    """createSystem and createMixedSystem read facts only: nothing is compiled, fused or even loaded."""
    potential = MLPotential("nequip", modelPath=DATA / name, backend="PythonForce")
    topology = make_topology(["C", "H", "O", "N"])
    system = potential.createSystem(topology)
    assert [force.getName() for force in system.getForces()][0] == "NequIP"
    mm = openmm.System()
    for atom in topology.atoms():
        mm.addParticle(atom.element.mass)
    mixed = create_mixed_system(topology, mm, [0, 1], DATA / name, backend="PythonForce")
    assert mixed.report is not None
    assert not nothing_opens.exists() or not any(nothing_opens.rglob("*.so"))


@pytest.mark.parametrize("name", FILES)
def test_facts_need_no_code_of_the_file(nothing_opens, name):
    found = read_info(locate(DATA / name), run_code=False)
    assert found.type_names == ("H", "C", "N", "O") and found.cutoff == 4.0 and found.dtype == "float64"
    assert "forces" in found.outputs and (found.versions or name.endswith(".pth"))


def compiled_elsewhere(path):
    """What a package of nequip-compile looks like from outside."""
    facts = {"r_max": "4.0", "type_names": "H C", "model_dtype": "float64", "AOTI_DEVICE_KEY": "cpu"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/_metadata.json", json.dumps(facts))
    return path


def test_a_package_of_nequip_alone_says_what_would_be_faster(tmp_path):
    info = read_info(locate(compiled_elsewhere(tmp_path / "model.nequip.pt2")))
    assert info.kernels.startswith("none: it was compiled without them; the .ckpt or .nequip.zip it came from")
    assert "10 to 130 times faster" in info.kernels and "--mode aotinductor" in info.kernels
    assert "--modifiers enable_FusedKernels" in info.kernels


def test_what_a_format_rules_out_is_said_at_once(nothing_opens, tmp_path):
    topology = make_topology(["H", "C"])
    scripted = MLPotential("nequip", modelPath=DATA / "tiny-nequip.nequip.pth")
    compiled = MLPotential("nequip", modelPath=compiled_elsewhere(tmp_path / "model.nequip.pt2"))
    with pytest.raises(KernelsError, match="is a aotinductor file, compiled already; give the .ckpt or .nequip.zip"):
        compiled.createSystem(topology, kernels="fused")
    with pytest.raises(ModifierError, match="is a torchscript file"):
        scripted.createSystem(topology, modifiers=["enable_A"])
    package = MLPotential("nequip", modelPath=ZIP)
    with pytest.raises(ValueError, match="precision='single' was asked for"):
        package.createSystem(topology, precision="single")
    with pytest.raises(ValueError, match="is Xe, which the model does not know"):
        package.createSystem(make_topology(["Xe"]))


def test_the_first_energy_opens_the_model():
    """And the copies of a System share what is open."""
    system = MLPotential("nequip", modelPath=ZIP, backend="PythonForce").createSystem(make_topology(["H", "C", "O"]))
    energies = []
    contexts = []
    for copy in (system, openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))):
        platform = openmm.Platform.getPlatformByName("Reference")
        contexts.append(openmm.Context(copy, openmm.VerletIntegrator(0.001), platform))
        contexts[-1].setPositions(np.array([[0.0, 0, 0], [0.11, 0, 0], [0, 0.12, 0]]))
        energies.append(contexts[-1].getState(getEnergy=True).getPotentialEnergy()._value)
    assert energies[0] == energies[1] != 0
