"""Things that can be timed: a System in a Context, a model on a fixed graph, a neighbour list along a trajectory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import openmm
import openmm.unit as unit
import torch

from ...evaluate.evaluator import Evaluator
from ...evaluate.placement import Placement
from ...graph.graph import Edges, Graph
from ...graph.neighbors import DEFAULT_SKIN_NM, NeighborList
from ...graph.padding import PAD_DISTANCE, PaddedNeighborList
from ...models.base import Model, open_cell
from ...topology import atom_types
from ...units import Units
from ...upstream.nequip_state import tf32_allowed
from .bench_systems import TEMPERATURE_K, BenchSystem

STEP_PS = 0.0005
FRICTION_PER_PS = 1.0
#: Hotter than this, a model has left what it knows, and the next sample starts from the beginning again.
HOTTEST_K = 1000.0
#: Steps of the trajectory for the neighbour list: enough to use up the skin, few enough to keep the structure.
FRAMES = 40


class Result(NamedTuple):
    """What a contender says about the start of a system."""

    energy: float  #: kJ/mol
    forces: np.ndarray  #: (n_atoms, 3), kJ/mol/nm


class Runner:
    """Something that can be done again and again, and timed."""

    def evaluate(self) -> Result | None:
        """Energy and forces at the start; None for what computes none."""
        return None

    def advance(self, count: int) -> None:
        """Do the thing ``count`` times; returns when it is done, on a GPU too.

        Raises
        ------
        NotImplementedError
            Unless a subclass does it.
        """
        raise NotImplementedError

    def is_lost(self) -> bool:
        """Whether the trajectory has left what can be called a simulation."""
        return False

    def restart(self) -> None:
        """Go back to the start."""


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


class MDRunner(Runner):
    """Langevin dynamics of a System at 300 K with steps of 0.5 fs.

    Parameters
    ----------
    bench : BenchSystem
        Positions, box and velocities to start from.
    system : openmm.System
        What is simulated.
    platform : str
        OpenMM platform.
    threads : int
        Threads of the CPU platform.
    surroundings : callable
        Gives a context manager to run in.
    """

    def __init__(
        self,
        bench: BenchSystem,
        system: openmm.System,
        platform: str,
        threads: int,
        surroundings: Callable[[], AbstractContextManager[None]] = _nothing,
    ) -> None:
        self._bench = bench
        self._surroundings = surroundings
        self._asynchronous = platform not in ("Reference", "CPU")
        self._integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, FRICTION_PER_PS, STEP_PS)
        self._integrator.setRandomNumberSeed(1)
        properties = {"Threads": str(threads)} if platform == "CPU" else {}
        with surroundings():
            self._context = openmm.Context(
                system, self._integrator, openmm.Platform.getPlatformByName(platform), properties
            )
            if bench.box_nm is not None:
                self._context.setPeriodicBoxVectors(*bench.box_nm)
            self.restart()

    def evaluate(self) -> Result:
        """Energy and forces at the start."""
        self.restart()
        with self._surroundings():
            state = self._context.getState(energy=True, forces=True)
        force_unit = unit.kilojoule_per_mole / unit.nanometer
        return Result(
            float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)),
            np.array(state.getForces(asNumpy=True).value_in_unit(force_unit)),
        )

    def advance(self, count: int) -> None:
        """MD steps."""
        with self._surroundings():
            self._integrator.step(count)
            if self._asynchronous:
                self._context.getState(velocities=True)

    @property
    def positions_nm(self) -> np.ndarray:
        """Present positions, (n_atoms, 3) float64, nm."""
        found = self._context.getState(positions=True).getPositions(asNumpy=True)
        return np.asarray(found.value_in_unit(unit.nanometer))

    def is_lost(self) -> bool:
        """Whether the atoms are hotter than :data:`HOTTEST_K`."""
        found = self._context.getState(velocities=True).getVelocities(asNumpy=True)
        velocities = np.asarray(found.value_in_unit(unit.nanometer / unit.picosecond))
        return not self._bench.temperature(velocities) < HOTTEST_K  # a NaN is lost too

    def restart(self) -> None:
        """Back to the first positions and velocities."""
        self._context.setPositions(self._bench.positions_nm)
        self._context.setVelocities(self._bench.velocities)


class FixedGraph(Runner):
    """A model on the graph of the start, with everything else taken away: the limit of what an MD step can cost.

    Parameters
    ----------
    bench : BenchSystem
        The structure.
    model : Model
        The model.
    units : Units
        The model's units.
    """

    def __init__(self, bench: BenchSystem, model: Model, units: Units) -> None:
        self._model = model
        self._units = units
        positions, cell = in_model_units(bench, model, units)
        types = types_of(bench, model)
        info = model.info
        exact = NeighborList(info.reach, 0.0, bench.box_nm is not None, types, info.per_edge_type_cutoff)
        neighbors = PaddedNeighborList(exact, PAD_DISTANCE * info.reach) if model.needs.fixed_length else exact
        edges = neighbors(positions, cell).tensors()
        graph = Graph(torch.as_tensor(positions), torch.as_tensor(types), edges, torch.as_tensor(cell))
        self.graph = graph if model.needs.fixed_length else graph.to(model.device)
        self.n_edges = edges.count

    def evaluate(self) -> Result:
        """Energy and forces."""
        with self._surroundings():
            out = self._model.evaluate(self.graph)
        return Result(float(out.energy) * self._units.energy, out.forces.cpu().numpy() * self._units.force)

    def advance(self, count: int) -> None:
        """Evaluations."""
        with self._surroundings():
            for _ in range(count):
                self._model.evaluate(self.graph)
            if self._model.device.type == "cuda":
                torch.cuda.synchronize(self._model.device)

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """The device and TF32 setting that the package itself evaluates the model with."""
        with contextlib.ExitStack() as stack:
            if self._model.device.type == "cuda":
                stack.enter_context(torch.cuda.device(self._model.device))
            stack.enter_context(tf32_allowed(self._model.info.allow_tf32))
            yield


class ListRunner(Runner):
    """The neighbour list that the package itself keeps for a model, along a trajectory, forwards and backwards.

    The atoms fly freely at 300 K: as fast as in a simulation, so that the skin is used up as quickly, and the same
    whether or not the model can hold the system together.

    Parameters
    ----------
    bench : BenchSystem
        The start, box and elements.
    model : Model
        Cutoffs.
    units : Units
        The model's units.

    Attributes
    ----------
    frames : list of numpy.ndarray, (n_atoms, 3) float64
        The trajectory, in model units.
    """

    def __init__(self, bench: BenchSystem, model: Model, units: Units) -> None:
        placement = Placement(bench.n_atoms, types_of(bench, model))
        self._evaluator = Evaluator(model, units, placement, bench.box_nm is not None, DEFAULT_SKIN_NM)
        self._cell = in_model_units(bench, model, units)[1]
        moved = bench.velocities * STEP_PS
        self.frames = [(bench.positions_nm + i * moved) / units.length for i in range(FRAMES)]
        self._order = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]
        self._next = 0

    def find(self, positions: np.ndarray, cell: np.ndarray) -> Edges:
        """Edges that the model gets.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            In model lengths.
        cell : numpy.ndarray, (3, 3) float64
            In model lengths.

        Returns
        -------
        Edges
        """
        return self._evaluator.find_edges(positions, cell)

    def advance(self, count: int) -> None:
        """Lists of the next frames."""
        for _ in range(count):
            self.find(self.frames[self._order[self._next]], self._cell)
            self._next = (self._next + 1) % len(self._order)


def in_model_units(bench: BenchSystem, model: Model, units: Units) -> tuple[np.ndarray, np.ndarray]:
    """Positions and cell in model lengths.

    Parameters
    ----------
    bench : BenchSystem
        The structure.
    model : Model
        Its cutoff decides the cell where nothing is periodic.
    units : Units
        The model's units.

    Returns
    -------
    positions : numpy.ndarray, (n_atoms, 3) float64
        As given.
    cell : numpy.ndarray, (3, 3) float64
        A large cube where nothing is periodic.
    """
    cell = open_cell(model.info) if bench.box_nm is None else bench.box_nm / units.length
    return bench.positions_nm / units.length, cell


def types_of(bench: BenchSystem, model: Model) -> np.ndarray:
    """Model types by element.

    Parameters
    ----------
    bench : BenchSystem
        The atoms.
    model : Model
        Its types.

    Returns
    -------
    numpy.ndarray, (n_atoms,) int64
    """
    return atom_types(model.info.type_names, list(bench.topology.atoms()), None)
