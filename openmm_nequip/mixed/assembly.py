"""The steps of a build, in the order in which the builder takes them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from openmm import unit
from openmm.app import Topology

from . import charges as charging
from . import constraints as constraining
from . import nonbonded
from .bonded import BondedRule
from .connectivity import Connectivity, Pair, ordered
from .images import boxShare, nearestImage
from .interpolation import byGroup, weightedForces
from .options import Options
from .regions import Region
from .report import ForceReport, MixedReport, RegionReport
from .restraints import RestraintJudge
from .supported import RECHARGED_NAME, Role, forceRoles
from .terms import className, copyForce, copyWithoutForces, splitForce, termAtoms

_Grouped = list[tuple[int, openmm.Force]]


class Assembly:
    """A mixed System in the making.

    Parameters
    ----------
    topology : openmm.app.Topology
        Atoms and bonds.
    system : openmm.System
        The force field's System; never changed.
    regions : list of Region
        Complete regions.
    bonds : Connectivity
        The bond graph.
    options : Options
        Checked options.

    Attributes
    ----------
    new : openmm.System
        The System being built.
    report : MixedReport
        What was done so far.
    """

    def __init__(
        self, topology: Topology, system: openmm.System, regions: list[Region], bonds: Connectivity, options: Options
    ) -> None:
        self._topology = topology
        self._old = system
        self._regions = regions
        self._bonds = bonds
        self._options = options
        self._rules = [BondedRule(options.rule, region, bonds) for region in regions]
        self._owner = nonbonded.owners(regions)
        #: Regions that a term on a particle may belong to: the particle's own and those that it is bonded to.
        self._near: dict[int, set[int]] = {}
        for i, number in self._owner.items():
            for j in (i, *bonds.neighbours[i]):
                self._near.setdefault(j, set()).add(number)
        self._periodic = system.usesPeriodicBoundaryConditions()
        #: Taken out of the System: weighted by 1 - λ, by λ - 1, by λ and by -λ (by -1 without interpolation).
        self._replaced: _Grouped = []
        self._excluded: _Grouped = []
        self._recharged: _Grouped = []
        self._self_energies: _Grouped = []
        self._molecule_bonds: set[Pair] = set()
        self.new = copyWithoutForces(system)
        self.report = MixedReport(
            options.rule, linkCharge=options.linkCharge, interpolate=options.interpolate,
            lambdaName=options.lambdaName, cutoff_nm=options.cutoff_nm,
        )  # fmt: skip

    def _warn(self, text: str, depth: int) -> None:
        """Note and warn; `depth` counts the calls up to the caller of the builder."""
        self.report.notes.append(text)
        warnings.warn(text, UserWarning, stacklevel=depth)

    # ---- forces

    def divideForces(self, keep: set[int], force_field: set[int]) -> None:
        """Copy every force into the new System without what the model replaces.

        Parameters
        ----------
        keep : set of int
            Forces to copy as they are.
        force_field : set of int
            Forces whose terms are no restraints.
        """
        forces = self._old.getForces()
        judge = RestraintJudge(self._bonds, forces)
        roles = forceRoles(self._old, self._owner.keys(), keep)
        self._plan_charges()
        for index, (force, role) in enumerate(zip(forces, roles, strict=True)):
            entry = ForceReport(index, force.getName(), className(force), role.value)
            self.report.forces.append(entry)
            if role is Role.TERMS:
                self._divide_terms(force, entry, judge, index in force_field)
            elif role is Role.NONBONDED:
                self._divide_nonbonded(force, entry)
            elif role is Role.CUSTOM_NONBONDED:
                self._divide_custom_nonbonded(force, entry)
            else:
                self.new.addForce(copyForce(force))

    def _divide_terms(self, force: openmm.Force, entry: ForceReport, judge: RestraintJudge, certain: bool) -> None:
        removed = []
        for index, atoms in enumerate(termAtoms(force)):
            if self._near.keys().isdisjoint(atoms):
                continue
            restraint = not certain and judge.isRestraint(entry.kind, atoms)
            if self._is_replaced(atoms, restraint):
                removed.append(index)
                entry.removed.append(atoms)
            elif restraint and not self._owner.keys().isdisjoint(atoms):
                entry.restraints.append(atoms)
        entry.kept = len(termAtoms(force)) - len(removed)
        if not removed:
            self.new.addForce(copyForce(force))
            return
        kept, taken = splitForce(force, removed)
        self.new.addForce(kept)
        self._replaced.append((force.getForceGroup(), taken))
        self._molecule_bonds.update(
            ordered(*atoms) for atoms in entry.removed if len(atoms) == 2 and self._bonds.bonded(*atoms)
        )

    def _is_replaced(self, atoms: tuple[int, ...], restraint: bool) -> bool:
        if not restraint:
            numbers = set().union(*(self._near.get(i, ()) for i in atoms))
            return any(self._rules[number].replaces(atoms) for number in numbers)
        # None marks an atom of no region, so a term half inside is no term of one region.
        holders = {self._owner.get(i) for i in atoms}
        return self._options.removeRestraints and len(holders) == 1 and None not in holders

    def _divide_nonbonded(self, force: openmm.NonbondedForce, entry: ForceReport) -> None:
        group = force.getForceGroup()
        subtract = bool(self._options.mlLongRange) and self._periodic and nonbonded.isLatticeSum(force)
        mixed = copyForce(force)
        recharge = bool(self.report.chargeChanges) and any(charging.particleCharges(force))
        if recharge:
            charging.applyCharges(mixed, self.report.chargeChanges, self._bonds)
        entry.pairs = nonbonded.excludeRegions(mixed, self._regions, subtract)
        if subtract:
            parts = [nonbonded.latticeSelfEnergy(force, region) for region in self._regions]
            self._self_energies += [(group, part) for part in parts]
        if force.usesPeriodicBoundaryConditions():
            mixed.setExceptionsUsePeriodicBoundaryConditions(True)
        if self._options.interpolate and recharge:
            # New charges act on everything, so nothing short of both whole forces interpolates between them.
            self._recharged.append((group, mixed))
            self._replaced.append((group, copyForce(force)))
            return
        self.new.addForce(mixed)
        if self._options.interpolate:
            plus, minus = nonbonded.regionEnergy(force, self._regions, subtract)
            self._replaced += [(group, part) for part in plus]
            self._excluded += [(group, part) for part in minus]

    def _divide_custom_nonbonded(self, force: openmm.CustomNonbondedForce, entry: ForceReport) -> None:
        if self.report.chargeChanges:
            charging.checkCustomCharges(force, self._options.linkCharge)
        mixed = copyForce(force)
        entry.pairs = nonbonded.excludeRegionsCustom(mixed, self._regions)
        self.new.addForce(mixed)
        if self._options.interpolate:
            part = nonbonded.regionEnergyCustom(force, self._regions)
            if part is not None:
                self._replaced.append((force.getForceGroup(), part))

    def _plan_charges(self) -> None:
        charged = charging.chargedForces(self._old)
        if not charged:
            return
        charging.checkOneCharged(charged, self._options.linkCharge)
        values = charging.particleCharges(charged[0])
        changes = charging.planCharges(values, self._regions, self._bonds, self._options.linkCharge)
        self.report.chargeChanges = changes
        total = sum(values)
        self.report.totalCharge = (total, total + sum(c.after - c.before for c in changes))

    # ---- constraints and molecules

    def removeConstraints(self, reference: openmm.System | None) -> None:
        """Remove constraints inside regions; with interpolation, put back what they stood for.

        Parameters
        ----------
        reference : openmm.System or None
            The System without constraints.
        """
        found = constraining.removeConstraints(self.new, self._regions, self._options.removeConstraints)
        self.report.constraints = found
        self._molecule_bonds.update(found.removed)
        restored: list[openmm.Force] = []
        if reference is not None:
            restored = constraining.constrainedTerms(reference, self._old, found.removed, self._rules)
            self.report.restoredTerms = sum(len(termAtoms(force)) for force in restored)
            self._replaced += [(force.getForceGroup(), force) for force in restored]
        if self._options.interpolate:
            free = constraining.freePairs(found.removed, [*self._old.getForces(), *restored])
            if free:
                self._warn(
                    f"{len(free)} removed constraints (the first between atoms {free[0][0]} and {free[0][1]}) have no "
                    f"bond term on the force-field side: near {self._options.lambdaName}=0 nothing holds these atoms "
                    "together. Give referenceSystem, or create the System with flexibleConstraints=True.",
                    depth=4,
                )
        if found.across:
            self.report.notes.append(
                f"{len(found.across)} constraints join a region to its surroundings and stay; the model's force along "
                "them has no effect."
            )

    def keepMolecules(self) -> None:
        """Join atoms whose bond is gone by bonds without strength, from which OpenMM tells molecules."""
        if not self._molecule_bonds:
            return
        force = openmm.HarmonicBondForce()
        force.setName("NequIPMolecules")
        for i, j in sorted(self._molecule_bonds):
            force.addBond(i, j, 0.1, 0.0)
        self.report.molecules = force.getNumBonds()
        self.new.addForce(force)

    # ---- the model

    def addModel(self, addModelForces: Any) -> None:
        """Add the model's force, and with interpolation everything that is weighted by λ.

        Parameters
        ----------
        addModelForces : callable
            See :class:`openmm_nequip.mixed.builder.AddModelForces`.

        Raises
        ------
        ValueError
            If it returns something other than new forces, or a force that ignores a periodic System's periodicity.
        """
        name = self._options.lambdaName if self._options.interpolate else None
        group = self._options.forceGroup
        forces = addModelForces(
            system=self.new, regions=list(self._regions), periodic=self._periodic, forceGroup=group, lambdaName=name
        )
        self._check_model_forces(forces)
        if name is None:
            for force in forces:
                force.setForceGroup(group)
                self.new.addForce(force)
            self._add_weighted("NequIPRegionSelfEnergy", "-1", self._self_energies, None)
            return
        self._add_weighted("NequIPInterpolatedModel", name, [(group, force) for force in forces], name)
        self._add_weighted("NequIPRegionSelfEnergy", f"-{name}", self._self_energies, name)
        self._add_weighted(RECHARGED_NAME, name, self._recharged, name)
        self._add_weighted("NequIPInterpolatedForceField", f"1-{name}", self._replaced, name)
        self._add_weighted("NequIPInterpolatedExclusions", f"{name}-1", self._excluded, name)

    def _add_weighted(self, label: str, weight: str, forces: _Grouped, name: str | None) -> None:
        for group, members in byGroup(forces).items():
            for force in weightedForces(label, weight, members, group, name):
                self.new.addForce(force)

    def _check_model_forces(self, forces: Any) -> None:
        if not isinstance(forces, Sequence) or not forces or not all(isinstance(f, openmm.Force) for f in forces):
            raise ValueError(
                f"addModelForces returned {forces!r}. Expected a list of at least one openmm.Force that is in no "
                "System yet."
            )
        for force in forces:
            if self._periodic and not force.usesPeriodicBoundaryConditions():
                raise ValueError(
                    f"The model's {className(force)} does not use periodic boundary conditions, but the System does. "
                    "Call force.setUsesPeriodicBoundaryConditions(True) and take minimum images in the force."
                )

    # ---- report

    def finishReport(self, positions: Any) -> None:
        """Add charges and distances of the regions to the report.

        Parameters
        ----------
        positions : array_like, shape (n, 3), or None
            Positions in nm or as a quantity.
        """
        charged = charging.chargedForces(self._old)
        values = charging.particleCharges(charged[0]) if charged else None
        points = self._points(positions)
        for number, region in enumerate(self._regions):
            entry = RegionReport(region)
            self.report.regions.append(entry)
            if values is not None:
                entry.charge = sum(values[i] for i in region.particles)
                self._check_charge(number, entry.charge)
            if points is not None and self._periodic:
                vectors = [v.value_in_unit(unit.nanometer) for v in self._old.getDefaultPeriodicBoxVectors()]
                box, cluster = np.array(vectors, dtype=float), points[list(region.atoms)]
                entry.nearestImage_nm = nearestImage(cluster, box)
                self._check_image(number, entry.nearestImage_nm)
                self._check_share(number, boxShare(cluster, box))

    def _points(self, positions: Any) -> np.ndarray | None:
        if positions is None:
            return None
        values = positions.value_in_unit(unit.nanometer) if unit.is_quantity(positions) else positions
        points = np.array([tuple(p) for p in values], dtype=float)
        if points.shape != (self._old.getNumParticles(), 3) or not np.isfinite(points).all():
            raise ValueError(
                f"positions have the shape {points.shape} or hold numbers that are not finite. Expected "
                f"({self._old.getNumParticles()}, 3) positions in nm, one for each particle."
            )
        return points

    def _check_charge(self, number: int, charge: float) -> None:
        if abs(charge - round(charge)) > charging.INTEGER_TOLERANCE:
            self._warn(
                f"The force-field charges of region {number} sum to {charge:+.4f} e, which is no whole number. The "
                "model describes a whole charge; cut between neutral groups, or see linkCharge.",
                depth=5,
            )

    def _check_share(self, number: int, share: float) -> None:
        if share > 0.5:
            self.report.notes.append(
                f"Region {number} takes up {share:.0%} of the box in one direction. Exclusions act on nearest images: "
                "atoms further apart than half the box keep their force-field interaction and an image loses it."
            )

    def _check_image(self, number: int, distance: float) -> None:
        cutoff = self._options.cutoff_nm
        if cutoff is not None and distance < cutoff:
            self._warn(
                f"Region {number} comes within {distance:.3f} nm of its own periodic image, closer than the model's "
                f"cutoff of {cutoff:.3f} nm: the model would act between images. Use a larger box.",
                depth=5,
            )
