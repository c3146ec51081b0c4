"""The torch device a model runs on: the one of the OpenMM Context that evaluates it.

A PythonForce's function is not told which Context calls it, and OpenMM deselects its CUDA context before it calls, so
the answer is looked for where it can be found: in the Contexts that are alive in this process, and, between several
GPUs, in the CUDA context that is current on the calling thread, if there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch

from .cuda_driver import cuda_driver
from .upstream.openmm_contexts import live_contexts

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


def device_of_context(context: Any) -> torch.device:
    """Torch device that goes with one Context: its GPU where torch has it, else the CPU.

    Parameters
    ----------
    context : openmm.Context
        Any Context.

    Returns
    -------
    torch.device
        For OpenCL the device that torch calls by the same name, since OpenCL numbers devices in its own way.
    """
    platform = context.getPlatform()
    name = platform.getName()
    if name in ("CUDA", "HIP"):
        # Several devices may be listed; the callback's Context state lives on the first.
        return torch.device("cuda", int(platform.getPropertyValue(context, "DeviceIndex").split(",")[0]))
    if name == "OpenCL":
        return _same_device(platform.getPropertyValue(context, "DeviceName").split(",")[0].strip())
    return CPU


def _same_device(name: str) -> torch.device:
    """The device of torch with the name that OpenCL has for it: NVIDIA's own, of AMD that of the architecture."""
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        if name in (facts.name, getattr(facts, "gcnArchName", facts.name)):
            return torch.device("cuda", index)
    logger.info("the OpenCL platform runs on %s, which torch does not have: the model runs on the CPU", name)
    return CPU


def current_cuda_device() -> torch.device | None:
    """Device of the CUDA context that is current on this thread, or None."""
    driver = cuda_driver()
    index = None if driver is None else driver.current_device()
    return None if index is None else torch.device("cuda", index)


def choose_device(contexts: Iterable[Any] | None = None) -> torch.device:
    """The device to run a model on when the user named none.

    Parameters
    ----------
    contexts : iterable of openmm.Context, optional
        The candidates; all live Contexts by default.

    Returns
    -------
    torch.device
        The GPU of the Contexts, also where others of them are on the CPU, whose results are the same; between several
        GPUs that of the thread's current CUDA context.

    Raises
    ------
    RuntimeError
        If Contexts on different GPUs are alive and the thread does not tell which one is calling.
    """
    if not torch.cuda.is_available():
        return CPU
    devices = {device_of_context(context) for context in (live_contexts() if contexts is None else contexts)}
    gpus = devices - {CPU}
    if len(gpus) == 1:
        if devices != gpus:
            logger.info("Contexts on CPUs and on one GPU are alive: the model runs on %s for all of them", *gpus)
        return gpus.pop()
    current = current_cuda_device()
    if current is not None and (not devices or current in gpus):
        return current
    if not gpus:
        return CPU
    raise RuntimeError(
        f"Contexts on different devices are alive ({', '.join(sorted(map(str, gpus)))}) and it cannot be told which "
        "one evaluates this force; give device= when the System is created"
    )
