"""Run folders as windows of umbrella sampling: bias, temperature, and the coordinate along the trajectory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm.app as app

from ...errors import RunFolderError
from ..run.bias import Bias
from ..run.run_config import TRAJECTORIES
from ..run.run_folder import RunFolder
from ..run.run_record import refuse_damaged
from ..run.run_statistics import mean_of
from ..run.settings_file import read_toml
from ..run.trajectory_reading import load_trajectory


@dataclass(frozen=True, eq=False)
class Window:
    """One biased run.

    Parameters
    ----------
    folder : str
        Where it is.
    bias : Bias
        Its bias.
    temperature : float
        K.
    values : numpy.ndarray, (n_frames,) float64
        The coordinate in nm or radians, from equilibration on, independent frames only.
    frames : int
        Frames of the trajectory before any were left out.
    """

    folder: str
    bias: Bias
    temperature: float
    values: np.ndarray
    frames: int


def read_window(path: str | os.PathLike[str]) -> Window:
    """A run folder as a window.

    Parameters
    ----------
    path : str or os.PathLike
        Folder of a run with one bias.

    Returns
    -------
    Window

    Raises
    ------
    RunFolderError
        If there is no run, no frame, or not one bias, or the trajectory is damaged.
    """
    folder = RunFolder(path)
    where = str(folder.path)
    if not folder.config.exists():
        raise RunFolderError(f"{where} holds no run; give folders that `run` has written", where)
    settings = read_toml(folder.config)
    biases = settings.get("bias") or []
    if len(biases) != 1:
        raise RunFolderError(f"{where} was run with {len(biases)} biases; a window of a pmf has one", where)
    trajectory = next((folder.trajectory(s) for s in TRAJECTORIES if folder.trajectory(s).exists()), None)
    if trajectory is None or not folder.start.exists():
        raise RunFolderError(f"{where} has no trajectory yet; let the run produce frames first", where)
    refuse_damaged(folder, trajectory)
    bias = Bias.parse(biases[0])
    frames = load_trajectory(trajectory, app.PDBFile(str(folder.start)).topology)
    values = coordinate(frames, bias)
    if len(values) < 2:
        raise RunFolderError(f"{where} has {len(values)} frames; a window needs more", where)
    return Window(where, bias, float(settings.get("temperature", 300.0)), independent(values, bias), len(values))


def coordinate(frames, bias: Bias) -> np.ndarray:
    """The coordinate of a bias along a trajectory of mdtraj, (n_frames,) float64 in nm or radians."""
    import mdtraj

    of = {"distance": mdtraj.compute_distances, "angle": mdtraj.compute_angles, "torsion": mdtraj.compute_dihedrals}
    return of[bias.kind](frames, [list(bias.atoms)])[:, 0].astype(np.float64)


def independent(values: np.ndarray, bias: Bias) -> np.ndarray:
    """Values from equilibration on, thinned out to independent ones; torsions count by their way from the centre.

    Parameters
    ----------
    values : numpy.ndarray, (n_frames,) float64
        nm or radians.
    bias : Bias
        What held them.

    Returns
    -------
    numpy.ndarray, (n,) float64
    """
    series = values
    if bias.is_periodic:
        off = values - bias.centre
        series = off - 2 * np.pi * np.round(off / (2 * np.pi))
    found = mean_of(series)
    kept = values[found.start :]
    count = max(1, min(len(kept), round(found.samples)))
    return kept[np.linspace(0, len(kept) - 1, count).round().astype(int)]


def check_windows(windows: Sequence[Window]) -> None:
    """Refuse windows that do not belong together.

    Raises
    ------
    RunFolderError
        If coordinates or temperatures differ, or there is one window only.
    """
    first = windows[0]
    for window in windows[1:]:
        if (window.bias.kind, window.bias.atoms) != (first.bias.kind, first.bias.atoms):
            raise RunFolderError(
                f"{window.folder} has a bias on the {window.bias.kind} of atoms {list(window.bias.atoms)}, "
                f"{first.folder} on the {first.bias.kind} of {list(first.bias.atoms)}; give windows of one coordinate",
                window.folder,
            )
        if abs(window.temperature - first.temperature) > 1e-6:
            raise RunFolderError(
                f"{window.folder} was run at {window.temperature:g} K, {first.folder} at {first.temperature:g} K; give "
                "windows of one temperature",
                window.folder,
            )
    if len(windows) < 2:
        raise RunFolderError(f"{first.folder} is one window; a pmf needs two or more that overlap", first.folder)
    twice = {Path(window.folder).resolve() for window in windows}
    if len(twice) < len(windows):
        raise RunFolderError("a window is named twice; name each once", first.folder)
