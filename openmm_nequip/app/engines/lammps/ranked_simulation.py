"""A Simulation whose steps are taken by the ranks; its Context mirrors what they have.

Reporters, checkpoints and whoever else knows OpenMM's Simulation use it as any other. What somebody sets in the
Context, positions, velocities, box or step, is told to the ranks before they go on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ....units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from .lammps_input import Dynamics
from .rank_processes import RankProcesses

_PER_NM = 1.0 / NM_PER_ANGSTROM
_FORCE = KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM
_ATTRIBUTES_OF_ITS_OWN = ("getStepCount", "getIntegrator", "getSystem", "getPlatform")


class RankedSimulation(app.Simulation):
    """A Simulation on ranks.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms.
    system : openmm.System
        Their masses; its barostat, if any, says at which pressure the ranks keep them.
    integrator : openmm.Integrator
        Step size, and for a ``LangevinMiddleIntegrator`` temperature, friction and seed; it takes no steps.
    ranks : RankProcesses
        Who takes them.
    """

    def __init__(
        self, topology: app.Topology, system: openmm.System, integrator: openmm.Integrator, ranks: RankProcesses
    ) -> None:
        super().__init__(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
        self.context: Any = MirrorContext(self.context, _dynamics(system, integrator), ranks)
        self.integrator = RankedIntegrator(integrator, self.context)

    def minimizeEnergy(
        self,
        tolerance: Any = 10 * unit.kilojoules_per_mole / unit.nanometer,
        maxIterations: int = 0,
        reporter: Any = None,
    ) -> None:
        """Relax the positions; arguments as of OpenMM's, the reporter is not asked."""
        of_force = unit.kilojoules_per_mole / unit.nanometer
        force = tolerance.value_in_unit(of_force) if unit.is_quantity(tolerance) else tolerance
        self.context.minimize(float(force), maxIterations)


class RankedIntegrator:
    """An integrator whose steps are those of the ranks.

    Parameters
    ----------
    integrator : openmm.Integrator
        Knows everything else.
    context : MirrorContext
        Its Context.
    """

    def __init__(self, integrator: openmm.Integrator, context: MirrorContext) -> None:
        self._integrator, self._context = integrator, context

    def step(self, steps: int) -> None:
        """Let the ranks take steps."""
        self._context.step(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._integrator, name)


