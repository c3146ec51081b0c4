"""Models that a System already holds: a second one on the same atoms would count them twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import openmm

from ..choices import FORCE_NAME, MOLECULES_NAME
from ..forces.acting import model_particles
from .connectivity import Connectivity
from .force_classes import ForceClasses, Role
from .force_copies import class_name, describe_force


def check_no_model_yet(
    system: openmm.System, regions: Sequence[Collection[int]], bonds: Connectivity, classes: ForceClasses
) -> None:
    """Refuse atoms that a model of this package already describes in the System.

    Parameters
    ----------
    system : openmm.System
        The System that was given as the force field's.
    regions : sequence of collection of int
        Atoms of every new region.
    bonds : Connectivity
        The bond graph.
    classes : ForceClasses
        The table of force classes.

    Raises
    ------
    ValueError
        If a model's force acts on an atom of a region, or, where its atoms cannot be read, if the force field has no
        terms between bonded atoms of a region.
    """
    wanted = {i for region in regions for i in region}
    for force in system.getForces():
        if force.getName() == MOLECULES_NAME:
            # Bonds without strength stand where an earlier build took bonds out.
            gone = [force.getBondParameters(k)[:2] for k in range(force.getNumBonds())]
            _refuse(force, {i for pair in gone if wanted.issuperset(pair) for i in pair})
    for force in _model_forces(system.getForces()):
        particles = model_particles(force, system.getNumParticles())
        if particles is not None:
            _refuse(force, wanted.intersection(particles))
        elif force.getName() == FORCE_NAME:
            _refuse(force, _without_terms(system, wanted, bonds, classes))


def _refuse(force: openmm.Force, twice: set[int]) -> None:
    if twice:
        raise ValueError(
            f"The System already holds a model's force, {describe_force(force)}, on atom {min(twice)} and "
            f"{len(twice) - 1} more of the region: a second model would count these atoms twice. Expected the System "
            "of the force field alone; create it anew (a notebook cell that reassigns `system` must not run twice), or "
            "give all regions to one build."
        )


def _model_forces(forces: Sequence[openmm.Force]) -> Iterator[openmm.Force]:
    """Forces of models, also inside the products of an interpolation."""
    for force in forces:
        if isinstance(force, openmm.CustomCVForce):
            variables = [force.getCollectiveVariable(k) for k in range(force.getNumCollectiveVariables())]
            yield from _model_forces(variables)
        elif force.getName() == FORCE_NAME or class_name(force) == "PythonForce":
            yield force  # OpenMM 8.5 forgets the name of a PythonForce in XML


def _without_terms(
    system: openmm.System, wanted: set[int], bonds: Connectivity, classes: ForceClasses
) -> set[int]:
    """Atoms with bonds of which no term, constraint or other force of the force field is left."""
    left = {i for i in wanted if any(j in wanted for j in bonds.neighbours[i])}
    between_pairs = False
    for force in system.getForces():
        row = classes.of(force)
        between_pairs = between_pairs or row.role is Role.PAIRS
        if row.role is Role.TERMS and force.getName() != MOLECULES_NAME:
            for atoms in row.term_atoms(force):
                if len(atoms) == 2 and bonds.bonded(*atoms):
                    left -= set(atoms)
    for index in range(system.getNumConstraints()):
        left -= set(system.getConstraintParameters(index)[:2])
    return left if between_pairs else wanted
