"""Which of OpenMM's platforms have a GPU here: an OpenCL device that is a CPU is none."""

from __future__ import annotations

import ctypes
import logging

import openmm

from ...errors import KernelsError
from .plugin_build import GPU_PLATFORMS

logger = logging.getLogger(__name__)

#: CL_DEVICE_TYPE_GPU, and what OpenCL answers where all went well.
_GPU, _SUCCESS = 4, 0


def platforms_with_gpu() -> list[str]:
    """Names of OpenMM's platforms that have our kernels and run on a GPU of this machine; nothing is compiled."""
    known = {openmm.Platform.getPlatform(i).getName(): i for i in range(openmm.Platform.getNumPlatforms())}
    present = [row.name for row in GPU_PLATFORMS if row.name in known]
    return [name for name in present if _has_gpu(openmm.Platform.getPlatform(known[name]))]


def fastest_platform() -> str:
    """The platform with a GPU that OpenMM takes where none is named.

    Raises
    ------
    KernelsError
        If there is none.
    """
    found = platforms_with_gpu()
    if not found:
        raise KernelsError("no platform of OpenMM has a GPU here")
    return max(found, key=lambda name: openmm.Platform.getPlatformByName(name).getSpeed())


def _has_gpu(platform: openmm.Platform) -> bool:
    if platform.getName() == "OpenCL":
        return count_opencl_gpus() > 0
    try:
        return len(platform.getDevices()) > 0
    except AttributeError:  # before OpenMM 8.3; the platform is loaded only where its driver is
        return True
    except openmm.OpenMMException as error:
        logger.info("no device of %s: %s", platform.getName(), error)
        return False


def count_opencl_gpus(library: ctypes.CDLL | None = None) -> int:
    """How many of the devices of OpenCL are GPUs.

    Parameters
    ----------
    library : ctypes.CDLL, optional
        OpenCL's loader; the system's by default.

    Returns
    -------
    int
    """
    try:
        opencl = library or ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if opencl.clGetPlatformIDs(0, None, ctypes.byref(count)) != _SUCCESS or count.value == 0:
        return 0
    platforms = (ctypes.c_void_p * count.value)()
    if opencl.clGetPlatformIDs(count, platforms, None) != _SUCCESS:
        return 0
    total = 0
    for platform in platforms:
        found = ctypes.c_uint(0)
        wanted = ctypes.c_void_p(platform), ctypes.c_ulong(_GPU)
        if opencl.clGetDeviceIDs(*wanted, 0, None, ctypes.byref(found)) == _SUCCESS:
            total += found.value
    return total
