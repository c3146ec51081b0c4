"""A scripted model inside openmmtorch's TorchForce: neighbours, units and atom selection live in the module itself."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of the class as types.

import numpy as np
import openmm
import torch

from ..links import place_caps, spread_cap_forces
from ..models import open_model
from ..models.base import DUMMY_CELL, PAD_DISTANCE
from ..models.torchscript import TorchScriptModel
from ..neighbors import WIDEST, close_gaps
from .spec import PotentialSpec


class ScriptedPotential(torch.nn.Module):
    """nm in, kJ/mol and kJ/mol/nm out, for ``TorchForce(..., outputsForces=True)``.

    Parameters
    ----------
    model : TorchScriptModel
        The scripted model.
    spec : PotentialSpec
        Units, skin, and a layout of all particles of the System.
    """

    atoms: torch.Tensor
    types: torch.Tensor
    cap_q: torch.Tensor
    cap_m: torch.Tensor
    cap_distances: torch.Tensor
    cutoffs: torch.Tensor
    dummy_cell: torch.Tensor

    def __init__(self, model: TorchScriptModel, spec: PotentialSpec) -> None:
        super().__init__()
        from vesin_torch import NeighborList

        layout, info = spec.layout, model.info
        self.model = model.module
        self.length = spec.units.length
        self.energy = spec.units.energy
        self.widest = WIDEST * info.cutoff
        self.gap = 1.01 * (info.cutoff + spec.skin_nm / spec.units.length)
        self.pad_distance = PAD_DISTANCE * info.cutoff
        self.periodic = spec.periodic
        self.input_double = model.input_dtype == torch.float64
        self.n_caps = layout.n_caps
        self.neighbors = NeighborList(cutoff=info.cutoff, full_list=True, skin=spec.skin_nm / spec.units.length)
        atoms = np.arange(layout.n_particles) if layout.atoms is None else layout.atoms
        self.register_buffer("atoms", torch.as_tensor(atoms))
        self.register_buffer("types", torch.as_tensor(layout.types, dtype=torch.int64))
        self.register_buffer("cap_q", torch.as_tensor(layout.cap_q))
        self.register_buffer("cap_m", torch.as_tensor(layout.cap_m))
        self.register_buffer("cap_distances", torch.as_tensor(layout.cap_distances / spec.units.length))
        cutoffs = info.per_edge_type_cutoff
        self.per_edge_type = cutoffs is not None
        self.register_buffer("cutoffs", torch.zeros(0, 0) if cutoffs is None else torch.tensor(cutoffs).double())
        self.register_buffer("dummy_cell", torch.eye(3, dtype=torch.float64) * (DUMMY_CELL * info.cutoff))

    def forward(
        self, positions: torch.Tensor, box: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () and forces (n, 3) for positions (n, 3) and box (3, 3), all nm and kJ/mol."""
        points = positions.detach().to(torch.float64) / self.length
        cell = self.dummy_cell
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
        """Model energy () and forces (n_nodes, 3) in model units."""
        points = nodes
        if not self.periodic and float(nodes.max() - nodes.min()) > self.widest:
            points = close_gaps(nodes, self.gap)
        found = self.neighbors.compute(points, cell, self.periodic, "PSd", True)
        pairs = found[0].to(torch.int64)
        shifts = found[1].to(torch.float64)
        types = self.types
        if self.per_edge_type:
            kept = found[2] < self.cutoffs[types[pairs[:, 0]], types[pairs[:, 1]]]
            pairs, shifts = pairs[kept], shifts[kept]
        edge_index = pairs.t().contiguous()
        if edge_index.size(1) < 2:
            # As models.base.pad_edges: an image of atom 0 beyond the cutoff contributes exactly nothing.
            images = torch.ceil(self.pad_distance / torch.linalg.vector_norm(cell[0]))
            extra = torch.zeros((2, 3), dtype=torch.float64, device=nodes.device)
            extra[:, 0] = images
            shifts = torch.cat([shifts, extra])
            edge_index = torch.cat([edge_index, torch.zeros((2, 2), dtype=torch.int64, device=nodes.device)], 1)
        n = nodes.size(0)
        if n == 1:
            # As models.base.Model: a single atom is evaluated twice, side by side.
            nodes, types, shifts = nodes.repeat(2, 1), types.repeat(2), shifts.repeat(2, 1)
            edge_index = torch.cat([edge_index, edge_index + 1], 1)
        dtype = torch.float64 if self.input_double else torch.float32
        data = {
            "pos": nodes.to(dtype),
            "atom_types": types,
            "edge_index": edge_index,
            "edge_cell_shift": shifts.to(dtype),
            "cell": cell.to(dtype).view(1, 3, 3),
        }
        out = self.model(data)
        energy = out["total_energy"].detach().to(torch.float64).reshape([])
        forces = out["forces"].detach().to(torch.float64)
        if n == 1:
            return energy / 2, forces[:1]
        return energy, forces


def make_torch_force(spec: PotentialSpec, properties: dict[str, str]) -> openmm.Force:
    """Make a TorchForce that holds the whole potential, model included.

    Parameters
    ----------
    spec : PotentialSpec
        A potential whose source is TorchScript and whose layout is on all particles of the System.
    properties : dict of str to str
        ``useCUDAGraphs`` ("true" or "false") and ``CUDAGraphWarmupSteps``.

    Returns
    -------
    openmmtorch.TorchForce

    Raises
    ------
    ImportError
        If vesin-torch is not installed.
    """
    try:
        import vesin_torch  # noqa: F401
    except ImportError as error:
        raise ImportError(f"backend='TorchForce' needs vesin-torch ({error}); `pip install vesin-torch`") from error
    from openmmtorch import TorchForce

    spec.source.verify()
    model = open_model(spec.source, torch.device("cpu"), spec.compile, spec.kernels)
    if not isinstance(model, TorchScriptModel):
        raise TypeError(f"{spec.source.path} did not load as a TorchScript model but as {type(model).__name__}")
    module = torch.jit.script(ScriptedPotential(model, spec).eval())
    force = TorchForce(module, properties)
    force.setOutputsForces(True)
    force.setUsesPeriodicBoundaryConditions(spec.periodic)
    return force
