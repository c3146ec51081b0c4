"""Layers without what nothing behind them reads.

Models of nequip <= 0.6 compute features of all orders in their last layer, and read the scalars alone. What is left out
changes no number; the generated code then has no convolutions for it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .program import Gate, Layer, Mix, Radial


def prune(layers: list[Layer], wanted: set[int]) -> list[Layer]:
    """Leave out features that have no part in the result.

    Parameters
    ----------
    layers : list of Layer
        In the order in which they run; each reads the outputs of the one before.
    wanted : set of int
        Outputs of the last layer, by index of their block, that are read.

    Returns
    -------
    list of Layer
        The same without blocks, paths and weights that lead nowhere.
    """
    result: list[Layer] = []
    for number in reversed(range(len(layers))):
        layer = _with_outputs(layers[number], sorted(wanted))
        if number:  # the first layer reads the embedding, which is one block
            wanted = _inputs_read(layer)
            layer = _with_inputs(layer, sorted(wanted))
        result.append(layer)
    return result[::-1]


def _kept(mixes: list[Mix], sources: dict[int, int] | None, targets: dict[int, int] | None) -> list[Mix]:
    """Maps between blocks that stay, by their new indices; None where all stay."""
    return [
        Mix(
            mix.source if sources is None else sources[mix.source],
            mix.target if targets is None else targets[mix.target],
            mix.weights,
        )
        for mix in mixes
        if (sources is None or mix.source in sources) and (targets is None or mix.target in targets)
    ]


def _numbered(kept: list[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(kept)}


def _with_outputs(layer: Layer, outputs: list[int]) -> Layer:
    """A layer that gives some of its blocks alone."""
    gate = layer.gate
    scalars = [k for k in outputs if k < gate.n_scalars]
    gated = [k - gate.n_scalars for k in outputs if k >= gate.n_scalars]
    first_gated = gate.n_scalars + gate.n_gates
    inputs = [*scalars, *(gate.n_scalars + k for k in gated), *(first_gated + k for k in gated)]
    activations = [gate.activations[k] for k in inputs[: len(scalars) + len(gated)]]
    smaller = Gate([gate.inputs[k] for k in inputs], len(scalars), activations)
    places = _numbered(inputs)
    second = _kept(layer.second, None, places)
    groups = _numbered(sorted({mix.source for mix in second}))
    paths, columns, start = [], [], 0
    for path in layer.paths:
        if path.group not in groups:
            continue
        count = path.weights.stop - path.weights.start
        columns.append(np.arange(path.weights.start, path.weights.stop))
        paths.append(path._replace(group=groups[path.group], weights=slice(start, start + count)))
        start += count
    weights = list(layer.radial.weights)
    weights[-1] = weights[-1][:, np.concatenate(columns)]
    return dataclasses.replace(
        layer,
        paths=paths,
        middle=[layer.middle[k] for k in groups],
        second=_kept(second, groups, None),
        connection=_kept(layer.connection, None, places),
        gate=smaller,
        radial=Radial(weights, layer.radial.activation),
    )


def _inputs_read(layer: Layer) -> set[int]:
    convolved = {path.block for path in layer.paths}
    return {mix.source for mix in layer.first if mix.target in convolved} | {mix.source for mix in layer.connection}


def _with_inputs(layer: Layer, inputs: list[int]) -> Layer:
    """A layer that is given some of its inputs alone; the paths read no others."""
    places = _numbered(inputs)
    return dataclasses.replace(
        layer,
        inputs=[layer.inputs[k] for k in inputs],
        first=_kept(layer.first, places, places),
        paths=[path._replace(block=places[path.block]) for path in layer.paths],
        connection=_kept(layer.connection, places, None),
    )
