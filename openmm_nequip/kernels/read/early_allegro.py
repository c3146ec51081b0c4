"""Allegro models of nequip <= 0.6: from the modules of a deployed file to a :class:`MixingProgram`, or why not.

Two generations were written by nequip-deploy. In that of 2022 (0.2) types are one-hot vectors beside the radial basis,
and the cutoff is a factor of what every latent network gives; in that of 2023 (0.3) types multiply the radial basis,
and an edge is usually no part of its own environment.

References
----------
A. Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; modules of
https://github.com/mir-group/allegro, versions 0.2 and 0.3.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import NotFusableError
from ...upstream.allegro_modules import (
    environment_weighter,
    scalars_per_layer,
    sum_factor,
    tensor_weighter,
    weighted_orders,
)
from ...upstream.early_allegro_modules import network_function, network_weights, padded_components, weights_of_orders
from ..allegro_program import Mlp
from ..mixing_program import Envelope, MixingProgram
from .allegro import spread_columns
from .early_nequip import deployed_network, scale_and_shift
from .early_networks import behind_first, over_latents, read_network, shares_of_latents
from .early_products import ProductReader, ReadProduct, first_weights, joined
from .early_two_body import TwoBody, one_hot, products_of_types
from .energy_model import Parts, expect_plain_sum, read_dtype, read_harmonics, read_repulsion
from .probing import to_array

_KNOWN = frozenset({
    "OneHotAtomEncoding", "SphericalHarmonicEdgeAttrs", "RadialBasisEdgeEncoding", "AllegroBesselBasis",
    "NormalizedBasis", "ProductTypeEmbedding", "Allegro_Module", "ScalarMLP", "EdgewiseEnergySum",
    "PerSpeciesScaleShift", "ZBL", "AtomwiseReduce",
})  # fmt: skip
#: Cutoffs that differ less, Å, are the same.
_SAME_CUTOFF = 1e-6


def recognises(model: Any) -> bool:
    """Whether a model has Allegro's layers, of that age: with linear maps of the tensors of an edge.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    bool
    """
    return any(
        type(module).__name__ == "Allegro_Module" and hasattr(module, "env_embed_mlps") for module in model.modules()
    )


def read(model: Any) -> MixingProgram:
    """Read an Allegro model of nequip <= 0.6.

    Parameters
    ----------
    model : torch.nn.Module
        As nequip-deploy wrote it, on the CPU.

    Returns
    -------
    MixingProgram

    Raises
    ------
    NotFusableError
        If a module is not known, naming it.
    """
    network, scale = deployed_network(model)
    parts = Parts(network, _KNOWN)
    allegro, harmonics_module = parts.one("Allegro_Module"), parts.one("SphericalHarmonicEdgeAttrs")
    expect_plain_sum(parts.one("AtomwiseReduce"))
    harmonics = read_harmonics(harmonics_module.irreps_edge_sh, harmonics_module.sh)
    envelope = bool(parts.all("OneHotAtomEncoding"))
    two_body = one_hot(parts) if envelope else products_of_types(parts)
    dtype = model.model_dtype
    latents = [read_network(f"latents.{k}", each, dtype) for k, each in enumerate(allegro.latents)]
    latents.append(read_network("final_latent", allegro.final_latent, dtype))
    embedding, *others = latents
    readout = read_network("edge_eng", network_function(parts.one("ScalarMLP")), dtype)
    features = [each.matrices[-1].shape[1] for each in latents]
    shares = shares_of_latents(allegro, len(others), envelope)
    weights = _weights(allegro, envelope, len(harmonics), two_body.n_types, shares, features)
    padding = padded_components(allegro) if envelope else 0
    products = _products(allegro, len(harmonics), weights.tensor.shape[2], dtype, padding)
    networks = _latent_networks(others, products, shares, features, not envelope and not bool(allegro.latent_resnet))
    last = over_latents(readout.matrices[0], shares[-1], features)
    scales, shifts = scale_and_shift(parts, two_body.n_types)
    zbl = parts.all("ZBL")
    repulsion = read_repulsion(zbl[0][1], two_body.basis.power) if zbl else None
    factor, pair_scales = _edge_factors(parts.one("EdgewiseEnergySum"))
    return MixingProgram(
        dtype=read_dtype(model),
        n_types=two_body.n_types,
        reciprocal_cutoffs=two_body.reciprocal_cutoffs,
        harmonics=harmonics,
        scales=scales * scale * factor,
        shifts=shifts * scale,
        repulsion=repulsion and dataclasses.replace(repulsion, factor=repulsion.factor * scale),
        basis=two_body.basis,
        pairs=two_body.inputs @ embedding.matrices[0],
        embedding=behind_first(embedding),
        envelope=envelope,
        envelopes=_envelopes(allegro, two_body) if envelope else [],
        own_edge=envelope or bool(allegro.self_edge_tensor_product),
        tensor=first_weights(weights.tensor, products[0]),
        environments=weights.environments,
        weighters=weights.weighters,
        norms=weights.norms,
        products=joined(products),
        latents=networks,
        readout=Mlp([last, *readout.matrices[1:]], readout.activation),
        features=features,
        pair_scales=pair_scales,
    )


def _edge_factors(total: Any) -> tuple[float, np.ndarray | None]:
    """Factors of the energies of edges: one for all, and those of pairs of types (n_types, n_types)."""
    factor = sum_factor(total)
    scales = to_array(total.per_edge_scales) if bool(getattr(total, "per_edge_species_scale", False)) else None
    return 1.0 if factor is None else float(factor), scales


def _envelopes(allegro: Any, two_body: TwoBody) -> list[Envelope]:
    """Cutoffs of the latents of 0.2, where they are not that of the radial basis."""
    if not bool(allegro.embed_initial_edge):  # which 0.2.0 cannot build, so that there is none to compare with
        raise NotFusableError("its first tensors are plain harmonics (embed_initial_edge: false)")
    cutoffs, cosine = to_array(allegro.per_layer_cutoffs), allegro.cutoff_type == "cosine"
    power, cutoff = float(allegro.polynomial_cutoff_p), 1.0 / two_body.reciprocal_cutoffs[0, 0]
    if not bool(allegro.latent_resnet) and np.ptp(cutoffs) > _SAME_CUTOFF:
        raise NotFusableError(
            f"its layers have cutoffs {cutoffs} (per_layer_cutoffs) without latent_resnet: an edge beyond one then "
            "keeps the latents of another layer"
        )
    same = power == two_body.basis.power and (np.abs(cutoffs - cutoff) <= _SAME_CUTOFF).all()
    if same and not cosine:
        return []
    shape = float(allegro.r_start_cos_ratio) if cosine else power
    return [Envelope(float(each), cosine, shape) for each in cutoffs]


def _latent_networks(
    latents: list[Mlp], products: list[ReadProduct], shares: list[np.ndarray], features: list[int], side_by_side: bool
) -> list[Mlp]:
    """Latent networks behind the products, as maps of all V so far and of the slots' scalars."""
    found = []
    for k, (mlp, product) in enumerate(zip(latents, products, strict=True)):
        first = mlp.matrices[0]
        count = sum(features[: k + 1]) if side_by_side else features[k]
        rows = first[:count] if side_by_side else over_latents(first[:count], shares[k], features)
        joint = np.concatenate([rows, product.rows(first[count:])])
        found.append(Mlp([joint, *mlp.matrices[1:]], mlp.activation))
    if len({mlp.activation for mlp in found}) != 1:
        raise NotFusableError("its latent networks have different activations")
    return found


