"""A GROMACS topology as an OpenMM System: by OpenMM's reader, with what that leaves out or does otherwise put right."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...errors import EngineInputError
from ...files import parser_reason
from ...hybrid.connectivity import Connectivity, Pair, ordered
from ..structures.gromacs_topology import GromacsTopology, MoleculeType

#: Name of the force that holds atoms at reference positions.
RESTRAINTS_NAME = "PositionRestraints"


def gromacs_system(
    topology: GromacsTopology, box_nm: np.ndarray | None, settings: dict[str, Any]
) -> tuple[app.Topology, openmm.System]:
    """The System of a GROMACS topology.

    Parameters
    ----------
    topology : GromacsTopology
        What was read.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.
    settings : dict
        Keywords of ``GromacsTopFile.createSystem``.

    Returns
    -------
    topology : openmm.app.Topology
        The atoms, with all chemical bonds.
    system : openmm.System
        Without position restraints, see :func:`restrain`.

    Raises
    ------
    EngineInputError
        If OpenMM's reader refuses the topology, or it has interactions that an OpenMM System cannot have.
    """
    vectors = None if box_nm is None else [openmm.Vec3(*row) for row in box_nm] * unit.nanometer
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "topology.top")
            with open(path, "w", encoding="utf-8") as scratch:
                scratch.write(topology.text)
            file = app.GromacsTopFile(path, periodicBoxVectors=vectors, includeDir=folder)
        system = file.createSystem(**settings)
    except Exception as error:  # the reader raises anything at all
        raise EngineInputError(
            f"OpenMM's reader of GROMACS topologies refuses it: {parser_reason(error)}", topology.path
        ) from error
    atoms = list(file.topology.atoms())
    known = {ordered(bond.atom1.index, bond.atom2.index) for bond in file.topology.bonds()}
    first = 0
    for kind, count in topology.molecules:
        _set_exclusions(system, kind, first, count)
        for copy in range(count):
            start = first + copy * kind.size
            for i, j in kind.chemical_bonds():
                pair = ordered(start + i, start + j)
                if pair not in known:
                    known.add(pair)
                    file.topology.addBond(atoms[pair[0]], atoms[pair[1]])
        first += count * kind.size
    return file.topology, system


def _set_exclusions(system: openmm.System, kind: MoleculeType, first: int, count: int) -> None:
    """Exclude what GROMACS excludes: OpenMM's reader scales every pair over three bonds that it does not find listed.

    ``nrexcl``, ``[ exclusions ]`` and ``[ pairs ]`` decide; where GROMACS lets two atoms interact that OpenMM must
    exclude, or by a pair term and the usual interaction both, there is no counterpart.
    """
    excluded, pairs = _gromacs_exclusions(kind)
    force = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    custom = [force for force in system.getForces() if isinstance(force, openmm.CustomNonbondedForce)]
    places: dict[Pair, int] = {}
    last = first + count * kind.size
    for index in range(force.getNumExceptions()):
        i, j, *_ = force.getExceptionParameters(index)
        if first <= i < last:
            places[ordered(i, j)] = index
    for i, j in sorted(pairs - excluded):
        raise kind.header.error(
            f"{kind.name} has a [ pairs ] term between atoms {i + 1} and {j + 1}, whose non-bonded interaction nrexcl "
            f"{kind.bonds_excluded} leaves in: GROMACS adds the two, OpenMM knows one or the other. Raise nrexcl, or "
            "list the pair in [ exclusions ]"
        )
    own = {(i - first, j - first) for i, j in places if j < first + kind.size}
    for i, j in sorted(own - excluded - pairs):
        raise kind.header.error(
            f"nrexcl {kind.bonds_excluded} of {kind.name} lets atoms {i + 1} and {j + 1} interact, which are bonded or "
            "across an angle; OpenMM's reader always excludes those. Molecules with nrexcl of 2 and more can be done"
        )
    for copy in range(count):
        start = first + copy * kind.size
        for i, j in sorted(excluded - pairs):
            pair = (start + i, start + j)
            if pair in places:
                force.setExceptionParameters(places[pair], *pair, 0.0, 1.0, 0.0)
            else:
                force.addException(*pair, 0.0, 1.0, 0.0)
                for each in custom:
                    each.addExclusion(*pair)


def _gromacs_exclusions(kind: MoleculeType) -> tuple[set[Pair], set[Pair]]:
    """Pairs without non-bonded interaction, and pairs with a special one, counted from 0 in the molecule."""
    graph = Connectivity(kind.size, kind.chemical_bonds())
    excluded: set[Pair] = set()
    for i in range(kind.size):
        reached, front = {i}, {i}
        for _ in range(kind.bonds_excluded):
            front = set().union(*(graph.neighbours[j] for j in front)) - reached
            reached |= front
        excluded |= {(i, j) for j in reached if i < j}
    for row in kind.rows("exclusions"):
        numbers = [int(word) - 1 for word in row]
        excluded |= {ordered(numbers[0], j) for j in numbers[1:] if j != numbers[0]}
    return excluded, {ordered(int(row[0]) - 1, int(row[1]) - 1) for row in kind.rows("pairs")}


def restrain(
    system: openmm.System, topology: GromacsTopology, reference_nm: np.ndarray, periodic: bool
) -> openmm.CustomExternalForce | None:
    """Add the position restraints of a topology.

    Parameters
    ----------
    system : openmm.System
        Gets a force named :data:`RESTRAINTS_NAME`, if there is anything to hold.
    topology : GromacsTopology
        What is held, and how strongly.
    reference_nm : numpy.ndarray, (n_atoms, 3) float64
        Where, in nm.
    periodic : bool
        Whether distances are to the nearest image.

    Returns
    -------
    openmm.CustomExternalForce or None
    """
    if not topology.restraints:
        return None
    if periodic:
        steps = ["periodicdistance(x, 0, 0, x0, 0, 0)", "periodicdistance(0, y, 0, 0, y0, 0)",
                 "periodicdistance(0, 0, z, 0, 0, z0)"]  # fmt: skip
    else:
        steps = ["(x-x0)", "(y-y0)", "(z-z0)"]
    squares = " + ".join(f"k{axis}*{step}^2" for axis, step in zip("xyz", steps, strict=True))
    force = openmm.CustomExternalForce(f"0.5*({squares})")
    force.setName(RESTRAINTS_NAME)
    for name in ("kx", "ky", "kz", "x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    for particle, constants in topology.restraints:
        force.addParticle(particle, [*constants, *reference_nm[particle]])
    system.addForce(force)
    return force
