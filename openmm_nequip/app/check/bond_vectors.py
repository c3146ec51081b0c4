"""Bonds of the atoms that are checked: neighbours, lengths, angles, rings."""

from __future__ import annotations

import numpy as np

from ..structures.bonds import nearest_images
from ..structures.structure_files import Structure

#: Rings of more atoms do not hold a bond in its place.
LARGEST_RING = 8


class BondVectors:
    """Who is bonded to whom in the molecules of a structure, and how; networks without end have no bonds.

    Parameters
    ----------
    structure : Structure
        With the bonds of its topology.

    Attributes
    ----------
    near : list of dict of int to numpy.ndarray, (3,) float64
        For each atom its neighbours, with the vector to the image that it is bonded to, nm.
    """

    def __init__(self, structure: Structure) -> None:
        pairs = [(bond[0].index, bond[1].index) for bond in structure.topology.bonds()]
        found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self.near: list[dict[int, np.ndarray]] = [{} for _ in structure.symbols]
        images = nearest_images(found, structure.positions_nm, structure.box_nm)
        box = np.zeros((3, 3)) if structure.box_nm is None else structure.box_nm
        points = structure.positions_nm
        for (i, j), shift in zip(images.pairs.tolist(), images.shifts, strict=True):
            vector = points[j] + shift @ box - points[i]
            self.near[i][j] = vector
            self.near[j][i] = -vector

    def in_ring(self, i: int, j: int) -> bool:
        """Whether a bond closes a ring of at most :data:`LARGEST_RING` atoms.

        Parameters
        ----------
        i, j : int
            Its atoms.

        Returns
        -------
        bool
        """
        reached, front = {i}, {i}
        for _ in range(LARGEST_RING - 1):
            front = {n for atom in front for n in self.near[atom] if {atom, n} != {i, j}} - reached
            if j in front:
                return True
            reached |= front
        return False

    def angles(self, atom: int) -> list[float]:
        """All angles between the bonds of an atom.

        Parameters
        ----------
        atom : int

        Returns
        -------
        list of float
            Degrees.
        """
        arms = [vector / np.linalg.norm(vector) for vector in self.near[atom].values()]
        return [
            float(np.degrees(np.arccos(np.clip(arms[a] @ arms[b], -1, 1))))
            for a in range(len(arms)) for b in range(a)
        ]  # fmt: skip

    def length(self, i: int, j: int) -> float:
        """Length of a bond.

        Parameters
        ----------
        i, j : int
            Its atoms.

        Returns
        -------
        float
            nm.
        """
        return float(np.linalg.norm(self.near[i][j]))
