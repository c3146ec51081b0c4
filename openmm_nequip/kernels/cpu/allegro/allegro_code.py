"""model.inc of an Allegro model: its sizes, two-body functions, networks and products, and the array of weights."""

from __future__ import annotations

import numpy as np

from ...allegro_program import AllegroProgram, Mlp
from ...tables import Table
from ..layer_code import ACTIVATION_KINDS, array_code
from ..packing import Blob, in_panels, narrowest_lanes, pad_matrix, padded
from .edge_row import Dense, EdgeRow, folded, include_text, lay_out_row, two_body_code
from .products_code import products_code

#: Headers that the generated code is written in terms of.
_HEADERS = ("edges.hpp", "edge_networks.hpp")


def _lay_out(program: AllegroProgram, networks: list[Mlp], lanes: int) -> EdgeRow:
    parts = [program.n_channels] * (2 * program.n_orders) + [network.matrices[0].shape[1] for network in networks]
    starts, width, places = lay_out_row(parts, lanes)
    return EdgeRow(padded(program.n_channels, lanes), starts[2 * program.n_orders :], width, places)


def allegro_include(
    program: AllegroProgram, tables: list[Table] | None, vector_bytes: int
) -> tuple[str, np.ndarray, np.ndarray]:
    """Write model.inc and pack the weights.

    Parameters
    ----------
    program : AllegroProgram
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
    parts = [(program.n_channels, 2 * program.n_orders), *hidden]
    lanes = narrowest_lanes(program.dtype, vector_bytes, parts)
    blob = Blob(program.dtype, lanes)
    row = _lay_out(program, networks, lanes)
    two_body, widest = two_body_code(program, tables, row, blob)
    network_lines, widths = _networks(program, networks, row, blob)
    products = products_code(program, row.channels, blob)
    sizes = {
        "N_LAYERS": len(program.latents),
        "CHANNELS": row.channels,
        "TENSOR_WEIGHTS": 0,
        "ENVIRONMENT_WEIGHTS": program.n_orders * row.channels,
        "ROW_WIDTH": row.width,
        "MOST_HIDDEN": max(len(network.matrices) - 1 for network in networks),
        "MOST_COMPONENTS": max(product.couplings.shape[1] for product in program.products),
        "WIDEST": max(widest, *widths),
    }
    text = include_text(program, tables, lanes, _HEADERS, sizes, [*two_body, *network_lines, products])
    return text, blob.array(), program.norms


def _networks(program: AllegroProgram, networks: list[Mlp], row: EdgeRow, blob: Blob) -> tuple[list[str], list[int]]:
    """The table of networks, and the padded widths of all hidden layers."""
    dense, lanes = Dense(blob), blob.lanes
    features, count = program.n_features, len(program.latents)
    lines, entries, every = [], [], []
    for k, network in enumerate(networks):
        widths = [padded(matrix.shape[1], lanes) for matrix in network.matrices[:-1]]
        every += widths
        between = [dense(matrix) for matrix in network.matrices[1:-1]]
        lines += [
            f"const int WIDTHS_{k}[] = {{{', '.join(map(str, widths))}}};",
            array_code("DenseLayer", f"BETWEEN_{k}", between),
        ]
        scalars = later = "0, 0, 0, 0"
        environment = "0, 0"
        if k < count:
            scalars = dense(network.matrices[0][(k + 1) * features :])
            # What v_{k+1} gives to the inputs of the networks behind this one.
            own = network.matrices[-1][:, :features]
            parts = [own @ other.matrices[0][(k + 1) * features : (k + 2) * features] for other in networks[k + 1 :]]
            starts = [start - row.inputs[k + 1] for start in row.inputs[k + 1 :]]
            joined = np.zeros((len(own), row.width - row.inputs[k + 1]))
            for part, start in zip(parts, starts, strict=True):
                joined[:, start : start + part.shape[1]] = part
            later = dense(joined)
        if k + 1 < count:
            environment = _environment(program, network.matrices[-1][:, features:], widths[-1], row.channels, blob)
        entries.append(
            f"{row.inputs[k]}, {len(widths)}, WIDTHS_{k}, BETWEEN_{k}, {{{scalars}}}, {{{later}}}, {environment}"
        )
    last = pad_matrix(networks[-1].matrices[-1], list(range(len(networks[-1].matrices[-1]))), widths[-1], 1)
    kinds = [ACTIVATION_KINDS.index(network.activation[0]) for network in (networks[0], networks[-1])]
    lines += [
        f"constexpr long READOUT_LAST = {blob.add(last)};",
        f"constexpr int LATENT_ACTIVATION = {kinds[0]}, READOUT_ACTIVATION = {kinds[1]};",
        array_code("EdgeNetwork", "NETWORKS", entries),
        "inline int last_width(int k) { return NETWORKS[k].widths[NETWORKS[k].n_hidden - 1]; }",
    ]
    return lines, every


def _environment(program: AllegroProgram, weights: np.ndarray, width: int, channels: int, blob: Blob) -> str:
    """Places of the maps onto environment weights, a matrix for each order, and of the transposed ones."""
    shaped = weights.reshape(len(weights), program.n_channels, program.n_orders).transpose(2, 0, 1)
    filled = np.stack([pad_matrix(matrix, list(range(len(matrix))), width, channels) for matrix in shaped])
    both = [[in_panels(matrix, blob.lanes) for matrix in stack] for stack in (filled, filled.transpose(0, 2, 1))]
    return ", ".join(str(blob.add(np.concatenate(stack))) for stack in both)
