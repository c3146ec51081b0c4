"""The force field's non-bonded interactions inside a region: taken out, or kept apart for interpolation."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence

import openmm

from .charges import apply_charges, check_custom_charges, particle_charges
from .connectivity import Pair, ordered
from .force_classes import PairShare, PairTask
from .force_copies import copy_force, describe_force
from .regions import Region, owners

_LATTICE_SUMS = (openmm.NonbondedForce.Ewald, openmm.NonbondedForce.PME, openmm.NonbondedForce.LJPME)


def is_lattice_sum(force: openmm.NonbondedForce) -> bool:
    """Tell whether a force sums electrostatics over all periodic images."""
    return force.getNonbondedMethod() in _LATTICE_SUMS


def region_pairs(particles: Iterable[int]) -> Iterable[Pair]:
    """Yield all pairs, smaller index first and ascending: the order in which OpenMM's tables grow fastest."""
    ascending = sorted(particles)
    for place, i in enumerate(ascending):
        for j in ascending[place + 1 :]:
            yield i, j


def _has_offsets(force: openmm.NonbondedForce, owner: dict[int, int]) -> bool:
    count = force.getNumParticleParameterOffsets()
    return any(force.getParticleParameterOffset(index)[1] in owner for index in range(count))


def exclude_regions(force: openmm.NonbondedForce, regions: Sequence[Region], keep_charges: bool) -> int:
    """Take the interactions between the particles of each region out of a NonbondedForce, in place.

    Every pair becomes an exception without Lennard-Jones interaction.  Exception parameter offsets of such pairs lose
    their strength.

    Parameters
    ----------
    force : openmm.NonbondedForce
        The force to change.
    regions : sequence of Region
        The regions; interactions between two of them stay.
    keep_charges : bool
        Keep the full product of charges, for regions whose whole lattice sum is subtracted elsewhere
        (:func:`lattice_self_energy`), instead of zero.

    Returns
    -------
    int
        How many non-zero (1-4) exceptions were replaced.

    Raises
    ------
    ValueError
        If charges are kept but change with a parameter offset.
    """
    owner = owners(regions)
    if keep_charges and _has_offsets(force, owner):
        raise ValueError(
            f"{describe_force(force)} has parameter offsets on atoms of the region, whose lattice sum cannot be "
            "subtracted for all values of the parameter. Use mlLongRange=False or remove the offsets."
        )
    nonzero = 0
    exceptions = set()
    for index in range(force.getNumExceptions()):
        i, j, charge, _, epsilon = force.getExceptionParameters(index)
        if i in owner and owner[i] == owner.get(j):
            exceptions.add(index)
            nonzero += charge._value != 0 or epsilon._value != 0
    _silence_exception_offsets(force, exceptions)
    add = force.addException
    for region in regions:
        if keep_charges:
            charges = {i: force.getParticleParameters(i)[0]._value for i in region.particles}
            for i, j in region_pairs(region.particles):
                add(i, j, charges[i] * charges[j], 1.0, 0.0, True)
        else:
            for i, j in region_pairs(region.particles):
                add(i, j, 0.0, 1.0, 0.0, True)
    return nonzero


def _silence_exception_offsets(force: openmm.NonbondedForce, exceptions: set[int]) -> None:
    for index in range(force.getNumExceptionParameterOffsets()):
        parameter, exception, *_ = force.getExceptionParameterOffset(index)
        if exception in exceptions:
            force.setExceptionParameterOffset(index, parameter, exception, 0.0, 0.0, 0.0)


def exclude_regions_custom(force: openmm.CustomNonbondedForce, regions: Sequence[Region]) -> int:
    """Exclude the pairs of each region from a CustomNonbondedForce, in place.

    This also holds for a force whose interaction groups join no two particles of a region, where it changes no
    energy: all forces of a Context must agree in their excluded pairs on every platform but Reference.

    Parameters
    ----------
    force : openmm.CustomNonbondedForce
        The force to change.
    regions : sequence of Region
        The regions.

    Returns
    -------
    int
        How many exclusions were added.
    """
    owner = owners(regions)
    existing = set()
    for index in range(force.getNumExclusions()):
        i, j = force.getExclusionParticles(index)
        if i in owner and owner[i] == owner.get(j):
            existing.add(ordered(i, j))
    added = 0
    for region in regions:
        for pair in region_pairs(region.particles):
            if pair not in existing:
                force.addExclusion(*pair)
                added += 1
    return added


