"""Loops over the edges of an atom, forward and backward: the formulas of :mod:`..cpu.convolution_code`.

A warp takes a block of edges: each of its threads prepares one (harmonics, couplings, what its radial weights need),
then all go through the block together, a channel in each lane, sums in registers. Backward reads the gradients of the
other atoms, so no thread writes where another one does.

| in the text        | meaning                                                                                    |
|--------------------|--------------------------------------------------------------------------------------------|
| ``edge_table``     | where its radial weights come from, see :mod:`.edge_weights`; -1 beyond the cutoff          |
| ``edge_row``       | the other atom, whose features or gradients are read; in the first layer its type            |
| ``edge_coupling``, ``edge_harmonic`` | elements of the matrices, harmonics                                       |
| ``a<p>_<m3>``, ``a<b>_<m1>`` | sums: of the convolution, of the gradients of features                             |
| ``w<p>``, ``d<p>`` | radial weight and its derivative                                                            |
| ``lane_gradient``  | gradients of an edge by channel: of the radial argument (0), of Y1, Y2, ...                 |
| ``edge_gradient``  | their sums over channels                                                                    |
"""

from __future__ import annotations

import numpy as np

from ..harmonics import coupling
from .dialect import LANES
from .edge_weights import begin_weights, edge_place, hidden_layers, path_weight, weight_arrays
from .gpu_layers import GpuLayer, GpuModel

#: A row of lane_gradient is one longer than a warp, so that the lanes which add up rows read other banks of memory.
GRADIENT_ROW = LANES + 1


def edge_arrays(model: GpuModel, own: GpuLayer, block: int, backward: bool) -> tuple[list[str], int]:
    """Memory of the group for a block of edges.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    block : int
        Edges of a block.
    backward : bool
        Whether it is for the backward loop.

    Returns
    -------
    lines : list of str
        Declarations.
    size : int
        Numbers that they take.
    """
    edges, q = model.warps * block, own.used_harmonics
    arrays = {"edge_coupling": own.couplings.room} | weight_arrays(model, own, backward)
    if backward:
        arrays |= {"edge_harmonic": q, "lane_gradient": q * GRADIENT_ROW, "edge_gradient": q}
    text = ", ".join(f"{name}[ATOMS*{edges * size}]" for name, size in arrays.items())
    lines = [f"  LOCAL number {text};", f"  LOCAL int edge_table[ATOMS*{edges}], edge_row[ATOMS*{edges}];"]
    return lines, edges * (sum(arrays.values()) + 2)


def edge_numbers(model: GpuModel, own: GpuLayer, backward: bool) -> int:
    """Numbers of the group's memory that an edge takes; arguments as of :func:`edge_arrays`."""
    q = own.used_harmonics
    weights = sum(weight_arrays(model, own, backward).values())
    return own.couplings.room + weights + 2 + (q * (2 + GRADIENT_ROW) if backward else 0)


def _begin(model: GpuModel, own: GpuLayer, block: int, backward: bool) -> list[str]:
    """The loop over blocks, the preparation of a block, and the loop over its edges."""
    sign = "-" if backward else ""
    row = "other[at]" if backward or own.number else "types[other[at]]"
    room, q = own.couplings.room, own.used_harmonics
    place, kept = edge_place(model, own)
    lines = [
        f"    for (int start = 0; start < count[i]; start += {block * model.warps}) {{",
        # Backward, each thread reads of a block what it prepared itself after the last barrier: none is needed here.
        *([] if backward else ["      SYNC_WARP"]),
        f"      if (LANE < {block}) {{",
        f"        const int e = WARP*{block} + LANE, q = start + TEAM_WARP*{block} + LANE, at = i*slots + q;",
        "        const int place = q < count[i] ? knot[at] : -1;",
        f"        edge_table[e] = place < 0 ? -1 : {place};",
        "        if (place >= 0) {",
        f"          const number x = {sign}unit[3*at], y = {sign}unit[3*at + 1], z = {sign}unit[3*at + 2];",
        "          HARMONICS(x, y, z)",
        *kept,
        f"          edge_row[e] = {row};",
        *(f"          edge_coupling[e*{room} + {c}] = {text};" for c, text in enumerate(own.couplings.elements)),
    ]
    if backward:
        lines += [f"          edge_harmonic[e*{q} + {h}] = Y{h};" for h in range(1, q)]
    width = own.rows.middle.width if backward else own.rows.inputs.width
    source = "gradients" if backward else "features"
    return [
        *lines,
        "        }",
        "      }",
        "      SYNC_WARP",
        *hidden_layers(model, own, block, backward),
        f"      for (int e = WARP*{block}; e < WARP*{block} + {block}; e++) {{",
        "        if (edge_table[e] < 0) continue;",
        f"        GLOBAL const number* row = {source} + (mm_long) edge_row[e]*{width} + LANE;",
        *(f"        const number m{c} = edge_coupling[e*{room} + {c}];" for c in range(len(own.couplings.elements))),
        *(f"        const number y{h} = edge_harmonic[e*{q} + {h}];" for h in range(1, q) if backward),
    ]


