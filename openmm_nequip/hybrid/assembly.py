"""The steps of a build, in the order in which the builder takes them."""

from collections.abc import Sequence
from typing import Any

import openmm

from ..topology import molecules_force
from . import charges as charging
from . import constraints as constraining
from . import embedding
from .bonded import BondedRule
from .build_options import HybridOptions
from .connectivity import Connectivity, Pair, ordered
from .force_classes import Atoms, ForceClass, PairTask, Role, resolve_forces
from .force_copies import class_name, copy_force, copy_without_forces, describe_force
from .hybrid_report import ForceReport, MixedReport
from .interpolation import (
    EXCLUSIONS_NAME,
    FORCE_FIELD_NAME,
    MODEL_NAME,
    RECHARGED_NAME,
    SELF_ENERGY_NAME,
    by_group,
    weighted_forces,
)
from .nonbonded import region_pairs
from .provenance import RestraintJudge, Verdict
from .region_checks import RegionChecks
from .regions import Region, owners

_Grouped = list[tuple[int, openmm.Force]]


class Assembly:
    """A hybrid System in the making.

    Parameters
    ----------
    system : openmm.System
        The force field's System; never changed.
    regions : list of Region
        Complete regions.
    bonds : Connectivity
        The bond graph.
    options : HybridOptions
        Options that fit the System.
    periodic : bool
        Whether the model is periodic, see :func:`openmm_nequip.topology.is_periodic`.

    Attributes
    ----------
    new : openmm.System
        The System being built.
    report : MixedReport
        What was done so far.
    warnings : list of str
        Notes of the report that may spoil a simulation.
    """

    def __init__(
        self,
        system: openmm.System,
        regions: list[Region],
        bonds: Connectivity,
        options: HybridOptions,
        periodic: bool,
    ) -> None:
        self._old = system
        self._regions = regions
        self._bonds = bonds
        self._options = options
        self._classes = options.forceClasses
        self._rules = [BondedRule(options.rule, region, bonds) for region in regions]
        self._owner = owners(regions)
        #: Regions that a term on a particle may belong to: the particle's own and those that it is bonded to.
        self._near: dict[int, set[int]] = {}
        for i, number in self._owner.items():
            for j in (i, *bonds.neighbours[i]):
                self._near.setdefault(j, set()).add(number)
        self._periodic = periodic
        #: Charges of every force that has any.
        self._charges: list[tuple[openmm.Force, list[float]]] = []
        #: Taken out of the System: weighted by 1 - λ, by λ - 1, by λ and by -λ (by -1 without interpolation).
        self._replaced: _Grouped = []
        self._excluded: _Grouped = []
        self._recharged: _Grouped = []
        self._self_energies: _Grouped = []
        self._molecule_bonds: set[Pair] = set()
        self.new = copy_without_forces(system)
        self.report = MixedReport(
            options.rule, linkCharge=options.linkCharge, interpolate=options.interpolate,
            lambdaName=options.lambdaName, cutoff_nm=options.cutoff_nm,
        )  # fmt: skip
        self.warnings: list[str] = []

    def _warn(self, text: str) -> None:
        self.report.notes.append(text)
        self.warnings.append(text)

    def name_inferred_links(self, topology_has_bonds: bool) -> None:
        """Name cut bonds that the topology does not have; warn if it has others."""
        for number, region in enumerate(self._regions):
            for q, m in region.cuts:
                if ordered(q, m) not in self._bonds.inferred:
                    continue
                text = (
                    f"Region {number} cuts the bond of atoms {q} and {m}, which the topology does not have: "
                    "it was read from the forces or constraints. If it is a restraint, name its force in keepForces; "
                    "if it is a bond, add it to the topology."
                )
                if topology_has_bonds:
                    self._warn(text)
                else:
                    self.report.notes.append(text)

    # ---- forces

    def divide_forces(self) -> None:
        """Copy every force into the new System without what the model replaces.

        Raises
        ------
        ValueError
            If a force cannot be divided, or charges cannot be changed as asked.
        """
        keep = resolve_forces(self._old, self._options.keepForces, "keepForces")
        force_field = resolve_forces(self._old, self._options.forceFieldForces, "forceFieldForces")
        forces = self._old.getForces()
        judge = RestraintJudge(self._bonds, forces, self._classes)
        rows = self._classes.rows_for(self._old, self._owner.keys(), keep)
        self._plan_charges()
        task = PairTask(
            self._regions, self._bonds, self._options.linkCharge, self.report.chargeChanges,
            self._charges[0][1] if self._charges else (),
            subtract_lattice=bool(self._options.mlLongRange) and self._periodic, interpolate=self._options.interpolate,
        )  # fmt: skip
        for index, (force, row) in enumerate(zip(forces, rows, strict=True)):
            entry = ForceReport(index, force.getName(), row.name, row.action or row.role.value)
            self.report.forces.append(entry)
            if row.role is Role.TERMS:
                self._divide_terms(force, row, entry, None if index in force_field else judge)
            elif row.role is Role.PAIRS:
                self._divide_pairs(force, row, entry, task)
            else:
                self.new.addForce(copy_force(force))
                if row.role is Role.ASKED:
                    self._check_kept_pairs(force)

    def _check_kept_pairs(self, force: openmm.Force) -> None:
        """Warn of a force that was kept as asked and whose excluded pairs are not those of the other forces."""
        row = self._classes.of(force)
        if row.role is not Role.PAIRS or row.listed_pairs is None:
            return
        listed = row.listed_pairs(force)
        if any(pair not in listed for region in self._regions for pair in region_pairs(region.particles)):
            self._warn(
                f"{describe_force(force)} is kept as asked by keepForces and does not exclude the pairs of the region, "
                "as the other non-bonded forces now do. Of OpenMM's platforms only Reference makes a Context of both; "
                "leave it out of keepForces, or put it into a CustomCVForce of its own."
            )

    def _divide_terms(
        self, force: openmm.Force, row: ForceClass, entry: ForceReport, judge: RestraintJudge | None
    ) -> None:
        """Divide a force by its terms; without a judge none is a restraint."""
        removed: list[int] = []
        doubts: list[tuple[Atoms, Verdict]] = []
        terms = row.term_atoms(force)
        for index, atoms in enumerate(terms):
            if self._near.keys().isdisjoint(atoms):
                continue
            verdict = Verdict(False) if judge is None else judge.judge(entry.index, row, atoms)
            restraint = verdict.restraint
            if self._is_replaced(atoms, restraint):
                removed.append(index)
                entry.removed.append(atoms)
                doubts.append((atoms, verdict))
            elif restraint and not self._owner.keys().isdisjoint(atoms):
                entry.restraints.append(atoms)
                doubts.append((atoms, verdict))
        self._name_doubts(force, entry, [item for item in doubts if item[1].doubt])
        entry.kept = len(terms) - len(removed)
        if not removed:
            self.new.addForce(copy_force(force))
            return
        kept, taken = row.split(force, removed)
        self.new.addForce(kept)
        self._replaced.append((force.getForceGroup(), taken))
        self._molecule_bonds.update(
            ordered(*atoms) for atoms in entry.removed if len(atoms) == 2 and self._bonds.bonded(*atoms)
        )

    def _name_doubts(self, force: openmm.Force, entry: ForceReport, doubts: list[tuple[Atoms, Verdict]]) -> None:
        """Warn of terms that may be the force field's or a restraint."""
        for restraint in (True, False):
            some = [item for item in doubts if item[1].restraint is restraint]
            if not some:
                continue
            entry.doubtful += [atoms for atoms, _ in some]
            shown = ", ".join("-".join(map(str, atoms)) for atoms, _ in some[:5]) + ", ..." * (len(some) > 5)
            taken, why = ("restraints and kept", "few") if restraint else ("the force field's and removed", "not many")
            option = "forceFieldForces" if restraint else "keepForces"
            self._warn(
                f"Force {entry.index} {describe_force(force)}: the terms of atoms {shown} are taken for {taken}, since "
                f"there are {why} of them ({some[0][1].doubt}) and nothing else tells. If that is wrong, name the "
                f"force in {option}; if it is right, naming it in "
                f"{'keepForces' if restraint else 'forceFieldForces'} ends this warning."
            )

    def _is_replaced(self, atoms: Atoms, restraint: bool) -> bool:
        if not restraint:
            numbers = set().union(*(self._near.get(i, ()) for i in atoms))
            return any(self._rules[number].replaces(atoms) for number in numbers)
        # None marks an atom of no region, so a term half inside is no term of one region.
        holders = {self._owner.get(i) for i in atoms}
        return self._options.removeRestraints and len(holders) == 1 and None not in holders

    def _divide_pairs(self, force: openmm.Force, row: ForceClass, entry: ForceReport, task: PairTask) -> None:
        share = row.take_regions_out(force, task)
        entry.pairs, entry.pairsAre = share.pairs, row.pairs_are
        if share.kept is not None:
            self.new.addForce(share.kept)
        group = force.getForceGroup()
        self._self_energies += [(group, part) for part in share.self_energies]
        self._recharged += [(group, part) for part in share.recharged]
        self._replaced += [(group, part) for part in share.replaced]
        self._excluded += [(group, part) for part in share.excluded]

    def _plan_charges(self) -> None:
        if self._options.embedsElectrostatics:
            embedding.check_method(self._old)
        for force in self._old.getForces():
            row = self._classes.of(force)
            values = [] if row.charges is None else row.charges(force)
            if any(values):
                self._charges.append((force, values))
        scheme = self._options.linkCharge
        if not self._charges:
            if scheme != "keep" and any(region.cuts for region in self._regions):
                for force in self._old.getForces():
                    if isinstance(force, openmm.CustomNonbondedForce):
                        charging.check_custom_charges(force, scheme)
            return
        charging.check_one_charged([force for force, _ in self._charges], scheme)
        values = self._charges[0][1]
        changes = charging.plan_charges(values, self._regions, self._bonds, scheme)
        if self._options.embedsElectrostatics:
            changes = embedding.without_charges(values, self._regions, changes)
            scheme = embedding.SCHEME
            charging.check_one_charged([force for force, _ in self._charges], scheme)
            for force in self._old.getForces():
                if isinstance(force, openmm.CustomNonbondedForce):
                    charging.check_custom_charges(force, scheme, values)
        charging.check_charges_in_bonds(self._old.getForces(), changes, self._bonds, scheme)
        self.report.chargeChanges = changes
        total = sum(values)
        self.report.totalCharge = (total, total + sum(c.after - c.before for c in changes))

    # ---- constraints and molecules

    def remove_constraints(self) -> None:
        """Remove constraints inside regions; with interpolation, put back what they stood for.

        Raises
        ------
        ValueError
            If the reference System has other particles.
        """
        found = constraining.remove_constraints(
            self.new, self._regions, self._options.removeConstraints, self._options.rule
        )
        self.report.constraints = found
        self._molecule_bonds.update(found.removed)
        restored: list[openmm.Force] = []
        reference = self._options.referenceSystem
        if reference is not None:
            restored = constraining.constrained_terms(
                reference, self._old, found.removed, self._rules, self._classes
            )
            self.report.restoredTerms = sum(len(self._classes.of(force).term_atoms(force)) for force in restored)
            self._replaced += [(force.getForceGroup(), force) for force in restored]
        if self._options.interpolate:
            free = constraining.free_pairs(found.removed, [*self._old.getForces(), *restored], self._classes)
            if free:
                self._warn(
                    f"{len(free)} removed constraints (the first between atoms {free[0][0]} and {free[0][1]}) have no "
                    f"bond term on the force-field side: near {self._options.lambdaName}=0 nothing holds these atoms "
                    "together. Give referenceSystem, or create the System with flexibleConstraints=True."
                )
        self._note_constraints(found)

    def _note_constraints(self, found: constraining.Constraints) -> None:
        """Say what the constraints that stay, and rigid waters taken apart, mean for the model."""
        if len(found.inside) > constraining.FEW and self._options.removeConstraints is None:
            self._warn(
                f"{len(found.inside)} constraints inside the region stay, as GROMACS leaves them: the model's force "
                "along them has no effect. Without constraints in the force field (constraints = none), or with "
                "removeConstraints=True, these bonds follow the model."
            )
        torn = [(atoms, loose) for atoms, loose in found.settles if loose]
        if torn:
            atoms, loose = torn[0]
            self._warn(
                f"{len(torn)} rigid waters with two of three atoms in the region (the first of atoms "
                f"{'-'.join(map(str, atoms))}) lose all three constraints, as in GROMACS: no term of the force field "
                f"holds atom {loose[0]} to the others any more. Put whole waters into the region or none of their "
                "atoms."
            )
        if found.across:
            self.report.notes.append(
                f"{len(found.across)} constraints join a region to its surroundings and stay; the model's force along "
                "them has no effect."
            )

    def keep_molecules(self) -> None:
        """Join atoms whose bond is gone by bonds without strength, from which OpenMM tells molecules."""
        if self._molecule_bonds and self._options.declareMolecules:
            self.report.molecules = len(self._molecule_bonds)
            self.new.addForce(molecules_force(sorted(self._molecule_bonds)))

    # ---- the model

    def add_model(self, add_model_forces: Any) -> None:
        """Add the model's force, and with interpolation everything that is weighted by λ.

        Parameters
        ----------
        add_model_forces : callable
            See :class:`openmm_nequip.hybrid.builder.AddModelForces`.

        Raises
        ------
        ValueError
            If it returns something other than new forces, or a force that ignores a periodic System's periodicity.
        """
        name = self._options.lambdaName if self._options.interpolate else None
        group = self._options.forceGroup
        if self._options.embedsElectrostatics:
            values = self._charges[0][1] if self._charges else [0.0] * self._old.getNumParticles()
            note = add_model_forces.embed(embedding.charges_around(values, self._regions, self.report.chargeChanges))
            if note:
                self._warn(note)
        forces = add_model_forces(
            system=self.new, regions=list(self._regions), periodic=self._periodic, forceGroup=group, lambdaName=name
        )
        self._check_model_forces(forces)
        if name is None:
            for force in forces:
                force.setForceGroup(group)
                self.new.addForce(force)
            self._add_weighted(SELF_ENERGY_NAME, "-1", self._self_energies, None)
            return
        self._add_weighted(MODEL_NAME, name, [(group, force) for force in forces], name)
        self._add_weighted(SELF_ENERGY_NAME, f"-{name}", self._self_energies, name)
        self._add_weighted(RECHARGED_NAME, name, self._recharged, name)
        self._add_weighted(FORCE_FIELD_NAME, f"1-{name}", self._replaced, name)
        self._add_weighted(EXCLUSIONS_NAME, f"{name}-1", self._excluded, name)

    def _add_weighted(self, label: str, weight: str, forces: _Grouped, name: str | None) -> None:
        for group, members in by_group(forces).items():
            for force in weighted_forces(label, weight, members, group, name):
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
                    f"The model's {class_name(force)} does not use periodic boundary conditions, but the System does. "
                    "Call force.setUsesPeriodicBoundaryConditions(True) and take minimum images in the force."
                )

    # ---- report

    def finish_report(self) -> None:
        """Add charges, molecules and distances of the regions to the report.

        Raises
        ------
        ValueError
            If the positions do not fit the System.
        """
        values = self._charges[0][1] if self._charges else []
        checks = RegionChecks(self._old, self._regions, self._bonds, self._options, self._periodic)
        self.warnings += checks.finish(self.report, values)
