"""The part of a model that one rank evaluates, by nequip's own modules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from ....errors import ModelFileError
from ....models import ModelSource
from ....models.eager import load_module
from ....models.format import CHECKPOINT, PACKAGE
from ....upstream.nequip_state import default_dtype, preserved_global_state

_GHOST_EXCHANGE = "enable_LAMMPSMLIAPGhostExchange"
_NO_FORCES = "disable_ForceStressOutput"
#: Distance of the atoms of a chain in cutoffs: next neighbours see each other, the ends do not.
_CHAIN = 0.6


def check_divisible(source: ModelSource) -> None:
    """Refuse a file that cannot be evaluated in parts; nothing is loaded.

    Parameters
    ----------
    source : ModelSource
        The file.

    Raises
    ------
    ModelFileError
        If it is compiled.
    """
    if source.kind not in (CHECKPOINT, PACKAGE):
        raise ModelFileError(
            f"{source.path} is a {source.kind} file: it is compiled for a whole structure, and ranks evaluate parts of "
            "one; give the checkpoint (.ckpt) or package (.nequip.zip) that it came from",
            source.path,
        )


class DomainAnswer(NamedTuple):
    """What a rank found, in the model's units."""

    energies: torch.Tensor  #: (n_local,) float64, of its own atoms
    forces: torch.Tensor  #: (n_local + n_ghosts, 3) float64, of its edges on both of their atoms
    virial: np.ndarray  #: (3, 3) float64, minus the derivative of its energy by strain
    bias: float = 0.0  #: what a bias adds to the energy of all ranks together


class _Alone:
    """Exchange of a structure that has no ghosts."""

    def __init__(self, n_atoms: int) -> None:
        self.nlocal = self.ntotal = n_atoms

    def forward_exchange(self, features: torch.Tensor, out: torch.Tensor, width: int) -> None:
        """Nobody to tell."""
        out.copy_(features)

    reverse_exchange = forward_exchange


class DomainModel:
    """A checkpoint or package, with nequip's ghost exchange where it passes messages.

    Parameters
    ----------
    source : ModelSource
        The file.
    cutoff : float
        Of the model, in its unit of length.

    Raises
    ------
    ModelFileError
        If the file is compiled, cannot be read, or passes messages in a way for which nequip has no exchange.
    """

    def __init__(self, source: ModelSource, cutoff: float) -> None:
        check_divisible(source)
        with preserved_global_state():
            module: Any = load_module(source)
            from nequip.model.modify_utils import get_all_modifiers, modify

            known = get_all_modifiers(module)
            self.passes_messages = _GHOST_EXCHANGE in known
            if self.passes_messages:
                module = modify(module, [{"modifier": _GHOST_EXCHANGE}])
            if _NO_FORCES not in known:
                raise ModelFileError(
                    f"{source.path} was made by a nequip without the modifier {_NO_FORCES}, which ranks need; package "
                    "it anew from its checkpoint",
                    source.path,
                )
            module = modify(module, [{"modifier": _NO_FORCES}])
            self._module = module.eval().requires_grad_(False)
        self._n_types = len(module.type_names)
        if not self.passes_messages and not self._is_local(cutoff):
            raise ModelFileError(
                f"{source.path} passes messages between atoms, and the nequip that it was made by has no ghost "
                "exchange, so that ranks cannot share it; package it anew from its checkpoint with a later one",
                source.path,
            )

    def evaluate(self, edge_index: np.ndarray, vectors: np.ndarray, types: np.ndarray, exchange: Any) -> DomainAnswer:
        """Energies and forces of the edges of a rank; all ranks call it at the same time.

        Parameters
        ----------
        edge_index : numpy.ndarray, (2, n_edges) int64
            Centre, an atom of the rank, and neighbour.
        vectors : numpy.ndarray, (n_edges, 3) float64
            From centre to neighbour, in the model's unit of length.
        types : numpy.ndarray, (n_local + n_ghosts,) int64
            Model types.
        exchange : BorderExchange
            Of these atoms.

        Returns
        -------
        DomainAnswer
        """
        if not exchange.ntotal:  # nobody waits for a rank without atoms
            return DomainAnswer(torch.zeros(0), torch.zeros((0, 3), dtype=torch.float64), np.zeros((3, 3)))
        along = torch.tensor(vectors, dtype=torch.float64, requires_grad=True)
        pairs = torch.as_tensor(edge_index)
        energies = self._energies(along, pairs, types, exchange)
        (slope,) = torch.autograd.grad(energies.sum(), along)
        forces = torch.zeros((exchange.ntotal, 3), dtype=torch.float64)
        forces.index_add_(0, pairs[0], slope)
        forces.index_add_(0, pairs[1], -slope)
        virial = -(along.detach().T @ slope).numpy()
        return DomainAnswer(energies.detach(), forces, 0.5 * (virial + virial.T))

    def _energies(self, vectors: torch.Tensor, pairs: torch.Tensor, types: np.ndarray, exchange: Any) -> torch.Tensor:
        """Energies (n_local,) of the atoms of the rank, differentiable by the edges' vectors (n_edges, 3)."""
        from nequip.data import AtomicDataDict as Key

        data = {
            Key.EDGE_VECTORS_KEY: vectors,
            Key.EDGE_INDEX_KEY: pairs,
            Key.ATOM_TYPE_KEY: torch.as_tensor(types),
            Key.LMP_MLIAP_DATA_KEY: exchange,
            Key.NUM_LOCAL_GHOST_NODES_KEY: torch.tensor([exchange.nlocal, exchange.ntotal - exchange.nlocal]),
        }
        with default_dtype(torch.float64), torch.enable_grad():
            out = self._module(data)
        return out[Key.PER_ATOM_ENERGY_KEY].reshape(-1)[: exchange.nlocal].double()

    def _is_local(self, cutoff: float) -> bool:
        """Whether the energy of an atom depends on its own edges alone: asked of chains of three atoms."""
        pairs = np.array([[0, 1, 1, 2], [1, 0, 2, 1]])
        vectors = (pairs[1] - pairs[0])[:, None] * np.array([[0.6, 0.0, 0.8]]) * _CHAIN * cutoff
        for kind in range(self._n_types):
            along = torch.tensor(vectors, requires_grad=True)
            energies = self._energies(along, torch.as_tensor(pairs), np.full(3, kind), _Alone(3))
            (slope,) = torch.autograd.grad(energies[0], along, allow_unused=True)
            if slope is not None and bool(slope[1:].any()):
                return False
        return True
