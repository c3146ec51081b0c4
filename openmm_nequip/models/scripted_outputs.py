"""Scripted models of NequIP's tensor dialect from elsewhere, which give atomic energies and no total, such as MACE's.

References
----------
``&MACE`` of CP2K, which speaks to such files as to NequIP's: the energy is the sum of ``atomic_energy``.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

from typing import Any

import torch

from ..errors import ModelFileError

#: Root classes of nequip's own files, all of which give a total energy.
_OWN_ROOTS = ("GraphModel", "RescaleOutput")


class _Totalled(torch.nn.Module):
    """A module with ``total_energy`` (1, 1) among its outputs. To be scripted itself.

    Parameters
    ----------
    model : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors.
    """

    def __init__(self, model: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer."""
        out: dict[str, torch.Tensor] = self.model(data)
        if "total_energy" not in out:
            out["total_energy"] = out["atomic_energy"].sum().view(1, 1)
        return out


class _TotalledOptional(_Totalled):
    """The same for a model whose outputs may be None: those are left out."""

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer."""
        given: dict[str, torch.Tensor | None] = self.model(data)
        out: dict[str, torch.Tensor] = {}
        for name, value in given.items():
            if value is not None:
                out[name] = value
        if "total_energy" not in out:
            out["total_energy"] = out["atomic_energy"].sum().view(1, 1)
        return out


def totalled(module: torch.jit.ScriptModule, path: str) -> torch.jit.ScriptModule:
    """A scripted module that gives a total energy, whatever the file gives.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        As loaded.
    path : str
        Its file, for the message.

    Returns
    -------
    torch.jit.ScriptModule
        nequip's own, and others with a total energy, as they are; the rest wrapped, outputs that are None left out.

    Raises
    ------
    ModelFileError
        If it does not take and return a dictionary of tensors.
    """
    if module.original_name in _OWN_ROOTS:
        return module
    schema: Any = getattr(module.forward, "schema")  # noqa: B009  torch's stubs know no schema
    taken = [str(each.type) for each in schema.arguments[1:]]
    given = [str(each.type) for each in schema.returns]
    wrappers = {"Dict[str, Tensor]": _Totalled, "Dict[str, Optional[Tensor]]": _TotalledOptional}
    if taken != ["Dict[str, Tensor]"] or len(given) != 1 or given[0] not in wrappers:
        raise ModelFileError(
            f"TorchScript file {path} takes ({', '.join(taken)}) and gives ({', '.join(given)}); a NequIP, Allegro or "
            "CP2K potential takes one dictionary of tensors and gives one",
            path,
        )
    if given[0] == "Dict[str, Tensor]" and '"total_energy"' in str(module.inlined_graph):
        return module
    return torch.jit.script(wrappers[given[0]](module).eval())
