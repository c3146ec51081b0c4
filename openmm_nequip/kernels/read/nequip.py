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
from ...upstream.nequip_modules import reciprocal_cutoffs, submodules, zbl_factor
from ..harmonics import fit_polynomials
from ..program import Block, Layer, Program, Repulsion
from .nequip_layers import read_layer
from .probing import blocks_of, expect_class, read_mlp, show_blocks, to_array

#: Directions from which the polynomials of the spherical harmonics are fitted.
_SAMPLES = 200
_MAX_ORDER = 6
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


class _Parts:
    """Modules of the energy model in the order in which they run, by the name of their class."""

    def __init__(self, model: Any) -> None:
        expect_class(model.model, "ForceStressOutput", "the model's outermost module")
        network = model.model.func
        expect_class(network, "SequentialGraphNetwork", "the energy model")
        self.named = submodules(network)
        for name, module in self.named:
            if type(module).__name__ not in _KNOWN:
                raise NotFusableError(
                    f"module {name} is a {type(module).__name__}, which the fused kernels do not know"
                )

    def all(self, kind: str) -> list[tuple[str, Any]]:
        """Those of a class, with their names."""
        return [(name, module) for name, module in self.named if type(module).__name__ == kind]

    def one(self, kind: str) -> Any:
        """The only one of a class."""
        found = self.all(kind)
        if len(found) != 1:
            raise NotFusableError(f"the model has {len(found)} modules of class {kind} instead of one")
        return found[0][1]


def read(model: Any) -> Program:
    """Read a NequIP model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.

    Returns
    -------
    Program

    Raises
    ------
    NotFusableError
        If a module is not known, naming it.
    """
    parts = _Parts(model)
    embed, basis, scale_shift = (
        parts.one(k) for k in ("NodeTypeEmbed", "BesselEdgeLengthEncoding", "PerTypeScaleShift")
    )
    harmonics, norm, readout = (
        parts.one(k) for k in ("SphericalHarmonicEdgeAttrs", "EdgeLengthNormalizer", "ScalarMLP")
    )
    if getattr(embed, "do_categorical_graph_field_embed", False):
        raise NotFusableError("NodeTypeEmbed embeds fields of the graph beside the atom types")
    expect_class(basis.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    if parts.one("AtomwiseReduce").reduce != "sum" or parts.one("AtomwiseReduce").constant != 1.0:
        raise NotFusableError("the total energy is not the plain sum of atomic energies")
    dtype = {torch.float32: "float32", torch.float64: "float64"}.get(model.model_dtype)
    if dtype is None:
        raise NotFusableError(f"the model computes in {model.model_dtype}")
    n_types = int(embed.num_types)
    matrices, activation = read_mlp(readout.mlp_module, "the readout")
    zbl = parts.all("ZBL")
    return Program(
        dtype=dtype,
        n_types=n_types,
        reciprocal_cutoffs=np.ascontiguousarray(np.broadcast_to(_cutoffs(norm, n_types), (n_types, n_types))),
        harmonics=_harmonics(harmonics),
        bessel=to_array(basis.bessel_weights).ravel(),
        power=float(basis.cutoff.p),
        factor=float(np.prod([float(module.factor) for _, module in parts.all("ApplyFactor")])),
        embedding=to_array(embed.embed_module.weight),
        layers=_layers(parts, embed.embed_module.weight.detach()),
        readout=matrices,
        readout_activation=activation,
        scales=_per_type(scale_shift.scales, n_types, 1.0),
        shifts=_per_type(scale_shift.shifts, n_types, 0.0),
        repulsion=_repulsion(zbl[0][1], float(basis.cutoff.p)) if zbl else None,
    )


def _layers(parts: _Parts, embedding: torch.Tensor) -> list[Layer]:
    layers: list[Layer] = []
    blocks = [Block(embedding.shape[1], 0, 1)]
    for name, module in parts.all("ConvNetLayer"):
        layers.append(read_layer(name, module, blocks, embedding))
        blocks = layers[-1].gate.outputs
    if len(blocks) != 1 or blocks[0].l != 0:
        raise NotFusableError(f"the last layer gives {show_blocks(blocks)} instead of scalars of one parity")
    return layers


def _cutoffs(norm: Any, n_types: int) -> np.ndarray:
    reciprocal = to_array(reciprocal_cutoffs(norm)).ravel()
    return reciprocal.reshape(n_types, n_types) if reciprocal.size > 1 else reciprocal.reshape(1, 1)


def _per_type(values: torch.Tensor, n_types: int, default: float) -> np.ndarray:
    found = to_array(values).ravel()
    return np.broadcast_to(found if found.size else np.array([default]), (n_types,)).copy()


def _repulsion(module: Any, power: float) -> Repulsion:
    if hasattr(module, "cutoff"):  # before nequip 0.17 the cutoff is that of the radial basis
        expect_class(module.cutoff, "PolynomialCutoff", "the cutoff of the ZBL term")
        power = float(module.cutoff.p)
    return Repulsion(to_array(module.atomic_numbers), zbl_factor(module), power)


def _harmonics(module: Any) -> list[np.ndarray]:
    blocks = blocks_of(module.irreps_edge_sh)
    # Without parity, nequip <= 0.15 labels all of them even; the numbers are the same.
    labels = [(b.mul, b.l, b.p) for b in blocks]
    if labels not in ([(1, order, sign**order) for order in range(len(blocks))] for sign in (-1, 1)):
        raise NotFusableError(
            f"edge attributes {show_blocks(blocks)} are not the spherical harmonics of orders 0, 1, ..."
        )
    if len(blocks) - 1 > _MAX_ORDER:
        raise NotFusableError(f"edge attributes of order {len(blocks) - 1} are above the largest known, {_MAX_ORDER}")
    if not module.sh.normalize:
        raise NotFusableError("edge attributes are harmonics of vectors that are not normalised")
    vectors = np.random.default_rng(0).normal(size=(_SAMPLES, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = to_array(module.sh(torch.from_numpy(units)))
    found, start = [], 0
    for order in range(len(blocks)):
        stop = start + 2 * order + 1
        try:
            found.append(fit_polynomials(order, units, values[:, start:stop]))
        except ValueError as error:
            raise NotFusableError(str(error)) from error
        start = stop
    return found
