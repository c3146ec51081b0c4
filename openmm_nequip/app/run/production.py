"""Production: steps that are reported, watched and kept."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import openmm
import openmm.app as app

from ...distinct_frames import keep_until
from ...reporters import EnergyLog, StressReporter
from ...upstream.openmm_reporters import close_reporter
from . import run_analysis, trajectory_files
from .finish import Finished
from .fresh_lists import likeness
from .hdf5_trajectory import Hdf5Frames, renew
from .integrators import make_production_integrator
from .interrupt import StopRequest
from .md_system import Setup, has_plugin_force, make_simulation
from .molecule_placement import FrameReporter, MoleculePlacement
from .run_config import RunConfig
from .run_folder import PRODUCTION, RunFolder
from .stepping import StageRunner
from .trajectory_reading import load_last_frame
from .watch.committee_watch import CommitteeWatch
from .watch.finding import Record
from .watch.run_watch import RunWatch

logger = logging.getLogger(__name__)


def produce(
    config: RunConfig, setup: Setup, folder: RunFolder, stop: StopRequest, start: openmm.State | None, record: Record
) -> Finished:
    """Production, from a State or else the checkpoint.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is simulated.
    folder : RunFolder
        Where the run writes.
    stop : StopRequest
        Ends it early.
    start : openmm.State or None
        Where equilibration ended.
    record : Record
        Gets what the watch finds.

    Returns
    -------
    Finished

    Raises
    ------
    SimulationError
        If the simulation goes wrong.
    OSError
        If something cannot be written.
    """
    integrator = make_production_integrator(config, setup.system)
    simulation = make_simulation(config, setup, integrator)
    if start is None:
        folder.load_checkpoint(simulation, PRODUCTION)
        _mend_trajectory(config, setup, folder, simulation.currentStep)
        record.forget_after(PRODUCTION, simulation.currentStep)
        logger.info("continuing from step %d, %s", simulation.currentStep, likeness(simulation.context))
    else:
        simulation.context.setPeriodicBoxVectors(*start.getPeriodicBoxVectors())
        simulation.context.setPositions(start.getPositions())
        simulation.context.setVelocities(start.getVelocities())
        folder.save_checkpoint(simulation, PRODUCTION)
    before, began = simulation.currentStep, time.perf_counter()
    if before < config.steps:
        with _reporters(config, setup, folder, simulation, record):
            simulation.reporters.append(RunWatch(config, setup, record, PRODUCTION))
            StageRunner(simulation, config, folder, PRODUCTION, config.steps, stop).advance()
    else:
        logger.info("nothing left to do: %d steps of %d are done", before, config.steps)
    seconds = time.perf_counter() - began
    periodic = setup.structure.box_nm is not None
    final = simulation.context.getState(positions=True, velocities=True, enforcePeriodicBox=periodic)
    return Finished(final, simulation.currentStep - before, seconds)


def _mend_trajectory(config: RunConfig, setup: Setup, folder: RunFolder, step: int) -> None:
    """Go on with a trajectory that can be read; one that cannot is kept under another name."""
    path, reason = folder.trajectory(config.trajectory), ""
    if not path.exists():
        return
    if path.suffix == ".h5":
        try:
            renew(path, step // config.report_interval, folder.noted.get(path.name), setup.structure.topology)
        except ValueError as error:
            reason = str(error)
    elif path.suffix == ".xtc" and path.name in folder.differing:
        reason = "damaged XTC files can end the program that reads them"
    if reason:
        aside = folder.set_aside(path)
        logger.warning(
            "%s is damaged: %s; it was renamed to %s, which nothing of this run will read, and frames from here on go "
            "to a new file",
            path,
            reason,
            aside.name,
        )


@contextlib.contextmanager
def _reporters(
    config: RunConfig, setup: Setup, folder: RunFolder, simulation: app.Simulation, record: Record
) -> Iterator[None]:
    """Trajectory and log, cut back to the present step and closed at the end."""
    path = folder.trajectory(config.trajectory)
    expected = simulation.currentStep // config.report_interval
    frames = trajectory_files.truncate(path, expected)
    every = config.log_interval or config.report_interval
    expected_rows = simulation.currentStep // every
    rows = run_analysis.truncate_log(folder.log, expected_rows)
    if frames < expected or max(rows, 0) < expected_rows:
        logger.warning(
            "the run is at step %d, yet %s has %d frames of %d and %s %d rows of %d; what is missing stays missing",
            simulation.currentStep, path.name, frames, expected, folder.log.name, max(rows, 0), expected_rows,
        )  # fmt: skip
    with contextlib.ExitStack() as stack:
        periodic = setup.structure.box_nm is not None
        placement = _placement(config, setup, folder, frames) if periodic else None
        writer = trajectory_files.make_reporter(path, config.report_interval, frames > 0, periodic)
        if isinstance(writer, Hdf5Frames):
            folder.note_content(path, writer.content)
        frame_reporter = FrameReporter(writer, placement)
        stack.callback(frame_reporter.close)
        log = EnergyLog(folder.log, every, setup.system, rows >= 0, _gauge(setup))
        stack.callback(close_reporter, log)
        simulation.reporters.extend([frame_reporter, log])
        if config.stress_interval is not None and periodic:
            done = run_analysis.truncate_log(folder.stress, simulation.currentStep // config.stress_interval)
            stress = StressReporter(folder.stress, config.stress_interval, append=done >= 0)
            stack.callback(close_reporter, stress)
            simulation.reporters.append(stress)
        if setup.asked is not None:
            watch = _committee_watch(config, folder, setup.asked, simulation.currentStep, record)
            stack.callback(close_reporter, watch)
            simulation.reporters.append(watch)
        yield


def _committee_watch(
    config: RunConfig, folder: RunFolder, asked: Any, step: int, record: Record
) -> CommitteeWatch:
    """Looks at a committee, its files cut back to the present step."""
    every = config.deviation_interval or config.report_interval
    rows = run_analysis.truncate_log(folder.deviation, step // every)
    keep_until(folder.selected, step)
    return CommitteeWatch(
        record, asked, folder.deviation, every, config.deviation_select, config.deviation_stop, folder.selected,
        append=rows >= 0,
    )  # fmt: skip


def _gauge(setup: Setup) -> Any:
    """Who tells the pressure: the barostat, if it can, or the ranks."""
    if setup.ranks is not None and setup.barostat is not None:
        from ..engines.lammps.ranked_simulation import PressureGauge

        return PressureGauge()
    return None if has_plugin_force(setup.system) else setup.barostat


def _placement(config: RunConfig, setup: Setup, folder: RunFolder, frames: int) -> MoleculePlacement:
    """Placement that goes on from the last frame there is, else from the start."""
    placement = MoleculePlacement(setup.molecules.labels, config.wrap)
    last = setup.structure.positions_nm
    if frames:
        last = load_last_frame(folder.trajectory(config.trajectory), setup.structure.topology)
    placement.remember(last)
    return placement
