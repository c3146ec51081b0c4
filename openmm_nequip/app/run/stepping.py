"""Taking steps: in small portions, with a progress bar, checkpoints, and care for what goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...errors import NonFiniteError, RankError, UnphysicalError
from ...progress import progress_bar
from ...units import NS_PER_FS, SECONDS_PER_DAY
from .breakdown import broken_down, save_frames
from .equilibration import BLOCK_STEPS
from .failures import is_not_finite
from .interrupt import StopRequest
from .md_system import has_plugin_force
from .run_config import RunConfig
from .run_folder import RunFolder

logger = logging.getLogger(__name__)

#: Seconds between looks at the progress bar and at wishes to stop.
_PORTION_SECONDS = 0.25
_MINIMIZER_ITERATIONS = 500
_MINIMIZER_TOLERANCE = 10.0  # kJ/mol/nm


class StageRunner:
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
    enough : callable, optional
        Asked every :data:`openmm_nequip.app.run.equilibration.BLOCK_STEPS` steps whether the stage may end before.
    """

    def __init__(
        self,
        simulation: app.Simulation,
        config: RunConfig,
        folder: RunFolder,
        stage: str,
        last: int,
        stop: StopRequest,
        enough: Callable[[], bool] | None = None,
    ) -> None:
        self.simulation = simulation
        self._config = config
        self._folder = folder
        self._stage = stage
        self.last = last
        self.stop = stop
        self._enough = enough
        self._good: openmm.State | None = None

    def advance(self) -> bool:
        """Step to the end of the stage or until a stop is asked for, then write a checkpoint.

        Returns
        -------
        bool
            Whether the end was reached.

        Raises
        ------
        SimulationError
            If a number is NaN or infinite; the frames around it are saved.
        UnphysicalError
            If the watch is certain that the simulation has gone wrong; so are the frames around that.
        OSError
            If something cannot be written.
        """
        simulation, every = self.simulation, self._config.checkpoint_interval
        portion, saved = 1, None
        began, first = time.perf_counter(), simulation.currentStep
        self._remember()
        with progress_bar(
            total=self.last, initial=first, desc=self._stage, unit="step", dynamic_ncols=True
        ) as bar:
            while simulation.currentStep < self.last and not self.stop:
                step = simulation.currentStep
                count = min(portion, self.last - step, every - step % every)
                if self._enough is not None:
                    count = min(count, BLOCK_STEPS - step % BLOCK_STEPS)
                seconds = self._take(count)
                portion = max(1, min(4 * portion, int(count * _PORTION_SECONDS / max(seconds, 1e-6))))
                bar.update(count)
                elapsed = time.perf_counter() - began
                simulated = (simulation.currentStep - first) * self._config.timestep * NS_PER_FS
                speed = simulated / elapsed * SECONDS_PER_DAY
                bar.set_postfix_str(f"{speed:.3g} ns/day", refresh=False)
                if simulation.currentStep % every == 0:
                    saved = simulation.currentStep
                    self._folder.save_checkpoint(simulation, self._stage)
                    logger.debug("checkpoint at step %d, %.3g ns/day", saved, speed)
                if self._enough is not None and simulation.currentStep % BLOCK_STEPS == 0 and self._enough():
                    self.last = simulation.currentStep
        if saved != simulation.currentStep:
            self._folder.save_checkpoint(simulation, self._stage)
        done = simulation.currentStep - first
        logger.info("%s: %d steps in %.1f s", self._stage, done, time.perf_counter() - began)
        return simulation.currentStep >= self.last

    def _take(self, count: int) -> float:
        """Take steps and remember where they led; the seconds they took."""
        began = time.perf_counter()
        try:
            self.simulation.step(count)
            self._remember()
        except UnphysicalError as error:
            context = self.simulation.context
            error.state, error.stage = context.getState(positions=True, velocities=True), self._stage
            save_frames(self.simulation.topology, self._folder, self._good, error.state)
            raise
        except RankError as error:
            saved = save_frames(self.simulation.topology, self._folder, self._good, None)
            frames = f"; the last good frame is in {saved[0]}" if saved else ""
            raise RankError(f"{error}{frames}", error.indices, error.rank) from error
        except (openmm.OpenMMException, ValueError, ArithmeticError, NonFiniteError) as error:
            if not is_not_finite(error):
                raise
            topology = self.simulation.topology
            raise broken_down(error, topology, self._folder, self._good, self._current()) from error
        return time.perf_counter() - began

    def _remember(self) -> None:
        state = self.simulation.context.getState(positions=True)
        if not np.isfinite(state.getPositions(asNumpy=True)._value).all():
            raise FloatingPointError(f"positions are NaN or infinite at step {self.simulation.currentStep}")
        self._good = state

    def _current(self) -> openmm.State | None:
        try:
            return self.simulation.context.getState(positions=True)
        except (openmm.OpenMMException, RankError):
            return None


class _MinimizerWatch(openmm.MinimizationReporter):
    """Progress and the wish to stop, for OpenMM's minimiser."""

    def __init__(self, bar: Any, stop: StopRequest) -> None:
        super().__init__()
        self._bar = bar
        self.stop = stop

    def report(self, iteration: int, x: Any, grad: Any, args: Any) -> bool:
        """OpenMM's call after each iteration; True ends the minimisation."""
        self._bar.update(max(iteration - self._bar.n, 0))
        self._bar.set_postfix_str(f"{args['system energy']:.3f} kJ/mol", refresh=False)
        return bool(self.stop)


def minimize(simulation: app.Simulation, folder: RunFolder, stop: StopRequest) -> bool:
    """Relax the positions.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With positions.
    folder : RunFolder
        Where the structure goes if the model does not bear it.
    stop : StopRequest
        Ends it early.

    Returns
    -------
    bool
        False if a stop was asked for.

    Raises
    ------
    SimulationError
        If the model does not bear the structure.
    """
    before = simulation.context.getState(positions=True)
    try:
        start = _energy(simulation)
        with progress_bar(desc="minimization", unit="iteration", dynamic_ncols=True) as bar:
            # With a reporter in Python OpenMM holds the interpreter's lock.
            watch = None if has_plugin_force(simulation.system) else _MinimizerWatch(bar, stop)
            simulation.minimizeEnergy(_MINIMIZER_TOLERANCE, _MINIMIZER_ITERATIONS, watch)
        end = _energy(simulation)
    except (openmm.OpenMMException, NonFiniteError) as error:
        if not is_not_finite(error):
            raise
        raise broken_down(error, simulation.topology, folder, before, None) from error
    logger.info("minimization: %.3f -> %.3f kJ/mol", start, end)
    return not stop


def _energy(simulation: app.Simulation) -> float:
    state = simulation.context.getState(energy=True)
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
