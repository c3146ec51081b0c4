"""Which atoms the model describes: selections, regions and the links of their cut bonds."""

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from openmm.app import Topology
from openmm.app.topology import Atom, Chain, Residue

from ..shown import as_ranges, counted, few, html_facts, one_line
from .selection_text import select_text


@dataclass(frozen=True)
class Link:
    """A bond between an atom of a region and one outside, and the cap that stands for the outer atom.

    Attributes
    ----------
    q, m : int
        Particle indices of Q1 (inside) and M1 (outside).
    distance_nm : float
        Distance from Q1 to the cap in nm.
    element : str
        Chemical symbol of the cap.
    """

    q: int
    m: int
    distance_nm: float
    element: str


@dataclass(frozen=True)
class Region:
    """Particles whose interactions with each other come from the model.

    Attributes
    ----------
    atoms : tuple of int
        Particle indices of the atoms that the model sees, in the caller's order.
    links : tuple of Link
        Bonds that leave the region; the model sees one cap for each, after the atoms and in this order.
    sites : tuple of int
        Virtual sites carried by the atoms alone (the M site of a four-site water).  The model does not see them; the
        force field's interactions between them and the region are removed like those between the atoms.
    selection : int, optional
        Which of the caller's selections the region comes from, where one was split; by default its own number.
    open : tuple of (int, int)
        Bonds that leave the region and get no cap, the inner particle first; of all or of none, as ``linkElement``
        says.
    places : tuple of int, optional
        The place of every atom among all that were selected; by default atoms follow each other, region by region.
    modelParticles : tuple of int
        Atoms, then every M1 once (in the order of the links): the particles that the model's force acts on.

    Notes
    -----
    A model that also wants charges and positions around the region (electrostatic embedding) would be told by further
    fields with defaults; what exists reads the fields by name.
    """

    atoms: tuple[int, ...]
    links: tuple[Link, ...] = ()
    sites: tuple[int, ...] = ()
    selection: int | None = field(default=None, compare=False)
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)
    open: tuple[tuple[int, int], ...] = ()
    modelParticles: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        inside = set(self.atoms)
        outer = dict.fromkeys(link.m for link in self.links if link.m not in inside)
        object.__setattr__(self, "modelParticles", self.atoms + tuple(outer))

    def _bonds(self) -> list[str]:
        capped = [f"{link.q}-{link.m} by {link.element} at {link.distance_nm:.4f} nm" for link in self.links]
        return capped + [f"{q}-{m} without a cap" for q, m in self.open]

    def __repr__(self) -> str:
        atoms = f"{counted(len(self.atoms), 'atom')} ({few(as_ranges(self.atoms))})"
        cuts = f"{counted(len(self.cuts), 'cut bond')}" + f" ({few(self._bonds(), ', ')})" * bool(self.cuts)
        return one_line("Region", (atoms, cuts, counted(len(self.sites), "virtual site") if self.sites else ""))

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        facts = {
            "atoms": f"{len(self.atoms)}: {', '.join(as_ranges(self.atoms))}",
            "cut bonds": "; ".join(self._bonds()) or "none",
            "virtual sites": ", ".join(as_ranges(self.sites)),
        }
        return html_facts("Region", facts.items())

    @property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """Q1 and M1 of every bond that leaves the region, capped or not."""
        return (*((link.q, link.m) for link in self.links), *self.open)

    @property
    def particles(self) -> tuple[int, ...]:
        """Atoms, then sites: the particles without force-field interactions among themselves."""
        return self.atoms + self.sites


def owners(regions: Sequence[Region]) -> dict[int, int]:
    """Return the number of the region that every particle of a region belongs to."""
    return {i: number for number, region in enumerate(regions) for i in region.particles}


