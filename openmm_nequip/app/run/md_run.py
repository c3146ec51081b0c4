"""A run from start to finish: minimise, equilibrate, produce, summarise; or go on where it was left."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import openmm
import openmm.unit as unit
import torch

from ...errors import UnphysicalError
from . import trajectory_files
from .breakdown import save_failure
from .equilibrate import equilibrate
from .failures import is_disk_error
from .finish import Finished, finish
from .interrupt import StopRequest
from .md_system import Setup, make_setup
from .production import produce
from .restart_settings import settings_of_restart
from .run_config import RunConfig
from .run_folder import PRODUCTION, RunFolder
from .run_lock import locked
from .run_record import RunRecord
from .setting_values import checked
from .still_tasks import energy_of_structure, optimize_structure
from .system_models import with_models_inside
from .watch.finding import Record

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What came of a run."""

    summary: dict[str, Any]  #: what is in ``summary.json``
    signal: int | None  #: the signal that ended it early, None if it reached its last step


def start_run(config: RunConfig) -> Outcome:
    """Run from the structure.

    Parameters
    ----------
    config : RunConfig
        Settings.

    Returns
    -------
    Outcome

    Raises
    ------
    FileExistsError
        If the output folder holds another run.
    RunFolderError
        If another process has just taken it.
    ValueError, ImportError
        For bad input, before anything is written.
    SimulationError
        If the simulation fails or the disk is full; the message says what was saved.
    """
    folder = RunFolder(config.output or "")
    folder.require_possible()  # before the minute that solvation or a compilation may take
    if folder.holds_run:
        folder.claim()
    trajectory_files.check_format(config.trajectory)
    with _RunLog() as log:
        setup = make_setup(config)
        folder.make()
        with locked(folder.path):
            folder.claim()  # another process may have come first
            log.open(folder.text_log)
            record = RunRecord.new(config, folder)
            record.write_text(folder.config, config.to_toml(folder.path))
            _write_start(setup, folder, record)
            return _finished(_run(config, setup, folder), record)


def _write_start(setup: Setup, folder: RunFolder, record: RunRecord) -> None:
    """System and structure of a run, where they are not there as they should be; they belong together."""
    if record.has_start:
        return
    positions = setup.structure.positions_nm * unit.nanometer
    folder.write_structure(folder.start, setup.structure.topology, positions)
    record.note(folder.start)
    text = openmm.XmlSerializer.serialize(setup.system)
    try:
        record.write_text(folder.system, with_models_inside(text))
    except OSError as error:
        if not is_disk_error(error):
            raise
        logger.warning("%s names the model by its path, for want of space: %s", folder.system, error.strerror)
        record.write_text(folder.system, text)


def _finished(outcome: Outcome, record: RunRecord) -> Outcome:
    """Take the digests of what a run left behind; a full disk costs them, not the outcome."""
    try:
        record.note_results()
    except OSError as error:
        logger.warning("the digests of the results were not written: %s", error.strerror or error)
    return outcome


def restart_run(output: str, given: Mapping[str, Any]) -> Outcome:
    """Go on from the last checkpoint.

    Parameters
    ----------
    output : str
        Folder of the run.
    given : mapping of str to value
        Settings the user stated now: those of :data:`.restart_settings.CHANGEABLE` may differ from before, and files
        may have moved.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If there is no run, or another setting was to change.
    RunFolderError
        If another process has the folder, a file that the run needs is gone, damaged or another, or frames are there
        without a checkpoint to go on from.
    SimulationError
        As :func:`start_run`.
    """
    folder = RunFolder(checked("output", output, {"kind": "path"}))
    folder.require_run()
    with locked(folder.path), _RunLog() as log:
        now, record = settings_of_restart(folder, given)
        log.open(folder.text_log)
        folder.require_checkpoint()
        folder.sweep()
        # A run that was killed before anything was computed begins anew.
        begun = folder.latest_stage() is not None or record.has_start
        setup = make_setup(now, folder.steps_done(), folder if begun else None)
        record.forget_results()
        record.write_text(folder.config, now.to_toml(folder.path))
        _write_start(setup, folder, record)
        return _finished(_run(now, setup, folder), record)


class _RunLog(logging.Handler):
    """Keeps what the package logs: in memory until there is a folder, then in its ``run.log``."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._waiting: list[str] = []
        self._file: IO[str] | None = None
        self._package = logging.getLogger(__package__.split(".")[0])

    def open(self, path: Path) -> None:
        """Go on at the end of this file."""
        self._file = open(path, "a", encoding="utf-8")
        self._write("".join(self._waiting))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record or keep it."""
        line = self.format(record) + "\n"
        if self._file is None:
            self._waiting.append(line)
        else:
            self._write(line)

    def _write(self, text: str) -> None:
        # A full disk is reported once, where it stops the run.
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.write(text)
                self._file.flush()

    def __enter__(self) -> _RunLog:
        self._package.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._package.removeHandler(self)
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(config: RunConfig, setup: Setup, folder: RunFolder) -> Outcome:
    stage = folder.latest_stage()
    record = Record(folder.findings)
    with contextlib.closing(setup), StopRequest() as stop, _threads(config.threads):
        try:
            if config.task != "md":
                return Outcome(_without_dynamics(config, setup, folder, stop), stop.signal)
            start = None
            if stage != PRODUCTION:
                start = equilibrate(config, setup, folder, stop, record)
                if start is None:
                    return _stopped_early(stop)
            done = produce(config, setup, folder, stop, start, record)
        except UnphysicalError as error:
            if error.state is None:
                raise
            logger.error("%s", error)
            done = Finished(error.state, stopped=str(error), produced=error.stage == PRODUCTION)
        except Exception as error:
            failure = save_failure(error, config, folder)
            if failure is error:
                raise
            raise failure from error
    try:
        summary = finish(config, setup, folder, done, record, stop.signal is not None)
    except OSError as error:
        failure = save_failure(error, config, folder)
        if failure is error:
            raise
        raise failure from error
    return Outcome(summary, stop.signal)


def _without_dynamics(config: RunConfig, setup: Setup, folder: RunFolder, stop: StopRequest) -> dict[str, Any]:
    if config.task == "energy":
        return energy_of_structure(config, setup, folder)
    return optimize_structure(config, setup, folder, stop)


def _stopped_early(stop: StopRequest) -> Outcome:
    logger.warning("stopped before production; continue with --restart")
    return Outcome({"interrupted": True, "steps": 0}, stop.signal or signal.SIGINT)
