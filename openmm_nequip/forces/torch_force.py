"""A scripted model inside openmmtorch's TorchForce: neighbours, units and atom selection live in the module itself.

With the property ``useCUDAGraphs`` another module is scripted: one whose shapes are constant and that never waits for
the device, because the plugin records it in a CUDA graph. It takes all pairs of atoms instead of a neighbour list and
gives the model edge vectors, as :mod:`openmm_nequip.models.edge_vectors` explains.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of the class as types.

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
import torch

from ..committee_bias import CommitteeBias
from ..errors import ModelFileError
from ..graph.fields import model_inputs, vector_inputs
from ..graph.geometry import forces_of_edges, minimum_image_reduced, near_origin
from ..graph.neighbors import GAP, WIDEST, close_gaps
from ..graph.padding import PAD_DISTANCE, STEP, complete, is_near, take_near
from ..models import ModelInfo, open_model
from ..models.committee import CommitteeModel
from ..models.edge_vectors import takes_vectors
from ..models.formats.torchscript import TorchScriptModel
from ..models.modules.module_model import ModuleModel
from .module_force import ModulePotential
from .spec import PotentialSpec
from .torch_parts import ScriptedParts

#: A module with constant shapes looks at all pairs: of at most so many atoms.
STATIC_ATOMS = 1000
#: Its model is given at most the pairs within the cutoff at this density, that of diamond; water has 100.
STATIC_ATOMS_PER_NM3 = 180.0


class _ScriptedAnswer(torch.nn.Module):
    """One of nequip's models with the edges of a list that may reach farther.

    Parameters
    ----------
    model : TorchScriptModel
        The scripted model.
    widest : float
        Cutoff of the list.
    """

    cutoffs: torch.Tensor

    def __init__(self, model: TorchScriptModel, widest: float) -> None:
        super().__init__()
        info = model.info
        self.model = model.module
        self.input_double = model.input_dtype == torch.float64
        self.per_edge_type = info.per_edge_type_cutoff is not None
        self.shorter = info.reach < widest
        self.pad_distance = PAD_DISTANCE * info.reach
        self.register_buffer("cutoffs", torch.tensor(info.per_edge_type_cutoff or info.reach, dtype=torch.float64))

    def forward(
        self,
        nodes: torch.Tensor,
        types: torch.Tensor,
        cell: torch.Tensor,
        pairs: torch.Tensor,
        shifts: torch.Tensor,
        distances: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () and forces (n_nodes, 3) in model units; pairs (n_pairs, 2), shifts (n_pairs, 3)."""
        if self.per_edge_type:
            kept = distances < self.cutoffs[types[pairs[:, 0]], types[pairs[:, 1]]]
            pairs, shifts = pairs[kept], shifts[kept]
        elif self.shorter:
            kept = distances < self.cutoffs
            pairs, shifts = pairs[kept], shifts[kept]
        edge_index = pairs.t().contiguous()
        n = nodes.size(0)
        nodes, types, edge_index, shifts = complete(nodes, types, edge_index, shifts, cell, self.pad_distance)
        dtype = torch.float64 if self.input_double else torch.float32
        if not self.input_double:
            nodes, shifts = near_origin(nodes, edge_index, shifts, cell)
        out = self.model(model_inputs(nodes.to(dtype), types, edge_index, shifts.to(dtype), cell.to(dtype)))
        energy = out["total_energy"].detach().to(torch.float64).reshape([])
        forces = out["forces"].detach().to(torch.float64)
        if n == 1:
            return energy / 2, forces[:1]
        return energy, forces


class ScriptedPotential(ScriptedParts):
    """A scripted potential with vesin's neighbour list: one model, or the mean of several.

    Parameters
    ----------
    models : sequence of TorchScriptModel
        The scripted models.
    info : ModelInfo
        Facts about them together.
    spec : PotentialSpec
        Units, skin, and a placement of all particles of the System.
    """

    def __init__(self, models: Sequence[TorchScriptModel], info: ModelInfo, spec: PotentialSpec) -> None:
        super().__init__(info, spec)
        from vesin_torch import NeighborList

        cutoff, skin = info.reach, spec.skin_nm / spec.units.length
        #: Of a bias, in model energies; without one the spread is never above.
        bias = CommitteeBias(math.inf, 0.0) if spec.bias is None else spec.bias.per(spec.units.energy)
        self.bias_above, self.bias_strength = bias.above, bias.strength
        self.answers = torch.nn.ModuleList(_ScriptedAnswer(model, cutoff) for model in models)
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
        energies: list[torch.Tensor] = []
        forces: list[torch.Tensor] = []
        for answer in self.answers:
            one, on_nodes = answer(nodes, self.types, cell, pairs, shifts, found[2])
            energies.append(one)
            forces.append(on_nodes)
        if len(energies) == 1:
            return energies[0], forces[0]
        # From the first, as openmm_nequip.models.committee has it: of equal answers exactly these.
        excess = torch.stack(energies) - energies[0]
        excess_forces = torch.stack(forces) - forces[0]
        energy, mean_forces = energies[0] + excess.mean(), forces[0] + excess_forces.mean(0)
        # As openmm_nequip.committee_bias has it.
        excess = excess - excess.mean()
        spread = excess.square().mean().sqrt()
        beyond = spread - self.bias_above
        if bool(beyond > 0.0):
            weights = self.bias_strength * (beyond / spread) / len(energies) * excess
            energy = energy + 0.5 * self.bias_strength * beyond.square()
            mean_forces = mean_forces + (weights.view(-1, 1, 1) * excess_forces).sum(0)
        return energy, mean_forces


