"""A run from start to finish: minimise, equilibrate, produce, summarise; or go on where it was left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import openmm
import openmm.unit as unit
import torch

from ...errors import UnphysicalError
from ...models import locate
from ..model_facts import installed_versions
from . import trajectory_files
from .breakdown import save_failure
from .equilibrate import equilibrate
from .finish import Finished, finish
from .interrupt import StopRequest
from .md_system import Setup, make_setup
from .production import produce
from .run_config import RunConfig, make_config, option_name, read_toml
from .run_folder import PRODUCTION, RunFolder
from .watch.finding import Record

logger = logging.getLogger(__name__)

#: Settings that a restart may change: they decide how far and on what to run, not what is simulated.
CHANGEABLE = (
    "steps", "output", "platform", "device", "compile", "kernels", "tables", "modifiers", "cuda_graphs", "threads",
    "checkpoint_interval",
)  # fmt: skip


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
    ValueError, ImportError
        For bad input, before anything is written.
    SimulationError
        If the simulation fails or the disk is full; the message says what was saved.
    """
    folder = RunFolder(config.output or "")
    if folder.holds_run:
        folder.claim()  # raises before the minute that a compilation may take
    trajectory_files.check_format(config.trajectory)
    with _RunLog() as log:
        setup = make_setup(config)
        folder.claim()
        log.open(folder.text_log)
        folder.write_text(folder.config, config.to_toml())
        folder.write_json(folder.provenance, _provenance(config))
        folder.write_text(folder.system, openmm.XmlSerializer.serialize(setup.system))
        positions = setup.structure.positions_nm * unit.nanometer
        folder.write_structure(folder.start, setup.structure.topology, positions)
        return _run(config, setup, folder)


def restart_run(output: str, given: Mapping[str, Any]) -> Outcome:
    """Go on from the last checkpoint.

    Parameters
    ----------
    output : str
        Folder of the run.
    given : mapping of str to value
        Settings the user stated now: those of :data:`CHANGEABLE` may differ from before.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If there is no run, another setting was to change, or a file it was started from has changed.
    SimulationError
        As :func:`start_run`.
    """
    folder = RunFolder(output)
    folder.require_run()
    before = make_config(read_toml(folder.config))
    now = make_config(before.as_settings(), {**given, "output": output})
    for name in now.as_settings().keys() | before.as_settings().keys():
        if name not in CHANGEABLE and getattr(now, name) != getattr(before, name):
            raise ValueError(
                f"--restart: {option_name(name)} was {getattr(before, name)!r} and cannot become "
                f"{getattr(now, name)!r}; only {', '.join(map(option_name, CHANGEABLE))} may change: start another run"
            )
    _check_unchanged(now, folder)
    with _RunLog() as log:
        log.open(folder.text_log)
        setup = make_setup(now, folder.steps_done(), folder)
        folder.write_text(folder.config, now.to_toml())
        return _run(now, setup, folder)


def _provenance(config: RunConfig) -> dict[str, Any]:
    return {
        "model_sha256": locate(config.model or "").sha256,
        "structure_sha256": _sha256(config.structure or ""),
        "versions": installed_versions(),
        "command": sys.argv,
    }


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _check_unchanged(config: RunConfig, folder: RunFolder) -> None:
    known = json.loads(folder.provenance.read_text(encoding="utf-8"))
    locate(config.model or "", trusted=known["model_sha256"])
    path = config.structure or ""
    if not Path(path).is_file():
        raise ValueError(f"--restart: the structure file {path} is gone; put it back")
    if _sha256(path) != known["structure_sha256"]:
        raise ValueError(f"--restart: the structure file {path} is not the one the run was started from; put it back")


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
    with StopRequest() as stop, _threads(config.threads):
        try:
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


def _stopped_early(stop: StopRequest) -> Outcome:
    logger.warning("stopped before production; continue with --restart")
    return Outcome({"interrupted": True, "steps": 0}, stop.signal or signal.SIGINT)
