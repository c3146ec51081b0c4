"""Slabs and wires: periodic in some directions only. In a box with enough vacuum they are the same system.

OpenMM is periodic in all directions or none. A model sees nothing beyond its cutoff, so images across a vacuum of at
least a cutoff do not matter.
"""

from __future__ import annotations

import logging

import numpy as np

from ...errors import StructureError
from ...units import NM_PER_ANGSTROM

logger = logging.getLogger(__name__)

#: Vacuum that is added in nm where the file has no box vector: more than models reach.
ADDED_VACUUM_NM = 3.0


def complete_box(positions: np.ndarray, box: np.ndarray, open_directions: tuple[int, ...]) -> np.ndarray:
    """A box with vectors where the file states none, which it may in directions without periodicity.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3)
        nm.
    box : numpy.ndarray, (3, 3)
        Rows are the box vectors in nm; those without periodicity may be zero.
    open_directions : tuple of int
        Which these are.

    Returns
    -------
    numpy.ndarray, (3, 3)
        New vectors are normal to the others, with :data:`ADDED_VACUUM_NM` beyond the extent of the atoms.
    """
    from ase.geometry import complete_cell

    empty = [k for k in open_directions if not box[k].any()]
    if not empty:
        return box
    filled = complete_cell(box)
    for k in empty:
        normal = filled[k] / np.linalg.norm(filled[k])
        filled[k] = normal * (np.ptp(positions @ normal) + ADDED_VACUUM_NM)
    return filled


def vacuum(positions: np.ndarray, box: np.ndarray, direction: int) -> float:
    """Thickness of the empty layer between a structure and its image.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3)
        In one piece in this direction.
    box : numpy.ndarray, (3, 3)
        Rows are the box vectors, in the same unit.
    direction : int
        Box vector across which the image lies.

    Returns
    -------
    float
        Negative where they overlap.
    """
    normal = np.cross(box[(direction + 1) % 3], box[(direction + 2) % 3])
    normal /= np.linalg.norm(normal)
    return float(abs(box[direction] @ normal) - np.ptp(positions @ normal))


def check_vacuum(
    path: str, positions: np.ndarray, box: np.ndarray, open_directions: tuple[int, ...], reach: float | None
) -> None:
    """Refuse a box whose vacuum is thinner than a model's cutoff, and say what is done with one that is not.

    Parameters
    ----------
    path : str
        The file, for messages.
    positions : numpy.ndarray, (n_atoms, 3)
        nm.
    box : numpy.ndarray, (3, 3)
        Rows are the box vectors in nm.
    open_directions : tuple of int
        Those without periodicity.
    reach : float, optional
        Cutoff in nm; None for a model without one.

    Raises
    ------
    StructureError
        If it is, or the model has no cutoff.
    """
    names = " and ".join("abc"[k] for k in open_directions)
    if reach is None:
        raise StructureError(
            f"structure file {path} is not periodic along {names}, which OpenMM cannot do, and the model has no cutoff "
            "beyond which images do not matter; make it periodic in all three directions, or in none",
            path,
        )
    found = {k: vacuum(positions, box, k) for k in open_directions}
    for k, gap in found.items():
        if gap < reach:
            has, needs = gap / NM_PER_ANGSTROM, reach / NM_PER_ANGSTROM
            raise StructureError(
                f"structure file {path} is not periodic along {'abc'[k]}, and the box leaves {has:.2f} Å of vacuum "
                f"there; the model reaches {needs:.2f} Å and would see the image. Give --box with a vector "
                f"{'abc'[k]} that is longer by at least {needs - has:.2f} Å",
                path,
            )
    shown = ", ".join(f"{gap / NM_PER_ANGSTROM:.2f} Å" for gap in found.values())
    logger.info(
        "%s is not periodic along %s: run in a periodic box with %s of vacuum there, more than the model's cutoff of "
        "%.2f Å, which is the same system; stress and pressure are per volume of this box",
        path, names, shown, reach / NM_PER_ANGSTROM,
    )  # fmt: skip
