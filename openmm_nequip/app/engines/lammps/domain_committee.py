"""The parts of several models that one rank evaluates, as one: their mean, and how far they are from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ....committee_bias import CommitteeBias
from ....evaluate.spread import force_spread, spread_of
from ....models.source import FIRST
from .domain_model import DomainAnswer, DomainModel


class DomainDeviation(NamedTuple):
    """How far models are from each other on the atoms of a rank."""

    forces: np.ndarray  #: (n_local,) float64, standard deviation of the force on each
    energy: float  #: that of the energy of all ranks
    atomic_energy: float  #: the largest of an atom's energy on any rank
    bias: float  #: what a bias adds to the energy of all ranks


class DomainCommittee:
    """Models of the same types on the same edges; called as a :class:`.domain_model.DomainModel`.

    Every method is called by all ranks at the same time.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    members : sequence of DomainModel
        At least two.
    cutoffs : sequence of (sequence of sequence of float) or None
        Of each member, by centre's and neighbour's type, in model lengths; None where those of the list are its own.
    drive : str
        As of :class:`openmm_nequip.models.ModelSource`.
    bias : mapping of str to float, optional
        ``above`` and ``strength`` of a :class:`openmm_nequip.committee_bias.CommitteeBias`, here in model energies.
    """

    def __init__(
        self, comm: Any, members: Sequence[DomainModel], cutoffs: Sequence[Any], drive: str,
        bias: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self._comm = comm
        self._members = tuple(members)
        self._squares = [None if table is None else np.array(table, dtype=np.float64) ** 2 for table in cutoffs]
        self._alone = drive == FIRST
        self._bias = None if bias is None else CommitteeBias(**bias)

    def evaluate(self, edge_index: np.ndarray, vectors: np.ndarray, types: np.ndarray, exchange: Any) -> DomainAnswer:
        """The mean of the models with its bias, or the first where that drives; parameters as
        :meth:`.domain_model.DomainModel.evaluate`."""
        if self._alone:
            return self._asked(0, edge_index, vectors, types, exchange)
        answers = self._all(edge_index, vectors, types, exchange)
        first, *others = answers
        share = 1.0 / len(answers)
        bias, weights = self._acting(answers)
        energies, forces, virial = first.energies, first.forces, first.virial
        for weight, other in zip(weights[1:].tolist(), others, strict=True):
            energies = energies + share * (other.energies - first.energies)
            forces = forces + (share + weight) * (other.forces - first.forces)
            virial = virial + (share + weight) * (other.virial - first.virial)
        return DomainAnswer(energies, forces, virial, bias)

    def deviation(
        self, edge_index: np.ndarray, vectors: np.ndarray, types: np.ndarray, exchange: Any
    ) -> DomainDeviation:
        """How far the models are from each other; parameters as :meth:`.domain_model.DomainModel.evaluate`.

        Returns
        -------
        DomainDeviation
            In the model's units.
        """
        answers = self._all(edge_index, vectors, types, exchange)
        forces = np.array([exchange.add_forces(answer.forces).numpy() for answer in answers])
        atomic = spread_of(torch.stack([answer.energies.double() for answer in answers]).numpy())
        largest = max(self._comm.allgather(float(atomic.max()) if len(atomic) else 0.0))
        energy = float(spread_of(self._whole(answers)))
        return DomainDeviation(force_spread(forces), energy, largest, self._acting(answers)[0])

    def _all(self, *asked: Any) -> list[DomainAnswer]:
        return [self._asked(number, *asked) for number in range(len(self._members))]

    def _asked(
        self, number: int, edge_index: np.ndarray, vectors: np.ndarray, types: np.ndarray, exchange: Any
    ) -> DomainAnswer:
        """What one model says of the edges within its own cutoffs."""
        squares = self._squares[number]
        if squares is not None:
            near = (vectors**2).sum(axis=1) < squares[types[edge_index[0]], types[edge_index[1]]]
            edge_index, vectors = np.ascontiguousarray(edge_index[:, near]), vectors[near]
        return self._members[number].evaluate(edge_index, vectors, types, exchange)

    def _whole(self, answers: Sequence[DomainAnswer]) -> np.ndarray:
        """Energy of each model on all ranks, (n_models,) float64."""
        here = np.array([float(answer.energies.double().sum()) for answer in answers])
        whole = np.empty_like(here)
        self._comm.Allreduce(here, whole)
        return whole

    def _acting(self, answers: Sequence[DomainAnswer]) -> tuple[float, np.ndarray]:
        """Energy of the bias and the weights of the models' forces in it; zeros where it does not act."""
        acting = None if self._bias is None else self._bias.acting(self._whole(answers))
        return (0.0, np.zeros(len(answers))) if acting is None else acting
