"""Several models as one: the mean of them drives, or the first; what each says is kept, for the spread.

Means are taken as ``first + mean(others - first)``: of equal answers they are these answers, bit for bit, whatever the
number of models, and the spread is exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..committee_bias import CommitteeBias
from ..errors import CommitteeError
from ..graph.graph import CANDIDATE_EDGES, EXACT_EDGES, NO_EDGES, EdgeNeeds, Edges, Graph, Outputs
from ..graph.graph_checks import check_graph
from ..units import Units
from .base import Model, ModelInfo, StepFunction, StepRequest
from .common_facts import merged_info
from .source import FIRST

#: Facts that have to be the same for all, and what they are called.
_SAME = {
    "type_names": "types", "inputs": "inputs beside the structure", "takes_box": "whether they take a box",
    "embeds": "whether they feel charges around them", "takes_charges": "whether they take charges of their atoms",
}  # fmt: skip
#: Relative difference of cutoffs that is rounding.
_SAME_CUTOFF = 1e-12


class CommitteeModel(Model):
    """Several models of the same types.

    Parameters
    ----------
    info : ModelInfo
        Facts about all of them, see :func:`committee_info`.
    members : sequence of Model
        At least two, on one device.
    drive : str
        Whose energy and forces are given: :data:`~.source.MEAN` or :data:`~.source.FIRST`.
    """

    unrecordable = "the models of a committee are recorded one by one, where each of them can be"

    def __init__(self, info: ModelInfo, members: Sequence[Model], drive: str) -> None:
        super().__init__(info, members[0].device)
        self.members = tuple(members)
        self.drive = drive
        needs = [member.needs for member in members]
        self.needs = EdgeNeeds(
            _list_for(needs), all(each.fixed_length for each in needs), any(each.separate for each in needs)
        )
        virials = [member.gives_virial for member in members]
        self.gives_virial = False if False in virials else True if None not in virials else None
        self._filters = [_filter_for(member, info) for member in members]

    def evaluate(self, graph: Graph) -> Outputs:
        """As :meth:`openmm_nequip.models.base.Model.evaluate`, with what each member says in ``members``.

        Each member deals with small graphs by itself, and gets the edges within its own cutoffs where it wants these.
        """
        found = []
        for member, kept in zip(self.members, self._filters, strict=True):
            found.append(member.evaluate(graph if kept is None else kept(graph)))
        return combined(found, self.drive)

    def __call__(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        edge_index: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """As :meth:`Model.__call__`, with ``spread`` (n_atoms,) of the forces and ``energy_spread`` ()."""
        graph = Graph(positions, types, Edges(edge_index, shifts), cell)
        check_graph(graph, len(self.info.type_names))
        out = self.evaluate(graph)
        forces = torch.stack([each.forces for each in out.members])
        forces = forces - forces[0]
        excess = forces - forces.mean(0)
        out.spread = excess.square().sum(2).mean(0).sqrt()
        energies = torch.stack([each.energy for each in out.members])
        energies = energies - energies[0]
        out.energy_spread = (energies - energies.mean()).square().mean().sqrt()
        return out.as_dict()

    def stepper(self, request: StepRequest) -> StepFunction | None:
        """The mean of the members' own steps, on one neighbour list; see :meth:`Model.stepper`."""
        shared = _SharedList(request.find)
        steps = [member.stepper(request._replace(find=shared, bias=None)) for member in self.members]
        if any(step is None for step in steps):
            return None
        return _MeanStep(steps, self.drive, request.bias)  # type: ignore[arg-type]  # none of them is None


class _SharedList:
    """A neighbour list that several ask for at the same positions, made once."""

    def __init__(self, find: Callable[[np.ndarray, np.ndarray], Edges]) -> None:
        self._find = find
        self._made: tuple[np.ndarray, np.ndarray, Edges] | None = None

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        made = self._made
        if made is None or not (np.array_equal(made[0], positions) and np.array_equal(made[1], cell)):
            edges = self._find(positions, cell)
            made = self._made = positions.copy(), cell.copy(), edges
        return made[2]


