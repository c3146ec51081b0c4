"""The graph of one structure, its edges, what a model asks of them, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

#: What a model may want of a neighbour list, see :class:`EdgeNeeds`.
NO_EDGES, EXACT_EDGES, CANDIDATE_EDGES = "none", "exact", "candidates"


class Edges:
    """Directed edges with periodic shifts.

    The identity of an object is the token of "nothing has changed": whoever is given the very same object as at the
    last call may keep what it derived from it. An object is therefore never changed after it was made.

    Parameters
    ----------
    index : torch.Tensor or numpy.ndarray, (2, n_edges) int64
        ``[0]`` is the centre i, ``[1]`` the neighbour j; each pair stands in both directions.
    shifts : torch.Tensor or numpy.ndarray, (n_edges, 3) float64
        Whole numbers of cell vectors: ``r_ij = r_j - r_i + shifts @ cell``.
    """

    __slots__ = ("index", "shifts")

    def __init__(self, index: Any, shifts: Any) -> None:
        self.index = index
        self.shifts = shifts

    @property
    def count(self) -> int:
        """Number of edges."""
        return self.index.shape[1]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.index, self.shifts))

    def __getitem__(self, place: int) -> Any:
        return (self.index, self.shifts)[place]

    def tensors(self) -> Edges:
        """The same edges as torch tensors, which share the memory of arrays."""
        return Edges(torch.as_tensor(self.index), torch.as_tensor(self.shifts))

    def to(self, device: torch.device) -> Edges:
        """The same edges as tensors on a device."""
        return Edges(torch.as_tensor(self.index, device=device), torch.as_tensor(self.shifts, device=device))


class Surroundings(NamedTuple):
    """Point charges around a structure, for models that feel them.

    Parameters
    ----------
    positions : torch.Tensor, (n_charges, 3) float64
        Model lengths, in the image that is nearest to the structure.
    charges : torch.Tensor, (n_charges,) float64
        Elementary charges.
    """

    positions: torch.Tensor
    charges: torch.Tensor

    def to(self, device: torch.device) -> Surroundings:
        """The same charges on a device."""
        return Surroundings(self.positions.to(device), self.charges.to(device))


class Graph(NamedTuple):
    """One structure in a model's units.

    Parameters
    ----------
    positions : torch.Tensor, (n_atoms, 3) float64
        Model lengths, any image of each atom.
    types : torch.Tensor, (n_atoms,) int64
        Indices into the model's type names.
    edges : Edges
        Tensors, on the device of the positions.
    cell : torch.Tensor, (3, 3) float64
        Rows are the cell vectors in model lengths; never singular (any regular cell where nothing is periodic).
    periodic : bool
        Whether the cell is that of a box; for models that see more than the edges.
    surroundings : Surroundings, optional
        Charges around it.
    charges : torch.Tensor, (n_atoms,) float64, optional
        Elementary charges of the atoms themselves.
    """

    positions: torch.Tensor
    types: torch.Tensor
    edges: Edges
    cell: torch.Tensor
    periodic: bool = True
    surroundings: Surroundings | None = None
    charges: torch.Tensor | None = None

    def to(self, device: torch.device) -> Graph:
        """The same graph on a device."""
        moved = self.positions.to(device), self.types.to(device), self.edges.to(device), self.cell.to(device)
        around = None if self.surroundings is None else self.surroundings.to(device)
        return Graph(*moved, self.periodic, around, None if self.charges is None else self.charges.to(device))


@dataclass(frozen=True)
class EdgeNeeds:
    """What a model asks of the neighbour list that feeds it.

    Parameters
    ----------
    list : str
        ``"exact"``: the edges within its cutoffs; ``"candidates"``: it skips edges beyond its cutoff at next to no
        cost, so the list need not be pruned at each step; ``"none"``: it finds its own pairs.
    fixed_length : bool
        Whether the number of edges must stay the same from step to step. Such a model takes its graph on the host or
        the device and moves it itself.
    separate : bool
        Whether regions that do not see each other must be evaluated one by one: for models that see more of a
        structure than its edges.
    """

    list: str = EXACT_EDGES
    fixed_length: bool = False
    separate: bool = False


@dataclass(eq=False)
class Outputs:
    """What a model answers, float64, in its own units.

    Parameters
    ----------
    energy : torch.Tensor, ()
        Potential energy.
    forces : torch.Tensor, (n_atoms, 3)
        Minus its derivatives by the positions.
    atomic_energies : torch.Tensor, (n_atoms,), optional
        Energy of each atom.
    virial : torch.Tensor, (3, 3), optional
        -dE/d(strain).
    spread : torch.Tensor, (n_atoms,), optional
        Standard deviation of the forces among the members of a committee.
    energy_spread : torch.Tensor, (), optional
        Standard deviation of the energy among them.
    surroundings_forces : torch.Tensor, (n_charges, 3), optional
        Forces on the charges around the structure.
    members : tuple of Outputs
        What each model of a committee answers; beside what :meth:`as_dict` and :meth:`map` see, as the next one is.
    bias : float
        What a bias on the spread of a committee has added to the energy.
    """

    energy: torch.Tensor
    forces: torch.Tensor
    atomic_energies: torch.Tensor | None = None
    virial: torch.Tensor | None = None
    spread: torch.Tensor | None = None
    energy_spread: torch.Tensor | None = None
    surroundings_forces: torch.Tensor | None = None
    members: tuple[Outputs, ...] = field(default=(), init=False)
    bias: float = field(default=0.0, init=False)

    def as_dict(self) -> dict[str, torch.Tensor]:
        """The outputs that are there, by name."""
        named = {
            "energy": self.energy, "forces": self.forces, "atomic_energies": self.atomic_energies,
            "virial": self.virial, "spread": self.spread, "energy_spread": self.energy_spread,
            "surroundings_forces": self.surroundings_forces,
        }  # fmt: skip
        return {name: value for name, value in named.items() if value is not None}

    def map(self, function: Any) -> Outputs:
        """A function applied to every output that is there.

        Parameters
        ----------
        function : callable
            Name and tensor -> tensor.

        Returns
        -------
        Outputs
        """
        return Outputs(**{name: function(name, value) for name, value in self.as_dict().items()})
