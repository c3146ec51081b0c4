"""What a GPU asks of the process: TF32 by one of torch's two names, a toolkit to compile with, one GPU of several."""

import pytest
import torch
from conftest import DATA

from openmm_nequip.errors import CompileError
from openmm_nequip.models import locate
from openmm_nequip.models.compiling import aot, cuda_toolkit
from openmm_nequip.models.compiling.cuda_toolkit import for_gpu
from openmm_nequip.upstream import nequip_state
from openmm_nequip.upstream.nequip_state import preserved_global_state, tf32_allowed

pytestmark = pytest.mark.torchforce_stack

GPU = torch.device("cuda:1")


def old_names():
    """What torch's old settings say; torch raises where they were mixed with the new ones."""
    return torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture
def tf32():
    """torch's settings as they are in a new process, before and after."""
    start = nequip_state.read_tf32()
    yield
    torch.set_float32_matmul_precision("highest")
    nequip_state.write_tf32(start)
    assert nequip_state.read_tf32() == start


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("users", ["highest", "high", "medium"])
def test_tf32_is_never_mixed(tf32, users, allowed):
    """The user's choice by the old name holds before and after; in between the model's, by both names."""
    torch.set_float32_matmul_precision(users)
    before = old_names(), nequip_state.read_tf32()
    with tf32_allowed(allowed):
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cuda.matmul.fp32_precision == ("tf32" if allowed else "ieee")
        old_names()
    assert (old_names(), nequip_state.read_tf32()) == before
    with preserved_global_state():
        torch.backends.cudnn.allow_tf32 = not before[0][2]
        torch.backends.fp32_precision = "tf32"
    assert (old_names(), nequip_state.read_tf32()) == before


@pytest.mark.parametrize("users", ["tf32", "ieee"])
def test_tf32_by_the_new_name(tf32, users):
    torch.backends.cuda.matmul.fp32_precision = users
    for allowed in (True, False):
        with tf32_allowed(allowed):
            assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cuda.matmul.fp32_precision == users


@pytest.fixture
def no_toolkit(monkeypatch, tmp_path):
    """A machine without CUDA's headers: a list of the folders that are looked at, to add to."""
    found = [tmp_path / "nothing"]
    monkeypatch.setattr(cuda_toolkit, "_candidates", lambda: iter(found))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return found


def with_header(folder):
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "cuda.h").touch()
    return folder


def test_compiling_for_a_gpu_without_a_toolkit_ends_at_once(no_toolkit, monkeypatch, tmp_path):
    """Before the minutes that it takes, with what to do."""
    monkeypatch.setattr(aot, "run_program", lambda *arguments, **keywords: pytest.fail("it was begun"))
    source = locate(DATA / "tiny-nequip.nequip.zip")
    with pytest.raises(CompileError, match=r"needs CUDA's headers \(cuda.h\).*set CUDA_HOME .*nvidia-cuda-runtime"):
        aot.compile_in_worker(source, GPU, tmp_path / "out.nequip.pt2", [])


def test_the_toolkit_and_the_gpu_reach_the_compiler(no_toolkit, monkeypatch, tmp_path):
    home, seen = with_header(tmp_path / "cu13"), {}
    no_toolkit.append(home)

    def run(command, what, log, environment, folder, scratch):
        seen.update(environment, command=command)
        return 1

    monkeypatch.setattr(aot, "run_program", run)
    source = locate(DATA / "tiny-nequip.nequip.zip")
    with pytest.raises(CompileError, match="ended with code 1"):
        aot.compile_in_worker(source, GPU, tmp_path / "out.nequip.pt2", [])
    assert seen["CUDA_HOME"] == str(home) and seen["CUDA_VISIBLE_DEVICES"] == "1"
    # The one GPU that the compiler sees is its first.
    assert seen["command"][seen["command"].index("--device") + 1] == "cuda"


@pytest.mark.parametrize(
    ("listed", "device", "seen"),
    [("", "cuda:1", "1"), ("4,6", "cuda:1", "6"), ("GPU-aa, GPU-bb", "cuda:0", "GPU-aa"), ("", "cuda", "0")],
)
def test_the_right_one_of_several_gpus(no_toolkit, monkeypatch, tmp_path, listed, device, seen):
    no_toolkit.append(with_header(tmp_path / "cuda"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert for_gpu(torch.device(device))["CUDA_VISIBLE_DEVICES"] == seen


def test_toolkits_are_looked_for_where_torch_looks_and_in_the_wheels(monkeypatch, tmp_path):
    given = with_header(tmp_path / "given")
    wheel = with_header(tmp_path / "site" / "nvidia" / "cu13")
    monkeypatch.setattr(cuda_toolkit.sysconfig, "get_path", lambda name: str(tmp_path / "site"))
    monkeypatch.setattr(cuda_toolkit.shutil, "which", lambda name: None)
    monkeypatch.setenv("CUDA_HOME", str(given))
    assert cuda_toolkit.cuda_home() == given
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.delenv("CUDA_PATH", raising=False)
    assert cuda_toolkit.cuda_home() in (wheel, cuda_toolkit.Path("/usr/local/cuda"))
