"""Checks of a frame: bonds, distances between atoms, atoms that have lost their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import openmm.app as app

from ....graph.neighbors import NeighborList
from ....units import NM_PER_ANGSTROM
from ...structures.bonds import MOLECULAR
from ..failures import name_atoms
from . import plausible
from .finding import Finding, graded


class Atoms(NamedTuple):
    """What the checks know of the atoms, which no step changes.

    Parameters
    ----------
    topology : openmm.app.Topology
        Names and bonds.
    radii : numpy.ndarray, (n_atoms,) float64
        Covalent radii in nm; 0 for particles without an element.
    """

    topology: app.Topology
    radii: np.ndarray

    @classmethod
    def of(cls, topology: app.Topology) -> Atoms:
        """The atoms of a topology."""
        from ase.data import covalent_radii

        numbers = [0 if atom.element is None else atom.element.atomic_number for atom in topology.atoms()]
        known = np.array([covalent_radii[n] if n else 0.0 for n in numbers], dtype=np.float64)
        return cls(topology, known * NM_PER_ANGSTROM)

    def bonds(self) -> np.ndarray:
        """Bonds of the topology between atoms with elements, (n_bonds, 2) int64."""
        pairs = [(bond[0].index, bond[1].index) for bond in self.topology.bonds()]
        found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return found[(self.radii[found] > 0).all(axis=1)]

    def symbols(self) -> list[str]:
        """Element of each atom, empty where there is none."""
        return ["" if atom.element is None else atom.element.symbol for atom in self.topology.atoms()]

    def name(self, atoms: Sequence[int] | np.ndarray) -> str:
        """Atoms (n_atoms,) by index, name and residue."""
        return name_atoms(self.topology, list(map(int, atoms)))


def distances(pairs: np.ndarray, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Distances between pairs of atoms, to the nearest image for distances well below half the box.

    Parameters
    ----------
    pairs : numpy.ndarray, (n_pairs, 2) int64
        Atoms.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm, in reduced form.

    Returns
    -------
    numpy.ndarray, (n_pairs,) float64
        nm.
    """
    vectors = positions[pairs[:, 1]] - positions[pairs[:, 0]]
    if box is not None:
        for axis in (2, 1, 0):
            vectors = vectors - np.rint(vectors[:, axis] / box[axis, axis])[:, None] * box[axis]
    return np.linalg.norm(vectors, axis=1)


class BondCheck:
    """Bonds of the topology against covalent lengths.

    Parameters
    ----------
    atoms : Atoms
        The atoms.
    positions : numpy.ndarray, (n_atoms, 3) float64
        At the start, nm.
    box : numpy.ndarray, (3, 3) float64, or None
        nm.
    """

    def __init__(self, atoms: Atoms, positions: np.ndarray, box: np.ndarray | None) -> None:
        self._atoms = atoms
        self._pairs = atoms.bonds()
        covalent = atoms.radii[self._pairs].sum(axis=1)
        start = distances(self._pairs, positions, box)
        self._lengths = np.clip(start, covalent, plausible.BOND_START * covalent)

    def look(self, positions: np.ndarray, box: np.ndarray | None) -> Finding | None:
        """The worst bond, if it is too long.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Now, nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm.

        Returns
        -------
        Finding or None
        """
        if not len(self._pairs):
            return None
        now = distances(self._pairs, positions, box)
        stretch = now / self._lengths
        worst = int(stretch.argmax())
        if not stretch[worst] > plausible.BOND_SUSPICIOUS:
            return None
        pair, usual = self._pairs[worst], self._lengths[worst] / NM_PER_ANGSTROM
        length = now[worst] / NM_PER_ANGSTROM
        many = int((stretch > plausible.BOND_SUSPICIOUS).sum())
        text = (
            f"the bond between the atoms {self._atoms.name(pair)} is {length:.2f} Å long, and about {usual:.2f} Å is "
            f"usual ({many} of {len(self._pairs)} bonds are overstretched); a time step too large, a structure that "
            "the model does not know, or a reaction, for which there is --reactive"
        )
        certain = bool(stretch[worst] > plausible.BOND_CERTAIN)
        limit = usual * (plausible.BOND_CERTAIN if certain else plausible.BOND_SUSPICIOUS)
        return Finding("bonds", text, float(length), float(limit), graded(certain), tuple(map(int, pair)))


