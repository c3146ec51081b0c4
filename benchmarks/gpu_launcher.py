"""Kernels on a CUDA device: compiled by NVRTC, launched by the driver on torch's stream, in torch's memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_compilers import machine_code
from gpu_dialect import cuda_text


class CudaLauncher:
    """What :class:`gpu_steps.GpuStep` needs, on the current CUDA device.

    Parameters
    ----------
    source, precision, atoms
        As of :func:`gpu_dialect.cuda_text`.
    folder : pathlib.Path
        Where machine code is kept, see :func:`gpu_compilers.machine_code`.
    """

    def __init__(self, source: str, precision: str, atoms: int, folder: Path) -> None:
        torch.zeros(1, device="cuda")  # torch's context, which everything here uses
        major, minor = torch.cuda.get_device_capability()
        code = machine_code(cuda_text(source, precision, atoms), 10 * major + minor, folder)
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._module = ctypes.c_void_p()
        self._check("cuModuleLoadData", ctypes.byref(self._module), ctypes.c_char_p(code))
        self._kernels: dict[str, ctypes.c_void_p] = {}

    def array(self, values: np.ndarray) -> torch.Tensor:
        """Memory with these values; torch has signed numbers of 64 bits alone."""
        return torch.from_numpy(values.view(np.int64) if values.dtype == np.uint64 else values.copy()).cuda()

    def get(self, array: torch.Tensor) -> np.ndarray:
        """The values, when all that was launched is done."""
        return array.cpu().numpy()

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any]) -> None:
        """Begin a kernel on torch's current stream."""
        if kernel not in self._kernels:
            self._kernels[kernel] = ctypes.c_void_p()
            self._check("cuModuleGetFunction", ctypes.byref(self._kernels[kernel]), self._module, kernel.encode())
        values = [
            ctypes.c_int(each) if isinstance(each, int) else ctypes.c_void_p(each.data_ptr()) for each in arguments
        ]
        pointers = (ctypes.c_void_p * len(values))(
            *(ctypes.cast(ctypes.byref(each), ctypes.c_void_p) for each in values)
        )
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self._check("cuLaunchKernel", self._kernels[kernel], blocks, 1, 1, threads, 1, 1, 0, stream, pointers, None)

    def microseconds(self, work: Callable[[], None], repeats: int = 20) -> float:
        """Median time of launches that are replayed from a CUDA graph."""
        work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        times = []
        for _ in range(5):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(repeats):
                graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / repeats * 1e3)
        return float(np.median(times))

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{name} gave the error {code}")
