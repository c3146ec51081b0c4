"""How far the models of a System's committee are from each other at given positions.

The formulas stand in :mod:`openmm_nequip.evaluate.spread`. Forces are those on particles: what acts on the cap of a cut
bond counts for the two atoms that it hangs on. A lambda parameter does not scale the answers: the models are asked, not
the System.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm

from .errors import CommitteeError, SavedSystemError
from .evaluate.evaluator import Evaluator
from .forces.saved import load_computation
from .forces.spec import PotentialSpec
from .models.format import COMMITTEE, TORCHMDNET_ENSEMBLE
from .units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM

#: What answers with a spread.
_SEVERAL = (COMMITTEE, TORCHMDNET_ENSEMBLE)


@dataclass(frozen=True, eq=False)
class Deviation:
    """How far models are from each other at one instant.

    Parameters
    ----------
    forces : numpy.ndarray, (n_particles,) float64
        Standard deviation of the force on each particle, kJ/mol/nm; 0 where no model acts.
    atoms : numpy.ndarray, (n_atoms,) int64
        Particles that the models describe.
    energy : float
        Standard deviation of the energy, kJ/mol.
    atomic_energy : float or None
        The largest standard deviation of an atom's energy, kJ/mol; None where models give none.
    bias : float
        What a bias adds to the energy, kJ/mol; 0 without one. A lambda parameter does not scale it here.
    """

    forces: np.ndarray
    atoms: np.ndarray
    energy: float
    atomic_energy: float | None = None
    bias: float = 0.0

    @property
    def atom(self) -> int:
        """The particle whose force is known least."""
        return int(self.forces.argmax())

    @property
    def largest(self) -> float:
        """The model deviation of the frame: that of :attr:`atom`, eV/Å."""
        return float(self.forces.max()) / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM

    @property
    def mean(self) -> float:
        """Mean over the models' atoms, eV/Å."""
        return float(self.forces[self.atoms].mean()) / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM


class DeviationCalculator:
    """Asks all models of a System's committee.

    Parameters
    ----------
    system : openmm.System
        With a committee, or an ensemble of TorchMD-Net; read once, later changes are not seen. Models in a TorchForce
        cannot be asked: give the same System made with ``backend="PythonForce"``.

    Raises
    ------
    CommitteeError
        If it has none that can be read.
    ModelFileError
        If a model is gone or has changed and is not embedded.
    """

    def __init__(self, system: openmm.System) -> None:
        self._n_particles = system.getNumParticles()
        self._parts = [found for force in system.getForces() for found in _committees(force, self._n_particles)]
        if not self._parts:
            raise CommitteeError(
                "the System has no committee whose models can be asked: make it with committee=[...] and the backend "
                "PythonForce (a TorchForce holds its models so that nobody else can use them)"
            )
        self._evaluators: list[Evaluator] | None = None

    @property
    def atoms(self) -> np.ndarray:
        """Particles that the models describe, (n_atoms,) int64, ascending."""
        return np.unique(np.concatenate([particles[_atoms_of(spec)] for spec, particles in self._parts]))

    def compute(self, positions: np.ndarray, box: np.ndarray | None = None) -> Deviation:
        """Ask.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm, any image.
        box : numpy.ndarray, (3, 3) float64, optional
            Box vectors in nm; None where nothing is periodic.

        Returns
        -------
        Deviation
            Of several committees in one System, which know nothing of each other, the squares are added.

        Raises
        ------
        NonFiniteError
            If an answer is not finite.
        """
        if self._evaluators is None:
            self._evaluators = [spec.open_whole() for spec, _ in self._parts]
        forces, energy, bias = np.zeros(self._n_particles), 0.0, 0.0
        atomic: list[float] = []
        for (spec, particles), evaluator in zip(self._parts, self._evaluators, strict=True):
            out = evaluator.evaluate(np.asarray(positions)[particles], box if spec.periodic else None)
            forces[particles] += out["forces_spread"] ** 2
            energy += out["energy_spread"] ** 2
            bias += out.get("bias", 0.0)
            if "atomic_energies_spread" in out:
                atomic.append(float(out["atomic_energies_spread"].max()))
        return Deviation(np.sqrt(forces), self.atoms, float(np.sqrt(energy)), max(atomic) if atomic else None, bias)


def _committees(force: openmm.Force, count: int) -> list[tuple[PotentialSpec, np.ndarray]]:
    """Committees of a force, each with the particles that it is given; none where its function cannot be read."""
    try:
        root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
    except Exception:  # a function that pickle cannot store, or a force that nobody can serialise
        return []
    found: list[tuple[PotentialSpec, np.ndarray]] = []
    for inside in root.iter():  # a lambda parameter has it within another force
        pickled = inside.get("function")
        if pickled is None:
            continue
        try:
            spec: Any = load_computation(bytes.fromhex(pickled)).spec
        except (SavedSystemError, ValueError):  # a user's own function, or none of Python
            continue
        chosen = [int(node.get("index", "-1")) for node in inside.iterfind("Particles/Particle")]
        particles = np.array(chosen or range(count), dtype=np.int64)
        found += [(part, particles) for part in spec.parts if part.source.kind in _SEVERAL]
    return found


def _atoms_of(spec: PotentialSpec) -> np.ndarray:
    placement = spec.placement
    return np.arange(placement.n_particles) if placement.atoms is None else placement.atoms
