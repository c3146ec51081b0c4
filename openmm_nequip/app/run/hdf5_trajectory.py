"""Trajectories in HDF5: frames whose content is known by a digest, and files made anew where a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openmm
import openmm.app as app

from ...trajectory_loading import read_elsewhere
from .hdf5_recovery import add_rows, content_digest
from .run_folder import written_atomically

_SCRIPT = Path(__file__).with_name("hdf5_recovery.py")


class Hdf5Frames:
    """mdtraj's reporter, with the SHA-256 of what it wrote.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    interval : int
        Steps between frames.
    append : bool
        Whether to go on at the end of the file.
    periodic : bool
        Whether there is a box.
    """

    def __init__(self, path: Path, interval: int, append: bool, periodic: bool) -> None:
        from mdtraj.formats import HDF5TrajectoryFile
        from mdtraj.reporters import HDF5Reporter

        if not append:
            path.unlink(missing_ok=True)
        self._file = HDF5TrajectoryFile(str(path), "a")
        self._writer = HDF5Reporter(self._file, interval, cell=periodic)
        self._digests: dict[str, Any] = {}
        self._counted, self._closed = 0, False

    def describeNextReport(self, simulation: app.Simulation) -> Any:
        """OpenMM's question when the next frame is due and what it needs."""
        return self._writer.describeNextReport(simulation)

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Write a frame.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state.
        """
        self._writer.report(simulation, state)

    def content(self) -> list[Any]:
        """Number of frames, and the SHA-256 of what is in them."""
        if self._closed:
            return [self._counted, content_digest(self._digests)]
        root = self._file.root
        last = int(root.coordinates.shape[0]) if "coordinates" in root else 0
        add_rows(self._digests, root, self._counted, last)
        self._counted = last
        return [last, content_digest(self._digests)]

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._writer.close()


def renew(path: Path, frames: int, noted: Any, topology: app.Topology) -> None:
    """Replace a trajectory by a new file with its first frames, if those are the ones that were written.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    frames : int
        How many frames to keep.
    noted : list of int and str, or None
        What :meth:`Hdf5Frames.content` said when these frames were there; None if that is not known.
    topology : openmm.app.Topology
        Goes into the file.

    Raises
    ------
    ValueError
        With the reason, if it is damaged; it stays as it is.
    """
    import mdtraj
    from mdtraj.formats import HDF5TrajectoryFile

    with written_atomically(path) as scratch:
        done = read_elsewhere(str(_SCRIPT), str(path), str(scratch), str(frames))
        try:
            found = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            lines = done.stderr.strip().splitlines()
            last = lines[-1][:200] if lines else f"its process ended with code {done.returncode}"
            raise ValueError(f"the HDF5 library cannot read it ({last})") from None
        if noted is not None and [found["frames"], found["digest"]] != list(noted):
            raise ValueError("up to the last checkpoint its content is not what the run wrote")
        if found["frames"]:
            with HDF5TrajectoryFile(str(scratch), "a") as file:
                file.topology = mdtraj.Topology.from_openmm(topology)
