"""Facts from pickles without running anything in them: every class and function is replaced by an inert stand-in."""

from __future__ import annotations

import collections
import io
import pickle
from typing import Any


class Inert:
    """Stands in for an instance of any class: keeps its state, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Entries of mappings that the pickle fills one by one are dropped."""

    def append(self, value: Any) -> None:
        """Items of lists that the pickle fills one by one are dropped."""

    def extend(self, values: Any) -> None:
        """See :meth:`append`."""


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        return type(name.rsplit(".", 1)[-1], (Inert,), {"__module__": module})

    def persistent_load(self, pid: Any) -> Any:
        return Inert(pid)


def peek(content: bytes) -> Any:
    """The structure of a pickle: plain values, containers, and :class:`Inert` objects for the rest.

    Parameters
    ----------
    content : bytes
        The pickle.

    Returns
    -------
    object

    Raises
    ------
    ValueError
        If it cannot be read in this way.
    """
    try:
        return _InertUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a pickle can raise anything
        raise ValueError(f"{type(error).__name__}: {error}") from error


def state_of(thing: Any) -> dict[str, Any]:
    """Attributes of an object of :func:`peek`; empty for what has none."""
    state = getattr(thing, "state", None)
    if isinstance(state, dict):
        return state
    return getattr(thing, "__dict__", {}) if isinstance(thing, Inert) else {}


def class_names(module: Any) -> set[str]:
    """Names of the classes of a torch module of :func:`peek` and of all modules inside it."""
    found = {type(module).__name__}
    children = state_of(module).get("_modules")
    if isinstance(children, dict):
        for child in children.values():
            found |= class_names(child)
    return found
