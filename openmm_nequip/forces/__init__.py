"""Four ways to hang a model on OpenMM, one choice between them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import openmm

from ..choices import BACKENDS, FORCE_NAME
from ..models.format import MODULE, TORCHSCRIPT
from ..models.formats.module_file import libraries_of
from ..models.modules.module_interface import parse_interface
from .computation import Computation, TensorComputation
from .native import first_use_obstacle, make_native_force, native_obstacle
from .native.gpu_devices import platforms_with_gpu
from .probe import PluginState, probe_plugin
from .spec import PotentialSpec, SumSpec

logger = logging.getLogger(__name__)


def choose_backend(requested: str, spec: PotentialSpec | SumSpec, plugin: PluginState | None = None) -> str:
    """Resolve ``backend=``.

    Parameters
    ----------
    requested : str
        One of :data:`openmm_nequip.choices.BACKENDS`.
    spec : PotentialSpec or SumSpec
        The potential to run.
    plugin : PluginState, optional
        State of openmmtorch; found out if not given and needed.

    Returns
    -------
    str
        ``"Native"``, ``"PythonForce"``, ``"TorchForce"`` or ``"PythonTorchForce"``.

    Raises
    ------
    ValueError
        If the name is unknown or the backend cannot run this potential.
    RuntimeError
        If the backend is not there; the message has versions and the cure.
    """
    if requested not in BACKENDS:
        raise ValueError(f"backend={requested!r} is unknown; use one of {', '.join(BACKENDS)}")
    if requested == "PythonForce":
        return requested
    if requested == "auto" and platforms_with_gpu():
        reason = _native_doubt(spec)
        if not reason:
            return "Native"
        logger.warning("no native force for %s on this machine's GPU: %s", spec.origin, reason)
    if requested == "Native":
        if reason := native_obstacle(spec):
            raise ValueError(f"backend='Native' cannot be used: {reason}; use backend='PythonForce'")
        return requested
    obstacle = _torch_force_obstacle(spec)
    if requested == "TorchForce" and obstacle:
        raise ValueError(f"backend='TorchForce' cannot be used: {obstacle}; use backend='PythonForce'")
    plugin = probe_plugin() if plugin is None else plugin
    if requested == "auto":
        # A foreign module is checked at its first use, which a TorchForce cannot do.
        foreign = not isinstance(spec, SumSpec) and spec.source.driving.kind == MODULE
        if plugin.works and not obstacle and not foreign:
            return "TorchForce"
        return "PythonTorchForce" if plugin.works and plugin.has_python_torch_force else "PythonForce"
    if not plugin.works:
        raise RuntimeError(f"backend={requested!r} cannot be used: {plugin.reason}")
    if requested == "PythonTorchForce" and not plugin.has_python_torch_force:
        raise RuntimeError(
            "backend='PythonTorchForce' cannot be used: the installed openmmtorch has no PythonTorchForce (releases up "
            "to 1.5 have not); install a newer openmmtorch, or use backend='PythonForce' or 'TorchForce'"
        )
    return requested


def _native_doubt(spec: PotentialSpec | SumSpec) -> str:
    """Why a native force is not taken by itself on this machine's GPU; empty if it is."""
    named = next((part.execution.device for part in spec.parts if part.execution.device is not None), None)
    if named is not None:  # torch's device may be another than the Context's
        return f"it runs on the device of its Context, and device={named!r} was given"
    return native_obstacle(spec) or first_use_obstacle(spec)


def _torch_force_obstacle(spec: PotentialSpec | SumSpec) -> str:
    """Why a TorchForce cannot run this potential; empty if it can."""
    if isinstance(spec, SumSpec):
        return "several models in one force run through Python"
    source = spec.source.driving
    if source.kind == MODULE:
        return _module_obstacle(dataclasses.replace(spec, source=source))
    for file in source.files:
        if file.kind != TORCHSCRIPT:
            return (
                f"{file.path} is a {file.kind} file, and a TorchForce runs "
                "TorchScript only (compile it with `nequip-compile --mode torchscript` under torch < 2.10)"
            )
    return _use_obstacle(spec)


def _module_obstacle(spec: PotentialSpec) -> str:
    """Why a TorchForce cannot run a module that is not nequip's."""
    if parse_interface(spec.source.interface).embeds:
        return "charges around a region are placed through Python"
    if spec.periodic and not parse_interface(spec.source.interface).is_periodic:
        return "a module that takes no box gets molecules in one piece, which are found through Python"
    if libraries_of(spec.source):
        return f"{spec.source.path} needs libraries that a saved TorchForce would lack"
    return _use_obstacle(spec)


def _use_obstacle(spec: PotentialSpec) -> str:
    """Why the way in which a potential is used rules a TorchForce out."""
    if spec.execution.kernels == "fused":
        return "fused kernels run through Python, and kernels='fused' was given"
    if spec.execution.device is not None:
        return f"a TorchForce runs on the device of its Context, but device={spec.execution.device!r} was given"
    if spec.lambda_name is not None or len(spec.placement.regions) > 1:
        return "interpolated systems and several regions run through Python"
    return ""


def make_force(
    spec: PotentialSpec | SumSpec,
    particles: Sequence[int] | None,
    n_system_particles: int,
    backend: str = "auto",
    properties: dict[str, str] | None = None,
) -> openmm.Force:
    """Make the OpenMM force for a potential; it is not yet added to a System.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.
    particles : sequence of int, optional
        System indices of the particles it acts on; all by default.
    n_system_particles : int
        Number of particles of the System.
    backend : str
        One of :data:`openmm_nequip.choices.BACKENDS`.
    properties : dict, optional
        Properties of the TorchForce (``useCUDAGraphs``, ``CUDAGraphWarmupSteps``).

    Returns
    -------
    openmm.Force
        Named :data:`openmm_nequip.choices.FORCE_NAME`.

    Raises
    ------
    ValueError, RuntimeError
        As :func:`choose_backend`.
    """
    chosen = choose_backend(backend, spec)
    logger.info("backend %s for %s", chosen, spec.origin)
    if properties and chosen != "TorchForce":
        raise ValueError(f"properties={properties!r} belong to TorchForce, but the backend is {chosen}; leave them out")
    parameters = {} if spec.lambda_name is None else {spec.lambda_name: 1.0}
    subset = chosen == "PythonTorchForce" or (chosen == "PythonForce" and hasattr(openmm.PythonForce, "setParticles"))
    if particles is not None and not subset:
        # TorchForce, and PythonForce before OpenMM 8.6, know no subset: the selection moves inside.
        spec, particles = spec.on_system(np.asarray(particles, dtype=np.int64), n_system_particles), None
    if chosen == "Native":
        force = make_native_force(spec)
    elif chosen == "TorchForce" and isinstance(spec, PotentialSpec):
        from .torch_force import make_torch_force

        asked = {"useCUDAGraphs": "true"} if spec.execution.cuda_graphs is True else {}
        force = make_torch_force(spec, asked | (properties or {}))
    elif chosen == "PythonTorchForce":
        from openmmtorch import PythonTorchForce

        force = PythonTorchForce(TensorComputation(spec, particles), parameters, list(particles or ()))
        force.setUsesPeriodicBoundaryConditions(spec.periodic)
    else:
        force = openmm.PythonForce(Computation(spec, particles), parameters)
        force.setUsesPeriodicBoundaryConditions(spec.periodic)
        if particles is not None:
            force.setParticles(list(particles))
    force.setName(FORCE_NAME)
    return force