def forward_loop(model: GpuModel, own: GpuLayer, block: int, target: str) -> list[str]:
    """Sums of the convolution for atom i.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    block : int
        Edges of a block.
    target : str
        Row of a warp's sums.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for c in own.slices:
        paths = own.paths(c)
        sums = [(p, m3) for p in paths for m3 in range(2 * own.layer.paths[p].l3 + 1)]
        lines += ["    {", f"    number {', '.join(f'a{p}_{m3} = 0' for p, m3 in sums)};"]
        lines += _begin(model, own, block, False)
        for b in own.blocks(c):
            for m1 in range(2 * own.layer.inputs[b].l + 1):
                lines.append(f"        const number x{b}_{m1} = row[{own.feature_place(b, m1) + c}];")
        lines += begin_weights(model, own, c, False)
        for p in paths:
            path = own.layer.paths[p]
            lines += path_weight(model, own, p, c, False)
            for m3 in range(2 * path.l3 + 1):
                terms = [f"{text}*x{path.block}_{m1}" for m1, text in own.couplings.row(path, m3)]
                if terms:
                    lines.append(f"        a{p}_{m3} += w{p}*({' + '.join(terms)});")
        lines += ["      }", "    }"]
        lines += [f"    {target}[{own.sum_place(p, m3) + c} + LANE] = a{p}_{m3};" for p, m3 in sums]
        lines.append("    }")
    return lines


def backward_loop(model: GpuModel, own: GpuLayer, block: int, target: str) -> list[str]:
    """Gradients of the features of atom i, and of the edges that lead to it.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer; in the first, features depend on the type alone, and have no gradient.
    block : int
        Edges of a block.
    target : str
        Row of a warp's gradients of features.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for c in own.slices:
        blocks = own.blocks(c)
        features = [(b, m1) for b in blocks for m1 in range(2 * own.layer.inputs[b].l + 1)]
        lines.append("    {")
        for b, m1 in features:
            lines.append(f"    const number x{b}_{m1} = own_features[{own.feature_place(b, m1) + c} + LANE];")
            if own.number:
                lines.append(f"    number a{b}_{m1} = 0;")
        lines += _begin(model, own, block, True)
        lines += _pulls(model, own, c)
        lines += ["      }", *_end(model, own, block, c)]
        if own.number:
            lines += [f"    {target}[{own.feature_place(b, m1) + c} + LANE] = a{b}_{m1};" for b, m1 in features]
            for b, channels in enumerate(own.rows.inputs.channels):
                if b not in blocks and channels > c:  # what no path reads
                    for m1 in range(2 * own.layer.inputs[b].l + 1):
                        lines.append(f"    {target}[{own.feature_place(b, m1) + c} + LANE] = 0;")
        lines.append("    }")
    return lines


