"""The model's force in a hybrid System: caps, regions and types as the builder hands them over."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import openmm
import openmm.app

from ..errors import AtomTypeError
from ..evaluate.placement import Placement
from ..forces import make_force
from ..forces.spec import PotentialSpec, SumSpec
from ..models import ModelInfo, ModelSource
from ..options import Options
from ..topology import atom_types, charges_of, check_box
from .embedding import CHARGE_TOLERANCE, ChargesAround
from .regions import Region

logger = logging.getLogger(__name__)


class RegionPotential(Protocol):
    """What :class:`ModelForces` asks of a potential; :class:`openmm_nequip.NequIPPotentialImpl` is one."""

    source: ModelSource
    inputs: Any

    def read_info(self, options: Options) -> ModelInfo:
        """Facts about the model."""

    def spec(
        self, options: Options, placement: Placement, periodic: bool, lambda_name: str | None = None
    ) -> PotentialSpec:
        """The potential on given particles.

        Parameters
        ----------
        options : Options
            How to run it.
        placement : Placement
            Which particles are which nodes of the graph.
        periodic : bool
            Whether the System is periodic.
        lambda_name : str, optional
            Global parameter; where it is exactly 0 the model is not evaluated.

        Returns
        -------
        PotentialSpec
        """


class ModelForces:
    """Makes the one force of all regions: what ``build_mixed_system`` calls ``addModelForces``.

    Parameters
    ----------
    topology : openmm.app.Topology
        Elements of the atoms.
    potentials : sequence of RegionPotential
        The potential of each region, or one for all.
    options : Options
        How to run them.
    """

    def __init__(
        self, topology: openmm.app.Topology, potentials: Sequence[RegionPotential], options: Options
    ) -> None:
        self._atoms = list(topology.atoms())
        self._around: ChargesAround | None = None
        #: Number of atoms in all selections, and where those of each region stand in them.
        self._total = 0
        self._starts: dict[int, list[int]] = {}
        self._potentials = list(potentials)
        self._options = options

    def embed(self, around: ChargesAround) -> str:
        """Take the charges around the region; what is to be said about them.

        Parameters
        ----------
        around : ChargesAround
            Charges of the force field.

        Returns
        -------
        str
            Empty, or that the region's charge is not the one that the model was given.
        """
        self._around = around
        values = dict(self._potentials[0].inputs or ())
        if "charge" in values and abs(values["charge"] - around.removed) > CHARGE_TOLERANCE:
            return (
                f"the region had a charge of {around.removed:.5f} e in the force field, and the model is told "
                f"{values['charge']}: the total charge of the System has changed by the difference"
            )
        return ""

    def __call__(
        self, *, system: openmm.System, regions: list[Region], periodic: bool, forceGroup: int, lambdaName: str | None
    ) -> list[openmm.Force]:
        """Make the force; see :class:`openmm_nequip.hybrid.AddModelForces`.

        Raises
        ------
        ValueError
            If the number of potentials does not fit that of the regions, or a type is unknown to its model.
        """
        count = len({self._number(number, region) for number, region in enumerate(regions)})
        if len(self._potentials) not in (1, count):
            raise ValueError(
                f"{len(self._potentials)} models were given for {count} regions; give one model for all regions "
                "or one for each"
            )
        if periodic:
            check_box(system.getDefaultPeriodicBoxVectors())
        particles = list(dict.fromkeys(i for region in regions for i in region.modelParticles))
        if self._around is not None:
            particles = list(dict.fromkeys([*particles, *self._around.particles]))
        specs = [self._spec(group, particles, periodic, lambdaName) for group in self._groups(regions)]
        spec = specs[0] if len(specs) == 1 else SumSpec(tuple(specs))
        options = self._options
        return [make_force(spec, particles, system.getNumParticles(), options.backend, options.properties)]

    @staticmethod
    def _number(number: int, region: Region) -> int:
        """Which of the caller's selections a region is, or is a part of."""
        return number if region.selection is None else region.selection

    def _groups(self, regions: list[Region]) -> list[tuple[RegionPotential, list[Region], list[int | str] | None]]:
        """Regions by model, so that those of one model are evaluated together, with their share of atomTypes."""
        given = self._options.atomTypes
        total = sum(len(region.atoms) for region in regions)
        if given is not None and len(given) != total:
            found = len(given)
            raise AtomTypeError(f"atomTypes has {found} entries; expected one for each of the {total} region atoms")
        self._total, self._starts = total, {}
        groups: dict[tuple, tuple[RegionPotential, list[Region], list[int | str]]] = {}
        start = 0
        for number, region in enumerate(regions):
            potential = self._potentials[self._number(number, region) if len(self._potentials) > 1 else 0]
            group = groups.setdefault((*potential.source.key, potential.inputs), (potential, [], []))
            group[1].append(region)
            places = list(region.places or range(start, start + len(region.atoms)))
            self._starts[id(region)] = places
            if given is not None:
                group[2].extend(given[place] for place in places)
            start += len(region.atoms)
        return [(potential, members, types if given is not None else None) for potential, members, types in
                groups.values()]  # fmt: skip

    def _spec(
        self,
        group: tuple[RegionPotential, list[Region], list[int | str] | None],
        particles: list[int],
        periodic: bool,
        lambda_name: str | None,
    ) -> PotentialSpec:
        potential, regions, given = group
        type_names = potential.read_info(self._options).type_names
        atoms = [i for region in regions for i in region.atoms]
        links = [link for region in regions for link in region.links]
        types = atom_types(type_names, [self._atoms[i] for i in atoms], given)
        caps = np.array([self._cap_type(type_names, link.element) for link in links], dtype=np.int64)
        local = {particle: index for index, particle in enumerate(particles)}
        nodes = np.array([local[i] for i in atoms], dtype=np.int64)
        plain = not links and np.array_equal(nodes, np.arange(len(particles)))
        potential.read_info(self._options).check_charges(self._options.atomCharges)
        own_charges = self._own_charges(regions)
        around = self._around
        placement = Placement(
            n_particles=len(particles),
            types=np.concatenate([types, caps]),
            atoms=None if plain else nodes,
            cap_q=np.array([local[link.q] for link in links], dtype=np.int64),
            cap_m=np.array([local[link.m] for link in links], dtype=np.int64),
            cap_distances=np.array([link.distance_nm for link in links]),
            regions=node_regions(regions) if len(regions) > 1 else (),
            charged=np.array([] if around is None else [local[i] for i in around.particles], dtype=np.int64),
            charges=np.array([] if around is None else around.charges),
            own_charges=np.concatenate([own_charges, np.zeros(len(links))]) if len(own_charges) else own_charges,
        )
        return potential.spec(self._options, placement, periodic, lambda_name)

    def _own_charges(self, regions: list[Region]) -> np.ndarray:
        """Charges of the atoms of these regions, by the place of each in the caller's selections."""
        given = self._options.atomCharges
        if given is None:
            return np.zeros(0)
        charges = charges_of(self._total, given)
        return np.concatenate([charges[self._starts[id(region)]] for region in regions])

    def _cap_type(self, type_names: tuple[str, ...], element: str) -> int:
        name = self._options.linkType if self._options.linkType is not None else element
        if isinstance(name, int) and 0 <= name < len(type_names):
            return name
        if name not in type_names:
            raise ValueError(
                f"a link cap needs the model type {name!r}, which the model does not have; its types are "
                f"{', '.join(type_names)}. Give linkElement= or linkType= for the caps, or a region without cut bonds"
            )
        return type_names.index(str(name))


def node_regions(regions: list[Region]) -> tuple[np.ndarray, ...]:
    """Nodes of each region where all atoms come first, region by region, and then all caps."""
    n_atoms = sum(len(region.atoms) for region in regions)
    found = []
    atom, cap = 0, n_atoms
    for region in regions:
        own = np.arange(atom, atom + len(region.atoms))
        found.append(np.concatenate([own, np.arange(cap, cap + len(region.links))]))
        atom, cap = atom + len(region.atoms), cap + len(region.links)
    return tuple(found)
