"""Tensor products of Allegro models of nequip <= 0.6, and the linear maps behind them, told by what they do.

Their TorchScript has lost irreps and instructions, so each product is evaluated on unit vectors: what it gives is a
multiple of Wigner 3j symbols for each path, and tells which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import NotFusableError
from ..harmonics import coupling
from ..mixing_program import EdgePath, EdgeProduct
from .probing import to_array

#: Largest deviation from multiples of Wigner 3j symbols, by precision.
_ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-10}


class _Found(NamedTuple):
    """A path of a product: its block of raw results, where it reads, and factors of the 3j symbols for each channel."""

    block: int
    source: int
    order: int
    symbols: np.ndarray
    factors: np.ndarray


@dataclass(frozen=True, eq=False)
class ReadProduct:
    """A product, and how its scalars stand among those of the model.

    Parameters
    ----------
    product : EdgeProduct
        The product.
    scalars : list of tuple of (int, numpy.ndarray (n_channels,))
        Of each path into the scalars: which of the model's scalars of a channel it is part of, and its factors.
    """

    product: EdgeProduct
    scalars: list[tuple[int, np.ndarray]]

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        """A map of the model's scalars, channel by channel, as one of the paths' scalars, path by path.

        Parameters
        ----------
        matrix : numpy.ndarray, (n_channels * n_scalars, n_out) float64

        Returns
        -------
        numpy.ndarray, (n_paths * n_channels, n_out) float64
        """
        channels = len(self.scalars[0][1])
        shaped = matrix.reshape(channels, -1, matrix.shape[1])
        return np.concatenate([shaped[:, index] * factors[:, None] for index, factors in self.scalars])


class ProductReader:
    """One layer's product and linear map.

    Parameters
    ----------
    name : str
        Of the product, for messages.
    product, linear : torch.nn.Module
        The model's, scripted.
    sources : list of int
        Orders of the blocks of the tensors.
    orders, channels : int
        Numbers of harmonics' orders and of channels.
    dtype : torch.dtype
        In which they are evaluated.
    """

    def __init__(
        self, name: str, product: Any, linear: Any, sources: list[int], orders: int, channels: int, dtype: torch.dtype
    ) -> None:
        self._name, self._product, self._linear = name, product, linear
        self._sources, self._orders = sources, orders
        self._channels, self._dtype = channels, dtype

    def read(self, n_scalars: int, last: bool) -> ReadProduct:
        """What they are.

        Parameters
        ----------
        n_scalars : int
            How many of the raw results of a channel are scalars, which stand first.
        last : bool
            Whether it is the last layer, whose tensors nothing reads.

        Returns
        -------
        ReadProduct

        Raises
        ------
        NotFusableError
            If they are of no kind that is known.
        """
        values = self._couplings()
        blocks, found = self._paths(values)
        if any(order for _, order in blocks[:n_scalars]) or (last and len(blocks) != n_scalars):
            raise NotFusableError(f"{self._name} does not begin with its {n_scalars} scalars")
        if type(self._linear).__name__ == "Identity":
            targets = list(range(len(blocks)))
            mixing = [np.stack([np.diag(path.factors) for path in found if path.block == b]) for b in targets]
            places, orders = targets, [order for _, order in blocks]
        else:
            if any(np.ptp(path.factors) > 0 for path in found):
                raise NotFusableError(f"{self._name} has weights and a linear map behind it")
            places, matrices = self._mixing([start for start, _ in blocks], values.shape[3])
            if any(place != 0 for place in places[:n_scalars]):
                raise NotFusableError(f"the linear map behind {self._name} does not begin with the scalars")
            targets = sorted(set(places))
            orders = [next(order for p, (_, order) in zip(places, blocks, strict=True) if p == t) for t in targets]
            mixing = [np.stack([matrix for p, matrix in zip(places, matrices, strict=True) if p == t]) for t in targets]
            places = [targets.index(place) for place in places]
        counts = [0] * len(targets)
        paths, scalars = [], []
        weighted = type(self._linear).__name__ == "Identity"
        for path in found:
            target = places[path.block]
            factor = 1.0 if weighted else float(path.factors[0])
            paths.append(EdgePath(path.source, path.order, target, counts[target], path.symbols * factor))
            counts[target] += 1
            if target == 0:
                scalars.append((path.block, path.factors if weighted else np.ones(self._channels)))
        return ReadProduct(EdgeProduct(self._sources, orders, paths, [] if last else mixing), scalars)

    def _couplings(self) -> np.ndarray:
        """What the product gives for unit vectors: (n_channels, n_in, n_harmonics, n_raw)."""
        width, harmonics = sum(2 * order + 1 for order in self._sources), self._orders**2
        second = torch.eye(harmonics, dtype=self._dtype)[:, None].expand(-1, self._channels, -1).contiguous()
        rows = []
        for m in range(width):
            first = torch.zeros((harmonics, self._channels, width), dtype=self._dtype)
            first[:, :, m] = 1.0
            rows.append(self._evaluate(first, second))
            if self._channels > 1:
                first[:, 1:] = 0.0
                if np.abs(self._evaluate(first, second)[:, 1:]).max() > 0:
                    raise NotFusableError(f"{self._name} mixes channels by itself (tensors_mixing_mode uvvp)")
        return np.stack(rows).transpose(2, 0, 1, 3)

    def _evaluate(self, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
        try:
            found = to_array(self._product(first, second))
        except RuntimeError as error:
            width = first.shape[2]
            raise NotFusableError(f"{self._name} is no product of {width} components with harmonics") from error
        return found.reshape(len(first), self._channels, -1)

    def _paths(self, values: np.ndarray) -> tuple[list[tuple[int, int]], list[_Found]]:
        """Blocks of the raw results (start, order), and the paths into them."""
        starts = np.cumsum([0, *(2 * order + 1 for order in self._sources)])
        parts = [
            (i, l2, slice(starts[i], starts[i + 1]), slice(l2**2, (l2 + 1) ** 2))
            for i in range(len(self._sources))
            for l2 in range(self._orders)
        ]
        blocks: list[tuple[int, int]] = []
        found: list[_Found] = []
        start = 0
        while start < values.shape[3]:
            read = [part for part in parts if values[:, part[2], part[3], start].any()]
            order = self._order_of_block(values, read, start)
            blocks.append((start, order))
            for source, l2, rows, columns in read:
                own = values[:, rows, columns, start : start + 2 * order + 1]
                symbols = coupling(self._sources[source], l2, order)
                factors = np.einsum("cmnj,mnj->c", own, symbols) / np.square(symbols).sum()
                if np.abs(own - factors[:, None, None, None] * symbols).max() > self._limit(values):
                    raise NotFusableError(f"{self._name} has a path that is no multiple of Wigner 3j symbols")
                if np.ptp(factors) <= self._limit(values):
                    factors = np.full_like(factors, factors.mean())
                found.append(_Found(len(blocks) - 1, source, l2, symbols, factors))
            start += 2 * order + 1
        return blocks, found

    def _order_of_block(self, values: np.ndarray, read: list[Any], start: int) -> int:
        """The order of the block of raw results that begins at a place."""
        if read:
            source, l2, rows, columns = read[0]
            l1 = self._sources[source]
            for order in range(abs(l1 - l2), l1 + l2 + 1):
                own = values[0, rows, columns, start : start + 2 * order + 1]
                symbols = coupling(l1, l2, order)
                if own.shape != symbols.shape:
                    continue
                factor = (own * symbols).sum() / np.square(symbols).sum()
                if factor != 0 and np.abs(own - factor * symbols).max() <= self._limit(values):
                    return order
        raise NotFusableError(f"{self._name} has results at {start} that are no product of irreducible tensors")

    def _limit(self, values: np.ndarray) -> float:
        return _ROUNDING[self._dtype] * float(np.abs(values).max())

    def _mixing(self, starts: list[int], width: int) -> tuple[list[int], list[np.ndarray]]:
        """For each block of raw results its place behind the linear map, and the matrix (n_channels, n_channels)."""
        places, matrices = [], []
        channels = torch.arange(self._channels)
        for start in starts:
            x = torch.zeros((self._channels, self._channels, width), dtype=self._dtype)
            x[channels, channels, start] = 1.0
            result = to_array(self._linear(x)).reshape(self._channels, self._channels, -1)
            used = np.flatnonzero(np.abs(result).max(axis=(0, 1)))
            if len(used) != 1:
                raise NotFusableError(f"the linear map behind {self._name} gives {len(used)} components of one")
            places.append(int(used[0]))
            matrices.append(result[:, :, used[0]])
        return places, matrices
