"""Checks of a run's numbers: temperature against what its fluctuation allows, and drift of the total energy."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2

from ....units import GAS_CONSTANT
from . import plausible
from .finding import Finding, graded


class TemperatureCheck:
    """Kinetic energy against its distribution at the temperature asked for: of 2K/kT, chi-square.

    Parameters
    ----------
    temperature : float
        K.
    degrees : int
        Degrees of freedom.
    thermostat : bool
        Whether the temperature is controlled.
    relaxed_at : float
        Time in ps from which on the heat that the start gives off should be gone; infinite if nothing takes it.
    """

    def __init__(self, temperature: float, degrees: int, thermostat: bool, relaxed_at: float) -> None:
        self._temperature, self._degrees = temperature, degrees
        self._thermostat, self._relaxed_at = thermostat, relaxed_at
        # Quantiles once: a look takes no time.
        improbable = plausible.TEMPERATURE_IMPROBABLE
        self._highest = float(chi2.isf(improbable, degrees)) / degrees if degrees else math.inf
        self._lowest = float(chi2.ppf(improbable, degrees)) / degrees if degrees else 0.0

    def look(self, kinetic: float, time: float) -> Finding | None:
        """An improbable temperature.

        Parameters
        ----------
        kinetic : float
            Kinetic energy in kJ/mol.
        time : float
            Time since the start of the stage, ps.

        Returns
        -------
        Finding or None
        """
        if self._degrees == 0:
            return None
        now = 2 * kinetic / (GAS_CONSTANT * self._degrees)
        relaxed = time >= self._relaxed_at
        asked = self._temperature if self._thermostat else plausible.TEMPERATURE_FREE * self._temperature
        allowed = asked if relaxed else asked + plausible.TEMPERATURE_OF_RELAXATION
        too_high = now > self._highest * allowed
        too_low = self._thermostat and relaxed and now < self._lowest * asked
        if not (too_high or too_low):
            return None
        spread = self._temperature * np.sqrt(2 / self._degrees)
        edge = max(plausible.TEMPERATURE_CERTAIN * self._temperature, allowed)
        certain = bool(too_high and self._thermostat and now > edge)
        text = (
            f"{now:.0f} K where {self._temperature:g} K was asked for; with {self._degrees} degrees of freedom it "
            f"fluctuates by {spread:.0f} K; " + ("heat comes from somewhere" if too_high else "heat gets lost")
        )
        return Finding("temperature", text, float(now), float(edge if certain else allowed), graded(certain))


class DriftCheck:
    """Total energy of a simulation without a thermostat.

    Parameters
    ----------
    temperature : float
        That of the start, K.
    degrees : int
        Degrees of freedom.
    """

    def __init__(self, temperature: float, degrees: int) -> None:
        self._thermal = 0.5 * degrees * GAS_CONSTANT * temperature
        # Sums of t, E, t², tE and E² from the first look on: a slope without keeping what it is of.
        self._sums = np.zeros(5)
        self._looks = 0
        self._first: tuple[float, float] | None = None

    def look(self, time: float, total: float) -> Finding | None:
        """A drift that has become visible.

        Parameters
        ----------
        time : float
            ps.
        total : float
            Total energy in kJ/mol.

        Returns
        -------
        Finding or None
        """
        if self._first is None:
            self._first = (time, total)
        t, e = time - self._first[0], total - self._first[1]
        self._sums += (t, e, t * t, t * e, e * e)
        self._looks += 1
        if self._looks < plausible.ENERGY_LOOKS or self._thermal == 0:
            return None
        mean_t, mean_e, tt, te, ee = self._sums / self._looks
        variance_t = tt - mean_t**2
        if variance_t <= 0:
            return None
        slope = (te - mean_t * mean_e) / variance_t
        noise = np.sqrt(max(ee - mean_e**2 - slope**2 * variance_t, 0.0))
        change = abs(slope) * t
        part = change / self._thermal
        # A slope that the scatter about it explains is none.
        if part < plausible.ENERGY_SUSPICIOUS or change < 2 * noise:
            return None
        text = (
            f"the total energy has drifted by {slope * t:.1f} kJ/mol in {t:.3g} ps, {part:.0%} of the kinetic energy "
            "at the temperature asked for; a time step too large, or forces that are not those of the energy"
        )
        certain = bool(part > plausible.ENERGY_CERTAIN)
        edge = self._thermal * (plausible.ENERGY_CERTAIN if certain else plausible.ENERGY_SUSPICIOUS)
        return Finding("energy", text, float(change), float(edge), graded(certain))


def mean_temperature(mean: float, error: float, samples: float, asked: float) -> Finding | None:
    """The mean temperature of a run with a thermostat, if it is not the thermostat's.

    Parameters
    ----------
    mean, error : float
        Mean temperature and its standard error, K.
    samples : float
        Independent samples in it.
    asked : float
        The thermostat's, K.

    Returns
    -------
    Finding or None
    """
    allowed = max(plausible.MEAN_TEMPERATURE_ERRORS * error, plausible.MEAN_TEMPERATURE_PART * asked)
    if samples < plausible.MEAN_TEMPERATURE_SAMPLES or abs(mean - asked) <= allowed:
        return None
    text = (
        f"on average {mean:.1f} ± {error:.1f} K, and the thermostat was set to {asked:g} K; a time step too large, "
        "forces that are not those of the energy, or friction too weak for them"
    )
    return Finding("temperature", text, mean, asked + np.sign(mean - asked) * allowed)
