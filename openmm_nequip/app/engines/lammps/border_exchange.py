"""What neighbouring ranks tell each other of the atoms at their borders, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

_FORWARD, _REVERSE = 101, 102
_BYTES_OF_A_TAG = 8


@dataclass
class Traffic:
    """Bytes that one rank received from others, by what they were."""

    features: int = 0  #: of ghosts, before each layer that needs them
    gradients: int = 0  #: of these features
    forces: int = 0  #: that others found for atoms of this rank
    plans: int = 0  #: who has which atom
    evaluations: int = 0  #: of the model


class _Share(NamedTuple):
    """Rows that go to or come from another rank."""

    rank: int
    rows: Any


class BorderExchange:
    """Exchange of rows of arrays between the owners of atoms and the ranks that have them as ghosts.

    Every rank makes one, at the same time. An atom of which a rank has several images is sent to it once; images of
    atoms of its own are copied. nequip's ghost-exchange modules call :meth:`forward_exchange` and
    :meth:`reverse_exchange`, which is its adjoint, and read :attr:`nlocal` and :attr:`ntotal`.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    owned : numpy.ndarray, (n_local,) int64
        Tags of the atoms of this rank; each tag has one owner.
    ghosts : numpy.ndarray, (n_ghosts,) int64
        Tags of the ghosts that it needs.
    traffic : Traffic
        Counts what arrives.
    """

    def __init__(self, comm: Any, owned: np.ndarray, ghosts: np.ndarray, traffic: Traffic) -> None:
        self._comm = comm
        self._traffic = traffic
        self.nlocal = len(owned)
        self.ntotal = len(owned) + len(ghosts)
        order = np.argsort(owned, kind="stable")
        tags = owned[order]
        wanted, row_of_ghost = np.unique(ghosts, return_inverse=True)
        place = np.minimum(np.searchsorted(tags, wanted), max(len(tags) - 1, 0))
        here = tags[place] == wanted if len(tags) else np.zeros(len(wanted), dtype=bool)
        foreign = wanted[~here]
        owner = self._owners(owned, foreign)
        by_owner = np.argsort(owner, kind="stable")
        asked = comm.alltoall(_split(foreign, owner, comm.size))
        rows = [torch.as_tensor(order[np.searchsorted(tags, names)]) for names in asked]
        self._outgoing = [_Share(p, each) for p, each in enumerate(rows) if len(each)]
        ends = np.cumsum(np.bincount(owner, minlength=comm.size))
        starts = ends - np.bincount(owner, minlength=comm.size)
        self._incoming = [
            _Share(p, slice(int(starts[p]), int(ends[p]))) for p in range(comm.size) if ends[p] > starts[p]
        ]
        self._n_foreign = len(foreign)
        # Rows of all ghosts: those of own atoms, and those that arrive, with where they arrive.
        arrival = np.full(len(wanted), -1)
        arrival[np.flatnonzero(~here)[by_owner]] = np.arange(len(foreign))
        is_own = here[row_of_ghost]
        ghost_rows = self.nlocal + np.arange(len(ghosts))
        self._own_ghosts = torch.as_tensor(ghost_rows[is_own])
        self._own_rows = torch.as_tensor(order[place[row_of_ghost[is_own]]] if len(tags) else np.zeros(0, np.int64))
        self._arriving_ghosts = torch.as_tensor(ghost_rows[~is_own])
        self._arrival = torch.as_tensor(arrival[row_of_ghost[~is_own]])
        traffic.plans += _BYTES_OF_A_TAG * sum(len(share.rows) for share in self._outgoing)

    def _owners(self, owned: np.ndarray, foreign: np.ndarray) -> np.ndarray:
        """Rank of each foreign tag, from a directory whose pages, tags modulo size, the ranks share."""
        comm, size = self._comm, self._comm.size
        claims = comm.alltoall(_split(owned, owned % size, size))
        tags = np.concatenate(claims)
        ranks = np.repeat(np.arange(size), [len(claim) for claim in claims])
        order = np.argsort(tags, kind="stable")
        tags, ranks = tags[order], ranks[order]
        asked = comm.alltoall(_split(foreign, foreign % size, size))
        answers = comm.alltoall([ranks[np.searchsorted(tags, each)] for each in asked])
        self._traffic.plans += _BYTES_OF_A_TAG * sum(map(len, [*claims, *asked, *answers]))
        owner = np.empty(len(foreign), dtype=np.int64)
        owner[np.argsort(foreign % size, kind="stable")] = np.concatenate(answers)
        return owner

    @property
    def neighbours(self) -> int:
        """Number of ranks that something comes from."""
        return len(self._incoming)

    def forward_exchange(self, features: torch.Tensor, out: torch.Tensor, width: int) -> None:
        """Give ghosts the rows of the atoms that they are images of.

        Parameters
        ----------
        features : torch.Tensor, (n_local + n_ghosts, width)
            Rows of ghosts are not read.
        out : torch.Tensor, (n_local + n_ghosts, width)
            Is filled.
        width : int
            Numbers a row.
        """
        source = features.detach().cpu()
        arriving = torch.empty((self._n_foreign, width), dtype=source.dtype)
        waiting = self._receive([(share.rank, arriving[share.rows]) for share in self._incoming], _FORWARD)
        waiting += self._send([(share.rank, source[share.rows]) for share in self._outgoing], _FORWARD)
        # What needs no other rank is done while the messages are on their way.
        out[: self.nlocal] = features.detach()[: self.nlocal]
        out[self._own_ghosts] = features.detach()[self._own_rows]
        self._wait(waiting)
        out[self._arriving_ghosts] = arriving[self._arrival].to(out.device)
        self._traffic.features += arriving.nbytes

    def reverse_exchange(self, gradients: torch.Tensor, out: torch.Tensor, width: int) -> None:
        """Add the rows of ghosts to those of the atoms that they are images of; parameters as
        :meth:`forward_exchange`."""
        self._traffic.gradients += self._add_up(gradients, out, width)

    def add_forces(self, forces: torch.Tensor) -> torch.Tensor:
        """Forces on the atoms of this rank: its own, and what others found.

        Parameters
        ----------
        forces : torch.Tensor, (n_local + n_ghosts, 3)
            What this rank found, for its ghosts too.

        Returns
        -------
        torch.Tensor, (n_local, 3)
        """
        out = torch.empty_like(forces)
        self._traffic.forces += self._add_up(forces, out, forces.shape[1])
        return out[: self.nlocal]

    def _add_up(self, values: torch.Tensor, out: torch.Tensor, width: int) -> int:
        source = values.detach().cpu()
        arriving = [torch.empty((len(share.rows), width), dtype=source.dtype) for share in self._outgoing]
        waiting = self._receive([(s.rank, rows) for s, rows in zip(self._outgoing, arriving, strict=True)], _REVERSE)
        leaving = torch.zeros((self._n_foreign, width), dtype=source.dtype)
        leaving.index_add_(0, self._arrival, source[self._arriving_ghosts])
        waiting += self._send([(share.rank, leaving[share.rows]) for share in self._incoming], _REVERSE)
        total = torch.zeros_like(source)
        total[: self.nlocal] = source[: self.nlocal]
        total.index_add_(0, self._own_rows, source[self._own_ghosts])
        self._wait(waiting)
        # By rank, so that sums have one order.
        for share, rows in zip(self._outgoing, arriving, strict=True):
            total.index_add_(0, share.rows, rows)
        out.copy_(total)
        return sum(rows.nbytes for rows in arriving)

    def _receive(self, rows: list[tuple[int, torch.Tensor]], tag: int) -> list[Any]:
        return [self._comm.Irecv(part.numpy(), source=rank, tag=tag) for rank, part in rows]

    def _send(self, rows: list[tuple[int, torch.Tensor]], tag: int) -> list[Any]:
        return [self._comm.Isend(part.numpy(), dest=rank, tag=tag) for rank, part in rows]

    @staticmethod
    def _wait(requests: list[Any]) -> None:
        for request in requests:
            request.Wait()


def _split(values: np.ndarray, ranks: np.ndarray, size: int) -> list[np.ndarray]:
    """Values for each rank, in their order."""
    order = np.argsort(ranks, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(ranks, minlength=size))[:-1])
