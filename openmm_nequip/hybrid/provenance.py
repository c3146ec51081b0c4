"""Whether a term is the force field's or a restraint that a user added; the rules stand in `restraints`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple

import openmm

from .connectivity import Connectivity, ordered
from .force_classes import Atoms, ForceClass, ForceClasses, Role
from .molecule_places import MoleculePlaces, Signature

#: Share of the places from which terms are a force field's; where other terms bind the same atoms, a larger one.
_SHARE, _SHARE_ON_TOP = 0.15, 0.5
#: With so few places in the System, all of them taken says little.
_FEW_PLACES = 2
#: Plain classes by family; the first force of a family is the force field's.
_FAMILIES = {
    "HarmonicBondForce": "bond", "HarmonicAngleForce": "angle", "PeriodicTorsionForce": "torsion",
    "RBTorsionForce": "torsion", "CMAPTorsionForce": "map",
}  # fmt: skip
_PAIRS = {1: "bond", 2: "1-3 pair", 3: "1-4 pair"}


class Verdict(NamedTuple):
    """Where a term came from.

    Parameters
    ----------
    restraint : bool
        Whether a user added it.
    doubt : str
        Why this is not sure; empty if it is.
    """

    restraint: bool
    doubt: str = ""


def kind_of(bonds: Connectivity, atoms: Atoms) -> str:
    """Name the kind of place that a term takes.

    Parameters
    ----------
    bonds : Connectivity
        The bond graph.
    atoms : tuple of int
        The particles of the term.

    Returns
    -------
    str
        ``"bond"``, ``"1-3 pair"``, ``"1-4 pair"``, ``"angle"``, ``"torsion"``, ``"planar centre"`` and ``"centre"``
        (an improper torsion on an atom with three and with more bonds), or ``"group"``.
    """
    distinct = len(set(atoms))
    if distinct == 2:
        return _PAIRS.get(bonds.separation(*atoms[:2]), "group")
    if distinct == 3:
        return "angle"
    if distinct == 4 and len(atoms) == 4:
        centre = star_centre(bonds, atoms)
        if centre is None:
            return "torsion"
        return "planar centre" if len(bonds.neighbours[centre]) == 3 else "centre"
    return "group"


def star_centre(bonds: Connectivity, atoms: Atoms) -> int | None:
    """Return the particle that is bonded to all others of a term, None if there is none."""
    return next((i for i in atoms if all(i == j or bonds.bonded(i, j) for j in atoms)), None)


class RestraintJudge:
    """Decides for every term whether it is a restraint.

    Parameters
    ----------
    bonds : Connectivity
        The bond graph.
    forces : sequence of openmm.Force
        All forces of the original System.
    classes : ForceClasses
        The table of force classes.
    """

    def __init__(self, bonds: Connectivity, forces: Sequence[openmm.Force], classes: ForceClasses) -> None:
        self._bonds = bonds
        self._forces = [(force, classes.of(force)) for force in forces]
        self._places = MoleculePlaces(bonds)
        self._taken_by: dict[int, dict[tuple[str, Signature], set[Hashable]]] = {}
        first: dict[str, int] = {}
        for index, (_, row) in enumerate(self._forces):
            if row.name in _FAMILIES:
                first.setdefault(_FAMILIES[row.name], index)
        self._main = set(first.values())

    def judge(self, index: int, row: ForceClass, atoms: Atoms) -> Verdict:
        """Judge one term.

        Parameters
        ----------
        index : int
            Index of its force in the System.
        row : ForceClass
            The class of the force.
        atoms : tuple of int
            The particles it binds.

        Returns
        -------
        Verdict
        """
        if row.restraint_rule is not None and row.restraint_rule(self._bonds, atoms):
            return Verdict(True)
        kind = kind_of(self._bonds, atoms)
        if row.name not in _KNOWN or index in self._main and kind != "1-3 pair":
            return Verdict(False)
        key = self._key(atoms)
        if any(self._binders[name].get(key, index) != index for name in row.covered_by if name in self._binders):
            return Verdict(True)
        on_top = self._is_on_top(index, kind, key)
        if kind == "bond" and not on_top:
            return Verdict(False)  # something must hold the two atoms
        signature = self._places.signature(atoms[0])
        places = max(self._places.count(kind, signature), 1)
        taken = len(self._taken(index)[kind, signature])
        counted = f"{taken} of {places} places of the kind {kind} have such a term"
        # A force field with all atoms has no improper torsions on an atom with four bonds; chirality restraints do.
        if taken < places * (_SHARE_ON_TOP if on_top or kind == "centre" else _SHARE):
            if kind == "planar centre" and not on_top:
                return Verdict(False, counted)  # nothing else keeps the centre planar
            return Verdict(True, "" if on_top else counted)
        if places <= _FEW_PLACES:
            return Verdict(_has_global_parameters(self._forces[index][0]), counted)
        return Verdict(False)

    def _key(self, atoms: Atoms) -> Hashable:
        """The same key for all terms in one place."""
        if len(set(atoms)) == 2:
            return ordered(*atoms[:2])
        centre = star_centre(self._bonds, atoms)
        if centre is not None and len(atoms) in (3, 4):
            return centre, frozenset(atoms)
        return min(atoms, atoms[::-1])

    @cached_property
    def _binders(self) -> dict[str, dict[Hashable, int]]:
        """The first force of every class that binds the atoms of a place."""
        found: dict[str, dict[Hashable, int]] = {}
        for index, (force, row) in enumerate(self._forces):
            if row.role is Role.TERMS and row.name in _KNOWN:
                places = found.setdefault(row.name, {})
                for atoms in row.term_atoms(force):
                    places.setdefault(self._key(atoms), index)
        return found

    @cached_property
    def _close_pairs(self) -> set[Hashable]:
        """Pairs whose non-bonded interaction the force field scales or replaces."""
        found: set[Hashable] = set()
        for force, _ in self._forces:
            if isinstance(force, openmm.NonbondedForce):
                for k in range(force.getNumExceptions()):
                    i, j, product, _, epsilon = force.getExceptionParameters(k)
                    if product._value or epsilon._value:
                        found.add(ordered(i, j))
        return found

    def _is_on_top(self, index: int, kind: str, key: Hashable) -> bool:
        """Tell whether an earlier force, or any of the plain classes, binds the same atoms."""
        if kind == "1-4 pair" and key in self._close_pairs:
            return True
        own = self._forces[index][1].name
        for name, places in self._binders.items():
            other = places.get(key)
            if other is not None and (other < index or other != index and name in _FAMILIES and name != own):
                return True
        return False

    def _taken(self, index: int) -> dict[tuple[str, Signature], set[Hashable]]:
        """The places that a force has terms in, by kind and molecule."""
        if index not in self._taken_by:
            force, row = self._forces[index]
            found: dict[tuple[str, Signature], set[Hashable]] = {}
            for atoms in row.term_atoms(force):
                where = kind_of(self._bonds, atoms), self._places.signature(atoms[0])
                key = self._key(atoms)
                found.setdefault(where, set()).add(key[0] if where[0].endswith("centre") else key)  # type: ignore[index]
            self._taken_by[index] = found
        return self._taken_by[index]


#: Classes whose terms may be either; a further row of the table goes by its own rule alone.
_KNOWN = frozenset(_FAMILIES) | {
    "CustomBondForce", "CustomAngleForce", "CustomTorsionForce", "CustomCompoundBondForce",
}  # fmt: skip


def _has_global_parameters(force: openmm.Force) -> bool:
    """Tell whether a force can be switched from outside, as biases often can."""
    return bool(getattr(force, "getNumGlobalParameters", lambda: 0)())
