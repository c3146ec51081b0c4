"""What the tests share: the backends of this environment, model files, and where real data lie."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

# One cache for the session, so that a model is compiled once; CI may name one that outlives it.
if "OPENMM_NEQUIP_CACHE" not in os.environ:
    os.environ["OPENMM_NEQUIP_CACHE"] = tempfile.mkdtemp(prefix="openmm-nequip-tests-")

import openmm
import torch

import openmm_nequip  # noqa: F401  before openmm, so that openmmtorch finds torch in the process
from openmm_nequip.cache import cache_dir, write_atomically
from openmm_nequip.forces.probe import probe_plugin

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


@pytest.fixture(scope="session")
def compiled():
    """Folder of .nequip.pt2 files of nequip-compile: NequIP for ASE, Allegro for LAMMPS' pair_nequip."""
    folder = cache_dir() / f"tests-torch-{torch.__version__}"
    folder.mkdir(exist_ok=True)
    for name, target in (("tiny-nequip", "ase"), ("tiny-allegro", "pair_nequip")):
        output = folder / f"{name}.nequip.pt2"
        if not output.exists():
            with tempfile.TemporaryDirectory() as scratch:
                fresh = Path(scratch) / output.name
                subprocess.run(
                    [sys.executable, "-m", "nequip.scripts.compile", str(DATA / f"{name}.nequip.zip"), str(fresh),
                     "--mode", "aotinductor", "--device", "cpu", "--target", target],
                    check=True, capture_output=True, env=dict(os.environ, TORCHINDUCTOR_CACHE_DIR=scratch),
                )  # fmt: skip
                write_atomically(output, fresh.read_bytes())
    return folder


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
        for module in ("torch", "nequip", "e3nn", "lightning", "allegro", "matscipy", "ase"):
            warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
        yield
