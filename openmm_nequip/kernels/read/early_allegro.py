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
from typing import Any

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
from ...upstream.early_allegro_modules import (
    network_function,
    network_weights,
    normalised_basis,
    padded_components,
    update_coefficients,
    update_ratios,
    weights_of_orders,
)
from ...upstream.nequip_modules import normalisation_constant, reciprocal_cutoffs
from ..allegro_program import Mlp
from ..mixing_program import MixingProgram
from ..program import Bessel
from .allegro import spread_columns
from .early_nequip import deployed_network, scale_and_shift
from .early_products import ProductReader, ReadProduct
from .energy_model import Parts, expect_plain_sum, read_dtype, read_harmonics, read_repulsion
from .probing import ACTIVATIONS, expect_class, to_array

_KNOWN = frozenset({
    "OneHotAtomEncoding", "SphericalHarmonicEdgeAttrs", "RadialBasisEdgeEncoding", "AllegroBesselBasis",
    "ProductTypeEmbedding", "Allegro_Module", "ScalarMLP", "EdgewiseEnergySum", "PerSpeciesScaleShift", "ZBL",
    "AtomwiseReduce",
})  # fmt: skip
#: Functions between the matrices of their networks.
_NONLINEARITIES = ("silu", "ssp", "identity")
#: Largest deviation of a network that was read from the model's, relative to its largest value, by precision.
_ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-11}
_ROWS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class _TwoBody:
    """What an edge has of its length and types before the first network."""

    n_types: int
    basis: Bessel
    #: (n_types, n_types, n_functions, n_inputs): inputs of the network from functions of the basis.
    inputs: np.ndarray
    reciprocal_cutoffs: np.ndarray


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
    two_body = _one_hot(parts) if envelope else _products_of_types(parts)
    if envelope:
        _expect_plain_layers(allegro, two_body.basis.power, float(parts.one("RadialBasisEdgeEncoding").basis.r_max))
    dtype = model.model_dtype
    latents = [_read_network(f"latents.{k}", each, dtype) for k, each in enumerate(allegro.latents)]
    latents.append(_read_network("final_latent", allegro.final_latent, dtype))
    embedding, *others = latents
    readout = _read_network("edge_eng", network_function(parts.one("ScalarMLP")), dtype)
    features = [each.matrices[-1].shape[1] for each in latents]
    shares = _shares(allegro, len(others), envelope)
    joined = not envelope and not bool(allegro.latent_resnet)
    tensor, environments, norms = _environments(allegro, envelope, len(harmonics), two_body.n_types, shares, features)
    products = _products(allegro, len(harmonics), tensor.shape[2], dtype)
    networks = []
    for k, (mlp, read_product) in enumerate(zip(others, products, strict=True)):
        first = mlp.matrices[0]
        count = sum(features[: k + 1]) if joined else features[k]
        rows = first[:count] if joined else _over_latents(first[:count], shares[k], features)
        joint = np.concatenate([rows, read_product.rows(first[count:])])
        networks.append(Mlp([joint, *mlp.matrices[1:]], mlp.activation))
    if len({mlp.activation for mlp in networks}) != 1:
        raise NotFusableError("its latent networks have different activations")
    last = _over_latents(readout.matrices[0], shares[-1], features)
    scales, shifts = scale_and_shift(parts, two_body.n_types)
    zbl = parts.all("ZBL")
    repulsion = read_repulsion(zbl[0][1], two_body.basis.power) if zbl else None
    return MixingProgram(
        dtype=read_dtype(model),
        n_types=two_body.n_types,
        reciprocal_cutoffs=two_body.reciprocal_cutoffs,
        harmonics=harmonics,
        scales=scales * scale * _energy_factor(parts.one("EdgewiseEnergySum")),
        shifts=shifts * scale,
        repulsion=repulsion and dataclasses.replace(repulsion, factor=repulsion.factor * scale),
        basis=two_body.basis,
        pairs=two_body.inputs @ embedding.matrices[0],
        embedding=_behind_first(embedding),
        envelope=envelope,
        own_edge=envelope or bool(allegro.self_edge_tensor_product),
        tensor=tensor,
        environments=environments,
        norms=norms,
        products=[each.product for each in products],
        latents=networks,
        readout=Mlp([last, *readout.matrices[1:]], readout.activation),
        features=features,
    )


