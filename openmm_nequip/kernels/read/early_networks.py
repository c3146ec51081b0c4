"""Networks of Allegro models of nequip <= 0.6, and the latent features that they read and add to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ...upstream.early_allegro_modules import (
    network_weights,
    normalises_batches,
    update_coefficients,
    update_ratios,
)
from ...upstream.nequip_modules import normalisation_constant
from ..allegro_program import Mlp
from .probing import ACTIVATIONS, to_array

#: Functions between the matrices of their networks.
_NONLINEARITIES = ("silu", "ssp", "identity")
#: Largest deviation of a network that was read from the model's, relative to its largest value, by precision.
_ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-11}
_ROWS = 20


def read_network(name: str, function: Any, dtype: torch.dtype) -> Mlp:
    """A ``ScalarMLPFunction``: its code divides by the root of the inputs, and normalises activations.

    Parameters
    ----------
    name : str
        Of the network, for messages.
    function : torch.nn.Module
        The model's, scripted.
    dtype : torch.dtype
        In which the model computes.

    Returns
    -------
    Mlp

    Raises
    ------
    NotFusableError
        If it computes in another precision, normalises batches, or is something else.
    """
    weights = network_weights(function)
    matrices = [to_array(weight) / np.sqrt(weight.shape[0]) for weight in weights]
    if weights[0].dtype != dtype:
        raise NotFusableError(f"{name} computes in {weights[0].dtype}")
    if normalises_batches(function):
        raise NotFusableError(f"{name} normalises batches (mlp_batchnorm), which adds constants to its layers")
    x = torch.randn((_ROWS, len(matrices[0])), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x.to(dtype)
    expected = to_array(function(x))
    for kind in _NONLINEARITIES if len(matrices) > 1 else ("identity",):
        activation = ACTIVATIONS[kind]
        factor = _factor_of(kind)
        plain = kind == "identity" and len(matrices) > 1
        found = x.to(torch.float64)
        for i, matrix in enumerate(matrices):
            found = (activation(found) * factor if i else found) @ torch.from_numpy(matrix)
        if np.abs(found.numpy() - expected).max() <= _ROUNDING[dtype] * np.abs(expected).max():
            # Linear maps behind one another are one.
            return Mlp([np.linalg.multi_dot(matrices)], (kind, factor)) if plain else Mlp(matrices, (kind, factor))
    raise NotFusableError(f"{name} is no network of {' or '.join(_NONLINEARITIES)} without bias")


def _factor_of(kind: str) -> float:
    """The factor that e3nn's normalisation gives an activation."""
    if kind == "identity":
        return 1.0
    from e3nn.math import normalize2mom

    return normalisation_constant(normalize2mom(ACTIVATIONS[kind]))


def behind_first(mlp: Mlp) -> Mlp:
    """A network without its first matrix, and with at least one behind it."""
    if len(mlp.matrices) > 1:
        return Mlp(mlp.matrices[1:], mlp.activation)
    return Mlp([np.eye(mlp.matrices[0].shape[1])], ("identity", 1.0))


def shares_of_latents(allegro: Any, n_layers: int, ratios: bool) -> list[np.ndarray]:
    """What the latents of each layer have of V_0, V_1, ...: (k + 1,) each, the last those that the readout reads.

    Parameters
    ----------
    allegro : torch.nn.Module
        Allegro's ``Allegro_Module``.
    n_layers : int
        Its layers.
    ratios : bool
        Whether it keeps ratios of new to old latents, as 0.2, or the weights of all, as 0.3.

    Returns
    -------
    list of numpy.ndarray, (k + 1,) float64
    """
    if not bool(allegro.latent_resnet):
        return [np.eye(k + 1)[k] for k in range(n_layers + 1)]
    if ratios:
        updates = 1 / (1 + np.exp(-to_array(update_ratios(allegro))))
        old = 1 / np.sqrt(1 + updates**2)
        new = updates * old
    else:
        weights = to_array(update_coefficients(allegro))
        weights = np.exp(weights - weights.max())
        sums = np.cumsum(weights) + 1e-12
        old, new = np.sqrt(sums[:-1] / sums[1:]), np.sqrt(weights[1:] / sums[1:])
    found = [np.ones(1)]
    for a, b in zip(old, new, strict=True):
        found.append(np.append(a * found[-1], b))
    return found


def over_latents(matrix: np.ndarray, shares: np.ndarray, features: list[int]) -> np.ndarray:
    """A map of the latents of a layer as one of all V so far, side by side.

    Parameters
    ----------
    matrix : numpy.ndarray, (n_features, n_out) float64
        Of the latents.
    shares : numpy.ndarray, (k + 1,) float64
        What they have of each V.
    features : list of int
        Numbers in each V.

    Returns
    -------
    numpy.ndarray, (n_features of all V, n_out) float64
    """
    return np.concatenate(
        [
            share * matrix if share else np.zeros((count, matrix.shape[1]))
            for share, count in zip(shares, features, strict=False)
        ]
    )
