"""nequip's modifiers: which are chosen, what refuses them, and that they are really applied and kept apart."""

import importlib.util
import threading

import pytest
import torch
from conftest import DATA
from nequip.nn import model_modifier
from openmmml import MLPotential
from toy import make_topology

from openmm_nequip import load_model
from openmm_nequip.models import CompileError, Execution, ModifierError, locate, open_model, opening
from openmm_nequip.models.compiling import aot
from openmm_nequip.models.compiling.modifiers import apply_modifiers, wanted_modifiers
from openmm_nequip.models.eager import load_module
from openmm_nequip.models.formats.aotinductor import AOTInductorModel
from openmm_nequip.upstream.nequip_state import preserved_global_state

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


class Marked(torch.nn.Module):
    """A module with one modifier of each kind; those that are applied leave their name in a list."""

    def __init__(self):
        super().__init__()
        self.applied = []

    @model_modifier(persistent=False, unsupported_devices=["cpu"], supported_compile_modes=["aotinductor"])
    @classmethod
    def enable_OpenEquivariance(cls, model):
        model.applied.append("oeq")
        return model

    @model_modifier(persistent=False)
    @classmethod
    def enable_CuEquivariance(cls, model):
        model.applied.append("cueq")
        return model

    @model_modifier(persistent=True)
    @classmethod
    def change_everything(cls, model):
        model.applied.append("everything")
        return model

    @model_modifier(persistent=False)
    @classmethod
    def enable_Missing(cls, model):
        import a_library_that_nobody_has  # noqa: F401


def test_who_does_not_choose_gets_what_is_installed(monkeypatch):
    there = {"openequivariance", "triton"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in there else None)
    assert wanted_modifiers(None, CPU) == () and wanted_modifiers([], CUDA) == ()
    assert wanted_modifiers(None, CUDA) == ("enable_OpenEquivariance", "enable_TritonContracter")
    assert wanted_modifiers(["a", "b"], CPU) == ("a", "b")
    for bad in ("enable_OpenEquivariance", [1]):
        with pytest.raises(TypeError, match="modifiers=.*: give a list of names such as"):
            Execution(modifiers=bad)


def test_modifiers_are_applied_in_order():
    module = Marked()
    both = ["enable_CuEquivariance", "enable_OpenEquivariance"]
    assert apply_modifiers(module, both, CUDA, "aotinductor") == tuple(both)
    assert module.applied == ["cueq", "oeq"]
    assert apply_modifiers(module, [], CUDA, "aotinductor") == ()


def test_the_first_that_fits_is_enough_where_nobody_chose():
    names = ["enable_TritonContracter", "enable_OpenEquivariance", "enable_CuEquivariance"]
    for device, mode, expected in (
        (CUDA, "aotinductor", ("enable_OpenEquivariance",)),
        (CUDA, "eager", ("enable_CuEquivariance",)),
        (CPU, "aotinductor", ("enable_CuEquivariance",)),
    ):
        assert apply_modifiers(Marked(), names, device, mode, optional=True) == expected
    assert apply_modifiers(Marked(), ["enable_TritonContracter"], CUDA, "aotinductor", optional=True) == ()


@pytest.mark.parametrize(
    ("name", "device", "mode", "message"),
    [
        (
            "enable_Fastest",
            CUDA,
            "eager",
            "has no 'enable_Fastest'; on cuda it can take enable_CuEquivariance, enable_M",
        ),
        ("enable_OpenEquivariance", CPU, "aotinductor", "does not support the device 'cpu'; leave it out"),
        ("enable_OpenEquivariance", CUDA, "eager", "works with aotinductor only, and the model is run in the mode 'ea"),
        ("change_everything", CUDA, "aotinductor", "changes what the model computes, and belongs in `nequip-package`"),
        ("enable_Missing", CUDA, "aotinductor", "needs a library that cannot be imported: .*nobody_has"),
    ],
)
def test_refusals(name, device, mode, message):
    with pytest.raises(ModifierError, match=message):
        apply_modifiers(Marked(), [name], device, mode)


@pytest.mark.parametrize("name", ["tiny-nequip", "tiny-allegro"])
@pytest.mark.parametrize("ending", [".ckpt", ".nequip.zip"])
def test_the_modifiers_of_real_models(name, ending):
    """Checkpoints and packages bring theirs; without the libraries they get as far as importing these."""
    first = {"tiny-nequip": "enable_OpenEquivariance", "tiny-allegro": "enable_CuEquivarianceContracter"}[name]
    with preserved_global_state():
        module = load_module(locate(DATA / f"{name}{ending}"))
        with pytest.raises(ModifierError, match=rf"on cuda it can take (.*, )?{first}"):
            apply_modifiers(module, ["x"], CUDA, "aotinductor")
        with pytest.raises(ModifierError, match=f"'{first}' does not support the device 'cpu'"):
            apply_modifiers(module, [first], CPU, "aotinductor")
        if importlib.util.find_spec("openequivariance") is None and importlib.util.find_spec("cuequivariance") is None:
            with pytest.raises(ModifierError, match=f"'{first}' needs a library that cannot be imported"):
                apply_modifiers(module, [first], CUDA, "aotinductor")


