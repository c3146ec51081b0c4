"""Which particles are bonded: the topology's bonds, completed by those that only the force field knows."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import NamedTuple

import openmm
from openmm.app import Element, Topology

from .connectivity import Connectivity, Pair, ordered
from .covalent import RADII_PM
from .force_classes import BondEvidence, ForceClass, ForceClasses
from .force_table import FORCE_CLASSES

#: Shortest and longest bond, as multiples of the sum of two covalent radii; the ends of an angle are further apart.
_SHORTEST, _LONGEST = 0.5, 1.35
_PM_PER_NM = 1000.0
#: Names that force fields give to the length of a bond among the parameters of a CustomBondForce.
_LENGTH_NAMES = ("r0", "length", "req", "b0")


class _Candidate(NamedTuple):
    """A pair that may be bonded, the length of its term in nm where one is known, and where it was found."""

    pair: Pair
    length: float | None
    constraint: bool


class _ForceFieldBonds:
    """Finds bonds that the topology lacks, as in a file without CONECT records."""

    def __init__(
        self,
        topology: Topology,
        system: openmm.System,
        graph: Connectivity,
        forces: Sequence[tuple[openmm.Force, ForceClass]],
        classes: ForceClasses,
    ) -> None:
        self._elements: list[Element | None] = [atom.element for atom in topology.atoms()]
        self._system = system
        self._graph = graph
        self._classes = classes
        self._forces = forces
        self._known = [bool(near) for near in graph.neighbours]

    @cached_property
    def _angles(self) -> tuple[set[Pair], set[Pair]]:
        """Pairs that are a leg, and pairs that are the two ends, of an angle."""
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

    @cached_property
    def candidates(self) -> list[_Candidate]:
        """The pairs with a constraint or a term of a class whose terms are bonds, and that the topology lacks."""
        found = []
        for force, row in self._forces:
            if row.bond_evidence is BondEvidence.BONDS:
                lengths = _lengths(force)
                for atoms, length in zip(row.term_atoms(force), lengths, strict=True):
                    found.append(_Candidate(ordered(*atoms[:2]), length, False))
        for index in range(self._system.getNumConstraints()):
            i, j, length = self._system.getConstraintParameters(index)
            found.append(_Candidate(ordered(i, j), length._value, True))
        return [item for item in found if item.pair[0] != item.pair[1] and not self._graph.bonded(*item.pair)]

    @cached_property
    def _partners(self) -> dict[int, set[int]]:
        """The particles that each is bonded to, or may be by the length of the term."""
        partners = defaultdict(set)
        for (i, j), length, _ in self.candidates:
            if length is not None and self._plausible(i, j, length) and not self._both_hydrogen(i, j):
                partners[i].add(j)
                partners[j].add(i)
        for i, near in enumerate(self._graph.neighbours):
            if near:
                partners[i] |= near
        return partners

    def is_bond(self, candidate: _Candidate) -> bool:
        """Judge a pair with a bond term or a constraint.

        A pair across an angle is a Urey-Bradley term or a fixed angle, and so is one further apart than two bonded
        atoms ever are.  Of the others, those whose non-bonded interaction the force field leaves out and that are the
        leg of an angle are bonds: a tie between two atoms that have other bonds comes without angles.
        """
        (i, j), length, constraint = candidate
        pair = candidate.pair
        if self._graph.centres(i, j) or constraint and self._both_hydrogen(i, j):
            return False
        legs, ends = self._angles
        if pair in ends and pair not in legs or length is not None and not self._plausible(i, j, length):
            return False
        if self._excluded is not None and pair not in self._excluded:
            return False
        if pair in legs:
            return self._excluded is not None or not (self._known[i] and self._known[j])
        if length is None:
            return False
        # Without an angle it can only be the one bond of at least one of the two atoms.
        return any(self._partners[a] <= {b} for a, b in ((i, j), (j, i)))

    def _plausible(self, i: int, j: int, length: float) -> bool:
        first, second = self._elements[i], self._elements[j]
        if first is None or second is None:
            return False
        reach = (RADII_PM[first.atomic_number] + RADII_PM[second.atomic_number]) / _PM_PER_NM
        return _SHORTEST * reach <= length <= _LONGEST * reach

    def _both_hydrogen(self, i: int, j: int) -> bool:
        """Tell whether both particles are hydrogens, as the ends of a rigid water are."""
        elements = self._elements[i], self._elements[j]
        return all(element is not None and element.atomic_number == 1 for element in elements)


def _lengths(force: openmm.Force) -> list[float | None]:
    """The length of every bond term in nm, None where the force does not say."""
    if isinstance(force, openmm.HarmonicBondForce):
        return [force.getBondParameters(index)[2]._value for index in range(force.getNumBonds())]
    if not isinstance(force, openmm.CustomBondForce):
        return [None] * force.getNumBonds()
    names = [force.getPerBondParameterName(k).lower() for k in range(force.getNumPerBondParameters())]
    place = next((names.index(name) for name in _LENGTH_NAMES if name in names), None)
    if place is None:
        return [None] * force.getNumBonds()
    return [force.getBondParameters(index)[2][place] for index in range(force.getNumBonds())]


def find_bonds(
    topology: Topology, system: openmm.System, classes: ForceClasses = FORCE_CLASSES, leave_out: Collection[int] = ()
) -> Connectivity:
    """Collect the bonds of a molecular system.

    The topology's bonds come first.  To them are added pairs with a bond term or a constraint which the topology does
    not join, if their length is that of a bond, and they are no Urey-Bradley term (ends but not leg of an angle), no
    fixed angle and no restraint: a force field leaves out the non-bonded interaction of bonded atoms and bends the
    angles around them, a restraint does neither.

    Parameters
    ----------
    topology : openmm.app.Topology
        Atoms and the bonds that the input file told of.
    system : openmm.System
        The force field's System for the same particles.
    classes : ForceClasses
        The table of force classes.
    leave_out : collection of int
        Indices of forces that tell nothing of bonds.

    Returns
    -------
    Connectivity
        The bond graph; those added are its ``inferred``.
    """
    known = ((bond.atom1.index, bond.atom2.index) for bond in topology.bonds())
    graph = Connectivity(topology.getNumAtoms(), known)
    forces = [
        (force, classes.of(force)) for index, force in enumerate(system.getForces()) if index not in leave_out
    ]
    judge = _ForceFieldBonds(topology, system, graph, forces, classes)
    found = {candidate.pair for candidate in judge.candidates if judge.is_bond(candidate)}
    for i, j in found:
        graph.add(i, j)
    graph.inferred.update(found)
    return graph


def check_bonds_known(
    topology: Topology, system: openmm.System, bonds: Connectivity, atoms: Collection[int], classes: ForceClasses
) -> None:
    """Refuse atoms of which nothing tells the bonds, though the force field bends angles around them.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology; one that has bonds is taken to have all.
    system : openmm.System
        The force field's System.
    bonds : Connectivity
        The bonds that were found.
    atoms : collection of int
        Atoms of all regions.
    classes : ForceClasses
        The table of force classes.

    Raises
    ------
    ValueError
        If the topology has no bonds, and an atom of a region is in angle terms and has no bond.
    """
    if topology.getNumBonds():
        return
    lonely = {i for i in atoms if not bonds.neighbours[i]}
    for force in system.getForces():
        row = classes.of(force)
        if row.bond_evidence is not BondEvidence.ANGLES:
            continue
        for term in row.term_atoms(force):
            bent = lonely.intersection(term)
            if bent:
                raise ValueError(
                    f"The topology has no bonds, and no force tells those of atom {min(bent)}, which has angle terms. "
                    "Without bonds neither the terms that the model replaces nor the bonds that it cuts can be found. "
                    "Add the bonds to the topology (topology.addBond, or createStandardBonds)."
                )
