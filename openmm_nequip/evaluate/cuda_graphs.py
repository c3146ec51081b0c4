"""CUDA graphs around a model: the whole step recorded once and replayed, with the results of the model as it is.

A graph replays the same kernels on the same memory, so nothing in a step may depend on how many edges there are. The
neighbour list keeps candidate pairs in buffers of constant length on the device (:mod:`openmm_nequip.graph.padding`)
and remakes them only when an atom has moved far; inside the graph the pairs within the cutoff are moved to the front of
a second, shorter buffer. Their number comes back with the energy and the forces, in the one copy for which a step
waits. If it was more than the buffer holds, the result is thrown away, the buffer grows, the graph is recorded anew and
the step repeated: no edge is ever dropped.

NequIP's ``edge_vectors`` input is used where the module itself is at hand: it needs neither a strained copy of the
structure nor the cell's determinant, which cuSOLVER computes in a way that no graph can record. Models compiled by
AOTInductor are recorded as they are.
"""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

import torch

from ..cuda_driver import on_device
from ..errors import CudaGraphError
from ..graph.geometry import edge_vectors
from ..graph.graph import CANDIDATE_EDGES, EdgeNeeds, Edges, Graph, Outputs
from ..graph.padding import PAD_DISTANCE, STEP, Capacity, is_near, padding_atoms, padding_shift, take_near
from ..models.base import Model, ModelInfo
from ..models.committee import CommitteeModel
from ..models.edge_vectors import Potential, potential_of
from ..models.execution import Execution
from .recording import CudaRecorder, Recorded, Recorder, Unrecorded, waiting_operators

logger = logging.getLogger(__name__)

#: ``"auto"`` records systems of up to so many atoms: in larger ones the kernels run longer than their launches take.
#: An estimate: no GPU has measured it.
AUTO_ATOMS = 5000
#: After so many runs TorchScript has optimised a model for good.
_SETTLED = 4


def with_graphs(model: Model, choice: bool | str, n_nodes: int) -> Model:
    """The model, replayed from a CUDA graph if it should be.

    Parameters
    ----------
    model : Model
        The model on its device.
    choice : bool or str
        ``"auto"`` records on CUDA devices up to :data:`AUTO_ATOMS` atoms and goes on without where that fails;
        True raises instead; False does not.
    n_nodes : int
        Number of atoms and caps that the model sees.

    Returns
    -------
    Model
        A :class:`GraphedModel`, or the model itself.

    Raises
    ------
    CudaGraphError
        If ``choice`` is True and the model is not on a CUDA device, or none can be recorded of it.
    ValueError
        If the choice is unknown.
    """
    Execution(device=str(model.device), cuda_graphs=choice)  # refuses what cannot be
    if model.device.type != "cuda":
        return model
    if isinstance(model, CommitteeModel):
        return _committee_with_graphs(model, choice, n_nodes)
    if model.unrecordable and choice is not False:
        if choice is True:
            raise CudaGraphError(f"CUDA graphs: {model.unrecordable}; leave cudaGraphs out")
        logger.info("CUDA graphs: off, %s", model.unrecordable)
        return model
    if choice is False or (choice == "auto" and n_nodes > AUTO_ATOMS):
        logger.info("CUDA graphs: off (cudaGraphs=%r, %d atoms)", choice, n_nodes)
        return model
    try:
        with on_device(model.device):
            return GraphedModel(model, CudaRecorder(model.device), required=choice is True)
    except CudaGraphError as error:
        if choice is True:
            raise
        logger.warning("CUDA graphs: off, %s", error)
        return model


def _committee_with_graphs(committee: CommitteeModel, choice: bool | str, n_nodes: int) -> Model:
    """A committee of models that are replayed; as it is where not all of them can be, since they share a list."""
    members = [with_graphs(member, choice, n_nodes) for member in committee.members]
    if not all(isinstance(member, GraphedModel) for member in members):
        return committee
    replayed = CommitteeModel(committee.info, members, committee.drive)
    replayed.source = committee.source
    return replayed


def graphs_off_cuda(device: torch.device) -> str:
    """Why there are no CUDA graphs on a device that is none for them; empty for CUDA devices."""
    return "" if device.type == "cuda" else f"off: the device is {device}, and only CUDA devices have them"


def describe_graphs(model: Model) -> str:
    """In one line, whether steps of a model would be replayed from a CUDA graph where it is now.

    Parameters
    ----------
    model : Model
        The model on its device.

    Returns
    -------
    str
        Begins with ``"on"`` or ``"off"``. Models that AOTInductor compiles are tried out only when they run.
    """
    off = graphs_off_cuda(model.device) or model.unrecordable and f"off: {model.unrecordable}"
    if off:
        return off
    try:
        with on_device(model.device):
            check_potential(potential_of(model), model.info, model.device)
    except (CudaGraphError, RuntimeError) as error:
        return f"off: {_line(error)}"
    return f"on for up to {AUTO_ATOMS} atoms; cudaGraphs=True for more"


