"""How many places of a kind the molecules of a System have: bonds, angles, torsions and the like."""

from collections import Counter
from functools import cached_property

from .connectivity import Connectivity

#: What tells molecules apart: the number of atoms, and how many bonds these have.
Signature = tuple[int, ...]


class MoleculePlaces:
    """Counts the places in which a force field may have terms.

    Parameters
    ----------
    bonds : Connectivity
        The bond graph.
    """

    def __init__(self, bonds: Connectivity) -> None:
        self._bonds = bonds
        self._counts: dict[tuple[str, Signature], int] = {}

    @cached_property
    def _molecules(self) -> tuple[list[int], list[list[int]]]:
        """The molecule of every particle, and the particles of every molecule."""
        labels = [-1] * len(self._bonds.neighbours)
        members: list[list[int]] = []
        for start in range(len(labels)):
            if labels[start] >= 0:
                continue
            labels[start] = len(members)
            found = [start]
            for i in found:
                for j in self._bonds.neighbours[i]:
                    if labels[j] < 0:
                        labels[j] = labels[start]
                        found.append(j)
            members.append(found)
        return labels, members

    @cached_property
    def _signatures(self) -> list[Signature]:
        near = self._bonds.neighbours
        return [tuple(sorted(len(near[i]) for i in atoms)) for atoms in self._molecules[1]]

    @cached_property
    def _copies(self) -> Counter:
        return Counter(self._signatures)

    def signature(self, atom: int) -> Signature:
        """Return what the molecule of an atom has in common with all like it."""
        return self._signatures[self._molecules[0][atom]]

    def count(self, kind: str, signature: Signature) -> int:
        """Count the places of a kind in all molecules of a signature.

        Parameters
        ----------
        kind : str
            As :func:`openmm_nequip.hybrid.provenance.kind_of` names it.
        signature : tuple of int
            From :meth:`signature`.

        Returns
        -------
        int
        """
        if (kind, signature) not in self._counts:
            sample = self._molecules[1][self._signatures.index(signature)]
            self._counts[kind, signature] = self._in_molecule(kind, sample) * self._copies[signature]
        return self._counts[kind, signature]

    def _in_molecule(self, kind: str, atoms: list[int]) -> int:
        near = self._bonds.neighbours
        degrees = [len(near[i]) for i in atoms]
        if kind == "bond":
            return sum(degrees) // 2
        if kind in ("1-3 pair", "angle"):
            return sum(degree * (degree - 1) // 2 for degree in degrees)
        if kind in ("1-4 pair", "torsion"):
            return sum((len(near[i]) - 1) * (len(near[j]) - 1) for i in atoms for j in near[i] if i < j)
        if kind == "planar centre":
            return sum(degree == 3 for degree in degrees)
        if kind == "centre":
            return sum(degree > 3 for degree in degrees)
        return len(atoms)
