"""Taking steps: in small portions, with a progress bar, checkpoints, and care for what goes wrong."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from tqdm.auto import tqdm

from . import run_analysis, trajectory_files
from .failures import SimulationError, culprits, first_line, is_disk_error, is_not_finite, name_atoms, name_stated
from .interrupt import StopRequest
from .md_system import has_plugin_force
from .run_config import RunConfig
from .run_folder import RunFolder

logger = logging.getLogger(__name__)

#: Seconds between looks at the progress bar and at wishes to stop.
_PORTION_SECONDS = 0.25
_MINIMIZER_ITERATIONS = 500
_MINIMIZER_TOLERANCE = 10.0  # kJ/mol/nm
_SECONDS_PER_DAY = 86400.0


class NotFiniteError(RuntimeError):
    """A simulation with NaN or infinite numbers, and the last frame without.

    Parameters
    ----------
    message : str
        What happened.
    good : openmm.State or None
        Last State whose positions were finite.
    current : openmm.State or None
        The State after the failure.
    """

    def __init__(self, message: str, good: openmm.State | None, current: openmm.State | None) -> None:
        super().__init__(message)
        self.good = good
        self.current = current


class Stepper:
    """Steps of one stage of a run.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        At the step where it begins or goes on.
    config : RunConfig
        Settings.
    folder : RunFolder
        Where checkpoints go.
    stage : str
        Name of the stage.
    last : int
        Step at which the stage ends.
    stop : StopRequest
        Ends the stage early.
    """

    def __init__(
        self, simulation: app.Simulation, config: RunConfig, folder: RunFolder, stage: str, last: int, stop: StopRequest
    ) -> None:
        self._simulation = simulation
        self._config = config
        self._folder = folder
        self._stage = stage
        self._last = last
        self._stop = stop
        self._good: openmm.State | None = None

    def advance(self) -> bool:
        """Step to the end of the stage or until a stop is asked for, then write a checkpoint.

        Returns
        -------
        bool
            Whether the end was reached.

        Raises
        ------
        NotFiniteError
            If a number is NaN or infinite.
        OSError
            If something cannot be written.
        """
        simulation, every = self._simulation, self._config.checkpoint_interval
        portion, saved = 1, None
        began, first = time.perf_counter(), simulation.currentStep
        self._remember()
        with tqdm(
            total=self._last, initial=first, desc=self._stage, unit="step", disable=None, dynamic_ncols=True
        ) as bar:
            while simulation.currentStep < self._last and not self._stop:
                step = simulation.currentStep
                count = min(portion, self._last - step, every - step % every)
                seconds = self._take(count)
                portion = max(1, min(4 * portion, int(count * _PORTION_SECONDS / max(seconds, 1e-6))))
                bar.update(count)
                elapsed = time.perf_counter() - began
                speed = (simulation.currentStep - first) * self._config.timestep * 1e-6 / elapsed * _SECONDS_PER_DAY
                bar.set_postfix_str(f"{speed:.3g} ns/day", refresh=False)
                if simulation.currentStep % every == 0:
                    saved = simulation.currentStep
                    self._folder.save_checkpoint(simulation, self._stage)
                    logger.debug("checkpoint at step %d, %.3g ns/day", saved, speed)
        if saved != simulation.currentStep:
            self._folder.save_checkpoint(simulation, self._stage)
        done = simulation.currentStep - first
        logger.info("%s: %d steps in %.1f s", self._stage, done, time.perf_counter() - began)
        return simulation.currentStep >= self._last

    def _take(self, count: int) -> float:
        """Take steps and remember where they led; the seconds they took."""
        began = time.perf_counter()
        try:
            self._simulation.step(count)
            self._remember()
        except (openmm.OpenMMException, ValueError, ArithmeticError) as error:
            if not is_not_finite(error):
                raise
            raise NotFiniteError(first_line(error), self._good, self._current()) from error
        return time.perf_counter() - began

    def _remember(self) -> None:
        state = self._simulation.context.getState(positions=True)
        if not np.isfinite(state.getPositions(asNumpy=True)._value).all():
            raise FloatingPointError(f"positions are NaN or infinite at step {self._simulation.currentStep}")
        self._good = state

    def _current(self) -> openmm.State | None:
        try:
            return self._simulation.context.getState(positions=True)
        except openmm.OpenMMException:
            return None


class _MinimizerWatch(openmm.MinimizationReporter):
    """Progress and the wish to stop, for OpenMM's minimiser."""

    def __init__(self, bar: Any, stop: StopRequest) -> None:
        super().__init__()
        self._bar = bar
        self._stop = stop

    def report(self, iteration: int, x: Any, grad: Any, args: Any) -> bool:
        """OpenMM's call after each iteration; True ends the minimisation."""
        self._bar.update(max(iteration - self._bar.n, 0))
        self._bar.set_postfix_str(f"{args['system energy']:.3f} kJ/mol", refresh=False)
        return bool(self._stop)


