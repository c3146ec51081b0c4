"""Building a System that is partly described by a model and partly by a force field."""

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import openmm
from openmm.app import Topology

from ..options import check_keywords
from ..topology import is_periodic
from .assembly import Assembly
from .bond_search import check_bonds_known, find_bonds
from .build_options import HybridOptions
from .earlier_models import check_no_model_yet
from .force_classes import resolve_forces
from .hybrid_report import MixedReport
from .linking import make_regions
from .masses import check_masses
from .region_molecules import as_selections
from .regions import Region, select_regions


class AddModelForces(Protocol):
    """Makes the force of the model; the only door through which a neural network enters the builder.

    Called once, with keywords.  It returns the Force objects, not yet added to any System: one force for all regions
    lets OpenMM overlap it with the force field's work.  The force must act on ``Region.modelParticles`` of every
    region, place the caps itself (:func:`openmm_nequip.links.place_caps`) and hand their forces on
    (:func:`openmm_nequip.links.spread_cap_forces`).
    """

    def __call__(
        self, *, system: openmm.System, regions: list[Region], periodic: bool, forceGroup: int, lambdaName: str | None
    ) -> list[openmm.Force]:
        """Make the forces.

        Parameters
        ----------
        system : openmm.System
            The hybrid System so far, to look at (particles, masses, box); not to be changed.
        regions : list of Region
            Atoms and links of every region.
        periodic : bool
            Whether the System is periodic.  If so the force must say ``usesPeriodicBoundaryConditions()`` and take
            minimum images itself.
        forceGroup : int
            The force group that the forces will be put in.
        lambdaName : str or None
            With interpolation, the name of a global parameter.  The force must define it with default 1, and return
            zero energy and forces, without evaluating the model, when its value is exactly 0; it must *not* multiply
            by it.  None without interpolation.

        Returns
        -------
        list of openmm.Force
            At least one force.
        """


@dataclass(frozen=True)
class MixedSystem:
    """A hybrid System and what belongs to it.

    Attributes
    ----------
    system : openmm.System
        The new System, with the particles of the old one in the same order.
    topology : openmm.app.Topology
        The topology that was given: caps are no particles, so it fits the new System as it is.
    regions : list of Region
        Regions with links and sites.
    report : MixedReport
        What was removed and kept.
    oldToNew : list of int
        New index of every particle: the old one (openmm-ml's ``returnInfo`` asks for it).
    """

    system: openmm.System
    topology: Topology
    regions: list[Region]
    report: MixedReport
    oldToNew: list[int]


def build_mixed_system(
    topology: Topology,
    system: openmm.System,
    atoms: Any,
    addModelForces: AddModelForces,
    options: HybridOptions | None = None,
    **keywords: Any,
) -> MixedSystem:
    """Build a System in which a model describes some atoms and a force field the rest.

    Interactions between the atoms of a region come from the model, all others (also those between two regions) from
    the force field: mechanical embedding.  Bonds that leave a region are capped inside the model's force
    (:mod:`openmm_nequip.links`), so particles and topology stay as they are.

    Parameters
    ----------
    topology : openmm.app.Topology
        The topology of `system`; left as it is.
    system : openmm.System
        The whole system under the force field; left as it is.
    atoms : selection or list of selections
        Atoms of one region (any iterable of indices, or mdtraj selection text), or a list of such regions.  Virtual
        sites that only atoms of a region carry follow them.
    addModelForces : callable
        Makes the model's force, see :class:`AddModelForces`.
    options : HybridOptions, optional
        What can be chosen; the defaults if not given.
    **keywords
        Fields of :class:`HybridOptions`, which take precedence over those of `options`.

    Returns
    -------
    MixedSystem
        The new System, the topology, the regions and the report.

    Raises
    ------
    ValueError
        If the selection or an option cannot be used, or a force cannot be divided; the message says what to do.
    TypeError
        If a keyword is no field of :class:`HybridOptions`, or `options` is something else.

    Notes
    -----
    In a periodic System, exceptions of the NonbondedForce use periodic boundaries afterwards, since atoms of a region
    may lie in different images.  With `interpolate` and a `linkCharge` other than ``"keep"`` the NonbondedForce moves
    into CustomCVForces as a whole.
    """
    check_keywords(keywords, HybridOptions.names(), "build_mixed_system")
    if options is not None and not isinstance(options, HybridOptions):
        raise TypeError(f"options is {options!r}. Expected HybridOptions(...), or its fields as keywords.")
    chosen = dataclasses.replace(options or HybridOptions(), **keywords)
    chosen.check_system(topology, system)
    kept = resolve_forces(system, chosen.keepForces, "keepForces")
    bonds = find_bonds(topology, system, chosen.forceClasses, kept)
    regions = make_regions(topology, system, bonds, as_selections(select_regions(topology, atoms)), chosen)
    check_no_model_yet(system, [region.atoms for region in regions], bonds, chosen.forceClasses)
    chosen_atoms = [i for region in regions for i in region.atoms]
    check_masses(topology, system, bonds, chosen_atoms)
    check_bonds_known(topology, system, bonds, chosen_atoms, chosen.forceClasses)
    build = Assembly(system, regions, bonds, chosen, is_periodic(topology, system))
    build.name_inferred_links(topology.getNumBonds() > 0)
    build.divide_forces()
    build.remove_constraints()
    build.keep_molecules()
    build.add_model(addModelForces)
    build.finish_report()
    for text in build.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return MixedSystem(build.new, topology, regions, build.report, list(range(build.new.getNumParticles())))
