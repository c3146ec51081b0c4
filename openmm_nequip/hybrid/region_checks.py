"""What is to be said of finished regions: charges, several molecules, periodic images, what is left of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openmm
from openmm import unit

from . import charges as charging
from .build_options import HybridOptions
from .connectivity import Connectivity
from .force_copies import describe_force
from .hybrid_report import MixedReport, RegionReport
from .images import box_share, image_distance
from .region_molecules import SeveralMolecules
from .regions import Region


class RegionChecks:
    """Looks at the regions of a build and writes what it finds into the report.

    Parameters
    ----------
    system : openmm.System
        The force field's System.
    regions : sequence of Region
        The regions.
    bonds : Connectivity
        The bond graph.
    options : HybridOptions
        The options.
    periodic : bool
        Whether the model is periodic.
    """

    def __init__(
        self,
        system: openmm.System,
        regions: Sequence[Region],
        bonds: Connectivity,
        options: HybridOptions,
        periodic: bool,
    ) -> None:
        self._old = system
        self._regions = regions
        self._bonds = bonds
        self._options = options
        self._classes = options.forceClasses
        self._periodic = periodic
        self._report = MixedReport(options.rule)
        self._charges: Sequence[float] = ()
        self._warnings: list[str] = []

    def _warn(self, text: str) -> None:
        self._report.notes.append(text)
        self._warnings.append(text)

    def finish(self, report: MixedReport, charges: Sequence[float]) -> list[str]:
        """Add regions and notes to a report.

        Parameters
        ----------
        report : MixedReport
            The report so far.
        charges : sequence of float
            Charges of all particles in e; none where no force has any.

        Returns
        -------
        list of str
            The notes that are to be warnings.

        Raises
        ------
        ValueError
            If the positions do not fit the System.
        """
        self._report, self._charges, self._warnings = report, charges, []
        points = self._points(self._options.positions)
        box = np.array([v.value_in_unit(unit.nanometer) for v in self._old.getDefaultPeriodicBoxVectors()], dtype=float)
        self._note_whole_system()
        for number, region in enumerate(self._regions):
            entry = RegionReport(region)
            self._report.regions.append(entry)
            if self._charges:
                entry.charge = sum(self._charges[i] for i in region.particles)
                self._check_charge(number, entry.charge)
            self._check_molecules(number, region, points, box if self._periodic else None)
            if points is not None and self._periodic:
                cluster = points[list(region.atoms)]
                entry.nearestImage_nm = image_distance(cluster, box)
                self._check_image(number, entry.nearestImage_nm)
                self._check_share(number, box_share(cluster, box))
        return self._warnings

    def _check_molecules(self, number: int, region: Region, points: np.ndarray | None, box: np.ndarray | None) -> None:
        """Say what several molecules in one region lose."""
        several = SeveralMolecules(region, self._bonds)
        if len(several.molecules) < 2:
            return
        cutoff = self._options.cutoff_nm
        reach = "the model's cutoff" if cutoff is None else f"the model's cutoff of {cutoff:.3f} nm"
        text = (
            f"Region {number} holds {len(several.molecules)} molecules. The force field's interactions between them "
            f"are gone, and the model has none beyond {reach}"
        )
        cure = (
            ". With splitRegions=True, or a region for each, they keep those of the force field; splitRegions=False "
            "says that this is meant and ends this warning."
        )
        if points is None or cutoff is None:
            matters = several.have_copies()
        else:
            apart = several.distance_beyond(cutoff, points, box)
            matters = apart is not None
            text += f"; two of them are {apart:.3f} nm apart" if matters else ""
        if matters and self._options.splitRegions is None:
            self._warn(text + cure)
        else:
            self._report.notes.append(text + ".")

    def _note_whole_system(self) -> None:
        """Say why a hybrid System in which the model describes everything is not the pure System."""
        if sum(len(region.particles) for region in self._regions) < self._old.getNumParticles():
            return
        left = []
        for force in self._old.getForces():
            row = self._classes.of(force)
            if isinstance(force, openmm.NonbondedForce) and force.usesPeriodicBoundaryConditions():
                if force.getUseDispersionCorrection():
                    left.append(f"the dispersion correction of {describe_force(force)}")
                if row.lattice_sum is not None and row.lattice_sum(force) and not self._options.mlLongRange:
                    left.append(f"the electrostatics of {describe_force(force)} between the periodic images")
            elif isinstance(force, openmm.CustomNonbondedForce) and force.getUseLongRangeCorrection():
                left.append(f"the long-range correction of {describe_force(force)}")
        if len(self._regions) > 1:
            left.append("the force field's interactions between the regions")
        if left:
            self._report.notes.append(
                f"The model describes all particles, but this is not the pure System: {', '.join(left)} stay as "
                "mechanical embedding has it. For the model alone use createSystem."
            )

    def _points(self, positions: Any) -> np.ndarray | None:
        if positions is None:
            return None
        try:
            values = positions.value_in_unit(unit.nanometer) if unit.is_quantity(positions) else positions
            points = np.array([tuple(p) for p in values], dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"positions of type {type(positions).__name__} are no positions. Expected "
                f"({self._old.getNumParticles()}, 3) numbers in nm, or a quantity of length."
            ) from error
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
                "model describes a whole charge; cut between neutral groups, or see linkCharge."
            )

    def _check_share(self, number: int, share: float) -> None:
        if share > 0.5:
            self._report.notes.append(
                f"Region {number} takes up {share:.0%} of the box in one direction. Exclusions act on nearest images: "
                "atoms further apart than half the box keep their force-field interaction and an image loses it."
            )

    def _check_image(self, number: int, distance: float) -> None:
        cutoff = self._options.cutoff_nm
        if cutoff is not None and distance < cutoff:
            self._warn(
                f"Region {number} comes within {distance:.3f} nm of its own periodic image, closer than the model's "
                f"cutoff of {cutoff:.3f} nm: the model would act between images. Use a larger box."
            )
