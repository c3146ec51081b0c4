"""What the builder knows of a class of Force: the columns of the table in :mod:`openmm_nequip.hybrid.force_table`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Any

import openmm

from ..choices import FORCE_NAME
from .charges import ChargeChange
from .connectivity import Connectivity, Pair
from .force_copies import class_name, describe_force, split_by_xml
from .interpolation import RECHARGED_NAME
from .regions import Region

#: Particles of one term, in the order of the force.
Atoms = tuple[int, ...]


class Role(Enum):
    """What the builder does with a force; the values stand in the report."""

    TERMS = "divided by its terms"
    PAIRS = "region pairs excluded"
    BIAS = "kept: a bias on the whole System"
    OPAQUE = "kept: its terms cannot be read"
    NEUTRAL = "kept: no interaction"
    ASKED = "kept as asked by keepForces"
    REFUSED = "refused"


class BondEvidence(Enum):
    """What the terms of a class tell of the chemical bonds."""

    BONDS = "bonds and Urey-Bradley terms"
    ANGLES = "angles"


@dataclass(frozen=True)
class PairTask:
    """How the interactions inside regions are to be taken out of a force between pairs.

    Parameters
    ----------
    regions : sequence of Region
        The regions; interactions between two of them stay.
    bonds : Connectivity
        The bond graph.
    link_charge : str
        The scheme for charges behind cut bonds.
    charge_changes : sequence of ChargeChange
        What the scheme changes.
    charges : sequence of float
        Charges of all particles in e before the change; none where no force has any.
    subtract_lattice : bool
        Whether the whole lattice sum over a region, where there is one, belongs to the model.
    interpolate : bool
        Whether what is taken out is wanted, to be weighted by 1 - λ.
    """

    regions: Sequence[Region]
    bonds: Connectivity
    link_charge: str = "keep"
    charge_changes: Sequence[ChargeChange] = ()
    charges: Sequence[float] = ()
    subtract_lattice: bool = False
    interpolate: bool = False


@dataclass
class PairShare:
    """A force between pairs, divided.

    Parameters
    ----------
    kept : openmm.Force, optional
        What goes into the hybrid System as it is.
    pairs : int
        How many interactions inside regions were taken out, for the report.
    self_energies : list of openmm.Force
        Energies to subtract: with weight -λ, or -1 without interpolation.
    recharged, replaced, excluded : list of openmm.Force
        With interpolation, what is weighted by λ, by 1 - λ and by λ - 1.
    """

    kept: openmm.Force | None
    pairs: int
    self_energies: list[openmm.Force] = field(default_factory=list)
    recharged: list[openmm.Force] = field(default_factory=list)
    replaced: list[openmm.Force] = field(default_factory=list)
    excluded: list[openmm.Force] = field(default_factory=list)


@dataclass(frozen=True)
class ForceClass:
    """One class of Force: a row of the table.

    Parameters
    ----------
    name : str
        Name of the class.
    role : Role
        What the builder does with its forces.
    reason : str
        Of a refused class: why it cannot be divided, as the end of a sentence.
    action : str
        Words for the report; those of the role by default.
    check : callable, optional
        ``check(force, particles, classes)`` raises ValueError for a force that cannot be part of a hybrid System;
        `particles` are those of all regions.
    count : callable, optional
        ``count(force)`` is the number of terms.
    atoms : callable, optional
        ``atoms(force, index)`` are the particles of one term.
    xml_container : str
        The XML element that holds the terms; :meth:`split` goes through it.
    splitter : callable, optional
        ``splitter(force, removed)`` in place of the XML.
    restraint_rule : callable, optional
        ``restraint_rule(bonds, atoms)`` tells whether a term is a restraint, see
        :mod:`openmm_nequip.hybrid.restraints`.
    covered_by : tuple of str
        Classes of which a term on the same atoms makes a term of this class a restraint.
    bond_evidence : BondEvidence, optional
        What the terms tell of the chemical bonds.
    holds_ends : bool
        Whether a constraint between the first and the last particle may stand for a term.
    divide : callable, optional
        ``divide(force, task)`` takes the interactions inside regions out of a copy: PairTask to PairShare.
    pairs_are : str
        What :attr:`PairShare.pairs` counts, for the report.
    excluded_pairs : callable, optional
        ``excluded_pairs(force)`` is the set of pairs without interaction, which bonded atoms are.
    listed_pairs : callable, optional
        ``listed_pairs(force)`` is the set of pairs with an exclusion or exception, in which all forces of a Context
        must agree on most platforms.
    charges : callable, optional
        ``charges(force)`` lists the charges of all particles in e.
    lattice_sum : callable, optional
        ``lattice_sum(force)`` tells whether electrostatics are summed over all periodic images.

    Raises
    ------
    ValueError
        If a column is missing that the role needs.
    """

    name: str
    role: Role
    reason: str = ""
    action: str = ""
    check: Callable[[Any, Collection[int], ForceClasses], None] | None = None
    count: Callable[[Any], int] | None = None
    atoms: Callable[[Any, int], Atoms] | None = None
    xml_container: str = ""
    splitter: Callable[[Any, Collection[int]], tuple[openmm.Force, openmm.Force]] | None = None
    restraint_rule: Callable[[Connectivity, Atoms], bool] | None = None
    covered_by: tuple[str, ...] = ()
    bond_evidence: BondEvidence | None = None
    holds_ends: bool = False
    divide: Callable[[Any, PairTask], PairShare] | None = None
    pairs_are: str = ""
    excluded_pairs: Callable[[Any], set[Pair]] | None = None
    listed_pairs: Callable[[Any], set[Pair]] | None = None
    charges: Callable[[Any], list[float]] | None = None
    lattice_sum: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        needed: dict[Role, dict[str, object]] = {
            Role.TERMS: {
                "count": self.count, "atoms": self.atoms, "restraint_rule": self.restraint_rule,
                "xml_container or splitter": self.xml_container or self.splitter,
            },
            Role.PAIRS: {"divide": self.divide, "pairs_are": self.pairs_are},
            Role.REFUSED: {"reason": self.reason},
        }  # fmt: skip
        missing = [column for column, value in needed.get(self.role, {}).items() if not value]
        if missing:
            raise ValueError(f"The row of {self.name} has the role {self.role.name} and lacks {', '.join(missing)}.")

    def term_atoms(self, force: openmm.Force) -> list[Atoms]:
        """Return the particles that every term of a force binds.

        Parameters
        ----------
        force : openmm.Force
            A force of this class.

        Returns
        -------
        list of tuple of int
            Particle indices in the force's order: two for a bond, three for an angle, four for a torsion, eight for a
            CMAP term, all particles of all groups for a centroid bond.  Empty for a class without terms.
        """
        if self.count is None or self.atoms is None:
            return []
        return [self.atoms(force, i) for i in range(self.count(force))]

    def split(self, force: openmm.Force, removed: Collection[int]) -> tuple[openmm.Force, openmm.Force]:
        """Divide the terms of a force between two copies.

        Parameters
        ----------
        force : openmm.Force
            A force of this class; left as it is.
        removed : collection of int
            Which terms go to the second copy.

        Returns
        -------
        kept, taken : openmm.Force
            Copies with the other terms and with those of `removed`.

        Raises
        ------
        ValueError
            If `removed` is empty.
        """
        if not removed:
            raise ValueError(f"No terms to take out of {describe_force(force)}. Copy the force instead.")
        if self.splitter is not None:
            return self.splitter(force, removed)
        return split_by_xml(force, removed, self.xml_container)

    def take_regions_out(self, force: openmm.Force, task: PairTask) -> PairShare:
        """Take the interactions inside regions out of a copy of a force.

        Parameters
        ----------
        force : openmm.Force
            A force of this class; left as it is.
        task : PairTask
            Regions and options.

        Returns
        -------
        PairShare
            The copy, and what was taken out of it.

        Raises
        ------
        ValueError
            If the class has no interactions between pairs, or as its `divide` does.
        """
        if self.divide is None:
            raise ValueError(f"{describe_force(force)} has no interactions between pairs that could be taken out.")
        return self.divide(force, task)


@dataclass(frozen=True)
class ForceClasses:
    """The table of all classes that the builder knows.

    Parameters
    ----------
    rows : tuple of ForceClass
        One row for each class.  Where several classes could tell the same, an earlier row is asked first.

    Raises
    ------
    ValueError
        If two rows have the same name.
    """

    rows: tuple[ForceClass, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"The table of force classes has several rows for {', '.join(twice)}. Expected one each.")

    @cached_property
    def _by_name(self) -> dict[str, ForceClass]:
        return {row.name: row for row in self.rows}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[ForceClass]:
        return iter(self.rows)

    def adding(self, *rows: ForceClass) -> ForceClasses:
        """Return a table with further rows; a row of a known name takes the place of the old one."""
        new = {row.name: row for row in rows}
        kept = [new.pop(row.name, row) for row in self.rows]
        return ForceClasses((*kept, *new.values()))

    def of(self, force: openmm.Force) -> ForceClass:
        """Return the row of a force's class; a refusing one for a class that is not in the table."""
        name = class_name(force)
        return self._by_name.get(name) or ForceClass(name, Role.REFUSED, "this class is not known to the builder")

    def rows_for(self, system: openmm.System, particles: Collection[int], keep: Collection[int]) -> list[ForceClass]:
        """Decide what to do with every force of a System.

        Parameters
        ----------
        system : openmm.System
            The force field's System.
        particles : collection of int
            Particles of all regions.
        keep : collection of int
            Indices of forces that the user vouches for.

        Returns
        -------
        list of ForceClass
            One row for each force, with the role that the force has in this System.

        Raises
        ------
        ValueError
            If a force cannot be divided between the model and the force field.
        """
        return [
            replace(self.of(force), role=Role.ASKED, action="") if index in keep else self._row(force, particles)
            for index, force in enumerate(system.getForces())
        ]

    def _row(self, force: openmm.Force, particles: Collection[int]) -> ForceClass:
        row = self.of(force)
        if force.getName() == RECHARGED_NAME:
            raise ValueError(
                f"{describe_force(force)} holds the whole non-bonded interaction, which an earlier build with "
                "interpolate=True and a linkCharge moved there, so a second region cannot be taken out of it. Give all "
                "regions to one build."
            )
        if force.getName().startswith(FORCE_NAME):  # made by an earlier build; it touches its own regions only
            return replace(row, role=Role.OPAQUE, action="")
        if row.role is Role.REFUSED:
            raise ValueError(
                f"{describe_force(force)} cannot be part of a hybrid System: {row.reason}. Left as it is, it would act "
                "inside the region on top of the model. Use a force field without it, or, if you want exactly that, "
                "name it in keepForces."
            )
        if row.check is not None:
            row.check(force, particles, self)
        return row


def resolve_forces(system: openmm.System, wanted: Iterable[str | int], option: str) -> set[int]:
    """Turn names and indices of forces into indices.

    Parameters
    ----------
    system : openmm.System
        The System that owns the forces.
    wanted : iterable of str or int
        Names (``force.getName()``; the class name by default) or indices.
    option : str
        Name of the option, for messages.

    Returns
    -------
    set of int
        Indices into ``system.getForces()``; a name selects every force of that name.

    Raises
    ------
    ValueError
        If a name or an index matches no force.
    """
    names = [force.getName() for force in system.getForces()]
    found: set[int] = set()
    for item in wanted:
        matches = [i for i, name in enumerate(names) if item == name or item == i and not isinstance(item, bool)]
        if not matches:
            raise ValueError(
                f"{option} names the force {item!r}, which the System does not have. Expected a name or an index of: "
                + ", ".join(f"{i} {name}" for i, name in enumerate(names))
                + "."
            )
        found.update(matches)
    return found
