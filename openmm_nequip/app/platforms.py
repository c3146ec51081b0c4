"""OpenMM's platforms on this machine, and which of them may be chosen for somebody who named none.

OpenMM takes the platform that calls itself fastest and works. With an OpenCL implementation for CPUs on the machine,
such as pocl, that is the OpenCL platform, slower there than OpenMM's own for CPUs and, in OpenMM's words, unsupported.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import openmm

_Made = TypeVar("_Made")

logger = logging.getLogger(__name__)

OPENCL = "OpenCL"
#: How OpenCL calls devices that are CPUs, and platforms that run on nothing else.
_CPU_WORDS = re.compile(r"\b(cpu|pthread|pocl|portable computing language|xeon|core\(tm\)|ryzen|epyc)\b", re.IGNORECASE)
#: How the implementations begin that OpenMM supports; it warns of results that may be incorrect with all others (its
#: OpenCLContext looks for the same four vendors).
_SUPPORTED = ("nvidia", "amd ", "apple", "intel")


def present_platforms() -> list[str]:
    """Names of OpenMM's platforms on this machine, as OpenMM numbers them."""
    return [openmm.Platform.getPlatform(i).getName() for i in range(openmm.Platform.getNumPlatforms())]


def find_platform(name: str | None) -> str | None:
    """OpenMM's spelling of a platform's name; None for None.

    Raises
    ------
    ValueError
        If there is no such platform.
    """
    if name is None:
        return None
    for known in present_platforms():
        if known.lower() == name.lower():
            return known
    raise ValueError(f"platform {name!r} is not there; this OpenMM has {', '.join(present_platforms())}")


def opencl_fault(device: str, implementation: str) -> str:
    """Why an OpenCL device is not to be chosen for somebody who did not ask for it; empty where it may be.

    Parameters
    ----------
    device : str
        Name of the device, as OpenMM's property ``DeviceName``.
    implementation : str
        Name of the OpenCL platform, as its property ``OpenCLPlatformName``.

    Returns
    -------
    str
    """
    if _CPU_WORDS.search(f"{device}, {implementation}"):
        return f"its device is a CPU ({device}, {implementation}), for which others are faster"
    if not implementation.lower().startswith(_SUPPORTED):
        return f"OpenMM does not support this OpenCL implementation ({implementation}, on {device})"
    return ""


@lru_cache
def opencl_obstacle(index: str | None = None) -> str:
    """The same for the device that OpenMM takes, found by a Context of one particle; once for a process.

    Parameters
    ----------
    index : str, optional
        OpenMM's ``DeviceIndex``; the device that OpenMM prefers by default.

    Returns
    -------
    str
        Also where the platform does not work.
    """
    system = openmm.System()
    system.addParticle(1.0)
    platform = openmm.Platform.getPlatformByName(OPENCL)
    properties = {} if index is None else {"DeviceIndex": index}
    try:
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)
        names = [platform.getPropertyValue(context, key) for key in ("DeviceName", "OpenCLPlatformName")]
    except openmm.OpenMMException as error:
        return f"it does not work here ({error})"
    return opencl_fault(*names)


def sensible_platforms(index: str | None = None) -> list[str]:
    """Platforms that may be chosen for somebody who named none, as OpenMM numbers them.

    Parameters
    ----------
    index : str, optional
        As of :func:`opencl_obstacle`.

    Returns
    -------
    list of str
        Whether CUDA and HIP work here is not tried.
    """
    return [name for name in present_platforms() if name != OPENCL or not opencl_obstacle(index)]


def on_fastest(make: Callable[[str], _Made], index: str | None = None) -> _Made:
    """What a function makes on the fastest platform that works and may be chosen; reasons are logged.

    Parameters
    ----------
    make : callable
        Makes something, such as a Simulation, on the platform of the name it is given.
    index : str, optional
        As of :func:`opencl_obstacle`.

    Returns
    -------
    object
        What ``make`` gave.

    Raises
    ------
    openmm.OpenMMException
        As ``make`` on the last platform.
    """
    names = sorted(present_platforms(), key=lambda name: -openmm.Platform.getPlatformByName(name).getSpeed())
    for name in names[:-1]:
        obstacle = opencl_obstacle(index) if name == OPENCL else ""
        if obstacle:
            logger.info("platform %s is left out: %s", name, obstacle)
            continue
        try:
            return make(name)
        except openmm.OpenMMException as error:
            logger.info("platform %s does not work here (%s)", name, error)
    return make(names[-1])
