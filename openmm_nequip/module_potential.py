"""A potential from a module or function at hand: :func:`potential_from`."""

from __future__ import annotations

import copy
import hashlib
import io
import os
from typing import Any

import torch

from .cache import keep, shelf
from .choices import POTENTIAL_NAME, PYTHON
from .errors import ModuleError
from .models.modules.callables import HELD
from .models.modules.declared_path import DeclaredPath

_UNITS = "give units=(LENGTH, ENERGY), such as ('angstrom', 'eV')"


def potential_from(module: Any, inputs: Any, units: Any = None, **options: Any) -> Any:
    """A potential for OpenMM from whatever takes positions and gives an energy.

    Parameters
    ----------
    module : torch.nn.Module, callable, str or path-like
        A module, scripted or not; a function of tensors; a ``.pt`` file; or ``python:MODULE:NAME``. Modules are
        scripted where torch can do that: a System then carries its potential, and needs nothing else when it is saved.
        A function, or a module that cannot be scripted, is known to saved Systems by its name: another process has to
        find it there, and to say :func:`openmm_nequip.trust`; one without such a name (a lambda, an instance) lives in
        this process alone.
    inputs : str, sequence of str or mapping
        What it takes, in order, and its outputs, as
        :func:`openmm_nequip.models.modules.module_interface.parse_interface` reads it.
    units : pair of str or openmm.unit.Unit, optional
        Its units of length and energy; nm and kJ/mol are known where GROMACS' names are used.
    options
        Fields of :class:`openmm_nequip.options.Options`.

    Returns
    -------
    openmmml.MLPotential
        With ``createSystem`` and ``createMixedSystem``.

    Raises
    ------
    ModuleError
        If the inputs are declared wrongly, or ``module`` is nothing that can be called.
    ValueError, TypeError
        For units or options that are wrong.
    """
    from openmmml import MLPotential

    if units is not None:
        pair = units.replace(",", " ").split() if isinstance(units, str) else units
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f"units={units!r}: {_UNITS}")
        options |= {"lengthUnit": pair[0], "energyUnit": pair[1]}
    if "moduleInputs" in options:
        raise TypeError("potential_from takes inputs=, which is what moduleInputs= is elsewhere; leave that out")
    path, scripted = _path_of(module)
    if scripted:
        options.setdefault("embedModel", True)
    return MLPotential(POTENTIAL_NAME, modelPath=DeclaredPath(path, inputs), **options)


def _path_of(module: Any) -> tuple[str, bool]:
    """Where a potential can be found, and whether that is a file that was made for it."""
    if isinstance(module, (str, os.PathLike)):
        return os.fspath(module), False
    if isinstance(module, torch.nn.Module):
        made = _scripted(module)
        if made is not None:
            return made, True
    elif not callable(module):
        raise ModuleError(
            f"potential_from got a {type(module).__name__}; give a module, a function, a file, or {PYTHON}MODULE:NAME"
        )
    return HELD.hold(module), False


def _scripted(module: torch.nn.Module) -> str | None:
    """The path of a file with the scripted module; None where it cannot be scripted."""
    content = io.BytesIO()
    try:
        # A copy in evaluation mode: the caller's own goes on as it is.
        ready = module if isinstance(module, torch.jit.ScriptModule) else copy.deepcopy(module).eval()
        scripted = ready if isinstance(ready, torch.jit.ScriptModule) else torch.jit.script(ready)
        torch.jit.save(scripted, content)
    except Exception:  # whatever TorchScript does not know
        return None
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    return str(keep(shelf("modules"), digest[:32], ".pt", content.getvalue()))
