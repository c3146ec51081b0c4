"""C++ of the convolution of a layer, forward and backward, with its tensor products written out.

Forward, for the centre i, a path p of orders l1 x l2 -> l3 and a channel c::

    A_i[m3, c] = sum over edges ij of R_pc(r_ij) sum over m1 of M[m3, m1](u_ij) x_j[m1, c]

Backward, for the neighbour j, with G = dE/dA::

    dE/dx_j[m1, c] = sum over edges ij, p, m3 of R_pc M[m3, m1] G_i[m3, c]
    dE/dY[m2]      = sum over p, c of R_pc P_p[m2, c]
    dE/dR argument = sum over p, c of R'_pc sum over m2 of Y[m2] P_p[m2, c]
    P_p[m2, c]     = sum over m1, m3 of C[m1, m2, m3] x_j[m1, c] G_i[m3, c]

Edges of an atom are taken in blocks of one vector: their harmonics and matrices M are computed for all edges of a block
at once, edges in the lanes. Then, for every path and every vector of channels, the edges of the block are gone through
with the sums in registers, channels in the lanes. Backward runs over the edges by which the atom is a neighbour and
reads the gradients of the centres, so that no two threads ever write to one place.

Names in the generated code: ``sum<p>_<m3>`` A, ``feature<m1>`` x, ``weight<p>`` and ``slope<p>`` R and R',
``gradient<p>_<m3>`` G, ``product<p>_<m1>_<m3>`` x G, ``pull<p>_<m2>`` P, ``feature_gradient<m1>`` dE/dx.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..harmonics import coupling
from ..program import Layer, Path
from .harmonics_code import Couplings, literal
from .packing import LayerRows
from .radial_code import COEFFICIENTS

#: Sums of one loop of the forward pass: registers that they may take before paths are put into separate loops.
_MOST_SUMS = 14
#: Products of one loop of the backward pass before paths are put into separate loops.
_MOST_PRODUCTS = 80


@dataclass(frozen=True, eq=False)
class Convolution:
    """What the code of a layer's convolution is written from.

    Parameters
    ----------
    number : int
        Number of the layer; in the first, features depend on the type of the neighbour alone.
    layer : Layer
        Paths and blocks.
    rows : LayerRows
        Where they lie.
    couplings : Couplings
        Matrices of the paths.
    tables : bool
        Whether radial weights come from tables.
    n_harmonics : int
        Number of spherical harmonics of the model.
    """

    number: int
    layer: Layer
    rows: LayerRows
    couplings: Couplings
    tables: bool
    n_harmonics: int

    @property
    def first(self) -> bool:
        """Whether it is the first layer."""
        return self.number == 0

    @property
    def used_harmonics(self) -> int:
        """Number of harmonics that the layer uses, those of lower orders included."""
        return (max(path.l2 for path in self.layer.paths) + 1) ** 2

    def place(self, p: int, m3: int) -> int:
        """Where a component of the result stands in its row.

        Parameters
        ----------
        p : int
            Number of the path.
        m3 : int
            Component.

        Returns
        -------
        int
        """
        group = self.layer.paths[p].group
        return self.rows.middle.offsets[group] + m3 * self.rows.middle.channels[group] + self.rows.path_slots[p]

    def feature_place(self, block: int, m1: int) -> int:
        """Where a component of a block stands in a row of features.

        Parameters
        ----------
        block : int
            Index of the block.
        m1 : int
            Component.

        Returns
        -------
        int
        """
        return self.rows.inputs.offsets[block] + m1 * self.rows.inputs.channels[block]

    def groups(self, cost: Callable[[Path], int], limit: int) -> list[list[int]]:
        """Paths that share a loop: of one input block, with a cost within a limit.

        Parameters
        ----------
        cost : callable
            Path -> cost.
        limit : int
            Of the costs of a group.

        Returns
        -------
        list of list of int
            Numbers of the paths.
        """
        found: list[list[int]] = []
        for block in range(len(self.layer.inputs)):
            current: list[int] = []
            for p, path in enumerate(self.layer.paths):
                if path.block != block:
                    continue
                if current and sum(cost(self.layer.paths[q]) for q in [*current, p]) > limit:
                    found.append(current)
                    current = []
                current.append(p)
            if current:
                found.append(current)
        return found

    def title(self, group: list[int]) -> str:
        """A comment that names the paths of a loop."""
        parts = []
        for p in group:
            path = self.layer.paths[p]
            parts.append(f"path {p}: {path.l1} x {path.l2} -> {path.l3}")
        block = self.layer.paths[group[0]].block
        return f"    // {self.layer.inputs[block].mul} channels of block {block}; {', '.join(parts)}"


def _memory(conv: Convolution, backward: bool) -> list[str]:
    """Arrays on the stack."""
    elements = max(1, len(conv.couplings.elements))
    harmonics = conv.n_harmonics if backward else conv.used_harmonics
    lines = [f"  alignas(ALIGNMENT) real harmonic[{harmonics}][LANES], coupling[{elements}][LANES];"]
    if backward:
        lines += [
            f"  alignas(ALIGNMENT) real harmonic_gradient[{harmonics}][LANES], radial_gradient[LANES];",
            f"  vec edge_gradient[LANES][{conv.used_harmonics}];  // 0: of the radial argument; then of each harmonic",
            "  const real* centre[LANES];",
        ]
    else:
        lines.append("  const real* neighbour[LANES];")
    if conv.tables:
        return [*lines, "  const real* table[LANES];"]
    width = conv.rows.weights
    arrays = f"weight[LANES][{width}], slope[LANES][{width}]" if backward else f"weight[LANES][{width}]"
    return [*lines, f"  alignas(ALIGNMENT) real {arrays};"]


def _begin_block(conv: Convolution, backward: bool) -> list[str]:
    """A block of edges: directions, harmonics, couplings, radial weights, and where the other atoms' rows are."""
    sign = "edges.sign * " if backward else ""
    lines = [
        "  for (int start = 0; start < edges.count[atom]; start += LANES) {",
        "    const int at = edges.first[atom] + start;",
        "    const int n = edges.count[atom] - start < LANES ? edges.count[atom] - start : LANES;",
        f"    const vec x = {sign}load_unaligned(edges.direction[0] + at);",
        f"    const vec y = {sign}load_unaligned(edges.direction[1] + at);",
        f"    const vec z = {sign}load_unaligned(edges.direction[2] + at);",
        "    harmonics(x, y, z, harmonic);",
        *(f"    store(coupling[{i}], {text});" for i, text in enumerate(conv.couplings.elements)),
    ]
    k = conv.number
    if conv.tables:
        width = COEFFICIENTS * conv.rows.weights
        lines.append(
            f"    for (int e = 0; e < n; e++) table[e] = weights + TABLE_{k} + (long)edges.knot[at + e] * {width};"
        )
    else:
        slopes = "slope" if backward else "nullptr"
        lines.append(f"    radial_network<Radial{k}>(edges, weights, at, n, weight, {slopes});")
    if backward:
        row = f"centre[e] = sums_gradient + (long)edges.other[at + e] * {conv.rows.middle.width}"
    else:
        other = "type" if conv.first else "other"
        row = f"neighbour[e] = features + (long)edges.{other}[at + e] * {conv.rows.inputs.width}"
    return [*lines, f"    for (int e = 0; e < n; e++) {row};"]


