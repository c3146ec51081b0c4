"""Which classes of Force a mixed System can hold, and why others cannot be divided."""

from collections.abc import Collection, Iterable, Sequence
from enum import Enum

import openmm

from .errors import describe
from .terms import TERM_FORCES, className


class Role(Enum):
    """What the builder does with a force."""

    TERMS = "divided by its terms"
    NONBONDED = "region pairs excluded"
    CUSTOM_NONBONDED = "region pairs excluded, custom interaction"
    BIAS = "kept: a bias on the whole System"
    OPAQUE = "kept: its terms cannot be read"
    NEUTRAL = "kept: no interaction"
    ASKED = "kept as asked by keepForces"


_NEUTRAL = {
    "AndersenThermostat", "CMMotionRemover", "MonteCarloAnisotropicBarostat", "MonteCarloBarostat",
    "MonteCarloFlexibleBarostat", "MonteCarloMembraneBarostat", "CustomVolumeForce",
}  # fmt: skip
_BIAS = {"RGForce", "RMSDForce", "OrientationRestraintForce", "CustomCVForce"}
_OPAQUE = {"PythonForce", "TorchForce", "PythonTorchForce", "PlumedForce"}

_INDUCED = "its energy is not a sum over pairs (induced dipoles depend on all atoms), so no part of it is the region's"
_SOLVENT = (
    "its energy is not a sum over pairs: the effective radius of every atom depends on all others, and whether the "
    "model already contains the solvation of the region only its training data can tell"
)
_REFUSED = {
    "AmoebaMultipoleForce": _INDUCED,
    "HippoNonbondedForce": _INDUCED,
    "AmoebaGeneralizedKirkwoodForce": _SOLVENT,
    "AmoebaWcaDispersionForce": _SOLVENT,
    "AmoebaVdwForce": "its pair exclusions belong to the AMOEBA multipoles, which cannot be divided",
    "AmoebaTorsionTorsionForce": "it comes with AMOEBA multipoles, which cannot be divided",
    "GBSAOBCForce": _SOLVENT,
    "CustomGBForce": _SOLVENT,
    "LCPOForce": "the exposed surface of an atom depends on all others",
    "CustomManyParticleForce": "its terms over three and more particles cannot be switched off inside a region alone",
    "CustomHbondForce": "donors and acceptors couple as groups of several atoms, not through pairs",
    "GayBerneForce": "ellipsoids stand for several atoms, so the model and the force field count different particles",
    "ConstantPotentialForce": "electrode charges depend on all atoms",
    "ATMForce": "it holds forces of its own at two sets of positions; build the mixed System first, then add it",
}

#: Interactions that a collective variable may hide, and which would then be counted twice.
_HIDDEN = {"NonbondedForce", "CustomNonbondedForce", *_REFUSED}

#: Forces that earlier builds of this package added start with this; they touch their own regions only.
OWN_PREFIX = "NequIP"
RECHARGED_NAME = "NequIPInterpolatedNonbonded"


def resolveForces(system: openmm.System, wanted: Iterable[str | int], option: str) -> set[int]:
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
    if isinstance(wanted, (str, int)):
        wanted = [wanted]
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


def forceRoles(system: openmm.System, particles: Collection[int], keep: Collection[int]) -> list[Role]:
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
    list of Role
        One for each force.

    Raises
    ------
    ValueError
        If a force cannot be divided between the model and the force field.
    """
    return [
        Role.ASKED if index in keep else _role(force, particles) for index, force in enumerate(system.getForces())
    ]


def _role(force: openmm.Force, particles: Collection[int]) -> Role:
    kind = className(force)
    if force.getName() == RECHARGED_NAME:
        raise ValueError(
            f"{describe(force)} holds the whole non-bonded interaction, which an earlier build with interpolate=True "
            "and a linkCharge moved there, so a second region cannot be taken out of it. Give all regions to one build."
        )
    if force.getName().startswith(OWN_PREFIX):
        return Role.OPAQUE
    if kind in TERM_FORCES:
        return Role.TERMS
    if kind == "NonbondedForce":
        return Role.NONBONDED
    if kind == "CustomNonbondedForce":
        return Role.CUSTOM_NONBONDED
    if kind in _NEUTRAL:
        return Role.NEUTRAL
    if kind in _OPAQUE:
        return Role.OPAQUE
    if kind in _BIAS:
        _check_variables(force)
        return Role.BIAS
    if kind == "DrudeForce":
        return _drude_role(force, particles)
    reason = _REFUSED.get(kind, "this class is not known to the builder")
    raise ValueError(
        f"{describe(force)} cannot be part of a mixed System: {reason}. Left as it is, it would act inside the region "
        "on top of the model. Use a force field without it, or, if you want exactly that, name it in keepForces."
    )


def _drude_role(force: openmm.Force, particles: Collection[int]) -> Role:
    """Polarisable particles elsewhere are harmless: their springs and screened pairs join them to each other only."""
    inside = set(particles)
    for index in range(force.getNumParticles()):
        touched = inside.intersection(force.getParticleParameters(index)[:5])
        if touched:
            raise ValueError(
                f"{describe(force)} binds atom {min(touched)} of the region to a Drude particle. The model has no such "
                "particle and the induced energy is no sum over pairs. Use a force field without polarisation for "
                "the region."
            )
    return Role.OPAQUE


def _check_variables(force: openmm.Force) -> None:
    if className(force) != "CustomCVForce":
        return
    variables: Sequence[openmm.Force] = [
        force.getCollectiveVariable(i) for i in range(force.getNumCollectiveVariables())
    ]
    for variable in variables:
        if className(variable) in _HIDDEN:
            raise ValueError(
                f"{describe(force)} contains a {className(variable)} as collective variable, which may act inside the "
                "region on top of the model. Build the mixed System from the plain force field and add this force "
                "afterwards, or name it in keepForces if it leaves the region alone."
            )
