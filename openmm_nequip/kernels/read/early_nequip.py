"""NequIP models of nequip <= 0.6: from the modules of a deployed file to a :class:`.program.Program`.

What they compute is what later models compute. Their types come as one-hot vectors, a global factor is around all
outputs, all layers have features of all orders, and the readout is linear.

References
----------
S. Batzner et al., Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5; modules of
https://github.com/mir-group/nequip, versions 0.5 and 0.6.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ..program import Block, Layer, NequIPProgram
from ..pruning import prune
from ..residual import without_residuals
from .energy_model import Parts, expect_plain_sum, per_type, read_dtype, read_harmonics, read_repulsion
from .nequip_layers import read_layer
from .probing import expect_class, probe_linear_map, show_blocks, to_array

_KNOWN = frozenset({
    "OneHotAtomEncoding", "SphericalHarmonicEdgeAttrs", "RadialBasisEdgeEncoding", "AtomwiseLinear", "ConvNetLayer",
    "PerSpeciesScaleShift", "ZBL", "AtomwiseReduce",
})  # fmt: skip
#: Modules that make forces of the energy, without and with stress.
_DIFFERENTIATING = ("GradientOutput", "StressOutput")


def is_early(model: Any) -> bool:
    """Whether a model is of nequip <= 0.6, which gives types as one-hot vectors; later ones have no such module.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    bool
    """
    return any(type(module).__name__ == "OneHotAtomEncoding" for module in model.modules())


def recognises(model: Any) -> bool:
    """Whether a model has NequIP's interaction layers, of that age.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    bool
    """
    return is_early(model) and any(type(module).__name__ == "ConvNetLayer" for module in model.modules())


def read(model: Any) -> NequIPProgram:
    """Read a NequIP model of nequip <= 0.6.

    Parameters
    ----------
    model : torch.nn.Module
        As nequip-deploy wrote it, on the CPU.

    Returns
    -------
    NequIPProgram

    Raises
    ------
    NotFusableError
        If a module is not known, naming it.
    """
    network, scale = deployed_network(model)
    parts = Parts(network, _KNOWN)
    types, harmonics, radial, total = (
        parts.one(kind)
        for kind in (
            "OneHotAtomEncoding",
            "SphericalHarmonicEdgeAttrs",
            "RadialBasisEdgeEncoding",
            "AtomwiseReduce",
        )  # fmt: skip
    )
    expect_class(radial.basis, "BesselBasis", "the radial basis")
    expect_class(radial.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    expect_plain_sum(total)
    n_types, cutoff, power = int(types.num_types), float(radial.basis.r_max), float(radial.cutoff.p)
    dtype = read_dtype(model)
    before, after = _linear_parts(parts)
    embedding = _embedding(before, n_types, model.model_dtype)
    layers = _layers(parts, embedding.shape[1], torch.eye(n_types, dtype=model.model_dtype))
    block, readout = _readout(layers[-1].gate.outputs, after, model.model_dtype)
    adds = [bool(module.resnet) for _, module in parts.all("ConvNetLayer")]
    layers, readout = without_residuals(layers, adds, block, readout)
    scales, shifts = scale_and_shift(parts, n_types)
    zbl = parts.all("ZBL")
    repulsion = read_repulsion(zbl[0][1], power) if zbl else None
    return NequIPProgram(
        dtype=dtype,
        n_types=n_types,
        reciprocal_cutoffs=np.full((n_types, n_types), 1.0 / cutoff),
        harmonics=read_harmonics(harmonics.irreps_edge_sh, harmonics.sh),
        bessel=to_array(radial.basis.bessel_weights).ravel() / np.pi,
        power=power,
        factor=float(radial.basis.prefactor) * np.pi / cutoff,
        embedding=embedding,
        layers=prune(layers, {block}),
        readout=[readout],
        readout_activation=("identity", 1.0),
        scales=scales * scale,
        shifts=shifts * scale,
        repulsion=repulsion and dataclasses.replace(repulsion, factor=repulsion.factor * scale),
    )


def deployed_network(model: Any) -> tuple[Any, float]:
    """The modules of a deployed file that make an energy of a structure, and the factor before all outputs.

    Parameters
    ----------
    model : torch.nn.Module
        As nequip-deploy wrote it.

    Returns
    -------
    network : torch.nn.Module
        nequip's SequentialGraphNetwork.
    scale : float

    Raises
    ------
    NotFusableError
        If other modules stand around it.
    """
    outer, scale = model, 1.0
    if type(outer).__name__ == "GraphModel":  # since nequip 0.6
        outer = outer.model
    if type(outer).__name__ == "RescaleOutput":
        if outer.has_shift and float(outer.shift_by.abs().sum()) != 0.0:
            raise NotFusableError("its total energy has a shift that does not depend on the atoms")
        if outer.has_scale:
            if not {"total_energy", "atomic_energy"} <= set(outer.scale_keys):
                raise NotFusableError(f"its global factor is for {' and '.join(outer.scale_keys)} alone")
            scale = float(outer.scale_by)
        outer = outer.model
    if type(outer).__name__ not in _DIFFERENTIATING:
        raise NotFusableError(f"its forces are made by {type(outer).__name__}, not {' or '.join(_DIFFERENTIATING)}")
    expect_class(outer.func, "SequentialGraphNetwork", "the energy model")
    return outer.func, scale


def _linear_parts(parts: Parts) -> tuple[list[Any], list[Any]]:
    """The linear maps of atoms before the layers, and behind them."""
    kinds = [type(module).__name__ for _, module in parts.named]
    if "ConvNetLayer" not in kinds:
        raise NotFusableError("it has no interaction layer")
    layers = [k for k, kind in enumerate(kinds) if kind == "ConvNetLayer"]
    maps = [(k, module) for k, (_, module) in enumerate(parts.named) if kinds[k] == "AtomwiseLinear"]
    if any(layers[0] < k < layers[-1] for k, _ in maps):
        raise NotFusableError("it has a linear map between its layers")
    return [module for k, module in maps if k < layers[0]], [module for k, module in maps if k > layers[-1]]


def _chain(maps: list[Any], x: torch.Tensor) -> torch.Tensor:
    for module in maps:
        x = module.linear(x)
    return x


def _embedding(maps: list[Any], n_types: int, dtype: torch.dtype) -> np.ndarray:
    """Features of each type before the first layer: (n_types, n_channels)."""
    return to_array(_chain(maps, torch.eye(n_types, dtype=dtype)))


def _layers(parts: Parts, n_channels: int, one_hot: torch.Tensor) -> list[Layer]:
    layers: list[Layer] = []
    blocks = [Block(n_channels, 0, 1)]
    for name, module in parts.all("ConvNetLayer"):
        layers.append(read_layer(name, module, blocks, one_hot, residuals=True))
        blocks = layers[-1].gate.outputs
    return layers


def _readout(outputs: list[Block], maps: list[Any], dtype: torch.dtype) -> tuple[int, np.ndarray]:
    """The block that the readout reads of the last layer's outputs, and its matrix (n_channels, 1)."""

    def energies(x: torch.Tensor) -> torch.Tensor:
        return _chain(maps, x)

    found = probe_linear_map(energies, outputs, [Block(1, 0, 1)], dtype)
    if len(found) != 1:
        raise NotFusableError(f"its energies are read from {len(found)} blocks of {show_blocks(outputs)}, not from one")
    ((block, _), matrix) = next(iter(found.items()))
    return block, matrix


def scale_and_shift(parts: Parts, n_types: int) -> tuple[np.ndarray, np.ndarray]:
    """Scales and shifts of the types, before the global factor.

    Parameters
    ----------
    parts : Parts
        Modules of the energy model.
    n_types : int
        Number of atom types.

    Returns
    -------
    tuple of numpy.ndarray, (n_types,) float64
    """
    if not parts.all("PerSpeciesScaleShift"):
        return np.ones(n_types), np.zeros(n_types)
    module = parts.one("PerSpeciesScaleShift")
    scales = per_type(module.scales, n_types, 1.0) if module.has_scales else np.ones(n_types)
    shifts = per_type(module.shifts, n_types, 0.0) if module.has_shifts else np.zeros(n_types)
    return scales, shifts
