"""Reading what a run wrote, through mdtraj: no more frames and atoms than are wanted."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openmm.app as app

from ...trajectory_loading import load_frames
from .trajectory_files import count_frames


def load_trajectory(path: Path, topology: app.Topology, stride: int = 1, atoms: np.ndarray | None = None) -> Any:
    """A trajectory.

    Parameters
    ----------
    path : pathlib.Path
        A file of a run.
    topology : openmm.app.Topology
        Its atoms.
    stride : int
        Every so-many-th frame is read.
    atoms : numpy.ndarray, (n,) int64, optional
        Which atoms; all if not given.

    Returns
    -------
    mdtraj.Trajectory

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    import mdtraj

    with silent_stdout():
        return load_frames(path, mdtraj.Topology.from_openmm(topology), stride, atoms)


def load_last_frame(path: Path, topology: app.Topology) -> np.ndarray:
    """Positions of the last frame.

    Parameters
    ----------
    path : pathlib.Path
        A file of a run with at least one frame.
    topology : openmm.app.Topology
        Its atoms.

    Returns
    -------
    numpy.ndarray, (n_atoms, 3) float64
        nm.
    """
    import mdtraj

    with silent_stdout():
        frame = mdtraj.load_frame(str(path), count_frames(path) - 1, top=mdtraj.Topology.from_openmm(topology))
    return frame.xyz[0].astype(np.float64)


@contextlib.contextmanager
def silent_stdout() -> Iterator[None]:
    """Swallow what C code prints: mdtraj's DCD reader greets on stdout, where ``--json`` must be alone."""
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)
