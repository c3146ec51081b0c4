"""A scripted model inside openmmtorch's TorchForce: neighbours, units and atom selection live in the module itself.

With the property ``useCUDAGraphs`` another module is scripted: one whose shapes are constant and that never waits for
the device, because the plugin records it in a CUDA graph. It takes all pairs of atoms instead of a neighbour list and
gives the model edge vectors, as :mod:`openmm_nequip.models.vectors` explains.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of the class as types.

import math

import numpy as np
import openmm
import torch

from ..links import place_caps, spread_cap_forces
from ..models import open_model
from ..models.base import DUMMY_CELL, PAD_DISTANCE
from ..models.torchscript import TorchScriptModel
from ..models.vectors import forces_of_edges, takes_vectors
from ..neighbors import GAP, WIDEST, close_gaps
from ..padding import STEP, is_near, take_near
from .spec import PotentialSpec

#: A module with constant shapes looks at all pairs: of at most so many atoms.
STATIC_ATOMS = 1000
#: Its model is given at most the pairs within the cutoff at this density, that of diamond; water has 100.
STATIC_ATOMS_PER_NM3 = 180.0


class _Scripted(torch.nn.Module):
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
        layout, info = spec.layout, model.info
        self.model = model.module
        self.length = spec.units.length
        self.energy = spec.units.energy
        self.pad_distance = PAD_DISTANCE * info.cutoff
        self.periodic = spec.periodic
        self.input_double = model.input_dtype == torch.float64
        self.n_caps = layout.n_caps
        atoms = np.arange(layout.n_particles) if layout.atoms is None else layout.atoms
        self.register_buffer("atoms", torch.as_tensor(atoms))
        self.register_buffer("types", torch.as_tensor(layout.types, dtype=torch.int64))
        self.register_buffer("cap_q", torch.as_tensor(layout.cap_q))
        self.register_buffer("cap_m", torch.as_tensor(layout.cap_m))
        self.register_buffer("cap_distances", torch.as_tensor(layout.cap_distances / spec.units.length))
        self.per_edge_type = info.per_edge_type_cutoff is not None
        cutoffs = info.per_edge_type_cutoff or info.cutoff
        self.register_buffer("cutoffs", torch.tensor(cutoffs, dtype=torch.float64))
        self.register_buffer("dummy_cell", torch.eye(3, dtype=torch.float64) * (DUMMY_CELL * info.cutoff))

    def forward(self, positions: torch.Tensor, box: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
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
        raise NotImplementedError


class ScriptedPotential(_Scripted):
    """A scripted potential with vesin's neighbour list.

    Parameters
    ----------
    model, spec
        As :class:`_Scripted`.
    """

    def __init__(self, model: TorchScriptModel, spec: PotentialSpec) -> None:
        super().__init__(model, spec)
        from vesin_torch import NeighborList

        cutoff, skin = model.info.cutoff, spec.skin_nm / spec.units.length
        self.widest = WIDEST * cutoff
        self.gap = GAP * (cutoff + skin)
        self.neighbors = NeighborList(cutoff=cutoff, full_list=True, skin=skin)

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


class StaticPotential(_Scripted):
    """A scripted potential that a CUDA graph can record: constant shapes, no waiting for the device.

    Where its assumptions do not hold (a box narrower than two cutoffs, more pairs within the cutoff than there is room
    for), energy and forces are NaN, at which OpenMM stops: an error cannot leave a recorded graph in another way.

    Parameters
    ----------
    model, spec
        As :class:`_Scripted`; of at least two atoms and caps, and the model takes edge vectors.
    """

    pairs: torch.Tensor
    filler: torch.Tensor

    def __init__(self, model: TorchScriptModel, spec: PotentialSpec) -> None:
        super().__init__(model, spec)
        n = len(spec.layout.types)
        pairs = np.argwhere(~np.eye(n, dtype=bool)).T
        if len(spec.layout.regions) > 1:
            raise ValueError("several regions run through Python")
        self.register_buffer("pairs", torch.from_numpy(np.array(pairs, dtype=np.int64, order="C")))
        self.register_buffer("filler", torch.tensor([self.pad_distance, 0.0, 0.0], dtype=torch.float64))
        cutoff_nm = model.info.cutoff * spec.units.length
        neighbors = 4.0 / 3.0 * math.pi * cutoff_nm**3 * STATIC_ATOMS_PER_NM3
        self.capacity = min(pairs.shape[1], STEP * math.ceil(n * neighbors / STEP))
        self.narrowest = 2.0 * model.info.cutoff

    def evaluate(self, nodes: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Model energy () and forces (n_nodes, 3) in model units."""
        edge_index = self.pairs
        ends = nodes.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
        vectors = ends[1] - ends[0]
        failed = torch.zeros([], dtype=torch.bool, device=nodes.device)
        if self.periodic:
            # In OpenMM's reduced boxes one image at most is within half of the diagonal, and this finds it.
            for axis in (2, 1, 0):
                row = cell[axis]
                vectors = vectors - torch.round(vectors[:, axis] / row[axis]).unsqueeze(1) * row
            failed = torch.diagonal(cell).min() < self.narrowest
        if self.capacity < edge_index.size(1):
            near = is_near(vectors, self.types, edge_index, self.cutoffs.square())
            edge_index, vectors, needed = take_near(
                near, edge_index, vectors, self.filler, nodes.size(0), self.capacity
            )
            failed = torch.logical_or(failed, needed > self.capacity)
        data = {"pos": nodes, "edge_vectors": vectors, "atom_types": self.types, "edge_index": edge_index}
        out = self.model(data)
        energy = out["total_energy"].detach().to(torch.float64).reshape([])
        forces = forces_of_edges(out["edge_forces"].detach().to(torch.float64), edge_index, nodes.size(0))
        lost = torch.full_like(energy, float("nan"))
        return torch.where(failed, lost, energy), torch.where(failed, lost, forces)


