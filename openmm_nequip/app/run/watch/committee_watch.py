"""The watch of a committee: its reporter in a run, which records why it ends one."""

from __future__ import annotations

from typing import Any

import openmm
import openmm.app as app

from ....errors import DeviationError
from ....reporters import DeviationReporter
from ..run_folder import PRODUCTION
from .finding import CERTAINTY, Finding, Record


class CommitteeWatch(DeviationReporter):
    """As :class:`openmm_nequip.reporters.DeviationReporter`; what ends the run is kept with the run's findings.

    Parameters
    ----------
    record : Record
        Gets the finding.
    asked : DeviationCalculator or RankedDeviation
        Asks the models.
    reporter
        Arguments of the reporter.
    more
        And its keywords.
    """

    def __init__(self, record: Record, asked: Any, *reporter: Any, **more: Any) -> None:
        super().__init__(*reporter, **more)
        self._record = record
        self._calculator = asked

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Look, see :meth:`openmm_nequip.reporters.DeviationReporter.report`."""
        try:
            super().report(simulation, state)
        except DeviationError as error:
            text = (
                f"the models differ by {error.value:.4g} eV/Å in the force on atom {error.indices[0]} (standard "
                f"deviation), the limit is {error.limit:g}"
            )
            found = Finding("committee", text, error.value, error.limit, CERTAINTY, tuple(error.indices))
            self._record.add(found, PRODUCTION, simulation.currentStep)
            raise
