"""Padding: edges that contribute exactly nothing, where a model needs at least two, or always the same number.

A padding edge leads from an atom to its own image some cutoffs away. Every energy and every derivative of an edge is
multiplied by an envelope that is exactly zero beyond the cutoff, so such an edge adds +0.0 or -0.0 wherever it is
summed. Its length is finite and not zero, because pair terms divide by it. The padding edges take turns over the atoms:
on a GPU a single atom that receives all of them is where the threads would queue.

The functions of tensors run on any device, wait for none, and are scriptable.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import math
from collections.abc import Callable

import numpy as np
import torch

from .graph import Edges

#: Padding edges are this many cutoffs long: beyond every envelope, yet finite and not zero (pair terms divide by r).
PAD_DISTANCE = 2.0
#: Side of the cube that stands in for a cell where nothing is periodic, in cutoffs; only padding edges refer to it.
DUMMY_CELL = 10.0
#: Compiled models take at least so many atoms and edges: torch.export takes an example with a dimension of 0 or 1 for a
#: statement that it is always so.
FEWEST = 2

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
    """A neighbour list whose edges keep their number.

    Parameters
    ----------
    neighbors : callable
        :class:`~openmm_nequip.graph.neighbors.NeighborList`, :class:`~openmm_nequip.graph.neighbors.CandidateList` or
        one of :mod:`openmm_nequip.graph.neighbors_cuda`.
    distance : float
        Shortest length of a padding edge: well beyond the cutoff, in the list's unit of length.
    """

    def __init__(self, neighbors: Callable[[np.ndarray, np.ndarray], Edges], distance: float) -> None:
        self.capacity = Capacity()
        self._neighbors = neighbors
        self._distance = distance
        self._found: Edges | None = None
        self._padded: Edges

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """The list's edges first, then padding; the very same object again where the list gives the same again.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Any image of each atom; must be finite.
        cell : numpy.ndarray, (3, 3) float64
            Rows are the cell vectors; any regular cell where nothing is periodic.

        Returns
        -------
        Edges
            Tensors, (2, capacity) and (capacity, 3), on the device of the list's own.
        """
        found = self._neighbors(positions, cell)
        if found is self._found:
            return self._padded
        self.capacity.fit(found.count)
        edges = found.tensors()
        cell_tensor = torch.from_numpy(cell).to(edges.shifts.device)
        missing = self.capacity.size - edges.count
        # A new object each time: its user tells by its identity whether anything has changed.
        self._padded = Edges(
            *pad_edges(edges.index, edges.shifts, cell_tensor, len(positions), self._distance, missing)
        )
        self._found = found
        return self._padded


def padding_atoms(count: int, n_atoms: int, device: torch.device) -> torch.Tensor:
    """The atoms of so many padding edges, in turn.

    Parameters
    ----------
    count : int
        Number of edges.
    n_atoms : int
        Number of atoms.
    device : torch.device
        Where.

    Returns
    -------
    torch.Tensor, (2, count) int64
        Centre and neighbour are one atom.
    """
    atoms = torch.remainder(torch.arange(count, dtype=torch.int64, device=device), n_atoms)
    return atoms.unsqueeze(0).repeat(2, 1)


def pad_edges(
    edge_index: torch.Tensor, shifts: torch.Tensor, cell: torch.Tensor, n_atoms: int, distance: float, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add padding edges.

    Parameters
    ----------
    edge_index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour of each edge.
    shifts : torch.Tensor, (n_edges, 3) float64
        Its shift.
    cell : torch.Tensor, (3, 3) float64
        Rows are the cell vectors.
    n_atoms : int
        Number of atoms.
    distance : float
        Shortest length of a padding edge, in the unit of the cell.
    count : int
        How many edges to add.

    Returns
    -------
    edge_index : torch.Tensor, (2, n_edges + count) int64
    shifts : torch.Tensor, (n_edges + count, 3) float64
    """
    filler = padding_shift(cell, distance).to(shifts.dtype).unsqueeze(0).repeat(count, 1)
    atoms = padding_atoms(count, n_atoms, edge_index.device)
    return torch.cat([edge_index, atoms], 1), torch.cat([shifts, filler])


def complete(
    positions: torch.Tensor,
    types: torch.Tensor,
    edge_index: torch.Tensor,
    shifts: torch.Tensor,
    cell: torch.Tensor,
    distance: float,
    fewest: int = 2,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bring a graph to the :data:`FEWEST` atoms and edges that every format takes.

    A single atom is given twice, side by side and without a common edge: energies and virial are then twice its own.

    Parameters
    ----------
    positions : torch.Tensor, (n_atoms, 3) float64
        Positions.
    types : torch.Tensor, (n_atoms,) int64
        Type indices.
    edge_index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour of each edge.
    shifts : torch.Tensor, (n_edges, 3) float64
        Its shift.
    cell : torch.Tensor, (3, 3) float64
        Rows are the cell vectors.
    distance : float
        Shortest length of a padding edge.
    fewest : int
        :data:`FEWEST`.

    Returns
    -------
    tuple of torch.Tensor
        Positions, types, edge_index and shifts of the larger graph; the given ones where it is large enough.
    """
    missing = fewest - edge_index.size(1)
    n = positions.size(0)
    if missing > 0:
        edge_index, shifts = pad_edges(edge_index, shifts, cell, n, distance, missing)
    if n == 1:
        positions, types, shifts = positions.repeat(2, 1), types.repeat(2), shifts.repeat(2, 1)
        edge_index = torch.cat([edge_index, edge_index + 1], 1)
    return positions, types, edge_index, shifts


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
    """Shift of an edge from an atom to its own image at least so far away; no wait for the device.

    Parameters
    ----------
    cell : torch.Tensor, (3, 3)
        Rows are the cell vectors.
    distance : float
        In the same unit.

    Returns
    -------
    torch.Tensor, (3,)
    """
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
    atoms = padding_atoms(capacity + 1, n_atoms, near.device)
    indices = atoms.scatter(1, slots.unsqueeze(0).repeat(2, 1), edge_index)
    places = filler.unsqueeze(0).repeat(capacity + 1, 1).scatter(0, slots.unsqueeze(1).repeat(1, 3), rows)
    return indices[:, :capacity].contiguous(), places[:capacity], ranks[-1]