def _groups_inside(force: openmm.CustomNonbondedForce, region: Region) -> list[tuple[list[int], list[int]]]:
    """Return the interaction groups cut down to a region, those with an empty side left out."""
    inside = set(region.particles)
    if not force.getNumInteractionGroups():
        return [(sorted(inside), sorted(inside))]
    cut = []
    for index in range(force.getNumInteractionGroups()):
        first, second = (sorted(inside.intersection(side)) for side in force.getInteractionGroupParameters(index))
        if first and second:
            cut.append((first, second))
    return cut


def lattice_self_energy(force: openmm.NonbondedForce, region: Region) -> openmm.NonbondedForce:
    """Build the electrostatic energy of a region with itself and all its periodic images.

    Parameters
    ----------
    force : openmm.NonbondedForce
        The force field's force with an Ewald, PME or LJPME method.
    region : Region
        The region.

    Returns
    -------
    openmm.NonbondedForce
        The region's charges alone, without Lennard-Jones terms and exceptions, under the same cutoff, tolerance and
        grid; LJPME becomes PME.
    """
    ewald = force.getNonbondedMethod() == openmm.NonbondedForce.Ewald
    result = openmm.NonbondedForce()
    result.setNonbondedMethod(openmm.NonbondedForce.Ewald if ewald else openmm.NonbondedForce.PME)
    result.setCutoffDistance(force.getCutoffDistance())
    result.setEwaldErrorTolerance(force.getEwaldErrorTolerance())
    result.setPMEParameters(*force.getPMEParameters())
    result.setUseDispersionCorrection(False)
    inside = set(region.particles)
    for i in range(force.getNumParticles()):
        result.addParticle(force.getParticleParameters(i)[0] if i in inside else 0.0, 1.0, 0.0)
    return result


def _only(force: openmm.NonbondedForce, regions: Sequence[Region]) -> openmm.NonbondedForce:
    """Copy a force, keeping charges, Lennard-Jones terms and exceptions inside the regions and zeroing all else.

    Zeroed exceptions stay exceptions, so the copy has the pair list of the original: two forces in one Context must
    agree in it on all platforms but Reference.
    """
    owner = owners(regions)
    result = copy_force(force)
    result.setUseDispersionCorrection(False)
    for i in range(result.getNumParticles()):
        if i not in owner:
            result.setParticleParameters(i, 0.0, 1.0, 0.0)
    outside = set()
    for index in range(result.getNumExceptions()):
        i, j, *_ = result.getExceptionParameters(index)
        if i not in owner or owner[i] != owner.get(j):
            outside.add(index)
            result.setExceptionParameters(index, i, j, 0.0, 1.0, 0.0)
    for index in range(result.getNumParticleParameterOffsets()):
        parameter, i, *_ = result.getParticleParameterOffset(index)
        if i not in owner:
            result.setParticleParameterOffset(index, parameter, i, 0.0, 0.0, 0.0)
    _silence_exception_offsets(result, outside)
    return result


def region_energy(
    force: openmm.NonbondedForce, regions: Sequence[Region], keep_charges: bool
) -> tuple[list[openmm.NonbondedForce], list[openmm.NonbondedForce]]:
    """Express what :func:`exclude_regions` takes out of a force as a difference of forces of the same kind.

    With all charges and Lennard-Jones terms outside the regions zero, the force minus itself with all region pairs
    excluded is exactly the energy that the exclusions remove, whatever the method: reciprocal sums, self terms and
    neutralising background cancel, and cutoff, switching, reaction field and grid agree because both are copies.
    The dispersion correction does not depend on exceptions and is off in both.

    Parameters
    ----------
    force : openmm.NonbondedForce
        The force field's force; left as it is.
    regions : sequence of Region
        The regions.
    keep_charges : bool
        As given to :func:`exclude_regions` for the hybrid System.

    Returns
    -------
    plus, minus : list of openmm.NonbondedForce
        Forces whose energies are to be added and subtracted.  `minus` is empty for one region without a lattice sum,
        where a force with all its pairs excluded would be zero.
    """
    plus = _only(force, regions)
    if len(regions) == 1 and not is_lattice_sum(force):
        return [plus], []
    minus = copy_force(plus)
    exclude_regions(minus, regions, keep_charges)
    if force.usesPeriodicBoundaryConditions():
        minus.setExceptionsUsePeriodicBoundaryConditions(True)
    return [plus], [minus]