def _begin_loop(conv: Convolution, group: list[int]) -> str:
    """A loop over vectors of channels of the block that a group of paths reads."""
    channels = conv.rows.inputs.channels[conv.layer.paths[group[0]].block]
    return f"    for (int c = 0; c < {channels}; c += LANES) {{"


def _begin_edges(conv: Convolution) -> list[str]:
    fraction = ["        const vec fraction = splat(edges.fraction[at + e]);"] if conv.tables else []
    return ["      for (int e = 0; e < n; e++) {", *fraction]


def _weight(conv: Convolution, p: int, backward: bool) -> list[str]:
    """Radial weight of a path for the channels of the loop, and its derivative."""
    at = f"{conv.rows.path_offsets[p]} + c"
    if conv.tables:
        place = f"table[e] + {COEFFICIENTS} * ({at}), fraction"
        if not backward:
            return [f"        const vec weight{p} = table_value({place});"]
        return [f"        vec slope{p};", f"        const vec weight{p} = table_value({place}, slope{p});"]
    lines = [f"        const vec weight{p} = load(weight[e] + {at});"]
    return lines + ([f"        const vec slope{p} = load(slope[e] + {at});"] if backward else [])


def forward_code(conv: Convolution) -> str:
    """The function ``convolution_<k>``: A of one atom."""
    layer = conv.layer
    lines = [
        f"static void convolution_{conv.number}(const Edges& edges, const real* __restrict__ weights,",
        "                          const real* __restrict__ features, int atom, real* __restrict__ sums) {",
        f"  for (int i = 0; i < {conv.rows.middle.width}; i += LANES) store(sums + i, vec{{}});",
        *_memory(conv, False),
        *_begin_block(conv, False),
    ]
    for group in conv.groups(lambda path: 2 * path.l3 + 1, _MOST_SUMS):
        sums = [(p, m3) for p in group for m3 in range(2 * layer.paths[p].l3 + 1)]
        block = layer.paths[group[0]].block
        lines += [conv.title(group), _begin_loop(conv, group)]
        lines += [f"      vec sum{p}_{m3} = load(sums + {conv.place(p, m3)} + c);" for p, m3 in sums]
        lines += _begin_edges(conv)
        for m1 in range(2 * layer.paths[group[0]].l1 + 1):
            lines.append(f"        const vec feature{m1} = load(neighbour[e] + {conv.feature_place(block, m1)} + c);")
        for p in group:
            lines += _weight(conv, p, False)
            for m3 in range(2 * layer.paths[p].l3 + 1):
                terms = [f"{text} * feature{m1}" for m1, text in conv.couplings.row(layer.paths[p], m3)]
                if terms:
                    lines.append(f"        sum{p}_{m3} += weight{p} * ({' + '.join(terms)});")
        lines.append("      }")
        lines += [f"      store(sums + {conv.place(p, m3)} + c, sum{p}_{m3});" for p, m3 in sums]
        lines.append("    }")
    return "\n".join([*lines, "  }", "}"])


