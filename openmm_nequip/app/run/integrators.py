"""The integrators and barostats that a run's settings name."""

from __future__ import annotations

import math
from typing import Any

import openmm
import openmm.unit as unit

from ...csvr import csvr_integrator
from ...reporters import degrees_of_freedom
from .run_config import RunConfig

#: Steps between attempts to change the box.
_BAROSTAT_INTERVAL = 25
_FS_PER_PS = 1000.0
#: Classes of barostat that a run adds.
BAROSTAT_CLASSES = (
    openmm.MonteCarloBarostat, openmm.MonteCarloAnisotropicBarostat, openmm.MonteCarloMembraneBarostat,
    openmm.MonteCarloFlexibleBarostat,
)  # fmt: skip


def stage_seed(config: RunConfig, offset: int) -> int:
    """A seed for one of several generators; OpenMM reads 0 as a wish for a random one."""
    return ((config.seed or 0) + offset) % (2**31 - 1) or 1


def make_integrator(config: RunConfig, thermostat: bool, offset: int = 1) -> openmm.Integrator:
    """Langevin dynamics (middle scheme) with a thermostat, leapfrog Verlet without.

    Parameters
    ----------
    config : RunConfig
        Settings.
    thermostat : bool
        Whether temperature is controlled.
    offset : int
        Added to the run's seed, so that the stages of a run draw different numbers.

    Returns
    -------
    openmm.Integrator
    """
    step = config.timestep * unit.femtosecond
    if not thermostat:
        return openmm.VerletIntegrator(step)
    integrator = openmm.LangevinMiddleIntegrator(
        config.temperature * unit.kelvin, config.friction / unit.picosecond, step
    )
    integrator.setRandomNumberSeed(stage_seed(config, offset))
    return integrator


def make_production_integrator(config: RunConfig, system: openmm.System, offset: int = 2) -> openmm.Integrator:
    """The integrator of production: that of the ensemble and thermostat asked for.

    Parameters
    ----------
    config : RunConfig
        Settings.
    system : openmm.System
        What is simulated, complete: its constraints and its CMMotionRemover count.
    offset : int
        Added to the run's seed.

    Returns
    -------
    openmm.Integrator
        Leapfrog Verlet for nve, and where nothing can move.
    """
    if config.ensemble == "nve" or config.thermostat == "langevin":
        return make_integrator(config, config.ensemble != "nve", offset)
    if degrees_of_freedom(system) == 0:
        return make_integrator(config, False)
    kelvin, step = config.temperature * unit.kelvin, config.timestep * unit.femtosecond
    time = config.thermostat_time * unit.femtosecond
    if config.thermostat == "csvr":
        return csvr_integrator(system, kelvin, time, step, stage_seed(config, offset))
    frequency = 2 * math.pi / config.thermostat_time * _FS_PER_PS / unit.picosecond
    return openmm.NoseHooverIntegrator(kelvin, frequency, step, config.thermostat_chain)


def thermostat_rate(config: RunConfig) -> float | None:
    """How fast the thermostat of production gives and takes energy, 1/ps; None without one."""
    if config.ensemble == "nve":
        return None
    return config.friction if config.thermostat == "langevin" else _FS_PER_PS / config.thermostat_time


def make_barostat(config: RunConfig, offset: int) -> Any:
    """The barostat of an npt run.

    Parameters
    ----------
    config : RunConfig
        Settings.
    offset : int
        Added to the run's seed.

    Returns
    -------
    openmm.Force
        One of :data:`BAROSTAT_CLASSES`.
    """
    pressure, kelvin = config.pressure * unit.bar, config.temperature * unit.kelvin
    if config.barostat in ("anisotropic", "z"):
        each = openmm.Vec3(config.pressure, config.pressure, config.pressure) * unit.bar
        sides = config.barostat == "anisotropic"
        barostat: Any = openmm.MonteCarloAnisotropicBarostat(each, kelvin, sides, sides, True, _BAROSTAT_INTERVAL)
    elif config.barostat in ("semiisotropic", "xy"):
        kind = openmm.MonteCarloMembraneBarostat
        height = kind.ZFree if config.barostat == "semiisotropic" else kind.ZFixed
        barostat = kind(pressure, 0.0, kelvin, kind.XYIsotropic, height, _BAROSTAT_INTERVAL)
    elif config.barostat == "flexible":
        barostat = openmm.MonteCarloFlexibleBarostat(pressure, kelvin, _BAROSTAT_INTERVAL)
    else:
        barostat = openmm.MonteCarloBarostat(pressure, kelvin, _BAROSTAT_INTERVAL)
    barostat.setRandomNumberSeed(stage_seed(config, offset))
    return barostat
