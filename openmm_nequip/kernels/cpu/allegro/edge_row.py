"""The row of an edge, as both families of edge-wise models have it: its parts, two-body functions, matrices."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from ...allegro_program import AllegroProgram, Mlp
from ...mixing_program import MixingProgram
from ...pair_functions import hidden_form, two_body_matrix
from ...tables import Table
from ..harmonics_code import harmonics_code, literal
from ..layer_code import ACTIVATION_KINDS, array_code
from ..packing import Blob, in_panels, pad_matrix, padded
from ..radial_code import basis_constants, repulsion_lines

#: Edges of a tile that has more than one atom, and its atoms at most.
_TILE_EDGES, _TILE_ATOMS = 48, 32


class EdgeRow(NamedTuple):
    """Where the parts of a two-body row lie: padded widths, and for each column of the row its place."""

    channels: int
    inputs: list[int]
    width: int
    places: list[int]  # of all two-body functions


def lay_out_row(parts: list[int], lanes: int, others: Collection[int] = ()) -> tuple[list[int], int, list[int]]:
    """Places of parts behind one another, each padded to whole vectors.

    Parameters
    ----------
    parts : list of int
        Numbers in each part.
    lanes : int
        Numbers of a vector.
    others : collection of int
        Parts that are no two-body functions.

    Returns
    -------
    starts : list of int
        Of each part.
    width : int
        Of all.
    places : list of int
        Of each number that is a two-body function.
    """
    starts: list[int] = []
    places: list[int] = []
    width = 0
    for i, count in enumerate(parts):
        starts.append(width)
        places += range(width, width + count if i not in others else width)
        width += padded(count, lanes)
    return starts, width, places


def has_envelope(program: AllegroProgram | MixingProgram) -> bool:
    """Whether a cutoff that is a two-body function is a factor of what layers give; it stands first in the row."""
    return isinstance(program, MixingProgram) and program.tabulated_envelope


def n_envelopes(program: AllegroProgram | MixingProgram) -> int:
    """How many cutoffs stand first in the row, each in its own vector: one for all layers, one for each, or none."""
    if isinstance(program, MixingProgram) and program.envelopes:
        return len(program.latents)
    return int(has_envelope(program))


def include_text(
    program: AllegroProgram | MixingProgram,
    tables: list[Table] | None,
    lanes: int,
    headers: tuple[str, ...],
    sizes: dict[str, int],
    lines: list[str],
) -> str:
    """model.inc of an edge-wise model.

    Parameters
    ----------
    program : AllegroProgram or MixingProgram
        The model.
    tables : list of Table, optional
        One for each pair of types.
    lanes : int
        Numbers of a vector.
    headers : tuple of str
        What ``lines`` are written in terms of.
    sizes : dict of str to int
        Constants that the family has.
    lines : list of str
        Two-body functions, networks, products.

    Returns
    -------
    str
    """
    single = program.dtype == "float32"
    basis_macros, basis_lines = basis_constants(program.basis, lanes)
    macros = {
        "SINGLE_PRECISION": int(single),
        "LANES": lanes,
        "TABULATED": int(bool(tables)),
        "REPULSION": int(program.repulsion is not None),
        "ENVELOPE": int(has_envelope(program)),
        "PAIR_SCALES": int(isinstance(program, MixingProgram) and program.pair_scales is not None),
    } | basis_macros
    if isinstance(program, MixingProgram):
        macros |= {"LAYER_ENVELOPES": int(bool(program.envelopes)), "WEIGHTERS": int(bool(program.weighters))}
    sizes = sizes | {
        "N_TYPES": program.n_types,
        "N_ORDERS": program.n_orders,
        "N_HARMONICS": program.n_orders**2,
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
        *(f'#include "{name}"' for name in headers),
        "namespace {",
        f"constexpr real HARMONIC_0 = {literal(float(program.harmonics[0][0, 0]))};",
        harmonics_code(program.harmonics),
        *lines,
        "}  // namespace",
    ]
    return "\n".join(text)


class Dense:
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


def folded(mlp: Mlp) -> Mlp:
    """A network with a hidden layer, the factor of its activation in the matrices behind it."""
    whole = hidden_form(mlp)
    factor = whole.activation[1]
    return Mlp([whole.matrices[0], *(matrix * factor for matrix in whole.matrices[1:])], (whole.activation[0], 1.0))


def two_body_code(
    program: AllegroProgram | MixingProgram, tables: list[Table] | None, row: EdgeRow, blob: Blob
) -> tuple[list[str], int]:
    """Tables, or the matrices of the exact functions; and room in a buffer that they need, in numbers of an edge."""
    lanes = blob.lanes
    if tables:
        shape = len(tables), tables[0].knots, tables[0].coefficients.shape[1], row.width
        filled = np.zeros(shape, dtype=program.dtype)
        for i, table in enumerate(tables):
            filled[i][:, :, row.places] = table.coefficients
        if has_envelope(program):  # in every lane of its vector
            filled[..., 1:lanes] = filled[..., :1]
        packed = filled.reshape(*shape[:3], -1, lanes).transpose(0, 1, 3, 2, 4)
        return [f"constexpr long TABLE = {blob.add(packed)};"], lanes
    factor = program.embedding.activation[1]
    matrices = [matrix * factor for matrix in program.embedding.matrices]
    last, pairs = two_body_matrix(program), program.pairs
    if has_envelope(program):
        last = last[1:]  # what the step does by itself
    if matrices:
        matrices[-1] = _in_places(matrices[-1] @ last, row)
        width = padded(pairs.shape[-1], lanes)
    else:
        pairs, width = _in_places(pairs @ last, row), row.width
    filled = np.zeros((*pairs.shape[:-1], width))
    filled[..., : pairs.shape[-1]] = pairs
    dense = Dense(blob)
    entries = [dense(matrix) for matrix in matrices]
    kind = ACTIVATION_KINDS.index(program.embedding.activation[0])
    widest = max([width, *(padded(matrix.shape[1], lanes) for matrix in matrices[:-1])])
    return [
        f"constexpr long PAIRS = {blob.add(filled)};",
        f"constexpr int PAIR_WIDTH = {width}, N_EMBEDDING = {len(matrices)}, EMBEDDING_ACTIVATION = {kind};",
        array_code("DenseLayer", "EMBEDDING", entries),
    ], 2 * widest  # values and derivatives


def _in_places(matrix: np.ndarray, row: EdgeRow) -> np.ndarray:
    """A matrix (..., n, two-body functions) with its columns in their places of a row."""
    filled = np.zeros((*matrix.shape[:-1], row.width))
    filled[..., row.places] = matrix
    return filled
