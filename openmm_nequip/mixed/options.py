"""The options of the builder and what they may be."""

import re
from dataclasses import dataclass

import openmm
from openmm.app import Topology

from ..choices import RULES
from .charges import SCHEMES
from .covalent import elementBySymbol
from .nonbonded import isLatticeSum


@dataclass(frozen=True)
class Options:
    """Choices of one build; the builder's documentation says what each means."""

    rule: str
    removeConstraints: bool
    forceGroup: int
    interpolate: bool
    mlLongRange: bool | None
    linkElement: str
    linkCharge: str
    removeRestraints: bool
    lambdaName: str
    cutoff_nm: float | None

    def check(self, topology: Topology, system: openmm.System, reference: openmm.System | None) -> None:
        """Refuse values that cannot be used.

        Raises
        ------
        ValueError
            With the value and what to give instead.
        """
        if topology.getNumAtoms() != system.getNumParticles():
            raise ValueError(
                f"The topology has {topology.getNumAtoms()} atoms, the System {system.getNumParticles()} particles. "
                "Expected the same; use the topology that the System was created from (after adding extra particles)."
            )
        _one_of("rule", self.rule, RULES)
        _one_of("linkCharge", self.linkCharge, SCHEMES)
        for name in ("removeConstraints", "interpolate", "removeRestraints"):
            _one_of(name, getattr(self, name), (True, False))
        _one_of("mlLongRange", self.mlLongRange, (True, False, None))
        elementBySymbol(self.linkElement)
        if isinstance(self.forceGroup, bool) or not isinstance(self.forceGroup, int) or not 0 <= self.forceGroup < 32:
            raise ValueError(f"forceGroup is {self.forceGroup!r}. Expected a whole number from 0 to 31.")
        if not isinstance(self.lambdaName, str) or not re.fullmatch(r"[A-Za-z_]\w*", self.lambdaName):
            raise ValueError(
                f"lambdaName is {self.lambdaName!r}. Expected a name of letters, digits and underscores, as it stands "
                "in an OpenMM expression."
            )
        if self.cutoff_nm is not None and not self.cutoff_nm > 0:
            raise ValueError(f"cutoff_nm is {self.cutoff_nm!r}. Expected the model's cutoff in nm, above zero.")
        if reference is not None and not self.interpolate:
            raise ValueError(
                "referenceSystem is given without interpolate=True. It supplies bond terms for the force-field side of "
                "the interpolation only; leave it out or interpolate."
            )
        self._check_long_range(system)

    def _check_long_range(self, system: openmm.System) -> None:
        if not self.mlLongRange or not system.usesPeriodicBoundaryConditions():
            return
        if not any(isinstance(f, openmm.NonbondedForce) and isLatticeSum(f) for f in system.getForces()):
            raise ValueError(
                "mlLongRange=True, but no NonbondedForce of this periodic System uses Ewald, PME or LJPME, so there is "
                "no lattice sum of the region to subtract. Use a lattice sum or mlLongRange=False."
            )


def _one_of(name: str, value: object, allowed: tuple) -> None:
    if not any(value is item or type(value) is type(item) and value == item for item in allowed):
        raise ValueError(f"{name} is {value!r}. Expected one of {', '.join(map(repr, allowed))}.")
