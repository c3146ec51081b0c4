"""Our force in this process: its libraries loaded, and what they ask of Python."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BuildError, ComputationError
from ..computation import explain
from ..live import LIVE
from ..saved import load_computation
from .gpu_description import Description, describe_potential
from .plugin_build import GPU_PLATFORMS, build_force, build_obstacle, build_platform, platform_library
from .plugin_probe import probe_libraries

logger = logging.getLogger(__name__)

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_DESCRIBE = ctypes.CFUNCTYPE(_INT, _TEXT, _POINTER)
_OPEN = ctypes.CFUNCTYPE(_INT, _TEXT, ctypes.POINTER(_INT))
_EVALUATE = ctypes.CFUNCTYPE(_INT, _INT, _INT, _POINTER, _POINTER, _POINTER, _POINTER)


class _Host(ctypes.Structure):
    _fields_ = [("describe", _DESCRIBE), ("open", _OPEN), ("evaluate", _EVALUATE)]


class Plugin:
    """The libraries of the force, loaded and known to OpenMM.

    Parameters
    ----------
    force : pathlib.Path
        The library of the force.
    platforms : dict of str to pathlib.Path
        Those of platforms, by OpenMM's name.
    """

    def __init__(self, force: Path, platforms: dict[str, Path]) -> None:
        self._library = ctypes.CDLL(str(force), mode=ctypes.RTLD_GLOBAL)
        self._library.nequip_start.restype = _TEXT
        self._host = _Host(_DESCRIBE(self._describe), _OPEN(self._open), _EVALUATE(self._evaluate))
        #: What Python evaluates, by the text of the potential and by number; a few for as long as the process lives.
        self._numbers: dict[bytes, int] = {}
        self._computations: list[Any] = []
        if problem := self._library.nequip_start(ctypes.byref(self._host)):
            raise BuildError(f"OpenMM does not take our force: {problem.decode(errors='replace')}")
        LIVE.add(self)
        #: Names of the platforms of GPUs that have our kernels.
        self.platforms: list[str] = []
        self._loaded = []
        for name, path in platforms.items():
            library = ctypes.CDLL(str(path))
            library.nequip_register.restype = _TEXT
            if problem := library.nequip_register():
                logger.warning("no kernels of ours on %s: %s", name, problem.decode(errors="replace"))
                continue
            self._loaded.append(library)
            self.platforms.append(name)

    def forget_lists(self) -> None:
        """Drop the lists of neighbours of all Contexts: the next step of each makes a new one, see :mod:`..live`."""
        self._library.nequip_forget_lists()

    def _describe(self, potential: bytes, to: int) -> int:
        def answer() -> None:
            self._say(to, describe_potential(_computation(potential).spec))

        return self._answered(answer)

    def _open(self, potential: bytes, number: Any) -> int:
        def answer() -> None:
            key = hashlib.sha256(potential).digest()
            if key not in self._numbers:
                self._computations.append(_computation(potential))
                self._numbers[key] = len(self._computations) - 1
            number[0] = self._numbers[key]

        return self._answered(answer)

    def _evaluate(self, number: int, count: int, positions: int, box: int, energy: int, forces: int) -> int:
        def answer() -> None:
            computation = self._computations[number]
            places = _array(positions, (count, 3))
            try:
                value, pulls = computation.get()(places.copy(), _array(box, (3, 3)).copy() if box else None)
            except Exception as error:
                raise computation.explain(error) from error
            _array(energy, (1,))[0] = value
            _array(forces, (count, 3))[...] = pulls

        return self._answered(answer)

    def _answered(self, answer: Callable[[], None]) -> int:
        """0, or 1 with the reason left where C++ looks for it: no exception goes through its frames."""
        try:
            answer()
            return 0
        except BaseException as error:  # KeyboardInterrupt as well: it has nowhere to go
            shown = error if isinstance(error, ComputationError) else explain(error)
            self._library.nequip_fail(str(shown).encode())
            return 1

    def _say(self, to: int, description: Description) -> None:
        for name, text in description.texts.items():
            self._library.nequip_say_text(_POINTER(to), name.encode(), text.encode())
        for name, numbers in description.numbers.items():
            values = np.ascontiguousarray(numbers, dtype=np.float64).ravel()
            self._library.nequip_say_numbers(
                _POINTER(to), name.encode(), _POINTER(values.ctypes.data), ctypes.c_long(values.size)
            )
        for name, integers in description.integers.items():
            whole = np.ascontiguousarray(integers, dtype=np.int32).ravel()
            self._library.nequip_say_integers(
                _POINTER(to), name.encode(), _POINTER(whole.ctypes.data), ctypes.c_long(whole.size)
            )


def _computation(potential: bytes) -> Any:
    return load_computation(bytes.fromhex(potential.decode()))


def _array(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers (...) of C++ at an address, not copied."""
    kind = ctypes.c_double * int(np.prod(shape))
    return np.ctypeslib.as_array(kind.from_address(address)).reshape(shape)


_GUARD = threading.Lock()


def load_plugin() -> Plugin:
    """The force in this process: compiled if it was not, tried in another process, and loaded.

    Raises
    ------
    BuildError
        If it cannot be compiled or does not work here; with the reason.
    """
    with _GUARD:
        return _load()


@cache
def _load() -> Plugin:
    if obstacle := build_obstacle():
        raise BuildError(obstacle)
    force, platforms = build_force(), {}
    for platform in GPU_PLATFORMS:
        library = platform_library(platform)
        if library is not None:
            platforms[platform.name] = build_platform(platform, library)
    if reason := probe_libraries([force, *platforms.values()]):
        raise BuildError(reason)
    return Plugin(force, platforms)
