"""The C++ of one model: its convolutions unrolled from the couplings, and its constants.

How a convolution runs. Edges of an atom are taken in blocks of one vector: their harmonics and the matrices that couple
features to them are computed for all edges of the block at once. Then, for every path and every vector of channels,
the edges of the block are gone through with the sums in registers: radial weight (table or network), matrix times
features, add. Backward runs over the edges for which the atom is the neighbour and gathers the gradients of the
centres, so that no two threads ever write to one place.
"""

from __future__ import annotations

import numpy as np

from ..harmonics import coupling, monomials
from ..program import Layer
from .packing import LayerRows

#: Registers that sums may take before paths are put into separate loops.
_SUMS = 14
#: Products of one loop of the backward pass before paths are put into separate loops.
_PRODUCTS = 80


def _number(value: float) -> str:
    return f"(REAL){value!r}"


def _power(axis: str, exponent: int) -> list[str]:
    return [axis] * exponent


def _monomial(powers: tuple[int, ...]) -> str:
    factors = [name for axis, p in zip("xyz", powers, strict=True) for name in _power(axis, p)]
    return " * ".join(factors) or "splat(1)"


def _polynomial(coefficients: np.ndarray, powers: list[tuple[int, int, int]]) -> str:
    terms = [f"{_number(float(c))} * {_monomial(p)}" for c, p in zip(coefficients, powers, strict=True) if c != 0.0]
    return " + ".join(terms) or "V{}"


def harmonics_source(harmonics: list[np.ndarray]) -> str:
    """Functions for the spherical harmonics of a vector of edges, and for the pull-back of their gradient."""
    lines = ["INLINE void harmonics(V x, V y, V z, REAL (*Y)[LANES]) {"]
    at = 0
    for order, table in enumerate(harmonics):
        for row in table:
            if order:
                lines.append(f"  store(Y[{at}], {_polynomial(row, monomials(order))});")
            at += 1
    lines += ["}", "INLINE void harmonics_backward(V x, V y, V z, REAL (*G)[LANES], V& gx, V& gy, V& gz) {"]
    at = 0
    for order, table in enumerate(harmonics):
        for row in table:
            if order:
                for axis, name in enumerate(("gx", "gy", "gz")):
                    terms = []
                    for c, p in zip(row, monomials(order), strict=True):
                        if c != 0.0 and p[axis]:
                            lower = tuple(q - (a == axis) for a, q in enumerate(p))
                            terms.append(f"{_number(float(c * p[axis]))} * {_monomial(lower)}")
                    if terms:
                        lines.append(f"  {name} += load(G[{at}]) * ({' + '.join(terms)});")
            at += 1
    return "\n".join([*lines, "}"])


class _Couplings:
    """Matrices M[m3][m1] = sum over m2 of C[m1, m2, m3] Y[m2] of the paths of a layer, one of each kind."""

    def __init__(self, layer: Layer, y00: float) -> None:
        self.entries: list[str] = []
        self.expressions: dict[tuple[int, int, int, int, int], str] = {}
        self.y00 = y00
        for path in layer.paths:
            key = path.l1, path.l2, path.l3
            if (*key, 0, 0) in self.expressions or any(k[:3] == key for k in self.expressions):
                continue
            table = coupling(*key)
            for m3 in range(2 * path.l3 + 1):
                for m1 in range(2 * path.l1 + 1):
                    self._add(key, m1, m3, table[m1, :, m3])

    def _add(self, key: tuple[int, int, int], m1: int, m3: int, values: np.ndarray) -> None:
        nonzero = np.flatnonzero(values)
        if not len(nonzero):
            return
        start = key[1] ** 2
        if key[1] == 0:
            text = _number(float(values[0]) * self.y00)
        else:
            terms = [f"{_number(float(values[m2]))} * load(Y[{start + m2}])" for m2 in nonzero]
            text = f"M[{len(self.entries)}][e]"
            self.entries.append(" + ".join(terms))
        self.expressions[(*key, m1, m3)] = text

    def row(self, path, m3: int) -> list[tuple[int, str]]:
        """Nonzero (m1, expression) of one component of the result."""
        key = path.l1, path.l2, path.l3
        found = [(m1, self.expressions.get((*key, m1, m3))) for m1 in range(2 * path.l1 + 1)]
        return [(m1, text) for m1, text in found if text]

    def column(self, path, m1: int) -> list[tuple[int, str]]:
        """Nonzero (m3, expression) of one component of the features."""
        key = path.l1, path.l2, path.l3
        found = [(m3, self.expressions.get((*key, m1, m3))) for m3 in range(2 * path.l3 + 1)]
        return [(m3, text) for m3, text in found if text]

    def source(self) -> list[str]:
        return [f"    store(M[{i}], {text});" for i, text in enumerate(self.entries)]


