"""model.inc of an Allegro model: its sizes, two-body functions, networks and products, and the array of weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...allegro_program import AllegroProgram, Mlp
from ...pair_functions import hidden_form, two_body_matrix
from ...tables import Table
from ..harmonics_code import harmonics_code, literal
from ..layer_code import ACTIVATION_KINDS, array_code
from ..packing import Blob, in_panels, narrowest_lanes, pad_matrix, padded
from ..radial_code import basis_constants, repulsion_lines
from .products_code import products_code

#: Edges of a tile that has more than one atom, and its atoms at most.
_TILE_EDGES, _TILE_ATOMS = 48, 32
#: Headers that the generated code is written in terms of.
_HEADERS = ("edges.hpp", "edge_networks.hpp")


class _Row(NamedTuple):
    """Where the parts of a two-body row lie: padded widths, and for each column of the row its place."""

    channels: int
    inputs: list[int]
    width: int
    places: list[int]


def _lay_out(program: AllegroProgram, networks: list[Mlp], lanes: int) -> _Row:
    channels = padded(program.n_channels, lanes)
    parts = [program.n_channels] * (2 * program.n_orders) + [network.matrices[0].shape[1] for network in networks]
    places: list[int] = []
    starts: list[int] = []
    width = 0
    for count in parts:
        starts.append(width)
        places += range(width, width + count)
        width += padded(count, lanes)
    return _Row(channels, starts[2 * program.n_orders :], width, places)


class _Dense:
    """Matrices of networks among the weights, as members of ``DenseLayer``."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob

    def __call__(self, matrix: np.ndarray, n_in: int | None = None, n_out: int | None = None) -> str:
        rows, columns = matrix.shape
        n_in = padded(rows, self._blob.lanes) if n_in is None else n_in
        n_out = padded(columns, self._blob.lanes) if n_out is None else n_out
        filled = pad_matrix(matrix, list(range(rows)), n_in, n_out)
        offsets = [self._blob.add(in_panels(each, self._blob.lanes)) for each in (filled, filled.T)]
        return f"{n_in}, {n_out}, {offsets[0]}, {offsets[1]}"


def _folded(mlp: Mlp) -> Mlp:
    """A network with a hidden layer, the factor of its activation in the matrices behind it."""
    whole = hidden_form(mlp)
    factor = whole.activation[1]
    return Mlp([whole.matrices[0], *(matrix * factor for matrix in whole.matrices[1:])], (whole.activation[0], 1.0))


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
    networks = [_folded(mlp) for mlp in (*program.latents, program.readout)]
    hidden = [(matrix.shape[1], 1) for network in networks for matrix in network.matrices[:-1]]
    parts = [(program.n_channels, 2 * program.n_orders), *hidden]
    lanes = narrowest_lanes(program.dtype, vector_bytes, parts)
    blob = Blob(program.dtype, lanes)
    row = _lay_out(program, networks, lanes)
    basis_macros, basis_lines = basis_constants(program.basis, lanes)
    two_body, widest = _two_body(program, tables, row, blob)
    network_lines, widths = _networks(program, networks, row, blob)
    products = products_code(program, row.channels, blob)
    single = program.dtype == "float32"
    macros = {
        "SINGLE_PRECISION": int(single),
        "LANES": lanes,
        "TABULATED": int(bool(tables)),
        "REPULSION": int(program.repulsion is not None),
    } | basis_macros
    sizes = {
        "N_TYPES": program.n_types,
        "N_LAYERS": len(program.latents),
        "N_ORDERS": program.n_orders,
        "N_HARMONICS": program.n_orders**2,
        "CHANNELS": row.channels,
        "TENSOR_WEIGHTS": 0,
        "ENVIRONMENT_WEIGHTS": program.n_orders * row.channels,
        "ROW_WIDTH": row.width,
        "MOST_HIDDEN": max(len(network.matrices) - 1 for network in networks),
        "MOST_COMPONENTS": max(product.couplings.shape[1] for product in program.products),
        "WIDEST": max(widest, *widths),
        "TILE_EDGES": _TILE_EDGES,
        "TILE_ATOMS": _TILE_ATOMS,
        "N_KNOTS": tables[0].knots if tables else 0,
        "COEFFICIENTS": tables[0].coefficients.shape[1] if tables else 0,
    }
    text = [
        "// Generated for one model: its sizes, its networks, and its tensor products.",
        "#pragma once",
        *(f"#define {name} {value}" for name, value in macros.items()),
        f"typedef {'float' if single else 'double'} real;",
        "namespace {",
        *(f"constexpr int {name} = {value};" for name, value in sizes.items()),
        *basis_lines,
        *repulsion_lines(program.repulsion),
        "}  // namespace",
        *(f'#include "{name}"' for name in _HEADERS),
        "namespace {",
        f"constexpr real HARMONIC_0 = {literal(float(program.harmonics[0][0, 0]))};",
        *two_body,
        *network_lines,
        harmonics_code(program.harmonics),
        products,
        "}  // namespace",
    ]
    return "\n".join(text), blob.array(), program.norms


def _two_body(program: AllegroProgram, tables: list[Table] | None, row: _Row, blob: Blob) -> tuple[list[str], int]:
    """Tables, or the matrices of the exact functions; and room in a buffer that they need, in numbers of an edge."""
    lanes = blob.lanes
    if tables:
        shape = len(tables), tables[0].knots, tables[0].coefficients.shape[1], row.width
        filled = np.zeros(shape, dtype=program.dtype)
        for i, table in enumerate(tables):
            filled[i][:, :, row.places] = table.coefficients
        packed = filled.reshape(*shape[:3], -1, lanes).transpose(0, 1, 3, 2, 4)
        return [f"constexpr long TABLE = {blob.add(packed)};"], lanes
    factor = program.embedding.activation[1]
    matrices = [matrix * factor for matrix in program.embedding.matrices]
    last, pairs = two_body_matrix(program), program.pairs
    if matrices:
        matrices[-1] = _in_places(matrices[-1] @ last, row)
        width = padded(pairs.shape[-1], lanes)
    else:
        pairs, width = _in_places(pairs @ last, row), row.width
    filled = np.zeros((*pairs.shape[:-1], width))
    filled[..., : pairs.shape[-1]] = pairs
    dense = _Dense(blob)
    entries = [dense(matrix) for matrix in matrices]
    kind = ACTIVATION_KINDS.index(program.embedding.activation[0])
    widest = max([width, *(padded(matrix.shape[1], lanes) for matrix in matrices[:-1])])
    return [
        f"constexpr long PAIRS = {blob.add(filled)};",
        f"constexpr int PAIR_WIDTH = {width}, N_EMBEDDING = {len(matrices)}, EMBEDDING_ACTIVATION = {kind};",
        array_code("DenseLayer", "EMBEDDING", entries),
    ], 2 * widest  # values and derivatives


def _in_places(matrix: np.ndarray, row: _Row) -> np.ndarray:
    """A matrix (..., n, columns of a row) with its columns in their padded places."""
    filled = np.zeros((*matrix.shape[:-1], row.width))
    filled[..., row.places] = matrix
    return filled


def _networks(program: AllegroProgram, networks: list[Mlp], row: _Row, blob: Blob) -> tuple[list[str], list[int]]:
    """The table of networks, and the padded widths of all hidden layers."""
    dense, lanes = _Dense(blob), blob.lanes
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
