"""Neighbour lists: full lists with shifts from vesin, kept by a Verlet skin, pruned to the model's cutoffs.

The pair convention of the whole package: ``edge_index[0]`` is the centre i, ``edge_index[1]`` the neighbour j, every
pair stands in both directions, and ``r_ij = r_j - r_i + shifts @ cell``.

References
----------
vesin (https://github.com/Luthaf/vesin); its skin keeps the pairs within cutoff + skin and returns those within the
cutoff, anew when an atom has moved by more than half the skin or the cell has changed (L. Verlet, Phys. Rev. 159, 98).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from vesin import NeighborList as VesinNeighborList

from ..files import memory_bytes
from .graph import Edges

#: Default skin in nm: within 7 % of the fastest from 93 to 2,685 atoms of water (benchmarks/README.md).
DEFAULT_SKIN_NM = 0.075
#: Above this extent in cutoffs, empty space in non-periodic structures is closed up before vesin sees it.
WIDEST = 100.0
#: Thickness to which it is closed up, in cutoffs (with the skin): just beyond what a list reaches.
GAP = 1.01
#: Non-periodic structures of at most so many atoms are searched pair by pair: for a molecule of 22 atoms a tenth of a
#: millisecond a step faster than calling the library (benchmarks/README.md).
FEW_ATOMS = 48


#: Beyond so many cutoffs from the origin a float64 has too few digits left for a force; no molecule gets there.
FARTHEST = 1e8
#: Neighbours of an atom that no matter has: within 1.2 nm, the densest, diamond, has 1,300.
MOST_NEIGHBORS = 20_000.0
#: Images of the cell in one direction that a list may reach over.
MOST_IMAGES = 200.0
#: Memory of a pair in a list, with what is made of it on the way.
_BYTES_PER_PAIR = 150.0


def check_size(n_atoms: int, cell: np.ndarray, reach: float) -> None:
    """Refuse a periodic list that no machine could hold, before it is begun.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    cell : numpy.ndarray, (3, 3) float64
        Rows are the cell vectors.
    reach : float
        Cutoff and skin, in the same unit.

    Raises
    ------
    ValueError
        With the expected number of pairs.
    """
    volume = abs(float(np.linalg.det(cell)))
    faces = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
    height = volume / max(float(np.linalg.norm(faces, axis=1).max()), 1e-300)
    neighbors = n_atoms * 4.0 / 3.0 * math.pi * reach**3 / max(volume, 1e-300)
    memory = n_atoms * neighbors * _BYTES_PER_PAIR
    if neighbors > MOST_NEIGHBORS or reach > MOST_IMAGES * height or memory > 0.5 * memory_bytes():
        raise ValueError(
            f"{n_atoms} atoms in a box of the volume {volume:.3g}, {height:.3g} wide where it is narrowest, would have "
            f"{neighbors:.3g} neighbours each within the cutoff and skin of {reach:.3g} ({memory:.2g} bytes; lengths "
            "as the model has them): no matter is so dense. Check the box, its unit, and the skin"
        )


def check_distance(positions: np.ndarray, cutoff: float) -> None:
    """Refuse atoms that are so far away that their digits do not reach to a force.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Finite positions.
    cutoff : float
        In the same unit.

    Raises
    ------
    ValueError
        With the first atom concerned.
    """
    limit = FARTHEST * cutoff
    if np.vdot(positions, positions) > limit**2:
        far = np.flatnonzero((np.abs(positions) > limit).any(axis=1))
        if len(far):
            raise ValueError(
                f"atom {far[0]} of the model is at {positions[far[0]].tolist()}, more than {limit:.3g} from the origin "
                "(in the model's unit of length): so far out positions have no digits left for forces. Move the atoms "
                "back into the box, or check the unit of the positions"
            )


class _AllPairs:
    """The neighbour list of a small non-periodic structure, from all its pairs."""

    def __init__(self, n_atoms: int, cutoffs: np.ndarray | float) -> None:
        self._pairs = np.argwhere(~np.eye(n_atoms, dtype=bool)).T.copy()
        self._squares = np.square(cutoffs[tuple(self._pairs)] if isinstance(cutoffs, np.ndarray) else cutoffs)
        self._shifts = np.zeros((self._pairs.shape[1], 3))

    def __call__(self, positions: np.ndarray) -> Edges:
        """Edges within the cutoff for positions (n_atoms, 3), as :meth:`NeighborList.__call__`."""
        i, j = self._pairs
        vectors = positions[j] - positions[i]
        near = np.einsum("ij,ij->i", vectors, vectors) < self._squares
        # `compress` gives C-contiguous arrays: compiled models read the memory of their inputs as such.
        edge_index = self._pairs.compress(near, axis=1)
        return Edges(edge_index, self._shifts[: edge_index.shape[1]])


def close_gaps(points: torch.Tensor, gap: float) -> torch.Tensor:
    """Shrink empty slabs between atoms to the thickness ``gap``, axis by axis.

    Two atoms nearer than ``gap`` keep their distance vector, two farther apart stay farther apart than ``gap``, so a
    neighbour list with a cutoff of at most ``gap`` is the same. vesin 0.6 divides by zero, which ends the process, on
    flat clusters wider than some thousand cutoffs: the shape of a molecule that has exploded.

    Parameters
    ----------
    points : torch.Tensor, (n_atoms, 3) float64
        Positions, not periodic.
    gap : float
        Thickness that is left, in the same unit.

    Returns
    -------
    torch.Tensor, (n_atoms, 3)
        Positions to search for neighbours in; scriptable.
    """
    order = torch.argsort(points, dim=0)
    along = torch.gather(points, 0, order)
    excess = torch.clamp(along[1:] - along[:-1] - gap, min=0.0)
    offsets = torch.cat([torch.zeros_like(along[:1]), torch.cumsum(excess, dim=0)])
    return torch.empty_like(points).scatter_(0, order, along - offsets)


def _with_mirror_images(pairs: np.ndarray, shifts: np.ndarray) -> Edges:
    """A full list, as of :class:`NeighborList`, from half a list (n_pairs, 2) and its shifts (n_pairs, 3)."""
    edge_index = np.empty((2, len(pairs), 2), dtype=np.int64)
    edge_index[:, :, 0] = pairs.T
    edge_index[:, :, 1] = edge_index[::-1, :, 0]
    both = np.empty((len(pairs), 2, 3))
    both[:, 0] = shifts
    np.negative(both[:, 0], out=both[:, 1])
    return Edges(edge_index.reshape(2, -1), both.reshape(-1, 3))


class CandidateList:
    """The neighbour list of a model that skips edges beyond its cutoff by itself: pairs that may come within it.

    Between rebuilds the very same object is given, the token of :class:`~openmm_nequip.graph.graph.Edges`.

    Parameters
    ----------
    cutoff : float
        Largest distance of an edge, any unit; all lengths are in that unit.
    skin : float
        Thickness of the Verlet skin, >= 0: the list is made anew when an atom has moved by more than half of it, or
        the cell has changed.
    periodic : bool
        Whether all three directions are periodic.
    """

    def __init__(self, cutoff: float, skin: float, periodic: bool) -> None:
        self.periodic = periodic
        self._list = NeighborList(cutoff + skin, 0.0, periodic, pairwise=True)
        self._reach = 0.5 * skin
        self._reference: tuple[np.ndarray, np.ndarray] | None = None
        self._pairs: Edges | None = None

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """All edges within the cutoff, and some beyond it, for positions (n_atoms, 3) and cell (3, 3).

        See :meth:`NeighborList.__call__`.
        """
        if self._pairs is not None and len(positions) == len(self._reference[0]):  # type: ignore[index]
            if self._few(positions) or not self._moved(positions, cell):
                return self._pairs
        self._reference = positions.copy(), cell.copy()
        self._pairs = self.find(positions, cell)
        return self._pairs

    def find(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """The list made anew, in arrays of its own, for positions (n_atoms, 3) and cell (3, 3).

        See :meth:`NeighborList.__call__`.
        """
        if self._few(positions):
            pairs = np.argwhere(~np.eye(len(positions), dtype=bool)).T.astype(np.int64, order="C")
            return Edges(pairs, np.zeros((pairs.shape[1], 3)))
        return self._list(positions, cell)

    def reach(self, n_atoms: int) -> float:
        """How far an atom may move before the list of so many atoms must be made anew."""
        return math.inf if not self.periodic and n_atoms <= FEW_ATOMS else self._reach

    def _few(self, positions: np.ndarray) -> bool:
        return math.isinf(self.reach(len(positions)))

    def _moved(self, positions: np.ndarray, cell: np.ndarray) -> bool:
        old, old_cell = self._reference  # type: ignore[misc]
        if self.periodic and not np.array_equal(cell, old_cell):
            return True
        step = positions - old
        return bool(np.einsum("ij,ij->i", step, step).max() > self._reach**2)


class NeighborList:
    """The neighbour list of one structure through a simulation.

    Parameters
    ----------
    cutoff : float
        Largest distance of an edge, any unit; all lengths are in that unit.
    skin : float
        Thickness of the Verlet skin, >= 0; 0 builds the list anew at every call.
    periodic : bool
        Whether all three directions are periodic (OpenMM has no other kind).
    types : numpy.ndarray, (n_atoms,) int64, optional
        Atom types, for ``per_edge_type_cutoff``.
    per_edge_type_cutoff : sequence of sequence of float, optional
        Cutoff [centre type][neighbour type].
    pairwise : bool
        Every edge stands beside its mirror image (not with cutoffs by type). The fused kernels then compute the
        geometry of both at once, and the library needs two thirds of the time.
    """

    def __init__(
        self,
        cutoff: float,
        skin: float,
        periodic: bool,
        types: np.ndarray | None = None,
        per_edge_type_cutoff: Sequence[Sequence[float]] | None = None,
        pairwise: bool = False,
    ) -> None:
        self.pairwise = pairwise
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.periodic = periodic
        self._widest = WIDEST * self.cutoff
        self._list = VesinNeighborList(cutoff=self.cutoff, full_list=not pairwise, skin=self.skin)
        self._pair_cutoffs = self._table = None
        if types is not None and per_edge_type_cutoff is not None:
            self._pair_cutoffs = types, np.asarray(per_edge_type_cutoff, dtype=np.float64)
            if not periodic and len(types) <= FEW_ATOMS:
                self._table = self._pair_cutoffs[1][np.ix_(types, types)]
        self._all_pairs: _AllPairs | None = None
        self._sized: tuple[int, np.ndarray] | None = None

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """All edges within the cutoff.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Any image of each atom; must be finite.
        cell : numpy.ndarray, (3, 3) float64
            Rows are the cell vectors; not used where nothing is periodic.

        Returns
        -------
        Edges
            Arrays, (2, n_edges) int64 and (n_edges, 3) float64.

        Raises
        ------
        ValueError
            In a periodic cell as :func:`check_distance` and :func:`check_size`.
        """
        if self.periodic:
            check_distance(positions, self.cutoff)
            self._check_size(len(positions), cell)
        if not self.periodic and len(positions) <= FEW_ATOMS:
            if self._all_pairs is None:
                self._all_pairs = _AllPairs(len(positions), self._table if self._table is not None else self.cutoff)
            return self._all_pairs(positions)
        # A small sum of squares rules out a wide structure at the price of one call.
        near_origin = self.periodic or 4 * np.vdot(positions, positions) < self._widest**2
        if not near_origin and np.ptp(positions) > self._widest:
            positions = close_gaps(torch.from_numpy(positions), GAP * (self.cutoff + self.skin)).numpy()
        if self._pair_cutoffs is None:
            pairs, shifts = self._list.compute(positions, cell, self.periodic, "PS", copy=False)
        else:
            pairs, shifts, distances = self._list.compute(positions, cell, self.periodic, "PSd", copy=False)
            types, cutoffs = self._pair_cutoffs
            kept = distances < cutoffs[types[pairs[:, 0]], types[pairs[:, 1]]]
            pairs, shifts = pairs[kept], shifts[kept]
        if self.pairwise:
            return _with_mirror_images(pairs, shifts)
        # Both conversions copy: vesin's arrays are views of memory that its next call overwrites.
        return Edges(np.array(pairs.T, dtype=np.int64, order="C"), shifts.astype(np.float64))

    def _check_size(self, n_atoms: int, cell: np.ndarray) -> None:
        """As :func:`check_size`, once for a cell (3, 3)."""
        if self._sized is None or self._sized[0] != n_atoms or not np.array_equal(self._sized[1], cell):
            check_size(n_atoms, cell, self.cutoff + self.skin)
            self._sized = n_atoms, cell.copy()
