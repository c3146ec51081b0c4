"""Topologies and boxes as the model needs them: atom types, the box's form, and which atoms make a molecule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import openmm
import openmm.app
import openmm.unit as unit

from .choices import MOLECULES_NAME

#: Length of bonds without strength.
_ANY_LENGTH_NM = 0.1


def check_box(box: Any) -> None:
    """Refuse a box that OpenMM would not accept or that has no volume.

    Parameters
    ----------
    box : sequence of three Vec3 quantities
        Periodic box vectors.

    Raises
    ------
    ValueError
        If the volume is zero or the vectors are not in OpenMM's reduced form.
    """
    a, b, c = (np.array(vector.value_in_unit(unit.nanometer)) for vector in box)
    matrix = np.array([a, b, c])
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError(f"the periodic box {matrix.tolist()} nm has no volume; set the topology's box vectors")
    tolerance = 1e-6
    lower = max(abs(a[1]), abs(a[2]), abs(b[2])) <= tolerance and min(a[0], b[1], c[2]) > 0
    reduced = a[0] >= 2 * abs(b[0]) - tolerance and a[0] >= 2 * abs(c[0]) - tolerance
    reduced = reduced and b[1] >= 2 * abs(c[1]) - tolerance
    if not (lower and reduced):
        raise ValueError(
            f"the periodic box {matrix.tolist()} nm is not in reduced form (a along x, b in the xy plane, "
            "2|b_x| <= a_x, 2|c_x| <= a_x, 2|c_y| <= b_y); reduce it with "
            "openmm.app.internal.unitcell.reducePeriodicBoxVectors and rotate the positions with it"
        )


def atom_types(
    type_names: Sequence[str], atoms: Sequence[openmm.app.topology.Atom], given: Sequence[int | str] | None
) -> np.ndarray:
    """Model type of each atom, by element symbol or as given.

    Parameters
    ----------
    type_names : sequence of str
        The model's types.
    atoms : sequence of openmm.app.topology.Atom
        The atoms that the model describes.
    given : sequence of int or str, optional
        Type index or name per atom.

    Returns
    -------
    numpy.ndarray, (len(atoms),) int64

    Raises
    ------
    ValueError
        If an element is unknown to the model, or ``given`` has the wrong length, an unknown name or an index out of
        range; the message names the first atom concerned.
    """
    index = {name: i for i, name in enumerate(type_names)}
    known = ", ".join(type_names)
    if given is None:
        types = []
        for atom in atoms:
            if atom.element is None:
                raise ValueError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) has no element, and the model describes "
                    f"atoms of the types {known}; remove extra particles, or give atomTypes="
                )
            if atom.element.symbol not in index:
                raise ValueError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) is {atom.element.symbol}, which the model "
                    f"does not know; its types are {known}. If these are not element symbols, give atomTypes="
                )
            types.append(index[atom.element.symbol])
        return np.array(types, dtype=np.int64)
    given = list(given)
    if len(given) != len(atoms):
        raise ValueError(f"atomTypes has {len(given)} entries; expected one for each of the {len(atoms)} atoms")
    types = []
    for position, value in enumerate(given):
        number = index.get(value) if isinstance(value, str) else value
        if number is None or int(number) != number or not 0 <= number < len(type_names):
            raise ValueError(
                f"atomTypes[{position}]={value!r} is no type of the model; use 0 to {len(type_names) - 1} or one of "
                f"{known}"
            )
        types.append(int(number))
    return np.array(types, dtype=np.int64)


def molecules_force(
    bonds: Iterable[tuple[int, int]], periodic: bool = False, force_group: int = 0
) -> openmm.HarmonicBondForce:
    """Make the force that tells OpenMM which atoms make a molecule: bonds of zero strength.

    OpenMM finds molecules by bonds and constraints; barostats and the wrapping of positions move molecules.  A model
    has no bonds, so without this force they would move single atoms.

    Parameters
    ----------
    bonds : iterable of (int, int)
        Pairs of particles.
    periodic : bool
        Whether the force says that it uses periodic boundary conditions.
    force_group : int
        Its force group.

    Returns
    -------
    openmm.HarmonicBondForce
        Named :data:`openmm_nequip.choices.MOLECULES_NAME`; its energy is zero.
    """
    force = openmm.HarmonicBondForce()
    force.setName(MOLECULES_NAME)
    force.setForceGroup(force_group)
    force.setUsesPeriodicBoundaryConditions(periodic)
    for i, j in bonds:
        force.addBond(i, j, _ANY_LENGTH_NM, 0.0)
    return force


def declare_molecules(
    system: openmm.System,
    topology: openmm.app.Topology,
    atoms: Sequence[int] | None,
    periodic: bool,
    force_group: int,
) -> None:
    """Add the topology's bonds between the given atoms with zero strength, if there are any.

    Parameters
    ----------
    system : openmm.System
        Gets the force.
    topology : openmm.app.Topology
        The bonds.
    atoms : sequence of int, optional
        The atoms that the model describes; all if None.
    periodic : bool
        Whether the System is periodic.
    force_group : int
        Force group of the force.
    """
    members = None if atoms is None else set(atoms)
    pairs = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    pairs = [pair for pair in pairs if members is None or members.issuperset(pair)]
    if pairs:
        system.addForce(molecules_force(pairs, periodic, force_group))
