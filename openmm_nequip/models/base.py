"""What a model is: its description and the one call that everything above the loaders makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

#: Padding edges are this many cutoffs long: beyond every envelope, yet finite and not zero (pair terms divide by r).
PAD_DISTANCE = 2.0
#: Side of the cube that stands in for a cell where nothing is periodic, in cutoffs; only padding edges refer to it.
DUMMY_CELL = 10.0


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a model, without units: NequIP files carry none.

    Parameters
    ----------
    path : str
        File the model came from.
    kind : str
        Format, see :mod:`openmm_nequip.models.source`.
    sha256 : str
        Hex digest of the file.
    size_bytes : int
        Size of the file.
    type_names : tuple of str
        Names of the atom types, in the order of the type indices.
    cutoff : float
        Largest distance at which an edge counts, in model lengths.
    dtype : str
        ``"float32"`` or ``"float64"``: precision of the model's weights and arithmetic.
    device : str
        Device the model is loaded on.
    per_edge_type_cutoff : tuple of tuple of float, optional
        Cutoff [centre type][neighbour type] in model lengths.
    allow_tf32 : bool
        Whether the model was made to run with TF32 matrix products on CUDA.
    compiled : bool
        False for models evaluated operation by operation in Python.
    target : str, optional
        What an AOTInductor file was compiled for.
    outputs : tuple of str
        Of ``energy``, ``forces``, ``atomic_energies``, ``virial``.
    versions : mapping of str to str
        Versions the file states.
    kernels : str
        Fused kernels that run the model; ``"none"``, with the reason where they were wanted.
    """

    path: str
    kind: str
    sha256: str
    size_bytes: int
    type_names: tuple[str, ...]
    cutoff: float
    dtype: str
    device: str
    per_edge_type_cutoff: tuple[tuple[float, ...], ...] | None = None
    allow_tf32: bool = False
    compiled: bool = False
    target: str | None = None
    outputs: tuple[str, ...] = ("energy", "forces")
    versions: Mapping[str, str] = field(default_factory=dict)
    kernels: str = "none"


class Model:
    """A potential energy model on one device.

    Subclasses implement :meth:`_evaluate`; :meth:`__call__` first makes graphs that some formats cannot take
    (one atom, fewer than two edges) harmless.

    Parameters
    ----------
    info : ModelInfo
        Description of the model.
    """

    #: Whether edges beyond the cutoff cost next to nothing, so that a neighbour list need not be pruned at each step.
    skips_far_edges = False
    #: Whether it wants edge lists whose length stays the same from step to step, on the host; it then moves its inputs
    #: to its device itself.
    static_shapes = False

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.device = torch.device(info.device)

    def __call__(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        edge_index: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Evaluate the model on one structure.

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
        """
        n_edges = edge_index.shape[1]
        if n_edges < 2:
            edge_index, shifts = pad_edges(edge_index, shifts, cell, self.info.cutoff, 2 - n_edges)
        if positions.shape[0] > 1:
            return self._evaluate(positions, types, edge_index, shifts, cell)
        # Formats with a lower bound of two atoms see the structure twice, side by side and without a common edge.
        edges = torch.cat([edge_index, edge_index + 1], 1)
        doubled = self._evaluate(positions.repeat(2, 1), types.repeat(2), edges, shifts.repeat(2, 1), cell)
        return {key: value[:1] if key in ("forces", "atomic_energies") else value / 2 for key, value in doubled.items()}

    def trajectory(
        self,
        types: np.ndarray,
        neighbors: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
        reach: float,
        length: float,
        energy: float,
        cell: np.ndarray | None,
    ) -> Callable[[np.ndarray, np.ndarray | None], tuple[float, np.ndarray]] | None:
        """A shorter way through the steps of a simulation, for models that have one.

        Parameters
        ----------
        types, neighbors, reach, length, energy, cell
            As of :class:`openmm_nequip.kernels.cpu.stepper.Stepper`.

        Returns
        -------
        callable or None
            Positions and box in the caller's units -> energy and forces in the caller's units, as
            :meth:`openmm_nequip.kernels.cpu.stepper.Stepper.__call__`, one thread at a time; None if there is none.
        """
        return None

    def _evaluate(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        edge_index: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        raise NotImplementedError


def pad_edges(
    edge_index: torch.Tensor, shifts: torch.Tensor, cell: torch.Tensor, cutoff: float, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add edges that contribute exactly nothing: atom 0 to its own image beyond the cutoff.

    Parameters
    ----------
    edge_index, shifts, cell
        As in :meth:`Model.__call__`.
    cutoff : float
        Cutoff in model lengths.
    count : int
        How many edges to add.

    Returns
    -------
    tuple of torch.Tensor
        The longer ``edge_index`` and ``shifts``.
    """
    images = math.ceil(PAD_DISTANCE * cutoff / float(torch.linalg.vector_norm(cell[0])))
    extra = shifts.new_zeros((count, 3))
    extra[:, 0] = images
    return torch.cat([edge_index, edge_index.new_zeros((2, count))], 1), torch.cat([shifts, extra])


def collect_outputs(
    total: torch.Tensor | None,
    forces: torch.Tensor,
    atomic: torch.Tensor | None,
    virial: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """Bring nequip's output fields into the shapes and dtype of :meth:`Model.__call__`."""
    result = {"forces": forces.detach().to(torch.float64)}
    if atomic is not None:
        result["atomic_energies"] = atomic.detach().reshape(-1).to(torch.float64)
    # A file compiled for LAMMPS gives atomic energies alone.
    energy = result["atomic_energies"].sum() if total is None else total.detach().to(torch.float64)
    result["energy"] = energy.reshape(())
    if virial is not None:
        result["virial"] = virial.detach().reshape(3, 3).to(torch.float64)
    return result
