"""Facts about several models that answer as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .base import ModelInfo


def merged_info(infos: Sequence[ModelInfo], target: str) -> ModelInfo:
    """Facts about models that go together: the widest cutoffs, the strictest needs.

    Parameters
    ----------
    infos : sequence of ModelInfo
        One for each; of the same types, units and inputs.
    target : str
        What they are together.

    Returns
    -------
    ModelInfo
    """
    first = infos[0]
    one = len(infos) == 1
    spread = () if one else ("spread",)
    units = first.units if all(info.units == first.units for info in infos) else None
    kernels = dict.fromkeys(info.kernels for info in infos)
    return dataclasses.replace(
        first,
        cutoff=_widest(infos),
        per_edge_type_cutoff=_widest_by_type(infos),
        dtype=first.dtype if len({info.dtype for info in infos}) == 1 else "float64",
        units=units,
        units_needed=any(info.units_needed for info in infos),
        target=target,
        kernels="; ".join(kernels),
        compiled=all(info.compiled for info in infos),
        allow_tf32=all(info.allow_tf32 for info in infos),
        outputs=(*(name for name in first.outputs if all(name in info.outputs for info in infos)), *spread),
        open_only=next((info.open_only for info in infos if info.open_only), ""),
        periodic_only=next((info.periodic_only for info in infos if info.periodic_only), ""),
    )


def _widest(infos: Sequence[ModelInfo]) -> float | None:
    cutoffs = [info.cutoff for info in infos if info.cutoff is not None]
    return max(cutoffs) if cutoffs else None


def _widest_by_type(infos: Sequence[ModelInfo]) -> tuple[tuple[float, ...], ...] | None:
    """The widest cutoff [centre type][neighbour type] of any model; None where none has them by type."""
    if all(info.per_edge_type_cutoff is None for info in infos):
        return None
    widest = _widest(infos)
    tables = [info.per_edge_type_cutoff or _uniform(info) for info in infos if info.cutoff is not None]
    rows = range(len(infos[0].type_names))
    table = tuple(tuple(max(each[i][j] for each in tables) for j in rows) for i in rows)
    return None if all(value == widest for row in table for value in row) else table


def _uniform(info: ModelInfo) -> tuple[tuple[float, ...], ...]:
    count = len(info.type_names)
    return ((info.reach,) * count,) * count
