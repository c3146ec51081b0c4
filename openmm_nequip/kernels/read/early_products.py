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
    """A product, and how its tensors and scalars stand among those of the model.

    Parameters
    ----------
    sources, targets : list of int
        Orders of the blocks of its tensors, and of its result.
    paths : list of EdgePath
        The products.
    entries : list of tuple of (int, numpy.ndarray (n_channels, n_channels) or None)
        For each block of its tensors, which of the model's tensors it is made of, and by which map of the channels.
    mixing : list of numpy.ndarray, (n_slots, n_channels, n_channels) float64
        From each block of the result to the model's next tensors, one for each; none in the last layer.
    scalars : list of tuple of (int, numpy.ndarray (n_channels,))
        Of each slot of the scalars: which of the model's scalars of a channel it is part of, and its factors.
    width : int
        Components of the model's next tensors, with those that they are padded by.
    """

    sources: list[int]
    targets: list[int]
    paths: list[EdgePath]
    entries: list[tuple[int, np.ndarray | None]]
    mixing: list[np.ndarray]
    scalars: list[tuple[int, np.ndarray]]
    width: int

    def rows(self, matrix: np.ndarray) -> np.ndarray:
        """A map of the model's scalars, channel by channel, as one of the slots' scalars, slot by slot.

        Parameters
        ----------
        matrix : numpy.ndarray, (n_channels * n_scalars, n_out) float64

        Returns
        -------
        numpy.ndarray, (n_slots * n_channels, n_out) float64
        """
        channels = len(self.scalars[0][1])
        shaped = matrix.reshape(channels, -1, matrix.shape[1])
        return np.concatenate([shaped[:, index] * factors[:, None] for index, factors in self.scalars])


def joined(products: list[ReadProduct]) -> list[EdgeProduct]:
    """Products of all layers, each with the maps that the next one begins with in its own mixing.

    Parameters
    ----------
    products : list of ReadProduct
        Of the layers.

    Returns
    -------
    list of EdgeProduct

    Raises
    ------
    NotFusableError
        If one of them gives what nothing reads.
    """
    found = []
    for k, each in enumerate(products):
        made_of: list[int] = []
        mixing: list[np.ndarray] = []
        for block, matrix in products[k + 1].entries if k + 1 < len(products) else []:
            made_of.append(block)
            mixing.append(each.mixing[block] if matrix is None else each.mixing[block] @ matrix)
        if set(range(1, len(each.targets))) - set(made_of):
            raise NotFusableError(f"tps.{k} gives tensors that the next layer does not read")
        found.append(EdgeProduct(each.sources, each.targets, each.paths, made_of, mixing))
    return found