class StaticPotential(ScriptedParts):
    """A scripted potential that a CUDA graph can record: constant shapes, no waiting for the device.

    Where its assumptions do not hold (a box narrower than two cutoffs, more pairs within the cutoff than there is room
    for), energy and forces are NaN, at which OpenMM stops: an error cannot leave a recorded graph in another way.

    Parameters
    ----------
    model : TorchScriptModel
        The scripted model, which takes edge vectors.
    spec : PotentialSpec
        As of :class:`ScriptedPotential`; of at least two atoms and caps.
    """

    pairs: torch.Tensor
    filler: torch.Tensor

    def __init__(self, model: TorchScriptModel, spec: PotentialSpec) -> None:
        super().__init__(model.info, spec)
        self.model = model.module
        n = len(spec.placement.types)
        pairs = np.argwhere(~np.eye(n, dtype=bool)).T
        if len(spec.placement.regions) > 1:
            raise ValueError("several regions run through Python")
        self.register_buffer("pairs", torch.from_numpy(np.array(pairs, dtype=np.int64, order="C")))
        self.register_buffer("filler", torch.tensor([self.pad_distance, 0.0, 0.0], dtype=torch.float64))
        cutoff_nm = model.info.reach * spec.units.length
        neighbors = 4.0 / 3.0 * math.pi * cutoff_nm**3 * STATIC_ATOMS_PER_NM3
        self.capacity = min(pairs.shape[1], STEP * math.ceil(n * neighbors / STEP))
        self.narrowest = 2.0 * model.info.reach

    def evaluate(self, nodes: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Model energy () and forces (n_nodes, 3) in model units."""
        edge_index = self.pairs
        ends = nodes.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
        vectors = ends[1] - ends[0]
        failed = torch.zeros([], dtype=torch.bool, device=nodes.device)
        if self.periodic:
            vectors = minimum_image_reduced(vectors, cell)
            failed = torch.diagonal(cell).min() < self.narrowest
        if self.capacity < edge_index.size(1):
            near = is_near(vectors, self.types, edge_index, self.cutoffs.square())
            edge_index, vectors, needed = take_near(
                near, edge_index, vectors, self.filler, nodes.size(0), self.capacity
            )
            failed = torch.logical_or(failed, needed > self.capacity)
        out = self.model(vector_inputs(nodes, self.types, edge_index, vectors))
        energy = out["total_energy"].detach().to(torch.float64).reshape([])
        forces = forces_of_edges(out["edge_forces"].detach().to(torch.float64), edge_index, nodes.size(0))
        lost = torch.full_like(energy, float("nan"))
        return torch.where(failed, lost, energy), torch.where(failed, lost, forces)


def make_torch_force(spec: PotentialSpec, properties: dict[str, str]) -> openmm.Force:
    """Make a TorchForce that holds the whole potential, model included.

    Parameters
    ----------
    spec : PotentialSpec
        A potential whose source is TorchScript and whose placement is on all particles of the System.
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
    source = spec.source.driving
    source.verify()
    # CUDA graphs are the plugin's, on the device of its Context; the module is made on a CPU, and runs as it is.
    execution = dataclasses.replace(spec.execution, device="cpu", cuda_graphs="auto", kernels="none")
    model = open_model(source, execution)
    if isinstance(model, ModuleModel):
        if properties.get("useCUDAGraphs") == "true":
            raise ValueError("useCUDAGraphs: a foreign module may wait for the device, so it has no CUDA graph")
        module = torch.jit.script(ModulePotential(model, spec).eval())
        return _force(module, spec, properties)
    for each in model.members if isinstance(model, CommitteeModel) else (model,):
        if not isinstance(each, TorchScriptModel):
            raise ModelFileError(
                f"{source.path} did not load as TorchScript but as {type(each).__name__}; use backend='PythonForce'",
                source.path,
            )
    return _force(script(model, spec, properties.get("useCUDAGraphs") == "true"), spec, properties)


def _force(module: torch.jit.ScriptModule, spec: PotentialSpec, properties: dict[str, str]) -> openmm.Force:
    from openmmtorch import TorchForce

    force = TorchForce(module, properties)
    force.setOutputsForces(True)
    force.setUsesPeriodicBoundaryConditions(spec.periodic)
    return force


def script(model: Any, spec: PotentialSpec, static: bool) -> torch.jit.ScriptModule:
    """The scripted module of a TorchForce.

    Parameters
    ----------
    model : TorchScriptModel, or CommitteeModel of these
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
        models: Any = model.members if isinstance(model, CommitteeModel) else (model,)
        return torch.jit.script(ScriptedPotential(models, model.info, spec).eval())
    n = len(spec.placement.types)
    cure = "leave useCUDAGraphs out, or use backend='PythonForce', which has cudaGraphs= for every model and size"
    if not 2 <= n <= STATIC_ATOMS:
        raise ValueError(
            f"useCUDAGraphs in a TorchForce is for 2 to {STATIC_ATOMS} atoms, because it looks at all pairs, and the "
            f"model has {n}; {cure}"
        )
    if isinstance(model, CommitteeModel):
        raise ValueError(
            f"useCUDAGraphs in a TorchForce is for one model, and {spec.source.path} is a committee; {cure}"
        )
    if not takes_vectors(model):
        raise ValueError(
            f"useCUDAGraphs in a TorchForce needs a model that takes edge vectors, and {spec.source.path} does not (it "
            f"is of nequip <= 0.6 or not from nequip); {cure}"
        )
    return torch.jit.script(StaticPotential(model, spec).eval())
