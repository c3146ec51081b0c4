"""Which particles are bonded: the topology's bonds, completed by those that only the force field knows."""

from functools import cached_property

import openmm
from openmm.app import Topology

from .connectivity import Connectivity, Pair, ordered
from .force_classes import BondEvidence, ForceClasses
from .force_table import FORCE_CLASSES


class _ForceFieldBonds:
    """Finds bonds that the topology lacks, as in a file without CONECT records."""

    def __init__(self, topology: Topology, system: openmm.System, graph: Connectivity, classes: ForceClasses) -> None:
        self._elements = [atom.element for atom in topology.atoms()]
        self._graph = graph
        self._classes = classes
        self._forces = [(force, classes.of(force)) for force in system.getForces()]

    @cached_property
    def _angles(self) -> tuple[set[Pair], set[Pair]]:
        """Pairs that are a leg, and pairs that are the two ends, of a harmonic angle."""
        legs, ends = set(), set()
        for force, row in self._forces:
            if row.bond_evidence is BondEvidence.ANGLES:
                for a, b, c in row.term_atoms(force):
                    legs |= {ordered(a, b), ordered(b, c)}
                    ends.add(ordered(a, c))
        return legs, ends

    @cached_property
    def _excluded(self) -> set[Pair] | None:
        """Pairs without non-bonded interaction, None where no force could tell."""
        for known in self._classes:
            for force, row in self._forces:
                if row.name == known.name and row.excluded_pairs is not None:
                    return row.excluded_pairs(force)
        return None

    def candidates(self) -> list[Pair]:
        """List the pairs with a term of a class whose terms are bonds."""
        return [
            (atoms[0], atoms[1])
            for force, row in self._forces
            if row.bond_evidence is BondEvidence.BONDS
            for atoms in row.term_atoms(force)
        ]

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


def find_bonds(topology: Topology, system: openmm.System, classes: ForceClasses = FORCE_CLASSES) -> Connectivity:
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
    classes : ForceClasses
        The table of force classes.

    Returns
    -------
    Connectivity
        The bond graph.
    """
    known = ((bond.atom1.index, bond.atom2.index) for bond in topology.bonds())
    graph = Connectivity(topology.getNumAtoms(), known)
    judge = _ForceFieldBonds(topology, system, graph, classes)
    found = [(i, j) for i, j in judge.candidates() if not graph.bonded(i, j) and judge.is_bond(i, j)]
    for index in range(system.getNumConstraints()):
        i, j, _ = system.getConstraintParameters(index)
        if not graph.bonded(i, j) and not judge.both_hydrogen(i, j) and judge.is_bond(i, j):
            found.append((i, j))
    for i, j in found:
        graph.add(i, j)
    return graph
