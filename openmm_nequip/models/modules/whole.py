"""Molecules in one piece, for modules that know no box."""

from __future__ import annotations

import numpy as np


def whole_shifts(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Moves by whole cell vectors that bring atoms next to one another.

    Atoms are joined one by one, each in the image that is nearest to one joined before (Prim's tree of shortest
    distances). So whatever hangs together by distances below half the cell is in one piece, however long it is.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Any image.
    cell : numpy.ndarray, (3, 3) float64
        Rows are the cell vectors, in OpenMM's reduced form.

    Returns
    -------
    numpy.ndarray, (n_atoms, 3) float64
        To add to the positions; zero for the first atom.
    """
    n = len(positions)
    moved = np.zeros_like(positions)
    if n < 2:
        return moved
    waiting = np.arange(1, n)
    vectors = _nearest(positions[waiting] - positions[0], cell)
    squares = np.einsum("ij,ij->i", vectors, vectors)
    targets = positions[0] + vectors
    while len(waiting):
        chosen = int(squares.argmin())
        atom, place = waiting[chosen], targets[chosen]
        moved[atom] = place - positions[atom]
        kept = np.arange(len(waiting)) != chosen
        waiting, squares, targets = waiting[kept], squares[kept], targets[kept]
        vectors = _nearest(positions[waiting] - place, cell)
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        nearer = lengths < squares
        squares[nearer] = lengths[nearer]
        targets[nearer] = (place + vectors)[nearer]
    # Exact multiples of the cell vectors, so that atoms that need no move get none.
    return np.rint(moved @ np.linalg.inv(cell)) @ cell


def _nearest(vectors: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """The image within half of the diagonal, last axis first, as OpenMM does it in its reduced cells."""
    for axis in (2, 1, 0):
        vectors = vectors - np.rint(vectors[:, axis] / cell[axis, axis])[:, None] * cell[axis]
    return vectors
