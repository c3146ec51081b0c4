"""Neighbour lists that are made, kept and pruned on the model's CUDA device.

OpenMM hands positions over on the host, where it is also told whether an atom has left its Verlet skin: the question
costs no wait for the device. Pairs within cutoff and skin are found by vesin on the device and stay there. Models that
want edges within the cutoff only get those of the present positions, picked on the device; where a CUDA graph does that
(:mod:`openmm_nequip.evaluate.cuda_graphs`), the pairs go to it as they are.

The first list of a simulation is compared with the host's, and the first of each kind of search after it: vesin takes
all pairs or cells, by the number of atoms, the widths of the box and whether it is skewed. It once missed pairs on CUDA
in triclinic boxes (its issue 157), and no GPU has tried the release that is used here. Where the two differ, or the
library gives up, the list is made on the host, with a warning.

References
----------
vesin (https://github.com/Luthaf/vesin): ``NeighborList`` takes torch tensors on CUDA devices; its own skin is for CPUs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from vesin import NeighborList as VesinNeighborList

from .geometry import edge_vectors
from .graph import Edges
from .neighbors import GAP, CandidateList, close_gaps
from .padding import is_near
from .staging import Staging

logger = logging.getLogger(__name__)

#: Two programs need not agree on pairs nearer than this (relative) to the border of the list, where nothing counts yet.
BORDER = 1e-6


class DeviceCandidateList(CandidateList):
    """A :class:`~openmm_nequip.graph.neighbors.CandidateList` whose arrays are tensors on a device.

    Parameters
    ----------
    cutoff, skin, periodic
        As there.
    staging : Staging
        Brings structures to the device where lists are made and kept.
    """

    def __init__(self, cutoff: float, skin: float, periodic: bool, staging: Staging) -> None:
        super().__init__(cutoff, skin, periodic)
        self._radius = cutoff + skin
        self._staging = staging
        self._device = staging.device
        self._vesin = VesinNeighborList(cutoff=self._radius, full_list=True)
        self._compared: set[tuple] = set()
        self._reason = ""

    def find(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """The list made anew on the device, from positions (n_atoms, 3) and cell (3, 3) on the host."""
        if self._reason or self._few(positions):
            return self._from_host(positions, cell)
        try:
            found = self._search(positions, cell)
        except RuntimeError as error:  # more pairs of an atom than the library has room for, no CUDA runtime, ...
            return self._give_up(f"vesin: {str(error).strip()}", positions, cell)
        kind = _kind_of_search(len(positions), cell, self._radius) if self.periodic else (len(positions),)
        if kind not in self._compared:
            on_host = found.to(torch.device("cpu"))
            if not same_pairs(on_host, super().find(positions, cell), positions, cell, self._radius):
                return self._give_up("vesin finds other pairs there than on the host", positions, cell)
            self._compared.add(kind)
        return found

    def _search(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        points, box = self._staging(positions, cell)
        if not self.periodic:
            points = close_gaps(points, GAP * self._radius)
        # The default copies: the library's memory is overwritten by its next call.
        pairs, shifts = self._vesin.compute(points, box, self.periodic, "PS")
        # The indices come as unsigned numbers, for which torch has few operations.
        return Edges(pairs.view(torch.int64).t().contiguous(), shifts.to(torch.float64))

    def _give_up(self, reason: str, positions: np.ndarray, cell: np.ndarray) -> Edges:
        self._reason = reason
        logger.warning("the neighbour list is made on the host instead of on %s: %s", self._device, reason)
        return self._from_host(positions, cell)

    def _from_host(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        return super().find(positions, cell).to(self._device)


class DeviceNeighborList:
    """The edges within the cutoffs on a device; called like :class:`~openmm_nequip.graph.neighbors.NeighborList`.

    Parameters
    ----------
    cutoff, skin, periodic
        As of :class:`DeviceCandidateList`.
    types : numpy.ndarray, (n_atoms,) int64
        Atom types.
    per_edge_type_cutoff : sequence of sequence of float, optional
        Cutoff [centre type][neighbour type].
    staging : Staging
        Brings structures to the device where lists are made and kept.
    """

    def __init__(
        self,
        cutoff: float,
        skin: float,
        periodic: bool,
        types: np.ndarray,
        per_edge_type_cutoff: Sequence[Sequence[float]] | None,
        staging: Staging,
    ) -> None:
        self.candidates = DeviceCandidateList(cutoff, skin, periodic, staging)
        self._staging = staging
        device = staging.device
        self._types = torch.as_tensor(types, dtype=torch.int64, device=device)
        cutoffs = torch.tensor(per_edge_type_cutoff or cutoff, dtype=torch.float64, device=device)
        self._squares = cutoffs.square()

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """All edges within the cutoffs; one wait for the device, for their number.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
        cell : numpy.ndarray, (3, 3) float64
            As of :meth:`openmm_nequip.graph.neighbors.NeighborList.__call__`: arrays on the host.

        Returns
        -------
        Edges
            Tensors on the device, (2, n_edges) int64 and (n_edges, 3) float64.
        """
        candidates = self.candidates(positions, cell)
        edge_index, shifts = candidates.index, candidates.shifts
        points, box = self._staging(positions, cell)
        near = is_near(edge_vectors(points, edge_index, shifts, box), self._types, edge_index, self._squares)
        kept = near.nonzero().squeeze(1)
        return Edges(edge_index.index_select(1, kept), shifts.index_select(0, kept))


def _kind_of_search(n_atoms: int, cell: np.ndarray, radius: float) -> tuple:
    """What the library chooses its search and grid by: atoms, whether the box is skewed, its widths in half radii."""
    faces = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
    widths = abs(np.linalg.det(cell)) / np.linalg.norm(faces, axis=1)
    skewed = bool(np.count_nonzero(cell - np.diag(np.diag(cell))))
    return n_atoms, skewed, *np.floor(2 * widths / radius).astype(int).tolist()


def same_pairs(one: Edges, other: Edges, positions: np.ndarray, cell: np.ndarray, radius: float) -> bool:
    """Whether two lists hold the same edges, each once, but for those at the border of the list.

    Parameters
    ----------
    one, other : Edges
        The lists, on the host.
    positions : numpy.ndarray, (n_atoms, 3) float64
        What they were made for.
    cell : numpy.ndarray, (3, 3) float64
        Rows are the cell vectors.
    radius : float
        Of the lists.

    Returns
    -------
    bool
    """
    tables = []
    for edges in (one, other):
        edge_index, shifts = np.asarray(edges.index), np.asarray(edges.shifts)
        i, j = edge_index
        inside = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1) < radius * (1 - BORDER)
        rows = np.column_stack([edge_index.T, np.rint(shifts).astype(np.int64)])[inside]
        tables.append(rows[np.lexsort(rows.T)])
    return np.array_equal(*tables)
