"""Values of settings, checked by the kind and the range that the table of settings states."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...choices import NEQUIP_NET, PYTHON

#: How many folders above a run folder a file may lie and still be named relative to it.
_MOST_UP = 3
#: What leaves a number to the run.
AUTO = "auto"


def checked(name: str, value: Any, facts: Mapping[str, Any]) -> Any:
    """A value after checking it.

    Parameters
    ----------
    name : str
        The setting, as the user writes it.
    value
        What the user gave; None stays None.
    facts : mapping
        ``kind`` of the setting, one of those of :data:`_CHECKS`; and its range: ``choices``, ``above``, ``least`` or
        ``most``.

    Returns
    -------
    value
        Paths absolute, lists as tuples, whole numbers for a float as float.

    Raises
    ------
    ValueError
        If it is of another kind or out of range.
    """
    return None if value is None else _CHECKS[facts["kind"]](name, value, facts)


def absolute(path: str, folder: Path) -> str:
    """A path as an absolute one; a ``nequip.net:`` id or ``python:`` name stays as it is.

    Parameters
    ----------
    path : str
        The path, ``~`` allowed.
    folder : pathlib.Path
        Where relative paths start.

    Returns
    -------
    str
    """
    return path if path.startswith((NEQUIP_NET, PYTHON)) else os.path.abspath(folder / os.path.expanduser(path))


def is_near(path: str, folder: Path) -> bool:
    """Whether a file and a folder lie near each other, so that they may well be moved together."""
    if not os.path.isabs(path):
        return False
    up = os.path.relpath(path, folder).split(os.sep).count(os.pardir)
    return up <= _MOST_UP and os.path.commonpath([path, os.path.abspath(folder)]) != os.path.abspath(os.sep)


def relative(path: str, folder: Path) -> str:
    """A path as it is written into a file of this folder.

    Parameters
    ----------
    path : str
        The path.
    folder : pathlib.Path
        The folder.

    Returns
    -------
    str
    """
    return Path(os.path.relpath(path, folder)).as_posix() if is_near(path, folder) else path


def present_file(item: Any, folder: Path) -> Any:
    """A name as an absolute path if there is such a file, else as it is: a type, or a file of OpenMM's own.

    Parameters
    ----------
    item
        What the user gave.
    folder : pathlib.Path
        Where relative paths start.
    """
    path = absolute(item, folder) if isinstance(item, str) and item.strip() else ""
    return path if os.path.isfile(path) else item


def _wrong(name: str, value: Any, wanted: str) -> ValueError:
    return ValueError(f"{name} = {value!r}: give {wanted}")


def _path(name: str, value: Any, facts: Mapping[str, Any]) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong(name, value, "a text")
    if not str(value).strip():
        raise _wrong(name, value, "a path ('.' is the current folder)")
    return absolute(os.fspath(value), Path.cwd())


def _floats(name: str, value: Any, facts: Mapping[str, Any]) -> tuple[float, ...]:
    if not _is_list(value) or not all(_is_number(item) for item in value):
        raise _wrong(name, value, "a list of numbers")
    return tuple(float(item) for item in value)


def _strings(name: str, value: Any, facts: Mapping[str, Any]) -> tuple[str, ...]:
    if not _is_list(value) or not all(isinstance(item, (str, int)) for item in value):
        raise _wrong(name, value, "a list of names")
    if not all(str(item).strip() for item in value):
        raise _wrong(name, value, "names that are not empty")
    texts = tuple(str(item) for item in value)
    return tuple(present_file(item, Path.cwd()) for item in texts) if facts.get("files") else texts


def _paths(name: str, value: Any, facts: Mapping[str, Any]) -> tuple[str, ...]:
    if not _is_list(value):
        raise _wrong(name, value, "a list of paths")
    return tuple(_path(name, item, facts) for item in value)


def _bool(name: str, value: Any, facts: Mapping[str, Any]) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return value


def _str(name: str, value: Any, facts: Mapping[str, Any]) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    if "choices" in facts and value not in facts["choices"]:
        raise ValueError(f"{name} = {value!r}: use one of {', '.join(facts['choices'])}")
    return value


def _word(name: str, value: Any, facts: Mapping[str, Any]) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return _str(name, str(value) if whole else value, facts)


def _float(name: str, value: Any, facts: Mapping[str, Any]) -> float:
    if not _is_number(value):
        raise _wrong(name, value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise _wrong(name, value, "a number that a computer can hold") from None
    return _in_range(name, number, facts)


def _int(name: str, value: Any, facts: Mapping[str, Any]) -> float:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, value, "a whole number")
    return _in_range(name, value, facts)


def _count(name: str, value: Any, facts: Mapping[str, Any]) -> float:
    return _int(name, value, {"least": 0, **facts})


def _count_or_auto(name: str, value: Any, facts: Mapping[str, Any]) -> float | str:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if value == AUTO:
        return AUTO
    if isinstance(value, str):
        raise _wrong(name, value, f"a whole number or {AUTO}")
    return _count(name, value, facts)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _in_range(name: str, value: float, facts: Mapping[str, Any]) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} = {value!r}: give a finite number")
    if "above" in facts and value <= facts["above"]:
        raise ValueError(f"{name} = {value!r}: it must be more than {facts['above']:g}")
    if "least" in facts and value < facts["least"]:
        raise ValueError(f"{name} = {value!r}: it must be {facts['least']:g} or more")
    if "most" in facts and value > facts["most"]:
        raise ValueError(f"{name} = {value!r}: it must be {facts['most']:g} or less")
    return value


_CHECKS: dict[str, Callable[[str, Any, Mapping[str, Any]], Any]] = {
    "path": _path, "paths": _paths, "floats": _floats, "strings": _strings, "bool": _bool, "str": _str, "float": _float,
    "int": _int, "count": _count, "count_or_auto": _count_or_auto, "word": _word,
}  # fmt: skip
