"""Accelerated kernels that nequip models bring along: the modifiers of ``nequip-compile --modifiers``.

A modifier is a named method of a class in the model that exchanges modules for faster ones with the same numbers, such
as ``enable_OpenEquivariance`` (NequIP) or ``enable_TritonContracter`` (Allegro). Packages contain the code of their
own nequip, so what there is to choose from is a fact of the model.

References
----------
``model/modify_utils.py`` and ``nn/model_modifier_utils.py`` of nequip.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch

from ...errors import ModifierError

#: Chosen where nobody chose, on CUDA: the first that the model has and whose library is installed.
PREFERRED = (
    ("enable_OpenEquivariance", "openequivariance"),
    ("enable_CuEquivariance", "cuequivariance_torch"),
    ("enable_TritonContracter", "triton"),
    ("enable_CuEquivarianceContracter", "cuequivariance_torch"),
)


def wanted_modifiers(modifiers: Sequence[str] | None, device: torch.device) -> tuple[str, ...]:
    """Modifiers to try, before the model is known.

    Parameters
    ----------
    modifiers : sequence of str or None
        What the user named; None for the installed ones of :data:`PREFERRED` on a CUDA device.
    device : torch.device
        Where the model will run.

    Returns
    -------
    tuple of str
    """
    if modifiers is None:
        if device.type != "cuda":
            return ()
        return tuple(name for name, library in PREFERRED if importlib.util.find_spec(library) is not None)
    return tuple(modifiers)


def apply_modifiers(
    module: Any, names: Sequence[str], device: torch.device, mode: str, optional: bool = False
) -> tuple[str, ...]:
    """Apply modifiers to a model, in place.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's GraphModel.
    names : sequence of str
        As :func:`wanted_modifiers` gives them.
    device : torch.device
        Where the model will run.
    mode : str
        ``"aotinductor"`` or ``"eager"``: how it will run.
    optional : bool
        Whether the first that fits is enough, and none is no error.

    Returns
    -------
    tuple of str
        The modifiers that were applied.

    Raises
    ------
    ModifierError
        If one is unknown, changes results, does not support the device or the mode, or its library is missing.
    """
    if not names:
        return ()
    from nequip.model.modify_utils import get_all_modifiers, modify

    known = get_all_modifiers(module)
    if optional:
        names = [name for name in names if name in known and not _obstacle(known[name], device, mode)][:1]
    for name in names:
        if name not in known:
            usable = sorted(each for each in known if not _obstacle(known[each], device, mode))
            raise ModifierError(
                f"modifiers: the model has no {name!r}; on {device.type} it can take {', '.join(usable) or 'none'}"
            )
        obstacle = _obstacle(known[name], device, mode)
        if obstacle:
            raise ModifierError(f"modifiers: {name!r} {obstacle}; leave it out")
        try:
            modify(module, [{"modifier": name}])
        except ImportError as error:
            raise ModifierError(f"modifiers: {name!r} needs a library that cannot be imported: {error}") from error
    return tuple(names)


def _obstacle(modifier: Any, device: torch.device, mode: str) -> str:
    """Why a modifier cannot be used; empty if it can."""
    from nequip.nn import model_modifier_utils as facts

    if facts.is_persistent_model_modifier(modifier):
        return "changes what the model computes, and belongs in `nequip-package`"
    if device.type in facts.get_model_modifier_unsupported_devices(modifier):
        return f"does not support the device {device.type!r}"
    # Allegro states neither devices nor modes of its kernels; its own documentation does.
    if modifier.__name__ in ("enable_TritonContracter", "enable_CuEquivarianceContracter") and device.type == "cpu":
        return "does not support the device 'cpu'"
    modes = facts.get_model_modifier_supported_compile_modes(modifier)
    if modifier.__name__ == "enable_TritonContracter":
        modes = ["aotinductor"]
    if modes is not None and mode not in modes:
        return f"works with {' and '.join(modes)} only, and the model is run in the mode {mode!r}"
    return ""
