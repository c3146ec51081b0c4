"""Constraints inside a region, and the bond terms that they stood for."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import openmm

from .bonded import BondedRule
from .connectivity import Pair, ordered
from .force_classes import ForceClasses
from .regions import Region

#: So many constraints inside a region raise no doubt that they were meant.
FEW = 2
#: Lengths of a rigid water's two equal constraints differ by less, nm.
_SAME_LENGTH = 1e-6


@dataclass
class Constraints:
    """What happened to the constraints that touch a region.

    Attributes
    ----------
    removed : list of (int, int)
        Constraints that are gone: between two atoms of one region, or of a rigid water that was taken apart.
    inside : list of (int, int)
        Constraints between two atoms of one region that stay.
    across : list of (int, int)
        Constraints between a region and its surroundings that stay.
    settles : list of ((int, int, int), tuple of int)
        Rigid waters that the rule of GROMACS took apart, and their atoms outside the region.
    """

    removed: list[Pair] = field(default_factory=list)
    inside: list[Pair] = field(default_factory=list)
    across: list[Pair] = field(default_factory=list)
    settles: list[tuple[tuple[int, int, int], tuple[int, ...]]] = field(default_factory=list)


def remove_constraints(
    system: openmm.System, regions: Sequence[Region], remove: bool | None, rule: str = "openmm-ml"
) -> Constraints:
    """Remove constraints between two atoms of a region, in place.

    Parameters
    ----------
    system : openmm.System
        The System to change.  Masses stay as they are, so repartitioned hydrogen masses do.
    regions : sequence of Region
        The regions.
    remove : bool, optional
        False only lists the constraints; None does as the rule says.
    rule : str
        One of :data:`openmm_nequip.choices.RULES`.

    Returns
    -------
    Constraints
        What was found and removed.
    """
    owner = {i: number for number, region in enumerate(regions) for i in region.atoms}
    found = Constraints()
    apart: set[Pair] = set()
    if rule == "gromacs" and remove is not False:
        for atoms in _rigid_waters(system, owner):
            number = Counter(owner[i] for i in atoms if i in owner).most_common(1)[0][0]
            found.settles.append((atoms, tuple(i for i in atoms if owner.get(i) != number)))
            apart |= {ordered(i, j) for i, j in combinations(atoms, 2)}
    goes = rule != "gromacs" if remove is None else remove
    for index in reversed(range(system.getNumConstraints())):
        i, j, _ = system.getConstraintParameters(index)
        if i not in owner and j not in owner and ordered(i, j) not in apart:
            continue
        if ordered(i, j) in apart or goes and owner.get(i) == owner.get(j):
            found.removed.append(ordered(i, j))
            system.removeConstraint(index)
        elif owner.get(i) != owner.get(j):
            found.across.append(ordered(i, j))
        else:
            found.inside.append(ordered(i, j))
    return found


def _rigid_waters(system: openmm.System, owner: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Three atoms with constraints among each other alone, two of them equal, of which a region has at least two."""
    partners: dict[int, dict[int, float]] = defaultdict(dict)
    for index in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(index)
        partners[i][j] = partners[j][i] = length._value
    found = []
    near = owner.keys() | {j for inner in owner for j in partners.get(inner, ())}
    for i in sorted(near):
        atoms = tuple(sorted((i, *partners.get(i, ()))))
        if len(atoms) != 3 or atoms[0] != i or any({j, *partners[j]} != set(atoms) for j in atoms):
            continue
        lengths = sorted(partners[a][b] for a, b in combinations(atoms, 2))
        equal = min(lengths[1] - lengths[0], lengths[2] - lengths[1]) < _SAME_LENGTH
        inside = Counter(owner[j] for j in atoms if j in owner)
        if equal and max(inside.values()) >= 2:
            found.append((atoms[0], atoms[1], atoms[2]))
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
