"""Edges as engines find them, and the comparison of an engine's answer with the model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import ExportError
from ...graph.neighbors import NeighborList

#: Box for structures that are not periodic, in cutoffs of space around the atoms: engines want one.
OPEN_SPACE = 2.0
#: Largest differences of energy (relative to the sum of the sizes of its terms, or to itself) and of forces (relative
#: to the largest), by the lower precision of what the engine hands over and the model computes in.
TOLERANCES = {"float64": (1e-9, 1e-7), "float32": (1e-6, 1e-4)}


@dataclass(frozen=True, eq=False)
class EngineEdges:
    """Directed edges of a structure in an engine's own lengths.

    Parameters
    ----------
    index : numpy.ndarray, (2, n_edges) int64
        Centre and neighbour.
    shifts : numpy.ndarray, (n_edges, 3) float64
        Whole numbers of cell vectors.
    """

    index: np.ndarray
    shifts: np.ndarray

    def half(self) -> EngineEdges:
        """One of each two edges that are each other's mirror image."""
        i, j = self.index
        first = np.array([self._is_first(shift) for shift in self.shifts.tolist()], dtype=bool)
        kept = (i < j) | ((i == j) & first)
        return EngineEdges(self.index[:, kept], self.shifts[kept])

    @staticmethod
    def _is_first(shift: list[float]) -> bool:
        leading = next((value for value in shift if value != 0), 0)
        return leading > 0


def find_edges(
    positions: np.ndarray, cell: np.ndarray | None, cutoff: float, types: np.ndarray, cutoffs: np.ndarray
) -> EngineEdges:
    """All directed edges within the cutoffs of each pair of types.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Any unit of length.
    cell : numpy.ndarray, (3, 3) float64, or None
        Rows are the cell vectors; None where nothing is periodic.
    cutoff : float
        The largest of the cutoffs.
    types : numpy.ndarray, (n_atoms,) int64
        Types.
    cutoffs : numpy.ndarray, (n_types, n_types) float64
        Cutoff [centre type][neighbour type].

    Returns
    -------
    EngineEdges
    """
    neighbors = NeighborList(cutoff, 0.0, cell is not None)
    box = np.eye(3) if cell is None else np.ascontiguousarray(cell)
    index, shifts = neighbors(np.ascontiguousarray(positions), box)
    index, shifts = np.asarray(index), np.asarray(shifts)
    vectors = positions[index[1]] - positions[index[0]] + shifts @ box
    kept = (vectors**2).sum(axis=1) <= cutoffs[types[index[0]], types[index[1]]] ** 2
    return EngineEdges(np.ascontiguousarray(index[:, kept]), shifts[kept])


def compare(
    engine: str,
    energies: tuple[float, float],
    forces: tuple[np.ndarray, np.ndarray],
    precision: str,
    scale: float | None = None,
) -> dict[str, float]:
    """Differences between an engine's answer and the model's, both in kJ/mol and kJ/mol/nm.

    Parameters
    ----------
    engine : str
        Its name, for the message.
    energies : tuple of float
        The engine's and the model's.
    forces : tuple of numpy.ndarray, (n_atoms, 3) each
        The engine's and the model's.
    precision : str
        ``"float64"`` or ``"float32"``: the lower one of what the engine hands over and the model computes in.
    scale : float, optional
        Size of the energy's terms in kJ/mol, if larger than the energy.

    Returns
    -------
    dict of str to float
        ``energy`` and ``forces``: relative differences.

    Raises
    ------
    ExportError
        If one is more than rounding noise.
    """
    size = max(abs(energies[1]), scale or 0.0, 1e-12)
    found = {
        "energy": abs(energies[0] - energies[1]) / size,
        "forces": float(np.abs(forces[0] - forces[1]).max() / max(np.abs(forces[1]).max(), 1e-3)),
    }
    for (name, value), allowed in zip(found.items(), TOLERANCES[precision], strict=True):
        if not value <= allowed:
            raise ExportError(
                f"what {engine} would compute from these files differs from the model by {value:.2g} in {name} "
                f"(relative; {allowed:g} is rounding noise): nothing was written"
            )
    return found
