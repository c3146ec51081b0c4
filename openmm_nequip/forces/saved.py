"""The saved form of a potential: a version number and plain data, the only thing of this package that is pickled.

OpenMM writes the function of a PythonForce into XML as a pickle. Ours names one function, :func:`restore`, whose
address never changes, and gives it a version and a dictionary of numbers, texts, bytes, lists and dictionaries. So
modules may
move, and a reader can refuse every other pickle (:mod:`openmm_nequip.reading`). Files of release 0.1 named internal
classes; they are still read, through the addresses they name.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import threading
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import SavedSystemError

#: Version that this release writes.
VERSION = 1
_DIGEST = "sha256"
#: What calls a potential: OpenMM's PythonForce with a State, openmmtorch's PythonTorchForce with a State and a tensor.
STATE, TENSOR = "state", "tensor"


class SavedPotential(NamedTuple):
    """A potential as it stands in a file.

    Parameters
    ----------
    version : int
        Version of the form of ``data``.
    data : dict
        ``call``: :data:`STATE` or :data:`TENSOR`; ``parts``: one dictionary for each potential, see
        :func:`openmm_nequip.forces.spec.to_plain`; ``particles``: System index of each particle that the force is
        given, or None for all; ``sha256``: see :func:`sealed`; absent in files of earlier releases.
    """

    version: int
    data: dict[str, Any]


class RestoredPotentials:
    """Functions of forces by the content of their saved form, while somebody holds them.

    Every copy of a System and every read of its XML restores the function, and OpenMM never lets go of one. So equal
    content gives one and the same object, with one set of evaluators, whatever the number of copies.
    """

    def __init__(self) -> None:
        self._members: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    def add(self, saved: SavedPotential, computation: Any) -> Any:
        """The function that has this content: the one that is there, or else the one given."""
        with self._guard:
            return self._members.setdefault(saved.data[_DIGEST], computation)


RESTORED = RestoredPotentials()


def sealed(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a saved form with the SHA-256 of their content, so that damage is seen.

    Parameters
    ----------
    data : mapping
        See :class:`SavedPotential`.

    Returns
    -------
    dict
    """
    content = {key: value for key, value in data.items() if key != _DIGEST}

    def plain(value: Any) -> str:
        return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)

    text = json.dumps(content, sort_keys=True, default=plain)
    return content | {_DIGEST: hashlib.sha256(text.encode()).hexdigest()}


class UnreadablePotential:
    """What stands for a saved potential that cannot be read; every call says why.

    OpenMM's deserializer ends the process when a function cannot be unpickled, so it gets this instead.

    Parameters
    ----------
    error : SavedSystemError
        Why it cannot be read.
    version, data
        Its saved form, which goes on unchanged into copies and files.
    """

    def __init__(self, error: SavedSystemError, version: int, data: Mapping[str, Any]) -> None:
        self.error = error
        self._saved = version, data

    def __call__(self, *_: Any) -> Any:
        """Raise the error."""
        from .computation import explain

        raise explain(self.error)

    def __reduce__(self) -> tuple[Any, ...]:
        return restore, self._saved


def restore(version: int, data: Mapping[str, Any]) -> Any:
    """The function of a force from its saved form; the model is opened at its first call.

    Parameters
    ----------
    version : int
        Version of the saved form.
    data : mapping
        See :class:`SavedPotential`.

    Returns
    -------
    Computation, TensorComputation or UnreadablePotential
        The last where a later release wrote it, or it is damaged.
    """
    try:
        return _restored(version, data)
    except SavedSystemError as error:
        return UnreadablePotential(error, version, data)


def _restored(version: int, data: Mapping[str, Any]) -> Any:
    if version != VERSION:
        raise SavedSystemError(
            f"this System was saved in version {version!r} of the form, and this release of openmm-nequip reads "
            f"{VERSION}; install a newer release",
            version if isinstance(version, int) else None,
        )
    from .computation import Computation, TensorComputation
    from .spec import from_plain

    if not isinstance(data, Mapping):
        raise SavedSystemError(f"the saved potential is damaged: a {type(data).__name__} instead of its data", version)
    stated, data = data.get(_DIGEST), sealed(data)
    if stated not in (None, data[_DIGEST]):
        raise SavedSystemError(
            "the saved potential is damaged: its content is not what its digest says; copy the file again, or save the "
            "System again",
            version,
        )
    try:
        spec = from_plain(data["parts"])
        computation = {STATE: Computation, TENSOR: TensorComputation}[data["call"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SavedSystemError(
            f"the saved potential is damaged: {type(error).__name__}: {error}; save the System again", version
        ) from error
    return RESTORED.add(SavedPotential(version, data), computation(spec, data.get("particles")))


#: What a pickle may name: our one function, and the classes that release 0.1 pickled.
_ALLOWED = frozenset(
    {
        ("openmm_nequip.forces.saved", "restore"),
        ("openmm_nequip.forces.computation", "Computation"),
        ("openmm_nequip.forces.computation", "TensorComputation"),
        ("openmm_nequip.forces.spec", "PotentialSpec"),
        ("openmm_nequip.forces.spec", "SumSpec"),
        ("openmm_nequip.models.source", "ModelSource"),
        ("openmm_nequip.units", "Units"),
        ("openmm_nequip.layout", "Layout"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }
)


class _OwnUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise SavedSystemError(
                f"a force of this System would run {module}.{name}, which is not of openmm-nequip; it was not read. If "
                "you trust the file and need that force, read it with openmm.XmlSerializer"
            )
        return super().find_class(module, name)


def load_computation(content: bytes) -> Any:
    """The function of a force from its pickle, which may name nothing but this package's own.

    Parameters
    ----------
    content : bytes
        The pickle.

    Returns
    -------
    Computation or TensorComputation

    Raises
    ------
    SavedSystemError
        If it names something else, or is damaged.
    """
    try:
        found = _OwnUnpickler(io.BytesIO(content)).load()
    except SavedSystemError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise SavedSystemError(f"the saved potential is damaged: {type(error).__name__}: {error}") from error
    if isinstance(found, UnreadablePotential):
        raise found.error
    return found