class _MeanStep:
    """Energy in kJ/mol and forces in kJ/mol/nm of a committee, see :data:`~.base.StepFunction`."""

    def __init__(self, steps: Sequence[StepFunction], drive: str, bias: CommitteeBias | None) -> None:
        self._bias = bias
        self._first, *self._others = steps
        if drive == FIRST:
            self._others = []
        self._share = 1.0 / (1 + len(self._others))

    def __call__(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        energy, forces = self._first(positions, box)
        if not self._others:
            return energy, forces
        excess = np.zeros_like(forces)
        shifts, kept = [0.0], []
        for step in self._others:
            other, others = step(positions, box)
            shifts.append(other - energy)
            others -= forces
            excess += others
            if self._bias is not None:
                kept.append(others)
        excess *= self._share
        energy += sum(shifts) * self._share
        acting = None if self._bias is None else self._bias.acting(np.array(shifts))
        if acting is not None:
            energy += acting[0]
            # Of weights that add up to zero the first model's forces drop out of the differences.
            for weight, others in zip(acting[1][1:].tolist(), kept, strict=True):
                others *= weight
                excess += others
        forces += excess
        return energy, forces


def _list_for(needs: Sequence[EdgeNeeds]) -> str:
    """The kind of list that serves all: of candidates only where all skip those that are too far."""
    kinds = {each.list for each in needs} - {NO_EDGES}
    if kinds == {CANDIDATE_EDGES}:
        return CANDIDATE_EDGES
    return EXACT_EDGES if kinds else NO_EDGES


def _filter_for(member: Model, info: ModelInfo) -> Callable[[Graph], Graph] | None:
    """What keeps of a committee's graph the edges that a member wants; None where those are all."""
    own, common = member.info, info
    if member.needs.list != EXACT_EDGES or own.cutoff is None or common.cutoff is None:
        return None
    same = abs(own.cutoff - common.cutoff) <= _SAME_CUTOFF * common.cutoff
    if same and own.per_edge_type_cutoff == common.per_edge_type_cutoff:
        return None
    return _EdgeFilter(own, member.device)


class _EdgeFilter:
    def __init__(self, info: ModelInfo, device: torch.device) -> None:
        table = info.per_edge_type_cutoff
        self._squares = torch.tensor(info.reach if table is None else table, dtype=torch.float64, device=device) ** 2

    def __call__(self, graph: Graph) -> Graph:
        index, shifts = graph.edges
        vectors = graph.positions[index[1]] - graph.positions[index[0]] + shifts @ graph.cell
        squares = self._squares
        if squares.ndim:
            types = graph.types[index]
            squares = squares[types[0], types[1]]
        kept = vectors.square().sum(1) < squares
        return graph._replace(edges=Edges(index[:, kept].contiguous(), shifts[kept]))


def combined(found: Sequence[Outputs], drive: str) -> Outputs:
    """What a committee answers, from the answers of its members.

    Parameters
    ----------
    found : sequence of Outputs
        One for each.
    drive : str
        As of :class:`CommitteeModel`.

    Returns
    -------
    Outputs
    """
    first, *others = found
    if drive == FIRST:
        answer = first.map(lambda _, value: value)
        answer.spread = answer.energy_spread = None  # those of a member that is an ensemble itself
    else:
        answers = [out.as_dict() for out in others]
        answer = Outputs(
            **{
                name: value + torch.stack([each[name] - value for each in answers]).sum(0) / len(found)
                for name, value in first.as_dict().items()
                if name not in ("spread", "energy_spread") and all(name in each for each in answers)
            }
        )
    answer.members = tuple(found)
    return answer


def biased(answer: Outputs, bias: CommitteeBias, unit: float) -> Outputs:
    """The mean of a committee with what a bias on the spread of its energy adds.

    Parameters
    ----------
    answer : Outputs
        With ``members``.
    bias : CommitteeBias
        The bias.
    unit : float
        One model energy in kJ/mol.

    Returns
    -------
    Outputs
        Energy, forces and virial with the bias; energies of atoms are the mean's, of which a bias is no sum. The very
        answer where nothing is added.
    """
    acting = bias.per(unit).acting(np.array([float(each.energy) for each in answer.members]))
    if acting is None:
        return answer
    weights = acting[1].tolist()
    first, *others = (each.as_dict() for each in answer.members)

    def with_bias(name: str, value: torch.Tensor) -> torch.Tensor:
        if name == "energy":
            return value + acting[0]
        if name == "atomic_energies":
            return value
        differences = ((each[name] - first[name]) * weight for weight, each in zip(weights[1:], others, strict=True))
        return sum(differences, value)

    found = answer.map(with_bias)
    found.members, found.bias = answer.members, acting[0]
    return found


def committee_info(infos: Sequence[ModelInfo], paths: Sequence[str]) -> ModelInfo:
    """Facts about a committee from those of its members.

    Parameters
    ----------
    infos : sequence of ModelInfo
        One for each.
    paths : sequence of str
        Their files, for messages.

    Returns
    -------
    ModelInfo

    Raises
    ------
    CommitteeError
        If they differ in types, units or what they take; the message names two files.
    """
    first = infos[0]
    for info, path in zip(infos[1:], paths[1:], strict=True):
        for name, words in _SAME.items():
            if getattr(info, name) != getattr(first, name):
                raise _other(words, paths[0], getattr(first, name), path, getattr(info, name))
        if _stated(info) != _stated(first):
            raise _other("units", paths[0], _stated(first).describe(), path, _stated(info).describe())
    titles = dict.fromkeys(str(info.target) for info in infos)
    return merged_info(infos, f"committee of {len(infos)}: {'; '.join(titles)}")


def _stated(info: ModelInfo) -> Units:
    """Units that a file states, else those that are assumed of it."""
    found = Units() if info.units is None else info.units
    return Units(found.length, found.energy)


def _other(what: str, first: str, found: object, path: str, other: object) -> CommitteeError:
    def words(value: object) -> str:
        return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)

    return CommitteeError(
        f"{first} and {path} are no committee: they differ in {what} ({words(found)}, and {words(other)}); give "
        "models that were trained for the same types, in the same order, and in the same units",
        path,
    )
