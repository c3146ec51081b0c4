"""A box as a user types it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...crystal import check_cell, reduce_cell
from ...topology import is_dummy_box
from ...units import NM_PER_ANGSTROM

__all__ = ["check_cell", "parse_box", "reduce_cell"]


#: No simulation has a longer edge: a tenth of a millimetre.
LARGEST_NM = 1e5


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
        If there are not three or nine numbers, an edge length is not positive or has no end, or there is no volume.
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
    box = check_cell(numbers.reshape(3, 3) * NM_PER_ANGSTROM, "the box")
    if is_dummy_box(box):
        raise ValueError(
            f"box {numbers.ravel().tolist()} is smaller than an atom: its numbers are in Å, and a cell of 1 Å stands "
            "for no box at all; give the real edges, or leave the box out"
        )
    if np.abs(box).max() > LARGEST_NM:
        raise ValueError(
            f"box {numbers.ravel().tolist()} is larger than {LARGEST_NM:g} nm: its numbers are in Å; give the real "
            "edges"
        )
    return box
