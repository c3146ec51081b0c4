"""What is checked: the System of a run in a Context, and the model alone on its atoms."""

from __future__ import annotations

import numpy as np
import openmm
import openmm.unit as unit

from ...deviation import Deviation
from ...evaluate.evaluator import Evaluator
from ...evaluate.placement import Placement
from ...hybrid.selection_text import select_text
from ...models import locate
from ...models.fused import training_neighbors
from ...models.opening import open_model
from ...models.units_in_force import units_of
from ...options import Options
from ...topology import atom_types
from ...units import Units
from ..run.hybrid_system import is_hybrid, model_options
from ..run.md_system import Setup, make_integrator, make_simulation
from ..run.run_config import RunConfig
from ..single_point import read_types


class CheckedSystem:
    """A system and its model.

    Parameters
    ----------
    config : RunConfig
        Settings of the run.
    setup : Setup
        Its structure and System.

    Attributes
    ----------
    atoms : numpy.ndarray, (n_atoms,) int64
        Indices of the atoms that the model describes.
    types : numpy.ndarray, (n_atoms,) int64
        Their model types.
    positions : numpy.ndarray, (n_particles, 3) float64
        As the structure has them, nm.
    box : numpy.ndarray, (3, 3) float64, or None
        nm.
    inputs : tuple of tuple of str and float
        What the model takes beside the structure.
    """

    def __init__(self, config: RunConfig, setup: Setup) -> None:
        self.config, self.setup = config, setup
        self.hybrid = is_hybrid(config)
        topology = setup.structure.topology
        chosen = select_text(topology, config.ml_atoms or "") if self.hybrid else range(topology.getNumAtoms())
        everything = list(topology.atoms())
        self.topology_atoms = [everything[i] for i in chosen]
        self.atoms = np.array(list(chosen), dtype=np.int64)
        self.positions, self.box = setup.structure.positions_nm, setup.structure.box_nm
        self.simulation = make_simulation(config, setup, make_integrator(config, thermostat=False))
        self.simulation.context.setPositions(self.positions)
        self.masses = np.array([setup.system.getParticleMass(i)._value for i in range(setup.system.getNumParticles())])
        execution = Options(**model_options(config)).execution
        self.inputs = execution.inputs
        self.model = open_model(locate(config.declared_model, config.trusted), execution.on(execution.device or "cpu"))
        self.units = units_of(self.model.info, config.length_unit, config.energy_unit)
        self.types = np.asarray(
            atom_types(self.model.info.type_names, self.topology_atoms, read_types(config.types)), dtype=np.int64
        )

    @property
    def cutoff_nm(self) -> float | None:
        """The model's cutoff in nm."""
        cutoff = self.model.info.cutoff
        return None if cutoff is None else cutoff * self.units.length

    @property
    def training_neighbors(self) -> float | None:
        """Mean number of neighbours in the model's training data, where its file states it."""
        source = locate(self.config.declared_model, self.config.trusted)
        return training_neighbors(source, self.inputs)

    @property
    def symbols(self) -> list[str]:
        """Element of each atom of the model."""
        return ["" if atom.element is None else atom.element.symbol for atom in self.topology_atoms]

    def answer(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy and forces of the whole System.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm.

        Returns
        -------
        tuple of float and numpy.ndarray, (n_particles, 3)
            kJ/mol and kJ/mol/nm.
        """
        context = self.simulation.context
        context.setPositions(positions)
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), np.asarray(forces)

    def deviation(self, positions: np.ndarray) -> Deviation | None:
        """How far the models of a committee are from each other.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm.

        Returns
        -------
        Deviation or None
            None for a single model.
        """
        if self.setup.asked is None:
            return None
        if self.setup.ranks is not None:  # they answer for the atoms that they have
            self.answer(positions)
        return self.setup.asked.compute(positions, self.box)

    def model_answer(
        self,
        positions: np.ndarray,
        box: np.ndarray | None,
        types: np.ndarray | None = None,
        units: Units | None = None,
    ) -> tuple[float, np.ndarray]:
        """Energy and forces of the model alone.

        Parameters
        ----------
        positions : numpy.ndarray, (n, 3) float64
            nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm, of any orientation.
        types : numpy.ndarray, (n,) int64, optional
            Model types; those of the model's atoms by default.
        units : Units, optional
            Other units than those of the run.

        Returns
        -------
        tuple of float and numpy.ndarray, (n, 3)
            kJ/mol and kJ/mol/nm.
        """
        types = self.types if types is None else types
        evaluator = Evaluator(self.model, units or self.units, Placement(len(types), types), box is not None, 0.0)
        return evaluator(np.ascontiguousarray(positions), box)

    @property
    def own_box(self) -> np.ndarray | None:
        """The box in which the model's atoms are looked at alone: none for a region."""
        return None if self.hybrid else self.box

    def rattled(self, size_nm: float, seed: int = 1) -> np.ndarray:
        """The structure with every particle that has a mass moved at random.

        Parameters
        ----------
        size_nm : float
            Standard deviation of a coordinate, nm.
        seed : int
            Of the random numbers.

        Returns
        -------
        numpy.ndarray, (n_particles, 3) float64
            nm.
        """
        moves = np.random.default_rng(seed).normal(0.0, size_nm, self.positions.shape)
        return self.positions + moves * (self.masses > 0)[:, None]

    def relax(self, iterations: int) -> np.ndarray:
        """Positions after some steps of minimisation, (n_particles, 3) in nm; the Context keeps them."""
        context = self.simulation.context
        context.setPositions(self.positions)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, iterations)
        state = context.getState(positions=True)
        return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