def _groups(layer: Layer, cost, limit: int) -> list[list[int]]:
    """Paths of one input block that share a loop."""
    groups: list[list[int]] = []
    for block in range(len(layer.inputs)):
        current: list[int] = []
        for i, path in enumerate(layer.paths):
            if path.block != block:
                continue
            if current and sum(cost(layer.paths[j]) for j in [*current, i]) > limit:
                groups.append(current)
                current = []
            current.append(i)
        if current:
            groups.append(current)
    return groups


def _weight(i: int, rows: LayerRows, derivative: bool, tables: bool) -> list[str]:
    """Radial weight of path i for vector c of channels (and its derivative)."""
    if not tables:
        lines = [f"        const V w{i} = load(W[e] + {rows.path_offsets[i]} + c);"]
        return lines + ([f"        const V d{i} = load(D[e] + {rows.path_offsets[i]} + c);"] if derivative else [])
    lines = [
        f"        const REAL* t{i} = T[e] + 6 * ({rows.path_offsets[i]} + c);",
        f"        V w{i} = load(t{i} + 5 * LANES);",
    ]
    if derivative:
        lines.append(f"        V d{i} = w{i};")
        lines.append(f"        w{i} = w{i} * f + load(t{i} + 4 * LANES);")
    for power in range(3 if derivative else 4, -1, -1):
        if derivative:
            lines.append(f"        d{i} = d{i} * f + w{i};")
        lines.append(f"        w{i} = w{i} * f + load(t{i} + {power} * LANES);")
    return lines


def _prologue(k: int, first: bool, tables: bool, backward: bool, couplings: _Couplings) -> list[str]:
    other = "near"
    lines = [
        "    const int at = E.first[i] + s, n = E.count[i] - s < LANES ? E.count[i] - s : LANES;",
        "    const V x = {0}loadu(E.u[0] + at), y = {0}loadu(E.u[1] + at), z = {0}loadu(E.u[2] + at);".format(
            "E.back * " if backward else ""
        ),
        "    harmonics(x, y, z, Y);",
        *couplings.source(),
    ]
    if tables:
        lines.append(f"    for (int e = 0; e < n; e++) T[e] = blob + TABLE_{k} + (long)E.knot[at + e] * {{TROW}};")
    else:
        lines.append(f"    radial_{k}(E, blob, at, n, W, {'D' if backward else 'nullptr'});")
    if backward:
        lines.append(f"    for (int e = 0; e < n; e++) P[e] = G + (long)E.{other}[at + e] * {{CM}};")
    else:
        place = "kind" if first else other
        lines.append(f"    for (int e = 0; e < n; e++) P[e] = X + (long)E.{place}[at + e] * {{CX}};")
    return lines


