"""model.inc of an Allegro model: its sizes, two-body functions, networks and products, and the array of weights."""

from __future__ import annotations

import numpy as np

from ...allegro_program import AllegroProgram, Mlp
from ...tables import Table
from ..packing import Blob, in_panels, pad_matrix, padded
from .edge_row import Dense, EdgeRow, include_text, lay_out_row, two_body_code
from .network_table import NetworkTable
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
    table = NetworkTable(program, vector_bytes, [(program.n_channels, 2 * program.n_orders)])
    blob = Blob(program.dtype, table.lanes)
    row = _lay_out(program, table.networks, table.lanes)
    two_body, widest = two_body_code(program, tables, row, blob)
    networks = table.code(row, _followers(program, table, row, blob), blob)
    products = products_code(program, row.channels, blob)
    sizes = table.sizes(widest) | {
        "CHANNELS": row.channels,
        "TENSOR_WEIGHTS": 0,
        "ENVIRONMENT_WEIGHTS": program.n_orders * row.channels,
        "ROW_WIDTH": row.width,
        "MOST_COMPONENTS": max(product.couplings.shape[1] for product in program.products),
    }
    text = include_text(program, tables, table.lanes, _HEADERS, sizes, [*two_body, *networks, products])
    return text, blob.array(), program.norms


def _followers(program: AllegroProgram, table: NetworkTable, row: EdgeRow, blob: Blob) -> dict[int, str]:
    """What reads each latent network, as members of ``EdgeNetwork``."""
    dense, networks = Dense(blob), table.networks
    found: dict[int, str] = {}
    features, count = program.n_features, len(program.latents)
    for k, network in enumerate(networks[:count]):
        scalars = dense(network.matrices[0][(k + 1) * features :])
        # What v_{k+1} gives to the inputs of the networks behind this one.
        own = network.matrices[-1][:, :features]
        parts = [own @ other.matrices[0][(k + 1) * features : (k + 2) * features] for other in networks[k + 1 :]]
        starts = [start - row.inputs[k + 1] for start in row.inputs[k + 1 :]]
        joined = np.zeros((len(own), row.width - row.inputs[k + 1]))
        for part, start in zip(parts, starts, strict=True):
            joined[:, start : start + part.shape[1]] = part
        environment = "0, 0"
        if k + 1 < count:
            weights = network.matrices[-1][:, features:]
            environment = _environment(program, weights, table.widths[k][-1], row.channels, blob)
        found[k] = f"{{{scalars}}}, {{{dense(joined)}}}, {environment}"
    return found


def _environment(program: AllegroProgram, weights: np.ndarray, width: int, channels: int, blob: Blob) -> str:
    """Places of the maps onto environment weights, a matrix for each order, and of the transposed ones."""
    shaped = weights.reshape(len(weights), program.n_channels, program.n_orders).transpose(2, 0, 1)
    filled = np.stack([pad_matrix(matrix, list(range(len(matrix))), width, channels) for matrix in shaped])
    both = [[in_panels(matrix, blob.lanes) for matrix in stack] for stack in (filled, filled.transpose(0, 2, 1))]
    return ", ".join(str(blob.add(np.concatenate(stack))) for stack in both)
