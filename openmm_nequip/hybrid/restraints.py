"""Telling the terms of a force field from the restraints that a user added.

A hybrid System must lose the former inside a region and keep the latter.  OpenMM does not record where a term came
from, so it is read off the bonds:

- harmonic bonds: a term over bonded atoms or over the two ends of an angle (Urey-Bradley) is the force field's;
- harmonic angles: the middle atom is bonded to both others;
- periodic and Ryckaert-Bellemans torsions, compound bonds: the atoms hang together by bonds among themselves;
- CMAP terms are always the force field's;
- custom bonds, angles and torsions: as above, and custom bonds also at 1-4 distance (special Lennard-Jones of CHARMM
  force fields), unless a harmonic or periodic term binds the same atoms already: then the custom term is on top, as a
  biased backbone torsion is, and counts as a restraint;
- centroid bonds and external forces are restraints.

Every class names its rule in the table of force classes.  What the rules cannot tell is told with ``keepForces`` and
``forceFieldForces`` of the builder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import openmm

from .connectivity import Connectivity
from .force_classes import Atoms, ForceClass, ForceClasses

#: Pairs with at most so many bonds between them are 1-4 pairs or closer.
_BONDS_OF_14 = 3


def always(bonds: Connectivity, atoms: Atoms) -> bool:
    """Take every term for a restraint; arguments as those of :func:`not_joined_by_bonds`."""
    return True


def never(bonds: Connectivity, atoms: Atoms) -> bool:
    """Take no term for a restraint; arguments as those of :func:`not_joined_by_bonds`."""
    return False


def farther_than(count: int) -> Callable[[Connectivity, Atoms], bool]:
    """Make a rule for pairs: a restraint joins atoms with more than `count` bonds between them."""
    return lambda bonds, atoms: bonds.separation(*atoms) > count


def bent_over_no_bonds(bonds: Connectivity, atoms: Atoms) -> bool:
    """Take an angle for a restraint whose middle is not bonded to both ends, see :func:`not_joined_by_bonds`."""
    return not (bonds.bonded(atoms[0], atoms[1]) and bonds.bonded(atoms[1], atoms[2]))


def not_joined_by_bonds(bonds: Connectivity, atoms: Atoms) -> bool:
    """Take a term for a restraint whose atoms do not hang together by bonds among themselves.

    Parameters
    ----------
    bonds : Connectivity
        The bond graph.
    atoms : tuple of int
        The particles of the term; of two only the number of bonds between them counts.

    Returns
    -------
    bool
        True for a restraint, False for a term of the force field.
    """
    if len(atoms) == 2:
        return bonds.separation(*atoms) > _BONDS_OF_14
    return not bonds.connects(atoms)


def _either_way(atoms: Atoms) -> Atoms:
    """The same key for a term and the term read backwards."""
    return min(atoms, atoms[::-1])


class RestraintJudge:
    """Decides for every term whether it is a restraint.

    Parameters
    ----------
    bonds : Connectivity
        The bond graph.
    forces : iterable of openmm.Force
        All forces of the original System.
    classes : ForceClasses
        The table of force classes.
    """

    def __init__(self, bonds: Connectivity, forces: Iterable[openmm.Force], classes: ForceClasses) -> None:
        self._bonds = bonds
        #: Terms that may lie under a custom one, by class.
        self._covering: dict[str, set[Atoms]] = {}
        rows = [(force, classes.of(force)) for force in forces]
        wanted = {name for _, row in rows for name in row.covered_by}
        for force, row in rows:
            if row.name in wanted:
                found = self._covering.setdefault(row.name, set())
                found.update(_either_way(atoms) for atoms in row.term_atoms(force))

    def is_restraint(self, row: ForceClass, atoms: Atoms) -> bool:
        """Judge one term.

        Parameters
        ----------
        row : ForceClass
            The class of its force.
        atoms : tuple of int
            The particles it binds.

        Returns
        -------
        bool
            True for a restraint, False for a term of the force field.
        """
        if any(_either_way(atoms) in self._covering.get(name, ()) for name in row.covered_by):
            return True
        return row.restraint_rule is not None and row.restraint_rule(self._bonds, atoms)
