"""Date, machine and versions that belong beside every figure."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from typing import Any

import openmm
import torch

from ..._version import __version__
from .limits import BYTES_PER_GIB, free_bytes
from .peers import installed

_DISTRIBUTIONS = ("nequip", "nequip-allegro", "e3nn", "openmmml", "openmmtorch", "vesin", "ase", "numpy")


def describe_environment(threads: int) -> dict[str, Any]:
    """What the figures were measured on.

    Parameters
    ----------
    threads : int
        CPU threads in use.

    Returns
    -------
    dict
        JSON-ready.
    """
    free = free_bytes()
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": threads,
        # Figures of a machine with other work on it compare contenders, and say little about the machine.
        "load_average_at_start": None if load is None else round(load[0], 2),
        "free_memory_gib": None if free is None else round(free / BYTES_PER_GIB, 2),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "system": platform.system(),
        "versions": {
            "openmm-nequip": __version__,
            "python": platform.python_version(),
            "openmm": openmm.version.version,
            "torch": torch.__version__,  # with the build, which the package's metadata may leave out
            **{name: installed(name) for name in _DISTRIBUTIONS},
        },
    }


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
