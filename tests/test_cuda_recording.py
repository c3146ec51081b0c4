"""What goes wrong when a GPU records a step, and what is left afterwards; a stand-in keeps torch's rules."""

import contextlib
import ctypes
import threading
import time

import numpy as np
import pytest
import torch
from conftest import DATA
from fake_cuda import FakeCuda
from static import CUTOFF, build, structure

from openmm_nequip import cuda_driver, load_model
from openmm_nequip.cuda_driver import CudaDriver, on_device
from openmm_nequip.evaluate import recording
from openmm_nequip.evaluate.cuda_graphs import CudaGraphError, GraphedModel, check_potential
from openmm_nequip.evaluate.recording import CudaRecorder
from openmm_nequip.graph.graph import Graph
from openmm_nequip.graph.neighbors import CandidateList
from openmm_nequip.graph.padding import PAD_DISTANCE, PaddedNeighborList
from openmm_nequip.models.edge_vectors import potential_of

GPU = torch.device("cuda:0")
#: Two orders of summation in float64, model units.
ROUNDING = 1e-11


@pytest.fixture
def cuda(monkeypatch):
    """A process with a GPU that is none."""
    yield FakeCuda().install(monkeypatch)
    recording.recording_place.cache_clear()


def spoiling(cuda):
    """A step that does what a recording does not allow."""

    def step():
        if cuda.recording is not None:
            cuda.spoilt = True
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(1)

    return step


def test_a_failed_recording_leaves_nothing_behind(cuda):
    """The thread's stream, the allocator and the reason: and the next recording, of another model, works."""
    with pytest.raises(RuntimeError, match="operation not permitted when stream is capturing"):
        CudaRecorder(GPU).record(spoiling(cuda))
    assert cuda.stream is cuda.default and cuda.recording is None
    assert cuda.underway == set() and set(cuda.uses.values()) == {0}
    row = torch.zeros(3)
    recorded = CudaRecorder(GPU).record(lambda: row + 1)
    row += 4
    assert recorded.replay().tolist() == [5.0] * 3 and cuda.underway == set()


def test_a_recording_that_fails_at_its_end(cuda):
    """Another thread spoilt it: nothing in the step itself raises."""

    def step():
        cuda.spoilt = cuda.recording is not None
        return torch.zeros(1) + 1

    with pytest.raises(RuntimeError, match="due to a previous error during capture"):
        CudaRecorder(GPU).record(step)
    assert cuda.stream is cuda.default and cuda.underway == set() and set(cuda.uses.values()) == {0}


def test_a_mistake_in_a_step_that_spoils_nothing(cuda):
    def step():
        if cuda.recording is not None:
            raise ValueError("a shape")
        return torch.zeros(1)

    with pytest.raises(ValueError, match="a shape"):
        CudaRecorder(GPU).record(step)
    assert cuda.stream is cuda.default and cuda.underway == set() and set(cuda.uses.values()) == {0}


def test_torch_has_what_is_borrowed():
    assert {"_cuda_endAllocateToPool", "_cuda_releasePool"} <= set(dir(torch._C))


def scaled(graphed, scale):
    """Results of a structure blown up by a factor, and the model's own."""
    positions, cell = structure(True)
    given = torch.from_numpy(positions * scale), torch.arange(27) % 4
    edges = PaddedNeighborList(CandidateList(CUTOFF, 0.5, True), PAD_DISTANCE * CUTOFF)(positions * scale, cell * scale)
    graph = Graph(*given, edges, torch.from_numpy(cell * scale))
    return graphed.evaluate(graph).forces, graphed.model.evaluate(graph).forces


def test_recorded_anew_beside_the_old_graph(cuda):
    """A tensor of the first recording is still alive when the second begins, in the same pool of memory."""
    graphed, cuda.held = GraphedModel(build("nequip"), CudaRecorder(GPU), required=True), []
    for scale in (1.0, 0.85, 1.2):
        found, expected = scaled(graphed, scale)
        assert (found - expected).abs().max() < ROUNDING
    assert graphed.statistics()["captures"] == len(cuda.held) >= 3
    assert sorted(cuda.uses.values()) == [1], "only the last graph lives"


def test_one_recording_at_a_time(cuda):
    failures = []

    def step():
        time.sleep(0.002)
        return torch.zeros(1) + 1

    def record():
        try:
            CudaRecorder(GPU).record(step)
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and cuda.log.count("record") == 3


def test_contexts_share_what_can_be_shared(cuda, monkeypatch):
    """A stream of a device, on which cuBLAS keeps a workspace, and the frozen copy of a script; never a pool."""
    one, other = CudaRecorder(GPU), CudaRecorder(GPU)
    assert one.place is other.place and one.pool != other.pool
    assert CudaRecorder(torch.device("cuda:1")).place.stream is not one.place.stream
    model = load_model(DATA / "tiny-nequip.nequip.pth", kernels="none")
    frozen, freeze = [], torch.jit.freeze
    monkeypatch.setattr(torch.jit, "freeze", lambda module: frozen.append(module) or freeze(module))
    potential_of(model), potential_of(model)
    assert len(frozen) == 1


