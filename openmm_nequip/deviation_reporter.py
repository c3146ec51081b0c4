"""A reporter of how far the models of a committee are from each other."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from .csv_table import CsvTable
from .deviation import Deviation, DeviationCalculator
from .deviation_limits import check_limits, in_ev_per_angstrom
from .distinct_frames import DistinctFrames
from .errors import DeviationError
from .units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, KJ_PER_MOL_PER_EV


class DeviationReporter(CsvTable):
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
        "energy_spread_ev", "atomic_energy_spread_ev", "bias_ev",
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
        bias = found.bias / KJ_PER_MOL_PER_EV
        self.write([simulation.currentStep, time, found.largest, found.atom, found.mean, spread, atomic, bias])
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
