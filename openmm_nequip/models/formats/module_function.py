"""Functions and classes of Python programs as potentials: ``python:MODULE:NAME`` with declared inputs."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from ...errors import ModuleError
from ...upstream.openmm_messages import first_line
from ..base import ModelInfo
from ..execution import Execution
from ..format import FUNCTION, Contents, Format
from ..modules.callables import find_function
from ..modules.module_interface import ENERGY
from ..modules.module_model import ModuleModel
from ..source import ModelSource
from .module_file import info_of, interface_of


def recognise(contents: Contents) -> bool:
    """Never: no file is a function."""
    return False


def read_info(source: ModelSource) -> ModelInfo:
    """Facts from the declaration.

    Parameters
    ----------
    source : ModelSource
        The function with its interface.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModuleError
        If its inputs are not declared, or it is not trusted here.
    """
    function = find_function(source.path)
    return info_of(interface_of(source), _dtype(function))


def _dtype(function: Any) -> str:
    """Precision of a module's parameters and buffers; float64 for other functions."""
    if isinstance(function, torch.nn.Module):
        for tensor in (*function.parameters(), *function.buffers()):
            if tensor.dtype in (torch.float32, torch.float64):
                return str(tensor.dtype).removeprefix("torch.")
    return "float64"


def open_function(source: ModelSource, device: torch.device, execution: Execution) -> ModuleModel:
    """A function as a model; a class is called without arguments first.

    Parameters
    ----------
    source : ModelSource
        The function with its interface.
    device : torch.device
        Where modules are moved; functions get tensors there.
    execution : Execution
        Its charge and spin.

    Returns
    -------
    ModuleModel

    Raises
    ------
    ModuleError
        If it is not trusted here, or cannot be made.
    """
    interface = interface_of(source)
    function: Any = find_function(source.path)
    if isinstance(function, type):
        try:
            function = function()
        except Exception as error:  # a user's code can raise anything
            raise ModuleError(
                f"{source.path} is a class, and calling it without arguments failed: {type(error).__name__}: "
                f"{first_line(str(error))}",
                path=source.path,
            ) from error
    dtype = _dtype(function)
    if isinstance(function, torch.nn.Module):
        # A copy: the caller's own stays where it is, in the mode that it is in.
        function = copy.deepcopy(function).to(device).eval()
    interface = dataclasses.replace(interface, outputs=interface.outputs or (ENERGY,))
    return ModuleModel(
        info_of(interface, dtype), device, interface, function, source.path, values=dict(execution.inputs)
    )


FORMAT = Format(
    kind=FUNCTION,
    suffix=".py",
    runs_code=True,
    can_compile=False,
    can_fuse=False,
    recognise=recognise,
    read_info=read_info,
    open=open_function,
)
