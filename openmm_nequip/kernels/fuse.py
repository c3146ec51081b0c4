"""From a model to code and weights, in one call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KernelsError
from .allegro_program import AllegroProgram
from .backend import Backend, CodeTarget
from .cpu import CPU
from .mixing_program import MixingProgram
from .pair_functions import tabulate_pairs
from .program import NequIPProgram, Program
from .read import read_model
from .tables import Table, tabulate

#: Kinds of devices that fused models run on; another one is a folder and a row.
BACKENDS = (CPU,)
#: Files that decide what is generated.
_SOURCES = (".py", ".hpp", ".cpp", ".cc")


def backend_for(device: Any) -> Backend:
    """The backend of a device.

    Parameters
    ----------
    device : torch.device
        Where the model is to run.

    Returns
    -------
    Backend

    Raises
    ------
    KernelsError
        If there is none.
    """
    for backend in BACKENDS:
        if backend.device_type == device.type:
            return backend
    known = " and ".join(backend.name.upper() + "s" for backend in BACKENDS)
    raise KernelsError(f"they run on {known}, and the device is {device}")


@cache
def generator() -> str:
    """Digest of this package: what an older or newer one made, or refused, is not used."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in _SOURCES):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused model, without the library that its code is compiled to.

    Parameters
    ----------
    source : str
        Source code.
    weights, constants : numpy.ndarray, (n_weights,) and (n_constants,)
        What the code reads, see :class:`.backend.Generated`.
    facts : dict
        ``tables`` (bool), and ``without`` (why) where tables were wanted; with tables ``knots``, ``degree``,
        ``value_error`` and ``slope_error`` (relative to the largest value and slope of the radial functions) and
        ``table_bytes``.
    """

    source: str
    weights: np.ndarray
    constants: np.ndarray
    facts: dict[str, Any]

    @property
    def summary(self) -> str:
        """One line about the kernels."""
        if not self.facts["tables"]:
            why = self.facts.get("without")
            return "fused, radial networks exact" + (f" ({why})" if why else "")
        size, value, slope = (self.facts[key] for key in ("table_bytes", "value_error", "slope_error"))
        return (
            f"fused, radial networks in tables of {self.facts['knots']} knots ({size / 1e6:.1f} MB; largest relative "
            f"error {value:.1e} in value, {slope:.1e} in slope)"
        )


def fuse(model: Any, tables: bool, backend: CodeTarget = CPU) -> Fused:
    """Fuse a model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.
    tables : bool
        Whether the radial networks are tabulated.
    backend : CodeTarget
        For which devices.

    Returns
    -------
    Fused

    Raises
    ------
    NotFusableError
        If a part of the model is not known.
    """
    return fuse_program(read_model(model), tables, backend)


def fuse_program(program: Program, tables: bool, backend: CodeTarget = CPU) -> Fused:
    """Fuse what was read from a model.

    Parameters
    ----------
    program : Program
        The model as plain numbers.
    tables, backend
        As of :func:`fuse`.

    Returns
    -------
    Fused
        Without tables where they would be too large, or cannot keep their promise: then the radial functions
        themselves are evaluated.
    """
    without = "tables for all pairs of types would be too large"
    try:
        found = tabulate_program(program) if tables else None
    except ValueError as error:
        found, without = None, str(error)
    made = backend.build(program, found)
    if found is None:
        facts: dict[str, Any] = {"tables": False} | ({"without": without} if tables else {})
        return Fused(made.source, made.weights, made.constants, facts)
    size = sum(table.coefficients.size for table in found) * np.dtype(program.dtype).itemsize
    facts = {
        "tables": True,
        "knots": max(table.knots for table in found),
        "degree": found[0].coefficients.shape[1] - 1,
        "value_error": max(table.value_error for table in found),
        "slope_error": max(table.slope_error for table in found),
        "table_bytes": int(size),
    }
    return Fused(made.source, made.weights, made.constants, facts)


def tabulate_program(program: Program) -> list[Table] | None:
    """Tables of all radial functions of a program, with one grid.

    Parameters
    ----------
    program : Program
        Of any family.

    Returns
    -------
    list of Table or None
        For each layer, or for each pair of types; None if they would be too large.

    Raises
    ------
    ValueError
        If the promise of the tables cannot be kept.
    """
    if isinstance(program, (AllegroProgram, MixingProgram)):
        return tabulate_pairs(program)
    if not isinstance(program, NequIPProgram):
        raise TypeError(f"got a {type(program).__name__}, expected a program of a family that is known")
    found = [tabulate(program, layer.radial) for layer in program.layers]
    while len({table.knots for table in found}) > 1:
        knots = max(table.knots for table in found)
        found = [
            table if table.knots == knots else tabulate(program, layer.radial, fewest=knots)
            for table, layer in zip(found, program.layers, strict=True)
        ]
    return found
