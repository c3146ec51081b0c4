"""Which particles are bonded: the topology's bonds, completed by those that only the force field knows."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import openmm
from openmm.app import Topology

from .terms import termAtoms

Pair = tuple[int, int]


def ordered(i: int, j: int) -> Pair:
    """Return two indices with the smaller one first."""
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
    """

    def __init__(self, count: int, bonds: Iterable[Pair]) -> None:
        self.neighbours: list[set[int]] = [set() for _ in range(count)]
        for i, j in bonds:
            self.add(i, j)

    def add(self, i: int, j: int) -> None:
        """Add the bond between two particles."""
        self.neighbours[i].add(j)
        self.neighbours[j].add(i)

    def bonded(self, i: int, j: int) -> bool:
        """Tell whether two particles are bonded."""
        return j in self.neighbours[i]

    def centres(self, i: int, j: int) -> set[int]:
        """Return the particles bonded to both of two particles."""
        return self.neighbours[i] & self.neighbours[j]

    def separation(self, i: int, j: int) -> int:
        """Return the number of bonds on the shortest way between two particles, 4 for any longer or no way."""
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


class _ForceFieldBonds:
    """Finds bonds that the topology lacks, as in a file without CONECT records."""

    def __init__(self, topology: Topology, system: openmm.System, graph: Connectivity) -> None:
        self._elements = [atom.element for atom in topology.atoms()]
        self._system = system
        self._graph = graph

    @cached_property
    def _angles(self) -> tuple[set[Pair], set[Pair]]:
        """Pairs that are a leg, and pairs that are the two ends, of a harmonic angle."""
        legs, ends = set(), set()
        for force in self._system.getForces():
            if isinstance(force, openmm.HarmonicAngleForce):
                for a, b, c in termAtoms(force):
                    legs |= {ordered(a, b), ordered(b, c)}
                    ends.add(ordered(a, c))
        return legs, ends

    @cached_property
    def _excluded(self) -> set[Pair] | None:
        """Pairs without non-bonded interaction, None where no force could tell."""
        for force in self._system.getForces():
            if isinstance(force, openmm.NonbondedForce):
                found = set()
                for index in range(force.getNumExceptions()):
                    i, j, charge, _, epsilon = force.getExceptionParameters(index)
                    if charge._value == 0 and epsilon._value == 0:
                        found.add(ordered(i, j))
                return found
        for force in self._system.getForces():
            if isinstance(force, openmm.CustomNonbondedForce):
                return {ordered(*force.getExclusionParticles(k)) for k in range(force.getNumExclusions())}
        return None

    def is_bond(self, i: int, j: int) -> bool:
        """Judge a pair with a bond term or a constraint.

        A pair across an angle is a Urey-Bradley term or a fixed angle.  Of the others, those whose non-bonded
        interaction the force field leaves out are bonds; a harmonic restraint between distant atoms is not.
        """
        if self._graph.centres(i, j):
            return False
        legs, ends = self._angles
        pair = ordered(i, j)
        if pair in ends and pair not in legs:
            return False
        if self._excluded is not None and pair not in self._excluded:
            return False
        return self._excluded is not None or not (self._graph.neighbours[i] and self._graph.neighbours[j])

    def both_hydrogen(self, i: int, j: int) -> bool:
        """Tell whether both particles are hydrogens, as the ends of a rigid water are."""
        return all(self._elements[k] is not None and self._elements[k].atomic_number == 1 for k in (i, j))


def findBonds(topology: Topology, system: openmm.System) -> Connectivity:
    """Collect the bonds of a molecular system.

    The topology's bonds come first.  To them are added pairs with a HarmonicBondForce term or a constraint which the
    topology does not join, if they are no Urey-Bradley term (ends but not leg of an angle), no fixed angle and no
    restraint (a force field leaves out the non-bonded interaction of bonded atoms, a restraint does not).

    Parameters
    ----------
    topology : openmm.app.Topology
        Atoms and the bonds that the input file told of.
    system : openmm.System
        The force field's System for the same particles.

    Returns
    -------
    Connectivity
        The bond graph.
    """
    known = ((bond.atom1.index, bond.atom2.index) for bond in topology.bonds())
    graph = Connectivity(topology.getNumAtoms(), known)
    judge = _ForceFieldBonds(topology, system, graph)
    found: list[Pair] = []
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            found += [(i, j) for i, j in termAtoms(force) if not graph.bonded(i, j) and judge.is_bond(i, j)]
    for index in range(system.getNumConstraints()):
        i, j, _ = system.getConstraintParameters(index)
        if not graph.bonded(i, j) and not judge.both_hydrogen(i, j) and judge.is_bond(i, j):
            found.append((i, j))
    for i, j in found:
        graph.add(i, j)
    return graph
