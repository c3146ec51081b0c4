"""What a run writes while it runs, beyond OpenMM's own reporters."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from .crystal import Crystal
from .csv_table import CsvTable
from .deviation_reporter import DeviationReporter
from .progress import progress_bar
from .stress import StressCalculator, check_scaled
from .units import GAS_CONSTANT, GRAM_PER_ML_PER_DALTON_PER_NM3

__all__ = ["DeviationReporter", "EnergyLog", "ProgressReporter", "StressReporter", "degrees_of_freedom"]

_COLUMNS = (
    "step",
    "time_ps",
    "potential_energy_kj_per_mol",
    "kinetic_energy_kj_per_mol",
    "total_energy_kj_per_mol",
    "temperature_k",
)
_PERIODIC_COLUMNS = ("volume_nm3", "density_g_per_ml")
_PRESSURE_COLUMN = "pressure_bar"
_STRESS_COLUMNS = ("step", "time_ps", "volume_nm3", "pressure_bar", "pressure_potential_bar", "pressure_kinetic_bar")
_CALCULATOR_KEYWORDS = ("scaled", "platform", "strain")
#: Columns of the stress tensor, in Voigt's order, and where they stand in it.
_COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


class EnergyLog(CsvTable):
    """A CSV file with one row of energies per report, at full precision and on disk as soon as it is written.

    OpenMM's StateDataReporter rounds nothing either, but has no pressure and buffers.

    Parameters
    ----------
    path : str or path-like
        The file.
    interval : int
        Steps between rows.
    system : openmm.System
        The simulated System.
    append : bool
        Whether to go on at the end of the file, which must then have its header.
    barostat : openmm.Force, optional
        A Monte Carlo barostat of the System; with it the instantaneous pressure (the mean of the three axes) is a
        column, which takes two more energies per row.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: int,
        system: openmm.System,
        append: bool = False,
        barostat: Any = None,
    ) -> None:
        self._interval = interval
        self._barostat = barostat
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._mass = sum(system.getParticleMass(i)._value for i in range(system.getNumParticles()))
        self._degrees = degrees_of_freedom(system)
        super().__init__(path, self.columns, append)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, units in them."""
        pressure = (_PRESSURE_COLUMN,) if self._barostat is not None else ()
        return (*_COLUMNS, *(_PERIODIC_COLUMNS if self._periodic else ()), *pressure)

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next report is due and what it needs."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": ["energy"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Write a row.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state, with what was asked for.

        Raises
        ------
        FloatingPointError
            If an energy is NaN or infinite.
        OSError
            If the file cannot be written.
        """
        potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        step = simulation.currentStep
        if not math.isfinite(potential + kinetic):
            raise FloatingPointError(f"the energy is NaN or infinite at step {step}")
        temperature = 2 * kinetic / (self._degrees * GAS_CONSTANT) if self._degrees else 0.0
        time = state.getTime().value_in_unit(unit.picosecond)
        row = [step, time, potential, kinetic, potential + kinetic, temperature]
        if self._periodic:
            volume = state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3)
            row += [volume, self._mass / volume * GRAM_PER_ML_PER_DALTON_PER_NM3]
        if self._barostat is not None:
            pressure = self._barostat.computeCurrentPressure(simulation.context)
            row.append(_mean_pressure(pressure.value_in_unit(unit.bar) if unit.is_quantity(pressure) else pressure))
        self.write(row)


def _mean_pressure(found: Any) -> float:
    """A pressure from what a barostat gives: one number, one for each axis, or six components, diagonal first."""
    return float(np.atleast_1d(np.asarray(found, dtype=np.float64))[:3].mean())


class ProgressReporter:
    """A progress bar for ``simulation.step``: a widget in a notebook, a line at a terminal, nothing in a file.

    Parameters
    ----------
    reportInterval : int
        Steps between looks.
    totalSteps : int
        Steps that will be taken from now on.

    Raises
    ------
    ValueError
        If one of them is less than 1.
    """

    def __init__(self, reportInterval: int, totalSteps: int) -> None:
        for name, value in (("reportInterval", reportInterval), ("totalSteps", totalSteps)):
            if value < 1:
                raise ValueError(f"{name}={value!r}; expected a number of steps, at least 1")
        self._interval = reportInterval
        self._total = totalSteps
        self._bar: Any = None
        self._first = 0

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next report is due and what it needs; it is the first at the first step."""
        if self._bar is None:
            self._first = simulation.currentStep
            self._bar = progress_bar(total=self._total, unit="step")
        taken = simulation.currentStep - self._first
        steps = self._interval - taken % self._interval
        left = self._total - taken
        return {"steps": min(steps, left) if left > 0 else steps, "periodic": None, "include": []}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Move the bar.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state.
        """
        taken = min(simulation.currentStep - self._first, self._total)
        self._bar.update(taken - self._bar.n)
        nanoseconds = state.getTime().value_in_unit(unit.nanosecond)
        self._bar.set_postfix_str(f"{nanoseconds:.3g} ns", refresh=False)
        if taken == self._total:
            self._bar.close()


