"""A compiled model in this process: weights in, energies, forces and virial out."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...cache import find, keep
from ..backend import Code
from .build import build, library_name

#: What a call may answer, as in ``interface.hpp``.
DONE, OUT_OF_MEMORY, OUT_OF_RANGE, STALE, BAD_POSITIONS, BAD_RESULT = range(6)
#: How names of files end that say that a library agreed with a model.
_AGREES = ".agrees"
#: Edges that one thread should have before another one helps.
EDGES_PER_THREAD = 128
_POINTER, _INT, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
_SIGNATURES = {
    "fused_create": (_POINTER, [_POINTER] * 2),
    "fused_destroy": (None, [_POINTER]),
    "fused_evaluate": (_INT, [_POINTER, _INT, _INT, _LONG, _LONG, *[_POINTER] * 8]),
    "fused_set": (_INT, [_POINTER, _LONG, _LONG, *[_POINTER] * 5]),
    "fused_advance": (_INT, [_POINTER, _INT, _LONG, *[_DOUBLE] * 3, *[_POINTER] * 4]),
}


def aligned(array: np.ndarray, boundary: int = 64) -> np.ndarray:
    """A copy whose data start at a multiple of ``boundary`` bytes, as the vector loads want.

    Parameters
    ----------
    array : numpy.ndarray, (n,)
        Numbers.
    boundary : int
        Bytes.

    Returns
    -------
    numpy.ndarray, (n,)
    """
    room = np.empty(array.nbytes + boundary, dtype=np.uint8)
    start = -room.ctypes.data % boundary
    result = room[start : start + array.nbytes].view(array.dtype)
    result[:] = array
    return result


def address(array: np.ndarray) -> int:
    """Where an array's values are; for a writeable one in a fifth of the time that ``array.ctypes.data`` takes.

    Parameters
    ----------
    array : numpy.ndarray, (n, ...)
        C-contiguous.

    Returns
    -------
    int
    """
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # arrays are buffers
    except (TypeError, ValueError):  # it can only be read, or has no values
        return array.ctypes.data


class Library:
    """The compiled functions of a fused model, and its weights.

    Parameters
    ----------
    path : pathlib.Path
        Shared library from :func:`.build`.
    weights, constants : numpy.ndarray, (n_weights,) and (n_constants,)
        From :func:`.generate`; copied, for they may lie in the memory of a package that is let go.
    """

    def __init__(self, path: Path, weights: np.ndarray, constants: np.ndarray) -> None:
        library = ctypes.CDLL(str(path))
        self.functions = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function
        self._weights, self._constants = aligned(weights), aligned(constants)

    def create(self) -> int:
        """Memory for the steps of one user: the address of a ``Step``, to be given to ``fused_destroy``.

        Raises
        ------
        MemoryError
            If there is none.
        """
        step = self.functions["fused_create"](self._weights.ctypes.data, self._constants.ctypes.data)
        if not step:
            raise MemoryError("there is not enough memory for the fused kernels")
        return step


def open_library(code: Code, folder: Path, check: Callable[[Library], None] | None = None) -> Library:
    """Compile generated code, unless that was done before, and load it.

    Parameters
    ----------
    code : Code
        Source, weights and constants.
    folder : pathlib.Path
        Where compiled code is kept.
    check : callable, optional
        Raises NotFusableError if a library computes something wrong. It is asked once for each library and content:
        models of one architecture share their library, and what is right for one need not be so for the other.

    Returns
    -------
    Library

    Raises
    ------
    BuildError
        If there is no compiler, or it fails.
    NotFusableError
        If the library did not pass the check, now or before.
    """

    name = library_name(code.source)
    if check is None:
        return Library(build(code.source, folder, name), code.weights, code.constants)
    tried: list[Library] = []

    def try_new(path: Path) -> None:
        tried.append(Library(path, code.weights, code.constants))
        check(tried[-1])

    path = build(code.source, folder, name, try_new)
    library = Library(path, code.weights, code.constants)
    content = hashlib.sha256(code.weights.tobytes() + code.constants.tobytes()).hexdigest()
    seen = f"{name}-{content}"
    if tried or find(folder, seen, _AGREES) is None:
        if not tried:
            check(library)
        with contextlib.suppress(OSError):  # a cache folder that can only be read
            keep(folder, seen, _AGREES, b"")
    return library


class Step:
    """The fused model, with memory that is kept from call to call; for one thread at a time.

    Parameters
    ----------
    library : Library
        Functions and weights; kept alive.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._evaluate = library.functions["fused_evaluate"]
        self._destroy = library.functions["fused_destroy"]
        self._handle = library.create()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._destroy(self._handle)

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
            Number of threads; a negative one borrows as many from OpenMP, where the compiler has it: for callers among
            torch's operators, after which OpenMP's threads stay awake for a while and would be in the way of others.
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
        arrays = types, edge_index, shifts, positions, cell, energies, forces, virial
        code = self._evaluate(self._handle, threads, int(keep), n, edges, *(address(array) for array in arrays))
        if code:
            raise problem(code)
        return energies, forces, virial


def problem(code: int) -> Exception:
    """The error that goes with the code :data:`OUT_OF_MEMORY` or :data:`OUT_OF_RANGE`."""
    if code == OUT_OF_MEMORY:
        return MemoryError("fused kernels: there is not enough memory")
    if code == OUT_OF_RANGE:
        return ValueError("fused kernels: an atom type or an edge's atom is out of range")
    return RuntimeError(f"fused kernels: code {code}; please report this")
