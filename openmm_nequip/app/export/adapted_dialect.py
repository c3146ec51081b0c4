"""A scripted model in an engine's units and types: float64 in and out, whatever the file inside takes."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import torch

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
        self.double = double

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Energies, forces and virial of a structure, in the engine's units; Allegro's has neither cell nor shifts."""
        given: dict[str, torch.Tensor] = {}
        for name, value in data.items():
            given[name] = value
        given["pos"] = data["pos"].detach().to(torch.float64) * self.length
        given["atom_types"] = self.types[data["atom_types"].to(torch.int64)]
        if "cell" in data:
            cell = data["cell"].detach().to(torch.float64).view(3, 3) * self.length
            shifts = data["edge_cell_shift"].detach().to(torch.float64)
            if not self.double:
                given["pos"], shifts = near_origin(given["pos"], data["edge_index"], shifts, cell)
            given["edge_cell_shift"] = shifts
            given["cell"] = cell.view(1, 3, 3)
        if not self.double:
            for name in ("pos", "cell", "edge_cell_shift"):
                if name in given:
                    given[name] = given[name].to(torch.float32)
        out = self.model(given)
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
