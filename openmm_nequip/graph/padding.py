"""Static shapes: edge lists of constant length, filled up with edges that contribute exactly nothing.

A padding edge leads from an atom to its own image some cutoffs away. Every energy and every derivative of an edge is
multiplied by an envelope that is exactly zero beyond the cutoff, so such an edge adds +0.0 or -0.0 wherever it is
summed. Its length is finite and not zero, because pair terms divide by it. The padding edges take turns over the atoms:
on a GPU a single atom that receives all of them is where the threads would queue.

Everything here runs on any device, waits for none, and has shapes that do not depend on the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

#: Room left above the number of edges when a capacity is chosen: this share of it, and so many of its square roots
#: (in small systems the number of edges fluctuates more, as that of independent pairs).
HEADROOM = 0.05
FLUCTUATIONS = 2.0
#: Capacities are multiples of this.
STEP = 64
#: A capacity is given up for a smaller one when less than this share of it is used: far below the headroom, so that
#: it does not shrink and grow in turn.
SHRINK_BELOW = 0.5


class Capacity:
    """A number of edges that buffers have room for: grows in steps, seldom shrinks.

    Attributes
    ----------
    size : int
        Edges there is room for; 0 before the first use.
    used : int
        Edges of the last call.
    changes : int
        How often the size has changed after it was first chosen.
    """

    def __init__(self) -> None:
        self.size = 0
        self.used = 0
        self.changes = 0

    def fit(self, needed: int, most: int | None = None) -> bool:
        """Make room for so many edges.

        Parameters
        ----------
        needed : int
            Edges to hold.
        most : int, optional
            More than this is never needed; a multiple of :data:`STEP`.

        Returns
        -------
        bool
            Whether the size has changed.
        """
        self.used = needed
        if self.size * SHRINK_BELOW <= needed <= self.size and self.size > 0:
            return False
        wanted = needed * (1 + HEADROOM) + FLUCTUATIONS * math.sqrt(needed)
        size = max(STEP, math.ceil(wanted / STEP) * STEP)
        if most is not None:
            size = min(size, most)
        if size == self.size:
            return False
        self.changes += self.size > 0
        self.size = size
        return True


class PaddedNeighborList:
    """A neighbour list whose arrays keep their shape.

    Parameters
    ----------
    neighbors : callable
        :class:`~openmm_nequip.neighbors.NeighborList`, :class:`~openmm_nequip.neighbors.CandidateList` or
        :class:`~openmm_nequip.devicelists.DeviceCandidateList`.
    distance : float
        Shortest length of a padding edge: well beyond the cutoff, in the list's unit of length.
    """

    def __init__(
        self, neighbors: Callable[[np.ndarray, np.ndarray], tuple[Any, Any]], distance: float
    ) -> None:
        self.capacity = Capacity()
        self._neighbors = neighbors
        self._distance = distance
        self._found: tuple[Any, Any] | None = None
        self._padded: tuple[Any, Any]

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> tuple[Any, Any]:
        """The list's edges first, then padding; the very same arrays again where the list gives the same again.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Any image of each atom; must be finite.
        cell : numpy.ndarray, (3, 3) float64
            Rows are the cell vectors; any regular cell where nothing is periodic.

        Returns
        -------
        edge_index : numpy.ndarray or torch.Tensor, (2, capacity) int64
        shifts : numpy.ndarray or torch.Tensor, (capacity, 3) float64
            Of the kind and on the device of the list's own.
        """
        found = self._neighbors(positions, cell)
        if found is self._found:
            return self._padded
        edge_index, shifts = found
        count, n = edge_index.shape[1], len(positions)
        self.capacity.fit(count)
        missing = self.capacity.size - count
        images = math.ceil(self._distance / float(np.linalg.norm(cell[0])))
        atoms: Any
        rows: Any
        # New arrays each time: their user tells by their identity whether anything has changed.
        if isinstance(edge_index, torch.Tensor):
            atoms = torch.remainder(torch.arange(missing, device=edge_index.device), n).repeat(2, 1)
            rows = shifts.new_tensor([[images, 0.0, 0.0]]).expand(missing, 3)
            self._padded = torch.cat([edge_index, atoms], 1), torch.cat([shifts, rows])
        else:
            atoms = np.broadcast_to(np.arange(missing) % n, (2, missing))
            rows = np.broadcast_to([images, 0.0, 0.0], (missing, 3))
            self._padded = np.concatenate([edge_index, atoms], 1), np.concatenate([shifts, rows])
        self._found = found
        return self._padded


def is_near(
    vectors: torch.Tensor, types: torch.Tensor, edge_index: torch.Tensor, squares: torch.Tensor
) -> torch.Tensor:
    """Which edges are within the cutoff.

    Parameters
    ----------
    vectors : torch.Tensor, (n_edges, 3) float64
    types : torch.Tensor, (n_atoms,) int64
    edge_index : torch.Tensor, (2, n_edges) int64
    squares : torch.Tensor, () or (n_types, n_types) float64
        Square of the cutoff, or of those by centre and neighbour type.

    Returns
    -------
    torch.Tensor, (n_edges,) bool
        Scriptable.
    """
    limits = squares
    if squares.dim() == 2:
        pair = types.index_select(0, edge_index.reshape(-1)).view(2, -1)
        limits = squares.reshape(-1).index_select(0, pair[0] * squares.size(1) + pair[1])
    return vectors.square().sum(1) < limits


def padding_shift(cell: torch.Tensor, distance: float) -> torch.Tensor:
    """Shift (3,) of an edge from an atom to its own image at least so far away; no wait for the device."""
    images = torch.ceil(distance / torch.sqrt(cell[0].square().sum()))
    return torch.stack([images, torch.zeros_like(images), torch.zeros_like(images)])


def take_near(
    near: torch.Tensor,
    edge_index: torch.Tensor,
    rows: torch.Tensor,
    filler: torch.Tensor,
    n_atoms: int,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The chosen edges in their order, filled up with padding to a constant number; scriptable.

    Parameters
    ----------
    near : torch.Tensor, (n_edges,) bool
        The chosen edges; at least one entry.
    edge_index : torch.Tensor, (2, n_edges) int64
        All edges.
    rows : torch.Tensor, (n_edges, 3) float64
        Shift or vector of each.
    filler : torch.Tensor, (3,) float64
        Shift or vector of a padding edge.
    n_atoms : int
        Number of atoms.
    capacity : int
        Number of edges to return.

    Returns
    -------
    edge_index : torch.Tensor, (2, capacity) int64
    rows : torch.Tensor, (capacity, 3) float64
    needed : torch.Tensor, () int64
        Number of chosen edges. If it is more than the capacity, edges are missing and the result must be thrown away.
    """
    ranks = torch.cumsum(near.to(torch.int64), 0)
    # One place more than the capacity: there all edges go that are not chosen, or too many.
    slots = torch.where(near, ranks - 1, torch.full_like(ranks, capacity)).clamp(max=capacity)
    atoms = torch.remainder(torch.arange(capacity + 1, dtype=torch.int64, device=near.device), n_atoms)
    indices = atoms.unsqueeze(0).repeat(2, 1).scatter(1, slots.unsqueeze(0).repeat(2, 1), edge_index)
    places = filler.unsqueeze(0).repeat(capacity + 1, 1).scatter(0, slots.unsqueeze(1).repeat(1, 3), rows)
    return indices[:, :capacity].contiguous(), places[:capacity], ranks[-1]
