"""The watch of one stage of a run: an OpenMM reporter that looks at frames and energies."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ....errors import UnphysicalError
from ....reporters import degrees_of_freedom
from ..integrators import thermostat_rate
from ..md_system import EQUILIBRATION_FRICTION, Setup
from ..run_config import RunConfig
from ..run_folder import EQUILIBRATION, PRODUCTION
from ..setting_values import AUTO
from . import plausible
from .energy_checks import DriftCheck, TemperatureCheck
from .finding import CERTAINTY, NOTE, Finding, Record
from .structure_checks import Atoms, BondCheck, ContactCheck, LostAtomsCheck

logger = logging.getLogger(__name__)

#: Steps between looks at most; frames farther apart than that get looks between them.
MOST_STEPS = 1000
#: Fewest steps between looks at all pairs, which take a microsecond an atom; the first look and the last step have one.
PAIR_STEPS = 500


class RunWatch:
    """Looks at a simulation every so many steps.

    A suspicion is logged and recorded; a certainty ends the run.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is simulated, with the start.
    record : Record
        Gets the findings.
    stage : str
        Of the run; what a thermostat must keep is asked of production alone.
    """

    def __init__(self, config: RunConfig, setup: Setup, record: Record, stage: str) -> None:
        self.interval = min(config.report_interval, MOST_STEPS)
        self._record = record
        self._stage = stage
        structure = setup.structure
        atoms = Atoms.of(structure.topology)
        self._box = structure.box_nm is not None
        start = structure.positions_nm, structure.box_nm
        self._bonds = None if config.reactive else BondCheck(atoms, *start)
        self._pair_checks = ContactCheck(atoms, config.reactive, self._box), LostAtomsCheck(atoms, *start)
        self._looked_at_pairs: int | None = None
        self._last = config.steps if stage == PRODUCTION else None
        degrees = degrees_of_freedom(setup.system)
        thermostat = config.ensemble != "nve" or stage == EQUILIBRATION
        relaxed_at = _relaxed_at(config, record, stage, thermostat)
        self._temperature = TemperatureCheck(config.temperature, degrees, thermostat, relaxed_at)
        self._drift = None if thermostat else DriftCheck(config.temperature, degrees)

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next look is due and what it needs."""
        steps = self.interval - simulation.currentStep % self.interval
        return {"steps": steps, "periodic": False, "include": ["positions", "energy"]}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Look.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state, positions not wrapped.

        Raises
        ------
        UnphysicalError
            If the run cannot be right any more.
        """
        positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
        potential = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        if not np.isfinite(positions).all() or not np.isfinite(kinetic + potential):
            return  # what is not finite is told by what stops it
        vectors = state.getPeriodicBoxVectors(asNumpy=True) if self._box else None
        box = None if vectors is None else np.asarray(vectors.value_in_unit(unit.nanometer))
        found = [] if self._bonds is None else [self._bonds.look(positions, box)]
        step = simulation.currentStep
        if self._looked_at_pairs is None or step - self._looked_at_pairs >= PAIR_STEPS or step == self._last:
            self._looked_at_pairs = step
            found += [check.look(positions, box) for check in self._pair_checks]
        time = state.getTime().value_in_unit(unit.picosecond)
        found.append(self._temperature.look(kinetic, time))
        if self._drift is not None:
            found.append(self._drift.look(time, kinetic + potential))
        self.note([finding for finding in found if finding is not None], step)

    def note(self, found: list[Finding], step: int) -> None:
        """Record findings and log what is new of them.

        Parameters
        ----------
        found : list of Finding
            As checks made them.
        step : int
            Step of the stage.

        Raises
        ------
        UnphysicalError
            If one of them is certain.
        """
        for finding in found:
            if self._record.add(finding, self._stage, step):
                level = logging.INFO if finding.level == NOTE else logging.WARNING
                logger.log(level, "%s", self._record.line_of(finding.kind))
        certain = [finding for finding in found if finding.level == CERTAINTY]
        if certain:
            worst = certain[0]
            raise UnphysicalError(
                f"stopped, for the simulation has gone wrong: {worst.kind} ({self._stage}, step {step}): {worst.text}",
                worst.atoms,
            )


def _relaxed_at(config: RunConfig, record: Record, stage: str, thermostat: bool) -> float:
    """Time of the stage in ps at which a thermostat has taken the heat of the start, or brought what was missing."""
    strong = max(config.friction, EQUILIBRATION_FRICTION)
    missing = plausible.RELAXATION_TIMES
    if stage == EQUILIBRATION:
        return missing / strong
    if config.equilibrate != AUTO:
        missing -= int(config.equilibrate) * config.timestep * 1e-3 * strong
    elif not any(found.kind == "equilibration" for found in record.findings):
        missing = 0.0
    if missing <= 0.0:
        return 0.0
    rate = thermostat_rate(config) if thermostat else None
    return missing / rate if rate else math.inf
