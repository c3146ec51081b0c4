"""C++ of the convolution of a layer, forward and backward, with its tensor products written out.

Forward, for the centre i, a path p of orders l1 x l2 -> l3 and a channel c::

    A_i[m3, c] = sum over edges ij of R_pc(r_ij) sum over m1 of M[m3, m1](u_ij) x_j[m1, c]

Backward, for the neighbour j, with G = dE/dA::

    dE/dx_j[m1, c] = sum over edges ij, p, m3 of R_pc M[m3, m1] G_i[m3, c]
    dE/dY[m2]      = sum over p, c of R_pc P_p[m2, c]
    dE/dR argument = sum over p, c of R'_pc sum over m2 of Y[m2] P_p[m2, c]
    P_p[m2, c]     = sum over m1, m3 of C[m1, m2, m3] x_j[m1, c] G_i[m3, c]

Edges are taken in pieces of many blocks, a block being up to a vector of edges of one atom. Harmonics are computed
for all edges of a piece, edges in the lanes. Then, for every group of paths and every chunk of channels, the blocks are
gone through: the matrices M of the group for all edges of the block at once, then edge by edge with the sums in
registers, channels in the lanes. So the part of the tables that a group and a chunk need, and what they read of other
atoms, is read for a whole piece before anything else takes its place in the cache. Backward runs over the edges by
which the atoms are neighbours and reads the gradients of the centres, so that no two threads ever write to one place.

Names in the generated code: ``sum<p>_<m3>`` A, ``feature<m1>`` x, ``weight<p>`` and ``slope<p>`` R and R',
``gradient<p>_<m3>`` G, ``product<p>_<m1>_<m3>`` x G, ``pull<p>_<m2>`` P, ``feature_gradient<m1>`` dE/dx.
"""

from __future__ import annotations

import numpy as np

from ..harmonics import coupling
from ..program import Path
from .convolution_layout import Convolution
from .harmonics_code import Couplings, literal
from .radial_code import COEFFICIENTS
from .table_slabs import paths_of

#: Sums of one loop of the forward pass: registers that they may take before paths are put into separate loops.
_MOST_SUMS = 14
#: Products of one loop of the backward pass before paths are put into separate loops.
_MOST_PRODUCTS = 120
#: Vectors of channels in a chunk. More of them share the couplings of a block and the sums over lanes of its gradients,
#: fewer leave more of the cache to tables and to rows of other atoms.
_CHUNK = 8


def room_code(conv: Convolution) -> str:
    """The struct ``Room<k>``: what a thread keeps of the edges of a piece.

    Parameters
    ----------
    conv : Convolution
        Of the layer.

    Returns
    -------
    str
    """
    lines = [
        f"struct Room{conv.number} {{",
        f"  alignas(ALIGNMENT) real harmonic[PIECE][{conv.n_harmonics}][LANES];",
        f"  vec gradient[PIECE][{conv.used_harmonics}];  // 0: of the radial argument; then of each harmonic",
    ]
    if not conv.knots:
        arrays = [f"{name}[PIECE][LANES][{conv.rows.weights}]" for name in ("weight", "slope")]
        lines.append(f"  alignas(ALIGNMENT) real {', '.join(arrays)};")
    return "\n".join([*lines, "};"])


def _begin_piece(conv: Convolution, backward: bool) -> list[str]:
    """A piece of edges: harmonics, and without tables radial weights."""
    sign = "edges.sign * " if backward else ""
    k = conv.number
    lines = [
        f"  Room{k}& room = *(Room{k}*)memory;",
        "  Pieces pieces(edges, start, stop);",
        "  while (pieces.next()) {",
        "    for (int b = 0; b < pieces.count; b++) {",
        "      const int at = pieces.block[b].at;",
        f"      const vec x = {sign}load_unaligned(edges.direction[0] + at);",
        f"      const vec y = {sign}load_unaligned(edges.direction[1] + at);",
        f"      const vec z = {sign}load_unaligned(edges.direction[2] + at);",
        "      harmonics(x, y, z, room.harmonic[b]);",
    ]
    if not conv.knots:
        arrays = f"room.weight[b], {'room.slope[b]' if backward else 'nullptr'}"
        lines.append(f"      radial_network<Radial{k}>(edges, weights, at, pieces.block[b].n, {arrays});")
    if backward:
        lines.append("      for (vec& sum : room.gradient[b]) sum = vec{};")
    return [*lines, "    }"]