def forward_source(k: int, layer: Layer, rows: LayerRows, y00: float, tables: bool) -> str:
    """The function ``forward_k``: one row of the convolution's result."""
    couplings = _Couplings(layer, y00)
    trow, cx = 6 * rows.weights, rows.inputs.width
    lines = [
        f"static void forward_{k}(const Edges& E, const REAL* __restrict__ blob, const REAL* __restrict__ X, int i,",
        "                      REAL* __restrict__ out) {",
        f"  for (int q = 0; q < {rows.middle.width}; q += LANES) store(out + q, V{{}});",
        f"  alignas(64) REAL Y[{layer_harmonics(layer)}][LANES], M[{max(1, len(couplings.entries))}][LANES];",
        "  const REAL *P[LANES];",
        "  const REAL *T[LANES];" if tables else f"  alignas(64) REAL W[LANES][{rows.weights}];",
        "  for (int s = 0; s < E.count[i]; s += LANES) {",
    ]
    prologue = _prologue(k, k == 0, tables, False, couplings)
    lines += [line.replace("{TROW}", str(trow)).replace("{CX}", str(cx)) for line in prologue]
    for group in _groups(layer, lambda p: 2 * p.l3 + 1, _SUMS):
        block = layer.paths[group[0]].block
        channels, offset = rows.inputs.channels[block], rows.inputs.offsets[block]
        lines.append(f"    for (int c = 0; c < {channels}; c += LANES) {{")
        for i in group:
            for m3 in range(2 * layer.paths[i].l3 + 1):
                lines.append(f"      V a{i}_{m3} = load(out + {_place(layer, rows, i, m3)} + c);")
        lines.append("      for (int e = 0; e < n; e++) {")
        if tables:
            lines.append("        const V f = splat(E.fraction[at + e]);")
        for m1 in range(2 * layer.paths[group[0]].l1 + 1):
            lines.append(f"        const V x{m1} = load(P[e] + {offset + m1 * channels} + c);")
        for i in group:
            lines += _weight(i, rows, False, tables)
            for m3 in range(2 * layer.paths[i].l3 + 1):
                terms = [f"{text} * x{m1}" for m1, text in couplings.row(layer.paths[i], m3)]
                if terms:
                    lines.append(f"        a{i}_{m3} += w{i} * ({' + '.join(terms)});")
        lines.append("      }")
        for i in group:
            for m3 in range(2 * layer.paths[i].l3 + 1):
                lines.append(f"      store(out + {_place(layer, rows, i, m3)} + c, a{i}_{m3});")
        lines.append("    }")
    return "\n".join([*lines, "  }", "}"])


def layer_harmonics(layer: Layer) -> int:
    """Number of spherical harmonics that a layer uses, lower orders included."""
    return (max(path.l2 for path in layer.paths) + 1) ** 2


def _place(layer: Layer, rows: LayerRows, i: int, m3: int) -> int:
    group = layer.paths[i].group
    return rows.middle.offsets[group] + m3 * rows.middle.channels[group] + rows.path_slots[i]


def backward_source(k: int, layer: Layer, rows: LayerRows, y00: float, tables: bool, harmonics: int) -> str:
    """The function ``backward_k``: gradients of one row of features and of the edges that lead from it."""
    couplings = _Couplings(layer, y00)
    trow, cm = 6 * rows.weights, rows.middle.width
    first = k == 0
    used = layer_harmonics(layer)
    lines = [
        f"static void backward_{k}(Edges& E, const REAL* __restrict__ blob, const REAL* __restrict__ G,",
        "                       const REAL* __restrict__ X, int i, REAL* __restrict__ gx) {",
        f"  alignas(64) REAL Y[{harmonics}][LANES], M[{max(1, len(couplings.entries))}][LANES];",
        f"  alignas(64) REAL GY[{harmonics}][LANES], GR[LANES];",
        f"  V B[LANES][{used}];",
        "  const REAL *P[LANES];",
        "  const REAL *T[LANES];"
        if tables
        else f"  alignas(64) REAL W[LANES][{rows.weights}], D[LANES][{rows.weights}];",
    ]
    if not first:
        lines.append(f"  for (int q = 0; q < {rows.inputs.width}; q += LANES) store(gx + q, V{{}});")
    lines.append("  for (int s = 0; s < E.count[i]; s += LANES) {")
    prologue = _prologue(k, first, tables, True, couplings)
    lines += [line.replace("{TROW}", str(trow)).replace("{CM}", str(cm)) for line in prologue]
    lines.append(f"    for (int e = 0; e < n; e++) for (int q = 0; q < {used}; q++) B[e][q] = V{{}};")

    def cost(path) -> int:
        return (2 * path.l1 + 1) * (2 * path.l3 + 1) + int(np.count_nonzero(coupling(path.l1, path.l2, path.l3)))

    for group in _groups(layer, cost, _PRODUCTS):
        lines += _backward_loop(layer, rows, couplings, group, tables, first)
    lines += [
        "    for (int e = 0; e < n; e++) {",
        "      GR[e] = hsum(B[e][0]);",
        *(f"      GY[{q}][e] = hsum(B[e][{q}]);" for q in range(1, used)),
        "    }",
        f"    for (int q = {used}; q < {harmonics}; q++) store(GY[q], V{{}});",
        "    for (int e = n; e < LANES; e++) {",
        "      GR[e] = 0;",
        f"      for (int q = 1; q < {used}; q++) GY[q][e] = 0;",
        "    }",
        "    V hx = V{}, hy = V{}, hz = V{};",
        "    harmonics_backward(x, y, z, GY, hx, hy, hz);",
        "    for (int e = 0; e < n; e++) {",
        "      E.g_radial[at + e] += GR[e];",
        "      E.g_u[0][at + e] += hx[e];",
        "      E.g_u[1][at + e] += hy[e];",
        "      E.g_u[2][at + e] += hz[e];",
        "    }",
    ]
    return "\n".join([*lines, "  }", "}"])


