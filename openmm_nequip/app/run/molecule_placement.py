"""Frames of a trajectory: molecules put into the box, or followed through its faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...upstream.openmm_reporters import close_reporter

#: What OpenMM's older form of the answer to ``describeNextReport`` says yes or no to.
_PARTS = ("positions", "velocities", "forces", "energy")


class MoleculePlacement:
    """Where the molecules of a frame are put.

    OpenMM's barostats put molecules back into the box whenever they move the volume, so positions have to be followed
    from frame to frame: right as long as no molecule moves by half the box between two frames.

    Parameters
    ----------
    labels : numpy.ndarray, (n_atoms,) int64
        Molecule of each atom, from 0.
    wrap : str
        ``"molecules"`` to put each into the box, ``"none"`` to follow it.
    """

    def __init__(self, labels: np.ndarray, wrap: str) -> None:
        self._labels = labels
        self._counts = np.bincount(labels)[:, None].astype(np.float64)
        self._wrap = wrap == "molecules"
        self._last: np.ndarray | None = None

    def remember(self, positions: np.ndarray) -> None:
        """Follow molecules from these positions (n_atoms, 3), nm: the frame before the first."""
        self._last = self._centers(positions)

    def __call__(self, positions: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Positions of a frame.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Molecules in one piece, nm.
        box : numpy.ndarray, (3, 3) float64
            Rows are the box vectors in nm, in reduced form.

        Returns
        -------
        numpy.ndarray, (n_atoms, 3) float64
            The same molecules in other images.
        """
        centers = self._centers(positions)
        if self._wrap:
            shifts = -np.floor(centers @ np.linalg.inv(box))
        elif self._last is None:
            shifts = np.zeros_like(centers)
        else:
            shifts = -np.rint((centers - self._last) @ np.linalg.inv(box))
        moves = shifts @ box
        self._last = centers + moves
        return positions + moves[self._labels]

    def _centers(self, positions: np.ndarray) -> np.ndarray:
        sums = np.zeros((len(self._counts), 3))
        np.add.at(sums, self._labels, positions)
        return sums / self._counts


class _PlacedState:
    """An OpenMM State with other positions, for reporters that know nothing of placement."""

    def __init__(self, state: openmm.State, positions: np.ndarray) -> None:
        self._state, self._positions = state, positions

    def getPositions(self, asNumpy: bool = False) -> Any:
        """The placed positions, always as an array with a unit."""
        return self._positions * unit.nanometer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)


class FrameReporter:
    """A reporter whose frames have their molecules placed.

    Parameters
    ----------
    writer
        OpenMM's or mdtraj's reporter of trajectories; it decides when.
    placement : MoleculePlacement or None
        None without a box.
    """

    def __init__(self, writer: Any, placement: MoleculePlacement | None) -> None:
        self._writer, self._placement = writer, placement

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """OpenMM's question when the next frame is due and what it needs."""
        answer = self._writer.describeNextReport(simulation)
        if isinstance(answer, dict):
            return {**answer, "periodic": False}
        wanted = [name for name, needed in zip(_PARTS, answer[1:5], strict=True) if needed]
        return {"steps": answer[0], "periodic": False, "include": wanted}

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Write a frame.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its present state.

        Raises
        ------
        ValueError
            If positions are NaN or infinite, or do not fit the format.
        OSError
            If the file cannot be written.
        """
        if self._placement is not None:
            positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
            box = np.asarray(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
            if np.isfinite(positions).all():
                state = _PlacedState(state, self._placement(positions, box))
        self._writer.report(simulation, state)

    def close(self) -> None:
        """Close the file."""
        close_reporter(self._writer)
