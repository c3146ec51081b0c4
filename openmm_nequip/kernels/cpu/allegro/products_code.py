"""C++ of an Allegro model's tensor products, applied to vectors of an atom, forward and backward.

With the sums A_q of an atom, weights W and couplings C, the vector v of layer k begins with the scalar of its product,
and goes through all products before it::

    product k, last:   v_k[m]  = sum over paths p and harmonics n of C_k[p, m, n, 0] W_k[p] A_k[n]
    product q < k:     v_q[m]  = sum over p, n, j of C_q[p, m, n, j] W_q[p] A_q[n] v_{q+1}[j]

Channels are in the lanes; for each vector of channels all components are in registers or on the stack, and every
non-zero coupling is written out. A product A[n] v[j] is made once for all m of a path.

Names in the generated code: ``weight`` W, ``above<j>`` W v_{q+1}, ``below[m]`` v_q; backward, ``gradient<m>`` W g(v_q),
``sums_gradient[n]`` and ``above_gradient[j]``.
"""

from __future__ import annotations

import numpy as np

from ...allegro_program import AllegroProgram, Product
from ..harmonics_code import literal
from ..packing import Blob


class _Writer:
    """Functions of one product.

    Parameters
    ----------
    number : int
        Of the layer.
    product : Product
        The tensor product.
    offset : int
        Of its weights among those of the model.
    """

    def __init__(self, number: int, product: Product, offset: int) -> None:
        self._number, self._product, self._offset = number, product, offset

    def _begin(self, name: str, arguments: str) -> list[str]:
        return [
            f"static void {name}_{self._number}(const real* __restrict__ weights, const real* __restrict__ sums,",
            f"    {arguments}) {{",
            "  for (int c = 0; c < CHANNELS; c += LANES) {",
        ]

    def _weight(self, path: int) -> str:
        return f"      const vec weight = load(weights + {self._offset} + {path} * CHANNELS + c);"

    def forward(self, last: bool) -> str:
        """v_q; the product is the last one of a layer or another one."""
        couplings = self._product.couplings[..., :1] if last else self._product.couplings
        n_below = couplings.shape[1]
        above = "" if last else "const real* __restrict__ above, "
        lines = self._begin("product_last" if last else "product", f"{above}real* __restrict__ to")
        lines.append(f"    vec below[{n_below}] = {{}};")
        for path, table in enumerate(couplings):
            if not table.any():
                continue
            lines += ["    {", self._weight(path)]
            for j in sorted({int(j) for _, _, j in np.argwhere(table)}):
                value = "weight" if last else f"weight * load(above + {j} * CHANNELS + c)"
                lines.append(f"      const vec above{j} = {value};")
            for n, j in sorted({(int(n), int(j)) for _, n, j in np.argwhere(table)}):
                terms = [
                    f"below[{m}] += {literal(float(table[m, n, j]))} * pair;" for m in np.flatnonzero(table[:, n, j])
                ]
                pair = f"load(sums + {n} * CHANNELS + c) * above{j}"
                lines.append(f"      {{ const vec pair = {pair}; {' '.join(terms)} }}")
            lines.append("    }")
        return "\n".join(
            [*lines, f"    for (int m = 0; m < {n_below}; m++) store(to + m * CHANNELS + c, below[m]);", "  }", "}"]
        )

    def backward(self, last: bool) -> str:
        """Gradients of the sums, to which they are added, and of v_{q+1}."""
        couplings = self._product.couplings[..., :1] if last else self._product.couplings
        _, _, n_sums, n_above = couplings.shape
        others = "" if last else "const real* __restrict__ above, "
        result = "" if last else ", real* __restrict__ above_to"
        lines = self._begin(
            "product_last_backward" if last else "product_backward",
            f"{others}const real* __restrict__ gradient, real* __restrict__ sums_to{result}",
        )
        used = sorted({int(n) for _, _, n, _ in np.argwhere(couplings)})
        lines.append(f"    vec sums_gradient[{n_sums}]{'' if last else f', above_gradient[{n_above}] = {{}}'};")
        lines += [f"    sums_gradient[{n}] = load(sums_to + {n} * CHANNELS + c);" for n in used]
        for path, table in enumerate(couplings):
            if not table.any():
                continue
            lines += ["    {", self._weight(path)]
            for m in sorted({int(m) for m, _, _ in np.argwhere(table)}):
                lines.append(f"      const vec gradient{m} = weight * load(gradient + {m} * CHANNELS + c);")
            for n, j in sorted({(int(n), int(j)) for _, n, j in np.argwhere(table)}):
                terms = " + ".join(
                    f"{literal(float(table[m, n, j]))} * gradient{m}" for m in np.flatnonzero(table[:, n, j])
                )
                if last:
                    lines.append(f"      sums_gradient[{n}] += {terms};")
                else:
                    lines += [
                        f"      {{ const vec pair = {terms};",
                        f"        sums_gradient[{n}] += pair * load(above + {j} * CHANNELS + c);",
                        f"        above_gradient[{j}] += pair * load(sums + {n} * CHANNELS + c); }}",
                    ]
            lines.append("    }")
        lines += [f"    store(sums_to + {n} * CHANNELS + c, sums_gradient[{n}]);" for n in used]
        if not last:
            store = "store(above_to + j * CHANNELS + c, above_gradient[j]);"
            lines.append(f"    for (int j = 0; j < {n_above}; j++) {store}")
        return "\n".join([*lines, "  }", "}"])


def products_code(program: AllegroProgram, channels: int, blob: Blob) -> str:
    """All products, and the two functions that run those of a layer.

    Parameters
    ----------
    program : AllegroProgram
        The model.
    channels : int
        Padded number of channels.
    blob : Blob
        All weights; is added to.

    Returns
    -------
    str
        ``products_forward`` and ``products_backward`` of edgewise_tile.hpp.
    """
    texts = []
    count = len(program.products)
    for q, product in enumerate(program.products):
        weights = np.zeros((len(product.weights), channels))
        weights[:, : product.weights.shape[1]] = product.weights
        writer = _Writer(q, product, blob.add(weights))
        for last in (True, False):
            if last or q + 1 < count:
                texts += [writer.forward(last), writer.backward(last)]
    forward, backward = [], []
    for k in range(count):
        forward += [f"  if (k == {k}) {{", f"    product_last_{k}(weights, sums[{k}], vectors[{k}]);"]
        backward.append(f"  if (k == {k}) {{")
        for q in range(k - 1, -1, -1):
            forward.append(f"    product_{q}(weights, sums[{q}], vectors[{q + 1}], vectors[{q}]);")
        own, other = "gradient", "room"
        for q in range(k):
            arguments = f"weights, sums[{q}], vectors[{q + 1}], {own}, sums_gradient[{q}], {other}"
            backward.append(f"    product_backward_{q}({arguments});")
            own, other = other, own
        backward.append(f"    product_last_backward_{k}(weights, sums[{k}], {own}, sums_gradient[{k}]);")
        forward.append("  }")
        backward.append("  }")
    return "\n".join(
        [
            *texts,
            "// The vectors of layer k, the one before its first product last.",
            "static void products_forward(int k, const real* weights, const real* const* sums, real* const* vectors) {",
            *forward,
            "}",
            "// From the gradient of vectors[0] to those of all sums; both buffers are overwritten.",
            "static void products_backward(int k, const real* weights, const real* const* sums,",
            "                              const real* const* vectors, real* const* sums_gradient, real* gradient,",
            "                              real* room) {",
            *backward,
            "}",
        ]
    )