def _chunk(conv: Convolution, block: int) -> int:
    """Channels of a chunk: as many vectors as there may be and that divide those of the block."""
    vectors = conv.rows.inputs.channels[block] // conv.lanes
    return conv.lanes * max(n for n in range(1, _CHUNK + 1) if vectors % n == 0)


def _begin_blocks(conv: Convolution, group: list[int], couplings: Couplings, backward: bool) -> list[str]:
    """Loops over chunks of channels and blocks of edges, with what belongs to the block: it is closed by two braces."""
    block = conv.block(group)
    titles = [f"path {p}: {path.l1} x {path.l2} -> {path.l3}" for p, path in zip(group, conv.paths(group), strict=True)]
    if backward:
        name, array, width = "centre", "sums_gradient", conv.rows.middle.width
    else:
        name, array, width = "neighbour", "features", conv.rows.inputs.width
    other = "type" if conv.first and not backward else "other"
    channels, chunk = conv.rows.inputs.channels[block], _chunk(conv, block)
    lines = [
        f"    // {conv.layer.inputs[block].mul} channels of block {block}; {', '.join(titles)}",
        f"    for (int chunk = 0; chunk < {channels}; chunk += {chunk}) {{",
        "    for (int b = 0; b < pieces.count; b++) {",
        "      const EdgeBlock block = pieces.block[b];",
        "      [[maybe_unused]] const auto harmonic = room.harmonic[b];",
        *(f"      alignas(ALIGNMENT) real coupling[{n}][LANES];" for n in [len(couplings.elements)] if n),
        *(f"      store(coupling[{i}], {text});" for i, text in enumerate(couplings.elements)),
        f"      const real* {name}[LANES];",
        "      for (int e = 0; e < block.n; e++)",
        f"        {name}[e] = {array} + (long)edges.{other}[block.at + e] * {width};",
    ]
    if conv.knots:
        lines.append("      const real* const fractions = edges.fraction + block.at;")
        lines.append("      const int* const knots = edges.knot + block.at;")
    return lines


def _begin_edges(conv: Convolution, group: list[int]) -> list[str]:
    """A loop over the edges of a block."""
    lines = ["        for (int e = 0; e < block.n; e++) {"]
    if conv.knots:
        block = conv.block(group)
        stride = COEFFICIENTS * len(paths_of(conv.layer, block))
        lines += [
            "          const vec fraction = splat(fractions[e]);",
            f"          const real* const table = weights + {conv.table_start(block)}",
            f"                                  + (long)knots[e] * ({stride} * LANES);",
        ]
    return lines


def _weight(conv: Convolution, p: int, backward: bool) -> list[str]:
    """Radial weight of a path for the channels of the loop, and its derivative."""
    if conv.knots:
        place = f"table + {conv.table_place(p)}, fraction"
        if not backward:
            return [f"          [[maybe_unused]] const vec weight{p} = table_value({place});"]
        weight = f"          [[maybe_unused]] const vec weight{p} = table_value({place}, slope{p});"
        return [f"          vec slope{p};", weight]
    at = f"[b][e] + {conv.rows.path_offsets[p]} + c"
    lines = [f"          [[maybe_unused]] const vec weight{p} = load(room.weight{at});"]
    return lines + ([f"          const vec slope{p} = load(room.slope{at});"] if backward else [])


def forward_code(conv: Convolution) -> str:
    """The function ``convolution_<k>``: A of some atoms, in interleaved rows.

    Parameters
    ----------
    conv : Convolution
        Of the layer.

    Returns
    -------
    str
    """
    width = conv.rows.middle.width
    lines = [
        f"static void convolution_{conv.number}(const Edges& edges, const real* __restrict__ weights,",
        "                          const real* __restrict__ features, int start, int stop,",
        "                          real* __restrict__ all_sums, void* __restrict__ memory) {",
        f"  clear(all_sums, (long)(stop - start) * {width});",
        *_begin_piece(conv, False),
    ]
    for group in conv.groups(lambda path: 2 * path.l3 + 1, _MOST_SUMS):
        lines += _forward_loop(conv, group)
    return "\n".join([*lines, "  }", "}"])


