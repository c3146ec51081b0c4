"""NVIDIA's own compilers take the kernels for GPUs, for cards that are not here, with all they keep in registers."""

import sys
from pathlib import Path

import pytest
import torch
from nequip_models import make_model

from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.kernels.gpu import gpu_target
from openmm_nequip.kernels.gpu.gpu_generate import KernelFacts
from openmm_nequip.upstream.nequip_state import default_dtype

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
from gpu_compilers import CompilationError, Nvrtc, find_tool, look_at  # noqa: E402
from gpu_counts import NOT_IN_A_STEP, instructions, launches  # noqa: E402
from gpu_dialect import cuda_text, kernels_in  # noqa: E402

sys.path.remove(BENCHMARKS)

pytestmark = [pytest.mark.slow, pytest.mark.torchforce_stack]

if find_tool("libnvrtc.so") is None:
    pytest.skip("no NVRTC in this environment; the other stack runs this", allow_module_level=True)

#: Bytes of shared memory that a group may have without asking the driver for more.
SHARED = 48 * 1024
#: Registers of a thread, with which 16 warps fit on a multiprocessor.
REGISTERS = 128
#: Turing, Hopper. The whole grid, and Ampere and Blackwell with it, is benchmarks/gpu_counts.py.
CASES = {
    "l2": ({"l_max": 2, "num_layers": 2, "model_dtype": "float32", "zbl": True}, "mixed", (75, 90)),
    "l1, float64": ({"num_layers": 2, "parity": True}, "double", (90,)),
}


@pytest.mark.parametrize("name", CASES)
def test_no_spills_and_little_shared_memory(name, tmp_path):
    options, precision, architectures = CASES[name]
    with default_dtype(torch.float64):
        source = fuse(make_model(num_features=16, **options), True, gpu_target()).source
    compiler = Nvrtc(find_tool("libnvrtc.so"))
    for architecture in architectures:
        text = cuda_text(source, precision, KernelFacts.of(source).atoms)
        uses = look_at(compiler.ptx(text, architecture), architecture, tmp_path, loops=architecture == 90)
        assert set(uses) == set(kernels_in(source)) and launches(source) == len(uses.keys() - NOT_IN_A_STEP)
        assert all(use.spilled == 0 and use.shared <= SHARED and use.registers <= REGISTERS for use in uses.values())
    assert 50 < instructions(uses, source, "forward") < instructions(uses, source, "backward") < 2000


def test_what_is_wrong_is_said():
    with pytest.raises(CompilationError, match="undefined"):
        Nvrtc(find_tool("libnvrtc.so")).ptx('extern "C" __global__ void f() { undefined_function(); }', 90)
