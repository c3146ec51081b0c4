"""Radial weights of an edge and their slopes, channel by channel: from a table, or from the network itself.

With tables a lane reads its channel's polynomial. Without, the hidden layers of a block's edges are evaluated in the
group's memory before the edges are gone through, each lane some units; an edge's weights are then products of its last
hidden layer with the columns of the last matrix. The slope goes forward with the value, as in
``kernels/cpu/radial_weights.hpp``.

| in the text       | meaning                                                                               |
|-------------------|---------------------------------------------------------------------------------------|
| ``edge_table``    | with tables place of an edge's row among the weights, else its slot; -1 beyond the cutoff |
| ``edge_fraction`` | with tables: place between two knots                                                    |
| ``edge_hidden<k>`` | without: values of a hidden layer, then their slopes                                    |
| ``fraction``      | of a slot; without tables its radial basis, then the slopes of that                       |
| ``w<p>``, ``d<p>`` | radial weight of a path and its derivative                                              |
"""

from __future__ import annotations

from functools import partial

from .dialect import LANES, sum_loop
from .gpu_layers import GpuLayer, GpuModel

#: Coefficients of a quintic table.
_COEFFICIENTS = 6


def weight_arrays(model: GpuModel, own: GpuLayer, backward: bool) -> dict[str, int]:
    """Rows of numbers in the group's memory, and their numbers for each edge of a block.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    backward : bool
        Whether slopes are wanted.

    Returns
    -------
    dict of str to int
    """
    if not model.basis:
        return {"edge_fraction": 1}
    return {f"edge_hidden{k}": (1 + backward) * columns for k, (_, columns, _) in enumerate(own.network[:-1])}


def edge_place(model: GpuModel, own: GpuLayer) -> tuple[str, list[str]]:
    """``edge_table`` of edge e in slot ``at`` with knot ``place``, and statements that keep what else is needed."""
    if model.basis:
        return "at", []
    return f"{own.table} + place*{_COEFFICIENTS * own.rows.weights}", ["          edge_fraction[e] = fraction[at];"]


def hidden_layers(model: GpuModel, own: GpuLayer, block: int, backward: bool) -> list[str]:
    """The hidden layers of a block's edges; nothing with tables.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    block : int
        Edges of a block.
    backward : bool
        Whether slopes are wanted.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for k, (rows, columns, matrix) in enumerate(own.network[:-1]):
        value, slope = _inputs(model, own, k, backward)
        lines += [
            f"      for (int r = LANE; r < {block * columns}; r += {LANES}) {{",
            f"        const int e = WARP*{block} + r/{columns}, unit = r - r/{columns}*{columns};",
            "        if (edge_table[e] < 0) continue;",
            f"        GLOBAL const number* matrix = weights + {matrix} + unit;",
            "        number sum = 0, slopes = 0, value, slope;",
            *sum_loop(rows, partial(_add_input, columns, value, slope if backward else ""), "        "),
            f"        ACTIVATE_{own.layer.radial.activation}(sum, value, slope)",
            f"        edge_hidden{k}[e*{(1 + backward) * columns} + unit] = value;",
            *([f"        edge_hidden{k}[e*{2 * columns} + {columns} + unit] = slope*slopes;"] if backward else []),
            "      }",
            "      SYNC_WARP",
        ]
    return lines


def _add_input(columns: int, value: str, slope: str, q: str) -> list[str]:
    """Input q times its row of a matrix, and the same of its slope where that is wanted."""
    lines = [f"sum += {value.format(q)}*matrix[{q}*{columns}];"]
    return [*lines, f"slopes += {slope.format(q)}*matrix[{q}*{columns}];"] if slope else lines


def begin_weights(model: GpuModel, own: GpuLayer, first_channel: int, backward: bool) -> list[str]:
    """What goes before all paths of a slice for edge e; without tables, all their weights.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    first_channel : int
        First channel of the slice.
    backward : bool
        Whether slopes are wanted: with respect to the fraction of an interval, or without tables to r / cutoff.

    Returns
    -------
    list of str
    """
    paths = own.paths(first_channel)
    if not model.basis:
        place = "        GLOBAL const number* table = weights + edge_table[e];"
        return [place, "        const number f = edge_fraction[e];"]
    rows, columns, matrix = own.network[-1]
    value, slope = _inputs(model, own, len(own.network) - 1, backward)
    names = [f"{name}{p} = 0" for p in paths for name in ("w", "d")[: 1 + backward]]
    def add(q: str) -> list[str]:
        lines = [
            f"GLOBAL const number* last = weights + {matrix} + {q}*{columns} + LANE;",
            f"const number hidden = {value.format(q)}{f', slope = {slope.format(q)}' if backward else ''};",
        ]
        for p in paths:
            lines.append(f"const number t{p} = last[{own.rows.path_offsets[p] + first_channel}];")
            lines.append(f"w{p} += hidden*t{p};" + (f" d{p} += slope*t{p};" if backward else ""))
        return lines

    return [f"        number {', '.join(names)};", *sum_loop(rows, add, "        ", 1)]


def path_weight(model: GpuModel, own: GpuLayer, p: int, first_channel: int, derivative: bool) -> list[str]:
    """Radial weight of path p, and its derivative; nothing where :func:`begin_weights` has them all."""
    if model.basis:
        return []
    vector = (own.rows.path_offsets[p] + first_channel) // LANES
    lines = [
        f"        GLOBAL const number* t{p} = table + {vector * _COEFFICIENTS * LANES} + LANE;",
        f"        number w{p} = t{p}[{5 * LANES}];",
    ]
    if derivative:
        lines += [f"        number d{p} = w{p};", f"        w{p} = w{p}*f + t{p}[{4 * LANES}];"]
    for power in range(3 if derivative else 4, -1, -1):
        if derivative:
            lines.append(f"        d{p} = d{p}*f + w{p};")
        lines.append(f"        w{p} = w{p}*f + t{p}[{power * LANES}];")
    return lines


def _inputs(model: GpuModel, own: GpuLayer, k: int, backward: bool) -> tuple[str, str]:
    """Input of matrix k for edge e, and its slope, with a place for the number of its row."""
    if k == 0:
        place = f"fraction[(mm_long) edge_table[e]*{2 * model.basis} + "
        return f"{place}{{}}]", f"{place}{model.basis} + {{}}]"
    columns = own.network[k - 1][1]
    place = f"edge_hidden{k - 1}[e*{(1 + backward) * columns} + "
    return f"{place}{{}}]", f"{place}{columns} + {{}}]"