class MirrorContext:
    """A Context without forces in which the ranks' atoms are to be seen.

    Parameters
    ----------
    context : openmm.Context
        On the Reference platform, which keeps float64.
    dynamics : Dynamics
        How the ranks take steps.
    ranks : RankProcesses
        Who have the atoms.
    """

    def __init__(self, context: openmm.Context, dynamics: Dynamics, ranks: RankProcesses) -> None:
        self._context = context
        self._dynamics = dynamics
        self._ranks = ranks
        system = context.getSystem()
        self._n_atoms = system.getNumParticles()
        self._masses = np.array([[system.getParticleMass(i)._value] for i in range(self._n_atoms)])
        self._periodic = context.getSystem().usesPeriodicBoundaryConditions()
        self._known: tuple[Any, ...] | None = None
        self._behind = False
        self._forces = np.zeros((0, 3))

    def __getattr__(self, name: str) -> Any:
        if name not in _ATTRIBUTES_OF_ITS_OWN:
            self._refresh()
        return getattr(self._context, name)

    def step(self, steps: int) -> None:
        """Let the ranks take steps."""
        self._tell()
        self._ranks.run(steps)
        self._moved()

    def minimize(self, tolerance: float, iterations: int) -> None:
        """Let the ranks relax the positions until the root mean square of force components is below ``tolerance``,
        kJ/mol/nm."""
        self._tell()
        length = tolerance / _FORCE * np.sqrt(3 * self._n_atoms)
        self._ranks.minimize(float(length), iterations or 10 * self._n_atoms)
        self._moved()

    def getState(self, *args: Any, **wanted: Any) -> Any:
        """As OpenMM's, with the ranks' energy and forces."""
        if not (wanted.get("energy") or wanted.get("forces")):
            self._refresh()
            return self._context.getState(*args, **wanted)
        self._tell()
        self._refresh()
        return MirrorState(self._context.getState(*args, **wanted), self._ranks.report["energy"], self._forces)

    @property
    def pressure(self) -> float:
        """Instantaneous pressure of the present atoms, bar."""
        self._tell()
        return float(self._ranks.report["pressure"])

    def _moved(self) -> None:
        self._behind = True
        self._context.setStepCount(self._ranks.report["step"])

    def _refresh(self) -> None:
        """Take over what the ranks have moved."""
        if not self._behind:
            return
        found = self._ranks.assemble()
        context, report = self._context, self._ranks.report
        if self._periodic:
            box = np.array(report["box"])
            first = np.array(context.getState().getPeriodicBoxVectors(asNumpy=True)._value)
            # All directions alike: the shape stays exactly as it was.
            context.setPeriodicBoxVectors(*(first * (box[0, 0] * NM_PER_ANGSTROM / first[0, 0])))
        context.setPositions(found.positions * NM_PER_ANGSTROM)
        context.setVelocities(found.velocities * NM_PER_ANGSTROM)
        context.setTime(report["step"] * self._dynamics.timestep)
        self._forces = found.forces * _FORCE
        self._behind = False
        self._known = self._seen()

    def _seen(self) -> tuple[Any, ...]:
        state = self._context.getState(positions=True, velocities=True)
        return (
            np.array(state.getPositions(asNumpy=True)._value),
            np.array(state.getVelocities(asNumpy=True)._value),
            np.array(state.getPeriodicBoxVectors(asNumpy=True)._value),
            self._context.getStepCount(),
        )

    def _tell(self) -> None:
        """Give the ranks what was set in the Context since they were last heard."""
        if self._behind:
            return
        seen = self._seen()
        if self._known is not None and all(np.array_equal(a, b) for a, b in zip(seen, self._known, strict=True)):
            return
        positions, velocities, box, step = seen
        # As OpenMM's CMMotionRemover does, which the System has.
        velocities = velocities - (self._masses * velocities).sum(axis=0) / self._masses.sum()
        self._ranks.load(
            positions * _PER_NM, velocities * _PER_NM, box * _PER_NM if self._periodic else None, step, self._dynamics
        )  # fmt: skip
        self._known = seen
        self._forces = self._ranks.assemble().forces * _FORCE


class MirrorState:
    """A State with energy and forces that its Context has not computed.

    Parameters
    ----------
    state : openmm.State
        All else.
    energy : float
        eV.
    forces : numpy.ndarray, (n_atoms, 3) float64
        kJ/mol/nm.
    """

    def __init__(self, state: openmm.State, energy: float, forces: np.ndarray) -> None:
        self._state, self._energy, self._forces = state, energy, forces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def getPotentialEnergy(self) -> unit.Quantity:
        """Of the model."""
        return self._energy * KJ_PER_MOL_PER_EV * unit.kilojoule_per_mole

    def getForces(self, asNumpy: bool = False) -> unit.Quantity:
        """Of the model, always as an array (n_atoms, 3)."""
        return self._forces * unit.kilojoule_per_mole / unit.nanometer


class PressureGauge:
    """Tells the pressure of a Context on ranks, as a barostat does of others."""

    def computeCurrentPressure(self, context: MirrorContext) -> float:
        """Instantaneous pressure, bar."""
        return context.pressure


def _dynamics(system: openmm.System, integrator: openmm.Integrator) -> Dynamics:
    """What an integrator and a System's barostat ask for."""
    timestep = integrator.getStepSize().value_in_unit(unit.picosecond)
    pressure = None
    for force in system.getForces():
        if isinstance(force, openmm.MonteCarloBarostat):
            pressure = float(force.getDefaultPressure().value_in_unit(unit.bar))
    if not isinstance(integrator, openmm.LangevinMiddleIntegrator):
        return Dynamics(timestep, pressure=pressure)
    return Dynamics(
        timestep,
        max(1, integrator.getRandomNumberSeed() % 900_000_000),
        integrator.getTemperature().value_in_unit(unit.kelvin),
        integrator.getFriction().value_in_unit(unit.picosecond**-1),
        pressure,
    )
