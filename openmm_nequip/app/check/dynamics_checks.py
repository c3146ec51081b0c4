"""The time step, the energy that it conserves, and what a nanosecond costs."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import openmm
import openmm.unit as unit

from ...reporters import degrees_of_freedom
from ...units import GAS_CONSTANT, NS_PER_FS, SECONDS_PER_DAY
from ..platforms import sensible_platforms
from ..run.md_system import make_simulation
from ..run.watch.finding import CERTAINTY
from ..run.watch.vibration import check_time_step, fastest_vibration
from .checked_system import CheckedSystem
from .committee_checks import check_committee_run
from .verdict import LOOK, OK, STOP, CheckVerdict, graded

#: Time steps that are tried beside the one asked for, fs.
TIME_STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
#: Length of the runs without a thermostat, fs, and how long all of them may take, s.
LENGTH_FS, BUDGET_S = 60.0, 40.0
#: Scatter of the total energy as a part of the mean kinetic energy.
SCATTER_LOOK, SCATTER_STOP = 0.05, 0.25
_FEWEST_STEPS = 15
_RELAXATION = 100
_TIMED_STEPS = 5
#: Frames of the run with the time step asked for on which a committee is asked.
_FRAMES = 8
_KIB_PER_GIB = 1024.0**2


class _Nve(NamedTuple):
    """A run without a thermostat."""

    times_fs: np.ndarray
    energies: np.ndarray  #: total, kJ/mol, from that of the start
    scatter: float  #: as a part of the kinetic energy
    looks: list[int]  #: steps of which the positions were kept, from 0
    frames: list[np.ndarray]  #: these positions (n_particles, 3), nm


def check_dynamics(subject: CheckedSystem, facts: dict[str, Any]) -> Iterator[CheckVerdict]:
    """Fastest vibration, short runs without a thermostat, and speed.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.
    facts : dict
        Gets the series of total energies (``nve``), the largest time step that conserves energy, speeds and memory.

    Yields
    ------
    CheckVerdict
    """
    relaxed = subject.relax(_RELAXATION)
    context = subject.simulation.context
    frequency = fastest_vibration(context, subject.masses)
    own = subject.config.timestep
    finding = check_time_step(frequency, own)
    if finding is None:
        yield CheckVerdict("time step", OK, f"{own:g} fs resolves the fastest vibration", own, None)
    else:
        yield CheckVerdict("time step", STOP if finding.level == CERTAINTY else LOOK, finding.text, own, finding.limit)
    yield from _conserved(subject, relaxed, facts)
    yield _cost(subject, relaxed, facts)


def _conserved(subject: CheckedSystem, relaxed: np.ndarray, facts: dict[str, Any]) -> Iterator[CheckVerdict]:
    """Total energy for the time step asked for, and the largest one that conserves it."""
    own = subject.config.timestep
    steps = sorted({own, *TIME_STEPS})
    seconds = _seconds_per_step(subject, relaxed)
    needed = sum(max(LENGTH_FS / step, _FEWEST_STEPS) for step in steps) * seconds
    length = LENGTH_FS * min(1.0, BUDGET_S / max(needed, 1e-9))
    series: dict[float, _Nve | None] = {}
    for step in steps:
        if step > own and series and list(series.values())[-1] is None:
            series[step] = None
            continue
        series[step] = _nve(subject, relaxed, step, max(_FEWEST_STEPS, round(length / step)))
    facts["nve"] = {
        f"{step:g}": {"time_fs": run.times_fs.tolist(), "energy_kj_per_mol": run.energies.tolist(), "part": run.scatter}
        for step, run in series.items() if run is not None
    }  # fmt: skip
    good = [step for step, run in series.items() if run is not None and run.scatter <= SCATTER_LOOK]
    largest = max(good, default=None)
    facts["largest_time_step_fs"] = largest
    run = series[own]
    best = f"the largest of {', '.join(f'{step:g}' for step in steps)} fs that conserves it is {largest:g} fs" if (
        largest is not None) else "none of the time steps that were tried conserves it"  # fmt: skip
    if run is None:
        text = f"with {own:g} fs the run without a thermostat breaks down; {best}"
        yield CheckVerdict("energy conservation", STOP, text)
        return
    level = graded(run.scatter, SCATTER_LOOK, SCATTER_STOP)
    text = (
        f"with {own:g} fs the total energy scatters by {run.scatter:.1%} of the kinetic energy over "
        f"{run.times_fs[-1]:.0f} fs; {best}"
    )
    yield CheckVerdict("energy conservation", level, text, run.scatter, SCATTER_LOOK)
    yield from check_committee_run(subject, run.frames, run.times_fs[run.looks].tolist(), facts)


def _integrated(subject: CheckedSystem, relaxed: np.ndarray, step_fs: float, platform: str | None = None) -> Any:
    """A Simulation without a thermostat at the relaxed positions, with velocities of the temperature."""
    integrator = openmm.VerletIntegrator(step_fs * unit.femtosecond)
    config = subject.config if platform is None else replace(subject.config, platform=platform)
    simulation = make_simulation(config, subject.setup, integrator)
    simulation.context.setPositions(relaxed)
    # Half of the energy goes into the potential: twice the temperature at the start.
    simulation.context.setVelocitiesToTemperature(
        2 * subject.config.temperature * unit.kelvin, subject.config.seed or 1
    )
    return simulation


def _nve(subject: CheckedSystem, relaxed: np.ndarray, step_fs: float, count: int) -> _Nve | None:
    """None where it breaks down."""
    simulation = _integrated(subject, relaxed, step_fs)
    degrees = max(degrees_of_freedom(subject.setup.system), 1)
    thermal = 0.5 * degrees * GAS_CONSTANT * subject.config.temperature
    energies, frames = [], []
    asked = subject.setup.asked is not None and step_fs == subject.config.timestep
    looks = sorted(set(np.linspace(0, count - 1, _FRAMES).round().astype(int).tolist())) if asked else []
    try:
        for step in range(count):
            simulation.step(1)
            state = simulation.context.getState(energy=True, positions=step in looks)
            if step in looks:
                frames.append(np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)))
            total = state.getPotentialEnergy() + state.getKineticEnergy()
            energies.append(total.value_in_unit(unit.kilojoule_per_mole))
            if not np.isfinite(energies[-1]) or abs(energies[-1] - energies[0]) > 10 * thermal:
                return None
    except openmm.OpenMMException:
        return None
    values = np.array(energies) - energies[0]
    return _Nve(step_fs * np.arange(1, count + 1), values, float(values.std()) / thermal, looks, frames)


def _seconds_per_step(subject: CheckedSystem, relaxed: np.ndarray, platform: str | None = None) -> float:
    simulation = _integrated(subject, relaxed, min(TIME_STEPS[1], subject.config.timestep), platform)
    simulation.step(_TIMED_STEPS)
    start = time.perf_counter()
    simulation.step(_TIMED_STEPS)
    simulation.context.getState(energy=True)
    return (time.perf_counter() - start) / _TIMED_STEPS


def _cost(subject: CheckedSystem, relaxed: np.ndarray, facts: dict[str, Any]) -> CheckVerdict:
    """Speed on the platforms that work here."""
    speeds = {}
    chosen = subject.simulation.context.getPlatform().getName()
    for name in dict.fromkeys([chosen, *sensible_platforms()]):
        try:
            seconds = _seconds_per_step(subject, relaxed, name)
        except (ValueError, openmm.OpenMMException):
            continue
        speeds[name] = SECONDS_PER_DAY / seconds * subject.config.timestep * NS_PER_FS
    facts["ns_per_day"] = speeds
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_GIB
    facts["memory_gib"] = memory
    days = subject.config.steps * subject.config.timestep * NS_PER_FS / speeds[chosen]
    listed = ", ".join(f"{name} {speed:.3g}" for name, speed in sorted(speeds.items(), key=lambda pair: -pair[1]))
    text = (
        f"ns/day: {listed}; the run of {subject.config.steps} steps takes {_duration(days)} on {chosen}; "
        f"{memory:.1f} GiB of memory so far"
    )
    return CheckVerdict("cost", OK, text, speeds[chosen], None)


def _duration(days: float) -> str:
    for size, name in ((1.0, "days"), (1 / 24, "hours"), (1 / 1440, "minutes")):
        if days >= size:
            return f"{days / size:.1f} {name}"
    return f"{days * SECONDS_PER_DAY:.0f} s"