def _backward_loop(
    layer: Layer, rows: LayerRows, couplings: _Couplings, group: list[int], tables: bool, first: bool
) -> list[str]:
    block = layer.paths[group[0]].block
    width = 2 * layer.paths[group[0]].l1 + 1
    channels, offset = rows.inputs.channels[block], rows.inputs.offsets[block]
    lines = [f"    for (int c = 0; c < {channels}; c += LANES) {{"]
    for m1 in range(width):
        lines.append(f"      const V x{m1} = load(X + {offset + m1 * channels} + c);")
        if not first:
            lines.append(f"      V a{m1} = load(gx + {offset + m1 * channels} + c);")
    lines.append("      for (int e = 0; e < n; e++) {")
    if tables:
        lines.append("        const V f = splat(E.fraction[at + e]);")
    sums: dict[int, list[str]] = {}
    for i in group:
        path = layer.paths[i]
        lines += _weight(i, rows, True, tables)
        for m3 in range(2 * path.l3 + 1):
            lines.append(f"        const V g{i}_{m3} = load(P[e] + {_place(layer, rows, i, m3)} + c);")
        table = coupling(path.l1, path.l2, path.l3)
        for m1 in range(width):
            for m3 in range(2 * path.l3 + 1):
                if table[m1, :, m3].any():
                    lines.append(f"        const V p{i}_{m1}_{m3} = x{m1} * g{i}_{m3};")
        parts = []
        for m2 in range(2 * path.l2 + 1):
            pairs = [(float(table[m1, m2, m3]), m1, m3) for m1, m3 in np.argwhere(table[:, m2, :])]
            if not pairs:
                continue
            name = f"s{i}_{m2}"
            lines.append(f"        const V {name} = {_combination(pairs, i)};")
            at = path.l2**2 + m2
            if path.l2:
                parts.append(f"Y[{at}][e] * {name}")
                sums.setdefault(at, []).append(f"w{i} * {name}")
            else:
                parts.append(f"{_number(couplings.y00)} * {name}")
        sums.setdefault(0, []).append(f"d{i} * ({' + '.join(parts)})")
        if not first:
            for m1 in range(width):
                terms = [f"{text} * g{i}_{m3}" for m3, text in couplings.column(path, m1)]
                if terms:
                    lines.append(f"        a{m1} += w{i} * ({' + '.join(terms)});")
    for at, terms in sorted(sums.items()):
        lines.append(f"        B[e][{at}] += {' + '.join(terms)};")
    lines.append("      }")
    if not first:
        lines += [f"      store(gx + {offset + m1 * channels} + c, a{m1});" for m1 in range(width)]
    return [*lines, "    }"]


def _combination(pairs: list[tuple[float, int, int]], i: int) -> str:
    """A sum of products of features and gradients; terms of one magnitude share the multiplication."""
    by_size: dict[float, list[str]] = {}
    for value, m1, m3 in pairs:
        size = next((s for s in by_size if abs(s - abs(value)) < 1e-12), abs(value))
        by_size.setdefault(size, []).append(f"{'+' if value > 0 else '-'} p{i}_{m1}_{m3}")
    return " + ".join(f"{_number(size)} * ({' '.join(terms)})" for size, terms in by_size.items())
