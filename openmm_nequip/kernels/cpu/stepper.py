"""A fused model along a simulation: one call into compiled code a step, and a neighbour list only when it is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from ...errors import NonFiniteError
from ..backend import StepperSetup
from .library import BAD_POSITIONS, BAD_RESULT, EDGES_PER_THREAD, STALE, Library, address, problem


class FusedStepper:
    """Energy and forces of the same atoms again and again; for one thread at a time.

    The candidates of a Verlet list are kept in the compiled code, and with them the positions they were found for: what
    happens at every step (units, the test whether the list still holds, the model, the test for NaN) is one call.

    Parameters
    ----------
    library : Library
        Functions and weights; kept alive.
    types : numpy.ndarray, (n_atoms,) int64
        Model types.
    neighbors : callable
        Positions (n_atoms, 3) and cell (3, 3) in the model's unit -> all edges that may come within the cutoff before
        an atom has moved by more than the reach: ``edge_index`` (2, n_edges) int64 and ``shifts`` (n_edges, 3)
        float64, C-contiguous.
    setup : StepperSetup
        Units, reach and the cell of a system without periodicity.
    edges_per_thread : int
        Edges that one thread should have before another one helps.
    """

    def __init__(
        self,
        library: Library,
        types: np.ndarray,
        neighbors: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
        setup: StepperSetup,
        edges_per_thread: int = EDGES_PER_THREAD,
    ) -> None:
        self._library = library
        self._types = np.ascontiguousarray(types, dtype=np.int64)
        self._neighbors = neighbors
        self._setup = setup
        self._n_edges = 0
        self._energy = ctypes.c_double()
        self._destroy = library.functions["fused_destroy"]
        self._advance = library.functions["fused_advance"]
        self._handle = library.create()
        # Read at every step: few, plain attributes.
        self._cell = setup.cell
        self._edges_per_thread = edges_per_thread
        self._units = setup.length, setup.energy, setup.reach
        self._energy_at = ctypes.addressof(self._energy)
        self._shape = len(self._types), 3
        self._box = np.zeros((3, 3))
        self._box_at = None if setup.cell is not None else self._box.ctypes.data

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._destroy(self._handle)

    def __call__(self, positions: np.ndarray, box: np.ndarray | None, threads: int) -> tuple[float, np.ndarray]:
        """Energy and forces.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Any image, in the caller's unit.
        box : numpy.ndarray, (3, 3) float64, or None
            Box vectors in the caller's unit; needed in a periodic system, not read in another.
        threads : int
            Number of threads at most.

        Returns
        -------
        energy : float
        forces : numpy.ndarray, (n_atoms, 3) float64
            In the caller's units; an array of its own.

        Raises
        ------
        NonFiniteError
            If a position, the energy or a force is NaN or infinite.
        ValueError
            If the positions or the box have another shape.
        MemoryError
            If memory runs out.
        """
        if positions.shape != self._shape:
            raise ValueError(f"got positions of shape {positions.shape}, expected {self._shape}")
        if not (positions.flags.carray and positions.dtype == np.float64):
            positions = np.array(positions, dtype=np.float64, order="C")
        forces = np.empty(self._shape)
        if self._cell is None:
            if box is None or box.shape != (3, 3):
                raise ValueError(f"got a box of shape {np.shape(box)}, expected (3, 3)")  # type: ignore[arg-type]
            self._box[...] = box
        positions_at, forces_at = address(positions), address(forces)
        while True:
            code = self._advance(
                self._handle, max(1, min(threads, self._n_edges // self._edges_per_thread)), self._shape[0],
                *self._units, positions_at, self._box_at, self._energy_at, forces_at,
            )  # fmt: skip
            if code == 0:
                return self._energy.value, forces
            if code != STALE:
                break
            self._find(positions)
        if code == BAD_POSITIONS:
            raise _not_finite("positions", positions)
        if code == BAD_RESULT:
            raise _not_finite("the model's energy or forces", forces)
        raise problem(code)

    def _find(self, positions: np.ndarray) -> None:
        """New edges for the positions (caller's unit), which become those that later ones are compared with."""
        positions = positions / self._setup.length
        if not np.isfinite(positions).all():
            raise _not_finite("positions", positions)
        cell = self._cell if self._cell is not None else self._box / self._setup.length
        edge_index, shifts = self._neighbors(positions, cell)
        self._n_edges = edge_index.shape[1]
        code = self._library.functions["fused_set"](
            self._handle, len(positions), self._n_edges, self._types.ctypes.data, edge_index.ctypes.data,
            shifts.ctypes.data, positions.ctypes.data, cell.ctypes.data,
        )  # fmt: skip
        if code:
            raise problem(code)


def _not_finite(what: str, values: np.ndarray) -> NonFiniteError:
    """The error that names the atoms with a row that is NaN or infinite."""
    return NonFiniteError(what, np.flatnonzero(~np.isfinite(values).all(axis=1)), len(values))
