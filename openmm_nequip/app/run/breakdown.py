"""What is saved of a run that fails, and the error that tells it."""

from __future__ import annotations

import contextlib
import logging

import openmm
import openmm.app as app

from ...errors import NonFiniteError, SimulationError
from ...kept_error import error_behind
from ..error_text import describe_error
from . import run_analysis, trajectory_files
from .failures import atoms_at_fault, is_disk_error, name_atoms, not_finite_rows
from .run_config import RunConfig
from .run_folder import RunFolder

logger = logging.getLogger(__name__)


def broken_down(
    error: Exception,
    topology: app.Topology,
    folder: RunFolder,
    good: openmm.State | None,
    current: openmm.State | None,
) -> SimulationError:
    """Save the frames around a breakdown: NaN or infinite positions, energies or forces.

    Parameters
    ----------
    error : Exception
        What told of it.
    topology : openmm.app.Topology
        The atoms.
    folder : RunFolder
        Where the run writes.
    good : openmm.State or None
        Last State whose positions were finite.
    current : openmm.State or None
        The State after the failure.

    Returns
    -------
    SimulationError
        What to raise: it says what happened, to which atoms, and what was saved.
    """
    saved = save_frames(topology, folder, good, current)
    behind = error_behind(error)
    text = str(behind) if isinstance(behind, NonFiniteError) else describe_error(error)
    positions = None if current is None else current.getPositions(asNumpy=True)._value
    bad = not_finite_rows(positions, topology.getNumAtoms())
    stated = atoms_at_fault(error, topology)
    named = ""
    if bad:
        named = f" (atoms {name_atoms(topology, bad)})"
    elif stated:
        named = f" ({name_atoms(topology, stated)})"
    frames = f"; the last good frame is in {saved[0]}" if saved else ""
    advice = "; check the time step, the start, and whether the model knows such structures"
    if isinstance(behind, NonFiniteError) and behind.indices:
        advice = ""  # its message ends with it
    return SimulationError(f"the simulation broke down: {text}{named}{frames}{advice}", bad or stated)


def save_frames(
    topology: app.Topology, folder: RunFolder, good: openmm.State | None, current: openmm.State | None
) -> list[str]:
    """Write the frames around a failure.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms.
    folder : RunFolder
        Where the run writes.
    good, current : openmm.State or None
        The last State that seemed good, and the one after the failure.

    Returns
    -------
    list of str
        Paths of the frames that could be written.
    """
    saved = []
    for path, state in ((folder.failed, good), (folder.failed_current, current)):
        if state is None:
            continue
        try:
            folder.write_structure(path, topology, state.getPositions(), state.getPeriodicBoxVectors())
            saved.append(str(path))
        except (OSError, ValueError) as reason:  # coordinates that do not fit the format, NaN, a full disk
            logger.debug("%s was not written: %s", path, reason)
    return saved


def save_failure(error: Exception, config: RunConfig, folder: RunFolder) -> Exception:
    """Leave the files of a run that failed in a state from which it can go on.

    Parameters
    ----------
    error : Exception
        What stopped it.
    config : RunConfig
        Settings.
    folder : RunFolder
        Where the run writes.

    Returns
    -------
    Exception
        What to raise instead: a :class:`openmm_nequip.errors.SimulationError`, or the error itself if it is one
        already or none of a simulation.
    """
    # A write that failed leaves half a frame or row; cutting it off needs no space.
    path = folder.trajectory(config.trajectory)
    with contextlib.suppress(OSError):
        trajectory_files.truncate(path, trajectory_files.count_frames(path))
    if isinstance(error, OSError) and is_disk_error(error):
        with contextlib.suppress(OSError):
            run_analysis.truncate_log(folder.log, 2**62)
        stage = folder.latest_stage()
        resume = "there is no checkpoint yet" if stage is None else "the last checkpoint is whole"
        return SimulationError(
            f"cannot write to {folder.path}: {error.strerror or error}; {resume} and {path.name} has "
            f"{trajectory_files.count_frames(path)} readable frames: free some space, then continue with --restart"
        )
    if isinstance(error, openmm.OpenMMException):
        return SimulationError(describe_error(error))
    return error
