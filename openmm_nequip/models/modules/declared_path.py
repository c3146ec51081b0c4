"""The path of a module together with what it takes: goes wherever a model's path goes."""

from __future__ import annotations

import os
from typing import Any

from .module_interface import parse_interface


class DeclaredPath(os.PathLike[str]):
    """A model file, or ``python:MODULE:NAME``, with its interface.

    Parameters
    ----------
    path : str or path-like
        Where it is.
    interface
        What it takes, see :func:`~openmm_nequip.models.modules.module_interface.parse_interface`.

    Raises
    ------
    ModuleError
        If the interface is wrong.
    """

    def __init__(self, path: str | os.PathLike[str], interface: Any) -> None:
        self.path = os.fspath(path)
        self.interface = parse_interface(interface).text

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"DeclaredPath({self.path!r}, {self.interface!r})"


def declared(path: Any, interface: Any = None) -> Any:
    """The path with an interface, where one is given; else the path itself."""
    return path if interface is None else DeclaredPath(path, interface)