def test_the_first_runs_of_a_script_may_differ_in_the_last_bit():
    """TorchScript optimises after some runs; what counts is what comes after."""
    model = build("allegro")
    potential, runs = potential_of(model), []

    def unsettled(graph):
        out = potential(graph)
        runs.append(graph.edges.count)
        out.energy = out.energy * (1 + 1e-15 * (len(runs) < 4))
        return out

    check_potential(unsettled, model.info, model.device)

    def leaky(graph):
        out = potential(graph)
        out.energy = out.energy + 1e-9 * graph.edges.count
        return out

    with pytest.raises(CudaGraphError, match="edges beyond the cutoff"):
        check_potential(leaky, model.info, model.device)


class FakeLibrary:
    """``libcuda`` with two devices: contexts are numbers, 100 and 101 the primary ones."""

    def __init__(self, *stack):
        self.stack, self.calls = list(stack), []

    def cuCtxGetCurrent(self, reference):
        reference._obj.value = self.stack[-1] if self.stack else None
        return 0

    def cuCtxGetDevice(self, reference):
        if not self.stack:
            return 201
        reference._obj.value = self.stack[-1] % 2
        return 0

    def cuDeviceGet(self, reference, index):
        reference._obj.value = index.value
        return 0 if index.value < 2 else 101

    def cuDevicePrimaryCtxRetain(self, reference, device):
        self.calls.append("retain")
        reference._obj.value = 100 + device.value
        return 0

    def cuCtxSynchronize(self):
        self.calls.append(f"wait for {self.stack[-1]}")
        return 0

    def cuCtxPushCurrent_v2(self, handle):
        self.stack.append(handle.value)
        return 0

    def cuCtxPopCurrent_v2(self, reference):
        reference._obj.value = self.stack.pop()
        return 0


def test_torch_works_in_its_own_context(monkeypatch):
    """OpenMM's context is current when it calls: torch's is put before it, and both have finished when they change."""
    library = FakeLibrary(31)
    driver, devices = CudaDriver(library), []
    monkeypatch.setattr(cuda_driver, "cuda_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "device", lambda index: contextlib.nullcontext(devices.append(index)))
    assert driver.current_device() == 1
    with on_device(torch.device("cuda:1")):
        assert library.stack == [31, 101] and devices == [1]
        with on_device(torch.device("cuda:1")):  # torch's own is current: nothing to do
            assert library.stack == [31, 101]
    assert library.stack == [31] and library.calls == ["retain", "wait for 31", "wait for 101"]
    with pytest.raises(KeyError), on_device(torch.device("cuda")):
        raise KeyError
    assert library.stack == [31]
    with on_device(torch.device("cpu")):
        assert library.stack == [31]
    with pytest.raises(RuntimeError, match="CUDA's driver: cuDeviceGet gave the error 101"), on_device(
        torch.device("cuda:2")
    ):
        pass


def test_a_thread_without_a_context():
    library = FakeLibrary()
    driver = CudaDriver(library)
    assert driver.current() == 0 and driver.current_device() is None
    with driver.inside(0):
        assert library.stack == [100]
    assert library.stack == [] and library.calls == ["retain"]


@pytest.fixture
def real_gpu():
    assert torch.cuda.is_available(), "this test was asked for, but torch sees no CUDA device"
    return torch.device("cuda:0")


@pytest.mark.gpu
def test_a_failed_recording_on_a_gpu(real_gpu):
    """Fails where there is no CUDA device: run with -m gpu on a machine that has one."""
    row = torch.arange(4.0, dtype=torch.float64, device=real_gpu)

    def waits():
        return row * float(row.sum())

    before = torch.cuda.current_stream(real_gpu)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="captur"):
            CudaRecorder(real_gpu).record(waits)
        assert torch.cuda.current_stream(real_gpu) == before
    recorder = CudaRecorder(real_gpu)
    kept = []
    for factor in (1.0, 2.0, 3.0):  # recorded anew with a tensor of each recording alive
        recorded = recorder.record(lambda factor=factor: row * factor)
        kept.append((recorded, recorded.replay()))
    torch.cuda.synchronize(real_gpu)
    assert [float(result.sum()) for _, result in kept[-1:]] == [18.0]
    used = torch.cuda.memory_allocated(real_gpu)
    spare = torch.zeros(1 << 24, device=real_gpu)
    del spare
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated(real_gpu) == used, "the allocator gives memory back"


@pytest.mark.gpu
def test_another_context_is_current_on_a_gpu(real_gpu):
    """As when OpenMM calls from its own thread with its own context current."""
    torch.zeros(1, device=real_gpu)
    driver = cuda_driver.cuda_driver()
    library, handle = driver.library, ctypes.c_void_p()
    library.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    assert library.cuCtxCreate_v2(ctypes.byref(handle), ctypes.c_uint(0), ctypes.c_int(0)) == 0
    try:
        with on_device(real_gpu):
            assert driver.current() == driver.primary(0)
            assert float(torch.ones(3, device=real_gpu).sum()) == 3.0
        assert driver.current() == handle.value
    finally:
        library.cuCtxDestroy_v2(handle)
    assert np.isfinite(float(torch.ones(2, device=real_gpu).sum()))
