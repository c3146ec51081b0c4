"""Scripted models as readers want them: modules under the names of their classes, irreps and instructions as such.

TorchScript keeps of a module what its code needs: parameters, buffers, attributes, submodules, and the name of its
class. A :class:`ScriptedModule` shows these as the module had them before it was scripted, so that one reader serves
both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch


class Instruction(NamedTuple):
    """A path of e3nn's tensor products, of which TorchScript keeps a plain tuple."""

    i_in1: int
    i_in2: int
    i_out: int
    connection_mode: str
    has_weight: bool
    path_weight: float
    path_shape: tuple[int, ...]


class ScriptedModule:
    """A scripted module, under the name of the class that it was; made by :func:`show`.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        The module.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    @property
    def _modules(self) -> dict[str, Any]:
        return {name: show(child) for name, child in self._module.named_children()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "acts":  # e3nn's Activation iterates over them
            return list(show(self._module.acts))
        try:
            found = getattr(self._module, name)
        except (AttributeError, RuntimeError):
            found = getattr(self._module, f"_{name}")  # e3nn keeps irreps as private attributes of scripted modules
            if not name.startswith("irreps"):
                raise
        return _shown(name, found)

    def __call__(self, *arguments: Any) -> Any:
        return self._module(*arguments)

    def __iter__(self) -> Iterator[Any]:
        return iter(show(child) for child in self._module.children())

    def modules(self) -> Iterator[Any]:
        """All modules, the outermost first."""
        return iter(show(module) for module in self._module.modules())


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, torch.jit.ScriptModule):
        return show(value)
    if "irreps" in name and isinstance(value, (tuple, list)):
        from e3nn.o3 import Irreps

        return Irreps([(mul, tuple(irrep)) for mul, irrep in value])
    if name == "instructions" and isinstance(value, (tuple, list)):
        return [Instruction(*entry) for entry in value]
    return value


@cache
def _class_named(name: str) -> type[ScriptedModule]:
    return type(name, (ScriptedModule,), {})


def show(module: Any) -> Any:
    """A scripted module as readers want it.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        The module.

    Returns
    -------
    ScriptedModule
        Of a class that has the name of the module's own.
    """
    return _class_named(module.original_name)(module)
