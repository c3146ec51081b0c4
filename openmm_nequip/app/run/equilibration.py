"""Whether a simulation has come to rest: temperature at the thermostat's, energy and density without a trend."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...reporters import degrees_of_freedom
from ...series import Mean, mean_of
from ...units import GAS_CONSTANT

#: Steps between samples, and between questions whether it is enough.
SAMPLE_STEPS = 20
BLOCK_STEPS = 500
#: Fewest samples that say anything, and fewest independent ones of energy and density after their start.
_FEWEST_SAMPLES = 40
_FEWEST_INDEPENDENT = 5
_FEWEST_DENSITIES = 10
#: The mean temperature is right within so many of its errors, or this part of it.
_ERRORS = 3.0
_PART = 0.02


class Rest(NamedTuple):
    """What a series says of equilibrium."""

    reached: bool | None  #: None where there is too little to tell
    words: str  #: what is missing, or what was reached


class RestSampler:
    """An OpenMM reporter that keeps temperature, potential energy and volume in memory.

    Parameters
    ----------
    system : openmm.System
        The simulated System.
    temperature : float
        The thermostat's, K.
    barostat : bool
        Whether the volume changes.
    """

    def __init__(self, system: openmm.System, temperature: float, barostat: bool) -> None:
        self._degrees = degrees_of_freedom(system)
        self._asked = temperature
        self._barostat = barostat
        self._rows: list[tuple[float, float, float]] = []

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next sample is due and what it needs."""
        return {"steps": SAMPLE_STEPS - simulation.currentStep % SAMPLE_STEPS, "periodic": False, "include": ["energy"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Take a sample.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state.
        """
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        volume = state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3) if self._barostat else 1.0
        self._rows.append((kinetic, potential, volume))

    @property
    def potential(self) -> float | None:
        """Mean potential energy of the second half, kJ/mol; None for too few samples."""
        series = self._series(1)
        return None if len(series) < _FEWEST_SAMPLES else float(series[len(series) // 2 :].mean())

    def volume(self) -> Mean:
        """Mean volume of the second half, nm^3; there must be samples."""
        series = self._series(2)
        return mean_of(series[len(series) // 2 :], discard=False)

    def _series(self, column: int) -> np.ndarray:
        return np.array([row[column] for row in self._rows], dtype=np.float64)

    def rest(self) -> Rest:
        """Whether the samples so far say that equilibrium is reached."""
        n = len(self._rows)
        if n < _FEWEST_SAMPLES:
            return Rest(None, f"{n} samples say nothing yet")
        if self._degrees == 0:
            return Rest(True, "nothing moves")
        temperature = self._series(0) * 2 / (self._degrees * GAS_CONSTANT)
        late = mean_of(temperature[n // 2 :], discard=False)
        allowed = max(_ERRORS * late.error, _PART * self._asked)
        if not abs(late.mean - self._asked) <= allowed:
            return Rest(False, f"the temperature is {late.mean:.0f} K and not yet {self._asked:g} K")
        settled = [("potential energy", mean_of(self._series(1)), _FEWEST_INDEPENDENT)]
        if self._barostat:
            settled.append(("density", mean_of(1 / self._series(2)), _FEWEST_DENSITIES))
        for name, mean, fewest in settled:
            if not _is_settled(mean, n, fewest):
                return Rest(False, f"the {name} is still on its way")
        return Rest(True, f"temperature {late.mean:.0f} ± {late.error:.0f} K")


def _is_settled(mean: Mean, n: int, fewest: int) -> bool:
    return mean.start <= n // 2 and mean.samples >= fewest


def set_temperature(context: openmm.Context, temperature: float, seed: int, energy: float | None = None) -> None:
    """Draw velocities, then scale them to the temperature asked for, exactly.

    Parameters
    ----------
    context : openmm.Context
        With positions.
    temperature : float
        K.
    seed : int
        Of the velocities.
    energy : float, optional
        Total energy in kJ/mol to give the context instead, where that asks for half to twice the kinetic energy:
        a simulation without a thermostat then runs at this temperature, whatever potential energy it starts at.
    """
    context.setVelocitiesToTemperature(temperature * unit.kelvin, seed)
    scale_velocities(context, temperature, energy)


def scale_velocities(context: openmm.Context, temperature: float, energy: float | None = None) -> None:
    """Scale velocities to a temperature or total energy; parameters as :func:`set_temperature`."""
    system = context.getSystem()
    degrees = degrees_of_freedom(system)
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    state = context.getState(velocities=True, energy=True)
    velocities = np.asarray(state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond))
    if masses.sum() > 0 and any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces()):
        moving = masses > 0
        velocities[moving] -= (masses[:, None] * velocities).sum(axis=0) / masses.sum()
        context.setVelocities(velocities)
        state = context.getState(energy=True)
    kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    wanted = 0.5 * degrees * GAS_CONSTANT * temperature
    if energy is not None:
        rest = energy - state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        wanted = min(max(rest, 0.5 * wanted), 2.0 * wanted)
    if kinetic > 0 and wanted > 0:
        context.setVelocities(velocities * np.sqrt(wanted / kinetic))


def words_for(rest: Rest, steps: int, automatic: bool) -> str | None:
    """A plain word where equilibrium was not reached.

    Parameters
    ----------
    rest : Rest
        What the samples say.
    steps : int
        Steps of equilibration.
    automatic : bool
        Whether the length was the run's own choice, which more production steps make longer.

    Returns
    -------
    str or None
    """
    if rest.reached is not False:
        return None
    cure = "give more --steps or a number to --equilibrate" if automatic else "give more, or --equilibrate auto"
    return f"not equilibrated after {steps} steps: {rest.words}; {cure}"
