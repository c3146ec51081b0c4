"""Allegro models: from nequip-allegro's modules to an :class:`AllegroProgram`, or the reason why not.

Modules are known by the name of their class, see :mod:`.probing`. The caller checks the whole result against the model
itself.

References
----------
A. Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; modules of
https://github.com/mir-group/allegro, versions 0.7 to 0.8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NotFusableError
from ...upstream.allegro_modules import (
    environment_weighter,
    scalars_per_layer,
    spline_constant,
    sum_factor,
    tensor_weighter,
    weighted_orders,
)
from ..allegro_program import AllegroProgram, Mlp, Product, Splines
from ..program import Bessel
from .energy_model import (
    Parts,
    energy_network,
    expect_plain_sum,
    per_type,
    read_cutoffs,
    read_dtype,
    read_harmonics,
    read_repulsion,
)
from .probing import expect_class, read_mlp, to_array

_BESSEL, _SPLINE = "SequentialGraphNetwork", "TwoBodySplineScalarEmbed"
_KNOWN = frozenset({
    "EdgeLengthNormalizer", _BESSEL, _SPLINE, "ScalarMLP", "TwoBodySphericalHarmonicTensorEmbed", "Allegro_Module",
    "EdgewiseReduce", "PerTypeScaleShift", "AddRadialCutoffToData", "ZBL", "AtomwiseReduce",
})  # fmt: skip


def recognises(model: Any) -> bool:
    """Whether a model has Allegro's layers.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    bool
    """
    return any(type(module).__name__ == "Allegro_Module" for module in model.modules())


def read(model: Any) -> AllegroProgram:
    """Read an Allegro model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.

    Returns
    -------
    AllegroProgram

    Raises
    ------
    NotFusableError
        If a module is not known, naming it.
    """
    parts = Parts(energy_network(model), _KNOWN)
    norm, embed, allegro, scale_shift = (
        parts.one(kind)
        for kind in (
            "EdgeLengthNormalizer",
            "TwoBodySphericalHarmonicTensorEmbed",
            "Allegro_Module",
            "PerTypeScaleShift",
        )  # fmt: skip
    )
    if len(parts.all("ScalarMLP")) != 2:
        raise NotFusableError(f"the model has {len(parts.all('ScalarMLP'))} modules of class ScalarMLP instead of two")
    first, last = (module for _, module in parts.all("ScalarMLP"))
    expect_plain_sum(parts.one("AtomwiseReduce"))
    harmonics = read_harmonics(None, embed.sh)
    n_types, basis, pairs, power = _pairs(parts)
    matrices, activation = read_mlp(first.mlp_module, "the scalar embedding")
    tensor = _linear(embed.env_embed_linear, "the tensor embedding")
    projection = _linear(allegro.first_layer_env_embed_projection, "the first environment")
    n_features, n_channels = int(allegro.num_scalar_features), int(allegro.num_tensor_features)
    orders = len(harmonics)
    weighter = environment_weighter(allegro)
    norms, energy_factors = _norms(allegro, parts.one("EdgewiseReduce"), n_types)
    zbl = parts.all("ZBL")
    products = [_product(f"tps.{k}", tp, orders, n_channels) for k, tp in enumerate(allegro.tps)]
    return AllegroProgram(
        dtype=read_dtype(model),
        n_types=n_types,
        reciprocal_cutoffs=read_cutoffs(norm, n_types),
        harmonics=harmonics,
        scales=per_type(scale_shift.scales, n_types, 1.0) * energy_factors,
        shifts=per_type(scale_shift.shifts, n_types, 0.0),
        repulsion=read_repulsion(zbl[0][1], power) if zbl else None,
        basis=basis,
        pairs=pairs @ matrices[0],
        embedding=Mlp(matrices[1:], activation),
        tensor=weighted_columns(tensor, tensor_weighter(embed), orders, n_channels),
        environment=weighted_columns(projection[:, n_features:], weighter, orders, n_channels),
        scalars=projection[:, :n_features],
        norms=norms,
        products=products,
        latents=_latents(allegro, products, weighter, orders),
        readout=Mlp(*read_mlp(last.mlp_module, "the readout")),
    )


def _linear(module: Any, what: str) -> np.ndarray:
    """The matrix of a network that has only one: (n_in, n_out)."""
    matrices, _ = read_mlp(module, what)
    if len(matrices) != 1:
        raise NotFusableError(f"{what} is a network of {len(matrices)} matrices instead of one")
    return matrices[0]


def _pairs(parts: Parts) -> tuple[int, Bessel | Splines, np.ndarray, float | None]:
    """Number of types, radial basis, its map for each pair of types, and the exponent of its cutoff if it has one."""
    splines = parts.all(_SPLINE)
    if splines:
        module = splines[0][1]
        n_types, spline = int(module.num_types), module.spline
        lower, width = to_array(spline.lower), 2 * np.pi / spline_constant(spline)
        if not np.allclose(to_array(spline.upper) - lower, width, atol=1e-6):
            raise NotFusableError("the splines of the scalar embedding do not end where their cosines do")
        weights = to_array(spline.class_embed.weight)
        shaped = weights.reshape(n_types, n_types, int(spline.num_channels), int(spline.num_splines))
        return n_types, Splines(lower, width), shaped.transpose(0, 1, 3, 2), _power_of_edges(parts)
    network = parts.one(_BESSEL)
    for name, kind in (("bessel_encode", "BesselEdgeLengthEncoding"), ("type_embed", "ProductTypeEmbedding")):
        if not hasattr(network, name):
            raise NotFusableError(f"the scalar embedding is a network without {name}")
        expect_class(getattr(network, name), kind, f"{name} of the scalar embedding")
    encode, types = network.bessel_encode, network.type_embed
    expect_class(encode.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    n_types, power = int(types.num_types), float(encode.cutoff.p)
    centre, neighbour = to_array(types.center_embed.weight), to_array(types.neighbor_embed.weight)
    columns = np.concatenate(
        [np.repeat(centre[:, None], n_types, axis=1), np.repeat(neighbour[None], n_types, axis=0)], axis=-1
    )
    pairs = _linear(types.basis_linear, "the radial part of the scalar embedding") * columns[:, :, None]
    return n_types, Bessel(to_array(encode.bessel_weights).ravel(), power, 1.0), pairs, power


def _power_of_edges(parts: Parts) -> float | None:
    """Exponent of the cutoff that a pair term takes from the edges where the radial basis gives none."""
    found = parts.all("AddRadialCutoffToData")
    if not found:
        return None
    expect_class(found[0][1].cutoff, "PolynomialCutoff", "the cutoff of the edges")
    return float(found[0][1].cutoff.p)


def weighted_columns(matrix: np.ndarray, weighter: Any, orders: int, channels: int) -> np.ndarray:
    """A map onto the weights of harmonics, a weight for each order and channel.

    Parameters
    ----------
    matrix : numpy.ndarray, (n_in, n_weights) float64
        Map onto the weights that ``weighter`` takes.
    weighter : torch.nn.Module
        nequip-allegro's ``MakeWeightedChannels``: a weight for each order, or one for all, and a factor.
    orders, channels : int
        Numbers of both.

    Returns
    -------
    numpy.ndarray, (n_in, orders, channels) float64

    Raises
    ------
    NotFusableError
        If the numbers do not fit.
    """
    own = weighted_orders(weighter)
    return spread_columns(matrix, own, orders, channels) * float(weighter.alpha)


def spread_columns(matrix: np.ndarray, own: int, orders: int, channels: int) -> np.ndarray:
    """The same where it is known how many orders have weights of their own.

    Parameters
    ----------
    matrix : numpy.ndarray, (n_in, channels * own) float64
        Map onto the weights, channel by channel.
    own : int
        Orders with weights of their own: all, or 1 where one weight serves them all.
    orders, channels : int
        Numbers of both.

    Returns
    -------
    numpy.ndarray, (n_in, orders, channels) float64

    Raises
    ------
    NotFusableError
        If the numbers do not fit.
    """
    if matrix.shape[1] != channels * own or own not in (1, orders):
        raise NotFusableError(
            f"{matrix.shape[1]} weights of harmonics do not fit {channels} channels and {orders} orders"
        )
    shaped = matrix.reshape(-1, channels, own).transpose(0, 2, 1)
    return np.ascontiguousarray(np.broadcast_to(shaped, (len(matrix), orders, channels)))


def _product(name: str, tp: Any, orders: int, channels: int) -> Product:
    """Couplings and weights of one ``Contracter``, diagonal ones filled up and a single path with its axis again."""
    expect_class(tp, "Contracter", name)
    count = int(tp.num_paths)
    table, weights = to_array(tp.w3j), to_array(tp.weights)
    if count == 1:
        table, weights = table[None], weights[..., None]
    if bool(tp.w3j_is_ij_diagonal):
        filled = np.zeros((count, table.shape[1], table.shape[1], table.shape[2]))
        diagonal = np.arange(table.shape[1])
        filled[:, diagonal, diagonal] = table
        table = filled
    if not bool(tp.path_channel_coupling):
        weights = np.broadcast_to(weights, (channels, count))
    if table.ndim != 4 or weights.shape != (channels, count) or table.shape[2] != orders**2:
        raise NotFusableError(f"{name} has couplings {table.shape} and weights {weights.shape}, which do not fit")
    return Product(table, np.ascontiguousarray(weights.T))


def _latents(allegro: Any, products: list[Product], weighter: Any, orders: int) -> list[Mlp]:
    """Networks of the layers, their last columns brought to the order (channels, orders) with the weighter's factor."""
    if any(int(count) != 1 for count in scalars_per_layer(allegro)):
        raise NotFusableError("the tensor products of a layer give more than one scalar")
    n_features, n_channels = int(allegro.num_scalar_features), int(allegro.num_tensor_features)
    dims = [(product.couplings.shape[1], product.couplings.shape[3]) for product in products]
    if dims[0][0] != orders**2 or any(a[1] != b[0] for a, b in zip(dims, dims[1:], strict=False)):
        raise NotFusableError(f"tensor products with {dims} components do not follow one another")
    found = []
    networks = list(allegro.latents)
    for k, latent in enumerate(networks):
        matrices, activation = read_mlp(latent, f"latents.{k}")
        if k + 1 < len(networks):
            weights = weighted_columns(matrices[-1][:, n_features:], weighter, orders, n_channels)
            flat = weights.transpose(0, 2, 1).reshape(len(weights), -1)
            matrices[-1] = np.concatenate([matrices[-1][:, :n_features], flat], axis=1)
        found.append(Mlp(matrices, activation))
    return found


def _norms(allegro: Any, reduce: Any, n_types: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors of the sums over edges, of environments and of energies, for each type: (n_types,) each."""
    if reduce.reduce != "sum":
        raise NotFusableError(f"energies of edges are reduced by {reduce.reduce!r} instead of their sum")
    if hasattr(allegro, "avg_num_neighbors_norm"):  # nequip-allegro >= 0.8.1
        norms = per_type(allegro.avg_num_neighbors_norm.norm_const, n_types, 1.0)
        return norms, per_type(reduce.norm_module.norm_const, n_types, 1.0) / np.sqrt(2.0)
    factors = {tp.scatter_factor for tp in allegro.tps}
    if len(factors) != 1:
        raise NotFusableError("the layers normalise their sums over edges differently")
    factor, energy = factors.pop(), sum_factor(reduce)
    return (
        np.full(n_types, 1.0 if factor is None else float(factor)),
        np.full(n_types, 1.0 if energy is None else float(energy)),
    )
