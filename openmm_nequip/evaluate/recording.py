"""Recording of steps on a device and their replay: the only file that calls ``torch.cuda.graph``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode

#: Runs before the recording: libraries make their handles, TorchScript its optimised code, the allocator its pools.
WARMUP_RUNS = 10
#: Operators that wait for the device, or whose result has a shape that depends on its data, and those of cuSOLVER,
#: which no graph can record (beginnings of their names).
WAITING = (
    "_linalg_", "_local_scalar_dense", "_unique", "bincount", "equal", "is_nonzero", "linalg_eigh", "linalg_inv",
    "linalg_lu", "linalg_solve", "masked_select", "nonzero", "repeat_interleave.Tensor", "unique",
)  # fmt: skip


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


class CudaRecorder:
    """Records with ``torch.cuda.CUDAGraph``.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # One stream for the runs before and the recording itself: cuBLAS keeps a handle and a workspace per stream.
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def buffer(self, size: int) -> torch.Tensor:
        """Page-locked memory, see :class:`Recorder`."""
        return torch.zeros(size, dtype=torch.float64, pin_memory=True)

    def record(self, step: Callable[[], torch.Tensor]) -> Recorded:
        """Record a step, see :class:`Recorder`."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(WARMUP_RUNS):
                step()
        current.wait_stream(self._stream)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # OpenMM's own threads may allocate memory meanwhile; only what this thread does counts.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = step()
        return _CudaStep(graph, result)

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
