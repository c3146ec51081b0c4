"""C++ for spherical harmonics, and for the matrices in which they couple features to results.

A tensor product of features x (order l1) and harmonics Y (order l2) to order l3 is, for each channel, a small matrix
times the features::

    result[m3] = sum over m1 of M[m3, m1] x[m1]        M[m3, m1] = sum over m2 of C[m1, m2, m3] Y[m2]

M is the same for all channels, so it is computed once for an edge; C are Wigner 3j symbols, most of them zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..harmonics import coupling, monomials
from ..program import Path


def literal(value: float) -> str:
    """A number as C++ of the model's type, with all its digits."""
    return f"(real){value!r}"


def _monomial(powers: tuple[int, ...]) -> str:
    factors = [axis for axis, power in zip("xyz", powers, strict=True) for _ in range(power)]
    return " * ".join(factors) or "splat(1)"


def _terms(coefficients: Sequence[tuple[float, tuple[int, ...]]]) -> str:
    return " + ".join(f"{literal(c)} * {_monomial(powers)}" for c, powers in coefficients if c != 0.0)


def harmonics_code(harmonics: list[np.ndarray]) -> str:
    """Two functions: harmonics of a vector of edges, and the gradient of the directions from that of the harmonics.

    Parameters
    ----------
    harmonics : list of numpy.ndarray, (2l+1, n_monomials)
        Polynomials of the unit vector, for l = 0, 1, ...

    Returns
    -------
    str
        ``harmonics`` and ``harmonics_backward``; harmonic m of order l has number l^2 + m, and the constant one is left
        out.
    """
    forward: list[str] = []
    backward: list[str] = []
    number = 1
    for order, table in list(enumerate(harmonics))[1:]:
        for row in table:
            polynomial = [(float(c), powers) for c, powers in zip(row, monomials(order), strict=True)]
            forward.append(f"  store(harmonic[{number}], {_terms(polynomial) or 'vec{}'});")
            for axis, name in enumerate("xyz"):
                slope = [
                    (float(c * powers[axis]), tuple(p - (a == axis) for a, p in enumerate(powers)))
                    for c, powers in polynomial
                    if powers[axis]
                ]
                if text := _terms(slope):
                    backward.append(f"  {name}_gradient += load(harmonic_gradient[{number}]) * ({text});")
            number += 1
    return "\n".join(
        [
            "// Spherical harmonics of LANES edges with directions (x, y, z).",
            "INLINE void harmonics(vec x, vec y, vec z, real (*harmonic)[LANES]) {",
            *forward,
            "}",
            "// dE/d(direction) += sum over harmonics of dE/dY dY/d(direction).",
            "INLINE void harmonics_backward([[maybe_unused]] vec x, [[maybe_unused]] vec y, [[maybe_unused]] vec z,",
            "                               real (*harmonic_gradient)[LANES], vec& x_gradient, vec& y_gradient,",
            "                               vec& z_gradient) {",
            *backward,
            "}",
        ]
    )


class Couplings:
    """Elements of the matrices M of some paths; paths of the same three orders share theirs.

    Parameters
    ----------
    paths : sequence of Path
        The paths.
    y00 : float
        The constant harmonic: with l2 = 0 an element is a number, and is written as such.
    """

    def __init__(self, paths: Sequence[Path], y00: float) -> None:
        self.y00 = y00
        #: C++ of each element that depends on the edge.
        self.elements: list[str] = []
        self._texts: dict[tuple[int, int, int, int, int], str] = {}
        for orders in dict.fromkeys((path.l1, path.l2, path.l3) for path in paths):
            table = coupling(*orders)
            for m3 in range(2 * orders[2] + 1):
                for m1 in range(2 * orders[0] + 1):
                    self._add(orders, m1, m3, table[m1, :, m3])

    def _add(self, orders: tuple[int, int, int], m1: int, m3: int, values: np.ndarray) -> None:
        nonzero = np.flatnonzero(values)
        if not len(nonzero):
            return
        if orders[1] == 0:
            text = literal(float(values[0]) * self.y00)
        else:
            first = orders[1] ** 2
            text = f"coupling[{len(self.elements)}][e]"
            terms = [f"{literal(float(values[m2]))} * load(harmonic[{first + m2}])" for m2 in nonzero]
            self.elements.append(" + ".join(terms))
        self._texts[(*orders, m1, m3)] = text

    def row(self, path: Path, m3: int) -> list[tuple[int, str]]:
        """Elements of one component of the result.

        Parameters
        ----------
        path : Path
            One of the paths.
        m3 : int
            Component of the result.

        Returns
        -------
        list of tuple of (int, str)
            Component m1 of the features, and C++ of the element; zeros are left out.
        """
        return self._nonzero(path, [(m1, m1, m3) for m1 in range(2 * path.l1 + 1)])

    def column(self, path: Path, m1: int) -> list[tuple[int, str]]:
        """Elements of one component of the features, as :meth:`row`, with the component m3 of the result."""
        return self._nonzero(path, [(m3, m1, m3) for m3 in range(2 * path.l3 + 1)])

    def _nonzero(self, path: Path, wanted: list[tuple[int, int, int]]) -> list[tuple[int, str]]:
        found = [(number, self._texts.get((path.l1, path.l2, path.l3, m1, m3))) for number, m1, m3 in wanted]
        return [(number, text) for number, text in found if text]
