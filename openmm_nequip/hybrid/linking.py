"""Completing regions: virtual sites that go with them and links of their cut bonds."""

from collections.abc import Sequence
from typing import Any

import openmm
from openmm.app import Topology

from .build_options import HybridOptions
from .connectivity import Connectivity, Pair, ordered
from .covalent import element_by_symbol, link_distance
from .region_molecules import Selection, split_selections
from .regions import Link, Region


def make_regions(
    topology: Topology,
    system: openmm.System,
    bonds: Connectivity,
    selections: Sequence[Selection],
    options: HybridOptions,
) -> list[Region]:
    """Make regions from their atoms.

    Parameters
    ----------
    topology : openmm.app.Topology
        Elements of the atoms.
    system : openmm.System
        Virtual sites.
    bonds : Connectivity
        The bond graph.
    selections : sequence of Selection
        Selected particles of every region; virtual sites among them become sites.
    options : HybridOptions
        Element of the caps and distances of single ones, and whether selections are split.

    Returns
    -------
    list of Region
        Regions with sites and links.

    Raises
    ------
    ValueError
        If a particle is nothing a model knows, a virtual site hangs half in a region, two cut bonds of a region
        lead to one outer atom, or a distance is given for a bond that is not cut.
    """
    elements = [atom.element for atom in topology.atoms()]
    distances = {(i, j): distance for i, j, distance in options.linkAtomDistances}
    cap = None if options.linkElement is None else element_by_symbol(options.linkElement)
    used: set[Pair] = set()
    regions = []
    parents = _site_parents(system)
    if options.splitRegions:
        selections = split_selections(selections, bonds, parents)
    for selection in selections:
        atoms, sites = _split_sites(parents, selection.particles)
        _check_elements(elements, atoms)
        links = []
        cuts = [(q, m) for q, m in bonds.leaving(atoms) if m not in sites]
        used.update(ordered(q, m) for q, m in cuts)
        if cap is not None:
            for q, m in cuts:
                default = link_distance(elements[q], cap) if options.linkDistance is None else options.linkDistance
                links.append(Link(q, m, distances.get(ordered(q, m), default), cap.symbol))
        if not options.allowSharedCaps:
            _check_shared_outer(links)
        place = dict(zip(selection.particles, selection.places, strict=True))
        regions.append(
            Region(
                atoms, tuple(links), sites, selection.number, tuple(place[i] for i in atoms),
                open=tuple(cuts) if cap is None else (),
            )
        )  # fmt: skip
    _check_used(distances, used)
    return regions


def _site_parents(system: openmm.System) -> dict[int, set[int]]:
    """Return the particles that every virtual site depends on."""
    parents = {}
    for i in range(system.getNumParticles()):
        if system.isVirtualSite(i):
            site = system.getVirtualSite(i)
            parents[i] = {site.getParticle(k) for k in range(site.getNumParticles())}
    return parents


def _split_sites(
    parents: dict[int, set[int]], selection: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Divide a selection into atoms and the virtual sites that they alone carry, selected or not."""
    atoms = tuple(i for i in selection if i not in parents)
    chosen = set(selection)
    inside = set(atoms)
    sites = []
    for i, carriers in parents.items():
        if carriers <= inside:
            sites.append(i)
        elif i in chosen or carriers & inside:
            outside = sorted(carriers - inside)
            raise ValueError(
                f"Virtual site {i} depends on atoms {sorted(carriers)}, of which {outside} are outside the region. A "
                "site goes with its atoms; put all of them into the region, or none and not the site."
            )
    if not atoms:
        raise ValueError(
            f"The region holds virtual sites only ({list(selection)}). Expected atoms; a model knows no virtual sites."
        )
    return atoms, tuple(sites)


def _check_elements(elements: Sequence[Any], atoms: Sequence[int]) -> None:
    for i in atoms:
        if elements[i] is None:
            raise ValueError(
                f"Particle {i} of the region has no element and is no virtual site, so the model has no type for it. "
                "Leave it out of the region, or set the element in the topology."
            )


def _check_shared_outer(links: Sequence[Link]) -> None:
    """Refuse two caps in the place of one atom: they would be about as close as the atoms of a hydrogen molecule."""
    inner: dict[int, int] = {}
    for link in links:
        if link.m in inner:
            raise ValueError(
                f"Atoms {inner[link.m]} and {link.q} of the region are both bonded to atom {link.m} outside, so two "
                "caps would stand for this one atom, almost as close as in a hydrogen molecule. Expected one cut bond "
                f"for each outer atom; put atom {link.m} into the region, or leave out the side of {inner[link.m]} or "
                f"of {link.q}. allowSharedCaps=True builds it all the same."
            )
        inner[link.m] = link.q


def _check_used(distances: dict[Pair, float], used: set[Pair]) -> None:
    for pair in distances:
        if pair not in used:
            cut = ", ".join(str(item) for item in sorted(used)) or "none"
            raise ValueError(
                f"linkAtomDistances names atoms {pair}, which no cut bond joins. Bonds cut by the region(s): {cut}."
            )