class StressReporter(CsvTable):
    """A CSV file with the instantaneous pressure and stress of a simulation; see :mod:`openmm_nequip.stress`.

    ``pressure_bar`` is the pressure of the whole System, ``pressure_potential_bar`` (-dU/dV) and
    ``pressure_kinetic_bar`` its parts. ``stress_xx_bar`` and so on are of the whole stress, kinetic part included,
    positive under tension.

    Parameters
    ----------
    path : str or path-like
        The file.
    interval : int
        Steps between rows.
    crystal : Crystal, optional
        Gives the stress in the user's frame; OpenMM's frame otherwise. The pressure is the same in both.
    tensor : bool
        Whether to write the stress; the pressure alone needs a sixth of the energies of a force field.
    append : bool
        Whether to go on at the end of the file, which must then have its header.
    calculator
        ``scaled``, ``platform`` and ``strain`` of :class:`openmm_nequip.stress.StressCalculator`.

    Raises
    ------
    TypeError
        For a keyword that nobody reads.
    ValueError
        If the interval is no positive number or ``scaled`` is unknown.
    OSError
        If the file cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: int,
        crystal: Crystal | None = None,
        tensor: bool = True,
        append: bool = False,
        **calculator: Any,
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval}: expected a number of steps of at least 1")
        self._interval = interval
        self._crystal = crystal
        self._tensor = tensor
        unknown = sorted(calculator.keys() - set(_CALCULATOR_KEYWORDS))
        if unknown:
            raise TypeError(
                f"StressReporter does not know {', '.join(unknown)}; beside its own arguments it takes those of "
                f"StressCalculator: {', '.join(_CALCULATOR_KEYWORDS)}"
            )
        check_scaled(calculator.get("scaled", "atoms"))
        self._options = calculator
        self._calculator: StressCalculator | None = None
        super().__init__(path, self.columns, append)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, units in them."""
        return (*_STRESS_COLUMNS, *((f"stress_{name}_bar" for name in _COMPONENTS) if self._tensor else ()))

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next report is due and what it needs."""
        steps = self._interval - simulation.currentStep % self._interval
        # Constrained atoms stay in one piece where nothing is wrapped.
        return {"steps": steps, "periodic": False, "include": ["positions", "velocities"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Write a row.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state, with what was asked for.

        Raises
        ------
        ValueError
            At the first row, if the System is not periodic.
        NonFiniteError
            If the model's answer is not finite.
        OSError
            If the file cannot be written.
        """
        if self._calculator is None:
            self._calculator = StressCalculator(simulation.system, **self._options)
        parameters = dict(simulation.context.getParameters())
        stress = self._calculator.compute(state, parameters, self._tensor, simulation.context)
        time = state.getTime().value_in_unit(unit.picosecond)
        volume = state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3)
        row = [simulation.currentStep, time, volume, stress.pressure, stress.potentialPressure]
        row.append(float(-np.trace(stress.kinetic) / 3))
        if self._tensor:
            tensor = stress.total if self._crystal is None else self._crystal.tensorToUser(stress.total)
            row += [float(tensor[place]) for place in _COMPONENTS.values()]
        self.write(row)


def degrees_of_freedom(system: openmm.System) -> int:
    """Degrees of freedom that carry kinetic energy: those of particles with mass, less constraints and centre of mass.

    Parameters
    ----------
    system : openmm.System
        Any System.
    """
    massive = [system.getParticleMass(i)._value > 0 for i in range(system.getNumParticles())]
    constrained = 0
    for i in range(system.getNumConstraints()):
        first, second, _ = system.getConstraintParameters(i)
        constrained += massive[first] or massive[second]
    center = any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    return max(3 * sum(massive) - constrained - (3 if center else 0), 0)
