"""Edges of the atoms of one rank: a list with a skin, and what of it is within the cutoffs at a step."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


class DomainEdges:
    """Pairs of an atom of a rank and any atom or ghost that it has.

    Parameters
    ----------
    positions : numpy.ndarray, (n_local + n_ghosts, 3) float64
        Of all atoms that the rank has, its own first; any unit of length.
    n_local : int
        How many are its own.
    reach : float
        Cutoff and skin.
    skin : float
        How far the two atoms of a pair may come nearer to each other before the list is to be made anew.

    Attributes
    ----------
    ghosts : numpy.ndarray, (n_used,) int64
        Rows of the ghosts that are in a pair; edges count them after the atoms of the rank.
    """

    def __init__(self, positions: np.ndarray, n_local: int, reach: float, skin: float) -> None:
        self._made_at = positions.copy()
        self._skin = skin
        found = cKDTree(positions[:n_local]).sparse_distance_matrix(
            cKDTree(positions), reach, output_type="ndarray"
        ) if n_local else np.zeros(0, dtype=[("i", np.int64), ("j", np.int64)])  # fmt: skip
        first, second = found["i"].astype(np.int64), found["j"].astype(np.int64)
        kept = first != second
        first, second = first[kept], second[kept]
        order = np.lexsort((second, first))
        first, second = first[order], second[order]
        self.ghosts = np.unique(second[second >= n_local])
        self.rows = np.concatenate([np.arange(n_local), self.ghosts])
        new = np.zeros(len(positions), dtype=np.int64)
        new[self.rows] = np.arange(len(self.rows))
        self._pairs = np.stack([first, new[second]])

    def holds_for(self, positions: np.ndarray) -> bool:
        """Whether no pair can have come within the cutoff unseen.

        Parameters
        ----------
        positions : numpy.ndarray, (n_local + n_ghosts, 3) float64
            Of the same atoms in the same order.
        """
        moved = ((positions - self._made_at) ** 2).sum(axis=1)
        return not len(moved) or bool(4.0 * moved.max() <= self._skin**2)

    def within(self, positions: np.ndarray, types: np.ndarray, cutoffs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edges at present.

        Parameters
        ----------
        positions : numpy.ndarray, (n_local + n_used, 3) float64
            Those of :attr:`rows`.
        types : numpy.ndarray, (n_local + n_used,) int64
            Model types of these.
        cutoffs : numpy.ndarray, (n_types, n_types) float64
            Cutoff of a centre and a neighbour.

        Returns
        -------
        edge_index : numpy.ndarray, (2, n_edges) int64
        vectors : numpy.ndarray, (n_edges, 3) float64
            From the centre to the neighbour.
        """
        first, second = self._pairs
        vectors = positions[second] - positions[first]
        near = (vectors**2).sum(axis=1) < cutoffs[types[first], types[second]] ** 2
        return np.ascontiguousarray(self._pairs[:, near]), vectors[near]