def region_energy_custom(
    force: openmm.CustomNonbondedForce, regions: Sequence[Region]
) -> openmm.CustomNonbondedForce | None:
    """Build the energy that :func:`exclude_regions_custom` takes out of a force.

    Parameters
    ----------
    force : openmm.CustomNonbondedForce
        The force field's force; left as it is.
    regions : sequence of Region
        The regions.

    Returns
    -------
    openmm.CustomNonbondedForce or None
        A copy restricted to pairs inside a region, None if no interaction group holds such a pair.  The long-range
        correction, which does not depend on exclusions, is off.
    """
    groups = [pair for region in regions for pair in _groups_inside(force, region)]
    if not groups:
        return None
    root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
    container = root.find("InteractionGroups")
    if container is not None:
        container[:] = []
    result = openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))
    result.setUseLongRangeCorrection(False)
    for first, second in groups:
        result.addInteractionGroup(first, second)
    return result


def excluded_pairs(force: openmm.NonbondedForce) -> set[Pair]:
    """Return the pairs whose exception leaves no interaction."""
    found = set()
    for index in range(force.getNumExceptions()):
        i, j, charge, _, epsilon = force.getExceptionParameters(index)
        if charge._value == 0 and epsilon._value == 0:
            found.add(ordered(i, j))
    return found


def exception_pairs(force: openmm.NonbondedForce) -> set[Pair]:
    """Return the pairs that are exceptions, whatever interaction they leave."""
    return {ordered(*force.getExceptionParameters(index)[:2]) for index in range(force.getNumExceptions())}


def excluded_custom_pairs(force: openmm.CustomNonbondedForce) -> set[Pair]:
    """Return the excluded pairs."""
    return {ordered(*force.getExclusionParticles(index)) for index in range(force.getNumExclusions())}


def divide_nonbonded(force: openmm.NonbondedForce, task: PairTask) -> PairShare:
    """Take the interactions inside regions out of a NonbondedForce.

    Parameters
    ----------
    force : openmm.NonbondedForce
        The force field's force; left as it is.
    task : PairTask
        Regions and options.

    Returns
    -------
    PairShare
        With charges that a boundary scheme changed, the force without the regions' interactions is not kept but
        among those weighted by λ, if there is interpolation.

    Raises
    ------
    ValueError
        If charges change with a parameter offset and may not, or the scale of a 1-4 exception cannot be known.
    """
    subtract = task.subtract_lattice and is_lattice_sum(force)
    hybrid = copy_force(force)
    recharge = bool(task.charge_changes) and any(particle_charges(force))
    if recharge:
        apply_charges(hybrid, task.charge_changes, task.bonds)
    share = PairShare(hybrid, exclude_regions(hybrid, task.regions, subtract))
    if subtract:
        share.self_energies = [lattice_self_energy(force, region) for region in task.regions]
    if force.usesPeriodicBoundaryConditions():
        hybrid.setExceptionsUsePeriodicBoundaryConditions(True)
    if task.interpolate and recharge:
        # New charges act on everything, so nothing short of both whole forces interpolates between them.
        share.kept, share.recharged, share.replaced = None, [hybrid], [copy_force(force)]
    elif task.interpolate:
        plus, minus = region_energy(force, task.regions, subtract)
        share.replaced, share.excluded = list(plus), list(minus)
    return share


def divide_custom_nonbonded(force: openmm.CustomNonbondedForce, task: PairTask) -> PairShare:
    """Take the interactions inside regions out of a CustomNonbondedForce.

    Parameters
    ----------
    force : openmm.CustomNonbondedForce
        The force field's force; left as it is.
    task : PairTask
        Regions and options.

    Returns
    -------
    PairShare
        The force without the regions' interactions and, with interpolation, these interactions.

    Raises
    ------
    ValueError
        If a boundary scheme changes charges and the force has charges of its own.
    """
    if task.charge_changes:
        check_custom_charges(force, task.link_charge, task.charges)
    hybrid = copy_force(force)
    share = PairShare(hybrid, exclude_regions_custom(hybrid, task.regions))
    part = region_energy_custom(force, task.regions) if task.interpolate else None
    if part is not None:
        share.replaced = [part]
    return share
