"""A scripted model in an engine's units and types: float64 in and out, whatever the file inside takes."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import torch

from ...graph.fields import model_inputs, open_inputs, structure_in
from ...graph.geometry import near_origin


class AdaptedDialect(torch.nn.Module):
    """A model of NequIP's tensor dialect in other units and with other types. To be scripted itself.

    Parameters
    ----------
    model : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors.
    types : sequence of int
        Model type of each of the engine's types.
    length : float
        One length of the engine in model lengths.
    energy : float
        One model energy in those of the engine.
    double : bool
        Whether the model takes positions in float64; float32 otherwise.
    """

    types: torch.Tensor

    def __init__(
        self, model: torch.jit.ScriptModule, types: list[int], length: float, energy: float, double: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("types", torch.tensor(types, dtype=torch.int64))
        self.length = length
        self.energy = energy
        self.takes_double = double

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Energies, forces (n_atoms, 3) and virial of a structure; Allegro's has neither cell nor shifts."""
        positions, types, edge_index, shifts, cell = structure_in(data)
        positions = positions.detach().to(torch.float64) * self.length
        types = self.types[types.to(torch.int64)]
        dtype = torch.float64 if self.takes_double else torch.float32
        if shifts is None or cell is None:
            out = self.model(open_inputs(positions.to(dtype), types, edge_index))
        else:
            lattice, whole = cell.detach().to(torch.float64).view(3, 3) * self.length, shifts.detach().to(torch.float64)
            if not self.takes_double:
                positions, whole = near_origin(positions, edge_index, whole, lattice)
            out = self.model(
                model_inputs(positions.to(dtype), types, edge_index, whole.to(dtype), lattice.to(dtype))
            )
        forces = out["forces"].detach().to(torch.float64)
        result: dict[str, torch.Tensor] = {
            "total_energy": out["total_energy"].detach().to(torch.float64).reshape(1, 1) * self.energy,
            "forces": forces * (self.energy * self.length),
        }
        if "atomic_energy" in out:
            result["atomic_energy"] = out["atomic_energy"].detach().to(torch.float64).reshape(-1, 1) * self.energy
        if "virial" in out:
            result["virial"] = out["virial"].detach().to(torch.float64).reshape(1, 3, 3) * self.energy
        return result