def _forward_loop(conv: Convolution, group: list[int]) -> list[str]:
    block = conv.block(group)
    couplings = Couplings(conv.paths(group), conv.y00)
    sums = [(p, m3) for p in group for m3 in range(2 * conv.layer.paths[p].l3 + 1)]
    lines = [
        *_begin_blocks(conv, group, couplings, False),
        f"      for (int c = chunk; c < chunk + {_chunk(conv, block)}; c += LANES) {{",
        f"        real* const sums = all_sums + (long)(block.atom - start) * {conv.rows.middle.width} "
        f"+ {conv.results_start(block)};",
        *(f"        vec sum{p}_{m3} = load(sums + {conv.result_place(p, m3)});" for p, m3 in sums),
        *_begin_edges(conv, group),
        "          const real* const other = neighbour[e] + c;",
    ]
    for m1 in range(2 * conv.layer.paths[group[0]].l1 + 1):
        lines.append(f"          const vec feature{m1} = load(other + {conv.feature_place(block, m1)});")
    for p, path in zip(group, conv.paths(group), strict=True):
        lines += _weight(conv, p, False)
        for m3 in range(2 * path.l3 + 1):
            terms = [f"{text} * feature{m1}" for m1, text in couplings.row(path, m3)]
            if terms:
                lines.append(f"          sum{p}_{m3} += weight{p} * ({' + '.join(terms)});")
    lines.append("        }")
    lines += [f"        store(sums + {conv.result_place(p, m3)}, sum{p}_{m3});" for p, m3 in sums]
    return [*lines, "      }", "    }", "    }"]


def backward_code(conv: Convolution) -> str:
    """The function ``convolution_backward_<k>``: gradients of rows of features and of the edges that lead to them.

    Parameters
    ----------
    conv : Convolution
        Of the layer.

    Returns
    -------
    str
    """
    used, harmonics = conv.used_harmonics, conv.n_harmonics
    lines = [
        f"static void convolution_backward_{conv.number}(Edges& edges, const real* __restrict__ weights,",
        "                                   const real* __restrict__ sums_gradient,",
        "                                   const real* __restrict__ all_features, [[maybe_unused]] const int* types,",
        "                                   int start, int stop, [[maybe_unused]] real* __restrict__ all_gradients,",
        "                                   void* __restrict__ memory) {",
    ]
    if not conv.first:
        lines.append(f"  clear(all_gradients, (long)(stop - start) * {conv.rows.inputs.width});")
    lines += _begin_piece(conv, True)

    def cost(path: Path) -> int:
        return (2 * path.l1 + 1) * (2 * path.l3 + 1) + int(np.count_nonzero(coupling(path.l1, path.l2, path.l3)))

    for group in conv.groups(cost, _MOST_PRODUCTS):
        lines += _backward_loop(conv, group)
    lines += [
        "    // Gradients of harmonics become those of directions.",
        "    for (int b = 0; b < pieces.count; b++) {",
        "      const int at = pieces.block[b].at, n = pieces.block[b].n;",
        f"      alignas(ALIGNMENT) real gradient[{harmonics}][LANES];",
        f"      for (int i = 0; i < {used}; i++) store(gradient[i], room.gradient[b][i]);",
        f"      for (int i = {used}; i < {harmonics}; i++) store(gradient[i], vec{{}});",
        "      const vec x = edges.sign * load_unaligned(edges.direction[0] + at);",
        "      const vec y = edges.sign * load_unaligned(edges.direction[1] + at);",
        "      const vec z = edges.sign * load_unaligned(edges.direction[2] + at);",
        "      vec x_gradient = vec{}, y_gradient = vec{}, z_gradient = vec{};",
        "      harmonics_backward(x, y, z, gradient, x_gradient, y_gradient, z_gradient);",
        "      for (int e = 0; e < n; e++) {",
        "        edges.radial_gradient[at + e] += gradient[0][e];",
        "        edges.direction_gradient[0][at + e] += x_gradient[e];",
        "        edges.direction_gradient[1][at + e] += y_gradient[e];",
        "        edges.direction_gradient[2][at + e] += z_gradient[e];",
        "      }",
        "    }",
    ]
    return "\n".join([*lines, "  }", "}"])


