"""From a model to code and weights, in one call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .generate import generate
from .recognise import NotFusable, recognise
from .tables import tabulate


@cache
def generator() -> str:
    """Digest of this package: what an older or newer one made, or refused, is not used."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.iterdir()):
        if file.suffix in (".py", ".hpp"):
            digest.update(file.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused model, without the library that its code is compiled to.

    Parameters
    ----------
    source : str
        C++.
    weights, constants : numpy.ndarray
        What the code reads.
    facts : dict
        ``tables`` (bool); with tables ``knots``, ``value_error`` and ``slope_error`` (relative to the largest value and
        slope of the radial networks) and ``table_bytes``.
    """

    source: str
    weights: np.ndarray
    constants: np.ndarray
    facts: dict[str, Any]

    @property
    def summary(self) -> str:
        """One line about the kernels."""
        if not self.facts["tables"]:
            return "fused, radial networks exact"
        size, value, slope = (self.facts[key] for key in ("table_bytes", "value_error", "slope_error"))
        return (
            f"fused, radial networks in tables of {self.facts['knots']} knots ({size / 1e6:.1f} MB; largest relative "
            f"error {value:.1e} in value, {slope:.1e} in slope)"
        )


def fuse(model: Any, tables: bool, vector_bytes: int) -> Fused:
    """Fuse a NequIP model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.
    tables : bool
        Whether the radial networks are tabulated.
    vector_bytes : int
        Width of the vectors of the machine that will run it.

    Returns
    -------
    Fused

    Raises
    ------
    NotFusable
        If a part of the model is not known, or a table cannot keep its promise.
    """
    program = recognise(model)
    if not tables:
        made = generate(program, None, vector_bytes)
        return Fused(made.source, made.weights, made.constants, {"tables": False})
    try:
        found = [tabulate(program, layer.radial) for layer in program.layers]
        knots = max(table.knots for table in found)
        found = [tabulate(program, layer.radial, fewest=knots) for layer in program.layers]
    except ValueError as error:
        raise NotFusable(str(error)) from error
    made = generate(program, found, vector_bytes)
    size = sum(table.coefficients.size for table in found) * np.dtype(program.dtype).itemsize
    facts = {
        "tables": True,
        "knots": knots,
        "value_error": max(table.value_error for table in found),
        "slope_error": max(table.slope_error for table in found),
        "table_bytes": int(size),
    }
    return Fused(made.source, made.weights, made.constants, facts)
