"""Telling the terms of a force field from the restraints that a user added.

A hybrid System must lose the former inside a region and keep the latter.  OpenMM does not record where a term came
from, so it is read off the bonds, the other forces and how many such terms there are:

- a term over atoms that do not hang together by bonds is a restraint, as are centroid bonds and external forces;
- the first force of each family (harmonic bonds; harmonic angles; periodic or Ryckaert-Bellemans torsions; CMAP) is the
  force field's;
- a custom bond, angle or torsion over atoms that a plain term binds already is on top of it: a restraint, as a biased
  backbone torsion is;
- everything else (pairs across an angle, special 1-4 terms, further forces of a family, custom and compound terms) is
  the force field's if it is there throughout, for most such places of the molecule and of all like it, and a restraint
  if there are a few only: a force field treats equal places alike, a user picks some.

A decision by the last rule alone is in doubt and is said in the report and warned about
(:mod:`openmm_nequip.hybrid.provenance`).  Every class names its rule for bonds in the table of force classes.  What is
in doubt is settled with ``keepForces`` and ``forceFieldForces`` of the builder.
"""

from __future__ import annotations

from collections.abc import Callable

from .connectivity import Connectivity
from .force_classes import Atoms

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
