"""Layers that add their input to their output (``resnet`` of nequip <= 0.6), written as layers that do not.

With x the features, y the input of the gate and f its nonlinearity, such a layer gives x + f(y). Here it gives f(y) and
x beside one another: x goes through the self-connection into blocks of its own, which the gate lets through (scalars by
the identity, others by 2 sigmoid(0) = 1), and the next layer reads the sum of both. So features are twice as wide,
however many layers there are. Behind the last layer a linear readout m follows, of which two channels more are enough:
for silu and ssp, f(t) - f(-t) = t with t = m x.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import NotFusableError
from .program import Block, Gate, Layer, Mix

#: Nonlinearities of scalars with f(t) - f(-t) = t.
_DIFFERENCE_IS_IDENTITY = ("silu", "ssp")


def without_residuals(
    layers: list[Layer], adds: list[bool], block: int, readout: np.ndarray
) -> tuple[list[Layer], np.ndarray]:
    """Layers that give the same energies without adding their input.

    Parameters
    ----------
    layers : list of Layer
        In the order in which they run, each reading the outputs of the one before.
    adds : list of bool
        Which of them add their input to their output.
    block : int
        The block of the last one's outputs that the readout reads.
    readout : numpy.ndarray, (n_channels, 1) float64
        The readout.

    Returns
    -------
    layers : list of Layer
    readout : numpy.ndarray, (n_channels, 1) or (n_channels + 2, 1) float64

    Raises
    ------
    NotFusableError
        If inputs and outputs are not of the same blocks, or the last nonlinearity is another one.
    """
    summands = [[k] for k in range(len(layers[0].inputs))]
    inputs = layers[0].inputs
    found = []
    for k, (layer, own) in enumerate(zip(layers, adds, strict=True)):
        if own and [(b.mul, b.l) for b in layer.inputs] != [(b.mul, b.l) for b in layer.gate.outputs]:
            raise NotFusableError("it has a layer that adds its input (resnet) to output of other blocks")
        read = _reading_sums(layer, summands, inputs)
        if own and k + 1 == len(layers):
            read, readout = _with_readout(read, summands[block], block, readout)
        elif own:
            read = _carrying(read, summands)
        summands = _places(layer.gate, own and k + 1 < len(layers))
        inputs = read.gate.outputs
        found.append(read)
    return found, readout


def _reading_sums(layer: Layer, summands: list[list[int]], inputs: list[Block]) -> Layer:
    """A layer whose inputs are sums of blocks."""
    return dataclasses.replace(
        layer,
        inputs=inputs,
        first=[Mix(k, summands[mix.target][0], mix.weights) for mix in layer.first for k in summands[mix.source]],
        paths=[path._replace(block=summands[path.block][0]) for path in layer.paths],
        connection=[Mix(k, mix.target, mix.weights) for mix in layer.connection for k in summands[mix.source]],
    )


def _places(gate: Gate, carries: bool) -> list[list[int]]:
    """For each block of a layer's features, the blocks of its outputs that are its summands."""
    n, g = gate.n_scalars, gate.n_gates
    if not carries:
        return [[k] for k in range(n + g)]
    return [[k, n + k] for k in range(n)] + [[2 * n + k, 2 * n + g + k] for k in range(g)]


def _carrying(layer: Layer, summands: list[list[int]]) -> Layer:
    """A layer that gives its inputs beside its outputs."""
    gate = layer.gate
    n, g = gate.n_scalars, gate.n_gates
    scalars, gates, gated = gate.inputs[:n], gate.inputs[n : n + g], gate.inputs[n + g :]
    places = [*range(n), *range(2 * n, 2 * n + g), *range(2 * n + 2 * g, 2 * n + 3 * g)]
    carried = [*range(n, 2 * n), *range(2 * n + 3 * g, 2 * n + 4 * g)]
    own = [Mix(k, to, np.eye(layer.inputs[k].mul)[None]) for ks, to in zip(summands, carried, strict=True) for k in ks]
    activations = gate.activations[:n] + [("identity", 1.0)] * n + gate.activations[n:] + [("sigmoid", 2.0)] * g
    return dataclasses.replace(
        layer,
        second=[mix._replace(target=places[mix.target]) for mix in layer.second],
        connection=[mix._replace(target=places[mix.target]) for mix in layer.connection] + own,
        gate=Gate(scalars + scalars + gates + gates + gated + gated, 2 * n, activations),
    )


def _with_readout(layer: Layer, summands: list[int], block: int, readout: np.ndarray) -> tuple[Layer, np.ndarray]:
    """The last layer, with what the readout makes of its inputs in two channels of the block that it reads."""
    gate = layer.gate
    kind, factor = gate.activations[block]
    if kind not in _DIFFERENCE_IS_IDENTITY:
        raise NotFusableError(f"its last layer adds its input (resnet) behind the nonlinearity {kind}")
    wide = gate.inputs[block]._replace(mul=gate.inputs[block].mul + 2)

    def widened(mixes: list[Mix]) -> list[Mix]:
        room = [(0, 0), (0, 0), (0, 2)]
        return [mix._replace(weights=np.pad(mix.weights, room)) if mix.target == block else mix for mix in mixes]

    through = np.concatenate([np.zeros((len(readout), len(readout))), readout, -readout], axis=1)[None]
    changed = dataclasses.replace(
        layer,
        second=widened(layer.second),
        connection=widened(layer.connection) + [Mix(k, block, through) for k in summands],
        gate=Gate([*gate.inputs[:block], wide, *gate.inputs[block + 1 :]], gate.n_scalars, gate.activations),
    )
    return changed, np.concatenate([readout, np.array([[1.0], [-1.0]]) / factor])
