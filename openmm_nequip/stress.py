"""Stress and pressure of a System: the model's virial, and differences of the energy for everything else.

The stress is that of the whole System, dE/d(strain) per volume and its kinetic part, positive under tension; the
pressure is minus a third of its trace:

    stress_ab V = dU/d(strain_ab) - sum_u P_ua P_ub / M_u,      pressure V = (sum_u P_u^2 / M_u) / 3 - V dU/dV.

A strain moves *units* u of mass M_u and momentum P_u by their centres, without turning or deforming them. A unit is an
atom, except where constraints join atoms (rigid water, bonds to hydrogen): those move together, because forces of
constraints are part of no energy. Any choice of units that keeps constrained atoms together has the same average; the
values at one instant differ. OpenMM's barostats move molecules by the mean position of their atoms, and so does
``scaled="molecules"``, which gives the pressure of ``MonteCarloBarostat.computeCurrentPressure``.

Shears are those of a lower triangular box (x moves with y and z, y with z), written symmetrically. For atoms that is
the stress tensor itself; with units that do not turn, only averages do not depend on the direction of the shear.

References
----------
D. J. Tildesley, M. P. Allen, Computer Simulation of Liquids, 2nd ed. (2017), section 2.4 (atomic and molecular
virials); openmmapi/src/MonteCarloBarostatImpl.cpp of OpenMM.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm
import openmm.unit as unit

from .choices import MOLECULES_NAME
from .crystal import reduce_box
from .evaluate.evaluator import Evaluator
from .evaluate.placement import Placement
from .forces.spec import PotentialSpec
from .model_outputs import VirialSource, virial_source
from .units import BAR_PER_KJ_PER_MOL_PER_NM3

SCALED = ("atoms", "molecules")
#: Ends of the names of OpenMM's "forces" that act on velocities or the box.
_WITHOUT_ENERGY = ("Barostat", "Thermostat", "CMMotionRemover")
#: Strain of the central differences of smooth energies: their error is then 1e-7 or so of the elastic constants.
STRAIN = 1e-4
#: The same where there are non-bonded forces with cutoffs: pairs that pass a cutoff make steps in the energy, and only
#: a strain that takes many of them over it finds the mean slope. OpenMM's barostats take the same.
STRAIN_CUTOFFS = 1e-3
#: Where a strain may act in a box that has to stay lower triangular; the other three follow by rotation.
_STRAINS = ((0, 0), (1, 1), (2, 2), (1, 0), (2, 0), (2, 1))


def check_scaled(scaled: str) -> None:
    """Refuse a name that is none of :data:`SCALED`.

    Raises
    ------
    ValueError
        If it is unknown.
    """
    if scaled not in SCALED:
        raise ValueError(f"scaled={scaled!r} is unknown; use one of {', '.join(SCALED)}")


@dataclass(frozen=True, eq=False)
class Stress:
    """Stress at one instant.

    Parameters
    ----------
    potential : numpy.ndarray, (3, 3) float64
        Part of the energy, bar, positive under tension, in OpenMM's frame.
    kinetic : numpy.ndarray, (3, 3) float64
        Part of the momenta, bar; never positive on the diagonal.
    """

    potential: np.ndarray
    kinetic: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Both parts together, (3, 3) float64, bar."""
        return self.potential + self.kinetic

    @property
    def pressure(self) -> float:
        """Instantaneous pressure in bar: minus a third of the trace of the total."""
        return float(-np.trace(self.total) / 3)

    @property
    def potentialPressure(self) -> float:
        """-dU/dV in bar, the part of the pressure without motion."""
        return float(-np.trace(self.potential) / 3)