def _backward_loop(conv: Convolution, group: list[int]) -> list[str]:
    """The loop of a group: an edge's gradients are sums over channels, first in lanes, then over them for the block."""
    block, width = conv.block(group), conv.rows.inputs.width
    places = [f"{conv.feature_place(block, m1)} + c" for m1 in range(2 * conv.layer.paths[group[0]].l1 + 1)]
    couplings = Couplings(conv.paths(group), conv.y00)
    sums: dict[int, list[str]] = {}
    loop: list[str] = []
    for p, path in zip(group, conv.paths(group), strict=True):
        loop += _weight(conv, p, True)
        for m3 in range(2 * path.l3 + 1):
            loop.append(f"          const vec gradient{p}_{m3} = load(other + {conv.result_place(p, m3)});")
        loop += _pulls(conv, p, sums)
        for m1 in range(0 if conv.first else len(places)):
            terms = [f"{text} * gradient{p}_{m3}" for m3, text in couplings.column(path, m1)]
            if terms:
                loop.append(f"          feature_gradient{m1} += weight{p} * ({' + '.join(terms)});")
    numbers, once = sorted(sums), _chunk(conv, block) == conv.lanes
    add, row = "=" if once else "+=", "types[block.atom]" if conv.first else "block.atom"
    lines = [
        *_begin_blocks(conv, group, couplings, True),
        f"      const real* const features = all_features + (long){row} * {width};",
        f"      vec edge_sum[{len(numbers)}][LANES];",
        f"      for (int e = {'block.n' if once else '0'}; e < LANES; e++)",
        "        for (auto& sum : edge_sum) sum[e] = vec{};",
        f"      for (int c = chunk; c < chunk + {_chunk(conv, block)}; c += LANES) {{",
        *(f"        const vec feature{m1} = load(features + {place});" for m1, place in enumerate(places)),
    ]
    if not conv.first:
        lines.append("        real* const features_gradient =")
        lines.append(f"            all_gradients + (long)(block.atom - start) * {width};")
        for m1, place in enumerate(places):
            lines.append(f"        vec feature_gradient{m1} = load(features_gradient + {place});")
    lines += [
        *_begin_edges(conv, group),
        f"          const real* const other = centre[e] + {conv.results_start(block)};",
        *loop,
        *(f"          edge_sum[{at}][e] {add} {' + '.join(sums[number])};" for at, number in enumerate(numbers)),
        "        }",
    ]
    if not conv.first:
        for m1, place in enumerate(places):
            lines.append(f"        store(features_gradient + {place}, feature_gradient{m1});")
    lines.append("      }")
    for at, number in enumerate(numbers):
        lines.append(f"      room.gradient[b][{number}] += sums_of_lanes(edge_sum[{at}]);")
    return [*lines, "    }", "    }"]


def _pulls(conv: Convolution, p: int, sums: dict[int, list[str]]) -> list[str]:
    """P of a path; what it gives to the gradients of an edge is added to ``sums``."""
    path = conv.layer.paths[p]
    table = coupling(path.l1, path.l2, path.l3)
    lines = []
    for m1 in range(2 * path.l1 + 1):
        for m3 in range(2 * path.l3 + 1):
            if table[m1, :, m3].any():
                lines.append(f"          const vec product{p}_{m1}_{m3} = feature{m1} * gradient{p}_{m3};")
    radial = []
    for m2 in range(2 * path.l2 + 1):
        pairs = [(float(table[m1, m2, m3]), m1, m3) for m1, m3 in np.argwhere(table[:, m2, :])]
        if not pairs:
            continue
        name, number = f"pull{p}_{m2}", path.l2**2 + m2
        lines.append(f"          const vec {name} = {_combination(pairs, p)};")
        if path.l2:
            radial.append(f"harmonic[{number}][e] * {name}")
            sums.setdefault(number, []).append(f"weight{p} * {name}")
        else:
            radial.append(f"{literal(conv.y00)} * {name}")
    sums.setdefault(0, []).append(f"slope{p} * ({' + '.join(radial)})")
    return lines


def _combination(pairs: list[tuple[float, int, int]], p: int) -> str:
    """A sum of products of features and gradients; terms of one magnitude share the multiplication."""
    by_size: dict[float, list[str]] = {}
    for value, m1, m3 in pairs:
        size = next((s for s in by_size if abs(s - abs(value)) < 1e-12), abs(value))
        by_size.setdefault(size, []).append(f"{'+' if value > 0 else '-'} product{p}_{m1}_{m3}")
    return " + ".join(f"{literal(size)} * ({' '.join(terms)})" for size, terms in by_size.items())
