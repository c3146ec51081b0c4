"""NequIP modules on edge vectors: derivatives by the edges, from which forces and virial follow by sums.

nequip's own way to forces and virial strains a copy of the structure, differentiates by strain and positions, and
takes the determinant of the cell. Given the ``edge_vectors``, the same module differentiates by these alone: less work,
the same numbers to rounding, and nothing that waits for the device, so that it can be recorded in a CUDA graph.

References
----------
``nn/grad_output.py`` of nequip >= 0.7, where this path was made for LAMMPS' ML-IAP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from .base import Model, collect_outputs
from .nequip import EagerModel
from .state import default_dtype
from .torchscript import TorchScriptModel

#: Energy and forces of one structure: the arguments and the result of :meth:`Model.__call__`.
Potential = Callable[..., dict[str, torch.Tensor]]


def edge_vectors(
    positions: torch.Tensor, edge_index: torch.Tensor, shifts: torch.Tensor, cell: torch.Tensor
) -> torch.Tensor:
    """Vectors r_ij = r_j - r_i + shifts @ cell, (n_edges, 3); scriptable."""
    ends = positions.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
    # A sum and not a matrix product: three terms need no library, and nequip computes it so.
    return ends[1] - ends[0] + torch.sum(shifts.view(-1, 3, 1) * cell, 1)


def forces_of_edges(gradients: torch.Tensor, edge_index: torch.Tensor, n_atoms: int) -> torch.Tensor:
    """Forces (n_atoms, 3) from the derivatives of the energy by the edge vectors (n_edges, 3); scriptable."""
    forces = torch.zeros((n_atoms, 3), dtype=gradients.dtype, device=gradients.device)
    return forces.index_add(0, edge_index[0], gradients).index_add(0, edge_index[1], -gradients)


def takes_vectors(model: Model) -> bool:
    """Whether a model has a nequip module that computes the derivatives by the ``edge_vectors`` it is given."""
    if not isinstance(model, (EagerModel, TorchScriptModel)):
        return False
    if isinstance(model, TorchScriptModel) and model.input_dtype != torch.float64:
        return False  # deployed by nequip <= 0.6
    vectors = torch.zeros((2, 3), dtype=torch.float64, device=model.device)
    vectors[0, 0], vectors[1, 0] = 0.5 * model.info.cutoff, -0.5 * model.info.cutoff
    data = {
        "pos": torch.zeros((2, 3), dtype=torch.float64, device=model.device),
        "edge_vectors": vectors,
        "atom_types": torch.zeros(2, dtype=torch.int64, device=model.device),
        "edge_index": torch.tensor([[0, 1], [1, 0]], device=model.device),
    }
    try:
        with _gradients():
            return "edge_forces" in model.module(data)
    except (RuntimeError, KeyError, AttributeError):
        return False  # a module that must have positions and a cell


def potential_of(model: Model) -> Potential:
    """A model's module on edge vectors where it has one that takes them, else the model itself.

    Parameters
    ----------
    model : Model
        Any model.

    Returns
    -------
    callable
        With the arguments and results of :meth:`Model.__call__`.
    """
    if not takes_vectors(model):
        return model
    module = torch.jit.freeze(model.module) if isinstance(model, TorchScriptModel) else model.module  # type: ignore

    def potential(positions, types, edge_index, shifts, cell):
        with _gradients():
            vectors = edge_vectors(positions, edge_index, shifts, cell)
            out = module({"pos": positions, "edge_vectors": vectors, "atom_types": types, "edge_index": edge_index})
        gradients = out["edge_forces"].detach()
        forces = forces_of_edges(gradients, edge_index, positions.shape[0])
        virial = -torch.sum(vectors.detach().unsqueeze(2) * gradients.unsqueeze(1), 0)
        return collect_outputs(out["total_energy"], forces, out.get("atomic_energy"), 0.5 * (virial + virial.t()))

    return potential


@contextlib.contextmanager
def _gradients() -> Iterator[None]:
    # As nequip itself works; the caller may have switched gradients off.
    with default_dtype(torch.float64), torch.inference_mode(False), torch.enable_grad():
        yield
