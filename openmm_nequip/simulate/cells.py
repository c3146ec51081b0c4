"""Periodic cells: from what a user types to a matrix, and from any cell to the reduced form OpenMM wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..units import NM_PER_ANGSTROM

#: A cell whose volume is below this share of the product of its edges is flat.
_FLAT = 1e-6


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


def parse_box(values: Sequence[float]) -> np.ndarray:
    """A box given as numbers in Å.

    Parameters
    ----------
    values : sequence of float
        Three edge lengths, or nine components, vector by vector.

    Returns
    -------
    numpy.ndarray, (3, 3) float64
        Rows are the box vectors in nm.

    Raises
    ------
    ValueError
        If there are not three or nine numbers, an edge length is not positive, or there is no volume.
    """
    numbers = np.asarray(list(values), dtype=np.float64)
    if numbers.size == 3:
        if not (numbers > 0).all():
            raise ValueError(f"box {numbers.tolist()}: the three edge lengths in Å must be positive")
        numbers = np.diag(numbers)
    elif numbers.size != 9:
        raise ValueError(
            f"box has {numbers.size} numbers; give 3 edge lengths or 9 components (ax ay az bx by bz cx cy cz) in Å"
        )
    return check_cell(numbers.reshape(3, 3) * NM_PER_ANGSTROM, "the box")


def reduce_cell(positions: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate a crystal so that its lattice has vectors in OpenMM's reduced form.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64
        Rows are the vectors in nm; triclinic, skewed, rotated and left-handed ones too.

    Returns
    -------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Rotated, never mirrored; unchanged if the box was reduced already.
    box : numpy.ndarray, (3, 3) float64
        The same lattice: a along x, b in the xy plane, 2|b_x| <= a_x, 2|c_x| <= a_x, 2|c_y| <= b_y.
    """
    box = np.array(box, dtype=np.float64)
    if np.linalg.det(box) < 0:
        box[2] = -box[2]  # the same lattice with the other handedness
    if np.allclose(box, np.tril(box), rtol=0, atol=1e-12) and (np.diag(box) > 0).all():
        rotated, lower = np.array(positions), np.tril(box)
    else:
        q, r = np.linalg.qr(box.T)  # box = r.T @ q.T, r.T lower triangular
        signs = np.sign(np.diag(r))
        rotated, lower = positions @ (q * signs), (r * signs[:, None]).T
    a, b, c = lower
    c = c - b * np.round(c[1] / b[1])
    c = c - a * np.round(c[0] / a[0])
    b = b - a * np.round(b[0] / a[0])
    return rotated, np.array([a, b, c])
