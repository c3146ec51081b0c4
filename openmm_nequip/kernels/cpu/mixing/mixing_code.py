"""model.inc of an Allegro model of nequip <= 0.6: sizes, networks, products and mixing, and the array of weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...allegro_program import Mlp
from ...mixing_program import MixingProgram
from ...tables import Table
from ..allegro.edge_row import Dense, EdgeRow, has_envelope, include_text, lay_out_row, n_envelopes, two_body_code
from ..allegro.network_table import NetworkTable
from ..layer_code import array_code
from ..packing import Blob, padded
from .edge_products_code import edge_products_code, raw_places

#: Headers that the generated code is written in terms of.
_HEADERS = ("edges.hpp", "edge_layers.hpp")
#: Raw results of a chunk of edges stay in the near cache; its edges, in steps that fill the registers of a product.
_CHUNK_BYTES, _CHUNK_STEP, _CHUNK_MOST = 96 * 1024, 12, 48


class _Layout(NamedTuple):
    """Places in the row of an edge: the row itself, weights of tensors, and of the environment of each layer.

    Inputs of networks are those of the table of networks, one by one.
    """

    row: EdgeRow
    tensors: int
    environments: list[int]


def _lay_out(program: MixingProgram, networks: list[Mlp], lanes: int) -> _Layout:
    orders, blocks = [program.n_channels] * program.n_orders, [program.n_channels] * len(program.products[0].sources)
    parts = [1] * n_envelopes(program) + blocks
    tensors, count = len(parts) - len(blocks), len(program.latents)
    environments, inputs, weighters = [], [], []
    others = set(range(tensors - has_envelope(program)))  # cutoffs of layers
    for k in range(count + 1):
        if k < count:
            environments.append(len(parts))
            parts += orders
        if k < len(program.weighters):
            others.update(range(environments[-1], len(parts)))
            weighters.append(len(parts))
            parts.append(networks[count + 1 + k].matrices[0].shape[1])
        inputs.append(len(parts))
        parts.append(networks[k].matrices[0].shape[1])
    if program.weighters:
        others.update(range(tensors, tensors + len(blocks)))
    inputs += weighters
    starts, width, places = lay_out_row(parts, lanes, others)
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
        Behind those of all models: what environments are multiplied with, and scales of pairs of types.
    """
    components = [sum(2 * order + 1 for order in product.sources) for product in program.products]
    rows = len(program.products[0].sources) + program.n_orders + sum(components)
    table = NetworkTable(program, vector_bytes, [(program.n_channels, rows)])
    blob = Blob(program.dtype, table.lanes)
    layout = _lay_out(program, table.networks, table.lanes)
    row = layout.row
    two_body, widest = two_body_code(program, tables, row, blob)
    laters = [*layout.environments[1:], row.inputs[table.readout]]
    followers = _followers(program, table.networks, layout, laters, blob)
    followers |= _weights(program, table, row.channels, blob)
    networks = table.code(row, followers, blob)
    raw = max(raw_places(product)[1] for product in program.products) * row.channels
    chunk = _CHUNK_BYTES // (raw * np.dtype(program.dtype).itemsize) // _CHUNK_STEP * _CHUNK_STEP
    sizes = table.sizes(widest) | {
        "CHANNELS": row.channels,
        "OWN_EDGE": int(program.own_edge),
        "TENSOR_WEIGHTS": layout.tensors,
        "ROW_WIDTH": row.width,
        "N_FIRST": len(program.products[0].sources),
        "WIDEST_TENSOR": max(components) * row.channels,
        "WIDEST_RAW": raw,
        "CHUNK": int(np.clip(chunk, _CHUNK_STEP, _CHUNK_MOST)),
    }
    lines = [
        *two_body,
        *networks,
        f"const int ENVIRONMENTS[] = {{{', '.join(map(str, layout.environments))}}};",
        f"const int LATERS[] = {{{', '.join(map(str, laters))}}};",
        f"constexpr int FIRST_ORDERS[] = {{{', '.join(map(str, program.products[0].sources))}}};",
        *_envelopes(program),
        *_layers(program, row.channels, blob),
        edge_products_code(program.products),
    ]
    scales = np.zeros(0) if program.pair_scales is None else program.pair_scales.ravel()
    constants = np.concatenate([program.norms.ravel(), scales])
    return include_text(program, tables, table.lanes, _HEADERS, sizes, lines), blob.array(), constants


def _envelopes(program: MixingProgram) -> list[str]:
    """Constants of layer_envelopes.hpp, of models whose layers have cutoffs of their own."""
    if not program.envelopes:
        return []
    first = program.envelopes[0]
    cutoffs = ", ".join(repr(each.cutoff) for each in program.envelopes)
    return [
        f"constexpr bool COSINE_ENVELOPES = {int(first.cosine)};",
        f"constexpr double ENVELOPE_CUTOFFS[] = {{{cutoffs}}}, ENVELOPE_SHAPE = {first.shape!r};",
    ]


def _followers(
    program: MixingProgram, networks: list[Mlp], layout: _Layout, laters: list[int], blob: Blob
) -> dict[int, str]:
    """What reads each latent network, as members of ``EdgeNetwork``."""
    dense = Dense(blob)
    found = {}
    for k, later in enumerate(laters):
        scalars = dense(_of_scalars(program, networks[k], k, layout.row.channels))
        found[k] = f"{{{scalars}}}, {{{dense(_of_later(program, networks, k, layout, later))}}}, 0, 0"
    return found


def _weights(program: MixingProgram, table: NetworkTable, channels: int, blob: Blob) -> dict[int, str]:
    """The same of networks of weights: their last matrix, with channels padded."""
    dense = Dense(blob)
    found = {}
    for k, network in enumerate(table.networks[table.readout + 1 :], table.readout + 1):
        last = network.matrices[-1].reshape(len(network.matrices[-1]), -1, program.n_channels)
        filled = np.zeros((*last.shape[:2], channels))
        filled[..., : program.n_channels] = last
        found[k] = f"{{}}, {{{dense(filled.reshape(len(last), -1))}}}, 0, 0"
    return found


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
    count = len(program.latents)
    inputs = [(networks[j].matrices[0], row.inputs[j]) for j in range(k + 1, count + 1)]
    if program.weighters:
        inputs += [(networks[count + 1 + j].matrices[0], row.inputs[count + 1 + j]) for j in range(k + 1, count)]
    for matrix, at in inputs:
        part = own @ matrix[rows]
        joined[:, at - start : at - start + part.shape[1]] = part
    if not program.weighters:
        for j in range(k + 1, count):
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
        read = {0}  # the scalars of the product go elsewhere as well
        for target, matrices in zip(product.made_of, product.mixing, strict=True):
            filled = np.zeros((len(matrices), channels, channels))
            filled[:, : program.n_channels, : program.n_channels] = matrices
            components = 2 * product.targets[target] + 1
            places = starts[target] * channels, len(matrices) * channels, to * channels, int(target in read)
            plain = len(matrices) == 1 and np.array_equal(matrices[0], np.eye(program.n_channels))
            matrix = "0, 0, 0, 0" if plain else dense(filled.reshape(-1, channels))
            blocks.append(f"{components}, {', '.join(map(str, places))}, {{{matrix}}}")
            to += components
            read.add(target)
        lines.append(array_code("Mixing", f"MIXING_{k}", blocks))
        tensors = sum(2 * order + 1 for order in product.sources)
        entries.append(f"{tensors * channels}, {width * channels}, {len(blocks)}, MIXING_{k}")
    return [*lines, array_code("EdgeLayer", "EDGE_LAYERS", entries)]
