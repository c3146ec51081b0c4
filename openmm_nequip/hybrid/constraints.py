"""Constraints inside a region, and the bond terms that they stood for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import openmm

from .bonded import BondedRule
from .connectivity import Pair, ordered
from .force_classes import ForceClasses
from .regions import Region


@dataclass
class Constraints:
    """What happened to the constraints that touch a region.

    Attributes
    ----------
    removed : list of (int, int)
        Constraints between two atoms of one region that are gone.
    inside : list of (int, int)
        Such constraints that stay (``removeConstraints=False``).
    across : list of (int, int)
        Constraints between a region and its surroundings; they always stay.
    """

    removed: list[Pair] = field(default_factory=list)
    inside: list[Pair] = field(default_factory=list)
    across: list[Pair] = field(default_factory=list)


def remove_constraints(system: openmm.System, regions: Sequence[Region], remove: bool) -> Constraints:
    """Remove constraints between two atoms of a region, in place.

    Parameters
    ----------
    system : openmm.System
        The System to change.  Masses stay as they are, so repartitioned hydrogen masses do.
    regions : sequence of Region
        The regions.
    remove : bool
        False only lists the constraints.

    Returns
    -------
    Constraints
        What was found and removed.
    """
    owner = {i: number for number, region in enumerate(regions) for i in region.atoms}
    found = Constraints()
    for index in reversed(range(system.getNumConstraints())):
        i, j, _ = system.getConstraintParameters(index)
        if i not in owner and j not in owner:
            continue
        if owner.get(i) != owner.get(j):
            found.across.append(ordered(i, j))
        elif remove:
            found.removed.append(ordered(i, j))
            system.removeConstraint(index)
        else:
            found.inside.append(ordered(i, j))
    return found


def constrained_terms(
    reference: openmm.System,
    system: openmm.System,
    removed: Sequence[Pair],
    rules: Sequence[BondedRule],
    classes: ForceClasses,
) -> list[openmm.Force]:
    """Take from an unconstrained System the terms that removed constraints stood for.

    Parameters
    ----------
    reference : openmm.System
        The same molecules from the same force field without constraints (``constraints=None, rigidWater=False``).
    system : openmm.System
        The constrained System.
    removed : sequence of (int, int)
        Pairs whose constraints were removed.
    rules : sequence of BondedRule
        The rule of every region.
    classes : ForceClasses
        The table of force classes.

    Returns
    -------
    list of openmm.Force
        Bonds over a removed pair, and angles whose ends are one, that `system` lacks and the rule gives to the model.

    Raises
    ------
    ValueError
        If the Systems have different numbers of particles.
    """
    if reference.getNumParticles() != system.getNumParticles():
        raise ValueError(
            f"referenceSystem has {reference.getNumParticles()} particles, the System {system.getNumParticles()}. "
            "Expected the same molecules; create it with the same call and constraints=None, rigidWater=False."
        )
    pairs = set(removed)
    present = {
        (row.name, atoms)
        for row, force in ((classes.of(force), force) for force in system.getForces())
        if row.holds_ends
        for atoms in row.term_atoms(force)
    }
    restored = []
    for force in reference.getForces():
        row = classes.of(force)
        if not row.holds_ends:
            continue
        lost = [
            index
            for index, atoms in enumerate(row.term_atoms(force))
            if ordered(atoms[0], atoms[-1]) in pairs
            and (row.name, atoms) not in present
            and any(rule.replaces(atoms) for rule in rules)
        ]
        if lost:
            restored.append(row.split(force, lost)[1])
    return restored


def free_pairs(removed: Sequence[Pair], forces: Sequence[openmm.Force], classes: ForceClasses) -> list[Pair]:
    """List removed constraints whose pair no bond or angle term of some forces holds.

    Parameters
    ----------
    removed : sequence of (int, int)
        Pairs whose constraints were removed.
    forces : sequence of openmm.Force
        Forces that may hold them.
    classes : ForceClasses
        The table of force classes.

    Returns
    -------
    list of (int, int)
        Those that nothing holds, in the order of `removed`.
    """
    held = {
        ordered(atoms[0], atoms[-1])
        for row, force in ((classes.of(force), force) for force in forces)
        if row.holds_ends
        for atoms in row.term_atoms(force)
    }
    return [pair for pair in removed if pair not in held]
