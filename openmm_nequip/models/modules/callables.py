"""Functions of Python programs as potentials: known by the name under which they can be imported, or held here.

A System in a file never makes this process import anything: a name must have been given by the user of the process,
as a model, or through :func:`openmm_nequip.trust`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any

from ...choices import PYTHON
from ...errors import ModuleError
from ..trust import TRUSTED


class HeldFunctions:
    """Functions that were given as objects, by the name that Systems of this process have for them."""

    def __init__(self) -> None:
        self._held: dict[str, Callable[..., Any]] = {}
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)

    def hold(self, function: Callable[..., Any]) -> str:
        """The path of a function: ``python:MODULE:NAME`` where it can be imported, else one of this process alone."""
        name = importable_name(function)
        with self._guard:
            if not name:
                for path, held in self._held.items():
                    if held is function:
                        return path
                kind = getattr(function, "__qualname__", type(function).__qualname__)
                name = f"{PYTHON}{kind.replace(':', '.')} of this process:{next(self._numbers)}"
            self._held[name] = function
        return name

    def get(self, path: str) -> Callable[..., Any] | None:
        """The function of this path, if it was given in this process."""
        return self._held.get(path)


HELD = HeldFunctions()


def importable_name(function: Any) -> str:
    """``python:MODULE:NAME`` under which another process finds this very object; empty where it cannot."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return ""
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return ""
    return f"{PYTHON}{module}:{name}" if found is function else ""


def find_function(path: str) -> Callable[..., Any]:
    """The function or class of a path.

    Parameters
    ----------
    path : str
        ``python:MODULE:NAME``.

    Returns
    -------
    callable

    Raises
    ------
    ModuleError
        If it is not trusted in this process, cannot be imported, or is no function.
    """
    held = HELD.get(path)
    if held is not None:
        return held
    module, _, name = path.removeprefix(PYTHON).partition(":")
    if " of this process" in path or not module or not name:
        raise ModuleError(
            f"the potential {path} is a Python object of the process that made the System, and not at hand here; make "
            "the System again, from a scripted module (a .pt file) or a function that can be imported "
            "(python:MODULE:NAME)",
            path=path,
        )
    if path not in TRUSTED:
        raise ModuleError(
            f"the potential {path} is a function of Python, which would be imported and called; nothing was. If you "
            f"trust it, call openmm_nequip.trust({path!r}) in this process first",
            path=path,
        )
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a module's own code can raise anything
        raise ModuleError(
            f"the potential {path} cannot be imported: {type(error).__name__}: {error}; check the name, and that "
            "Python finds the module (PYTHONPATH)",
            path=path,
        ) from error
    if not callable(found):
        raise ModuleError(f"the potential {path} is a {type(found).__name__}, no function or class", path=path)
    return found


def source_of(path: str) -> tuple[str, bytes]:
    """SHA-256 of a function's source text, and the text; of its name alone where Python has no text of it.

    Parameters
    ----------
    path : str
        ``python:MODULE:NAME``.

    Returns
    -------
    digest : str
    content : bytes

    Raises
    ------
    ModuleError
        As :func:`find_function`.
    """
    function = find_function(path)
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = path
    content = text.encode()
    return hashlib.sha256(content).hexdigest(), content
