"""The force field's non-bonded interactions inside a region: taken out, or kept apart for interpolation."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence

import openmm

from .connectivity import Pair, ordered
from .errors import describe
from .regions import Region
from .terms import copyForce

_LATTICE_SUMS = (openmm.NonbondedForce.Ewald, openmm.NonbondedForce.PME, openmm.NonbondedForce.LJPME)


def isLatticeSum(force: openmm.NonbondedForce) -> bool:
    """Tell whether a force sums electrostatics over all periodic images."""
    return force.getNonbondedMethod() in _LATTICE_SUMS


def regionPairs(particles: Iterable[int]) -> Iterable[Pair]:
    """Yield all pairs, smaller index first and ascending: the order in which OpenMM's tables grow fastest."""
    ascending = sorted(particles)
    for place, i in enumerate(ascending):
        for j in ascending[place + 1 :]:
            yield i, j


def owners(regions: Sequence[Region]) -> dict[int, int]:
    """Return the number of the region that every particle of a region belongs to."""
    return {i: number for number, region in enumerate(regions) for i in region.particles}


def _has_offsets(force: openmm.NonbondedForce, owner: dict[int, int]) -> bool:
    count = force.getNumParticleParameterOffsets()
    return any(force.getParticleParameterOffset(index)[1] in owner for index in range(count))


def excludeRegions(force: openmm.NonbondedForce, regions: Sequence[Region], keep_charges: bool) -> int:
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
        (:func:`latticeSelfEnergy`), instead of zero.

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
            f"{describe(force)} has parameter offsets on atoms of the region, whose lattice sum cannot be subtracted "
            "for all values of the parameter. Use mlLongRange=False or remove the offsets."
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
            for i, j in regionPairs(region.particles):
                add(i, j, charges[i] * charges[j], 1.0, 0.0, True)
        else:
            for i, j in regionPairs(region.particles):
                add(i, j, 0.0, 1.0, 0.0, True)
    return nonzero


def _silence_exception_offsets(force: openmm.NonbondedForce, exceptions: set[int]) -> None:
    for index in range(force.getNumExceptionParameterOffsets()):
        parameter, exception, *_ = force.getExceptionParameterOffset(index)
        if exception in exceptions:
            force.setExceptionParameterOffset(index, parameter, exception, 0.0, 0.0, 0.0)


def excludeRegionsCustom(force: openmm.CustomNonbondedForce, regions: Sequence[Region]) -> int:
    """Exclude the pairs of each region from a CustomNonbondedForce, in place.

    A force restricted to interaction groups is left alone where no group joins two particles of a region.

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
        if force.getNumInteractionGroups() and not _groups_inside(force, region):
            continue
        for pair in regionPairs(region.particles):
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


def latticeSelfEnergy(force: openmm.NonbondedForce, region: Region) -> openmm.NonbondedForce:
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
    result = copyForce(force)
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


def regionEnergy(
    force: openmm.NonbondedForce, regions: Sequence[Region], keep_charges: bool
) -> tuple[list[openmm.NonbondedForce], list[openmm.NonbondedForce]]:
    """Express what :func:`excludeRegions` takes out of a force as a difference of forces of the same kind.

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
        As given to :func:`excludeRegionss` for the mixed System.

    Returns
    -------
    plus, minus : list of openmm.NonbondedForce
        Forces whose energies are to be added and subtracted.  `minus` is empty for one region without a lattice sum,
        where a force with all its pairs excluded would be zero.
    """
    plus = _only(force, regions)
    if len(regions) == 1 and not isLatticeSum(force):
        return [plus], []
    minus = copyForce(plus)
    excludeRegions(minus, regions, keep_charges)
    if force.usesPeriodicBoundaryConditions():
        minus.setExceptionsUsePeriodicBoundaryConditions(True)
    return [plus], [minus]


def regionEnergyCustom(
    force: openmm.CustomNonbondedForce, regions: Sequence[Region]
) -> openmm.CustomNonbondedForce | None:
    """Build the energy that :func:`excludeRegionsCustom` takes out of a force.

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
