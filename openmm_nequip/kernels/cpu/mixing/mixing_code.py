"""model.inc of an Allegro model of nequip <= 0.6: sizes, networks, products and mixing, and the array of weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...allegro_program import Mlp
from ...mixing_program import MixingProgram
from ...tables import Table
from ..allegro.edge_row import Dense, EdgeRow, folded, has_envelope, include_text, lay_out_row, two_body_code
from ..layer_code import ACTIVATION_KINDS, array_code
from ..packing import Blob, narrowest_lanes, pad_matrix, padded
from .edge_products_code import edge_products_code, raw_places

#: Headers that the generated code is written in terms of.
_HEADERS = ("edges.hpp", "edge_layers.hpp")
#: Raw results of a chunk of edges stay in the near cache; its edges, in steps that fill the registers of a product.
_CHUNK_BYTES, _CHUNK_STEP, _CHUNK_MOST = 96 * 1024, 12, 48


class _Layout(NamedTuple):
    """Places in the row of an edge: the row itself, weights of tensors, and of the environment of each layer."""

    row: EdgeRow
    tensors: int
    environments: list[int]


def _lay_out(program: MixingProgram, networks: list[Mlp], lanes: int) -> _Layout:
    orders = [program.n_channels] * program.n_orders
    parts = [1] * has_envelope(program) + orders
    tensors, environments, inputs = len(parts) - len(orders), [], []
    for k, network in enumerate(networks):
        if k < len(program.latents):
            environments.append(len(parts))
            parts += orders
        inputs.append(len(parts))
        parts.append(network.matrices[0].shape[1])
    starts, width, places = lay_out_row(parts, lanes)
    row = EdgeRow(padded(program.n_channels, lanes), [starts[i] for i in inputs], width, places)
    return _Layout(row, starts[tensors], [starts[i] for i in environments])


def mixing_include(
    program: MixingProgram, tables: list[Table] | None, vector_bytes: int
) -> tuple[str, np.ndarray, np.ndarray]:
    """Write model.inc and pack the weights.

    Parameters
    ----------
    program : MixingProgram
        The model.
    tables : list of Table, optional
        One for each pair of types; without them two-body functions are evaluated exactly.
    vector_bytes : int
        Width of the machine's vectors.

    Returns
    -------
    text : str
    weights : numpy.ndarray, (n_weights,)
    constants : numpy.ndarray, (n_constants,) float64
        Behind those of all models.
    """
    networks = [folded(mlp) for mlp in (*program.latents, program.readout)]
    hidden = [(matrix.shape[1], 1) for network in networks for matrix in network.matrices[:-1]]
    components = [sum(2 * order + 1 for order in product.sources) for product in program.products]
    lanes = narrowest_lanes(
        program.dtype, vector_bytes, [(program.n_channels, 2 * program.n_orders + sum(components)), *hidden]
    )
    blob = Blob(program.dtype, lanes)
    layout = _lay_out(program, networks, lanes)
    row = layout.row
    two_body, widest = two_body_code(program, tables, row, blob)
    network_lines, widths = _networks(program, networks, layout, blob)
    raw = max(raw_places(product)[1] for product in program.products) * row.channels
    chunk = _CHUNK_BYTES // (raw * np.dtype(program.dtype).itemsize) // _CHUNK_STEP * _CHUNK_STEP
    sizes = {
        "N_LAYERS": len(program.latents),
        "CHANNELS": row.channels,
        "OWN_EDGE": int(program.own_edge),
        "TENSOR_WEIGHTS": layout.tensors,
        "ROW_WIDTH": row.width,
        "MOST_HIDDEN": max(len(network.matrices) - 1 for network in networks),
        "WIDEST": max(widest, *widths),
        "WIDEST_TENSOR": max(components) * row.channels,
        "WIDEST_RAW": raw,
        "CHUNK": int(np.clip(chunk, _CHUNK_STEP, _CHUNK_MOST)),
    }
    lines = [*two_body, *network_lines, *_layers(program, row.channels, blob), edge_products_code(program.products)]
    return include_text(program, tables, lanes, _HEADERS, sizes, lines), blob.array(), program.norms.ravel()


def _networks(program: MixingProgram, networks: list[Mlp], layout: _Layout, blob: Blob) -> tuple[list[str], list[int]]:
    """The table of networks with where they read and write, and the padded widths of all hidden layers."""
    dense, lanes, row = Dense(blob), blob.lanes, layout.row
    lines, entries, every = [], [], []
    laters = [*layout.environments[1:], row.inputs[-1]]
    for k, network in enumerate(networks):
        widths = [padded(matrix.shape[1], lanes) for matrix in network.matrices[:-1]]
        every += widths
        between = [dense(matrix) for matrix in network.matrices[1:-1]]
        lines += [
            f"const int WIDTHS_{k}[] = {{{', '.join(map(str, widths))}}};",
            array_code("DenseLayer", f"BETWEEN_{k}", between),
        ]
        scalars = later = "0, 0, 0, 0"
        if k < len(laters):
            scalars = dense(_of_scalars(program, network, k, row.channels))
            later = dense(_of_later(program, networks, k, layout, laters[k]))
        entries.append(f"{row.inputs[k]}, {len(widths)}, WIDTHS_{k}, BETWEEN_{k}, {{{scalars}}}, {{{later}}}, 0, 0")
    last = networks[-1].matrices[-1]
    kinds = [ACTIVATION_KINDS.index(network.activation[0]) for network in (networks[0], networks[-1])]
    lines += [
        f"constexpr long READOUT_LAST = {blob.add(pad_matrix(last, list(range(len(last))), widths[-1], 1))};",
        f"constexpr int LATENT_ACTIVATION = {kinds[0]}, READOUT_ACTIVATION = {kinds[1]};",
        array_code("EdgeNetwork", "NETWORKS", entries),
        "inline int last_width(int k) { return NETWORKS[k].widths[NETWORKS[k].n_hidden - 1]; }",
        f"const int ENVIRONMENTS[] = {{{', '.join(map(str, layout.environments))}}};",
        f"const int LATERS[] = {{{', '.join(map(str, laters))}}};",
    ]
    return lines, every


def _of_scalars(program: MixingProgram, network: Mlp, k: int, channels: int) -> np.ndarray:
    """From the scalars of layer k, with padded channels, to the inputs of its network."""
    rows = network.matrices[0][sum(program.features[: k + 1]) :]
    shaped = rows.reshape(program.products[k].slots(0), program.n_channels, -1)
    filled = np.zeros((len(shaped), channels, shaped.shape[2]))
    filled[:, : program.n_channels] = shaped
    return filled.reshape(-1, shaped.shape[2])


def _of_later(program: MixingProgram, networks: list[Mlp], k: int, layout: _Layout, start: int) -> np.ndarray:
    """From the last hidden layer of network k, by V_{k+1}, to all that reads it: the row from ``start`` on."""
    row, own = layout.row, networks[k].matrices[-1]
    first = sum(program.features[: k + 1])
    rows = slice(first, first + program.features[k + 1])
    joined = np.zeros((len(own), row.width - start))
    for j in range(k + 1, len(networks)):
        part = own @ networks[j].matrices[0][rows]
        place = row.inputs[j] - start
        joined[:, place : place + part.shape[1]] = part
        if j < len(program.environments):
            for order in range(program.n_orders):
                place = layout.environments[j] + order * row.channels - start
                joined[:, place : place + program.n_channels] = own @ program.environments[j][rows, order]
    return joined


def _layers(program: MixingProgram, channels: int, blob: Blob) -> list[str]:
    """The table of layers with their mixing."""
    dense = Dense(blob)
    lines, entries = [], []
    for k, product in enumerate(program.products):
        starts, width = raw_places(product)
        blocks, to = [], 0
        for target, matrices in enumerate(product.mixing):
            filled = np.zeros((len(matrices), channels, channels))
            filled[:, : program.n_channels, : program.n_channels] = matrices
            components = 2 * product.targets[target] + 1
            places = starts[target] * channels, len(matrices) * channels, to * channels
            matrix = dense(filled.reshape(-1, channels))
            blocks.append(f"{components}, {', '.join(map(str, places))}, {{{matrix}}}")
            to += components
        lines.append(array_code("Mixing", f"MIXING_{k}", blocks))
        tensors = sum(2 * order + 1 for order in product.sources)
        entries.append(f"{tensors * channels}, {width * channels}, {len(blocks)}, MIXING_{k}")
    return [*lines, array_code("EdgeLayer", "EDGE_LAYERS", entries)]
