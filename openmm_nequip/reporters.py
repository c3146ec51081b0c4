"""What a run writes while it runs, beyond OpenMM's own reporters."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from .crystal import Crystal
from .deviation import Deviation, DeviationCalculator
from .deviation_limits import check_limits, in_ev_per_angstrom
from .distinct_frames import DistinctFrames
from .errors import DeviationError
from .progress import progress_bar
from .stress import StressCalculator, check_scaled
from .units import (
    GAS_CONSTANT,
    GRAM_PER_ML_PER_DALTON_PER_NM3,
    KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM,
    KJ_PER_MOL_PER_EV,
)

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


class _Table:
    """A CSV file of which every row is on disk as soon as it is written."""

    def __init__(self, path: str | os.PathLike[str], columns: Iterable[str], append: bool) -> None:
        self._file: IO[str] = open(path, "a" if append else "w", encoding="utf-8")
        if not append:
            self._write(columns)

    def _write(self, row: Iterable[Any]) -> None:
        self._file.write(",".join(map(str, row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class EnergyLog(_Table):
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
        self._write(row)


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


class StressReporter(_Table):
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
        stress = self._calculator.compute(state, parameters, self._tensor)
        time = state.getTime().value_in_unit(unit.picosecond)
        volume = state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3)
        row = [simulation.currentStep, time, volume, stress.pressure, stress.potentialPressure]
        row.append(float(-np.trace(stress.kinetic) / 3))
        if self._tensor:
            tensor = stress.total if self._crystal is None else self._crystal.tensorToUser(stress.total)
            row += [float(tensor[place]) for place in _COMPONENTS.values()]
        self._write(row)


class DeviationReporter(_Table):
    """Asks all models of a committee every so many steps how far they are from each other.

    A CSV file gets the deviation of each look: the largest over atoms of the standard deviation of the force among the
    models, see :mod:`openmm_nequip.evaluate.spread`. Frames above a first limit are written whole, for relabelling, no
    two of them alike; above a second limit the simulation ends.

    Parameters
    ----------
    path : str or path-like
        The CSV file.
    interval : int
        Steps between looks.
    selectAbove : float or openmm.unit.Quantity, optional
        Deviation above which a frame is kept; eV/Å if a plain number.
    stopAbove : float or openmm.unit.Quantity, optional
        Deviation above which :class:`openmm_nequip.errors.DeviationError` is raised; the frame is kept.
    frames : str or path-like
        Extended XYZ file for these frames.
    system : openmm.System, optional
        Where the committee is, if not in the simulation's System: the same with ``backend="PythonForce"``, for one with
        a TorchForce.
    append : bool
        Whether to go on at the end of both files.

    Raises
    ------
    ValueError
        If the interval is no positive number, or the limits are wrong or in the wrong order.
    OSError
        If the file cannot be opened.
    """

    columns = (
        "step", "time_ps", "deviation_ev_per_angstrom", "deviation_atom", "mean_deviation_ev_per_angstrom",
        "energy_spread_ev", "atomic_energy_spread_ev",
    )  # fmt: skip

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: int,
        selectAbove: Any = None,
        stopAbove: Any = None,
        frames: str | os.PathLike[str] = "selected.extxyz",
        system: openmm.System | None = None,
        append: bool = False,
    ) -> None:
        if isinstance(interval, bool) or interval < 1:
            raise ValueError(f"interval={interval}: expected a number of steps of at least 1")
        self._interval = interval
        self._select = in_ev_per_angstrom("selectAbove", selectAbove)
        self._stop = in_ev_per_angstrom("stopAbove", stopAbove)
        check_limits(("selectAbove", "stopAbove"), self._select, self._stop)
        self._path, self._system, self._append = frames, system, append
        if not append and (self._select or self._stop):
            Path(frames).unlink(missing_ok=True)  # of an earlier simulation, as the table is
        self._calculator: DeviationCalculator | None = None
        self._frames: DistinctFrames | None = None
        super().__init__(path, self.columns, append)

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next report is due and what it needs."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Look, write a row, and keep the frame if it is above the limit.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state, with what was asked for.

        Raises
        ------
        DeviationError
            Above ``stopAbove``.
        CommitteeError
            At the first look, if there is no committee that can be asked.
        NonFiniteError
            If an answer is not finite.
        OSError
            If a file cannot be written.
        """
        system = simulation.system if self._system is None else self._system
        if self._calculator is None:
            self._calculator = DeviationCalculator(system)
        positions = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        box = None
        if system.usesPeriodicBoundaryConditions():
            box = np.array(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
        found = self._calculator.compute(positions, box)
        time = state.getTime().value_in_unit(unit.picosecond)
        atomic = math.nan if found.atomic_energy is None else found.atomic_energy / KJ_PER_MOL_PER_EV
        spread = found.energy / KJ_PER_MOL_PER_EV
        self._write([simulation.currentStep, time, found.largest, found.atom, found.mean, spread, atomic])
        stops = self._stop is not None and found.largest > self._stop
        if stops or (self._select is not None and found.largest > self._select):
            self._keep(simulation, positions, box, found, time)
        if stops:
            raise DeviationError(
                f"stopped, for the models of the committee disagree: the force on atom {found.atom} differs by "
                f"{found.largest:.4g} eV/Å (standard deviation) at step {simulation.currentStep}, more than the limit "
                f"of {self._stop:g}; the frame is in {self._path}. Label such frames and train on them, or raise the "
                "limit if the model is trusted there",
                [found.atom],
                found.largest,
                float(self._stop or 0.0),
            )

    def _keep(
        self, simulation: app.Simulation, positions: np.ndarray, box: np.ndarray | None, found: Deviation, time: float
    ) -> None:
        if self._frames is None:
            self._frames = DistinctFrames(self._path, simulation.topology, found.atoms, self._append)
        described = np.zeros(len(positions), dtype=np.int64)
        described[found.atoms] = 1
        self._frames.add(
            positions,
            box,
            {
                "step": simulation.currentStep, "time_ps": time, "deviation_ev_per_angstrom": found.largest,
                "deviation_atom": found.atom, "energy_spread_ev": found.energy / KJ_PER_MOL_PER_EV,
            },
            {
                "atom_deviation_ev_per_angstrom": found.forces / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM,
                "model_atom": described,
            },
        )  # fmt: skip


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
