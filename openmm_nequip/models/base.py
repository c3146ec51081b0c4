"""What a model is: its facts, and the one call that everything above the formats makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from ..committee_bias import CommitteeBias
from ..errors import ModelFileError, ModelInputError, ModuleError
from ..graph.graph import EdgeNeeds, Edges, Graph, Outputs
from ..graph.graph_checks import check_graph
from ..graph.padding import DUMMY_CELL, FEWEST, PAD_DISTANCE, complete
from ..units import Units
from .graph_inputs import GraphInput
from .info_shown import info_html, info_line
from .source import ModelSource


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model, wherever its file lies and wherever it runs.

    Parameters
    ----------
    type_names : tuple of str
        Names of the atom types, in the order of the type indices.
    cutoff : float or None
        Largest distance at which an edge counts, in model lengths; None for a model without one.
    dtype : str
        ``"float32"`` or ``"float64"``: precision of the model's weights and arithmetic.
    per_edge_type_cutoff : tuple of tuple of float, optional
        Cutoff [centre type][neighbour type] in model lengths.
    units : Units, optional
        Units that the file or its declaration states; None where there are none, as of NequIP files.
    takes_box : bool
        Whether it can be evaluated under periodic boundary conditions.
    embeds : bool
        Whether it takes the charges of a force field around it.
    takes_charges : bool
        Whether it takes a charge for each of its atoms.
    units_needed : bool
        Whether none may be assumed: the user has to state them.
    allow_tf32 : bool
        Whether the model was made to run with TF32 matrix products on CUDA.
    compiled : bool
        False for models evaluated operation by operation in Python.
    target : str, optional
        What a compiled file was compiled for.
    outputs : tuple of str
        Of ``energy``, ``forces``, ``atomic_energies``, ``virial``.
    versions : mapping of str to str
        Versions the file states.
    kernels : str
        Fused kernels that run the model; ``"none"``, with the reason where they were wanted.
    inputs : tuple of GraphInput
        What the model takes beside the structure.
    units_source : str
        What states the units, in words.
    open_only, periodic_only : str
        Why the model cannot have a periodic box, or cannot do without; empty if it can.
    """

    type_names: tuple[str, ...]
    cutoff: float | None
    dtype: str
    per_edge_type_cutoff: tuple[tuple[float, ...], ...] | None = None
    units: Units | None = None
    allow_tf32: bool = False
    compiled: bool = False
    target: str | None = None
    outputs: tuple[str, ...] = ("energy", "forces")
    versions: Mapping[str, str] = field(default_factory=dict)
    kernels: str = "none"
    inputs: tuple[GraphInput, ...] = ()
    takes_box: bool = True
    embeds: bool = False
    takes_charges: bool = False
    units_needed: bool = False
    units_source: str = ""
    open_only: str = ""
    periodic_only: str = ""

    def __post_init__(self) -> None:
        """Refuse facts with which no structure can be evaluated.

        Raises
        ------
        ModelFileError
            With the fact and what was expected.
        """
        names, cutoff = self.type_names, self.cutoff
        if not names:
            raise ModelFileError("the model states no atom types; expected at least one (type_names)")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelFileError(f"the model states the type {twice[0]!r} twice; expected other names (type_names)")
        if cutoff is not None and not 0 < cutoff < math.inf:
            raise ModelFileError(f"the model states the cutoff {cutoff!r}; expected a positive, finite length (r_max)")
        rows = self.per_edge_type_cutoff
        if rows is None:
            return
        if len(rows) != len(names) or any(len(row) != len(names) for row in rows):
            raise ModelFileError(
                f"the model's cutoffs by type are no table of {len(names)} times {len(names)} (per_edge_type_cutoff)"
            )
        highest = math.inf if cutoff is None else cutoff * (1 + 1e-6)
        bad = [value for row in rows for value in row if not 0 < value <= highest]
        if bad:
            raise ModelFileError(
                f"the model states the cutoff {bad[0]!r} for a pair of types; expected lengths above zero and at most "
                f"its cutoff {cutoff!r} (per_edge_type_cutoff, r_max)"
            )

    def __repr__(self) -> str:
        return info_line(self)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        return info_html(self)

    @property
    def sample_inputs(self) -> dict[str, int]:
        """A value for each input beside the structure, where any will do: to look at the model or to time it."""
        return {each.name: each.sample for each in self.inputs if not each.optional}

    def check_periodic(self, periodic: bool, path: str) -> None:
        """Refuse a structure with a box, or without one, that the model does not have an energy for.

        Parameters
        ----------
        periodic : bool
            Whether there is a box.
        path : str
            The model file, for the message.

        Raises
        ------
        ModelFileError
            With the model's reason.
        """
        reason = self.open_only if periodic else self.periodic_only
        if reason:
            word = "with" if periodic else "without"
            raise ModelFileError(f"{path} cannot run {word} a periodic box: {reason}", path)

    def units_given(self, units: Units) -> Units:
        """Units in force, from what a user gave.

        Parameters
        ----------
        units : Units
            As :func:`openmm_nequip.units.resolve_units` gives them; ``assumed`` where the user said nothing.

        Returns
        -------
        Units
            Those of the user, else those that the file states, else the assumed ones.

        Raises
        ------
        ModuleError
            If they must be stated and are not.
        """
        if not units.assumed:
            return units
        if self.units is not None:
            return self.units
        if self.units_needed:
            raise ModuleError(
                "the units of the model are not known, and none are assumed: give lengthUnit= and energyUnit=, both of "
                'them, such as lengthUnit="angstrom" and energyUnit="eV" (--units LENGTH ENERGY on the command line)',
                "units",
            )
        return units

    def check_charges(self, given: Sequence[float] | None) -> None:
        """Refuse charges of atoms that the model does not take, and a model without those that it needs.

        Parameters
        ----------
        given : sequence of float, optional
            What the user gave as ``atomCharges``.

        Raises
        ------
        ModelInputError
            If one does not go with the other.
        """
        if self.takes_charges and given is None:
            raise ModelInputError(
                "the module takes a charge for each of its atoms: give atomCharges=[...] in e, in Python", "charges"
            )
        if given is not None and not self.takes_charges:
            raise ModelInputError(
                "atomCharges was given, and the model takes no charges of atoms; leave it out", "charges"
            )

    def check_box(self, periodic: bool) -> None:
        """Refuse a periodic system that the model would take for one in open space.

        Parameters
        ----------
        periodic : bool
            Whether there is a box, and all atoms are the model's.

        Raises
        ------
        ModuleError
            If it takes no box.
        """
        if periodic and not self.takes_box:
            raise ModuleError(
                "the module takes no box, and the structure has one: its energy would be that of atoms in open space. "
                "Declare the inputs from which it knows the box (box, or shifts), or take the box away from the "
                "structure (topology.setPeriodicBoxVectors(None))",
                "box",
            )

    @property
    def reach(self) -> float:
        """The cutoff, or one model length for a model without one: scale of cells and gaps."""
        return 1.0 if self.cutoff is None else self.cutoff