def _pulls(model: GpuModel, own: GpuLayer, first_channel: int) -> list[str]:
    """What one edge gives, lane by lane."""
    q = own.used_harmonics
    lines = [f"        number {', '.join(f'h{h} = 0' for h in range(q))};"]
    literal = model.numbers.literal
    y00 = float(model.program.harmonics[0][0, 0])
    lines += begin_weights(model, own, first_channel, True)
    for p in own.paths(first_channel):
        path = own.layer.paths[p]
        table = coupling(path.l1, path.l2, path.l3)
        lines += path_weight(model, own, p, first_channel, True)
        for m3 in range(2 * path.l3 + 1):
            lines.append(f"        const number g{p}_{m3} = row[{own.sum_place(p, m3) + first_channel}];")
        for m1, m3 in np.argwhere(table.any(axis=1)):
            lines.append(f"        const number p{p}_{m1}_{m3} = x{path.block}_{m1}*g{p}_{m3};")
        radial = []
        for m2 in range(2 * path.l2 + 1):
            if not table[:, m2].any():
                continue
            lines.append(f"        const number s{p}_{m2} = {_pull(p, table[:, m2], literal)};")
            if path.l2:
                radial.append(f"y{path.l2**2 + m2}*s{p}_{m2}")
                lines.append(f"        h{path.l2**2 + m2} += w{p}*s{p}_{m2};")
            else:
                radial.append(f"{literal(y00)}*s{p}_{m2}")
        lines.append(f"        h0 += d{p}*({' + '.join(radial)});")
        if own.number:
            for m1 in range(2 * path.l1 + 1):
                terms = [f"{text}*g{p}_{m3}" for m3, text in own.couplings.column(path, m1)]
                if terms:
                    lines.append(f"        a{path.block}_{m1} += w{p}*({' + '.join(terms)});")
    lines += [f"        lane_gradient[(e*{q} + {h})*{GRADIENT_ROW} + LANE] = h{h};" for h in range(q)]
    return lines


def _pull(p: int, table: np.ndarray, literal) -> str:
    """Sum of products with couplings (m1, m3), those of one size together."""
    by_size: dict[float, list[str]] = {}
    for m1, m3 in np.argwhere(table):
        value = float(table[m1, m3])
        size = next((known for known in by_size if abs(known - abs(value)) < 1e-12), abs(value))
        by_size.setdefault(size, []).append(f"{'+' if value > 0 else '-'} p{p}_{m1}_{m3}")
    return " + ".join(f"{literal(size)}*({' '.join(terms)})" for size, terms in by_size.items())


def _end(model: GpuModel, own: GpuLayer, block: int, first_channel: int) -> list[str]:
    """Channels are summed, and harmonics become directions."""
    q = own.used_harmonics
    last = own.number + 1 == len(model.layers)
    write = "=" if last and first_channel == 0 else "+="
    lines = [
        "      SYNC_WARP",
        f"      for (int r = WARP*{block * q} + LANE; r < (WARP + 1)*{block * q}; r += {LANES})",
        f"        if (edge_table[r/{q}] >= 0) {{",
        "          number sum = 0;",
        f"          for (int c = 0; c < {LANES}; c++) sum += lane_gradient[r*{GRADIENT_ROW} + c];",
        "          edge_gradient[r] = sum;",
        "        }",
        "      SYNC_WARP",
        f"      if (LANE < {block} && edge_table[WARP*{block} + LANE] >= 0) {{",
        f"        const int e = WARP*{block} + LANE, at = i*slots + start + TEAM_WARP*{block} + LANE;",
        "        const number x = -unit[3*at], y = -unit[3*at + 1], z = -unit[3*at + 2];",
        "        number hx = 0, hy = 0, hz = 0;",
    ]
    if q == len(model.program.harmonics) ** 2:
        lines.append(f"        #define HARMONIC_GRADIENT(b) edge_gradient[e*{q} + (b)]")
    else:
        gradient = f"edge_gradient[e*{q} + ((b) < {q} ? (b) : 0)]"
        lines.append(f"        #define HARMONIC_GRADIENT(b) ((b) < {q} ? {gradient} : 0)")
    return [
        *lines,
        "        HARMONICS_BACKWARD(x, y, z, HARMONIC_GRADIENT, hx, hy, hz)",
        "        #undef HARMONIC_GRADIENT",
        f"        radial_gradient[at] {write} edge_gradient[e*{q}];",
        f"        unit_gradient[3*at] {write} hx;",
        f"        unit_gradient[3*at + 1] {write} hy;",
        f"        unit_gradient[3*at + 2] {write} hz;",
        "      }",
        "    }",
    ]
