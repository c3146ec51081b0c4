"""Tables of the C++ that describe a network: linear maps, gates, the readout, and the layers themselves."""

from __future__ import annotations

import numpy as np

from ..program import Layer, NequIPProgram
from .packing import Blob, LayerRows, Rows, channel_places, in_panels, pack_mix, pad_matrix, padded, rows_of

#: Activations in the order of their numbers in activations.hpp.
ACTIVATION_KINDS = ("identity", "silu", "tanh", "abs", "ssp", "mish", "gelu", "sigmoid", "softplus")


def array_code(kind: str, name: str, entries: list[str]) -> str:
    """A constant array of a struct.

    Parameters
    ----------
    kind : str
        The struct.
    name : str
        Name of the array.
    entries : list of str
        Members of each element; without any the array has one of zeros, because C++ knows no empty one.

    Returns
    -------
    str
    """
    return f"const {kind} {name}[] = {{{', '.join('{' + entry + '}' for entry in entries or [''])}}};"


def layer_code(number: int, layer: Layer, rows: LayerRows, blob: Blob) -> tuple[list[str], str]:
    """Maps and gate of a layer.

    Parameters
    ----------
    number : int
        Number of the layer.
    layer : Layer
        The layer.
    rows : LayerRows
        Where its features lie.
    blob : Blob
        All weights; is added to.

    Returns
    -------
    lines : list of str
        Arrays of ``LinearMap`` and ``GateBlock``.
    entry : str
        Its element of ``NETWORK``.
    """
    outputs = rows_of(layer.gate.outputs, blob.lanes)
    places = [channel_places(layer, rows, group) for group in range(len(layer.middle))]
    maps = {
        "FIRST": pack_mix(blob, layer.first, rows.inputs, rows.inputs, panels=True),
        "SECOND": pack_mix(blob, layer.second, rows.middle, rows.gate, places, panels=True),
        "CONNECTION": pack_mix(blob, layer.connection, rows.inputs, rows.gate, panels=True),
    }
    lines = [
        array_code("LinearMap", f"{name}_{number}", [", ".join(map(str, entry)) for entry in entries])
        for name, entries in maps.items()
    ]
    lines.append(array_code("GateBlock", f"GATE_{number}", _gate_entries(layer, rows.gate, outputs)))
    widths = f"{rows.inputs.width}, {rows.middle.width}, {rows.gate.width}, {outputs.width}"
    arrays = ", ".join(f"{name}_{number}, {len(entries)}" for name, entries in maps.items())
    entry = f"convolution_{number}, convolution_backward_{number}, PLACES_{number}, {widths}, {arrays}"
    return lines, f"{entry}, GATE_{number}, {len(layer.gate.outputs)}"


def _gate_entries(layer: Layer, gate: Rows, outputs: Rows) -> list[str]:
    entries = []
    n, g = layer.gate.n_scalars, layer.gate.n_gates
    for i in range(n + g):
        target = i if i < n else i + g
        kind, factor = layer.gate.activations[i]
        at = -1 if i < n else gate.offsets[i]
        entries.append(
            f"{gate.offsets[target]}, {outputs.offsets[i]}, {gate.channels[target]}, {2 * gate.blocks[target].l + 1}, "
            f"{at}, {ACTIVATION_KINDS.index(kind)}, (real){factor!r}"
        )
    return entries


def readout_code(program: NequIPProgram, blob: Blob) -> tuple[list[str], list[int]]:
    """The readout network.

    Parameters
    ----------
    program : NequIPProgram
        Has it.
    blob : Blob
        All weights; is added to.

    Returns
    -------
    lines : list of str
        ``READOUT`` and the constants of its activation.
    widths : list of int
        Padded widths of its input and of the outputs of its matrices.
    """
    source = rows_of(program.layers[-1].gate.outputs, blob.lanes)
    widths = [source.channels[0]] + [padded(matrix.shape[1], blob.lanes) for matrix in program.readout]
    entries = []
    for matrix, n_in, n_out in zip(program.readout, widths, widths[1:], strict=False):
        filled = pad_matrix(matrix, list(range(matrix.shape[0])), n_in, n_out)
        places = [blob.add(in_panels(each, blob.lanes)) for each in (filled, filled.T)]
        entries.append(f"{n_in}, {n_out}, {places[0]}, {places[1]}")
    kind, factor = program.readout_activation
    lines = [
        f"constexpr int N_READOUT = {len(entries)}, READOUT_ACTIVATION = {ACTIVATION_KINDS.index(kind)};",
        f"constexpr double READOUT_FACTOR = {factor!r};",
        array_code("DenseLayer", "READOUT", entries),
    ]
    return lines, widths


def first_features(program: NequIPProgram, rows: LayerRows) -> tuple[np.ndarray, np.ndarray]:
    """What the first convolution reads of each type, and the first self-connection: both depend on the type alone.

    Parameters
    ----------
    program : NequIPProgram
        Has the embedding.
    rows : LayerRows
        Of the first layer.

    Returns
    -------
    features : numpy.ndarray, (n_types, width of the inputs)
    connection : numpy.ndarray, (n_types, width of the gate's input)
    """
    layer = program.layers[0]
    features, connection = np.zeros((program.n_types, rows.inputs.width)), np.zeros((program.n_types, rows.gate.width))
    for target, place, maps in ((features, rows.inputs, layer.first), (connection, rows.gate, layer.connection)):
        for entry in maps:
            matrices = np.broadcast_to(entry.weights, (program.n_types, *entry.weights.shape[1:]))
            start = place.offsets[entry.target]
            target[:, start : start + matrices.shape[2]] += np.einsum("tk,tkm->tm", program.embedding, matrices)
    return features, connection