def _energy_factor(total: Any) -> float:
    """The factor of the sum of the energies of edges."""
    if bool(getattr(total, "per_edge_species_scale", False)):
        raise NotFusableError("its energies of edges have a scale for each pair of types (per_edge_species_scale)")
    factor = sum_factor(total)
    return 1.0 if factor is None else float(factor)


def _behind_first(mlp: Mlp) -> Mlp:
    """A network without its first matrix, and with at least one behind it."""
    if len(mlp.matrices) > 1:
        return Mlp(mlp.matrices[1:], mlp.activation)
    return Mlp([np.eye(mlp.matrices[0].shape[1])], ("identity", 1.0))


def _one_hot(parts: Parts) -> _TwoBody:
    """Types as one-hot vectors beside the radial basis: 0.2."""
    radial = parts.one("RadialBasisEdgeEncoding")
    expect_class(radial.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    basis, n_types = radial.basis, int(parts.one("OneHotAtomEncoding").num_types)
    means, factors = np.zeros(1), np.ones(1)
    if type(basis).__name__ == "NormalizedBasis":
        means, factors = (to_array(each).ravel() for each in normalised_basis(basis))
        basis = basis.basis
    expect_class(basis, "BesselBasis", "the radial basis")
    cutoff, roots = float(basis.r_max), to_array(basis.bessel_weights).ravel() / np.pi
    count = len(roots)
    bessel = Bessel(roots, float(radial.cutoff.p), float(basis.prefactor) * np.pi / cutoff, constants=True)
    # Functions: the Bessel functions and the cutoff alone, of which a multiple is subtracted, and 1, for the types.
    inputs = np.zeros((n_types, n_types, count + 2, 2 * n_types + count))
    factors, means = np.broadcast_to(factors, count), np.broadcast_to(means, count)
    inputs[:, :, np.arange(count), 2 * n_types + np.arange(count)] = factors
    inputs[:, :, count, 2 * n_types :] = -means * factors
    for a in range(n_types):
        inputs[a, :, count + 1, a] = 1.0
        inputs[:, a, count + 1, n_types + a] = 1.0
    return _TwoBody(n_types, bessel, inputs, np.full((n_types, n_types), 1.0 / cutoff))


def _products_of_types(parts: Parts) -> _TwoBody:
    """Types as factors of the radial basis: 0.3."""
    basis, types = parts.one("AllegroBesselBasis"), parts.one("ProductTypeEmbedding")
    n_types = int(types.num_types)
    reciprocal = to_array(reciprocal_cutoffs(basis)).ravel()
    roots = to_array(basis.bessel_weights).reshape(len(reciprocal), -1) / reciprocal[:, None] / np.pi
    if np.abs(roots - roots[0]).max() > 1e-5:
        raise NotFusableError("its radial basis was trained for each pair of types")
    if np.abs(roots[0] - np.arange(1, roots.shape[1] + 1)).max() < 1e-5:
        roots = np.arange(1.0, roots.shape[1] + 1)[None]
    matrix = _read_network("the radial part of the type embedding", types.basis_mlp, types.type_embeddings.dtype)
    if len(matrix.matrices) != 1:
        raise NotFusableError("the radial part of its type embedding is a network of more than one matrix")
    centre, neighbour = to_array(types.type_embeddings)
    columns = np.concatenate(
        [np.repeat(centre[:, None], n_types, axis=1), np.repeat(neighbour[None], n_types, axis=0)], axis=-1
    )
    shaped = reciprocal.reshape(n_types, n_types) if reciprocal.size > 1 else np.full((n_types, n_types), reciprocal[0])
    bessel = Bessel(roots[0], float(basis.PolynomialCutoff_p), 1.0)
    return _TwoBody(n_types, bessel, matrix.matrices[0] * columns[:, :, None], np.ascontiguousarray(shaped))


def _expect_plain_layers(allegro: Any, power: float, cutoff: float) -> None:
    """Refuse what 0.2 could be told to do otherwise."""
    kinds = {type(each).__name__ for each in allegro.env_linears}
    cutoffs = to_array(allegro.per_layer_cutoffs)
    for wrong, why in (
        (padded_components(allegro) != 0, "its tensors are padded (pad_to_alignment)"),
        (not bool(allegro.embed_initial_edge), "its first tensors are plain harmonics (embed_initial_edge: false)"),
        (kinds != {"Identity"}, "its environments go through linear maps (linear_after_env_embed)"),
        (allegro.cutoff_type != "polynomial", f"its latents have a {allegro.cutoff_type} cutoff (cutoff_type)"),
        (bool((np.abs(cutoffs - cutoff) > 1e-6).any()), f"its layers have cutoffs {cutoffs} (per_layer_cutoffs)"),
        (
            float(allegro.polynomial_cutoff_p) != power,
            f"its cutoffs have the powers {power} and {allegro.polynomial_cutoff_p}",
        ),
    ):  # fmt: skip
        if wrong:
            raise NotFusableError(why)


def _read_network(name: str, function: Any, dtype: torch.dtype) -> Mlp:
    """A ``ScalarMLPFunction``: its code divides by the root of the inputs, and normalises activations."""
    weights = network_weights(function)
    matrices = [to_array(weight) / np.sqrt(weight.shape[0]) for weight in weights]
    if weights[0].dtype != dtype:
        raise NotFusableError(f"{name} computes in {weights[0].dtype}")
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


def _shares(allegro: Any, n_layers: int, envelope: bool) -> list[np.ndarray]:
    """What the latents of each layer have of V_0, V_1, ...: (k + 1,) each, the last those that the readout reads."""
    if not bool(allegro.latent_resnet):
        return [np.eye(k + 1)[k] for k in range(n_layers + 1)]
    if envelope:
        ratios = 1 / (1 + np.exp(-to_array(update_ratios(allegro))))
        old = 1 / np.sqrt(1 + ratios**2)
        new = ratios * old
    else:
        weights = to_array(update_coefficients(allegro))
        weights = np.exp(weights - weights.max())
        sums = np.cumsum(weights) + 1e-12
        old, new = np.sqrt(sums[:-1] / sums[1:]), np.sqrt(weights[1:] / sums[1:])
    found = [np.ones(1)]
    for a, b in zip(old, new, strict=True):
        found.append(np.append(a * found[-1], b))
    return found


def _over_latents(matrix: np.ndarray, shares: np.ndarray, features: list[int]) -> np.ndarray:
    """A map of the latents of a layer as one of all V so far, side by side."""
    return np.concatenate(
        [
            share * matrix if share else np.zeros((count, matrix.shape[1]))
            for share, count in zip(shares, features, strict=False)
        ]
    )


def _environments(
    allegro: Any, envelope: bool, orders: int, n_types: int, shares: list[np.ndarray], features: list[int]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Maps onto weights of the tensors and of all environments, and what environments are multiplied with."""
    weighter = environment_weighter(allegro)
    channels = int(weighter.multiplicity_out)
    n_layers = len(list(allegro.env_embed_mlps))
    if envelope:
        own = first = weights_of_orders(weighter)
        stored = to_array(allegro.env_sum_normalizations)
        norms = np.broadcast_to(stored.reshape(n_layers, -1), (n_layers, n_types)).copy()
    else:
        own, first = weighted_orders(weighter), weighted_orders(tensor_weighter(allegro))
        norms = np.full((n_layers, n_types), float(weighter.alpha))
    found = []
    tensor = np.zeros(0)
    for k, network in enumerate(allegro.env_embed_mlps):
        weights = network_weights(network)
        mlp = _read_network(f"env_embed_mlps.{k}", network, weights[0].dtype)
        if len(mlp.matrices) != 1:
            raise NotFusableError("the weights of its environments come from networks with hidden layers")
        matrix = mlp.matrices[0]
        if k == 0:
            tensor = spread_columns(matrix[:, : channels * first], first, orders, channels)
            matrix = matrix[:, channels * first :]
        every = spread_columns(matrix, own, orders, channels).reshape(len(matrix), -1)
        found.append(_over_latents(every, shares[k], features).reshape(-1, orders, channels))
    return tensor, found, norms


def _products(allegro: Any, orders: int, channels: int, dtype: torch.dtype) -> list[ReadProduct]:
    """Products of all layers."""
    products, linears = list(allegro.tps), list(allegro.linears)
    found: list[ReadProduct] = []
    sources = list(range(orders))
    for k, count in enumerate(scalars_per_layer(allegro)):
        reader = ProductReader(f"tps.{k}", products[k], linears[k], sources, orders, channels, dtype)
        found.append(reader.read(count, last=k + 1 == len(products)))
        sources = found[-1].product.targets
    return found
