"""CUDA's driver: which of a thread's contexts is current, and torch's own around a call.

torch works in the device's primary context, OpenMM in one that it made for itself. A thread that OpenMM calls from may
have OpenMM's current; torch, which asks for the device only, would then take its memory from there.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch


class CudaDriver:
    """The few functions of the driver that are needed.

    Parameters
    ----------
    library : object
        ``libcuda``, as ctypes loads it.
    """

    def __init__(self, library: Any) -> None:
        self.library = library
        self._primary: dict[int, int] = {}

    def current(self) -> int:
        """Address of the context that is current on this thread; 0 for none."""
        handle = ctypes.c_void_p()
        self._check("cuCtxGetCurrent", ctypes.byref(handle))
        return handle.value or 0

    def current_device(self) -> int | None:
        """Number of the device of the context that is current on this thread, if there is one."""
        ordinal = ctypes.c_int(-1)
        return ordinal.value if self.library.cuCtxGetDevice(ctypes.byref(ordinal)) == 0 else None

    def primary(self, index: int) -> int:
        """Address of a device's primary context, kept alive from now on."""
        if index not in self._primary:
            device, handle = ctypes.c_int(), ctypes.c_void_p()
            self._check("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
            self._check("cuDevicePrimaryCtxRetain", ctypes.byref(handle), device)
            self._primary[index] = handle.value or 0
        return self._primary[index]

    @contextlib.contextmanager
    def inside(self, index: int) -> Iterator[None]:
        """A device's primary context current inside the block; that of before, when its work is done, after it.

        What the context of before has begun is waited for: nothing else would order it before torch's work.
        """
        before, primary = self.current(), self.primary(index)
        if before == primary:
            yield
            return
        if before:
            self._check("cuCtxSynchronize")
        self._check("cuCtxPushCurrent_v2", ctypes.c_void_p(primary))
        try:
            yield
        finally:
            if before:
                self._check("cuCtxSynchronize")
            self._check("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self.library, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"CUDA's driver: {name} gave the error {code}; check the driver and the device")


@lru_cache(maxsize=1)
def cuda_driver() -> CudaDriver | None:
    """The driver, or None where there is none."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return CudaDriver(library) if library.cuInit(0) == 0 else None


@contextlib.contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Make a CUDA device, in torch's own context, the current one of this thread inside the block.

    Parameters
    ----------
    device : torch.device
        Any; nothing is done for other kinds.
    """
    if device.type != "cuda":
        yield
        return
    driver = cuda_driver()
    index = device.index or 0
    with driver.inside(index) if driver is not None else contextlib.nullcontext(), torch.cuda.device(index):
        yield
