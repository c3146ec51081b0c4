"""A compiled model in this process: weights in, energies, forces and virial out."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

_PROBLEMS = {1: "there is not enough memory", 2: "an atom type or an edge's atom is out of range"}


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def aligned(array: np.ndarray, boundary: int = 64) -> np.ndarray:
    """A copy whose data start at a multiple of ``boundary`` bytes, as the vector loads want."""
    room = np.empty(array.nbytes + boundary, dtype=np.uint8)
    start = -room.ctypes.data % boundary
    result = room[start : start + array.nbytes].view(array.dtype)
    result[:] = array
    return result


class Library:
    """The fused model, with memory that is kept from call to call; for one thread at a time.

    Parameters
    ----------
    path : pathlib.Path
        Shared library from :func:`.build.build`.
    weights, constants : numpy.ndarray
        From :func:`.generate.generate`.
    """

    def __init__(self, path: Path, weights: np.ndarray, constants: np.ndarray) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.fused_create.restype = ctypes.c_void_p
        self._library.fused_create.argtypes = [ctypes.c_void_p] * 2
        self._library.fused_destroy.argtypes = [ctypes.c_void_p]
        self._library.fused_destroy.restype = None
        self._evaluate = self._library.fused_evaluate
        self._evaluate.argtypes = [
            ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 8,
        ]  # fmt: skip
        self._evaluate.restype = ctypes.c_int
        self._weights, self._constants = aligned(weights), np.ascontiguousarray(constants)
        self._step = self._library.fused_create(_pointer(self._weights), _pointer(self._constants))
        if not self._step:
            raise MemoryError("there is not enough memory for the fused kernels")

    def __del__(self) -> None:
        if getattr(self, "_step", None):
            self._library.fused_destroy(self._step)

    def __call__(
        self,
        positions: np.ndarray,
        types: np.ndarray,
        edge_index: np.ndarray,
        shifts: np.ndarray,
        cell: np.ndarray,
        threads: int,
        keep: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One evaluation.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
        types : numpy.ndarray, (n_atoms,) int64
        edge_index : numpy.ndarray, (2, n_edges) int64
        shifts : numpy.ndarray, (n_edges, 3) float64
        cell : numpy.ndarray, (3, 3) float64
            All C-contiguous, as in :meth:`openmm_nequip.models.base.Model.__call__`; edges beyond the cutoff count
            for nothing.
        threads : int
            Number of OpenMP threads.
        keep : bool
            Types, edges and shifts are those of the last call, and are not read again.

        Returns
        -------
        tuple of numpy.ndarray
            Atomic energies (n_atoms,), forces (n_atoms, 3) and virial (3, 3), float64, model units.

        Raises
        ------
        MemoryError, ValueError
            If memory runs out or an index is out of range.
        """
        n, edges = len(positions), edge_index.shape[1]
        energies, forces, virial = np.empty(n), np.empty((n, 3)), np.empty((3, 3))
        code = self._evaluate(
            self._step, threads, int(keep), n, edges, types.ctypes.data, edge_index.ctypes.data, shifts.ctypes.data,
            positions.ctypes.data, cell.ctypes.data, energies.ctypes.data, forces.ctypes.data, virial.ctypes.data,
        )  # fmt: skip
        if code:
            raise (MemoryError if code == 1 else ValueError)(f"fused kernels: {_PROBLEMS.get(code, f'code {code}')}")
        return energies, forces, virial
