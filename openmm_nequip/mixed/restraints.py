"""Telling the terms of a force field from the restraints that a user added.

A mixed System must lose the former inside a region and keep the latter.  OpenMM does not record where a term came
from, so it is read off the bonds:

- harmonic bonds: a term over bonded atoms or over the two ends of an angle (Urey-Bradley) is the force field's;
- harmonic angles: the middle atom is bonded to both others;
- periodic and Ryckaert-Bellemans torsions, compound bonds: the atoms hang together by bonds among themselves;
- CMAP terms are always the force field's;
- custom bonds, angles and torsions: as above, and custom bonds also at 1-4 distance (special Lennard-Jones of CHARMM
  force fields), unless a harmonic or periodic term binds the same atoms already: then the custom term is on top, as a
  biased backbone torsion is, and counts as a restraint;
- centroid bonds and external forces are restraints.

What is neither can be told with ``keepForces`` and ``forceFieldForces`` of the builder.
"""

from collections.abc import Iterable

import openmm

from .connectivity import Connectivity
from .terms import className, termAtoms

_COVERED_BY = {
    "CustomBondForce": ("HarmonicBondForce",),
    "CustomAngleForce": ("HarmonicAngleForce",),
    "CustomTorsionForce": ("PeriodicTorsionForce", "RBTorsionForce"),
}


def _either_way(atoms: tuple[int, ...]) -> tuple[int, ...]:
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
    """

    def __init__(self, bonds: Connectivity, forces: Iterable[openmm.Force]) -> None:
        self._bonds = bonds
        self._standard: dict[str, set[tuple[int, ...]]] = {}
        names = {name for group in _COVERED_BY.values() for name in group}
        forces = list(forces)
        if any(className(force) in _COVERED_BY for force in forces):
            for force in forces:
                if className(force) in names:
                    found = self._standard.setdefault(className(force), set())
                    found.update(_either_way(atoms) for atoms in termAtoms(force))

    def isRestraint(self, kind: str, atoms: tuple[int, ...]) -> bool:
        """Judge one term.

        Parameters
        ----------
        kind : str
            Class name of its force.
        atoms : tuple of int
            The particles it binds.

        Returns
        -------
        bool
            True for a restraint, False for a term of the force field.
        """
        if kind in ("CustomExternalForce", "CustomCentroidBondForce"):
            return True
        if kind == "CMAPTorsionForce":
            return False
        if any(_either_way(atoms) in self._standard.get(name, ()) for name in _COVERED_BY.get(kind, ())):
            return True
        if len(atoms) == 2:
            return self._bonds.separation(*atoms) > (2 if kind == "HarmonicBondForce" else 3)
        if kind in ("HarmonicAngleForce", "CustomAngleForce"):
            return not (self._bonds.bonded(atoms[0], atoms[1]) and self._bonds.bonded(atoms[1], atoms[2]))
        return not self._bonds.connects(atoms)
