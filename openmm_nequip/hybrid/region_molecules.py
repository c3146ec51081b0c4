"""Regions of several molecules: told, and split into one region for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .connectivity import Connectivity
from .images import nearest_image
from .regions import Region

#: Copies with at most so many atoms, such as waters, are no warning where nothing tells how far apart they are.
_SMALL = 3


@dataclass(frozen=True)
class Selection:
    """The selected particles of a region.

    Parameters
    ----------
    particles : tuple of int
        The particles.
    number : int
        Which of the caller's selections it comes from.
    places : tuple of int
        The place of every particle among all that were selected, in the caller's order.
    """

    particles: tuple[int, ...]
    number: int
    places: tuple[int, ...]


def as_selections(chosen: Sequence[tuple[int, ...]]) -> list[Selection]:
    """Number the caller's selections and their particles."""
    found, start = [], 0
    for number, particles in enumerate(chosen):
        found.append(Selection(particles, number, tuple(range(start, start + len(particles)))))
        start += len(particles)
    return found


def molecules_among(particles: Sequence[int], bonds: Connectivity, parents: dict[int, set[int]]) -> list[list[int]]:
    """Divide particles by the molecules that they belong to.

    Parameters
    ----------
    particles : sequence of int
        The particles.
    bonds : Connectivity
        The bond graph of the whole System.
    parents : dict of int to set of int
        The particles that every virtual site depends on; a site belongs to the molecule of the first.

    Returns
    -------
    list of list of int
        Places in `particles`, by molecule, in the order of their first.
    """
    label: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for place, particle in enumerate(particles):
        start = min(parents[particle]) if particle in parents else particle
        if start not in label:
            front = [start]
            label[start] = start
            for i in front:
                for j in bonds.neighbours[i]:
                    if j not in label:
                        label[j] = start
                        front.append(j)
        found.setdefault(label[start], []).append(place)
    return list(found.values())


def split_selections(
    selections: Sequence[Selection], bonds: Connectivity, parents: dict[int, set[int]]
) -> list[Selection]:
    """Make a region of every molecule; arguments as those of :func:`molecules_among`."""
    return [
        Selection(
            tuple(selection.particles[k] for k in places),
            selection.number,
            tuple(selection.places[k] for k in places),
        )
        for selection in selections
        for places in molecules_among(selection.particles, bonds, parents)
    ]


class SeveralMolecules:
    """A region with more than one molecule, and what its molecules lose.

    Parameters
    ----------
    region : Region
        The region.
    bonds : Connectivity
        The bond graph.
    """

    def __init__(self, region: Region, bonds: Connectivity) -> None:
        members = molecules_among(region.atoms, bonds, {})
        self.molecules = [[region.atoms[k] for k in places] for places in members]
        self._shapes = [tuple(sorted(len(bonds.neighbours[i]) for i in atoms)) for atoms in self.molecules]

    def have_copies(self) -> bool:
        """Tell whether two molecules are copies of each other and have more than three atoms."""
        large = [shape for shape in self._shapes if len(shape) > _SMALL]
        return len(set(large)) < len(large)

    def distance_beyond(self, cutoff: float, points: np.ndarray, box: np.ndarray | None) -> float | None:
        """Find two molecules that are further apart than a cutoff.

        Parameters
        ----------
        cutoff : float
            nm.
        points : ndarray, shape (n, 3)
            Positions of all particles in nm.
        box : ndarray, shape (3, 3), or None
            Box vectors as rows in nm.

        Returns
        -------
        float or None
            Distance of the first such pair in nm, between its closest atoms; None if there is none.
        """
        for first, second in combinations(self.molecules, 2):
            steps = points[second][None] - points[first][:, None]
            if box is not None:
                steps = nearest_image(steps, box)
            distance = float(np.sqrt((steps**2).sum(-1).min()))
            if distance > cutoff:
                return distance
        return None
