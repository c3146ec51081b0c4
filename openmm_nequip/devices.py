"""The torch device a model runs on: the one of the OpenMM Context that evaluates it.

A PythonForce's function is not told which Context calls it, so the answer is looked for where it can be found: in the
Contexts that are alive in this process, and in the CUDA context that is current on the calling thread.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterable
from typing import Any

import torch

from .upstream.openmm_contexts import live_contexts

logger = logging.getLogger(__name__)


def device_of_context(context: Any) -> torch.device:
    """Torch device that goes with one Context: its CUDA (or HIP) device, else the CPU.

    Parameters
    ----------
    context : openmm.Context
        Any Context.
    """
    platform = context.getPlatform()
    name = platform.getName()
    if name in ("CUDA", "HIP"):
        # Several devices may be listed; the callback's Context state lives on the first.
        return torch.device("cuda", int(platform.getPropertyValue(context, "DeviceIndex").split(",")[0]))
    return torch.device("cpu")


def current_cuda_device() -> torch.device | None:
    """Device of the CUDA context that is current on this thread, or None."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    ordinal = ctypes.c_int(-1)
    if driver.cuCtxGetDevice(ctypes.byref(ordinal)) != 0:
        return None
    return torch.device("cuda", ordinal.value)


def choose_device(contexts: Iterable[Any] | None = None) -> torch.device:
    """The device to run a model on when the user named none.

    Parameters
    ----------
    contexts : iterable of openmm.Context, optional
        The candidates; all live Contexts by default.

    Returns
    -------
    torch.device
        The one that all Contexts agree on; where they differ, that of the thread's current CUDA context.

    Raises
    ------
    RuntimeError
        If Contexts on different devices are alive and the thread does not tell which one is calling.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    devices = {device_of_context(context) for context in (live_contexts() if contexts is None else contexts)}
    if len(devices) == 1:
        return devices.pop()
    current = current_cuda_device()
    if current is not None and (not devices or current in devices):
        return current
    if not devices:
        return torch.device("cpu")
    raise RuntimeError(
        f"Contexts on different devices are alive ({', '.join(sorted(map(str, devices)))}) and it cannot be told which "
        "one evaluates this force; give device= when the System is created"
    )
