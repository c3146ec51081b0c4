"""Lattice vectors: whether they span a volume, and their reduced form.

References
----------
OpenMM user guide, "Periodic boundary conditions", on the reduced form.
"""

from __future__ import annotations

import numpy as np

#: A cell whose volume is below this share of the product of its edges is flat.
_FLAT = 1e-6
#: How far, in shares of an edge, a component may pass one half before it counts as more: far above rounding, and below
#: 1e-10 Å for edges up to 100 Å.
_HALF_TOLERANCE = 1e-12


def check_cell(cell: np.ndarray, what: str) -> np.ndarray:
    """The cell as float64, after checking that it spans a volume.

    Parameters
    ----------
    cell : array_like, (3, 3)
        Rows are the vectors, any unit.
    what : str
        Where it came from, for the message.

    Returns
    -------
    numpy.ndarray, (3, 3) float64

    Raises
    ------
    ValueError
        If a number is not finite or the volume is zero.
    """
    matrix = np.asarray(cell, dtype=np.float64).reshape(3, 3)
    lengths = np.linalg.norm(matrix, axis=1)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) <= _FLAT * np.prod(lengths):
        raise ValueError(
            f"{what} has no volume: its vectors are {matrix.tolist()}; give three that are finite and not in one plane"
        )
    return matrix


def reduce_box(box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring a lattice into OpenMM's reduced form.

    Parameters
    ----------
    box : array_like, (3, 3)
        Rows are the vectors, any unit; triclinic, skewed, rotated and left-handed ones too. Must span a volume.

    Returns
    -------
    reduced : numpy.ndarray, (3, 3) float64
        The same lattice, rotated: a along x, b in the xy plane, 2|b_x| <= a_x, 2|c_x| <= a_x, 2|c_y| <= b_y.
    rotation : numpy.ndarray, (3, 3) float64
        Proper: ``r_reduced = rotation @ r`` for a column vector r; exactly the identity where none is needed.
    integers : numpy.ndarray, (3, 3) int64
        Whole numbers with ``integers @ reduced = box @ rotation.T``; the determinant is 1, or -1 for a left-handed box.
    """
    box = np.array(box, dtype=np.float64)
    steps = np.eye(3, dtype=np.int64)  # the new vectors in terms of the given ones
    if np.linalg.det(box) < 0:
        steps[2] = -steps[2]  # the same lattice with the other handedness; atoms are not mirrored
        box[2] = -box[2]
    if np.allclose(box, np.tril(box), rtol=0, atol=1e-12) and (np.diag(box) > 0).all():
        rotation, lower = np.eye(3), np.tril(box)
    else:
        q, r = np.linalg.qr(box.T)  # box = r.T @ q.T, r.T lower triangular
        signs = np.sign(np.diag(r))
        rotation, lower = (q * signs).T, (r * signs[:, None]).T
    for row, column in ((2, 1), (2, 0), (1, 0)):
        ratio = lower[row, column] / lower[column, column]
        # A vector at exactly half an edge stays: OpenMM takes it, and rounding must not decide where it goes.
        count = int(np.sign(ratio) * max(np.ceil(abs(ratio) - 0.5 - _HALF_TOLERANCE), 0))
        lower[row] -= count * lower[column]
        steps[row] -= count * steps[column]
        # OpenMM compares exactly, so that half an edge and a last bit would be refused.
        limit = lower[column, column] / 2
        lower[row, column] = np.clip(lower[row, column], -limit, limit)
    integers = np.rint(np.linalg.inv(steps)).astype(np.int64)
    return lower, rotation, integers


def reduce_cell(positions: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate a crystal so that its lattice has vectors in OpenMM's reduced form.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Any unit of length.
    box : numpy.ndarray, (3, 3) float64
        Rows are the vectors, as for :func:`reduce_box`.

    Returns
    -------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Rotated, never mirrored; unchanged if the box needs no rotation.
    box : numpy.ndarray, (3, 3) float64
        The reduced box.
    """
    reduced, rotation, _ = reduce_box(box)
    return np.asarray(positions, dtype=np.float64) @ rotation.T, reduced
