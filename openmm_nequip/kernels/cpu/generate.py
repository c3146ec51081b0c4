"""One C++ text and one array of weights from a :class:`Program`.

The text is model.cpp with everything it includes. The headers beside this file are the same for all models, those in a
family's folder for all models of the family; model.inc holds what belongs to the model at hand, its sizes, layers and
convolutions.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..allegro_program import AllegroProgram
from ..backend import Generated
from ..mixing_program import MixingProgram
from ..program import NequIPProgram, Program
from ..tables import Table
from .allegro import ALLEGRO_STEP
from .allegro.allegro_code import allegro_include
from .convolution_code import backward_code, forward_code, room_code
from .convolution_layout import Convolution
from .harmonics_code import harmonics_code
from .layer_code import array_code, first_features, layer_code, readout_code
from .mixing import MIXING_STEP
from .mixing.mixing_code import mixing_include
from .packing import Blob, LayerRows, choose_lanes, lay_out
from .radial_code import COEFFICIENTS, basis_constants, network_code, repulsion_lines, table_code

#: Atoms in a tile at most.
_MOST_TILE_ATOMS = 16
#: Of the results of the convolution in a tile: they share the cache with matrices, which a large tile reads less often.
_TILE_BYTES = 512 * 1024
#: Atoms of a span, whose convolution is made in one go, and blocks of edges of a piece of it. What a group of paths
#: needs of tables and of other atoms is then read for thousands of edges while it is in the cache.
_SPAN_ATOMS, _PIECE = 128, 512
#: Headers that the generated code is written in terms of, and the one that makes a step of them.
_HEADERS = ("edge_blocks.hpp", "radial_weights.hpp", "network.hpp")
NEQUIP_STEP = "layered_step.hpp"
#: Folders of headers, beside this file.
_FOLDERS = (".", "allegro", "mixing")
_INCLUDE = re.compile(r'#include "([\w.]+)"')


def generate(program: Program, tables: list[Table] | None, vector_bytes: int) -> Generated:
    """Write the code and pack the weights.

    Parameters
    ----------
    program : Program
        The model.
    tables : list of Table, optional
        One for each layer, or for each pair of types; without them radial functions are evaluated exactly.
    vector_bytes : int
        Width of the machine's vectors.

    Returns
    -------
    Generated

    Raises
    ------
    TypeError
        If the program is of no family that is known.
    """
    if isinstance(program, AllegroProgram):
        text, weights, own = allegro_include(program, tables, vector_bytes)
        step = ALLEGRO_STEP
    elif isinstance(program, MixingProgram):
        text, weights, own = mixing_include(program, tables, vector_bytes)
        step = MIXING_STEP
    elif isinstance(program, NequIPProgram):
        text, weights, own = _nequip_include(program, tables, vector_bytes)
        step = NEQUIP_STEP
    else:
        raise TypeError(f"got a {type(program).__name__}, expected a program of a family that is known")
    charges = program.repulsion.numbers if program.repulsion is not None else np.zeros(0)
    constants = np.concatenate([program.reciprocal_cutoffs.ravel(), program.scales, program.shifts, charges, own])
    return Generated(assemble(text, step), weights, np.ascontiguousarray(constants, dtype=np.float64))


def _nequip_include(
    program: NequIPProgram, tables: list[Table] | None, vector_bytes: int
) -> tuple[str, np.ndarray, np.ndarray]:
    """model.inc of a NequIP model, its weights, and its constants beyond those of all models."""
    lanes = choose_lanes(program, vector_bytes)
    blob = Blob(program.dtype, lanes)
    rows = [lay_out(layer, lanes) for layer in program.layers]
    basis_macros, basis_lines = basis_constants(program.basis, lanes)
    layer_lines = _layers(program, rows, tables, blob)
    readout_lines, readout_widths = readout_code(program, blob)
    features, connection = first_features(program, rows[0])
    single = program.dtype == "float32"
    macros = {
        "SINGLE_PRECISION": int(single),
        "LANES": lanes,
        "TABULATED": int(bool(tables)),
        "REPULSION": int(program.repulsion is not None),
    } | basis_macros
    text = [
        "// Generated for one model: its sizes, what its layers are made of, and their convolutions.",
        "#pragma once",
        "#include <algorithm>",
        *(f"#define {name} {value}" for name, value in macros.items()),
        f"typedef {'float' if single else 'double'} real;",
        "namespace {",
        *_sizes(program, rows, tables, readout_widths),
        f"constexpr long FIRST_FEATURES = {blob.add(features)}, FIRST_CONNECTION = {blob.add(connection)};",
        *basis_lines,
        "}  // namespace",
        *(f'#include "{name}"' for name in _HEADERS),
        "namespace {",
        *layer_lines,
        *readout_lines,
        "}  // namespace",
    ]
    return "\n".join(text), blob.array(), np.zeros(0)


def _layers(program: NequIPProgram, rows: list[LayerRows], tables: list[Table] | None, blob: Blob) -> list[str]:
    """Harmonics, convolutions, maps and gates, and the table of the layers."""
    lines = [harmonics_code(program.harmonics)]
    y00 = float(program.harmonics[0][0, 0])
    network, rooms = [], []
    for k, (layer, own) in enumerate(zip(program.layers, rows, strict=True)):
        if tables:
            lines.append(table_code(k, layer, own, tables[k], blob))
        else:
            lines.append(network_code(k, layer, own, len(program.bessel), blob))
        knots = tables[k].knots if tables else 0
        convolution = Convolution(k, layer, own, y00, knots, len(program.harmonics) ** 2, blob.lanes)
        lines += [room_code(convolution), forward_code(convolution), backward_code(convolution)]
        lines.append(f"const int PLACES_{k}[] = {{{', '.join(map(str, convolution.standard_places()))}}};")
        rooms.append(f"sizeof(Room{k})")
        arrays, entry = layer_code(k, layer, own, blob)
        lines += arrays
        network.append(entry)
    lines.append(f"constexpr size_t ROOM_BYTES = std::max({{{', '.join(rooms)}}});")
    return [*lines, array_code("Layer", "NETWORK", network)]


def _sizes(
    program: NequIPProgram, rows: list[LayerRows], tables: list[Table] | None, readout_widths: list[int]
) -> list[str]:
    """Constants that the headers are written in terms of."""
    widest = max(own.middle.width for own in rows)
    tile = _TILE_BYTES // (widest * np.dtype(program.dtype).itemsize)
    blocks = [block for layer in program.layers for block in [*layer.inputs, *layer.middle]]
    sizes = {
        "N_TYPES": program.n_types,
        "N_LAYERS": len(rows),
        # One grid for all layers: an edge then has one knot.
        "N_KNOTS": max(table.knots for table in tables) if tables else 0,
        "COEFFICIENTS": COEFFICIENTS,
        "MOST_TILE_ATOMS": _MOST_TILE_ATOMS,
        "TILE_ATOMS": int(np.clip(tile, 2, _MOST_TILE_ATOMS)),
        # Without tables the radial weights of a piece need room: it is a block then, and a span is a tile.
        "SPAN_ATOMS": _SPAN_ATOMS if tables else _MOST_TILE_ATOMS,
        "PIECE": _PIECE if tables else 1,
        "MOST_COMPONENTS": max(2 * block.l + 1 for block in blocks),
        "WIDEST_SUMS": widest,
        "WIDEST_FEATURES": max([own.inputs.width for own in rows] + readout_widths[:1]),
        "WIDEST_GATE": max(own.gate.width for own in rows),
        "READOUT_ROOM": 2 * sum(readout_widths[1:]),
    }
    lines = [f"constexpr int {name} = {value};" for name, value in sizes.items()]
    return lines + repulsion_lines(program.repulsion)


def assemble(model_inc: str, step: str = NEQUIP_STEP) -> str:
    """The text that is compiled: model.cpp with each file it includes put in at the first place that asks for it.

    Parameters
    ----------
    model_inc : str
        The generated include.
    step : str
        The header of the model's family that makes a step: what network_step.inc includes.

    Returns
    -------
    str
        Complete in itself: it includes headers of the system alone. Messages of the compiler name the files.
    """
    generated = {"model.inc": model_inc, "network_step.inc": f'#include "{step}"'}
    folders = [Path(__file__).parent / name for name in _FOLDERS]
    seen: set[str] = set()

    def lines_of(name: str) -> list[str]:
        seen.add(name)
        text = generated.get(name)
        if text is None:
            file = next(folder / name for folder in folders if (folder / name).exists())
            text = file.read_text(encoding="utf-8")
        lines = [f'#line 1 "{name}"']
        for number, line in enumerate(text.splitlines(), 1):
            included = _INCLUDE.match(line)
            if included is None:
                lines.append("" if line == "#pragma once" else line)
            elif included[1] in seen:
                lines.append("")
            else:
                lines += [*lines_of(included[1]), f'#line {number + 1} "{name}"']
        return lines

    return "\n".join([*lines_of("model.cpp"), ""])
