"""A force of our own on OpenMM's GPU platforms: C++ compiled against OpenMM's headers, kernels of the model's program.

On CUDA, HIP and OpenCL a step stays on the device, with no Python in it; on other platforms the force hands its
positions to Python, as a PythonForce does. In XML it is the same saved potential as that of a PythonForce.
"""

from __future__ import annotations

import pickle
from xml.sax.saxutils import quoteattr

import openmm

from ...choices import FORCE_NAME
from ...errors import KernelsError
from ..computation import Computation
from ..spec import PotentialSpec, SumSpec
from .gpu_description import describe_potential, gpu_obstacle
from .gpu_devices import fastest_platform
from .gpu_first_use import check_first_use
from .gpu_place import GpuPlace
from .plugin import load_plugin

#: Type of the force in XML.
FORCE_TYPE = "NequIPForce"


def make_native_force(spec: PotentialSpec | SumSpec) -> openmm.Force:
    """The force for a potential on all particles of a System.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential, or several.

    Returns
    -------
    openmm.Force

    Raises
    ------
    BuildError
        If it cannot be compiled here, or does not work with the OpenMM that is installed.
    """
    load_plugin()
    saved = pickle.dumps(Computation(spec)).hex()
    parameter = spec.lambda_name or ""
    return openmm.XmlSerializer.deserialize(
        f'<Force forceGroup="0" function="{saved}" name={quoteattr(FORCE_NAME)} parameter={quoteattr(parameter)} '
        f'type="{FORCE_TYPE}" usesPeriodic="{int(spec.periodic)}" version="1"/>'
    )


def native_obstacle(spec: PotentialSpec | SumSpec) -> str:
    """Why a potential cannot run in a native force here; the model is read and the force compiled to find out.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.

    Returns
    -------
    str
        Empty if it can.
    """
    if reason := gpu_obstacle(spec):
        return reason
    try:
        load_plugin()
        describe_potential(spec)
    except KernelsError as error:
        return str(error)
    return ""


def first_use_obstacle(spec: PotentialSpec | SumSpec) -> str:
    """Why the force would give wrong answers on the GPU that OpenMM takes by itself; its kernels are run to find out.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        A potential without :func:`native_obstacle`.

    Returns
    -------
    str
        Empty if it gives the model's own, as the text of OpenMM's error where no Context can be had.
    """
    try:
        check_first_use(load_plugin(), describe_potential(spec), GpuPlace.default(fastest_platform()))
    except (KernelsError, openmm.OpenMMException) as error:
        return str(error)
    return ""
