"""Recording of steps on a device and their replay: the only file that makes CUDA graphs."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..upstream.torch_pools import end_allocation

#: Runs before the recording: libraries make their handles, TorchScript its optimised code, the allocator its pools.
WARMUP_RUNS = 10
#: Operators that wait for the device, or whose result has a shape that depends on its data, and those of cuSOLVER,
#: which no graph can record (beginnings of their names).
WAITING = (
    "_linalg_", "_local_scalar_dense", "_unique", "bincount", "equal", "is_nonzero", "linalg_eigh", "linalg_inv",
    "linalg_lu", "linalg_solve", "masked_select", "nonzero", "repeat_interleave.Tensor", "unique",
)  # fmt: skip

#: torch records one graph at a time in a process, and all recordings of a device share a stream.
_ONE_AT_A_TIME = threading.Lock()


class Recorded(Protocol):
    """A step that can be repeated."""

    def replay(self) -> torch.Tensor:
        """Repeat the step on the present content of its inputs; the same tensor each time."""


class Recorder(Protocol):
    """Records steps and moves their results; the only thing here that knows CUDA."""

    def buffer(self, size: int) -> torch.Tensor:
        """Memory on the host, (size,) float64, that is copied from and to the device without a detour."""

    def record(self, step: Callable[[], torch.Tensor]) -> Recorded:
        """Run a step until it has settled, then record it.

        Parameters
        ----------
        step : callable
            Gives its results as one tensor (n,) and reads its inputs from memory that stays where it is.

        Returns
        -------
        Recorded

        Raises
        ------
        RuntimeError
            If it does something that cannot be recorded.
        """

    def wait(self) -> None:
        """Wait for the device."""


class _CudaStep:
    def __init__(self, graph: Any, result: torch.Tensor) -> None:
        self._graph = graph
        self._result = result

    def replay(self) -> torch.Tensor:
        self._graph.replay()
        return self._result


class RecordingPlace:
    """What all recordings of a device share.

    Parameters
    ----------
    device : torch.device
        A CUDA device.

    Attributes
    ----------
    stream : torch.cuda.Stream
        One for the runs before and the recordings themselves: cuBLAS keeps a handle and a workspace for each stream.
    failed : list of torch.cuda.CUDAGraph
        Those whose recording failed: torch's allocator of host memory still asks them which streams were theirs.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream: Any = torch.cuda.Stream(device)
        self.failed: list[Any] = []


@lru_cache
def recording_place(device: torch.device) -> RecordingPlace:
    """The one of a device."""
    return RecordingPlace(device)


class CudaRecorder:
    """Records with ``torch.cuda.CUDAGraph``.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.place = recording_place(device)
        self.pool = torch.cuda.graph_pool_handle()

    def buffer(self, size: int) -> torch.Tensor:
        """Page-locked memory, see :class:`Recorder`."""
        return torch.zeros(size, dtype=torch.float64, pin_memory=True)

    def record(self, step: Callable[[], torch.Tensor]) -> Recorded:
        """Record a step, see :class:`Recorder`; after a failure the thread and the allocator are as they were."""
        current = torch.cuda.current_stream(self._device)
        with _ONE_AT_A_TIME:
            self.place.stream.wait_stream(current)
            # Not torch.cuda.graph: its end does not put the stream back where ending the capture raises.
            with torch.cuda.stream(self.place.stream):
                for _ in range(WARMUP_RUNS):
                    step()
                torch.cuda.synchronize(self._device)
                gc.collect()  # graphs that die in the middle of a recording would spoil it
                torch.cuda.empty_cache()
                graph = torch.cuda.CUDAGraph()
                # OpenMM's own threads may allocate memory meanwhile; only what this thread does counts.
                graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")
                try:
                    result = step()
                    graph.capture_end()
                except BaseException:
                    self._give_up(graph)
                    raise
            current.wait_stream(self.place.stream)
        return _CudaStep(graph, result)

    def _give_up(self, graph: Any) -> None:
        """End a recording that has failed, so that its stream and its memory can be used again."""
        try:
            graph.capture_end()  # raises for a recording that is spoilt, before it has told the allocator
        except RuntimeError:
            self.place.failed.append(graph)
            end_allocation(self._device, self.pool)

    def wait(self) -> None:
        """Wait for the current stream."""
        torch.cuda.current_stream(self._device).synchronize()


class _PlainStep:
    def __init__(self, step: Callable[[], torch.Tensor]) -> None:
        self._step = step

    def replay(self) -> torch.Tensor:
        return self._step()


class Unrecorded:
    """Runs steps one by one: where recording has failed.

    Parameters
    ----------
    recorder : Recorder
        Whose memory and waiting are used.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.buffer = recorder.buffer
        self.wait = recorder.wait

    def record(self, step: Callable[[], torch.Tensor]) -> Recorded:
        """Keep the step, see :class:`Recorder`."""
        return _PlainStep(step)


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::")
        if name.startswith(WAITING):
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


def waiting_operators(step: Callable[[], Any]) -> list[str]:
    """Operators in a step that cannot be recorded, found by running it; those of AOTInductor's own kernels are unseen.

    Parameters
    ----------
    step : callable
        Run once; TorchScript must have been run before, because it evaluates constants at first.

    Returns
    -------
    list of str
        Names, sorted; see :data:`WAITING`.
    """
    with _Watch() as watch:
        step()
    return sorted(watch.seen)
