"""What the models of a Context give beside energy and forces: atomic energies and stress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm

from .errors import SavedSystemError
from .evaluate.evaluator import Evaluator
from .forces.acting import potential_of
from .forces.native.device_outputs import device_outputs, runs_on_device
from .forces.spec import PotentialSpec, SumSpec
from .upstream.openmm_state import box_of, positions_of


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """What a model gives for a Context.

    Parameters
    ----------
    path : str
        The model file.
    force : int
        Index of its force in the System.
    atoms : numpy.ndarray, (n_atoms,) int64
        Particles that it describes.
    energy : float
        kJ/mol, at full strength whatever a lambda parameter is.
    forces : numpy.ndarray, (n_particles, 3) float64
        On all particles, kJ/mol/nm.
    atomicEnergies : numpy.ndarray, (n_atoms,) float64, or None
        kJ/mol; None where the model gives none.
    capEnergies : numpy.ndarray, (n_caps,) float64, or None
        The same of link caps.
    stress : numpy.ndarray, (3, 3) float64, or None
        dE/d(strain)/V of the model's nodes in bar, positive under tension; link caps are strained as if they were
        atoms. None where nothing is periodic, or the model gives none.
    """

    path: str
    force: int
    atoms: np.ndarray
    energy: float
    forces: np.ndarray
    atomicEnergies: np.ndarray | None
    capEnergies: np.ndarray | None
    stress: np.ndarray | None


class VirialSource:
    """A force of one or several models, asked for all that they give: on its device if it has kernels, else in Python.

    Parameters
    ----------
    index : int
        Of the force in its System.
    spec : PotentialSpec or SumSpec
        Its potential.
    particles : numpy.ndarray, (n,) int64
        System index of each particle that it is given.
    native : bool
        Whether it is a native force.
    """

    def __init__(self, index: int, spec: PotentialSpec | SumSpec, particles: np.ndarray, native: bool) -> None:
        self.index, self.spec, self.particles, self.native = index, spec, particles, native
        self._evaluators: list[Evaluator] | None = None

    def evaluate(
        self, positions: np.ndarray | None, box: np.ndarray | None, context: openmm.Context | None = None
    ) -> list[dict[str, Any]]:
        """What :meth:`Evaluator.evaluate` gives, for each part of the potential.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64, optional
            nm, of the System; that of the Context by default.
        box : numpy.ndarray, (3, 3) float64, optional
            nm; as positions.
        context : openmm.Context, optional
            Has these positions. A native force on a platform of GPUs is asked there.

        Returns
        -------
        list of dict
        """
        if self.native and context is not None and runs_on_device(context):
            return device_outputs(context.getSystem().getForce(self.index), context, self.spec)
        if positions is None and context is not None:
            state = context.getState(positions=True)
            positions, box = positions_of(state), box_of(state)
        if self._evaluators is None:
            self._evaluators = [part.open() for part in self.spec.parts]
        return [
            evaluator.evaluate(np.asarray(positions)[self.particles], box if part.periodic else None)
            for evaluator, part in zip(self._evaluators, self.spec.parts, strict=True)
        ]


def virial_source(force: openmm.Force, index: int, count: int) -> VirialSource | None:
    """A force of a System of ``count`` particles, if its potential can be read."""
    # Not by its name, which OpenMM 8.5 loses on the way through XML; a native force has no class of its own in Python.
    known = potential_of(force, count)
    return None if known is None else VirialSource(index, *known, native=type(force).__name__ == "Force")


class OutputCalculator:
    """Asks the models of a Context for what they give beside energy and forces.

    A native force is asked on its GPU: the kernels run once more at the present positions, what they give is read from
    the device, and the Context's forces stay as they are. Others are evaluated in Python, at the Context's positions.

    Parameters
    ----------
    context : openmm.Context
        With forces of this package. Those in a TorchForce cannot be asked.

    Raises
    ------
    SavedSystemError
        If its System has no force whose model can be read.
    """

    def __init__(self, context: openmm.Context) -> None:
        self._context, system = context, context.getSystem()
        self._count = system.getNumParticles()
        sources = [virial_source(force, i, self._count) for i, force in enumerate(system.getForces())]
        self._sources = [source for source in sources if source is not None]
        if not self._sources:
            raise SavedSystemError(
                "the System has no force whose model can be asked; expected one made by this package with the backend "
                "Native or PythonForce (a TorchForce holds its model so that nobody else can use it)"
            )

    def compute(self) -> list[ModelOutputs]:
        """Ask, at the present positions.

        Returns
        -------
        list of ModelOutputs
            One for each model, or committee, of each force.

        Raises
        ------
        NonFiniteError
            If an answer is not finite.
        KernelsError
            If a device fails.
        """
        return [
            self._outputs(source, part, out)
            for source in self._sources
            for part, out in zip(source.spec.parts, source.evaluate(None, None, self._context), strict=True)
        ]

    def _outputs(self, source: VirialSource, part: PotentialSpec, out: dict[str, Any]) -> ModelOutputs:
        placement, atomic = part.placement, out.get("atomic_energies")
        n_atoms = len(placement.types) - placement.n_caps
        atoms = np.arange(n_atoms) if placement.atoms is None else placement.atoms
        forces = np.zeros((self._count, 3))
        forces[source.particles] = out["forces"]
        return ModelOutputs(
            path=part.origin,
            force=source.index,
            atoms=source.particles[atoms],
            energy=out["energy"],
            forces=forces,
            atomicEnergies=None if atomic is None else atomic[:n_atoms],
            capEnergies=None if atomic is None else atomic[n_atoms:],
            stress=out.get("stress"),
        )
