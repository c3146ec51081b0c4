"""The options of the builder, with the names of its keywords, and what they may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import openmm
from openmm import unit
from openmm.app import Topology

from ..choices import LINK_CHARGES, RULES
from .connectivity import ordered
from .covalent import element_by_symbol
from .force_classes import ForceClasses
from .force_table import FORCE_CLASSES

#: Keywords that ``MLPotential.createMixedSystem`` has itself; the others are handed on to the potential.
OPENMM_ML_KEYWORDS = ("forceGroup", "interpolate", "removeConstraints")


@dataclass(frozen=True, eq=False)
class HybridOptions:
    """Everything that can be chosen for a hybrid System.

    Parameters
    ----------
    rule : {"openmm-ml", "gromacs", "all-in-set"}
        Which bonded terms the model replaces, see :mod:`openmm_nequip.hybrid.bonded`.
    removeConstraints : bool, optional
        Remove constraints between two atoms of a region.  Constraints across the border always stay.  None does as
        the rule says: ``"gromacs"`` keeps them, and takes rigid waters (three atoms with constraints among them alone)
        apart that have two or three atoms in the region; the other rules remove them.  True removes under
        ``"gromacs"`` both, False nothing at all.
    forceGroup : int
        Force group of the model, 0 to 31.
    interpolate : bool
        Add the global parameter `lambdaName`: 1 is the hybrid System, 0 the force field, see
        :mod:`openmm_nequip.hybrid.interpolation`.
    mlLongRange : bool, optional
        Only matters where the force field uses Ewald, PME or LJPME.  True: the model contains the electrostatics of
        the region with its own periodic images, so the force field's whole lattice sum over the region is
        subtracted.  False: it does not, and atoms of the region see the images of the others with their
        force-field charges.  None means False: NequIP and Allegro models are local.
    linkAtomDistances : iterable of (int, int, distance), optional
        Distance of the cap from the inner atom for single bonds, given by their two atoms in any order, in nm or as
        a quantity.  Default: the sum of the covalent radii of the inner atom and the cap.
    linkElement : str, optional
        Element of the caps; None or ``"none"`` leaves cut bonds without caps.
    linkDistance : distance, optional
        Distance of all caps from their inner atoms, in nm or as a quantity, instead of the sum of covalent radii;
        those of `linkAtomDistances` have their own.
    linkCharge : {"keep", "zero", "redistribute"}
        What to do with the force-field charge of the outer atom of a cut bond, see
        :mod:`openmm_nequip.hybrid.charges`.
    splitRegions : bool, optional
        True: every molecule of a region becomes a region of its own; the force field keeps the interactions between
        them. False: molecules stay together, whose mutual interaction is the model's within its cutoff and nothing
        beyond. None does the latter and warns where it matters.
    allowSharedCaps : bool
        Build regions of which two atoms are bonded to one atom outside, with two caps for this atom about 0.07 nm
        apart; refused by default.
    removeRestraints : bool
        Also remove restraints of which all particles are in one region, see :mod:`openmm_nequip.hybrid.restraints`.
    keepForces : iterable of str or int
        Names or indices of forces to leave exactly as they are.
    forceFieldForces : iterable of str or int
        Names or indices of forces whose terms are all the force field's, whatever they look like.
    lambdaName : str
        Name of the interpolation parameter.
    referenceSystem : openmm.System, optional
        The same system from the same force field without constraints; with `interpolate` it supplies the bond terms
        that removed constraints stood for.  Not needed if the System holds them (``flexibleConstraints=True``).
    positions : array_like, shape (n, 3), optional
        Positions in nm or as a quantity, for the distance to periodic images in the report.
    cutoff_nm : float, optional
        The model's cutoff in nm, to judge that distance.
    declareMolecules : bool
        Whether atoms whose bond the model replaces are joined by bonds of zero strength, from which OpenMM tells
        molecules.
    embedsElectrostatics : bool
        Whether the model feels the charges around its one region, whose own are then zero; follows from the model.
    forceClasses : ForceClasses
        The table of force classes, to be given with further rows for classes that the builder does not know, see
        :mod:`openmm_nequip.hybrid.force_table`.

    Raises
    ------
    ValueError
        With the value and what to give instead.

    Notes
    -----
    Iterables are read once and kept as tuples, link distances as (smaller index, larger index, nm).
    """

    rule: str = "openmm-ml"
    removeConstraints: bool | None = None
    forceGroup: int = 0
    interpolate: bool = False
    mlLongRange: bool | None = None
    linkAtomDistances: Sequence[tuple[int, int, Any]] = ()
    linkElement: str | None = "H"
    linkDistance: Any = None
    linkCharge: str = "keep"
    splitRegions: bool | None = None
    allowSharedCaps: bool = False
    removeRestraints: bool = False
    keepForces: Sequence[str | int] = ()
    forceFieldForces: Sequence[str | int] = ()
    lambdaName: str = "lambda_interpolate"
    referenceSystem: openmm.System | None = None
    positions: Any = None
    cutoff_nm: float | None = None
    declareMolecules: bool = True
    embedsElectrostatics: bool = False
    forceClasses: ForceClasses = FORCE_CLASSES

    @classmethod
    def names(cls) -> list[str]:
        """All keywords."""
        return [field.name for field in fields(cls)]

    def __post_init__(self) -> None:
        _one_of("rule", self.rule, RULES)
        _one_of("linkCharge", self.linkCharge, LINK_CHARGES)
        for name in ("interpolate", "allowSharedCaps", "removeRestraints", "declareMolecules", "embedsElectrostatics"):
            _one_of(name, getattr(self, name), (True, False))
        for name in ("mlLongRange", "splitRegions", "removeConstraints"):
            _one_of(name, getattr(self, name), (True, False, None))
        object.__setattr__(self, "linkElement", _link_element(self.linkElement))
        object.__setattr__(self, "linkDistance", _link_distance(self.linkDistance))
        if isinstance(self.forceGroup, bool) or not isinstance(self.forceGroup, int) or not 0 <= self.forceGroup < 32:
            raise ValueError(f"forceGroup is {self.forceGroup!r}. Expected a whole number from 0 to 31.")
        if not isinstance(self.lambdaName, str) or not re.fullmatch(r"[A-Za-z_]\w*", self.lambdaName):
            raise ValueError(
                f"lambdaName is {self.lambdaName!r}. Expected a name of letters, digits and underscores, as it stands "
                "in an OpenMM expression."
            )
        cutoff = self.cutoff_nm
        number = isinstance(cutoff, (int, float, np.integer, np.floating)) and not isinstance(cutoff, bool)
        if cutoff is not None and not (number and cutoff > 0):
            raise ValueError(f"cutoff_nm is {self.cutoff_nm!r}. Expected the model's cutoff in nm, above zero.")
        if self.referenceSystem is not None and not self.interpolate:
            raise ValueError(
                "referenceSystem is given without interpolate=True. It supplies bond terms for the force-field side of "
                "the interpolation only; leave it out or interpolate."
            )
        if not isinstance(self.forceClasses, ForceClasses):
            raise ValueError(
                f"forceClasses is {self.forceClasses!r}. Expected FORCE_CLASSES.adding(...) of "
                "openmm_nequip.hybrid.force_table."
            )
        object.__setattr__(self, "linkAtomDistances", _link_distances(self.linkAtomDistances))
        for name in ("keepForces", "forceFieldForces"):
            value = getattr(self, name)
            if not isinstance(value, (str, int)) and not isinstance(value, Iterable):
                raise ValueError(f"{name} is {value!r}. Expected names or indices of forces.")
            object.__setattr__(self, name, (value,) if isinstance(value, (str, int)) else tuple(value))

    def check_system(self, topology: Topology, system: openmm.System) -> None:
        """Refuse a System that does not fit its topology or these options.

        Parameters
        ----------
        topology : openmm.app.Topology
            The topology.
        system : openmm.System
            The force field's System.

        Raises
        ------
        ValueError
            If the numbers of atoms differ, or there is no lattice sum for ``mlLongRange=True``.
        """
        if topology.getNumAtoms() != system.getNumParticles():
            raise ValueError(
                f"The topology has {topology.getNumAtoms()} atoms, the System {system.getNumParticles()} particles. "
                "Expected the same; use the topology that the System was created from (after adding extra particles)."
            )
        if not self.mlLongRange or not system.usesPeriodicBoundaryConditions():
            return
        rows = [(force, self.forceClasses.of(force)) for force in system.getForces()]
        if not any(row.lattice_sum is not None and row.lattice_sum(force) for force, row in rows):
            raise ValueError(
                "mlLongRange=True, but no NonbondedForce of this periodic System uses Ewald, PME or LJPME, so there is "
                "no lattice sum of the region to subtract. Use a lattice sum or mlLongRange=False."
            )


def _one_of(name: str, value: object, allowed: tuple) -> None:
    if not any(value is item or type(value) is type(item) and value == item for item in allowed):
        raise ValueError(f"{name} is {value!r}. Expected one of {', '.join(map(repr, allowed))}.")


_EXPECTED_DISTANCE = (
    "Expected a bond length in nm, about 0.1; distances in angstrom need their unit (1.09*unit.angstrom)."
)


def _in_nm(distance: Any) -> float:
    return float(distance.value_in_unit(unit.nanometer) if unit.is_quantity(distance) else distance)


def _link_element(symbol: str | None) -> str | None:
    """The element of caps; None for none."""
    if symbol is None or str(symbol).lower() == "none":
        return None
    element_by_symbol(symbol)
    return symbol


def _link_distance(distance: Any) -> float | None:
    if distance is None:
        return None
    try:
        value = _in_nm(distance)
    except (TypeError, ValueError) as error:
        raise ValueError(f"linkDistance is {distance!r}. {_EXPECTED_DISTANCE}") from error
    if not 0.0 < value < 1.0:
        raise ValueError(f"linkDistance is {value} nm. {_EXPECTED_DISTANCE}")
    return value


def _link_distances(entries: Sequence[tuple[int, int, Any]] | None) -> tuple[tuple[int, int, float], ...]:
    table: dict[tuple[int, int], float] = {}
    if entries is not None and not isinstance(entries, Iterable):
        raise ValueError(f"linkAtomDistances is {entries!r}. Expected a list of (atom, atom, distance).")
    for entry in entries or ():
        try:
            i, j, distance = entry
            value = _in_nm(distance)
            pair = ordered(int(i), int(j))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"linkAtomDistances holds {entry!r}. Expected (atom, atom, distance in nm or as a quantity of length)."
            ) from error
        if not 0.0 < value < 1.0:
            raise ValueError(f"linkAtomDistances puts a cap at {value} nm for atoms {pair}. {_EXPECTED_DISTANCE}")
        if pair in table:
            raise ValueError(f"linkAtomDistances names the bond of atoms {pair} twice. Give one distance for a bond.")
        table[pair] = value
    return tuple((i, j, value) for (i, j), value in table.items())