def test_files_and_options_that_exclude_modifiers():
    with pytest.raises(ModifierError, match="is a torchscript file; give the .ckpt or .nequip.zip it came from"):
        load_model(DATA / "tiny-nequip.nequip.pth", modifiers=["enable_OpenEquivariance"])
    with pytest.raises(ModifierError, match="and kernels='fused' exclude each other"):
        load_model(DATA / "tiny-nequip.ckpt", kernels="fused", modifiers=["enable_OpenEquivariance"])
    with pytest.raises(ModifierError, match="'enable_OpenEquivariance' does not support the device 'cpu'"):
        load_model(DATA / "tiny-nequip.ckpt", compile=False, modifiers=["enable_OpenEquivariance"])
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.ckpt"), compile=False)
    with pytest.raises(ModifierError, match="does not support the device 'cpu'"):
        potential.createSystem(make_topology(["H", "C"]), modifiers=["enable_OpenEquivariance"], device="cpu")
    with pytest.raises(TypeError, match="give a list of names"):
        potential.createSystem(make_topology(["H", "C"]), modifiers="enable_OpenEquivariance")


def test_no_modifiers_is_the_same_model_as_ever():
    plain = load_model(DATA / "tiny-nequip.ckpt", compile=False)
    assert load_model(DATA / "tiny-nequip.ckpt", compile=False, modifiers=()) is plain
    assert plain.info.kernels == "none"


def test_what_is_compiled_with_modifiers_is_kept_apart(tmp_path, monkeypatch):
    """The worker gets their names; a compilation that fails is repeated without those that nobody named."""
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
    calls = []

    def compile(source, device, target, options):
        calls.append(tuple(options))
        target.write_bytes(b"x")

    monkeypatch.setattr(aot, "compile_in_worker", compile)
    source = locate(DATA / "tiny-nequip.ckpt")
    names = [(), ("enable_A",), ("enable_A", "enable_B")]
    paths = {aot.cached_package(source, CPU, each, False) for each in names * 2}
    paths.add(aot.cached_package(source, CPU, ("enable_A",), True))
    assert len(paths) == len(calls) == 4


def test_modifiers_that_nobody_named_are_left_out_where_they_fail(monkeypatch):
    """Those of the user's choice are an error instead."""
    calls = []

    def package(source, device, modifiers=(), optional=False, inputs=()):
        calls.append(modifiers)
        if modifiers:
            raise CompileError("no such kernel")
        raise RuntimeError("compiled without")

    monkeypatch.setattr(opening, "cached_package", package)
    monkeypatch.setattr(opening, "wanted_modifiers", lambda named, device: named or ("enable_Preferred",))
    source = locate(DATA / "tiny-nequip.ckpt")
    with pytest.raises(RuntimeError, match="compiled without"):
        open_model(source, Execution("cpu", kernels="none"))
    assert calls == [("enable_Preferred",), ()]
    with pytest.raises(CompileError, match="no such kernel"):
        open_model(source, Execution("cpu", compile=True, modifiers=["enable_LAMMPSMLIAPGhostExchange"]))


@pytest.mark.parametrize("name", ["tiny-nequip.ckpt", "tiny-nequip.nequip.zip"])
def test_unknown_modifiers_are_refused_before_the_model_is_loaded(name, monkeypatch):
    """The installed nequip knows those of a checkpoint, a package has its own code; both are read as text."""
    monkeypatch.setattr(opening, "fused_model", None)
    with pytest.raises(ModifierError, match="has no 'enable_Nothing'; it has .*enable_OpenEquivariance"):
        load_model(DATA / name, compile=True, modifiers=["enable_Nothing"])


@pytest.mark.slow
def test_compile_worker_applies_modifiers(tmp_path):
    """A modifier that the model cannot take ends the worker with its reason, which the caller hands on."""
    with pytest.raises(CompileError, match="modifiers: .*enable_TritonContracter"):
        aot.cached_package(locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu"), ("enable_TritonContracter",))


def test_compiled_models_take_turns_on_a_gpu():
    """Loaded without torch's own thread-safety, which a CUDA graph cannot record, so one call at a time."""
    info = load_model(DATA / "tiny-nequip.nequip.pth").info
    busy = threading.Event()

    def package(*inputs):
        assert not busy.is_set(), "two at once"
        busy.set()
        threading.Event().wait(0.02)
        busy.clear()
        return [torch.zeros(2), torch.zeros(()), torch.zeros(2, 3)]

    outputs = ("atomic_energy", "total_energy", "forces")
    model = AOTInductorModel(info, CUDA, package, ((), outputs), {})
    inputs = torch.zeros(2, 3), torch.zeros(2).long(), torch.zeros(2, 2).long(), torch.zeros(2, 3), torch.eye(3)
    failures = []

    def call():
        try:
            model(*inputs)
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not failures
