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
import threading
import weakref
from collections.abc import Callable, Iterator

import torch

from ..graph.fields import ATOMIC_ENERGY, EDGE_FORCES, TOTAL_ENERGY, collect_outputs, vector_inputs
from ..graph.geometry import edge_vectors, forces_of_edges
from ..graph.graph import Graph, Outputs
from ..upstream.nequip_state import default_dtype
from .base import Model, flat
from .eager import EagerModel
from .formats.torchscript import TorchScriptModel

#: A graph in, what a model answers out: :meth:`Model.evaluate` and what stands in for it.
Potential = Callable[[Graph], Outputs]


def takes_vectors(model: Model) -> bool:
    """Whether a model has a nequip module that computes the derivatives by the ``edge_vectors`` it is given."""
    if not isinstance(model, (EagerModel, TorchScriptModel)):
        return False
    if isinstance(model, TorchScriptModel) and model.input_dtype != torch.float64:
        return False  # deployed by nequip <= 0.6
    half = 0.5 * model.info.reach
    vectors = torch.zeros((2, 3), dtype=torch.float64, device=model.device)
    vectors[0, 0], vectors[1, 0] = half, -half
    data = vector_inputs(
        torch.zeros((2, 3), dtype=torch.float64, device=model.device),
        torch.zeros(2, dtype=torch.int64, device=model.device),
        torch.tensor([[0, 1], [1, 0]], device=model.device),
        vectors,
    )
    try:
        with gradients_on():
            return EDGE_FORCES in model.module(data)
    except (RuntimeError, KeyError, AttributeError):
        return False  # a module that must have positions and a cell


#: The frozen copy of each script that somebody uses: one for all Contexts.
_FROZEN: weakref.WeakKeyDictionary[TorchScriptModel, torch.jit.ScriptModule] = weakref.WeakKeyDictionary()
_FREEZING = threading.Lock()


def _frozen(model: TorchScriptModel) -> torch.jit.ScriptModule:
    with _FREEZING:
        if model not in _FROZEN:
            _FROZEN[model] = torch.jit.freeze(model.module)
        return _FROZEN[model]


def potential_of(model: Model) -> Potential:
    """A model's module on edge vectors where it has one that takes them, else the model itself.

    Parameters
    ----------
    model : Model
        Any model.

    Returns
    -------
    callable
        With the argument and result of :meth:`Model.evaluate`.
    """
    if not takes_vectors(model):
        return model.evaluate
    module = _frozen(model) if isinstance(model, TorchScriptModel) else model.module  # type: ignore[attr-defined]

    def potential(graph: Graph) -> Outputs:
        positions, types, edge_index, shifts, cell = flat(graph)
        with gradients_on():
            vectors = edge_vectors(positions, edge_index, shifts, cell)
            out = module(vector_inputs(positions, types, edge_index, vectors))
        gradients = out[EDGE_FORCES].detach()
        forces = forces_of_edges(gradients, edge_index, positions.shape[0])
        virial = -torch.sum(vectors.detach().unsqueeze(2) * gradients.unsqueeze(1), 0)
        return collect_outputs(out[TOTAL_ENERGY], forces, out.get(ATOMIC_ENERGY), 0.5 * (virial + virial.t()))

    return potential


@contextlib.contextmanager
def gradients_on() -> Iterator[None]:
    """Gradients and float64 as default dtype, as nequip itself works; the caller may have switched gradients off."""
    with default_dtype(torch.float64), torch.inference_mode(False), torch.enable_grad():
        yield
