"""Electrostatic embedding: a model that feels the charges of the force field takes over what they do to its region.

The region's own charges are then zero in the force field, and the model gives the forces on the charges around it.
Sound only where the force field counts each pair once, in one image: a lattice sum (Ewald, PME) would go on to count
the images of the charges among themselves, screened by a region that is not there any more.

References
----------
``nnpot-embedding = electrostatic-model`` in the topology preprocessing of GROMACS' NNPot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import openmm

from .charges import ChargeChange
from .force_copies import describe_force
from .regions import Region

#: What stands in messages for the scheme of charges.
SCHEME = "electrostatic embedding"
#: A region's charge that is further from the model's than this, in e, is worth a warning, as in GROMACS.
CHARGE_TOLERANCE = 1e-5


class ChargesAround(NamedTuple):
    """Charges that a model feels.

    Parameters
    ----------
    particles : list of int
        All particles of no region.
    charges : list of float
        Their charges in e.
    removed : float
        Charge of the region before, in e.
    """

    particles: list[int]
    charges: list[float]
    removed: float


def check_method(system: openmm.System) -> None:
    """Refuse force fields whose electrostatics are a lattice sum.

    Parameters
    ----------
    system : openmm.System
        The force field's System.

    Raises
    ------
    ValueError
        With the force.
    """
    for force in system.getForces():
        if not isinstance(force, openmm.NonbondedForce):
            continue
        method = force.getNonbondedMethod()
        if method in (openmm.NonbondedForce.Ewald, openmm.NonbondedForce.PME, openmm.NonbondedForce.LJPME):
            raise ValueError(
                f"{describe_force(force)} sums electrostatics over a lattice (Ewald, PME), but the module takes each "
                "charge around its region once, in the nearest image: the images would act on one another without the "
                "region's. Create the System with nonbondedMethod=NoCutoff or a cutoff, or use a module without "
                "atom-positions-mm and atom-charges-mm"
            )


def without_charges(
    charges: Sequence[float], regions: Sequence[Region], changes: Sequence[ChargeChange]
) -> list[ChargeChange]:
    """Changes that also take away the charges of a region.

    Parameters
    ----------
    charges : sequence of float
        Charges of all particles in e.
    regions : sequence of Region
        One region.
    changes : sequence of ChargeChange
        Those of the atoms behind its cut bonds.

    Returns
    -------
    list of ChargeChange
        In order of particle index.

    Raises
    ------
    ValueError
        If there are several regions.
    """
    if len(regions) > 1:
        raise ValueError(
            f"a module that feels charges around it was given {len(regions)} regions, whose charges it takes away: "
            "they would not feel each other. Give one region"
        )
    own = [ChargeChange(i, charges[i], 0.0) for region in regions for i in region.particles if charges[i] != 0]
    return sorted([*changes, *own], key=lambda change: change.particle)


def charges_around(
    charges: Sequence[float], regions: Sequence[Region], changes: Sequence[ChargeChange]
) -> ChargesAround:
    """The charges that a model in a region feels.

    Parameters
    ----------
    charges : sequence of float
        Charges of all particles in e, as they were.
    regions : sequence of Region
        One region.
    changes : sequence of ChargeChange
        What became of them.

    Returns
    -------
    ChargesAround
    """
    inside = {i for region in regions for i in region.particles}
    new = {change.particle: change.after for change in changes}
    outside = [i for i in range(len(charges)) if i not in inside]
    removed = sum(charges[i] for i in inside)
    return ChargesAround(outside, [float(new.get(i, charges[i])) for i in outside], removed)
