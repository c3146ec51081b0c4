"""The self-connection of NequIP's layers, which is linear in the features and in the embedding of the type.

Probing it for each of a hundred types takes a minute; its weights say the same at once. What they mean is a convention
of e3nn, so the result is compared with the module on a few rows.

References
----------
``FullyConnectedTensorProduct`` of e3nn: irrep by scalars, with a weight for each triple of channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..program import Block
from .probing import blocks_of, to_array

#: Rows on which weights and module are compared, and the largest difference that is rounding, relative to the largest.
_ROWS = 4
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-10}


def bilinear_maps(
    module: Any, inputs: list[Block], outputs: list[Block], embedding: torch.Tensor
) -> dict[tuple[int, int], np.ndarray] | None:
    """Maps between features for each type, from the weights of a tensor product with the embedding.

    Parameters
    ----------
    module : torch.nn.Module
        Features (n, dimension) and embeddings (n, n_channels) -> features.
    inputs, outputs : list of Block
        Blocks of the features before and after.
    embedding : torch.Tensor, (n_types, n_channels)
        Embedding of each type.

    Returns
    -------
    dict of (int, int) to numpy.ndarray, (n_types, mul_in, mul_out) float64, or None
        By indices of source and target; None if the module is not such a product, or not as it is read here.
    """
    try:
        maps = _from_weights(module, inputs, outputs, to_array(embedding))
    except (AttributeError, TypeError, ValueError):
        return None
    return maps if maps is not None and _reproduces(module, maps, inputs, outputs, embedding) else None


def _from_weights(
    module: Any, inputs: list[Block], outputs: list[Block], embedding: np.ndarray
) -> dict[tuple[int, int], np.ndarray] | None:
    scalars = blocks_of(module.irreps_in2)
    if blocks_of(module.irreps_in1) != inputs or blocks_of(module.irreps_out) != outputs:
        return None
    if [(b.mul, b.l) for b in scalars] != [(embedding.shape[1], 0)]:
        return None
    weights, start = to_array(module.weight).ravel(), 0
    maps: dict[tuple[int, int], np.ndarray] = {}
    for path in module.instructions:
        shape = tuple(int(n) for n in path.path_shape)
        tensor = weights[start : start + int(np.prod(shape))].reshape(shape)
        start += tensor.size
        key = int(path.i_in1), int(path.i_out)
        # The Wigner 3j symbol of l, 0, l is the identity over the root of 2l + 1.
        factor = float(path.path_weight) / np.sqrt(2 * inputs[key[0]].l + 1)
        found = factor * np.tensordot(embedding, tensor, axes=(1, 1))
        maps[key] = maps[key] + found if key in maps else found
    return maps if start == weights.size else None


def _reproduces(
    module: Any,
    maps: dict[tuple[int, int], np.ndarray],
    inputs: list[Block],
    outputs: list[Block],
    embedding: torch.Tensor,
) -> bool:
    """Whether the maps give what the module gives, on random features of a few types."""
    generator = torch.Generator().manual_seed(1)
    types = torch.randint(len(embedding), (_ROWS,), generator=generator)
    sizes, targets = ([b.mul * (2 * b.l + 1) for b in blocks] for blocks in (inputs, outputs))
    features = torch.randn((_ROWS, sum(sizes)), generator=generator, dtype=torch.float64)
    expected = to_array(module(features.to(embedding.dtype), embedding[types]))
    sources = [part.numpy() for part in features.split(sizes, dim=1)]
    found = [np.zeros((_ROWS, size)) for size in targets]
    for (i, k), stack in maps.items():
        width = 2 * inputs[i].l + 1
        x = sources[i].reshape(_ROWS, inputs[i].mul, width)
        found[k] += np.einsum("ruw,ruv->rvw", x, stack[types.numpy()]).reshape(_ROWS, -1)
    difference = np.abs(np.concatenate(found, axis=1) - expected).max()
    return bool(difference <= _ROUNDING[embedding.dtype] * max(np.abs(expected).max(), 1e-30))
