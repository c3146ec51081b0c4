"""A TorchScript model with given inputs beside the structure, see :mod:`openmm_nequip.models.graph_inputs`."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

from typing import Any

import torch

from ..graph.fields import with_inputs


class ScriptedWithInputs(torch.nn.Module):
    """A scripted model with given inputs: takes a dictionary with the structure alone. To be scripted itself.

    Parameters
    ----------
    model : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors.
    inputs : dict of str to torch.Tensor, (1, 1)
        As :func:`openmm_nequip.models.graph_inputs.as_tensors` makes them.
    """

    def __init__(self, model: torch.jit.ScriptModule, inputs: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.inputs: Any = torch.jit.Attribute(inputs, dict[str, torch.Tensor])

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The model's answer; ``data`` holds positions (n_atoms, 3) and so on, as
        :func:`openmm_nequip.graph.fields.model_inputs` makes it."""
        return self.model(with_inputs(data, self.inputs))
