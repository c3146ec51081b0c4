"""Frames of one simulation in an extended XYZ file, no two of them alike."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openmm.app as app
from scipy.spatial.transform import Rotation

from .topology import common_symbol
from .units import NM_PER_ANGSTROM

#: Frames are alike if the models' atoms differ by less than this in nm (root mean square displacement), moved and,
#: without a box, turned onto each other: well below thermal motion, which is 0.01 to 0.03 at room temperature.
ALIKE_NM = 0.005


class DistinctFrames:
    """Writes a frame where none like it was written before.

    Parameters
    ----------
    path : str or path-like
        File in extended XYZ.
    topology : openmm.app.Topology
        Particles; those that are no atoms of an element are left out.
    atoms : numpy.ndarray, (n_atoms,) int64
        Particles that decide whether frames are alike.
    append : bool
        Whether to go on with the file, if it is there.

    Raises
    ------
    OSError
        If the file cannot be read or written.
    """

    def __init__(
        self, path: str | os.PathLike[str], topology: app.Topology, atoms: np.ndarray, append: bool = False
    ) -> None:
        self._path = Path(path)
        symbols = [None if atom.element is None else common_symbol(atom.element.symbol) for atom in topology.atoms()]
        self._real = np.array([i for i, symbol in enumerate(symbols) if symbol], dtype=np.int64)
        self._symbols = [symbols[i] for i in self._real]
        self._compared = np.flatnonzero(np.isin(self._real, atoms))
        self._before = [self._shape(*frame) for frame in _read(self._path)] if append and self._path.exists() else []
        if not append:
            self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._before)

    def add(
        self,
        positions: np.ndarray,
        box: np.ndarray | None,
        info: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
    ) -> bool:
        """Write a frame, unless there is one like it.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm.
        box : numpy.ndarray, (3, 3) float64, optional
            nm.
        info : mapping of str to value
            What is said of the frame.
        arrays : mapping of str to numpy.ndarray, (n_particles,)
            And of each particle.

        Returns
        -------
        bool
            Whether it was written.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        import ase.io
        from ase import Atoms

        shape = self._shape(positions[self._real], box)
        if any(_alike(shape, other, box) for other in self._before):
            return False
        atoms = Atoms(self._symbols, positions[self._real] / NM_PER_ANGSTROM, pbc=box is not None)
        if box is not None:
            atoms.cell = box / NM_PER_ANGSTROM
        atoms.info.update(info)
        for name, values in arrays.items():
            atoms.set_array(name, np.asarray(values)[self._real])
        ase.io.write(self._path, atoms, format="extxyz", append=True)
        self._before.append(shape)
        return True

    def _shape(self, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """What is compared: (n_compared, 3), nm; 4 bytes a number are enough."""
        chosen = positions[self._compared]
        return (chosen if box is not None else chosen - chosen.mean(axis=0)).astype(np.float32)


def _alike(one: np.ndarray, other: np.ndarray, box: np.ndarray | None) -> bool:
    if one.shape != other.shape or not len(one):
        return False
    if box is None:
        _, distance = Rotation.align_vectors(one, other)
        return bool(distance / np.sqrt(len(one)) < ALIKE_NM)
    moved = (one - other).astype(np.float64) @ np.linalg.inv(box)
    # From the first atom, so that a drift of all does not put some of them into another image.
    moved -= moved[0]
    moved = (moved - np.rint(moved)) @ box
    return bool(np.sqrt(np.square(moved - moved.mean(axis=0)).sum(axis=1).mean()) < ALIKE_NM)


def keep_until(path: str | os.PathLike[str], step: int) -> int:
    """Cut a file back to the frames of a simulation that was put back to an earlier step.

    Parameters
    ----------
    path : str or path-like
        File in extended XYZ, as :class:`DistinctFrames` writes it; may be missing.
    step : int
        The present step; later frames, and half-written ones, go.

    Returns
    -------
    int
        Number of frames that are left.
    """
    file = Path(path)
    if not file.exists():
        return 0
    kept = [frame for frame in _texts(file) if (found := re.search(r"\bstep=(\d+)", frame)) and int(found[1]) <= step]
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    scratch.write_text("".join(kept), encoding="utf-8")
    os.replace(scratch, file)
    return len(kept)


def frame_count(path: str | os.PathLike[str]) -> int:
    """Number of whole frames in an extended XYZ file; 0 if it is missing."""
    return sum(1 for _ in _texts(Path(path))) if Path(path).exists() else 0


def _texts(path: Path) -> Iterator[str]:
    """Whole frames of a file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    at = 0
    while at < len(lines) and lines[at].strip().isdigit():
        end = at + int(lines[at]) + 2
        if end > len(lines) or not lines[end - 1].endswith("\n"):
            return
        yield "".join(lines[at:end])
        at = end


def _read(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Positions (n_atoms, 3) and box (3, 3) in nm of each frame."""
    import io

    import ase.io

    for text in _texts(path):
        atoms: Any = ase.io.read(io.StringIO(text), format="extxyz")
        yield atoms.positions * NM_PER_ANGSTROM, np.array(atoms.cell) * NM_PER_ANGSTROM if atoms.pbc.any() else None
