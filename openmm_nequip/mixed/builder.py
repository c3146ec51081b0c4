"""Building a System that is partly described by a model and partly by a force field."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import openmm
from openmm.app import Topology

from .assembly import Assembly
from .connectivity import findBonds
from .linking import makeRegions
from .options import Options
from .regions import Region, selectRegions
from .report import MixedReport
from .supported import resolveForces


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
            The mixed System so far, to look at (particles, masses, box); not to be changed.
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
    """A mixed System and what belongs to it.

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
    """

    system: openmm.System
    topology: Topology
    regions: list[Region]
    report: MixedReport

    @property
    def oldToNew(self) -> list[int]:
        """New index of every particle: the old one (openmm-ml's ``returnInfo`` asks for it)."""
        return list(range(self.system.getNumParticles()))


def build_mixed_system(
    topology: Topology,
    system: openmm.System,
    atoms: Any,
    addModelForces: AddModelForces,
    *,
    rule: str = "openmm-ml",
    removeConstraints: bool = True,
    forceGroup: int = 0,
    interpolate: bool = False,
    mlLongRange: bool | None = None,
    linkAtomDistances: Iterable[tuple[int, int, Any]] | None = None,
    linkElement: str = "H",
    linkCharge: str = "keep",
    removeRestraints: bool = False,
    keepForces: Iterable[str | int] = (),
    forceFieldForces: Iterable[str | int] = (),
    lambdaName: str = "lambda_interpolate",
    referenceSystem: openmm.System | None = None,
    positions: Any = None,
    cutoff_nm: float | None = None,
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
    rule : {"openmm-ml", "gromacs", "all-in-set"}
        Which bonded terms the model replaces, see :mod:`openmm_nequip.mixed.bonded`.
    removeConstraints : bool
        Remove constraints between two atoms of a region.  Constraints across the border always stay.
    forceGroup : int
        Force group of the model, 0 to 31.
    interpolate : bool
        Add the global parameter `lambdaName`: 1 is the mixed System, 0 the force field, see
        :mod:`openmm_nequip.mixed.interpolation`.
    mlLongRange : bool, optional
        Only matters where the force field uses Ewald, PME or LJPME.  True: the model contains the electrostatics of
        the region with its own periodic images, so the force field's whole lattice sum over the region is
        subtracted.  False: it does not, and atoms of the region see the images of the others with their
        force-field charges.  None means False: NequIP and Allegro models are local.
    linkAtomDistances : iterable of (int, int, distance), optional
        Distance of the cap from the inner atom for single bonds, given by their two atoms in any order, in nm or as
        a quantity.  Default: the sum of the covalent radii of the inner atom and the cap.
    linkElement : str
        Element of the caps.
    linkCharge : {"keep", "zero", "redistribute"}
        What to do with the force-field charge of the outer atom of a cut bond, see
        :mod:`openmm_nequip.mixed.charges`.
    removeRestraints : bool
        Also remove restraints of which all particles are in one region, see :mod:`openmm_nequip.mixed.restraints`.
    keepForces : iterable of str or int
        Names or indices of forces to leave exactly as they are.
    forceFieldForces : iterable of str or int
        Names or indices of forces whose terms are all the force field's, whatever they look like.
    lambdaName : str
        Name of the interpolation parameter.
    referenceSystem : openmm.System, optional
        The same system from the same force field without constraints; with `interpolate` it supplies the bond terms
        that removed constraints stood for.  Not needed if `system` holds them (``flexibleConstraints=True``).
    positions : array_like, shape (n, 3), optional
        Positions in nm or as a quantity, for the distance to periodic images in the report.
    cutoff_nm : float, optional
        The model's cutoff in nm, to judge that distance.

    Returns
    -------
    MixedSystem
        The new System, the topology, the regions and the report.

    Raises
    ------
    ValueError
        If the selection or an option cannot be used, or a force cannot be divided; the message says what to do.

    Notes
    -----
    In a periodic System, exceptions of the NonbondedForce use periodic boundaries afterwards, since atoms of a region
    may lie in different images.  With `interpolate` and a `linkCharge` other than ``"keep"`` the NonbondedForce moves
    into CustomCVForces as a whole.
    """
    options = Options(
        rule=rule, removeConstraints=removeConstraints, forceGroup=forceGroup, interpolate=interpolate,
        mlLongRange=mlLongRange, linkElement=linkElement, linkCharge=linkCharge, removeRestraints=removeRestraints,
        lambdaName=lambdaName, cutoff_nm=cutoff_nm,
    )  # fmt: skip
    options.check(topology, system, referenceSystem)
    bonds = findBonds(topology, system)
    regions = makeRegions(
        topology, system, bonds, selectRegions(topology, atoms), linkElement, list(linkAtomDistances or ())
    )
    build = Assembly(topology, system, regions, bonds, options)
    keep = resolveForces(system, keepForces, "keepForces")
    build.divideForces(keep, resolveForces(system, forceFieldForces, "forceFieldForces"))
    build.removeConstraints(referenceSystem)
    build.keepMolecules()
    build.addModel(addModelForces)
    build.finishReport(positions)
    return MixedSystem(build.new, topology, regions, build.report)
