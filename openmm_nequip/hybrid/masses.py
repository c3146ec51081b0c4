"""Whether the elements of a topology fit the masses of its System: a cheap test that the two belong together."""

from __future__ import annotations

from collections.abc import Collection

import openmm
from openmm.app import Element, Topology

from .connectivity import Connectivity

#: Hydrogens are made heavier than this by nobody who repartitions masses, in amu; heavier is another atom.
_HEAVIEST_HYDROGEN = 6.0
#: Masses that differ by less are the same, in amu.
_SAME = 0.1
_HYDROGEN_MASS = 1.008


def check_masses(topology: Topology, system: openmm.System, bonds: Connectivity, atoms: Collection[int]) -> None:
    """Refuse a topology whose elements are not those of the System.

    Repartitioned and frozen masses pass: only a hydrogen as heavy as another atom together with another atom as light
    as a hydrogen, and a lone ion with the mass of another element, are told.

    Parameters
    ----------
    topology : openmm.app.Topology
        Elements.
    system : openmm.System
        Masses.
    bonds : Connectivity
        The bond graph, to know lone ions.
    atoms : collection of int
        Atoms of the regions, of which lone ions are looked at.

    Raises
    ------
    ValueError
        With the atoms.
    """
    members = list(topology.atoms())
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    heavy = next((a for a in members if _number(a.element) == 1 and masses[a.index] > _HEAVIEST_HYDROGEN), None)
    light = next((a for a in members if _number(a.element) > 2 and abs(masses[a.index] - _HYDROGEN_MASS) < _SAME), None)
    if heavy is not None and light is not None:
        raise ValueError(
            f"Atom {heavy.index} ({heavy.name} of {heavy.residue.name}) is a hydrogen in the topology and has a mass "
            f"of {masses[heavy.index]:.3f} in the System; atom {light.index} ({light.name}) is {light.element.symbol} "
            f"and has {masses[light.index]:.3f}. Expected the topology that the System was created from, in the same "
            "order."
        )
    for i in atoms:
        element = members[i].element
        if bonds.neighbours[i] or element is None or not masses[i] or abs(masses[i] - element.mass._value) < 1.0:
            continue
        other = Element.getByMass(masses[i])
        if other is not None and other is not element and abs(other.mass._value - masses[i]) < _SAME:
            raise ValueError(
                f"Atom {i} ({members[i].name} of {members[i].residue.name}) is {element.symbol} in the topology and "
                f"has the mass of {other.symbol}, {masses[i]:.3f}, in the System. Some file readers guess the elements "
                "of ions from their names; set atom.element in the topology."
            )


def _number(element: Element | None) -> int:
    return 0 if element is None else element.atomic_number
