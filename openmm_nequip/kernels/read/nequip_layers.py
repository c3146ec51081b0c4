"""nequip's interaction layers: linear maps, tensor product, gate and radial network of a ``ConvNetLayer``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ..program import Block, Gate, Layer, Mix, Path, Radial
from .bilinear import bilinear_maps
from .probing import (
    blocks_of,
    expect_class,
    probe_linear_map,
    read_fully_connected,
    read_mlp,
    recognise_activation,
    show_blocks,
    to_array,
)


def read_layer(name: str, module: Any, inputs: list[Block], embedding: torch.Tensor, residuals: bool = False) -> Layer:
    """One interaction layer.

    Parameters
    ----------
    name : str
        Name of the module, for messages.
    module : torch.nn.Module
        nequip's ``ConvNetLayer``.
    inputs : list of Block
        Features before the layer.
    embedding : torch.Tensor, (n_types, mul)
        Embedding of each atom type, which the self-connection depends on.
    residuals : bool
        Whether it may add its input to its output, which the caller then has to do.

    Returns
    -------
    Layer

    Raises
    ------
    NotFusableError
        If a part of it is not known.
    """
    expect_class(module, "ConvNetLayer", name)
    conv = module.conv
    expect_class(conv, "InteractionBlock", f"{name}.conv")
    if module.resnet and not residuals:
        raise NotFusableError(f"{name} adds its input to its output (resnet)")
    for attribute in ("linear_1", "linear_2", "fc" if hasattr(conv, "fc") else "edge_mlp", "sc"):
        if not hasattr(conv, attribute):
            raise NotFusableError(f"{name}.conv has no {attribute}: it is of a version of nequip that is not known")
    # nequip 0.7 has the tensor product in the block itself.
    tp = conv.tp_scatter.tp if hasattr(conv, "tp_scatter") else conv.tp
    if blocks_of(tp.irreps_in1) != inputs:
        raise NotFusableError(f"{name} expects {show_blocks(blocks_of(tp.irreps_in1))} but gets {show_blocks(inputs)}")
    dtype = embedding.dtype
    gate, outputs, offsets = _gate(name, module.equivariant_nonlin, dtype)
    norm = _normalisation(name, conv).reshape(-1, 1, 1)
    first = [
        Mix(i, j, norm * matrix[None])
        for (i, j), matrix in probe_linear_map(conv.linear_1, inputs, inputs, dtype).items()
    ]
    paths, middle = _paths(name, tp, inputs)
    probed = probe_linear_map(conv.linear_2, middle, outputs, dtype)
    second = [Mix(i, k, matrix[None]) for i, k, matrix in _onto_gate(probed, outputs, gate, offsets)]
    connection: list[Mix] = []
    if conv.sc is not None:
        found = _self_connection(name, conv.sc, inputs, outputs, embedding)
        for (i, j), stack in found.items():
            pieces = [_onto_gate({(i, j): matrix}, outputs, gate, offsets) for matrix in stack]
            for piece in zip(*pieces, strict=True):
                connection.append(Mix(piece[0][0], piece[0][1], np.stack([matrix for _, _, matrix in piece])))
    return Layer(inputs, first, paths, middle, second, connection, gate, _radial(name, conv))


def _radial(name: str, conv: Any) -> Radial:
    """The radial network: of nequip's own classes, or of e3nn's until nequip 0.6."""
    if hasattr(conv, "fc"):
        matrices, (activation, factor) = read_fully_connected(conv.fc, f"{name}.conv.fc")
    else:
        matrices, (activation, factor) = read_mlp(conv.edge_mlp, f"{name}.conv.edge_mlp")
    return Radial([matrices[0], *(factor * matrix for matrix in matrices[1:])], activation)


def _self_connection(
    name: str, module: Any, inputs: list[Block], outputs: list[Block], embedding: torch.Tensor
) -> dict[tuple[int, int], np.ndarray]:
    """Maps from the features to the input of the gate, a matrix for each type: (n_types, mul_in, mul_out)."""
    bilinear = bilinear_maps(module, inputs, outputs, embedding)
    if bilinear is not None:
        return bilinear
    maps: dict[tuple[int, int], list[np.ndarray]] = {}
    for row in embedding:

        def connect(x: torch.Tensor, row: torch.Tensor = row) -> torch.Tensor:
            return module(x, row.expand(len(x), -1))

        for key, matrix in probe_linear_map(connect, inputs, outputs, embedding.dtype).items():
            maps.setdefault(key, []).append(matrix)
    if any(len(each) != len(embedding) for each in maps.values()):
        raise NotFusableError(f"{name}.conv.sc vanishes for some atom types")
    return {key: np.stack(each) for key, each in maps.items()}


def _normalisation(name: str, conv: Any) -> np.ndarray:
    """What the sum over edges is multiplied with: one number, or one for each type of the neighbour."""
    if hasattr(conv, "avg_num_neighbors_norm"):  # nequip >= 0.16
        return to_array(conv.avg_num_neighbors_norm.norm_const)
    if hasattr(conv, "scatter_norm_factor"):  # nequip 0.8 to 0.15
        factor = conv.scatter_norm_factor
    elif hasattr(conv, "avg_num_neighbors"):  # nequip <= 0.7
        factor = None if conv.avg_num_neighbors is None else conv.avg_num_neighbors**-0.5
    else:
        raise NotFusableError(f"{name}.conv has no normalisation of the kinds that are known")
    return np.array([1.0 if factor is None else float(factor)])


def _paths(name: str, tp: Any, inputs: list[Block]) -> tuple[list[Path], list[Block]]:
    """Paths of the tensor product, and the blocks of its result with neighbours of one irrep merged."""
    parts = [(int(mul), int(ir.l), int(ir.p)) for mul, ir in tp.irreps_out]
    middle: list[Block] = []
    place = []
    slots: list[int] = []
    for mul, order, parity in parts:
        if middle and (middle[-1].l, middle[-1].p) == (order, parity):
            middle[-1] = Block(middle[-1].mul + mul, order, parity)
            slots[-1] += 1
        else:
            middle.append(Block(mul, order, parity))
            slots.append(1)
        place.append((len(middle) - 1, slots[-1] - 1))
    paths, start = [], 0
    for instruction in tp.instructions:
        i, j, k = int(instruction.i_in1), int(instruction.i_in2), int(instruction.i_out)
        if instruction.connection_mode != "uvu" or not instruction.has_weight:
            raise NotFusableError(f"{name} has a tensor product of mode {instruction.connection_mode}")
        block = inputs[i]
        count = int(np.prod(instruction.path_shape))
        if count != block.mul or parts[k][0] != block.mul:
            raise NotFusableError(f"{name} has a path with {count} weights for {block.mul} channels")
        group, slot = place[k]
        paths.append(
            Path(
                i,
                block.l,
                int(tp.irreps_in2[j].ir.l),
                parts[k][1],
                group,
                slot,
                float(instruction.path_weight),
                slice(start, start + count),
            )  # fmt: skip
        )
        start += count
    return paths, middle


def _gate(name: str, module: Any, dtype: torch.dtype) -> tuple[Gate, list[Block], list[int]]:
    """The gate, the blocks of its own input, and for each block of :attr:`Gate.inputs` where it starts there."""
    if type(module).__name__ != "Gate":
        raise NotFusableError(f"{name} has the nonlinearity {type(module).__name__}, not a Gate")
    kinds = [blocks_of(module.irreps_scalars), blocks_of(module.irreps_gates), blocks_of(module.irreps_gated)]
    scalars, gates, gated = kinds
    functions = [*module.act_scalars.acts, *module.act_gates.acts]
    # e3nn merges neighbouring gates of one parity; they are cut again to match what they gate.
    if len(gates) != 1 and len(gates) != len(gated):
        raise NotFusableError(f"{name} has gates {show_blocks(gates)} for {show_blocks(gated)}")
    names = [recognise_activation(f, dtype) for f in functions]
    if len(names) < len(scalars) or len(set(names[len(scalars) :])) > 1 and len(names) != len(scalars) + len(gated):
        raise NotFusableError(f"{name} has a gate whose activations do not match its scalars")
    parities = [gates[0].p] * len(gated) if len(gates) == 1 else [g.p for g in gates]
    cut = [Block(b.mul, 0, p) for b, p in zip(gated, parities, strict=True)]
    inputs = scalars + cut + gated
    gate_names = names[len(scalars) :]
    if len(gate_names) != len(gated):
        gate_names = gate_names[:1] * len(gated)
    # Order inside the gate's input: as e3nn sorts the blocks of scalars, gates and gated together.
    from e3nn.o3 import Irreps

    order = [Irreps([(b.mul, (b.l, b.p)) for b in blocks]) for blocks in (scalars, gates, gated)]
    together = sum(order, Irreps([]))
    _, position, _ = together.sort()
    sizes = [mul * ir.dim for mul, ir in together]
    starts = [sum(size for size, p in zip(sizes, position, strict=True) if p < own) for own in position]
    n = len(scalars)
    offsets = starts[:n]
    if len(gates) == 1 and len(gated) > 1:
        begin = starts[n]
        for b in gated:
            offsets.append(begin)
            begin += b.mul
    else:
        offsets += starts[n : n + len(gates)]
    offsets += starts[n + len(gates) :]
    return Gate(inputs, n, names[:n] + gate_names), blocks_of(module.irreps_in), offsets


def _onto_gate(
    maps: dict[tuple[int, int], np.ndarray], outputs: list[Block], gate: Gate, offsets: list[int]
) -> list[tuple[int, int, np.ndarray]]:
    """Columns of maps onto the gate's own input, cut into its scalars, gates and gated blocks."""
    result = []
    start = 0
    for j, out in enumerate(outputs):
        width = 2 * out.l + 1
        for k, (block, offset) in enumerate(zip(gate.inputs, offsets, strict=True)):
            first = (offset - start) // width
            if (block.l, block.p) == (out.l, out.p) and 0 <= offset - start < out.mul * width:
                for (i, target), matrix in maps.items():
                    if target == j:
                        result.append((i, k, matrix[:, first : first + block.mul]))
        start += out.mul * width
    return result