def minimize(simulation: app.Simulation, stop: StopRequest) -> bool:
    """Relax the positions.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With positions.
    stop : StopRequest
        Ends it early.

    Returns
    -------
    bool
        False if a stop was asked for.

    Raises
    ------
    NotFiniteError
        If the model does not bear the structure.
    """
    before = simulation.context.getState(positions=True)
    try:
        start = _energy(simulation)
        with tqdm(desc="minimization", unit="iteration", disable=None, dynamic_ncols=True) as bar:
            # With a reporter in Python OpenMM holds the interpreter's lock.
            watch = None if has_plugin_force(simulation.system) else _MinimizerWatch(bar, stop)
            simulation.minimizeEnergy(_MINIMIZER_TOLERANCE, _MINIMIZER_ITERATIONS, watch)
        end = _energy(simulation)
    except openmm.OpenMMException as error:
        if not is_not_finite(error):
            raise
        raise NotFiniteError(first_line(error), before, None) from error
    logger.info("minimization: %.3f -> %.3f kJ/mol", start, end)
    return not stop


def _energy(simulation: app.Simulation) -> float:
    state = simulation.context.getState(energy=True)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))


def save_failure(error: Exception, config: RunConfig, topology: app.Topology, folder: RunFolder) -> Exception:
    """Save what can be saved of a run that failed.

    Parameters
    ----------
    error : Exception
        What stopped it.
    config : RunConfig
        Settings.
    topology : openmm.app.Topology
        The atoms.
    folder : RunFolder
        Where the run writes.

    Returns
    -------
    Exception
        What to raise instead: a :class:`SimulationError` whose message says what happened and what was saved, or the
        error itself if it is none of a simulation.
    """
    # A write that failed leaves half a frame or row; cutting it off needs no space.
    path = folder.trajectory(config.trajectory)
    with contextlib.suppress(OSError):
        trajectory_files.truncate(path, trajectory_files.count_frames(path))
    if isinstance(error, NotFiniteError):
        return SimulationError(_save_frames(error, topology, folder))
    if is_disk_error(error):
        with contextlib.suppress(OSError):
            run_analysis.truncate_log(folder.log, 2**62)
        stage = folder.latest_stage()
        resume = "there is no checkpoint yet" if stage is None else "the last checkpoint is whole"
        return SimulationError(
            f"cannot write to {folder.path}: {error.strerror or error}; {resume} and {path.name} has "  # type: ignore[attr-defined]
            f"{trajectory_files.count_frames(path)} readable frames: free some space, then continue with --restart"
        )
    if isinstance(error, openmm.OpenMMException):
        return SimulationError(first_line(error))
    return error


def _save_frames(error: NotFiniteError, topology: app.Topology, folder: RunFolder) -> str:
    saved = []
    current = None if error.current is None else error.current.getPositions(asNumpy=True)._value
    for path, state in ((folder.failed, error.good), (folder.failed_current, error.current)):
        if state is None:
            continue
        try:
            folder.write_structure(path, topology, state.getPositions(), state.getPeriodicBoxVectors())
            saved.append(str(path))
        except (OSError, ValueError) as reason:  # coordinates that do not fit the format, NaN, a full disk
            logger.debug("%s was not written: %s", path, reason)
    text = str(error).removeprefix("NonFiniteError: ")
    bad = culprits(topology, current)
    named = f" (atoms {name_atoms(topology, bad)})" if len(bad) else name_stated(topology, text)
    frames = f"; the last good frame is in {saved[0]}" if saved else ""
    advice = "" if "check" in text else "; check the time step, the start, and whether the model knows such structures"
    return f"the simulation broke down: {text}{named}{frames}{advice}"