class StressCalculator:
    """Computes the stress of a System, whatever its forces are.

    The model's part comes from its virial where a PythonForce or a native force on plain atoms holds it and the model
    gives one; that of a native force from its GPU, if its Context is given. All the rest, which is the force field of a
    hybrid System, and the model too if it has link caps, a lambda parameter or another backend, comes from central
    differences of the energy under strain, in a Context of its own.

    Parameters
    ----------
    system : openmm.System
        Periodic; copied, later changes are not seen.
    scaled : str
        ``"atoms"``, or ``"molecules"`` as OpenMM's barostats do; see the module's text.
    platform : str
        OpenMM platform of the differences; ``"Reference"`` is slow and has double precision.
    strain : float, optional
        Step of the differences; :data:`STRAIN_CUTOFFS` where there are non-bonded forces, else :data:`STRAIN`.

    Raises
    ------
    ValueError
        If the System is not periodic or cannot be copied, or ``scaled`` is unknown.
    """

    def __init__(
        self, system: openmm.System, scaled: str = "atoms", platform: str = "CPU", strain: float | None = None
    ) -> None:
        check_scaled(scaled)
        if not isinstance(system, openmm.System):
            raise TypeError(f"StressCalculator got a {type(system).__name__}; give an openmm.System")
        if not system.usesPeriodicBoundaryConditions():
            raise ValueError(
                "the System has no periodic force, so no box, no volume and no pressure; create it from a topology "
                "with periodic box vectors"
            )
        n = system.getNumParticles()
        self._masses = np.array([system.getParticleMass(i)._value for i in range(n)])
        try:
            rest = copy.deepcopy(system)
        except Exception as error:  # OpenMMException, or whatever pickle raises
            raise ValueError(
                f"the System cannot be copied, which its stress needs: {error}. All its forces must be serialisable; "
                "a PythonForce needs a function that pickle can store"
            ) from error
        self._models: list[VirialSource] = []
        for index in reversed(range(rest.getNumForces())):
            found = _with_virial(rest.getForce(index), index, n)
            if found is not None:
                self._models.append(found)
            if found is not None or type(rest.getForce(index)).__name__.endswith(_WITHOUT_ENERGY):
                rest.removeForce(index)
        # Bonds without strength only tell what a molecule is.
        self._differences = any(force.getName() != MOLECULES_NAME for force in rest.getForces())
        self._context: openmm.Context | None = None
        if self._differences or scaled == "molecules":
            integrator = openmm.VerletIntegrator(0.001)
            self._context = openmm.Context(rest, integrator, openmm.Platform.getPlatformByName(platform))
        stepped = any("Nonbonded" in type(force).__name__ for force in rest.getForces())
        self._strain = strain if strain is not None else STRAIN_CUTOFFS if stepped else STRAIN
        self._unit_of = _units(rest, self._context if scaled == "molecules" else None)
        self._n_units = int(self._unit_of.max()) + 1 if n else 0
        # Massless units (a single virtual particle) have their centre where they are.
        massive = self._sum(self._masses[:, None])[self._unit_of, 0] > 0
        self._weights = np.where(massive & (scaled == "atoms"), self._masses, 1.0)[:, None]

    @property
    def usesVirial(self) -> bool:
        """Whether a part of the stress comes from a model's virial."""
        return bool(self._models)

    @property
    def usesDifferences(self) -> bool:
        """Whether a part of the stress comes from differences of the energy."""
        return self._differences

    def compute(
        self,
        state: openmm.State,
        parameters: Mapping[str, float] | None = None,
        tensor: bool = True,
        context: openmm.Context | None = None,
    ) -> Stress:
        """Stress of a State.

        Parameters
        ----------
        state : openmm.State
            With positions and velocities, not wrapped into the box (OpenMM's default). The velocities of leapfrog
            integrators lag half a step behind.
        parameters : mapping of str to float, optional
            Global parameters of the Context; their defaults otherwise.
        tensor : bool
            False gives the pressure alone for a sixth of the energies: of the differences' part each component on the
            diagonal is then the mean of the three, and the others are 0.
        context : openmm.Context, optional
            The Context that the State is of, still at its positions: a native force is then asked on its GPU.

        Returns
        -------
        Stress
        """
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        box = np.array(state.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
        velocities = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
        return Stress(self.potential(positions, box, parameters, tensor, context), self.kinetic(velocities, box))

    def kinetic(self, velocities: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Kinetic part of the stress.

        Parameters
        ----------
        velocities : numpy.ndarray, (n_particles, 3) float64
            nm/ps.
        box : numpy.ndarray, (3, 3) float64
            nm.

        Returns
        -------
        numpy.ndarray, (3, 3) float64
            bar.
        """
        momenta = self._sum(self._masses[:, None] * velocities)
        masses = self._sum(self._masses[:, None])
        moving = masses[:, 0] > 0
        product = np.einsum("ua,ub->ab", momenta[moving] / masses[moving], momenta[moving])
        return -product / np.linalg.det(box) * BAR_PER_KJ_PER_MOL_PER_NM3

    def potential(
        self,
        positions: np.ndarray,
        box: np.ndarray,
        parameters: Mapping[str, float] | None = None,
        tensor: bool = True,
        context: openmm.Context | None = None,
    ) -> np.ndarray:
        """Part of the stress that is the derivative of the energy.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm; constrained atoms, or molecules, in one piece.
        box : numpy.ndarray, (3, 3) float64
            nm, reduced.
        parameters, tensor, context
            As in :meth:`compute`.

        Returns
        -------
        numpy.ndarray, (3, 3) float64
            bar.

        Raises
        ------
        NonFiniteError
            If the model's answer is not finite.
        """
        positions = np.array(positions, dtype=np.float64)
        box = np.array(box, dtype=np.float64)
        centres = self._centres(positions)
        inside = positions - centres
        stress = np.zeros((3, 3))
        for source in self._models:
            (out,) = source.evaluate(positions, box, context)
            # The model's stress is for atoms that move each for itself; those of a unit move by its centre's strain.
            turned = inside[source.particles].T @ out["forces"] / np.linalg.det(box) * BAR_PER_KJ_PER_MOL_PER_NM3
            stress += out["stress"] + np.tril(turned) + np.tril(turned, -1).T
        if self._differences:
            stress += self._by_differences(positions, centres, box, parameters or {}, tensor)
        return stress

    def _by_differences(
        self,
        positions: np.ndarray,
        centres: np.ndarray,
        box: np.ndarray,
        parameters: Mapping[str, float],
        tensor: bool,
    ) -> np.ndarray:
        known = self._context.getParameters()  # type: ignore[union-attr]  # there are forces, so there is a Context
        for name, value in parameters.items():
            if name in known:
                self._context.setParameter(name, value)  # type: ignore[union-attr]
        derivatives = np.zeros((3, 3))
        if tensor:
            for place in _STRAINS:
                direction = np.zeros((3, 3))
                direction[place] = 1.0
                derivatives[place] = derivatives[place[::-1]] = self._derivative(positions, centres, box, direction)
        else:
            derivatives = self._derivative(positions, centres, box, np.eye(3)) / 3 * np.eye(3)
        return derivatives / np.linalg.det(box) * BAR_PER_KJ_PER_MOL_PER_NM3

    def _derivative(self, positions: np.ndarray, centres: np.ndarray, box: np.ndarray, direction: np.ndarray) -> float:
        """dE/d(strain) in kJ/mol, for row vectors r' = r + strain r @ direction."""
        energies = [
            self._energy(
                positions + sign * self._strain * centres @ direction, box + sign * self._strain * box @ direction
            )
            for sign in (1, -1)
        ]
        return (energies[0] - energies[1]) / (2 * self._strain)

    def _energy(self, positions: np.ndarray, box: np.ndarray) -> float:
        context: Any = self._context
        # A box on the edge of the reduced form leaves it under shear; the same lattice has other vectors.
        context.setPeriodicBoxVectors(*reduce_box(box)[0])
        context.setPositions(positions)
        context.computeVirtualSites()
        return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sums of (n_particles, k) over the units."""
        total = np.zeros((self._n_units, values.shape[1]))
        np.add.at(total, self._unit_of, values)
        return total

    def _centres(self, positions: np.ndarray) -> np.ndarray:
        """Centre of each particle's unit, (n_particles, 3)."""
        return (self._sum(self._weights * positions) / self._sum(self._weights))[self._unit_of]


def _with_virial(force: Any, index: int, n_particles: int) -> VirialSource | None:
    """A model's force, if the model's virial is the force's."""
    # Not by its name, which OpenMM 8.5 loses on the way through XML.
    if type(force).__name__ not in ("PythonForce", "Force"):  # a native force has no class of its own in Python
        return None
    source = virial_source(force, index, n_particles)
    if source is None or not isinstance(source.spec, PotentialSpec):
        return None
    spec = source.spec
    # Caps do not follow a strain: they stay at their distance.
    if not spec.periodic or spec.lambda_name is not None or spec.placement.n_caps or len(spec.placement.charged):
        return None
    return source if source.native or _gives_stress(spec.open()) else None


def _gives_stress(evaluator: Evaluator) -> bool:
    """Whether the model gives a virial, found out with one atom: of files of nequip <= 0.6 only some do."""
    model, units = evaluator.model, evaluator.units
    if model.gives_virial is not None:
        return model.gives_virial
    one = Evaluator(model, units, Placement(1, evaluator.placement.types[:1]), periodic=True, skin_nm=0.0)
    return "stress" in one.evaluate(np.zeros((1, 3)), np.eye(3) * 3 * model.info.reach * units.length)


def _units(system: openmm.System, context: openmm.Context | None) -> np.ndarray:
    """Number of each particle's unit, (n_particles,) int64: molecules of a Context, or what constraints join."""
    unit_of = np.arange(system.getNumParticles())
    if context is not None:
        for number, members in enumerate(context.getMolecules()):
            unit_of[list(members)] = number
        return unit_of
    joined = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
    for i in range(system.getNumParticles()):
        if system.isVirtualSite(i):
            site = system.getVirtualSite(i)
            joined += [(i, site.getParticle(k)) for k in range(site.getNumParticles())]

    def root(i: int) -> int:
        while unit_of[i] != i:
            unit_of[i] = unit_of[unit_of[i]]
            i = unit_of[i]
        return i

    for i, j in joined:
        unit_of[root(i)] = root(j)
    return np.unique([root(i) for i in range(len(unit_of))], return_inverse=True)[1]
