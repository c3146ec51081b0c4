"""The graph of chemical bonds."""

from collections.abc import Iterable, Iterator

Pair = tuple[int, int]


def ordered(i: int, j: int) -> Pair:
    """Return two indices with the smaller one first.

    Parameters
    ----------
    i, j : int
        Particle indices.

    Returns
    -------
    (int, int)
    """
    return (i, j) if i < j else (j, i)


class Connectivity:
    """The graph of chemical bonds.

    Parameters
    ----------
    count : int
        Number of particles.
    bonds : iterable of (int, int)
        Bonded pairs.

    Attributes
    ----------
    neighbours : list of set of int
        The particles bonded to every particle.
    inferred : set of (int, int)
        Bonds that a search added, smaller index first.
    """

    def __init__(self, count: int, bonds: Iterable[Pair]) -> None:
        self.neighbours: list[set[int]] = [set() for _ in range(count)]
        self.inferred: set[Pair] = set()
        for i, j in bonds:
            self.add(i, j)

    def add(self, i: int, j: int) -> None:
        """Add the bond between two particles, given as to :meth:`separation`."""
        self.neighbours[i].add(j)
        self.neighbours[j].add(i)

    def bonded(self, i: int, j: int) -> bool:
        """Tell whether two particles, given as to :meth:`separation`, are bonded."""
        return j in self.neighbours[i]

    def centres(self, i: int, j: int) -> set[int]:
        """Return the particles bonded to both of two particles, given as to :meth:`separation`."""
        return self.neighbours[i] & self.neighbours[j]

    def separation(self, i: int, j: int) -> int:
        """Count the bonds on the shortest way between two particles.

        Parameters
        ----------
        i, j : int
            Particle indices.

        Returns
        -------
        int
            0 to 3, and 4 for any longer or no way.
        """
        if i == j:
            return 0
        if self.bonded(i, j):
            return 1
        if self.centres(i, j):
            return 2
        if any(self.bonded(a, b) for a in self.neighbours[i] for b in self.neighbours[j]):
            return 3
        return 4

    def connects(self, atoms: Iterable[int]) -> bool:
        """Tell whether particles hang together by bonds among themselves."""
        left = set(atoms)
        front = [left.pop()]
        while front:
            reached = self.neighbours[front.pop()] & left
            left -= reached
            front.extend(reached)
        return not left

    def leaving(self, atoms: Iterable[int]) -> Iterator[Pair]:
        """Yield the bonds from particles to others, the inner particle first."""
        inside = set(atoms)
        for i in atoms:
            for j in sorted(self.neighbours[i] - inside):
                yield i, j
