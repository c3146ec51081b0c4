"""Before production: minimise, see whether the time step fits, and take steps until the system has settled."""

from __future__ import annotations

import logging

import numpy as np
import openmm
import openmm.unit as unit

from ...crystal import reduce_cell
from ...errors import UnphysicalError
from ...reporters import degrees_of_freedom
from ...units import GAS_CONSTANT
from ..structures.structure_files import read_structure
from ..structures.velocity_files import read_velocities
from .breakdown import save_frames
from .equilibration import BLOCK_STEPS, RestSampler, scale_velocities, set_temperature, words_for
from .interrupt import StopRequest
from .md_system import EQUILIBRATION_FRICTION, Setup, make_integrator, make_simulation
from .run_config import RunConfig
from .run_folder import EQUILIBRATION, RunFolder
from .setting_values import AUTO
from .stepping import StageRunner, minimize
from .watch.finding import NOTE, Finding, Record
from .watch.run_watch import RunWatch
from .watch.vibration import check_time_step, fastest_vibration

logger = logging.getLogger(__name__)


def equilibrate(
    config: RunConfig, setup: Setup, folder: RunFolder, stop: StopRequest, record: Record
) -> openmm.State | None:
    """Bring a system to the temperature, and to the pressure, that its production begins with.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is simulated.
    folder : RunFolder
        Of the run; a checkpoint of this stage is gone on from.
    stop : StopRequest
        Ends it early.
    record : Record
        Gets what is found.

    Returns
    -------
    openmm.State or None
        Where production starts; None if a stop was asked for.

    Raises
    ------
    SimulationError
        If the model does not bear the structure, or the simulation goes wrong.
    """
    integrator = make_integrator(config, thermostat=True)
    integrator.setFriction(max(config.friction, EQUILIBRATION_FRICTION) / unit.picosecond)
    simulation = make_simulation(config, setup, integrator)
    context = simulation.context
    watch = RunWatch(config, setup, record, EQUILIBRATION)
    logger.info("platform %s", context.getPlatform().getName())
    if folder.latest_stage() == EQUILIBRATION:
        folder.load_checkpoint(simulation, EQUILIBRATION)
        record.forget_after(EQUILIBRATION, simulation.currentStep)
    else:
        context.setPositions(setup.structure.positions_nm * unit.nanometer)
        if config.minimize and not minimize(simulation, folder, stop):
            return None
        _look_at_time_step(config, setup, folder, context, watch)
        set_velocities(config, setup, context)
    sampler = RestSampler(setup.system, config.temperature, setup.barostat is not None)
    simulation.reporters.extend([sampler, watch])
    automatic = config.equilibrate == AUTO
    last = max(2 * BLOCK_STEPS, config.steps) if automatic else int(config.equilibrate)
    if simulation.currentStep < last:
        enough = (lambda: bool(sampler.rest().reached)) if automatic else None
        if not StageRunner(simulation, config, folder, EQUILIBRATION, last, stop, enough).advance():
            return None
        rest = sampler.rest()
        logger.info("equilibration: %s", rest.words)
        words = words_for(rest, simulation.currentStep, automatic)
        if words is not None:
            watch.note([Finding("equilibration", words, 0.0, 0.0, NOTE)], simulation.currentStep)
    if config.ensemble == "nve" and (config.velocities is None or last > 0):
        _start_without_thermostat(config, setup, context, sampler.potential)
    return context.getState(positions=True, velocities=True)


def set_velocities(config: RunConfig, setup: Setup, context: openmm.Context) -> None:
    """Give a Context the velocities that a run starts with: those of a file, or drawn ones.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is simulated.
    context : openmm.Context
        With positions.

    Raises
    ------
    StructureError
        If the file cannot be read, or has other atoms.
    """
    if config.velocities is None:
        start = config.temperature if config.start_temperature is None else config.start_temperature
        if start > 0:
            set_temperature(context, start, config.seed or 0)
        return
    found = read_velocities(config.velocities, setup.system.getNumParticles())
    stated = read_structure(config.structure or "", config.box, config.frame, elements=False, slabs=True).box_nm
    if stated is not None and setup.structure.box_nm is not None:
        found, _ = reduce_cell(found, stated)  # turned as the positions were
    context.setVelocities(found)
    context.applyVelocityConstraints(context.getIntegrator().getConstraintTolerance())


def _look_at_time_step(
    config: RunConfig, setup: Setup, folder: RunFolder, context: openmm.Context, watch: RunWatch
) -> None:
    system = setup.system
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    frequency = fastest_vibration(context, masses, config.seed or 0)
    if frequency > 0:
        logger.info("fastest vibration: period %.2f fs", 2000 * np.pi / frequency)
    found = check_time_step(frequency, config.timestep)
    try:
        watch.note([] if found is None else [found], 0)
    except UnphysicalError as error:
        error.state, error.stage = context.getState(positions=True, velocities=True), EQUILIBRATION
        save_frames(setup.structure.topology, folder, None, error.state)
        raise


def _start_without_thermostat(
    config: RunConfig, setup: Setup, context: openmm.Context, potential: float | None
) -> None:
    """Velocities with which a run at constant energy has the temperature asked for, on average."""
    thermal = 0.5 * degrees_of_freedom(setup.system) * GAS_CONSTANT * config.temperature
    scale_velocities(context, config.temperature, None if potential is None else potential + thermal)
