"""Tables of radial weights in slabs: what all edges need for one vector of channels lies together."""

from __future__ import annotations

import numpy as np

from ..program import Layer
from ..tables import Table
from .packing import LayerRows, pack_table


def paths_of(layer: Layer, block: int) -> list[int]:
    """Paths of a layer that read a block of its inputs.

    Parameters
    ----------
    layer : Layer
        The layer.
    block : int
        Index of the block.

    Returns
    -------
    list of int
        Their numbers.
    """
    return [p for p, path in enumerate(layer.paths) if path.block == block]


def pack_slabs(layer: Layer, rows: LayerRows, table: Table, lanes: int) -> np.ndarray:
    """A table in the order of a loop over blocks of features, vectors of channels, edges, and the block's paths.

    Parameters
    ----------
    layer, rows, table, lanes
        As of :func:`pack_table`.

    Returns
    -------
    numpy.ndarray, (n_knots * n_weights * 6,)
        Block, vector of channels, knot, path of the block, power, lane.
    """
    packed = pack_table(layer, rows, table, lanes)
    slabs = [
        packed[:, [(rows.path_offsets[p] + channel) // lanes for p in paths_of(layer, block)]].ravel()
        for block, channels in enumerate(rows.inputs.channels)
        for channel in range(0, channels, lanes)
    ]
    return np.concatenate(slabs)
