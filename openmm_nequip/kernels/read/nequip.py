"""NequIP models: from nequip's modules to a :class:`Program`, or the reason why not.

Modules are known by the name of their class, see :mod:`.probing`. The caller checks the whole result against the model
itself.

References
----------
S. Batzner et al., Nat. Commun. 13, 2453 (2022), doi:10.1038/s41467-022-29939-5; modules of
https://github.com/mir-group/nequip, versions 0.7 to 0.19.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ..program import Block, Layer, NequIPProgram
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
from .nequip_layers import read_layer
from .probing import expect_class, read_mlp, show_blocks, to_array

_KNOWN = frozenset({
    "NodeTypeEmbed", "SphericalHarmonicEdgeAttrs", "EdgeLengthNormalizer", "BesselEdgeLengthEncoding", "ApplyFactor",
    "AddRadialCutoffToData", "ConvNetLayer", "ScalarMLP", "PerTypeScaleShift", "ZBL", "AtomwiseReduce",
})  # fmt: skip


def recognises(model: Any) -> bool:
    """Whether a model has NequIP's interaction layers.

    Parameters
    ----------
    model : torch.nn.Module
        Any model.

    Returns
    -------
    bool
    """
    return any(type(module).__name__ == "ConvNetLayer" for module in model.modules())


def read(model: Any) -> NequIPProgram:
    """Read a NequIP model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.

    Returns
    -------
    NequIPProgram

    Raises
    ------
    NotFusableError
        If a module is not known, naming it.
    """
    parts = Parts(energy_network(model), _KNOWN)
    embed, basis, scale_shift = (
        parts.one(k) for k in ("NodeTypeEmbed", "BesselEdgeLengthEncoding", "PerTypeScaleShift")
    )
    harmonics, norm, readout = (
        parts.one(k) for k in ("SphericalHarmonicEdgeAttrs", "EdgeLengthNormalizer", "ScalarMLP")
    )
    if getattr(embed, "do_categorical_graph_field_embed", False):
        raise NotFusableError("NodeTypeEmbed embeds fields of the graph beside the atom types")
    expect_class(basis.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    expect_plain_sum(parts.one("AtomwiseReduce"))
    dtype = read_dtype(model)
    n_types = int(embed.num_types)
    matrices, activation = read_mlp(readout.mlp_module, "the readout")
    zbl = parts.all("ZBL")
    return NequIPProgram(
        dtype=dtype,
        n_types=n_types,
        reciprocal_cutoffs=read_cutoffs(norm, n_types),
        harmonics=read_harmonics(harmonics.irreps_edge_sh, harmonics.sh),
        bessel=to_array(basis.bessel_weights).ravel(),
        power=float(basis.cutoff.p),
        factor=float(np.prod([float(module.factor) for _, module in parts.all("ApplyFactor")])),
        embedding=to_array(embed.embed_module.weight),
        layers=_layers(parts, embed.embed_module.weight.detach()),
        readout=matrices,
        readout_activation=activation,
        scales=per_type(scale_shift.scales, n_types, 1.0),
        shifts=per_type(scale_shift.shifts, n_types, 0.0),
        repulsion=read_repulsion(zbl[0][1], float(basis.cutoff.p)) if zbl else None,
    )


def _layers(parts: Parts, embedding: torch.Tensor) -> list[Layer]:
    layers: list[Layer] = []
    blocks = [Block(embedding.shape[1], 0, 1)]
    for name, module in parts.all("ConvNetLayer"):
        layers.append(read_layer(name, module, blocks, embedding))
        blocks = layers[-1].gate.outputs
    if len(blocks) != 1 or blocks[0].l != 0:
        raise NotFusableError(f"the last layer gives {show_blocks(blocks)} instead of scalars of one parity")
    return layers