class _Weights(NamedTuple):
    """Maps onto weights of the tensors and of all environments, networks before them, and factors of the sums."""

    tensor: np.ndarray
    environments: list[np.ndarray]
    weighters: list[Mlp]
    norms: np.ndarray


def _weights(
    allegro: Any, envelope: bool, orders: int, n_types: int, shares: list[np.ndarray], features: list[int]
) -> _Weights:
    weighter = environment_weighter(allegro)
    channels = int(weighter.multiplicity_out)
    n_layers = len(list(allegro.env_embed_mlps))
    mixed: list[np.ndarray | None] = [None] * n_layers
    if envelope:
        padded = orders**2 + padded_components(allegro)
        mixed = [
            _environment_map(f"env_linears.{k}", linear, orders, channels, padded, allegro.env_sum_normalizations.dtype)
            for k, linear in enumerate(allegro.env_linears)
        ]
        own = first = weights_of_orders(weighter)
        stored = to_array(allegro.env_sum_normalizations)
        norms = np.broadcast_to(stored.reshape(n_layers, -1), (n_layers, n_types)).copy()
    else:
        own, first = weighted_orders(weighter), weighted_orders(tensor_weighter(allegro))
        norms = np.full((n_layers, n_types), float(weighter.alpha))
    found, weighters, tensor = [], [], np.zeros(0)
    for k, network in enumerate(allegro.env_embed_mlps):
        weights = network_weights(network)
        mlp = read_network(f"env_embed_mlps.{k}", network, weights[0].dtype)
        *before, matrix = mlp.matrices
        if before:
            weighters.append(Mlp([over_latents(before[0], shares[k], features), *before[1:]], mlp.activation))
        else:
            matrix = over_latents(matrix, shares[k], features)
        if k == 0:
            tensor = spread_columns(matrix[:, : channels * first], first, orders, channels)
            matrix = matrix[:, channels * first :]
        every = spread_columns(matrix, own, orders, channels)
        through = mixed[k]  # a map of the sum over edges is one of its terms
        found.append(every if through is None else np.einsum("fls,lsd->fld", every, through))
    return _Weights(tensor, found, weighters, norms)


def _environment_map(
    name: str, linear: Any, orders: int, channels: int, padded: int, dtype: torch.dtype
) -> np.ndarray | None:
    """The linear map of an environment (linear_after_env_embed): (n_orders, n_channels, n_channels)."""
    if type(linear).__name__ == "Identity":
        return None
    own = torch.arange(channels)
    found = []
    for order in range(orders):
        x = torch.zeros((channels, channels, padded), dtype=dtype)
        x[own, own, order**2] = 1.0
        result = to_array(linear(x)).reshape(channels, channels, padded)
        found.append(result[:, :, order**2].copy())
        result[:, :, order**2] = 0.0
        if result.any():
            raise NotFusableError(f"{name} mixes harmonics")
    return np.stack(found)


def _products(allegro: Any, orders: int, channels: int, dtype: torch.dtype, padding: int) -> list[ReadProduct]:
    """Products of all layers; harmonics are ``padding`` components longer than they are."""
    products, linears = list(allegro.tps), list(allegro.linears)
    found: list[ReadProduct] = []
    sources, padded = list(range(orders)), orders**2 + padding
    width = padded
    for k, count in enumerate(scalars_per_layer(allegro)):
        widths = width, padded
        reader = ProductReader(f"tps.{k}", products[k], linears[k], sources, orders, channels, dtype, widths)
        found.append(reader.read(count, last=k + 1 == len(products)))
        sources, width = found[-1].targets, found[-1].width
    return found