def backward_code(conv: Convolution) -> str:
    """The function ``convolution_backward_<k>``: gradients of one row of features and of the edges that lead to it."""
    used, harmonics = conv.used_harmonics, conv.n_harmonics
    lines = [
        f"static void convolution_backward_{conv.number}(Edges& edges, const real* __restrict__ weights,",
        "                                   const real* __restrict__ sums_gradient, const real* __restrict__ features,",
        "                                   int atom, real* __restrict__ features_gradient) {",
        *_memory(conv, True),
    ]
    if not conv.first:
        lines.append(
            f"  for (int i = 0; i < {conv.rows.inputs.width}; i += LANES) store(features_gradient + i, vec{{}});"
        )
    lines += _begin_block(conv, True)
    lines.append(f"    for (int e = 0; e < n; e++) for (int i = 0; i < {used}; i++) edge_gradient[e][i] = vec{{}};")

    def cost(path: Path) -> int:
        return (2 * path.l1 + 1) * (2 * path.l3 + 1) + int(np.count_nonzero(coupling(path.l1, path.l2, path.l3)))

    for group in conv.groups(cost, _MOST_PRODUCTS):
        lines += _backward_loop(conv, group)
    lines += [
        "    // Gradients of the edges: channels are summed, lanes become edges, harmonics become directions.",
        "    for (int e = 0; e < n; e++) {",
        "      radial_gradient[e] = sum_lanes(edge_gradient[e][0]);",
        *(f"      harmonic_gradient[{i}][e] = sum_lanes(edge_gradient[e][{i}]);" for i in range(1, used)),
        "    }",
        f"    for (int i = {used}; i < {harmonics}; i++) store(harmonic_gradient[i], vec{{}});",
        "    for (int e = n; e < LANES; e++) {",
        "      radial_gradient[e] = 0;",
        f"      for (int i = 1; i < {used}; i++) harmonic_gradient[i][e] = 0;",
        "    }",
        "    vec x_gradient = vec{}, y_gradient = vec{}, z_gradient = vec{};",
        "    harmonics_backward(x, y, z, harmonic_gradient, x_gradient, y_gradient, z_gradient);",
        "    for (int e = 0; e < n; e++) {",
        "      edges.radial_gradient[at + e] += radial_gradient[e];",
        "      edges.direction_gradient[0][at + e] += x_gradient[e];",
        "      edges.direction_gradient[1][at + e] += y_gradient[e];",
        "      edges.direction_gradient[2][at + e] += z_gradient[e];",
        "    }",
    ]
    return "\n".join([*lines, "  }", "}"])


