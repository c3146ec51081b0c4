"""Pairs that TorchMD-Net's models are given, in place of those that they would search for.

Its own search wants a lower triangular box at least two cutoffs wide, and gives wrong energies without a word in any
other; on a GPU, more pairs than it has room for end the process. Here the neighbour list of the package serves every
box, and the room is watched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import ModelFileError, NeighborLimitError


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a structure within the largest cutoff of a model.

    Parameters
    ----------
    index : torch.Tensor, (2, n_pairs) int64
        Both directions of each; no atom with an image of itself.
    vectors : torch.Tensor, (n_pairs, 3)
        From the second atom to the first, in the model's precision.
    lengths : torch.Tensor, (n_pairs,)
        Their lengths.
    n_atoms : int
        Number of atoms.
    """

    index: torch.Tensor
    vectors: torch.Tensor
    lengths: torch.Tensor
    n_atoms: int


class GivenPairs(torch.nn.Module):
    """Stands in for TorchMD-Net's search for pairs, with its cutoffs, options and order of results.

    Parameters
    ----------
    finder : torch.nn.Module
        The ``OptimizedDistance`` whose place it takes.
    limit : int, optional
        Neighbours for which there is room, in place of the finder's own number.
    """

    def __init__(self, finder: Any, limit: int | None = None) -> None:
        super().__init__()
        self.lower, self.upper = float(finder.cutoff_lower), float(finder.cutoff_upper)
        self.loop, self.both = bool(finder.loop), bool(finder.include_transpose)
        self.index_dtype = torch.int64 if finder.long_edge_index else torch.int32
        self.own_limit = int(finder.max_num_pairs)
        self.limit = None if limit is None else -int(limit)
        #: Those of the structure that is evaluated; one thread at a time.
        self.pairs: Pairs | None = None

    def forward(
        self, pos: torch.Tensor, batch: torch.Tensor | None = None, box: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pairs within the cutoffs, as TorchMD-Net's own module gives them.

        Parameters
        ----------
        pos : torch.Tensor, (n_atoms, 3)
            Positions in whatever unit; read only where there is no cutoff.
        batch, box
            Not read.

        Returns
        -------
        index : torch.Tensor, (2, n_pairs)
        lengths : torch.Tensor, (n_pairs,)
        vectors : torch.Tensor, (n_pairs, 3)

        Raises
        ------
        NeighborLimitError
            If there are more than the model has room for.
        ModelFileError
            If it is asked for the pairs of other atoms than those of the structure.
        """
        pairs = self.pairs if self.pairs is not None and math.isfinite(self.upper) else all_pairs(pos)
        if pos.shape[0] != pairs.n_atoms:
            raise ModelFileError(
                f"a part of this model leaves out {pairs.n_atoms - pos.shape[0]} of {pairs.n_atoms} atoms and searches "
                "for pairs of the rest (atom_filter with a prior); such models cannot be run here"
            )
        index, vectors, lengths = pairs.index, pairs.vectors, pairs.lengths
        with torch.no_grad():
            chosen = (lengths < self.upper) & (lengths >= self.lower)
            if not self.both:
                chosen &= index[0] > index[1]
        index, vectors, lengths = index[:, chosen], vectors[chosen], lengths[chosen]
        n_atoms = pos.shape[0]
        if self.loop:
            atoms = torch.arange(n_atoms, device=index.device)
            index = torch.cat([index, atoms.repeat(2, 1)], dim=1)
            vectors = torch.cat([vectors, vectors.new_zeros((n_atoms, 3))])
            lengths = torch.cat([lengths, lengths.new_zeros(n_atoms)])
        self._check(index.shape[1], n_atoms)
        return index.to(self.index_dtype), lengths, vectors

    def _check(self, found: int, n_atoms: int) -> None:
        """Refuse more pairs than the model has room for: by its own number, which is one for each atom if negative."""
        limit = self.own_limit if self.limit is None else self.limit
        most = -limit * n_atoms if limit < 0 else limit
        if found > most:
            raise NeighborLimitError(abs(limit), found, n_atoms)


def all_pairs(pos: torch.Tensor) -> Pairs:
    """Every pair of atoms, without a cutoff.

    Parameters
    ----------
    pos : torch.Tensor, (n_atoms, 3)
        Positions.

    Returns
    -------
    Pairs
        Differentiable with respect to the positions.
    """
    n_atoms = pos.shape[0]
    index = torch.nonzero(~torch.eye(n_atoms, dtype=torch.bool, device=pos.device)).t()
    vectors = pos[index[0]] - pos[index[1]]
    return Pairs(index, vectors, torch.linalg.vector_norm(vectors, dim=1), n_atoms)
