"""Copies of forces: whole ones, and halves divided by terms through OpenMM's own XML."""

import copy
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection

import openmm


def class_name(force: openmm.Force) -> str:
    """Return the name of a force's class, such as ``"HarmonicBondForce"``."""
    return type(force).__name__


def describe_force(force: openmm.Force) -> str:
    """Name a force by class and, where it was given one, by name."""
    kind = class_name(force)
    name = force.getName()
    return kind if name == kind else f"{kind} '{name}'"


def copy_force(force: openmm.Force) -> openmm.Force:
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
            f"{describe_force(force)} cannot be copied: {error}. A hybrid System holds copies of all forces; make the "
            "force serialisable (a PythonForce needs a function that pickle can store) or add it after mixing."
        ) from error


def copy_without_forces(system: openmm.System) -> openmm.System:
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
            copy_force(force)
        raise
    for index in reversed(range(result.getNumForces())):
        result.removeForce(index)
    return result


def split_by_xml(force: openmm.Force, removed: Collection[int], container: str) -> tuple[openmm.Force, openmm.Force]:
    """Divide the terms of a force between two copies.

    The copies go through OpenMM's own XML, which carries every setting (name, group, periodicity, functions, global
    parameters) of every class, and numbers to the last bit.

    Parameters
    ----------
    force : openmm.Force
        The force; left as it is.
    removed : collection of int
        Which terms go to the second copy.
    container : str
        Name of the XML element that holds one child for each term, in the order of the terms.

    Returns
    -------
    kept, taken : openmm.Force
        Copies with the other terms and with those of `removed`.

    Raises
    ------
    ValueError
        If the force's XML has no such element.
    """
    text = openmm.XmlSerializer.serialize(force)
    taken = set(removed)
    halves = []
    for wanted in (False, True):
        root = ElementTree.fromstring(text)
        terms = root.find(container)
        if terms is None:
            raise ValueError(
                f"The XML of {describe_force(force)} has no element {container!r}; it has "
                f"{', '.join(child.tag for child in root)}. Correct xml_container in the row of this class."
            )
        terms[:] = [term for i, term in enumerate(terms) if (i in taken) is wanted]
        halves.append(openmm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode")))
    return halves[0], halves[1]
