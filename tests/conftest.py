"""What the tests share: the backends of this environment, model files, and where real data lie."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stacks
from filelock import FileLock

# One cache for the session, so that a model is compiled once; CI may name one that outlives it.
if "OPENMM_NEQUIP_CACHE" not in os.environ:
    os.environ["OPENMM_NEQUIP_CACHE"] = tempfile.mkdtemp(prefix="openmm-nequip-tests-")

# TorchMD-Net's kernels are compiled at first use: kept beside what this package compiles.
os.environ.setdefault("WARP_CACHE_PATH", os.path.join(os.environ["OPENMM_NEQUIP_CACHE"], "warp"))

import openmm
import torch

import openmm_nequip  # noqa: F401  before openmm, so that openmmtorch finds torch in the process
from openmm_nequip.cache import cache_dir, write_atomically
from openmm_nequip.forces.probe import probe_plugin
from openmm_nequip.models import locate
from openmm_nequip.models.compiling.aot import cached_package

# The models are small: a second thread gains nothing, and on a busy machine its barriers cost most of the time.
torch.set_num_threads(1)

DATA = Path(__file__).parent / "data"
#: Real models and structures beside the repository; not part of it.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "cp2k"


def backends() -> list[str]:
    """The backends that work in this environment."""
    plugin = probe_plugin()
    found = ["PythonForce"] if hasattr(openmm, "PythonForce") else []
    found += ["TorchForce"] if plugin.works else []
    return found + (["PythonTorchForce"] if plugin.works and plugin.has_python_torch_force else [])


BACKENDS = backends()
#: Backends that run any kind of model.
PYTHON_BACKENDS = [name for name in BACKENDS if name != "TorchForce"]
#: Set in CI: the backends that this environment must have.
EXPECTED = os.environ.get("OPENMM_NEQUIP_EXPECT_BACKENDS")


def pytest_addoption(parser):
    """Options of ``tests/run.sh``; without them every test runs that the environment can run."""
    group = parser.getgroup("openmm-nequip")
    group.addoption("--stack", choices=stacks.STACKS, help="the tests of one stack; see tests/stacks.py")
    group.addoption("--fast", action="store_true", help="without the tests marked slow")


#: What was collected, before anything was deselected: node id -> names of markers.
COLLECTED = pytest.StashKey[dict[str, frozenset[str]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Add the markers that follow from what a test uses, remember everything, keep the chosen stack and set."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters is not None and parameters.params.get("backend") in stacks.PLUGIN_BACKENDS:
            item.add_marker("torchforce_stack")
        if set(stacks.NEWEST_TORCH_FIXTURES) & set(getattr(item, "fixturenames", ())):
            item.add_marker("pythonforce_stack")
        if set(stacks.SLOW_FIXTURES) & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    markers = {item.nodeid: frozenset(mark.name for mark in item.iter_markers()) for item in items}
    config.stash[COLLECTED] = markers
    stack, fast = config.getoption("stack"), config.getoption("fast")
    chosen, others = [], []
    for item in items:
        (chosen if stacks.is_selected(markers[item.nodeid], stack, fast) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = sorted(chosen, key=lambda item: stacks.rank(item.path.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that leaves itself to the other stack must be one that the other stack runs."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and "other stack" in report.longrepr[2]:
        stack = item.config.getoption("stack")
        if stack == "torchforce" or item.get_closest_marker("torchforce_stack") is None:
            report.outcome, report.longrepr = "failed", f"no stack runs this test: {report.longrepr[2]}"
    return report


def pytest_report_header(config):
    """Say which stack is tested and what is absent."""
    lines = [f"openmm {openmm.version.version}, torch {torch.__version__}, backends: {', '.join(BACKENDS)}"]
    if not SHARED.is_dir():
        lines.append(f"NOT TESTED: the published CP2K models are absent ({SHARED})")
    return lines


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each backend that works here."""
    return request.param


@pytest.fixture(params=["Reference", "CPU"])
def platform(request):
    """Each OpenMM platform that every machine has."""
    return openmm.Platform.getPlatformByName(request.param)


def compile_once(model, target):
    """A model compiled by nequip-compile for the CPU, kept in the cache folder: made once for all processes.

    Parameters
    ----------
    model : pathlib.Path
        A ``.nequip.zip`` file.
    target : str
        Of nequip-compile.

    Returns
    -------
    pathlib.Path
        ``.nequip.pt2`` file of the same name.
    """
    folder = cache_dir() / f"tests-torch-{torch.__version__}"
    folder.mkdir(exist_ok=True)
    output = folder / model.with_suffix(".pt2").name
    with FileLock(f"{output}.lock"):
        if not output.exists():
            with tempfile.TemporaryDirectory() as scratch:
                fresh = Path(scratch) / output.name
                subprocess.run(
                    [sys.executable, "-m", "nequip.scripts.compile", str(model), str(fresh),
                     "--mode", "aotinductor", "--device", "cpu", "--target", target],
                    check=True, capture_output=True, env=dict(os.environ, TORCHINDUCTOR_CACHE_DIR=scratch),
                )  # fmt: skip
                write_atomically(output, fresh.read_bytes())
    return output


@pytest.fixture(scope="session")
def compiled():
    """Folder of .nequip.pt2 files: NequIP for ASE by nequip-compile, Allegro for pair_nequip as `export` has it."""
    folder = compile_once(DATA / "tiny-nequip.nequip.zip", "ase").parent
    output = folder / "tiny-allegro.nequip.pt2"
    with FileLock(f"{output}.lock"):
        made = cached_package(locate(DATA / "tiny-allegro.nequip.zip"), torch.device("cpu"), target="pair_nequip")
        write_atomically(output, made.read_bytes())
    return folder


@pytest.fixture(scope="session")
def packages():
    """The tiny models as this package compiles them at first use: there already for users of this fixture."""
    models = [locate(DATA / f"{name}.nequip.zip") for name in ("tiny-nequip", "tiny-allegro")]
    with FileLock(cache_dir() / "packages.lock"), ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda model: cached_package(model, torch.device("cpu")), models))


@pytest.fixture(scope="session")
def cp2k():
    """Folder of CP2K's published models; skips with its name where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the published CP2K models are absent: {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def _third_party_warnings():
    """Warnings are errors, except those of other packages about their own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # OpenMM's file readers leave closing to the garbage collector, which complains at some later time.
        for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        for module in ("torch", "nequip", "e3nn", "lightning", "allegro", "matscipy", "ase", "torchmdnet"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        yield
