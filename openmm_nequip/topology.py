"""Topologies and boxes as the model needs them: atom types, whether there is a box, which atoms make a molecule."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import openmm
import openmm.app
import openmm.unit as unit

from .choices import MOLECULES_NAME
from .errors import AtomTypeError, ModelInputError
from .graph.neighbors import check_size
from .networks import endless_bonds

logger = logging.getLogger(__name__)

#: Symbols of an isotope that is the same to a model, and of its element.
DEUTERIUM, HYDROGEN = "D", "H"
#: Length of bonds without strength.
_ANY_LENGTH_NM = 0.1
#: Files without a crystal often carry a unit cell of 1 Å.
_DUMMY_CELL_NM = 0.11
#: Names of lone pairs and extra particles; file readers give some of them the element of the atom before.
_EXTRA_PARTICLE = re.compile(r"(LP|EP|VS|VIR|DUM|DRUDE)[A-Z]?\d*")


def charges_of(n_atoms: int, given: Sequence[float] | None) -> np.ndarray:
    """Charges of atoms as a user gave them.

    Parameters
    ----------
    n_atoms : int
        Number of atoms that the model describes.
    given : sequence of float, optional
        In e.

    Returns
    -------
    numpy.ndarray, (n_atoms,) float64
        Empty where none are given.

    Raises
    ------
    ModelInputError
        If their number is another.
    """
    if given is None:
        return np.zeros(0)
    charges = np.array(list(given), dtype=np.float64)
    if len(charges) != n_atoms:
        raise ModelInputError(
            f"atomCharges has {len(charges)} entries; expected one for each of the {n_atoms} atoms of the model",
            "charges",
        )
    return charges


def is_dummy_box(box: np.ndarray) -> bool:
    """Tell whether box vectors (3, 3) in nm are the cell of 1 Å that stands for none."""
    return float(np.abs(box).max()) < _DUMMY_CELL_NM


def topology_box(topology: openmm.app.Topology) -> np.ndarray | None:
    """The box vectors of a topology.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology.

    Returns
    -------
    numpy.ndarray, (3, 3) float64, or None
        nm, in rows; None without a box, or with the cell of 1 Å that files without one carry.
    """
    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return None
    box = np.array([vector.value_in_unit(unit.nanometer) for vector in vectors], dtype=float)
    if is_dummy_box(box):
        logger.info("the 1 Å unit cell of the topology stands for none: the System is not periodic")
        return None
    return box


def is_periodic(topology: openmm.app.Topology, system: openmm.System) -> bool:
    """Whether a System with its forces is periodic for a model in it.

    Forces between all pairs decide; a restraint that measures periodic distances does not make a molecule in vacuum
    periodic.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology with its box.
    system : openmm.System
        The System.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the forces between pairs are not periodic, others are, and there is a box; or no force is between pairs,
        some force is periodic, and there is no box.
    """
    forces = [force for force in system.getForces() if not _is_volume_move(force)]
    pairs = [force for force in forces if _acts_between_pairs(force)]
    others = [force.getName() for force in forces if force not in pairs and force.usesPeriodicBoundaryConditions()]
    if any(force.usesPeriodicBoundaryConditions() for force in pairs):
        return True
    box = topology_box(topology) is not None
    if not others or box is not bool(pairs):
        return bool(others) and box
    named = ", ".join(dict.fromkeys(others))
    if pairs:
        raise ValueError(
            f"The topology has a box and {named} use periodic boundary conditions, but the non-bonded forces do not: "
            "it cannot be told whether the model is to be periodic. Create the System with a periodic "
            "nonbondedMethod, or remove the box from the topology (topology.setPeriodicBoxVectors(None))."
        )
    raise ValueError(
        f"{named} use periodic boundary conditions, but the topology has no box and no non-bonded force tells whether "
        "there is one: the model would be periodic in OpenMM's default box of 2 nm. Set the topology's box vectors, or "
        "write the restraint without periodic distances."
    )


def _is_volume_move(force: openmm.Force) -> bool:
    return "Barostat" in type(force).__name__


def _acts_between_pairs(force: openmm.Force) -> bool:
    return hasattr(force, "getNonbondedMethod")


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


def check_density(n_atoms: int, box: Any, reach_nm: float) -> None:
    """Refuse a box in which a neighbour list would be larger than any machine.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    box : sequence of three Vec3 quantities
        Periodic box vectors.
    reach_nm : float
        Cutoff and skin in nm.

    Raises
    ------
    ValueError
        With the expected number of neighbours.
    """
    check_size(n_atoms, np.array([vector.value_in_unit(unit.nanometer) for vector in box]), reach_nm)


def common_symbol(symbol: str) -> str:
    """The symbol of an element whatever its isotope: that of hydrogen for deuterium."""
    return HYDROGEN if symbol == DEUTERIUM else symbol


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
    AtomTypeError
        If an element is unknown to the model, or ``given`` has the wrong length, an unknown name or an index out of
        range; the message names the first atom concerned.
    """
    index = {name: i for i, name in enumerate(type_names)}
    known = ", ".join(type_names)
    if given is None:
        types = []
        heavy = 0
        previous: openmm.app.topology.Atom | None = None
        for atom in atoms:
            if atom.element is None:
                raise AtomTypeError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) has no element, and the model describes "
                    f"atoms of the types {known}; remove extra particles, or give atomTypes=",
                    atom.index,
                )
            if _EXTRA_PARTICLE.fullmatch(atom.name.upper()) or _is_drude(atom, previous):
                raise AtomTypeError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) is a lone pair or another extra particle "
                    f"by its name, though the topology calls it {atom.element.symbol}; a model knows atoms only. "
                    "Remove such particles, or give atomTypes= if this is an atom",
                    atom.index,
                )
            previous = atom
            symbol = atom.element.symbol
            if symbol not in index and common_symbol(symbol) in index:
                symbol = common_symbol(symbol)
                heavy += 1
            if symbol not in index:
                raise AtomTypeError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) is {symbol}, which the model does not "
                    f"know; its types are {known}. If these are not element symbols, give atomTypes=",
                    atom.index,
                )
            types.append(index[symbol])
        if heavy:
            logger.info(
                "%d atoms are deuterium: hydrogen to the model, whose energy does not depend on masses; their mass is "
                "that of the topology", heavy,
            )  # fmt: skip
        return np.array(types, dtype=np.int64)
    given = list(given)
    if len(given) != len(atoms):
        raise AtomTypeError(f"atomTypes has {len(given)} entries; expected one for each of the {len(atoms)} atoms")
    types = []
    for position, value in enumerate(given):
        number: Any = index.get(value) if isinstance(value, str) else value
        whole = isinstance(number, (int, float, np.integer, np.floating)) and not isinstance(number, bool)
        if not whole or not math.isfinite(number) or int(number) != number or not 0 <= number < len(type_names):
            raise AtomTypeError(
                f"atomTypes[{position}]={value!r} is no type of the model; use 0 to {len(type_names) - 1} or one of "
                f"{known}",
                atoms[position].index,
            )
        types.append(int(number))
    return np.array(types, dtype=np.int64)


def _is_drude(atom: openmm.app.topology.Atom, previous: openmm.app.topology.Atom | None) -> bool:
    """Tell whether an atom is named as the Drude particle of the one before, whose element readers then give it."""
    return previous is not None and atom.residue is previous.residue and atom.name == f"D{previous.name}"


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

    Bonds of a framework that goes on across the faces of the box are left out, with a warning.

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
    box = topology_box(topology) if periodic else None
    if box is not None:
        endless = endless_bonds(topology.getNumAtoms(), pairs, abs(float(np.linalg.det(box))))
        if endless:
            warnings.warn(
                f"{len(endless)} bonds of the topology, the first between atoms {endless[0][0]} and {endless[0][1]}, "
                "make a network that fills the box: it goes on across its faces and is no molecule. They are not "
                "declared to OpenMM, so that a barostat scales the network. Leave out its bonds in the topology, or "
                "set declareMolecules=False, to end this warning.",
                UserWarning,
                stacklevel=2,
            )
            left_out = set(endless)
            pairs = [pair for pair in pairs if pair not in left_out]
    if pairs:
        system.addForce(molecules_force(pairs, periodic, force_group))