class StepRequest(NamedTuple):
    """What a model needs to know to take whole steps of a simulation by itself.

    Parameters
    ----------
    types : numpy.ndarray, (n_atoms,) int64
        Model types of all atoms.
    find : callable
        Positions (n_atoms, 3) and cell (3, 3) in model lengths -> :class:`Edges` (arrays, C-contiguous) that may come
        within the cutoff before an atom has moved by more than ``reach``.
    reach : float
        In model lengths; infinity where the list holds for ever.
    units : Units
        The model's units.
    cell : numpy.ndarray, (3, 3) float64, optional
        The cell where nothing is periodic, in model lengths; None for a periodic system.
    bias : CommitteeBias, optional
        What is added where the models of a committee disagree; None for all other models.
    """

    types: np.ndarray
    find: Callable[[np.ndarray, np.ndarray], Edges]
    reach: float
    units: Units
    cell: np.ndarray | None
    bias: CommitteeBias | None = None


#: Positions (n_atoms, 3) and box (3, 3) in nm -> energy in kJ/mol and forces (n_atoms, 3) in kJ/mol/nm.
StepFunction = Callable[[np.ndarray, "np.ndarray | None"], "tuple[float, np.ndarray]"]


class Model:
    """A potential energy model on one device.

    Subclasses implement :meth:`_evaluate`; :meth:`evaluate` first makes graphs that some formats cannot take
    (one atom, fewer than two edges) harmless.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    device : torch.device
        Where it is.
    """

    #: Whether it gives a virial in a periodic box; None where only an evaluation tells.
    gives_virial: bool | None = None
    #: Why no CUDA graph can be recorded of it; empty where it can be tried.
    unrecordable = ""

    def __init__(self, info: ModelInfo, device: torch.device) -> None:
        self.info = info
        #: Where it came from, if from a file.
        self.source: ModelSource | None = None
        self.device = device
        self.needs = EdgeNeeds()

    def evaluate(self, graph: Graph) -> Outputs:
        """Evaluate the model on one structure.

        Parameters
        ----------
        graph : Graph
            The structure, on the model's device. If ``graph.types`` and ``graph.edges`` are the very objects of the
            last call, a model may take them to be unchanged.

        Returns
        -------
        Outputs
            In the model's units.
        """
        n_atoms = graph.positions.shape[0]
        if n_atoms >= FEWEST and graph.edges.count >= FEWEST:
            return self._evaluate(graph)
        distance = PAD_DISTANCE * self.info.reach
        positions, types, *edges = complete(*flat(graph), distance)
        out = self._evaluate(Graph(positions, types, Edges(*edges), graph.cell, graph.periodic))
        if n_atoms > 1:
            return out
        per_atom = ("forces", "atomic_energies", "spread")
        return out.map(lambda name, value: value[:1] if name in per_atom else value / 2)

    def __call__(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        edge_index: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """:meth:`evaluate` with plain tensors.

        Parameters
        ----------
        positions : torch.Tensor, (n_atoms, 3) float64
            Model lengths, any image.
        types : torch.Tensor, (n_atoms,) int64
            Indices into ``info.type_names``.
        edge_index : torch.Tensor, (2, n_edges) int64
            ``[0]`` is the centre i, ``[1]`` the neighbour j; each pair in both directions.
        shifts : torch.Tensor, (n_edges, 3) float64
            Whole numbers of cell vectors: ``r_ij = r_j - r_i + shifts @ cell``.
        cell : torch.Tensor, (3, 3) float64
            Rows are the cell vectors in model lengths; never singular (any regular cell where nothing is periodic).

        Returns
        -------
        dict of str to torch.Tensor
            float64: ``energy`` () and ``forces`` (n_atoms, 3) in the model's units; where the model gives them
            ``atomic_energies`` (n_atoms,) and ``virial`` (3, 3) = -dE/d(strain).

        Raises
        ------
        TypeError, ValueError
            If a tensor is none, has another shape, or is out of range.
        """
        graph = Graph(positions, types, Edges(edge_index, shifts), cell)
        check_graph(graph, len(self.info.type_names))
        return self.evaluate(graph).as_dict()

    def stepper(self, request: StepRequest) -> StepFunction | None:
        """A shorter way through the steps of a simulation, for models that have one.

        Parameters
        ----------
        request : StepRequest
            Atoms, list and units.

        Returns
        -------
        callable or None
            A step: positions and box in nm -> energy in kJ/mol and forces in kJ/mol/nm, one thread at a time; raises
            :class:`~openmm_nequip.errors.NonFiniteError`. None if the model has none.
        """
        return None

    def _evaluate(self, graph: Graph) -> Outputs:
        raise NotImplementedError


def flat(graph: Graph) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The five tensors of a graph: positions, types, edge_index, shifts and cell."""
    return graph.positions, graph.types, graph.edges.index, graph.edges.shifts, graph.cell


def open_cell(info: ModelInfo) -> np.ndarray:
    """The cell (3, 3) in model lengths that stands in where nothing is periodic; only padding edges refer to it."""
    return np.eye(3) * (DUMMY_CELL * info.reach)
