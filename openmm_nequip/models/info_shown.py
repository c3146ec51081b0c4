"""Facts about a model as a reader sees them: in a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..shown import counted, few, html_facts, one_line
from ..units import Units

if TYPE_CHECKING:
    from .base import ModelInfo


def _units(info: ModelInfo) -> str:
    if info.units is not None:
        return info.units.describe()
    return "to be stated" if info.units_needed else f"not stated, {Units().describe()} if nothing else is said"


def info_line(info: ModelInfo) -> str:
    """A model's facts in one line.

    Parameters
    ----------
    info : ModelInfo
        The facts.

    Returns
    -------
    str
    """
    cutoff = "no cutoff" if info.cutoff is None else f"cutoff {info.cutoff:g}"
    types = f"{counted(len(info.type_names), 'type')} ({few(info.type_names)})"
    needs = f"inputs {few([each.name for each in info.inputs])}" if info.inputs else ""
    return one_line("ModelInfo", (types, cutoff, info.dtype, f"units {_units(info)}", needs))


def info_html(info: ModelInfo) -> str:
    """A model's facts as a table for a notebook.

    Parameters
    ----------
    info : ModelInfo
        The facts.

    Returns
    -------
    str
        HTML.
    """
    by_pair = [
        f"{name}: {few([f'{value:g}' for value in row])}"
        for name, row in zip(info.type_names, info.per_edge_type_cutoff or (), strict=False)
    ]
    facts = {
        "types": " ".join(info.type_names),
        "cutoff": "none" if info.cutoff is None else f"{info.cutoff:g} (the model's unit of length)",
        "cutoffs by pair": "; ".join(by_pair),
        "precision": info.dtype + " (TF32 allowed)" * info.allow_tf32,
        "units": _units(info),
        "inputs": ", ".join(map(str, info.inputs)),
        "outputs": ", ".join(info.outputs),
        "compiled for": info.target,
        "fused kernels": info.kernels,
        "without a box": info.periodic_only,
        "in a box": info.open_only,
        "made with": ", ".join(f"{name} {number}" for name, number in info.versions.items()),
    }
    return html_facts("Model", facts.items())
