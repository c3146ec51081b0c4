"""The density of a box of solvent just made: too low at its faces, and let go to that of the force field's water."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...progress import progress_bar
from ...units import GRAM_PER_ML_PER_DALTON_PER_NM3
from ..platforms import on_fastest
from .equilibration import RestSampler, set_temperature
from .run_config import RunConfig

logger = logging.getLogger(__name__)

#: Rigid water and rigid bonds to hydrogen bear this time step.
_STEP_FS = 2.0
_STEPS_PER_PS = round(1000 / _STEP_FS)
_FRICTION = 5.0  # 1/ps
_BAROSTAT_INTERVAL = 10
#: The first part shrinks the box; it may lose a fifth of its width, and OpenMM wants it twice as wide as the cutoff.
_SHRINKING_PS = 3.0
_SHRINKING_PART = 0.8
#: The second part measures the volume, which fluctuates, until its mean is known so well, and at most so long.
_MEASURING_PART = 0.93
_ENOUGH = 0.005
_LONGEST_PS = 40.0

#: Makes a System with non-bonded settings that suit a box (3, 3) in nm.
SystemMaker = Callable[[np.ndarray], openmm.System]


def relax_density(
    config: RunConfig, topology: app.Topology, make_system: SystemMaker, positions: np.ndarray, box: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let the volume of a solvated box find its mean by the force field alone, at the run's temperature and pressure.

    Water is put round a solute in pieces of a bulk box, and molecules that meet at the faces are left out: some per
    cent of a large box are missing, a fifth of a small one.

    Parameters
    ----------
    config : RunConfig
        Settings.
    topology : openmm.app.Topology
        All atoms.
    make_system : callable
        The force field's System for a box.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64
        Rows are the box vectors in nm.

    Returns
    -------
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm, molecules whole.
    box : numpy.ndarray, (3, 3) float64
        With the mean volume.
    """
    system = make_system(_SHRINKING_PART * box)
    masses = sum(system.getParticleMass(i)._value for i in range(system.getNumParticles()))
    before = masses / _volume(box) * GRAM_PER_ML_PER_DALTON_PER_NM3
    with progress_bar(total=round(_SHRINKING_PS + _LONGEST_PS), desc="density", unit="ps") as bar:
        shrunk = _sample(_simulation(config, topology, system), (positions, box), config, _SHRINKING_PS, bar)
        system = make_system(_MEASURING_PART * shrunk.box)
        found = _sample(_simulation(config, topology, system), shrunk[:2], config, _LONGEST_PS, bar)
    after = masses / found.volume * GRAM_PER_ML_PER_DALTON_PER_NM3
    spent = shrunk.picoseconds + found.picoseconds
    logger.info("density of the solvated box: %.3f -> %.3f g/mL in %d ps of the force field", before, after, spent)
    factor = (found.volume / _volume(found.box)) ** (1 / 3)
    new = found.positions.copy()
    for members in found.molecules:
        new[members] += (factor - 1.0) * found.positions[members].mean(axis=0)
    return new, factor * found.box


class _Sampled(NamedTuple):
    """Where a part ended, and the mean volume (nm^3) of its second half."""

    positions: np.ndarray
    box: np.ndarray
    volume: float
    molecules: list[list[int]]
    picoseconds: int


def _sample(
    simulation: app.Simulation, start: tuple[np.ndarray, np.ndarray], config: RunConfig, longest_ps: float, bar: Any
) -> _Sampled:
    """Constant pressure, until the mean volume is known or the time is over."""
    context = simulation.context
    context.setPeriodicBoxVectors(*[openmm.Vec3(*vector) for vector in start[1]])
    context.setPositions(start[0])
    simulation.minimizeEnergy(maxIterations=200)
    set_temperature(context, config.temperature, _seed(config, 2))
    sampler = RestSampler(simulation.system, config.temperature, barostat=True)
    simulation.reporters.append(sampler)
    for _ in range(round(longest_ps)):
        simulation.step(_STEPS_PER_PS)
        bar.update()
        if sampler.rest().reached and sampler.volume().error_part < _ENOUGH:
            break
    state = context.getState(positions=True)
    positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    box = np.asarray(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
    molecules = [list(members) for members in context.getMolecules()]
    return _Sampled(positions, box, sampler.volume().mean, molecules, simulation.currentStep // _STEPS_PER_PS)


def _simulation(config: RunConfig, topology: app.Topology, system: openmm.System) -> app.Simulation:
    """With a thermostat and a barostat; on one thread where the run has one, as it then repeats itself bit for bit."""
    temperature = config.temperature * unit.kelvin
    barostat = openmm.MonteCarloBarostat(config.pressure * unit.bar, temperature, _BAROSTAT_INTERVAL)
    barostat.setRandomNumberSeed(_seed(config, 0))
    system.addForce(barostat)
    step = _STEP_FS * unit.femtosecond
    integrator = openmm.LangevinMiddleIntegrator(temperature, _FRICTION / unit.picosecond, step)
    integrator.setRandomNumberSeed(_seed(config, 1))

    def on(name: str, properties: dict[str, str]) -> app.Simulation:
        return app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName(name), properties)

    if config.threads != 1:
        return on_fastest(lambda name: on(name, {}))
    return on("CPU", {"Threads": "1", "DeterministicForces": "true"})


def _seed(config: RunConfig, offset: int) -> int:
    return ((config.seed or 0) + 10 + offset) % (2**31 - 1) or 1


def _volume(box: np.ndarray) -> float:
    return abs(float(np.linalg.det(box)))
