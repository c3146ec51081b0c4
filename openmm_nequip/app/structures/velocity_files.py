"""Velocities from files, which OpenMM's readers of structures leave out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import StructureError
from ...files import obstacle

#: Characters of a .gro line before positions; each number of a position has as many, and one of a velocity as many.
_GRO_HEAD = 20


def read_velocities(path: str | os.PathLike[str], n_atoms: int) -> np.ndarray:
    """Velocities of all atoms.

    Parameters
    ----------
    path : str or path-like
        GROMACS' ``.gro`` (its last frame), or ``.npy`` in nm/ps.
    n_atoms : int
        How many atoms there must be.

    Returns
    -------
    numpy.ndarray, (n_atoms, 3) float64
        nm/ps.

    Raises
    ------
    StructureError
        If the file is missing or has no velocities, or not of so many atoms.
    """
    path = os.fspath(path)
    problem = obstacle(path)
    if problem:
        raise StructureError(f"velocities file {path} {problem}", path)
    suffix = Path(path).suffix.lower()
    if suffix not in (".gro", ".npy"):
        raise StructureError(f"velocities file {path}: give a .gro file with velocities, or .npy in nm/ps", path)
    try:
        found = np.load(path, allow_pickle=False) if suffix == ".npy" else _read_gro(path)
        found = np.asarray(found, dtype=np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise StructureError(f"velocities file {path} cannot be read: {error}", path) from error
    if found.shape != (n_atoms, 3):
        raise StructureError(
            f"velocities file {path} has velocities of shape {found.shape}; {n_atoms} atoms need ({n_atoms}, 3)", path
        )
    if not np.isfinite(found).all():
        raise StructureError(f"velocities file {path} has velocities that are NaN or infinite", path)
    return found


def _read_gro(path: str) -> np.ndarray:
    """Velocities of the last frame of a .gro file."""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    start, last = 0, -1
    while start + 2 < len(lines) and lines[start + 1].strip():
        last, start = start, start + 3 + int(lines[start + 1])
    if last < 0 or start > len(lines):
        raise ValueError("it is no whole .gro file")
    return np.array([_velocity(line) for line in lines[last + 2 : start - 1]]).reshape(-1, 3)


def _velocity(line: str) -> list[float]:
    """The velocity of a line whose numbers are as wide as the decimals of its positions say."""
    first = line.find(".", _GRO_HEAD)
    width = line.find(".", first + 1) - first
    # A velocity has one decimal more than a position in a field of the same width.
    texts = [line[_GRO_HEAD + width * k : _GRO_HEAD + width * (k + 1)] for k in range(3, 6)]
    if width < 3 or not all(text.strip() for text in texts):
        raise ValueError("an atom has no velocity; a .gro file with velocities has six numbers for each atom")
    return [float(text) for text in texts]
