"""A TorchMD-Net model that is given its pairs, as a :class:`~openmm_nequip.models.base.Model`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch

from ...errors import ModelInputError
from ...graph.geometry import edge_vectors, forces_of_edges
from ...graph.graph import EXACT_EDGES, NO_EDGES, EdgeNeeds, Graph, Outputs
from ...upstream.nequip_state import preserved_global_state
from ...upstream.torchmdnet_models import pair_finders, rebuild
from ..base import Model, ModelInfo
from ..rebuilding import LIMIT, Settings
from .given_pairs import GivenPairs, Pairs
from .hyperparameters import Checkpoint

_DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
#: Warp compiles a kernel when it is first used; two threads must not do so at once.
_FIRST_USE = threading.Lock()


class RebuiltModel(Model):
    """A model that TorchMD-Net has rebuilt from a checkpoint, evaluated by its own code on the package's pairs.

    A cell so narrow that an atom sees an image of itself is evaluated as several cells beside each other, since
    TorchMD-Net takes a pair of an atom with itself for none: each is a molecule of its own in the batch, and their
    atoms are neighbours.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    device : torch.device
        Where it is.
    module : torch.nn.Module
        TorchMD-Net's own model.
    inputs : mapping of str to number or sequence of number
        Values of its inputs beside the structure.
    limit : int, optional
        Neighbours for which there is room, in place of the model's own numbers.
    """

    gives_virial = True
    unrecordable = "TorchMD-Net's models choose their pairs anew at each step"

    def __init__(
        self,
        info: ModelInfo,
        device: torch.device,
        module: torch.nn.Module,
        inputs: Mapping[str, Any],
        limit: int | None = None,
    ) -> None:
        super().__init__(info, device)
        self.needs = EdgeNeeds(NO_EDGES if info.cutoff is None else EXACT_EDGES)
        self.dtype = _DTYPES[info.dtype]
        self._given = []
        for parent, name, finder in pair_finders(module):
            given = GivenPairs(finder, limit)
            setattr(parent, name, given)
            self._given.append(given)
        self.module = module.to(device)
        self._inputs = dict(inputs)
        self._lock = threading.Lock()
        self._used = False

    def evaluate(self, graph: Graph) -> Outputs:
        """As :meth:`openmm_nequip.models.base.Model.evaluate`; one atom and no edges need no padding here."""
        return self._evaluate(graph)

    def _evaluate(self, graph: Graph) -> Outputs:
        with self._lock:
            if self._used:
                return self._answer(graph)
            with _FIRST_USE:
                out = self._answer(graph)
            self._used = True
            return out

    def _answer(self, graph: Graph) -> Outputs:
        # The caller may have switched gradients off; forces are derivatives.
        with torch.inference_mode(False), torch.enable_grad():
            positions = graph.positions.clone().requires_grad_()
            index, shifts = graph.edges.index, graph.edges.shifts
            vectors = edge_vectors(graph.positions, index, shifts, graph.cell).clone().requires_grad_()
            energy = self._energy(positions, graph.types, index, vectors, shifts, graph.cell)
            found = torch.autograd.grad(energy, [positions, vectors], allow_unused=True, materialize_grads=True)
        direct, by_edge = (each.detach() for each in found)  # zeros of torch 2.9 would require gradients
        forces = forces_of_edges(by_edge, index, len(positions)) - direct
        virial = -vectors.detach().t() @ by_edge
        return Outputs(energy.detach(), forces, virial=(virial + virial.t()) / 2)

    def _energy(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        index: torch.Tensor,
        vectors: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> torch.Tensor:
        """Energy () float64 of one cell, differentiable by positions (n_atoms, 3) and edge vectors (n_edges, 3)."""
        n_atoms, cells = len(positions), 1
        repeats = repeats_of(index, shifts)
        places = positions
        if repeats is not None:
            index, cells, offsets = repeated(index, shifts, repeats, n_atoms)
            vectors = vectors.repeat(cells, 1)
            places = (positions.unsqueeze(0) + (offsets.to(cell.dtype) @ cell).unsqueeze(1)).reshape(-1, 3)
            types = types.repeat(cells)
        batch = torch.arange(cells, device=positions.device).repeat_interleave(n_atoms)
        # TorchMD-Net's vectors lead from the second atom of a pair to the first.
        rounded = -vectors.to(self.dtype)
        pairs = Pairs(index, rounded, torch.linalg.vector_norm(rounded, dim=1), len(types))
        for given in self._given:
            given.pairs = pairs
        try:
            # Where nothing is periodic some terms read the positions: rounded near the origin they keep their digits.
            places = (places - places.detach().mean(0)).to(self.dtype)
            answer, _ = self.module(types, places, batch, **self._arguments(n_atoms, cells))
        finally:
            for given in self._given:
                given.pairs = None
        return answer.to(torch.float64).mean()

    def _arguments(self, n_atoms: int, cells: int) -> dict[str, Any]:
        """The inputs beside the structure, as TorchMD-Net names them."""
        made: dict[str, Any] = {}
        for name, mine in (("q", "charge"), ("s", "spin")):
            if mine in self._inputs:
                made[name] = torch.full((cells,), self._inputs[mine], dtype=self.dtype, device=self.device)
        if "partial_charges" in self._inputs:
            charges = per_atom("partial_charges", self._inputs["partial_charges"], n_atoms)
            made["extra_args"] = {
                "partial_charges": torch.tensor(charges, dtype=self.dtype, device=self.device).repeat(cells)
            }
        return made


def repeats_of(index: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor | None:
    """How often a cell must stand beside itself so that no atom sees its own image.

    Parameters
    ----------
    index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour.
    shifts : torch.Tensor, (n_edges, 3) float64
        Whole numbers of cell vectors.

    Returns
    -------
    torch.Tensor, (3,) int64, or None
        Along each cell vector; None where no atom does.
    """
    own = shifts[index[0] == index[1]]
    if not len(own):
        return None
    # A shift that is no multiple of this in every direction leads to another copy.
    return own.abs().amax(0).to(torch.int64) + 1


def repeated(
    index: torch.Tensor, shifts: torch.Tensor, repeats: torch.Tensor, n_atoms: int
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """The edges of several cells beside each other.

    Parameters
    ----------
    index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour of one cell.
    shifts : torch.Tensor, (n_edges, 3) float64
        Whole numbers of cell vectors.
    repeats : torch.Tensor, (3,) int64
        Cells along each vector.
    n_atoms : int
        Atoms of one cell.

    Returns
    -------
    index : torch.Tensor, (2, n_cells * n_edges) int64
        Cell by cell, each in the order of the given edges.
    n_cells : int
    offsets : torch.Tensor, (n_cells, 3) int64
        Whole numbers of cell vectors to each cell.
    """
    ranges = [torch.arange(int(n), device=index.device) for n in repeats]
    offsets = torch.cartesian_prod(*ranges)
    target = torch.remainder(offsets.unsqueeze(1) + shifts.to(torch.int64).unsqueeze(0), repeats)
    number = (target[..., 0] * repeats[1] + target[..., 1]) * repeats[2] + target[..., 2]
    cells = len(offsets)
    centres = index[0] + n_atoms * torch.arange(cells, device=index.device).unsqueeze(1)
    neighbors = index[1] + n_atoms * number
    return torch.stack([centres.reshape(-1), neighbors.reshape(-1)]), cells, offsets


def open_checkpoint(
    checkpoint: Checkpoint, info: ModelInfo, device: torch.device, inputs: Mapping[str, Any], settings: Settings
) -> RebuiltModel:
    """A model from a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is in the file.
    info : ModelInfo
        Its facts.
    device : torch.device
        Where to run it.
    inputs : mapping of str to number or sequence of number
        Values of its inputs beside the structure.
    settings : tuple of (str, value)
        Hyperparameters to set otherwise.

    Returns
    -------
    RebuiltModel

    Raises
    ------
    ImportError, UpstreamError
        As :func:`openmm_nequip.upstream.torchmdnet_models.rebuild`.
    """
    changed: dict[str, Any] = dict(settings)
    limit = changed.pop(LIMIT, None)
    with preserved_global_state():  # making the weights that are then replaced draws random numbers
        module = rebuild(checkpoint.parameters, checkpoint.weights, {"static_shapes": False, **changed})
    return RebuiltModel(info, device, module, inputs, limit)


def per_atom(name: str, value: Any, n_atoms: int) -> list[float]:
    """A value for each atom, from one for all or a sequence.

    Parameters
    ----------
    name : str
        The input, for the message.
    value : number or sequence of number
        As given.
    n_atoms : int
        Atoms of the model, caps of cut bonds last.

    Returns
    -------
    list of float

    Raises
    ------
    ModelInputError
        If there are more or fewer than atoms.
    """
    if not isinstance(value, tuple):
        return [float(value)] * n_atoms
    if len(value) != n_atoms:
        raise ModelInputError(
            f"modelInputs: {name} has {len(value)} values, and the model describes {n_atoms} atoms, with the caps of "
            "cut bonds last; give one for each",
            name,
        )
    return [float(each) for each in value]