def first_weights(weights: np.ndarray, first: ReadProduct) -> np.ndarray:
    """From V_0 to the weights of the tensors that the first product reads.

    Parameters
    ----------
    weights : numpy.ndarray, (n_embedding, n_orders, n_channels) float64
        To those of the model's.
    first : ReadProduct
        The product.

    Returns
    -------
    numpy.ndarray, (n_embedding, n_blocks, n_channels) float64
    """
    parts = [weights[:, block] if matrix is None else weights[:, block] @ matrix for block, matrix in first.entries]
    return np.stack(parts, axis=1)


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
    widths : tuple of int, optional
        Components of the tensors and of the harmonics, with those that they are padded by; by default there are none.
    """

    def __init__(
        self,
        name: str,
        product: Any,
        linear: Any,
        sources: list[int],
        orders: int,
        channels: int,
        dtype: torch.dtype,
        widths: tuple[int, int] | None = None,
    ) -> None:
        self._name, self._product, self._linear = name, product, linear
        self._sources, self._orders = sources, orders
        self._channels, self._dtype = channels, dtype
        self._widths = widths or (sum(2 * order + 1 for order in sources), orders**2)

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
        weighted = type(self._linear).__name__ == "Identity"
        if self._mixes():
            if not weighted:
                raise NotFusableError(f"{self._name} mixes channels by itself, and has a linear map behind it")
            return self._mixing_before(n_scalars, last)
        values = self._couplings()
        blocks, found = self._paths(values)
        self._expect_scalars(blocks, n_scalars, last)
        if weighted:
            return self._weighted(blocks, found, values.shape[3], last)
        if any(np.ptp(path.factors) > 0 for path in found):
            raise NotFusableError(f"{self._name} has weights and a linear map behind it")
        places, matrices, width = self._mixing([start for start, _ in blocks], values.shape[3])
        if any(place != 0 for place in places[:n_scalars]):
            raise NotFusableError(f"the linear map behind {self._name} does not begin with the scalars")
        targets = sorted(set(places))
        orders = [next(order for p, (_, order) in zip(places, blocks, strict=True) if p == t) for t in targets]
        mixing = [np.stack([matrix for p, matrix in zip(places, matrices, strict=True) if p == t]) for t in targets]
        counts = [0] * len(targets)
        paths, scalars = [], []
        for path in found:
            target = targets.index(places[path.block])
            symbols = path.symbols * float(path.factors[0])
            paths.append(EdgePath(path.source, path.order, target, counts[target], symbols))
            counts[target] += 1
            if target == 0:
                scalars.append((path.block, np.ones(self._channels)))
        return ReadProduct(self._sources, orders, paths, self._plain(), [] if last else mixing, scalars, width)

    def _plain(self) -> list[tuple[int, np.ndarray | None]]:
        return [(block, None) for block in range(len(self._sources))]

    def _expect_scalars(self, blocks: list[tuple[int, int]], n_scalars: int, last: bool) -> None:
        if any(order for _, order in blocks[:n_scalars]) or (last and len(blocks) != n_scalars):
            raise NotFusableError(f"{self._name} does not begin with its {n_scalars} scalars")

    def _weighted(self, blocks: list[tuple[int, int]], found: list[_Found], width: int, last: bool) -> ReadProduct:
        """A product with weights and without a linear map: for each path, or for each path and channel."""
        orders, ones = [order for _, order in blocks], np.ones(self._channels)
        if all(np.ptp(path.factors) == 0 for path in found):
            paths = [EdgePath(p.source, p.order, p.block, 0, p.symbols * float(p.factors[0])) for p in found]
            mixing = [np.eye(self._channels)[None]] * len(blocks)
            scalars = [(0, ones)]
        else:
            paths, counts = [], [0] * len(blocks)
            for path in found:
                paths.append(EdgePath(path.source, path.order, path.block, counts[path.block], path.symbols))
                counts[path.block] += 1
            own = [[path.factors for path in found if path.block == b] for b in range(len(blocks))]
            mixing = [np.stack([np.diag(factors) for factors in each]) for each in own]
            scalars = [(0, factors) for factors in own[0]]
        return ReadProduct(self._sources, orders, paths, self._plain(), [] if last else mixing, scalars, width)

    def _mixing_before(self, n_scalars: int, last: bool) -> ReadProduct:
        """A product whose paths have maps of the channels of its tensors: each path then has tensors of its own."""
        factors: dict[tuple[int, int, int], list[np.ndarray]] = {}
        symbols, width = {}, 0
        for channel in range(self._channels):
            values = self._couplings(channel)
            blocks, found = self._paths(values)
            width = values.shape[3]
            for path in found:
                symbols[path.source, path.order, path.block] = path.symbols
                factors.setdefault((path.source, path.order, path.block), []).append(path.factors)
        if any(len(each) != self._channels for each in factors.values()):
            raise NotFusableError(f"{self._name} has paths that are not those of all channels")
        self._expect_scalars(blocks, n_scalars, last)
        sources, paths = [], []
        entries: list[tuple[int, np.ndarray | None]] = []
        for number, (key, matrix) in enumerate(factors.items()):
            source, order, block = key
            sources.append(self._sources[source])
            paths.append(EdgePath(number, order, block, 0, symbols[key]))
            entries.append((source, np.stack(matrix)))
        mixing = [] if last else [np.eye(self._channels)[None]] * len(blocks)
        orders = [order for _, order in blocks]
        return ReadProduct(sources, orders, paths, entries, mixing, [(0, np.ones(self._channels))], width)

    def _mixes(self) -> bool:
        """Whether a channel of the tensors reaches other channels of the result."""
        if self._channels == 1:
            return False
        first, second = self._unit_vectors(0, 0)
        return bool(np.abs(self._evaluate(first, second)[:, 1:]).max() > 0)

    def _unit_vectors(self, component: int, channel: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        """A component of the tensors, of one or all channels, with each of the harmonics."""
        harmonics, (width, padded) = self._orders**2, self._widths
        second = torch.eye(harmonics, padded, dtype=self._dtype)[:, None].expand(-1, self._channels, -1).contiguous()
        first = torch.zeros((harmonics, self._channels, width), dtype=self._dtype)
        first[:, slice(None) if channel is None else channel, component] = 1.0
        return first, second

    def _couplings(self, channel: int | None = None) -> np.ndarray:
        """What the product gives for unit vectors: (n_channels, n_in, n_harmonics, n_raw).

        Of one channel of the tensors, or of all, each for itself.
        """
        width = sum(2 * order + 1 for order in self._sources)
        rows = [self._evaluate(*self._unit_vectors(m, channel)) for m in range(width)]
        return np.stack(rows).transpose(2, 0, 1, 3)

    def _evaluate(self, first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
        width = first.shape[2]
        try:
            found = to_array(self._product(first, second))
        except RuntimeError as error:
            raise NotFusableError(f"{self._name} is no product of {width} components with harmonics") from error
        if found.shape[0] != len(first):
            raise NotFusableError(f"{self._name} reads tensors that do not have {width} components")
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
        start, stop = 0, 1 + int(np.flatnonzero(values.any(axis=(0, 1, 2))).max(initial=-1))  # zeros follow: padding
        while start < stop:
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

    def _mixing(self, starts: list[int], width: int) -> tuple[list[int], list[np.ndarray], int]:
        """Where each block of raw results is behind the linear map, its matrix, and the components there are.

        Matrices are (n_channels, n_channels).
        """
        places, matrices, components = [], [], 0
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
            components = result.shape[2]
        return places, matrices, components
