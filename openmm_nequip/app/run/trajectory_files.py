"""Trajectory files: a reporter per format, and cutting a file back to its first frames."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import openmm.app as app

from .hdf5_trajectory import Hdf5Frames

#: First number of an XTC frame: the usual one, and that of frames whose size takes eight bytes.
_XTC_MAGIC = (1995, 2023)


def make_reporter(path: Path, interval: int, append: bool, periodic: bool) -> Any:
    """A reporter for the format that the suffix names.

    Parameters
    ----------
    path : pathlib.Path
        ``.dcd`` or ``.xtc`` (OpenMM's own reporters) or ``.h5`` (mdtraj's).
    interval : int
        Steps between frames.
    append : bool
        Whether to go on at the end of the file.
    periodic : bool
        Whether there is a box; DCD and XTC learn that from the topology.

    Returns
    -------
    reporter
        For ``Simulation.reporters``.

    Raises
    ------
    ImportError
        If HDF5 is wanted and PyTables is not installed.
    """
    if path.suffix == ".dcd":
        return app.DCDReporter(str(path), interval, append=append)
    if path.suffix == ".xtc":
        return app.XTCReporter(str(path), interval, append=append)
    check_format("h5")
    return Hdf5Frames(path, interval, append, periodic)


def check_format(name: str) -> None:
    """Raise ImportError, with the cure, if a format needs a package that is not installed."""
    if name == "h5":
        try:
            import tables  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"trajectory h5 needs PyTables ({error}): `pip install tables`, or choose dcd or xtc"
            ) from error


def count_frames(path: Path) -> int:
    """Number of whole frames in a trajectory; 0 if there is no file or nothing readable in it."""
    try:
        return _FORMATS[path.suffix][0](path)
    except (OSError, ValueError, RuntimeError, struct.error):
        return 0


def truncate(path: Path, frames: int) -> int:
    """Cut a trajectory back to its first frames; half-written ones are dropped in any case.

    Parameters
    ----------
    path : pathlib.Path
        The file; may be missing.
    frames : int
        How many frames to keep.

    Returns
    -------
    int
        How many frames there are now: ``frames``, or fewer if there never were so many.
    """
    there = count_frames(path)
    kept = min(there, frames)
    if path.exists() and there:
        _FORMATS[path.suffix][1](path, kept)
    return kept


def _dcd_layout(path: Path) -> tuple[int, int, int]:
    """Size of the header and of a frame in bytes, and whether there is a box."""
    with open(path, "rb") as file:
        head = file.read(96)
        if len(head) < 96 or head[4:8] != b"CORD":
            raise ValueError(f"{path} is no DCD file")
        has_box = struct.unpack("<i", head[48:52])[0]
        comments = struct.unpack("<i", head[92:96])[0]
        file.seek(104 + comments)
        n_atoms = struct.unpack("<i", file.read(4))[0]
    # Every Fortran record stands between two 4-byte lengths.
    return 112 + comments, 3 * (4 * n_atoms + 8) + (56 if has_box else 0), has_box


def _count_dcd(path: Path) -> int:
    header, frame, _ = _dcd_layout(path)
    return max(os.path.getsize(path) - header, 0) // frame


def _cut_dcd(path: Path, frames: int) -> None:
    header, frame, _ = _dcd_layout(path)
    with open(path, "r+b") as file:
        file.truncate(header + frames * frame)
        first, interval = struct.unpack("<ii", (file.seek(12), file.read(8))[1])
        file.seek(8)
        file.write(struct.pack("<i", frames))
        file.seek(20)
        file.write(struct.pack("<i", first + max(frames - 1, 0) * interval))


def _xtc_ends(path: Path) -> list[int]:
    """Offset of the end of each whole frame: 52 bytes of header, then coordinates, compressed from ten atoms on."""
    size, ends, position = os.path.getsize(path), [], 0
    with open(path, "rb") as file:
        while position + 56 <= size:
            file.seek(position)
            magic, n_atoms = struct.unpack(">ii", file.read(8))
            if magic not in _XTC_MAGIC:
                break
            if n_atoms <= 9:
                position += 56 + 12 * n_atoms
            else:
                wide = magic == _XTC_MAGIC[1]
                file.seek(position + 88)
                stated = file.read(8 if wide else 4)
                if len(stated) < (8 if wide else 4):
                    break
                n_bytes = struct.unpack(">q" if wide else ">i", stated)[0]
                position += (96 if wide else 92) + (n_bytes + 3) // 4 * 4
            if position <= size:
                ends.append(position)
    return ends


def _count_xtc(path: Path) -> int:
    return len(_xtc_ends(path))


def _cut_xtc(path: Path, frames: int) -> None:
    os.truncate(path, ([0] + _xtc_ends(path))[frames])


def _count_h5(path: Path) -> int:
    import tables

    with tables.open_file(str(path), "r") as file:
        return int(file.root.coordinates.shape[0])


def _cut_h5(path: Path, frames: int) -> None:
    import tables

    with tables.open_file(str(path), "a") as file:
        for array in file.walk_nodes("/", "EArray"):
            if array.shape[0] > frames:
                array.truncate(frames)


_FORMATS = {".dcd": (_count_dcd, _cut_dcd), ".xtc": (_count_xtc, _cut_xtc), ".h5": (_count_h5, _cut_h5)}
