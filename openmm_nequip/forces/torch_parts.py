"""What every scripted potential shares: units, the choice of atoms, caps, and the forces on particles."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of the class as types.

import numpy as np
import torch

from ..evaluate.links import place_caps, spread_cap_forces
from ..graph.padding import PAD_DISTANCE
from ..models.base import ModelInfo, open_cell
from .spec import PotentialSpec


class ScriptedParts(torch.nn.Module):
    """nm in, kJ/mol and kJ/mol/nm out, for ``TorchForce(..., outputsForces=True)``.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    spec : PotentialSpec
        Units, skin, and a placement of all particles of the System.
    """

    atoms: torch.Tensor
    types: torch.Tensor
    cap_q: torch.Tensor
    cap_m: torch.Tensor
    cap_distances: torch.Tensor
    cutoffs: torch.Tensor
    open_cell: torch.Tensor

    def __init__(self, info: ModelInfo, spec: PotentialSpec) -> None:
        super().__init__()
        placement = spec.placement
        self.length = spec.units.length
        self.energy = spec.units.energy
        self.pad_distance = PAD_DISTANCE * info.reach
        self.periodic = spec.periodic
        self.n_caps = placement.n_caps
        atoms = np.arange(placement.n_particles) if placement.atoms is None else placement.atoms
        self.register_buffer("atoms", torch.as_tensor(atoms))
        self.register_buffer("types", torch.as_tensor(placement.types, dtype=torch.int64))
        self.register_buffer("cap_q", torch.as_tensor(placement.cap_q))
        self.register_buffer("cap_m", torch.as_tensor(placement.cap_m))
        self.register_buffer("cap_distances", torch.as_tensor(placement.cap_distances / spec.units.length))
        self.per_edge_type = info.per_edge_type_cutoff is not None
        cutoffs = info.per_edge_type_cutoff or info.reach
        self.register_buffer("cutoffs", torch.tensor(cutoffs, dtype=torch.float64))
        self.register_buffer("open_cell", torch.from_numpy(open_cell(info)))

    def forward(self, positions: torch.Tensor, box: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () and forces (n, 3) for positions (n, 3) and box (3, 3), all nm and kJ/mol."""
        points = positions.detach().to(torch.float64) / self.length
        cell = self.open_cell
        periodic_cell: torch.Tensor | None = None
        if self.periodic and box is not None:
            cell = box.detach().to(torch.float64) / self.length
            periodic_cell = cell
        nodes = points.index_select(0, self.atoms)
        if self.n_caps > 0:
            caps = place_caps(points, self.cap_q, self.cap_m, self.cap_distances, periodic_cell)
            nodes = torch.cat([nodes, caps])
        energy, node_forces = self.evaluate(nodes, cell)
        n_atoms = nodes.size(0) - self.n_caps
        forces = torch.zeros_like(points).index_add(0, self.atoms, node_forces[:n_atoms])
        if self.n_caps > 0:
            on_caps = node_forces[n_atoms:]
            forces = forces + spread_cap_forces(
                on_caps, points, self.cap_q, self.cap_m, self.cap_distances, periodic_cell
            )
        # The plugin reads the memory as it is, so shape, dtype and layout must be those of the positions.
        scaled = (forces * (self.energy / self.length)).to(positions.dtype).contiguous()
        return energy * self.energy, scaled

    def evaluate(self, nodes: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Model energy () and forces (n_nodes, 3) in model units; Raises what subclasses raise."""
        raise NotImplementedError