class GraphedModel(Model):
    """A model replayed from a graph; called like the model and with its results, up to the order of summation.

    Belongs to one structure: numbers of atoms may change, but each change is a new recording. Takes inputs on the
    host or the device and gives results on the host.

    Parameters
    ----------
    model : Model
        The model.
    recorder : Recorder
        What records.
    required : bool
        Whether a failure to record is an error; otherwise steps run one by one, after a warning.
    """

    def __init__(self, model: Model, recorder: Recorder, required: bool = False) -> None:
        super().__init__(model.info, model.device)
        self.needs = EdgeNeeds(CANDIDATE_EDGES, fixed_length=True)
        self.model = model
        self._potential = potential_of(model)
        check_potential(self._potential, model.info, model.device)
        self._recorder = recorder
        self._required = required
        self._reason = ""
        self._lock = threading.Lock()
        self._near = Capacity()
        self._held = 0
        self._captures = 0
        self._replays = 0
        self._distance = PAD_DISTANCE * model.info.reach
        cutoffs = model.info.per_edge_type_cutoff or model.info.reach
        self._squares = torch.tensor(cutoffs, dtype=torch.float64, device=model.device).square()
        #: Types and edges of the last call, kept alive: no other object can then have their identity.
        self._given: tuple[torch.Tensor, Edges] | None = None
        #: The last recording, kept until the next is whole: torch must not see its memory pool without a graph.
        self._recorded: Recorded | None = None
        self._stale = True
        self._names: list[tuple[str, torch.Size]] = []
        self._positions: torch.Tensor
        self._cell: torch.Tensor

    def evaluate(self, graph: Graph) -> Outputs:
        """Energy and more on the host, see :meth:`Model.evaluate`.

        Edges beyond the cutoff are left out. Types and edges that are the very objects of the last call are not copied
        again.

        Raises
        ------
        CudaGraphError
            If the model cannot be recorded and has to be, or padding changes its results.
        """
        with self._lock:
            self._stage(graph)
            while True:
                recorded = self._recorded
                if recorded is None or self._stale:
                    recorded = self._record()
                result = self._fetch(recorded.replay())
                self._replays += 1
                needed = int(result[0])
                if not self._near.fit(needed, self._edge_index.shape[1]):
                    return self._unpack(result)
                # A buffer that is only larger than it needs to be has given the right result.
                logger.debug("%d edges: the buffer has room for %d now", needed, self._near.size)
                self._stale = True
                if needed > self._held:
                    continue
                return self._unpack(result)

    def statistics(self) -> dict[str, Any]:
        """What the graph is doing.

        Returns
        -------
        dict
            ``graphs``: whether steps are replayed; ``reason``: why not; ``captures`` and ``replays`` so far;
            ``edges``: those within the cutoff in the last step, ``capacity``: room for them; ``candidates``: room for
            the pairs of the neighbour list.
        """
        return {
            "graphs": not self._reason,
            "reason": self._reason,
            "captures": self._captures,
            "replays": self._replays,
            "edges": self._near.used,
            "capacity": self._near.size,
            "candidates": self._given[1].count if self._given else 0,
        }

    def _stage(self, graph: Graph) -> None:
        """Bring the inputs into the memory that the graph reads; make new memory where their shapes have changed."""
        types, edges = graph.types, graph.edges
        given = self._given
        if given is None or given[0].shape != types.shape or given[1].count != edges.count:
            self._allocate(len(graph.positions), types, edges.index, edges.shifts)
        elif given[0] is not types or given[1] is not edges:
            self._types.copy_(types)
            self._edge_index.copy_(edges.index)
            self._shifts.copy_(edges.shifts)
        self._given = types, edges
        self._host_positions.copy_(graph.positions)
        self._host_cell.copy_(graph.cell)
        self._inputs.copy_(self._host, non_blocking=True)

    def _allocate(self, n: int, types, edge_index, shifts) -> None:
        # The cell starts at a multiple of 64 bytes: compiled code copies inputs that are not aligned.
        start = math.ceil(3 * n / 8) * 8
        self._host = self._recorder.buffer(start + 9)
        self._inputs = torch.zeros(start + 9, dtype=torch.float64, device=self.device)
        self._host_positions, self._host_cell = _parts(self._host, n, start)
        self._positions, self._cell = _parts(self._inputs, n, start)
        self._types, self._edge_index, self._shifts = (
            tensor.to(self.device, copy=True) for tensor in (types, edge_index, shifts)
        )
        self._answer: torch.Tensor | None = None
        self._stale = True

    def _near_edges(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The edges within the cutoff in a buffer of constant size, and their number."""
        vectors = edge_vectors(self._positions, self._edge_index, self._shifts, self._cell)
        near = is_near(vectors, self._types, self._edge_index, self._squares)
        filler = padding_shift(self._cell, self._distance)
        return take_near(near, self._edge_index, self._shifts, filler, self._positions.shape[0], self._held)

    def buffers(self) -> tuple[torch.Tensor, ...]:
        """The memory that the graph reads: positions, cell, types, edge_index and shifts of the candidates.

        Returns
        -------
        tuple of torch.Tensor
            (n_atoms, 3), (3, 3), (n_atoms,), (2, n_candidates) and (n_candidates, 3); set by the first evaluation.
        """
        return self._positions, self._cell, self._types, self._edge_index, self._shifts

    def step(self) -> torch.Tensor:
        """One step on the device without a wait, on the present content of :meth:`buffers`.

        Returns
        -------
        torch.Tensor, (n,) float64
            Number of edges within the cutoff, energy and all else in one row.
        """
        edge_index, shifts, needed = self._near_edges()
        graph = Graph(self._positions, self._types, Edges(edge_index, shifts), self._cell)
        out = self._potential(graph).as_dict()
        self._names = [(name, value.shape) for name, value in out.items()]
        return torch.cat([needed.to(torch.float64).view(1), *[value.reshape(-1) for value in out.values()]])

    def _record(self) -> Recorded:
        if self._near.size == 0:
            vectors = edge_vectors(self._positions, self._edge_index, self._shifts, self._cell)
            near = is_near(vectors, self._types, self._edge_index, self._squares)
            self._near.fit(int(near.sum()), self._edge_index.shape[1])
        # The candidates may have become fewer than there was room for.
        self._near.size = min(self._near.size, self._edge_index.shape[1])
        self._held = self._near.size
        try:
            recorded = self._recorder.record(self.step)
        except RuntimeError as error:
            if self._required:
                raise CudaGraphError(f"the model cannot be recorded in a CUDA graph: {_line(error)}{_CURE}") from error
            self._reason = _line(error)
            logger.warning("CUDA graphs: off, the model cannot be recorded: %s%s", self._reason, _CURE)
            self._recorder = Unrecorded(self._recorder)
            recorded = self._recorder.record(self.step)
        if not self._reason:
            self._captures += 1
            logger.info(
                "CUDA graphs: on, recording %d, room for %d edges of %d candidates",
                self._captures,
                self._near.size,
                self._edge_index.shape[1],
            )
        self._recorded, self._stale = recorded, False
        return recorded

    def _fetch(self, packed: torch.Tensor) -> torch.Tensor:
        if self._answer is None:
            self._answer = self._recorder.buffer(packed.numel())
        self._answer.copy_(packed, non_blocking=True)
        self._recorder.wait()
        return self._answer

    def _unpack(self, packed: torch.Tensor) -> Outputs:
        sizes = [shape.numel() for _, shape in self._names]
        # A copy, because the next step overwrites the memory.
        parts = packed[1:].clone().split(sizes)
        return Outputs(**{name: part.view(shape) for (name, shape), part in zip(self._names, parts, strict=True)})


_CURE = (
    "; a .nequip.pt2 file must be compiled with `--target openmm` for that, without stress, because the determinant of "
    "the cell cannot be recorded. cudaGraphs=False switches the attempt off"
)


def _parts(row: torch.Tensor, n: int, start: int) -> tuple[torch.Tensor, torch.Tensor]:
    return row[: 3 * n].view(n, 3), row[start:].view(3, 3)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def check_potential(potential: Potential, info: ModelInfo, device: torch.device) -> None:
    """Make sure that a model can be padded and recorded: on atoms of each type with nothing but padding edges.

    Parameters
    ----------
    potential : callable
        As :meth:`Model.evaluate`.
    info : ModelInfo
        The model's cutoff and types.
    device : torch.device
        Where it runs.

    Raises
    ------
    CudaGraphError
        If a force is not zero, the energy depends on the number of edges, or an operator waits for the device.
    """
    n = max(2, len(info.type_names))
    types = torch.arange(n, device=device) % len(info.type_names)
    positions = torch.zeros((n, 3), dtype=torch.float64, device=device)
    cell = torch.eye(3, dtype=torch.float64, device=device) * (0.9 * PAD_DISTANCE * info.reach)

    def run(count: int) -> Outputs:
        shifts = torch.zeros((count, 3), dtype=torch.float64, device=device)
        shifts[:, 0] = 2.0
        return potential(Graph(positions, types, Edges(padding_atoms(count, n, device), shifts), cell))

    # The first runs of TorchScript, which it only optimises after them, may differ from the later ones in the last bit.
    for count in (4 * STEP, STEP) * _SETTLED:
        run(count)
    results = [run(4 * STEP), run(STEP)]
    if float(results[0].energy) != float(results[1].energy) or any(bool(out.forces.any()) for out in results):
        raise CudaGraphError(
            "edges beyond the cutoff change the model's result: its interactions do not end at its cutoff, so its "
            "edges cannot be padded to a constant number; use cudaGraphs=False"
        )
    waiting = waiting_operators(lambda: run(STEP))
    if waiting:
        raise CudaGraphError(f"the model cannot be recorded in a CUDA graph: it uses {', '.join(waiting)}{_CURE}")