class ContactCheck:
    """Atoms closer than atoms can be, or than atoms without a bond between them are.

    Parameters
    ----------
    atoms : Atoms
        The atoms.
    reactive : bool
        Whether bonds may be made: then only distances shorter than any bond count.
    periodic : bool
        Whether there is a box.
    """

    def __init__(self, atoms: Atoms, reactive: bool, periodic: bool) -> None:
        self._atoms = atoms
        self._n = len(atoms.radii)
        bonds = atoms.bonds()
        self._near = np.unique(_keys(_within_two_bonds(bonds, self._n), self._n))
        in_molecule = np.zeros(self._n, dtype=bool)
        in_molecule[bonds] = True
        in_molecule &= np.isin(atoms.symbols(), MOLECULAR)
        self._strict = in_molecule & (not reactive)
        # One type for each radius, and for atoms of molecules another.
        values, types = np.unique(np.stack([atoms.radii, self._strict], axis=1), axis=0, return_inverse=True)
        radii, strict = values[:, 0], values[:, 1] > 0
        factor = np.where(strict[:, None] & strict[None], plausible.CONTACT_UNBONDED, plausible.CONTACT_SUSPICIOUS)
        cutoffs = factor * (radii[:, None] + radii[None])
        cutoffs[radii == 0.0, :] = cutoffs[:, radii == 0.0] = 0.0
        largest = float(cutoffs.max(initial=0.0))
        types = np.asarray(types, dtype=np.int64).reshape(-1)
        self._list = NeighborList(largest, 0.0, periodic, types, cutoffs.tolist()) if largest > 0 else None

    def look(self, positions: np.ndarray, box: np.ndarray | None) -> Finding | None:
        """The worst pair, if it is too close.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm.

        Returns
        -------
        Finding or None
        """
        if self._list is None:
            return None
        cell = np.eye(3) if box is None else box
        edges = self._list(np.ascontiguousarray(positions), cell)
        pairs, shifts = edges.index.T, edges.shifts
        once = pairs[:, 0] <= pairs[:, 1]
        pairs, shifts = pairs[once], shifts[once]
        if not len(pairs):
            return None
        vectors = positions[pairs[:, 1]] - positions[pairs[:, 0]] + shifts @ cell
        ratio = np.linalg.norm(vectors, axis=1) / self._atoms.radii[pairs].sum(axis=1)
        bonded = np.isin(_keys(pairs, self._n), self._near)
        wrong = ratio < np.where(bonded, plausible.CONTACT_SUSPICIOUS, np.inf)
        if not wrong.any():
            return None
        worst = int(np.where(wrong, ratio, np.inf).argmin())
        pair = pairs[worst]
        sum_of_radii = self._atoms.radii[pair].sum() / NM_PER_ANGSTROM
        distance = float(ratio[worst] * sum_of_radii)
        certain = bool(ratio[worst] < plausible.CONTACT_CERTAIN)
        if ratio[worst] < plausible.CONTACT_SUSPICIOUS:
            least, why = plausible.CONTACT_SUSPICIOUS, "closer than any two such atoms come"
        else:
            least, why = plausible.CONTACT_UNBONDED, "as close as bonded atoms, without a bond between them"
        text = (
            f"the atoms {self._atoms.name(pair)} are {distance:.3f} Å apart, {why} ({int(wrong.sum())} such pairs; at "
            f"least {least * sum_of_radii:.2f} Å is expected); the model does not hold them apart"
        )
        expected = float(least * sum_of_radii)
        return Finding("contacts", text, distance, expected, graded(certain), tuple(map(int, pair)))


class LostAtomsCheck:
    """Atoms without bonds, of crystals and metals, that have lost all neighbours.

    Parameters
    ----------
    atoms : Atoms
        The atoms.
    positions : numpy.ndarray, (n_atoms, 3) float64
        At the start, nm.
    box : numpy.ndarray, (3, 3) float64, or None
        nm.
    """

    #: The list reaches far, so one look in so many is enough for what does not come back.
    EVERY = 4

    def __init__(self, atoms: Atoms, positions: np.ndarray, box: np.ndarray | None) -> None:
        self._atoms = atoms
        self._list: NeighborList | None = None
        self._looks = 0
        alone = atoms.radii > 0
        alone[atoms.bonds()] = False
        if not alone.any():
            return
        self._list = self._make_list(alone, plausible.NEIGHBOUR_START, box is not None)
        self._members = alone & self._has_neighbour(positions, box)
        self._list = self._make_list(alone, plausible.NEIGHBOUR_LOST, box is not None) if self._members.any() else None

    def _make_list(self, alone: np.ndarray, factor: float, periodic: bool) -> NeighborList:
        """A list of the pairs with at least one of the atoms without bonds."""
        pairs = np.stack([self._atoms.radii, alone], axis=1)
        values, types = np.unique(pairs, axis=0, return_inverse=True)
        radii, counts = values[:, 0], values[:, 1] > 0
        cutoffs = factor * (radii[:, None] + radii[None]) * (counts[:, None] | counts[None])
        cutoffs[radii == 0.0, :] = cutoffs[:, radii == 0.0] = 0.0
        types = np.asarray(types, dtype=np.int64).reshape(-1)
        return NeighborList(float(cutoffs.max()), 0.0, periodic, types, cutoffs.tolist())

    def _has_neighbour(self, positions: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        found = np.zeros(len(positions), dtype=bool)
        if self._list is not None:
            edges = self._list(np.ascontiguousarray(positions), np.eye(3) if box is None else box)
            found[edges.index[0]] = True
        return found

    def look(self, positions: np.ndarray, box: np.ndarray | None) -> Finding | None:
        """Atoms that have left, if any.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Now, nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm.

        Returns
        -------
        Finding or None
        """
        self._looks += 1
        if self._list is None or self._looks % self.EVERY != 1:
            return None
        lost = np.flatnonzero(self._members & ~self._has_neighbour(positions, box))
        if not len(lost):
            return None
        many, all_of_them = len(lost), int(self._members.sum())
        text = (
            f"{many} of {all_of_them} atoms that had neighbours at the start have none within "
            f"{plausible.NEIGHBOUR_LOST:g} times the sum of their covalent radii: {self._atoms.name(lost)}"
        )
        level = graded(2 * many > all_of_them)
        return Finding("lost atoms", text, many, 0, level, tuple(map(int, lost)))


def _within_two_bonds(bonds: np.ndarray, n_atoms: int) -> np.ndarray:
    """Pairs one or two bonds apart, (n_pairs, 2) int64, the smaller index first."""
    neighbours: list[list[int]] = [[] for _ in range(n_atoms)]
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    angles = [(a, b) for near in neighbours for k, a in enumerate(near) for b in near[k + 1 :]]
    pairs = np.array([*map(tuple, bonds.tolist()), *angles], dtype=np.int64).reshape(-1, 2)
    return np.sort(pairs, axis=1)


def _keys(pairs: np.ndarray, n_atoms: int) -> np.ndarray:
    """One number for each ordered pair (n_pairs, 2)."""
    return pairs[:, 0] * n_atoms + pairs[:, 1]
