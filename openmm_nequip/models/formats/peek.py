"""Facts from pickles without running anything in them: every class and function is replaced by an inert stand-in."""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Iterator, Mapping
from typing import Any


class Inert:
    """Stands in for an instance of any class: keeps its state, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an entry of a mapping that the pickle fills one by one."""
        self.append((key, value))

    def append(self, value: Any) -> None:
        """Keep an item of a list that the pickle fills one by one."""
        self.__dict__.setdefault("items", []).append(value)

    def extend(self, values: Any) -> None:
        """See :meth:`append`."""
        for value in values:
            self.append(value)


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


def walk(thing: Any) -> Iterator[Any]:
    """Everything in the structure of a pickle, each object once.

    Parameters
    ----------
    thing : object
        What :func:`peek` gave.

    Yields
    ------
    object
    """
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, Inert):
            waiting += [getattr(item, "args", ()), state_of(item), getattr(item, "items", None)]
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set)):
            waiting += list(item)


def class_names(thing: Any) -> set[str]:
    """Names of the classes of all objects in a pickle.

    Parameters
    ----------
    thing : object
        What :func:`peek` gave.

    Returns
    -------
    set of str
    """
    return {type(item).__name__ for item in walk(thing) if isinstance(item, Inert)}


def module_names(thing: Any) -> set[str]:
    """Python modules of the classes of all objects in a pickle, as the file names them.

    Parameters
    ----------
    thing : object
        What :func:`peek` gave.

    Returns
    -------
    set of str
    """
    # Tensors are plain Inert objects, of this module.
    return {type(item).__module__ for item in walk(thing) if isinstance(item, Inert) and type(item) is not Inert}


def embedded_fields(thing: Any) -> dict[str, tuple[int, int]]:
    """Fields of the graph that nequip embeds as categories beside the atom types, and their ranges.

    Parameters
    ----------
    thing : object
        What :func:`peek` gave.

    Returns
    -------
    dict of str to (int, int)
        Lowest and highest value.

    Raises
    ------
    KeyError, TypeError, AttributeError
        If they are not stated as nequip states them.
    """
    found = {}
    for item in walk(thing):
        state = state_of(item) if type(item).__name__ == "NodeTypeEmbed" else {}
        if state.get("do_categorical_graph_field_embed"):
            tables = _children(_children(state)["categorical_graph_field_embed_modules"])
            for name, lowest in untagged(state["categorical_graph_field_embed_shifts"]).items():
                table = state_of(tables[name])
                # TorchScript keeps the tensor alone: storage, offset, shape and strides.
                count = table["num_embeddings"] if "num_embeddings" in table else table["weight"].args[2][0]
                found[name] = lowest, lowest + count - 1
    return found


def untagged(thing: Any) -> Any:
    """A list or dictionary of :func:`peek` without the tag of its type that TorchScript puts around it."""
    args = getattr(thing, "args", ())
    return args[0] if type(thing).__name__ == "restore_type_tag" and args else thing


def _children(module: Any) -> Mapping[str, Any]:
    """Submodules of a module, or of its state: attributes of their own in TorchScript."""
    state = module if isinstance(module, dict) else state_of(module)
    return state.get("_modules") or state


def parameter_dtype(thing: Any) -> str | None:
    """Precision of most floating-point numbers in a pickle of tensors, or None where there are none.

    Parameters
    ----------
    thing : object
        What :func:`peek` gave.

    Returns
    -------
    str or None
        ``"float32"`` or ``"float64"``.
    """
    counts = {"FloatStorage": 0, "DoubleStorage": 0}
    for item in walk(thing):
        if isinstance(item, tuple) and len(item) == 5 and item[0] == "storage":
            name = getattr(item[1], "__name__", "")
            if name in counts:
                counts[name] += int(item[4])
    if not any(counts.values()):
        return None
    return "float64" if counts["DoubleStorage"] > counts["FloatStorage"] else "float32"
