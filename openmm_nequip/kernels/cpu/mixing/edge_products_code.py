"""C++ of the tensor products of a model that mixes channels: of the tensors and the environment of one edge.

Forward and backward, for the paths of a block of tensors and an order of harmonics, with couplings C::

    R[j]  = sum over m, n of C[m, n, j] T[m] A[n]
    g(T[m]) += C[m, n, j] g(R[j]) A[n]              g(A[n]) += C[m, n, j] g(R[j]) T[m]

Channels are in the lanes; a product T[m] A[n] is made once for all paths of the block and the order, and every non-zero
coupling is written out.

Names in the generated code: ``t<m>`` T, ``a<n>`` A, ``r<j>`` R or its gradient, ``t_gradient[m]``, ``a_gradient[n]``.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from ...mixing_program import EdgePath, EdgeProduct
from ..harmonics_code import literal


def raw_places(product: EdgeProduct) -> tuple[list[int], int]:
    """Where blocks of raw results begin, and their end, in units of the padded channels.

    Parameters
    ----------
    product : EdgeProduct
        Of a layer.

    Returns
    -------
    starts : list of int
    width : int
    """
    starts, width = [], 0
    for target, order in enumerate(product.targets):
        starts.append(width)
        width += (2 * order + 1) * product.slots(target)
    return starts, width


class _Family:
    """The paths of one block of tensors and one order of harmonics.

    Parameters
    ----------
    product : EdgeProduct
        Of the layer.
    paths : list of EdgePath
        Some of its paths.
    """

    def __init__(self, product: EdgeProduct, paths: list[EdgePath]) -> None:
        starts, _ = raw_places(product)
        source, order = paths[0].source, paths[0].order
        first = sum(2 * each + 1 for each in product.sources[:source])
        self.tensors = range(first, first + 2 * product.sources[source] + 1)
        self.harmonics = range(order**2, (order + 1) ** 2)
        self.results = [
            starts[path.target] + j * product.slots(path.target) + path.slot
            for path in paths
            for j in range(path.couplings.shape[2])
        ]
        self._couplings = np.concatenate([path.couplings for path in paths], axis=2)

    def pairs(self) -> list[tuple[int, int, list[tuple[int, str]]]]:
        """Components m and n, and for each the results (index, coupling) that their product goes to."""
        found = []
        for m, n in np.ndindex(*self._couplings.shape[:2]):
            row = self._couplings[m, n]
            if row.any():
                found.append((int(m), int(n), [(int(j), literal(float(row[j]))) for j in np.flatnonzero(row)]))
        return found


def _families(product: EdgeProduct) -> list[_Family]:
    def key(path: EdgePath) -> tuple[int, int]:
        return path.source, path.order

    return [_Family(product, list(paths)) for _, paths in groupby(sorted(product.paths, key=key), key=key)]


def _loads(name: str, source: str, places: list[int] | range) -> str:
    """Some components as vectors of their own."""
    return " ".join(f"const vec {name}{i} = load({source} + {place} * CHANNELS + c);" for i, place in enumerate(places))


def _forward(product: EdgeProduct) -> list[str]:
    lines = []
    stored: set[int] = set()  # by families before: slots that several paths share
    for family in _families(product):
        lines += ["    {", f"      {_loads('t', 'tensors', family.tensors)}"]
        lines.append(f"      {_loads('a', 'environment', family.harmonics)}")
        begin = [f"load(raw + {at} * CHANNELS + c)" if at in stored else "vec{}" for at in family.results]
        stored.update(family.results)
        lines.append(f"      vec {', '.join(f'r{j} = {value}' for j, value in enumerate(begin))};")
        for m, n, results in family.pairs():
            terms = " ".join(f"r{j} += {factor} * pair;" for j, factor in results)
            lines.append(f"      {{ const vec pair = t{m} * a{n}; {terms} }}")
        stores = (f"store(raw + {place} * CHANNELS + c, r{j});" for j, place in enumerate(family.results))
        lines += [f"      {' '.join(stores)}", "    }"]
    return lines


def _backward(product: EdgeProduct) -> list[str]:
    components = sum(2 * order + 1 for order in product.sources)
    used = sorted({n for family in _families(product) for n in family.harmonics})
    lines = [f"    vec t_gradient[{components}] = {{}}, a_gradient[{max(used) + 1}] = {{}};"]
    for family in _families(product):
        lines += ["    {", f"      {_loads('t', 'tensors', family.tensors)}"]
        lines.append(f"      {_loads('a', 'environment', family.harmonics)}")
        lines.append(f"      {_loads('r', 'raw', family.results)}")
        for m, n, results in family.pairs():
            terms = " + ".join(f"{factor} * r{j}" for j, factor in results)
            to_tensor = f"t_gradient[{family.tensors[m]}] += pair * a{n};"
            to_environment = f"a_gradient[{family.harmonics[n]}] += pair * t{m};"
            lines.append(f"      {{ const vec pair = {terms}; {to_tensor} {to_environment} }}")
        lines.append("    }")
    lines.append(f"    for (int m = 0; m < {components}; m++) store(tensors_to + m * CHANNELS + c, t_gradient[m]);")
    for n in used:
        place = f"environment_to + {n} * CHANNELS + c"
        lines.append(f"    store({place}, load({place}) + a_gradient[{n}]);")
    return lines


def edge_products_code(products: list[EdgeProduct]) -> str:
    """The products of all layers, and the two functions that run that of one.

    Parameters
    ----------
    products : list of EdgeProduct
        Of the model.

    Returns
    -------
    str
        ``edge_product`` and ``edge_product_backward`` of mixing_tile.hpp.
    """
    inputs = "const real* __restrict__ tensors, const real* __restrict__ environment"
    outputs = "real* __restrict__ tensors_to, real* __restrict__ environment_to"
    loop = "  for (int c = 0; c < CHANNELS; c += LANES) {"
    lines = []
    for k, product in enumerate(products):
        lines.append(f"static void edge_product_{k}({inputs}, real* __restrict__ raw) {{")
        lines += [loop, *_forward(product), "  }", "}"]
        lines += [
            f"static void edge_product_backward_{k}({inputs},",
            f"    const real* __restrict__ raw, {outputs}) {{",
            loop,
            *_backward(product),
            "  }",
            "}",
        ]
    plain = "const real* tensors, const real* environment"
    lines.append(f"static void edge_product(int k, {plain}, real* raw) {{")
    lines += [f"  if (k == {k}) edge_product_{k}(tensors, environment, raw);" for k in range(len(products))]
    lines += ["}", f"static void edge_product_backward(int k, {plain}, const real* raw,"]
    lines.append("                                  real* tensors_to, real* environment_to) {")
    arguments = "tensors, environment, raw, tensors_to, environment_to"
    lines += [f"  if (k == {k}) edge_product_backward_{k}({arguments});" for k in range(len(products))]
    return "\n".join([*lines, "}"])
