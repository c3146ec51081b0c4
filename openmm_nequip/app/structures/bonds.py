"""Which atoms hang together: bonds by distance, molecules, and molecules made whole across the boundary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ...graph.neighbors import NeighborList
from ...topology import common_symbol
from ...units import NM_PER_ANGSTROM

#: Two atoms closer than this multiple of the sum of their covalent radii are bonded.
TOLERANCE = 1.25
#: Elements that form molecules; everything else (metals, noble gases) stays alone.
MOLECULAR = "H B C N O F Si P S Cl Ge As Se Br Te I".split()


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds of a structure and the image of the second atom in each.

    Parameters
    ----------
    pairs : numpy.ndarray, (n_bonds, 2) int64
        Atoms.
    shifts : numpy.ndarray, (n_bonds, 3) int64
        Box vectors to add to the second atom to reach the image that the first is bonded to.
    """

    pairs: np.ndarray
    shifts: np.ndarray


@dataclass(frozen=True, eq=False)
class Molecules:
    """Atoms grouped by bonds.

    Parameters
    ----------
    labels : numpy.ndarray, (n_atoms,) int64
        Molecule of each atom, numbered by their first atoms.
    offsets : numpy.ndarray, (n_atoms, 3) int64
        Box vectors to add to each atom so that its molecule is in one piece.
    finite : numpy.ndarray, (n_molecules,) bool
        False where the bonds lead from an atom to its own image: a crystal, a layer, a polymer without end.
    """

    labels: np.ndarray
    offsets: np.ndarray
    finite: np.ndarray

    @property
    def count(self) -> int:
        """Number of molecules."""
        return len(self.finite)


def perceive_bonds(symbols: list[str], positions: np.ndarray, box: np.ndarray | None) -> Bonds:
    """Bonds between atoms that are about as close as their covalent radii.

    Parameters
    ----------
    symbols : list of str
        Element of each atom; an empty string for none.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Returns
    -------
    Bonds
        Each bond once. Metals have none.

    References
    ----------
    Radii: B. Cordero et al., Dalton Trans. 2008, 2832, as tabulated by ASE.
    """
    from ase.data import atomic_numbers, covalent_radii

    symbols = [common_symbol(symbol) for symbol in symbols]
    kinds = sorted(set(symbols))
    radii = np.array([covalent_radii[atomic_numbers[s]] if s in MOLECULAR else 0.0 for s in kinds]) * NM_PER_ANGSTROM
    cutoffs = TOLERANCE * (radii[:, None] + radii[None, :])
    cutoffs[radii == 0.0, :] = cutoffs[:, radii == 0.0] = 0.0
    largest = float(cutoffs.max())
    if largest == 0.0 or len(symbols) == 0:
        return Bonds(np.zeros((0, 2), dtype=np.int64), np.zeros((0, 3), dtype=np.int64))
    types = np.array([kinds.index(symbol) for symbol in symbols])
    neighbors = NeighborList(largest, 0.0, box is not None, types, cutoffs.tolist())
    edges = neighbors(np.ascontiguousarray(positions), np.eye(3) if box is None else box)
    pairs, images = edges.index.T, np.rint(edges.shifts).astype(np.int64)
    once = (pairs[:, 0] < pairs[:, 1]) | ((pairs[:, 0] == pairs[:, 1]) & (images > 0).any(axis=1))
    return Bonds(pairs[once], images[once])


def nearest_images(pairs: np.ndarray, positions: np.ndarray, box: np.ndarray | None) -> Bonds:
    """Bonds known from a file, each to the nearest image of its second atom.

    Parameters
    ----------
    pairs : numpy.ndarray, (n_bonds, 2) int64
        Atoms.
    positions, box
        As in :func:`perceive_bonds`.

    Returns
    -------
    Bonds
    """
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if box is None or len(pairs) == 0:
        return Bonds(pairs, np.zeros((len(pairs), 3), dtype=np.int64))
    steps = (positions[pairs[:, 1]] - positions[pairs[:, 0]]) @ np.linalg.inv(box)
    return Bonds(pairs, -np.rint(steps).astype(np.int64))


def find_molecules(n_atoms: int, bonds: Bonds) -> Molecules:
    """Group atoms by bonds.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    bonds : Bonds
        The bonds.

    Returns
    -------
    Molecules
    """
    neighbors: list[list[tuple[int, tuple[int, int, int]]]] = [[] for _ in range(n_atoms)]
    for (i, j), shift in zip(bonds.pairs.tolist(), bonds.shifts.tolist(), strict=True):
        neighbors[i].append((j, (shift[0], shift[1], shift[2])))
        neighbors[j].append((i, (-shift[0], -shift[1], -shift[2])))
    labels = np.full(n_atoms, -1, dtype=np.int64)
    offsets = [(0, 0, 0)] * n_atoms
    finite: list[bool] = []
    for start in range(n_atoms):
        if labels[start] >= 0:
            continue
        molecule = len(finite)
        finite.append(True)
        labels[start] = molecule
        queue = deque([start])
        while queue:
            i = queue.popleft()
            x, y, z = offsets[i]
            for j, (dx, dy, dz) in neighbors[i]:
                image = (x + dx, y + dy, z + dz)
                if labels[j] < 0:
                    labels[j] = molecule
                    offsets[j] = image
                    queue.append(j)
                elif offsets[j] != image:
                    finite[molecule] = False
    return Molecules(labels, np.array(offsets, dtype=np.int64).reshape(-1, 3), np.array(finite, dtype=bool))


def make_whole(positions: np.ndarray, box: np.ndarray | None, molecules: Molecules) -> np.ndarray:
    """Positions with every finite molecule in one piece: a barostat moves molecules by the images it is given.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.
    molecules : Molecules
        From :func:`find_molecules` on these positions.

    Returns
    -------
    numpy.ndarray, (n_atoms, 3) float64
    """
    if box is None:
        return positions
    offsets = molecules.offsets * molecules.finite[molecules.labels][:, None]
    return positions + offsets @ box
