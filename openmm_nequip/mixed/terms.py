"""Reading and splitting the forces that are lists of terms over few particles."""

import copy
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection

import openmm

from .errors import describe


def _centroid_atoms(force: openmm.CustomCentroidBondForce, index: int) -> tuple[int, ...]:
    groups, _ = force.getBondParameters(index)
    return tuple(dict.fromkeys(i for group in groups for i in force.getGroupParameters(group)[0]))


#: How many terms a force has and which particles each binds, by class name.
_READERS: dict[str, tuple[Callable, Callable]] = {
    "HarmonicBondForce": (lambda f: f.getNumBonds(), lambda f, i: tuple(f.getBondParameters(i)[:2])),
    "CustomBondForce": (lambda f: f.getNumBonds(), lambda f, i: tuple(f.getBondParameters(i)[:2])),
    "HarmonicAngleForce": (lambda f: f.getNumAngles(), lambda f, i: tuple(f.getAngleParameters(i)[:3])),
    "CustomAngleForce": (lambda f: f.getNumAngles(), lambda f, i: tuple(f.getAngleParameters(i)[:3])),
    "PeriodicTorsionForce": (lambda f: f.getNumTorsions(), lambda f, i: tuple(f.getTorsionParameters(i)[:4])),
    "RBTorsionForce": (lambda f: f.getNumTorsions(), lambda f, i: tuple(f.getTorsionParameters(i)[:4])),
    "CustomTorsionForce": (lambda f: f.getNumTorsions(), lambda f, i: tuple(f.getTorsionParameters(i)[:4])),
    "CMAPTorsionForce": (lambda f: f.getNumTorsions(), lambda f, i: tuple(f.getTorsionParameters(i)[1:])),
    "CustomCompoundBondForce": (lambda f: f.getNumBonds(), lambda f, i: tuple(f.getBondParameters(i)[0])),
    "CustomCentroidBondForce": (lambda f: f.getNumBonds(), _centroid_atoms),
    "CustomExternalForce": (lambda f: f.getNumParticles(), lambda f, i: (f.getParticleParameters(i)[0],)),
}

#: Names of the classes that :func:`termAtoms` and :func:`splitForce` take.
TERM_FORCES = frozenset(_READERS)

_CONTAINERS = ("Bonds", "Angles", "Torsions")


def className(force: openmm.Force) -> str:
    """Return the name of a force's class, such as ``"HarmonicBondForce"``."""
    return type(force).__name__


def termAtoms(force: openmm.Force) -> list[tuple[int, ...]]:
    """Return the particles that every term of a force binds.

    Parameters
    ----------
    force : openmm.Force
        A force of one of the classes in :data:`TERM_FORCES`.

    Returns
    -------
    list of tuple of int
        Particle indices in the force's order: two for a bond, three for an angle, four for a torsion, eight for a
        CMAP term, all particles of all groups for a centroid bond.
    """
    count, atoms = _READERS[className(force)]
    return [atoms(force, i) for i in range(count(force))]


def splitForce(force: openmm.Force, removed: Collection[int]) -> tuple[openmm.Force, openmm.Force]:
    """Divide the terms of a force between two copies.

    The copies go through OpenMM's own XML, which carries every setting (name, group, periodicity, functions, global
    parameters) of every class, and numbers to the last bit.

    Parameters
    ----------
    force : openmm.Force
        A force of one of the classes in :data:`TERM_FORCES`; left as it is.
    removed : collection of int
        Which terms go to the second copy.

    Returns
    -------
    kept, taken : openmm.Force
        Copies with the other terms and with those of `removed`.
    """
    if not removed:
        raise ValueError(f"No terms to take out of {describe(force)}. Copy the force instead of splitting it.")
    text = openmm.XmlSerializer.serialize(force)
    names = ("Particles",) if className(force) == "CustomExternalForce" else _CONTAINERS
    taken = set(removed)
    halves = []
    for wanted in (False, True):
        root = ElementTree.fromstring(text)
        container = next(child for child in root if child.tag in names)
        container[:] = [term for i, term in enumerate(container) if (i in taken) is wanted]
        halves.append(openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode")))
    return halves[0], halves[1]


def copyForce(force: openmm.Force) -> openmm.Force:
    """Copy a force, saying which one it was if OpenMM cannot.

    Raises
    ------
    ValueError
        If the force cannot be serialised, which is how OpenMM copies forces.
    """
    try:
        return copy.deepcopy(force)
    except Exception as error:  # OpenMM raises OpenMMException, pickle whatever the user's callable raises
        raise ValueError(
            f"{describe(force)} cannot be copied: {error}. A mixed System holds copies of all forces; make the force "
            "serialisable (a PythonForce needs a function that pickle can store) or add it after mixing."
        ) from error


def copyWithoutForces(system: openmm.System) -> openmm.System:
    """Copy particles, virtual sites, constraints and box of a System.

    Raises
    ------
    ValueError
        If a force cannot be serialised: OpenMM copies virtual sites only with the whole System.
    """
    try:
        result = copy.deepcopy(system)
    except Exception:
        for force in system.getForces():
            copyForce(force)
        raise
    for index in reversed(range(result.getNumForces())):
        result.removeForce(index)
    return result
