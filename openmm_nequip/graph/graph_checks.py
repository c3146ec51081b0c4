"""What a graph that a user made must be, before a model gets it: models answer NaN, or end the process."""

from __future__ import annotations

import torch

from .fields import EDGE_INDEX
from .graph import Graph


def check_graph(graph: Graph, n_types: int) -> None:
    """Refuse a graph that no model can take.

    Parameters
    ----------
    graph : Graph
        One structure.
    n_types : int
        Number of types of the model.

    Raises
    ------
    TypeError
        If something is no tensor, or an index no whole number.
    ValueError
        If a shape is another, a number is not finite, or an index is out of range.
    """
    edges = graph.edges
    n_atoms, n_edges = _length(graph.positions, 0), _length(edges.index, 1)
    for name, tensor, shape, whole in (
        ("positions", graph.positions, (n_atoms, 3), False),
        ("types", graph.types, (n_atoms,), True),
        (EDGE_INDEX, edges.index, (2, n_edges), True),
        ("shifts", edges.shifts, (n_edges, 3), False),
        ("cell", graph.cell, (3, 3), False),
    ):
        _check_tensor(name, tensor, shape, whole)
    if n_atoms == 0:
        raise ValueError("positions are of no atoms; give at least one")
    for name, tensor, count in (("types", graph.types, n_types), (EDGE_INDEX, edges.index, n_atoms)):
        if tensor.numel() and not (0 <= int(tensor.min()) and int(tensor.max()) < count):
            raise ValueError(
                f"{name} has values from {int(tensor.min())} to {int(tensor.max())}; expected 0 to {count - 1}"
            )


def _length(tensor: torch.Tensor, dimension: int) -> int:
    return tensor.shape[dimension] if isinstance(tensor, torch.Tensor) and tensor.dim() > dimension else 0


def _check_tensor(name: str, tensor: torch.Tensor, shape: tuple[int, ...], whole: bool) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; give a torch.Tensor of the shape {shape}")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}; expected {shape}")
    if tensor.is_complex() or tensor.dtype == torch.bool or (whole and tensor.is_floating_point()):
        raise TypeError(f"{name} has the dtype {tensor.dtype}; expected {'int64' if whole else 'float64'}")
    if not whole and not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} has values that are NaN or infinite; check where it comes from")
