"""Charges of a region and of the atoms behind its cut bonds.

The charge of M1 sits 0.1 nm from the cap.  ``"keep"`` leaves it, as openmm-ml and GROMACS do; ``"zero"`` removes it;
``"redistribute"`` moves it in equal parts to the M2, the atoms bonded to M1 that are in no region and no M1
themselves, so that the total is conserved (the simplest of the redistributed charge schemes).

A 1-4 exception holds a product of charges times a scale of its own.  Where both old charges differ from zero the
product is multiplied by new over old charges, which keeps the scale.  Where one is zero the scale cannot be read off;
then the force field's own is used, if all its other 1-4 exceptions agree on one.  Force fields that keep 1-4 charges
in a CustomBondForce, or charges in a CustomNonbondedForce, are refused unless charges stay.

References
----------
Lin, Truhlar, J. Phys. Chem. A 109 (2005) 3991 (redistributed charge schemes at a cut bond).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import openmm

from .connectivity import Connectivity
from .coulomb_terms import charge_parameter, falls_like_coulomb
from .force_copies import describe_force
from .regions import Region

#: A sum of charges further from a whole number than this, in e, is worth a warning.
INTEGER_TOLERANCE = 1e-3

_SCALE_DIGITS = 4


@dataclass(frozen=True)
class ChargeChange:
    """A charge that a boundary scheme changed, in e."""

    particle: int
    before: float
    after: float


def particle_charges(force: openmm.NonbondedForce) -> list[float]:
    """Return the charges of all particles in e."""
    return [force.getParticleParameters(i)[0]._value for i in range(force.getNumParticles())]


def check_one_charged(forces: Sequence[openmm.Force], scheme: str) -> None:
    """Refuse to move charges of which there are several sets.

    Parameters
    ----------
    forces : sequence of openmm.Force
        Every force with a charge on any particle.
    scheme : str
        The scheme.

    Raises
    ------
    ValueError
        If the scheme changes charges and more than one force has any.
    """
    if scheme != "keep" and len(forces) > 1:
        names = ", ".join(describe_force(force) for force in forces)
        raise ValueError(
            f"linkCharge={scheme!r}, but {len(forces)} forces have charges: {names}. Expected one; use "
            "linkCharge='keep'."
        )


def plan_charges(
    charges: Sequence[float], regions: Sequence[Region], bonds: Connectivity, scheme: str
) -> list[ChargeChange]:
    """Work out the new charges around cut bonds.

    Parameters
    ----------
    charges : sequence of float
        Charges of all particles in e.
    regions : sequence of Region
        Regions with their links.
    bonds : Connectivity
        The bond graph.
    scheme : str
        One of :data:`openmm_nequip.choices.LINK_CHARGES`.

    Returns
    -------
    list of ChargeChange
        In order of particle index.

    Raises
    ------
    ValueError
        If an M1 belongs to another region, or has no M2 to take its charge.
    """
    if scheme == "keep":
        return []
    inside = {i for region in regions for i in region.particles}
    outer = sorted({m for region in regions for _, m in region.cuts})
    new: dict[int, float] = {}
    for m in outer:
        if m in inside:
            raise ValueError(
                f"linkCharge={scheme!r} would change atom {m}, which another region holds. Use linkCharge='keep', or "
                "join the two regions."
            )
        new[m] = new.get(m, charges[m]) - charges[m]
        if scheme == "redistribute":
            takers = sorted(bonds.neighbours[m] - inside - set(outer))
            if not takers:
                raise ValueError(
                    f"linkCharge='redistribute' finds no atom to take the charge of M1 atom {m}: all its neighbours "
                    "are in the region or behind a cut bond. Use linkCharge='keep' or 'zero', or cut another bond."
                )
            for taker in takers:
                new[taker] = new.get(taker, charges[taker]) + charges[m] / len(takers)
    return [ChargeChange(i, charges[i], after) for i, after in sorted(new.items()) if after != charges[i]]


def _common_scale(force: openmm.NonbondedForce, charges: Sequence[float]) -> float | None:
    """Return the scale of 1-4 electrostatics if all non-zero exceptions share one."""
    scales = set()
    for index in range(force.getNumExceptions()):
        i, j, product, *_ = force.getExceptionParameters(index)
        if charges[i] and charges[j] and product._value:
            scales.add(round(product._value / (charges[i] * charges[j]), _SCALE_DIGITS))
    return scales.pop() if len(scales) == 1 else None


def apply_charges(force: openmm.NonbondedForce, changes: Sequence[ChargeChange], bonds: Connectivity) -> None:
    """Give particles new charges and their 1-4 exceptions matching products, in place.

    Parameters
    ----------
    force : openmm.NonbondedForce
        The force that holds the charges.
    changes : sequence of ChargeChange
        New charges.
    bonds : Connectivity
        The bond graph, to recognise 1-4 pairs.

    Raises
    ------
    ValueError
        If a charge also changes with a parameter offset, or the scale of a 1-4 exception cannot be known.
    """
    new = {change.particle: change.after for change in changes}
    for index in range(force.getNumParticleParameterOffsets()):
        if force.getParticleParameterOffset(index)[1] in new:
            raise ValueError(
                f"{describe_force(force)} changes the charge of atom {force.getParticleParameterOffset(index)[1]} "
                "with a parameter offset, which linkCharge cannot follow. Use linkCharge='keep'."
            )
    old = particle_charges(force)
    scale = _common_scale(force, old)
    for index in range(force.getNumExceptions()):
        i, j, product, sigma, epsilon = force.getExceptionParameters(index)
        if i not in new and j not in new:
            continue
        after = new.get(i, old[i]) * new.get(j, old[j])
        if old[i] * old[j] != 0:
            value = product._value * after / (old[i] * old[j])
        elif bonds.separation(i, j) == 3 and after != 0:
            if scale is None:
                raise ValueError(
                    f"The 1-4 exception of atoms {i} and {j} has no charge from which its scale could be read, and "
                    f"{describe_force(force)} uses several scales. Use linkCharge='keep' or 'zero'."
                )
            value = scale * after
        else:
            value = product._value
        force.setExceptionParameters(index, i, j, value, sigma, epsilon)
    for particle, charge in new.items():
        _, sigma, epsilon = force.getParticleParameters(particle)
        force.setParticleParameters(particle, charge, sigma, epsilon)


def check_custom_charges(force: openmm.CustomNonbondedForce, scheme: str, charges: Sequence[float] = ()) -> None:
    """Refuse schemes that a CustomNonbondedForce with charges of its own would not follow.

    Parameters
    ----------
    force : openmm.CustomNonbondedForce
        The force.
    scheme : str
        The scheme.
    charges : sequence of float
        Charges of all particles in e, to recognise them among the force's parameters.

    Raises
    ------
    ValueError
        If the force has a per-particle parameter that is a charge by its name or its values.
    """
    name = charge_parameter(force, charges)
    if name is not None:
        raise ValueError(
            f"{describe_force(force)} has charges of its own (parameter {name!r}), which linkCharge={scheme!r} "
            "cannot change consistently. Use linkCharge='keep'."
        )


def check_charges_in_bonds(
    forces: Iterable[openmm.Force], changes: Sequence[ChargeChange], bonds: Connectivity, scheme: str
) -> None:
    """Refuse schemes where 1-4 electrostatics of a changed charge are bonds, which would keep the old charge.

    Parameters
    ----------
    forces : iterable of openmm.Force
        All forces of the System.
    changes : sequence of ChargeChange
        What the scheme changes.
    bonds : Connectivity
        The bond graph.
    scheme : str
        The scheme.

    Raises
    ------
    ValueError
        If a CustomBondForce has a term that falls like 1/r between a changed atom and one at most three bonds away.
    """
    changed = {change.particle for change in changes}
    for force in forces:
        if not isinstance(force, openmm.CustomBondForce):
            continue
        for index in range(force.getNumBonds()):
            i, j, _ = force.getBondParameters(index)
            if (i in changed or j in changed) and bonds.separation(i, j) <= 3 and falls_like_coulomb(force, index):
                raise ValueError(
                    f"{describe_force(force)} holds electrostatics of atoms {i} and {j} in a bond term that falls "
                    f"like 1/r, which linkCharge={scheme!r} would leave with the old charge. Use linkCharge='keep', "
                    "or put the 1-4 charges into exceptions of the NonbondedForce."
                )
