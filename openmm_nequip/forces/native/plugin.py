"""Our force in this process: its libraries loaded, and what they ask of Python."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from ...errors import BuildError, ComputationError, KernelsError
from ...upstream.openmm_addresses import address_of
from ..computation import explain
from ..live import LIVE
from ..saved import load_computation
from .gpu_description import Description, describe_potential
from .gpu_first_use import check_first_use
from .gpu_place import GpuPlace
from .plugin_build import GPU_PLATFORMS, build_force, build_obstacle, build_platform, platform_library
from .plugin_probe import probe_libraries

logger = logging.getLogger(__name__)

_POINTER, _TEXT, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_DESCRIBE = ctypes.CFUNCTYPE(_INT, _TEXT, _TEXT, _POINTER)
_OPEN = ctypes.CFUNCTYPE(_INT, _TEXT, ctypes.POINTER(_INT))
_EVALUATE = ctypes.CFUNCTYPE(_INT, _INT, _INT, _POINTER, _POINTER, _POINTER, _POINTER)


#: How the text of a force begins whose models are described by this process alone.
_TRIAL = b"trial "
#: Numbers that kernels tell of a node: energy, force (3) and virial (6: xx, yx, yy, zx, zy, zz).
TOLD = 10


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
    check : callable
        Called with this object, the descriptions of a force and the place of its Context, before its kernels are used
        there; see :func:`.gpu_first_use.check_first_use`.
    """

    def __init__(
        self,
        force: Path,
        platforms: dict[str, Path],
        check: Callable[[Plugin, Sequence[Description], GpuPlace], None],
    ) -> None:
        #: Names of the libraries, which have the digest of what they were made of.
        self.libraries = [path.name for path in (force, *platforms.values())]
        self._check = check
        self._trials: dict[bytes, Sequence[Description]] = {}
        self._count = itertools.count()
        self._library = ctypes.CDLL(str(force), mode=ctypes.RTLD_GLOBAL)
        self._library.nequip_start.restype = self._library.nequip_failure.restype = _TEXT
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

    @contextlib.contextmanager
    def trial(self, models: Sequence[Description]) -> Iterator[str]:
        """The text of a force with these models, as long as they are to be had: for Contexts of ours."""
        text = _TRIAL + str(next(self._count)).encode()
        self._trials[text] = models
        try:
            yield text.decode()
        finally:
            del self._trials[text]

    def tell(self, force: openmm.Force, context: openmm.Context, n_nodes: int) -> np.ndarray:
        """What the kernels of a force know beside its energy, at the positions of a Context.

        Parameters
        ----------
        force : openmm.Force
            Of the Context's own System, ``context.getSystem()``.
        context : openmm.Context
            On a platform of :attr:`platforms`.
        n_nodes : int
            Nodes of all its models together.

        Returns
        -------
        numpy.ndarray, (n_nodes, TOLD) float64
            Model by model, in their units.

        Raises
        ------
        KernelsError
            If the force has no kernels there, or the device fails.
        """
        told = np.empty((n_nodes, TOLD))
        objects = _POINTER(address_of(force)), _POINTER(address_of(context))
        if self._library.nequip_tell(*objects, _POINTER(told.ctypes.data), ctypes.c_long(told.size)):
            reason = self._library.nequip_failure().decode(errors="replace")
            raise KernelsError(f"nothing can be asked of the force's kernels: {reason}")
        return told

    def _describe(self, potential: bytes, place: bytes, to: int) -> int:
        def answer() -> None:
            models: Sequence[Description]
            if potential.startswith(_TRIAL):
                models = self._trials[potential]
            else:
                spec, where = _computation(potential).spec, GpuPlace.of(place.decode())
                where.check_device(spec)
                models = describe_potential(spec)
                self._check(self, models, where)
            for model in models:
                self._say(to, model)

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
        self._library.nequip_say_model(_POINTER(to))
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
    return Plugin(force, platforms, check_first_use)
