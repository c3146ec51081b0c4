"""What tells frames apart: their interatomic distances, sorted for each pair of elements.

They do not change when a frame is turned, moved or mirrored, or when atoms of one element change places, so that all
such copies are one point. Distances beyond the reach count as the reach. It is a bag of bonds (K. Hansen et al., J.
Phys. Chem. Lett. 6, 2326 (2015)) with distances in place of Coulomb energies: then torsions, which move atoms by
Ångströms, count more than bonds that vibrate.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from ...graph.neighbors import NeighborList
from ...units import NM_PER_ANGSTROM
from .candidate import Candidate

Pair = tuple[str, str]


def distance_vectors(candidates: Sequence[Candidate], reach_nm: float) -> np.ndarray:
    """Sorted distances of frames, as points of one space.

    Parameters
    ----------
    candidates : sequence of Candidate
        Frames, of any composition.
    reach_nm : float
        Longest distance that is told from longer ones, nm.

    Returns
    -------
    numpy.ndarray, (n_frames, n_columns) float64
        Å. Frames with fewer distances of a pair of elements have the reach in their place.
    """
    found = [_distances(candidate, reach_nm) for candidate in candidates]
    longest: dict[Pair, int] = {}
    for bags in found:
        for pair, bag in bags.items():
            longest[pair] = max(longest.get(pair, 0), len(bag))
    starts = dict(zip(sorted(longest), np.cumsum([0] + [longest[pair] for pair in sorted(longest)]), strict=False))
    points = np.full((len(found), sum(longest.values())), reach_nm / NM_PER_ANGSTROM)
    for row, bags in zip(points, found, strict=True):
        for pair, bag in bags.items():
            row[starts[pair] : starts[pair] + len(bag)] = bag
    return points


def _distances(candidate: Candidate, reach_nm: float) -> dict[Pair, np.ndarray]:
    """Distances below the reach by pair of elements, Å, sorted; each pair of atoms once for each image."""
    box = candidate.box_nm
    cell = np.eye(3) if box is None else box
    edges = NeighborList(reach_nm, 0.0, box is not None)(np.ascontiguousarray(candidate.positions_nm), cell)
    first, second = edges.index
    vectors = candidate.positions_nm[second] - candidate.positions_nm[first] + edges.shifts @ cell
    lengths = np.linalg.norm(vectors, axis=1) / NM_PER_ANGSTROM
    symbols = np.array(candidate.symbols)
    found = {}
    for pair in combinations_with_replacement(sorted(set(candidate.symbols)), 2):
        of_pair = (symbols[first] == pair[0]) & (symbols[second] == pair[1])
        bag = np.sort(lengths[of_pair])
        # Every pair of like atoms is in the list twice, once for each direction.
        found[pair] = bag[::2] if pair[0] == pair[1] else bag
    return found
