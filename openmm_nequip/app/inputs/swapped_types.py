"""Whether the elements of two types look exchanged: atoms then have more bonds than they can."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np

from ...graph.neighbors import NeighborList
from ...units import NM_PER_ANGSTROM
from ..structures.bonds import perceive_bonds

#: Most bonds that atoms of an element have in anything but odd cases.
_MOST_BONDS = {"H": 1, "D": 1, "F": 1, "O": 3, "N": 4, "C": 4, "B": 4, "Cl": 4, "S": 6, "P": 6}
#: Part of all atoms with too many bonds that is suspicious, and part of that which an exchange may leave.
_SUSPICIOUS, _LEFT = 0.05, 0.25
_FARTHEST_NM = 0.4


def swapped_words(symbols: list[str], positions: np.ndarray, box: np.ndarray | None) -> str:
    """A warning where two elements look exchanged.

    Parameters
    ----------
    symbols : list of str
        Element of each atom; empty for none.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Returns
    -------
    str
        Empty where nothing looks wrong; else with the nearest distances against covalent radii.
    """
    now = _crowded(symbols, positions, box)
    if now <= _SUSPICIOUS * len(symbols):
        return ""
    better = []
    for one, other in combinations(sorted(set(symbols) - {""}), 2):
        exchanged = [{one: other, other: one}.get(symbol, symbol) for symbol in symbols]
        left = _crowded(exchanged, positions, box)
        if left <= _LEFT * now:
            better.append((left, one, other))
    if not better:
        return ""
    left, one, other = min(better)
    return (
        f"{one} and {other} look exchanged: {now} of {len(symbols)} atoms have more neighbours at the distance of a "
        f"bond than they can have bonds, and with {one} and {other} exchanged {left} would; "
        f"{_distances(symbols, positions, box, (one, other))}"
    )


def _crowded(symbols: list[str], positions: np.ndarray, box: np.ndarray | None) -> int:
    """How many atoms have more bonds than their element has."""
    bonds = perceive_bonds(symbols, np.ascontiguousarray(positions), box)
    counts = np.bincount(bonds.pairs.ravel(), minlength=len(symbols))
    most = np.array([_MOST_BONDS.get(symbol, len(symbols) + 100) for symbol in symbols])
    return int((counts > most).sum())


def _distances(
    symbols: list[str], positions: np.ndarray, box: np.ndarray | None, names: tuple[str, str]
) -> str:
    """Nearest distances between the two elements, beside the sums of their radii."""
    from ase.data import atomic_numbers, covalent_radii

    vectors = np.eye(3) if box is None else box
    edges = NeighborList(_FARTHEST_NM, 0.0, box is not None)(np.ascontiguousarray(positions), vectors)
    first, second = edges.index
    steps = positions[second] - positions[first] + edges.shifts @ vectors
    lengths = np.linalg.norm(steps, axis=1) / NM_PER_ANGSTROM
    nearest: dict[tuple[str, str], float] = {}
    for i, j, length in zip(first.tolist(), second.tolist(), lengths.tolist(), strict=True):
        pair = tuple(sorted((symbols[i], symbols[j])))
        nearest[pair] = min(length, nearest.get(pair, np.inf))  # type: ignore[index, call-overload]
    radius = {name: float(covalent_radii[atomic_numbers[{"D": "H"}.get(name, name)]]) for name in names}
    shown = [
        f"{a}-{b} {length:.2f} Å (radii {radius[a] + radius[b]:.2f})"
        for (a, b), length in sorted(nearest.items()) if a in radius and b in radius
    ]  # fmt: skip
    return "nearest distances are " + ", ".join(shown)


def element_counts(symbols: list[str]) -> str:
    """Elements and how many atoms each has, such as ``H 64, O 32``."""
    return ", ".join(f"{symbol or '?'} {count}" for symbol, count in sorted(Counter(symbols).items()))
