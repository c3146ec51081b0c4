"""What a run writes while it runs, beyond OpenMM's own reporters."""

from __future__ import annotations

import math
import os
from typing import IO, Any

import openmm
import openmm.app as app
import openmm.unit as unit

from .units import AVOGADRO

#: Grams per mL in 1 dalton per nm^3.
_G_PER_ML = 1e21 / AVOGADRO
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


class EnergyLog:
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
    barostat : openmm.MonteCarloBarostat, optional
        A barostat of the System; with it the instantaneous pressure is a column (two more energies per row).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        interval: int,
        system: openmm.System,
        append: bool = False,
        barostat: openmm.MonteCarloBarostat | None = None,
    ) -> None:
        self._interval = interval
        self._barostat = barostat
        self._periodic = system.usesPeriodicBoundaryConditions()
        self._mass = sum(system.getParticleMass(i)._value for i in range(system.getNumParticles()))
        self._degrees = degrees_of_freedom(system)
        self._file: IO[str] = open(path, "a" if append else "w", encoding="utf-8")
        if not append:
            self._write([*self.columns])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, units in them."""
        pressure = (_PRESSURE_COLUMN,) if self._barostat is not None else ()
        return (*_COLUMNS, *(_PERIODIC_COLUMNS if self._periodic else ()), *pressure)

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next report is due and what it needs."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": None, "include": ["energy"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Write a row.

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
        gas = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
        temperature = 2 * kinetic / (self._degrees * gas) if self._degrees else 0.0
        time = state.getTime().value_in_unit(unit.picosecond)
        row = [step, time, potential, kinetic, potential + kinetic, temperature]
        if self._periodic:
            volume = state.getPeriodicBoxVolume().value_in_unit(unit.nanometer**3)
            row += [volume, self._mass / volume * _G_PER_ML]
        if self._barostat is not None:
            pressure = self._barostat.computeCurrentPressure(simulation.context)
            row.append(pressure.value_in_unit(unit.bar) if unit.is_quantity(pressure) else float(pressure))
        self._write(row)

    def _write(self, row: list[Any]) -> None:
        self._file.write(",".join(map(str, row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
