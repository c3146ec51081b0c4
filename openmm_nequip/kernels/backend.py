"""What a device has to offer to run fused models: one row for each kind of device.

A row is made in the folder that holds the device's code (:mod:`.cpu`) and listed in
:data:`.fuse.BACKENDS`. Everything before it, from the model to the :class:`Program` and the
tables, is shared by all devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .program import Program
from .tables import Table


@dataclass(frozen=True, eq=False)
class Generated:
    """Code and weights of a model for one kind of device.

    Parameters
    ----------
    source : str
        Source code, complete in itself.
    weights : numpy.ndarray, (n_weights,)
        All weights, in the model's dtype, in the order that the code expects.
    constants : numpy.ndarray, (n_constants,) float64
        What the code reads in double precision: reciprocal cutoffs, scales, shifts, charges.
    """

    source: str
    weights: np.ndarray
    constants: np.ndarray


@dataclass(frozen=True, eq=False)
class StepperSetup:
    """What stays the same along a simulation.

    Parameters
    ----------
    reach : float
        How far an atom may move before the edges are found anew, in the model's unit; infinity where they hold for
        ever.
    length, energy : float
        The model's units in those of the caller.
    cell : numpy.ndarray, (3, 3) float64, optional
        The cell where nothing is periodic, in the model's unit; None for a periodic system.
    """

    reach: float
    length: float
    energy: float
    cell: np.ndarray | None = None


class Code(Protocol):
    """What a backend opens: anything with the parts of :class:`Generated`."""

    @property
    def source(self) -> str:
        """Source code."""

    @property
    def weights(self) -> np.ndarray:
        """All weights."""

    @property
    def constants(self) -> np.ndarray:
        """Numbers in double precision."""


@dataclass(frozen=True)
class CodeTarget:
    """A kind of device that code is generated for; who compiles and launches it is another matter.

    Parameters
    ----------
    name : str
        Its name, for messages and cache keys.
    target : callable
        () -> what the generated code depends on besides the model, as part of a cache key.
    build : callable
        :class:`Program` and tables (a list of :class:`Table`, one a layer, or None for exact radial networks) ->
        :class:`Generated` for this machine.
    """

    name: str
    target: Callable[[], str]
    build: Callable[[Program, list[Table] | None], Generated]


@dataclass(frozen=True)
class Backend(CodeTarget):
    """A kind of device of torch's that fused models run on.

    Parameters
    ----------
    name, target, build
        As of :class:`CodeTarget`.
    device_type : str
        ``torch.device.type`` of the devices that it serves.
    obstacle : callable
        ``torch.device`` -> why kernels cannot be made for it here, with the cure; ``""`` if they can. Cheap: nothing is
        compiled.
    open : callable
        :class:`Code`, the folder where compiled code is kept and, if given, a check of new libraries -> the loaded
        library, compiled now unless that was done before. Raises :class:`openmm_nequip.errors.BuildError`, and
        :class:`openmm_nequip.errors.NotFusableError` where the check did.
    step : callable
        Library -> a callable that evaluates graphs, see :class:`.cpu.library.Step`.
    stepper : callable
        Library, types, neighbours and setup -> a callable that follows a simulation, see
        :class:`.cpu.stepper.FusedStepper`.
    """

    device_type: str
    obstacle: Callable[[Any], str]
    open: Callable[..., Any]
    step: Callable[..., Any]
    stepper: Callable[..., Any]
