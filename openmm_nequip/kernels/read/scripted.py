"""Scripted models as readers want them: modules under the names of their classes, irreps and instructions as such.

TorchScript keeps of a module what its code needs: parameters, buffers, attributes, submodules, and the name of its
class. A :class:`ScriptedModule` shows these as the module had them before it was scripted, so that one reader serves
both.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
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
        self._scripted = module
        self._input_dtype: torch.dtype | None = None

    @property
    def _modules(self) -> dict[str, Any]:
        return {name: show(child) for name, child in self._scripted.named_children()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "acts":  # e3nn's Activation iterates over them
            return list(show(self._scripted.acts))
        try:
            found = getattr(self._scripted, name)
        except (AttributeError, RuntimeError):
            found = getattr(self._scripted, f"_{name}")  # e3nn keeps irreps as private attributes of scripted modules
            if not name.startswith("irreps"):
                raise
        return _shown(name, found)

    def __call__(self, *arguments: Any) -> Any:
        if self._input_dtype is not None:
            arguments = tuple(rounded(argument, self._input_dtype) for argument in arguments)
        return self._scripted(*arguments)

    def taking(self, dtype: torch.dtype) -> ScriptedModule:
        """The same, which rounds the fields of a structure before it reads them: modules of nequip <= 0.6 do not."""
        self._input_dtype = dtype
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(show(child) for child in self._scripted.children())

    def modules(self) -> Iterator[Any]:
        """All modules, the outermost first."""
        return iter(show(module) for module in self._scripted.modules())


def rounded(fields: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Fields of a structure with the numbers that are not whole in a precision.

    Parameters
    ----------
    fields : dict of str to torch.Tensor, (...)
        nequip's.
    dtype : torch.dtype
        The precision.

    Returns
    -------
    dict of str to torch.Tensor, (...)
    """
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in fields.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, torch.jit.ScriptModule):
        return show(value)
    if "irreps" in name and isinstance(value, (tuple, list)):
        from e3nn.o3 import Irreps

        return Irreps([(mul, tuple(irrep)) for mul, irrep in value])
    if name == "instructions" and isinstance(value, (tuple, list)):
        return [Instruction(*entry) for entry in value]
    return value


@functools.cache
def _class_named(name: str) -> type[ScriptedModule]:
    """A class of the name that a module's class had before it was scripted."""
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