def _backward_loop(conv: Convolution, group: list[int]) -> list[str]:
    layer = conv.layer
    block = layer.paths[group[0]].block
    components = range(2 * layer.paths[group[0]].l1 + 1)
    lines = [conv.title(group), _begin_loop(conv, group)]
    for m1 in components:
        place = f"{conv.feature_place(block, m1)} + c"
        lines.append(f"      const vec feature{m1} = load(features + {place});")
        if not conv.first:
            lines.append(f"      vec feature_gradient{m1} = load(features_gradient + {place});")
    lines += _begin_edges(conv)
    sums: dict[int, list[str]] = {}
    for p in group:
        path = layer.paths[p]
        lines += _weight(conv, p, True)
        for m3 in range(2 * path.l3 + 1):
            lines.append(f"        const vec gradient{p}_{m3} = load(centre[e] + {conv.place(p, m3)} + c);")
        lines += _pulls(conv, p, sums)
        if not conv.first:
            for m1 in components:
                terms = [f"{text} * gradient{p}_{m3}" for m3, text in conv.couplings.column(path, m1)]
                if terms:
                    lines.append(f"        feature_gradient{m1} += weight{p} * ({' + '.join(terms)});")
    lines += [f"        edge_gradient[e][{i}] += {' + '.join(terms)};" for i, terms in sorted(sums.items())]
    lines.append("      }")
    if not conv.first:
        for m1 in components:
            place = f"{conv.feature_place(block, m1)} + c"
            lines.append(f"      store(features_gradient + {place}, feature_gradient{m1});")
    return [*lines, "    }"]


def _pulls(conv: Convolution, p: int, sums: dict[int, list[str]]) -> list[str]:
    """P of a path; what it gives to the gradients of an edge is added to ``sums``."""
    path = conv.layer.paths[p]
    table = coupling(path.l1, path.l2, path.l3)
    lines = []
    for m1 in range(2 * path.l1 + 1):
        for m3 in range(2 * path.l3 + 1):
            if table[m1, :, m3].any():
                lines.append(f"        const vec product{p}_{m1}_{m3} = feature{m1} * gradient{p}_{m3};")
    radial = []
    for m2 in range(2 * path.l2 + 1):
        pairs = [(float(table[m1, m2, m3]), m1, m3) for m1, m3 in np.argwhere(table[:, m2, :])]
        if not pairs:
            continue
        name, number = f"pull{p}_{m2}", path.l2**2 + m2
        lines.append(f"        const vec {name} = {_combination(pairs, p)};")
        if path.l2:
            radial.append(f"harmonic[{number}][e] * {name}")
            sums.setdefault(number, []).append(f"weight{p} * {name}")
        else:
            radial.append(f"{literal(conv.couplings.y00)} * {name}")
    sums.setdefault(0, []).append(f"slope{p} * ({' + '.join(radial)})")
    return lines


def _combination(pairs: list[tuple[float, int, int]], p: int) -> str:
    """A sum of products of features and gradients; terms of one magnitude share the multiplication."""
    by_size: dict[float, list[str]] = {}
    for value, m1, m3 in pairs:
        size = next((s for s in by_size if abs(s - abs(value)) < 1e-12), abs(value))
        by_size.setdefault(size, []).append(f"{'+' if value > 0 else '-'} product{p}_{m1}_{m3}")
    return " + ".join(f"{literal(size)} * ({' '.join(terms)})" for size, terms in by_size.items())
