"""Elements of the matrices in which an edge's harmonics couple features to results, as text.

As in :mod:`..cpu.harmonics_code`, ``M[m3, m1] = sum over m2 of C[m1, m2, m3] Y[m2]``; they are computed once for an
edge by one thread and read by all channels, so elements that differ in nothing, or in their sign alone, are kept
once."""

from __future__ import annotations

import numpy as np

from ..harmonics import coupling
from ..program import Layer, Path
from .dialect import Numbers


class EdgeCouplings:
    """Elements of the matrices of all paths of a layer.

    Parameters
    ----------
    layer : Layer
        Has the paths.
    y00 : float
        The constant harmonic: with l2 = 0 an element is a number, and is written as such.
    numbers : Numbers
        How numbers are written.
    """

    def __init__(self, layer: Layer, y00: float, numbers: Numbers) -> None:
        #: Text of each element that depends on the edge, in terms of Y1, Y2, ...
        self.elements: list[str] = []
        self._numbers = numbers
        self._texts: dict[tuple[int, int, int, int, int], str] = {}
        for orders in dict.fromkeys((path.l1, path.l2, path.l3) for path in layer.paths):
            table = coupling(*orders)
            for m3 in range(2 * orders[2] + 1):
                for m1 in range(2 * orders[0] + 1):
                    values = table[m1, :, m3]
                    if values.any():
                        self._texts[(*orders, m1, m3)] = self._element(orders[1], values, y00)

    @property
    def room(self) -> int:
        """Numbers to keep for an edge; at least one, because an array of none is none."""
        return max(1, len(self.elements))

    def row(self, path: Path, m3: int) -> list[tuple[int, str]]:
        """Elements of a component of the result, as :meth:`..cpu.harmonics_code.Couplings.row` gives them."""
        return self._nonzero(path, [(m1, m1, m3) for m1 in range(2 * path.l1 + 1)])

    def column(self, path: Path, m1: int) -> list[tuple[int, str]]:
        """The same of a component of the features, as :meth:`row`, with the component m3 of the result."""
        return self._nonzero(path, [(m3, m1, m3) for m3 in range(2 * path.l3 + 1)])

    def _nonzero(self, path: Path, wanted: list[tuple[int, int, int]]) -> list[tuple[int, str]]:
        found = [(number, self._texts.get((path.l1, path.l2, path.l3, m1, m3))) for number, m1, m3 in wanted]
        return [(number, text) for number, text in found if text]

    def _element(self, order: int, values: np.ndarray, y00: float) -> str:
        if order == 0:
            return self._numbers.literal(float(values[0]) * y00)
        nonzero = np.flatnonzero(values)
        texts = [
            " + ".join(f"{self._numbers.literal(sign * float(values[m2]))}*Y{order**2 + m2}" for m2 in nonzero)
            for sign in (1.0, -1.0)
        ]
        for text, pattern in zip(texts, ("m{}", "(-m{})"), strict=True):
            if text in self.elements:
                return pattern.format(self.elements.index(text))
        self.elements.append(texts[0])
        return f"m{len(self.elements) - 1}"