def select_atoms(topology: Topology, atoms: Any) -> tuple[int, ...]:
    """Turn one selection of atoms into particle indices.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology that the indices refer to.
    atoms : iterable of int, iterable of openmm.app.topology.Atom, Residue or Chain, or str
        Any iterable, read once (a generator will do), or a selection in mdtraj's language such as
        ``"resname ALA"``.  A residue or a chain stands for its atoms.

    Returns
    -------
    tuple of int
        Indices in the order given.

    Raises
    ------
    ValueError
        If the selection is empty, holds something that is not an index, an index twice, or one outside the topology,
        or an atom of another topology, or if the text selects nothing or cannot be read.
    ImportError
        If text is given and mdtraj is not installed.
    """
    if isinstance(atoms, str):
        return select_text(topology, atoms)
    if isinstance(atoms, (Residue, Chain)):
        atoms = [atoms]
    if not isinstance(atoms, Iterable):
        raise ValueError(
            f"atoms is {atoms!r}. Expected atom indices or selection text; for one atom give [{atoms!r}]."
        )
    indices = tuple(index for item in atoms for index in _indices(topology, item))
    count = topology.getNumAtoms()
    if not indices:
        raise ValueError("The region has no atoms. Expected at least one atom index; check the selection.")
    outside = [i for i in indices if not 0 <= i < count]
    if outside:
        raise ValueError(
            f"Atom index {outside[0]} is out of range: the topology has {count} atoms, so 0 to {count - 1} are "
            "expected. Indices count from 0 and negative ones are not read from the end."
        )
    seen: set[int] = set()
    for i in indices:
        if i in seen:
            raise ValueError(f"Atom index {i} is given more than once. Give every atom of a region once.")
        seen.add(i)
    return indices


def select_regions(topology: Topology, atoms: Any) -> list[tuple[int, ...]]:
    """Turn one selection, or a list of selections, into the atoms of one or several regions.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology that the indices refer to.
    atoms : selection or iterable of selections
        One region as for :func:`select_atoms`, or an iterable of such regions.

    Returns
    -------
    list of tuple of int
        The atoms of every region.

    Raises
    ------
    ValueError
        As :func:`select_atoms`, or if indices and whole regions are mixed, or two regions share an atom.
    """
    if isinstance(atoms, str) or not isinstance(atoms, Iterable):
        return [select_atoms(topology, atoms)]
    items = list(atoms)
    nested = [isinstance(item, str) or isinstance(item, Iterable) and not _is_scalar(item) for item in items]
    if not any(nested):
        return [select_atoms(topology, items)]
    if not all(nested):
        odd = items[nested.index(False)]
        raise ValueError(
            f"atoms mixes single atoms ({odd!r}) with whole regions. Give the atoms of one region, or a list of "
            "regions such as [[0, 1, 2], [7, 8]]."
        )
    regions = [select_atoms(topology, item) for item in items]
    _check_disjoint(regions)
    return regions


def _check_disjoint(regions: Sequence[tuple[int, ...]]) -> None:
    owner: dict[int, int] = {}
    for number, region in enumerate(regions):
        for i in region:
            if i in owner:
                raise ValueError(
                    f"Atom {i} is in region {owner[i]} and in region {number}. Regions must not overlap; give every "
                    "atom to one of them."
                )
            owner[i] = number


def _is_scalar(item: Any) -> bool:
    """Tell 0-d arrays, which look iterable, from collections."""
    return getattr(item, "shape", None) == ()


def _indices(topology: Topology, item: Any) -> Iterable[int]:
    """Indices of what one item of a selection stands for."""
    if isinstance(item, (Residue, Chain)):
        return [_own_index(topology, atom) for atom in item.atoms()]
    if isinstance(item, Atom):
        return [_own_index(topology, item)]
    return [_as_index(item)]


def _own_index(topology: Topology, atom: Atom) -> int:
    """Index of an atom, which must be one of the topology or the same atom of a copy of it."""
    if atom.residue.chain.topology is not topology:
        own = next((other for other in topology.atoms() if other.index == atom.index), None)
        if own is None or (own.name, own.element, own.residue.name) != (atom.name, atom.element, atom.residue.name):
            raise ValueError(
                f"{atom!r} belongs to another topology, and atom {atom.index} here is "
                + ("not there." if own is None else f"{own.name} of {own.residue.name}.")
                + " Expected atoms, residues or chains of the topology that was given; select them again from it."
            )
    return atom.index


def _as_index(item: Any) -> int:
    if isinstance(item, bool) or type(item).__name__ in ("bool_", "bool"):
        raise ValueError(
            f"{item!r} is not an atom index. Expected whole numbers; turn a mask into indices with numpy.flatnonzero."
        )
    try:
        return operator.index(item)
    except TypeError:
        raise ValueError(
            f"{item!r} of type {type(item).__name__} is not an atom index. Expected whole numbers from 0, or atoms, "
            "residues or chains of the topology."
        ) from None