def make_torch_force(spec: PotentialSpec, properties: dict[str, str]) -> openmm.Force:
    """Make a TorchForce that holds the whole potential, model included.

    Parameters
    ----------
    spec : PotentialSpec
        A potential whose source is TorchScript and whose layout is on all particles of the System.
    properties : dict of str to str
        ``useCUDAGraphs`` ("true" or "false") and ``CUDAGraphWarmupSteps``; with the former a :class:`StaticPotential`.

    Returns
    -------
    openmmtorch.TorchForce

    Raises
    ------
    ImportError
        If vesin-torch is not installed.
    ValueError
        If CUDA graphs are asked for and this potential cannot have constant shapes.
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
    force = TorchForce(script(model, spec, properties.get("useCUDAGraphs") == "true"), properties)
    force.setOutputsForces(True)
    force.setUsesPeriodicBoundaryConditions(spec.periodic)
    return force


def script(model: TorchScriptModel, spec: PotentialSpec, static: bool) -> torch.jit.ScriptModule:
    """The scripted module of a TorchForce.

    Parameters
    ----------
    model : TorchScriptModel
        The model.
    spec : PotentialSpec
        Its use.
    static : bool
        Whether it must be fit for a CUDA graph.

    Returns
    -------
    torch.jit.ScriptModule
        Takes positions (n, 3) and, if periodic, the box (3, 3) in nm; gives energy () and forces (n, 3).

    Raises
    ------
    ValueError
        If it must be and cannot.
    """
    if not static:
        return torch.jit.script(ScriptedPotential(model, spec).eval())
    n = len(spec.layout.types)
    cure = "leave useCUDAGraphs out, or use backend='PythonForce', which has cudaGraphs= for every model and size"
    if not 2 <= n <= STATIC_ATOMS:
        raise ValueError(
            f"useCUDAGraphs in a TorchForce is for 2 to {STATIC_ATOMS} atoms, because it looks at all pairs, and the "
            f"model has {n}; {cure}"
        )
    if not takes_vectors(model):
        raise ValueError(
            f"useCUDAGraphs in a TorchForce needs a model that takes edge vectors, and {spec.source.path} does not (it "
            f"is of nequip <= 0.6 or not from nequip); {cure}"
        )
    return torch.jit.script(StaticPotential(model, spec).eval())
