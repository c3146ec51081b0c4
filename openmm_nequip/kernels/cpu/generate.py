"""One C++ file and one array of weights from a :class:`Program`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..backend import Generated
from ..program import Layer, Program
from ..tables import Table
from .convolution_code import backward_source, forward_source, harmonics_source
from .packing import (
    Blob,
    LayerRows,
    Rows,
    channel_places,
    choose_lanes,
    lay_out,
    pack_mix,
    pack_table,
    pad_matrix,
    radial_columns,
    rows_of,
)

_KINDS = ("identity", "silu", "tanh", "abs", "ssp", "mish", "gelu")
_MAX_TILE = 16
#: The rows of a tile share the cache with tables and features.
_TILE_BYTES = 128 * 1024


def generate(program: Program, tables: list[Table] | None, vector_bytes: int) -> Generated:
    """Write the code and pack the weights.

    Parameters
    ----------
    program : Program
        The model.
    tables : list of Table, optional
        One for each layer; without them the radial networks are evaluated exactly.
    vector_bytes : int
        Width of the machine's vectors.

    Returns
    -------
    Generated
    """
    lanes = choose_lanes(program, vector_bytes)
    if tables:
        # One grid for all layers: an edge then has one knot.
        knots = max(table.knots for table in tables)
    blob = Blob(program.dtype, lanes)
    layers = [lay_out(layer, lanes) for layer in program.layers]
    bessel = -(-len(program.bessel) // lanes) * lanes
    body: list[str] = [harmonics_source(program.harmonics)]
    network: list[str] = []
    y00 = float(program.harmonics[0][0, 0])
    n_harmonics = len(program.harmonics) ** 2
    for k, (layer, rows) in enumerate(zip(program.layers, layers, strict=True)):
        if tables:
            body.append(f"enum {{ TABLE_{k} = {blob.add(pack_table(layer, rows, tables[k], lanes))} }};")
        else:
            body.append(_radial_source(k, layer, rows, bessel, blob))
        body.append(forward_source(k, layer, rows, y00, bool(tables)))
        body.append(backward_source(k, layer, rows, y00, bool(tables), n_harmonics))
        outputs = rows_of(layer.gate.outputs, lanes)
        places = [channel_places(layer, rows, g) for g in range(len(layer.middle))]
        maps = {
            "FIRST": pack_mix(blob, layer.first, rows.inputs, rows.inputs),
            "SECOND": pack_mix(blob, layer.second, rows.middle, rows.gate, places),
            "CONNECTION": pack_mix(blob, layer.connection, rows.inputs, rows.gate),
        }
        for name, entries in maps.items():
            body.append(_array("Mix", f"{name}_{k}", [", ".join(map(str, entry)) for entry in entries]))
        body.append(_array("Segment", f"GATE_{k}", _segments(layer, rows.gate, outputs)))
        counts = [len(maps["FIRST"]), len(maps["SECOND"]), len(maps["CONNECTION"]), len(layer.gate.inputs)]
        network.append(
            f"{{forward_{k}, backward_{k}, {rows.inputs.width}, {rows.middle.width}, {rows.gate.width}, "
            f"{outputs.width}, FIRST_{k}, {counts[0]}, SECOND_{k}, {counts[1]}, CONNECTION_{k}, {counts[2]}, GATE_{k}, "
            f"{len(layer.gate.outputs)}}}"
        )
    readout, widths = _readout(program, rows_of(program.layers[-1].gate.outputs, lanes), lanes, blob)
    features, connection = _first_features(program, layers[0])
    widest_middle = max(rows.middle.width for rows in layers)
    row_bytes = widest_middle * np.dtype(program.dtype).itemsize
    real = "double" if program.dtype == "float64" else "float"
    defines: dict[str, int | str] = {
        "REAL": real,
        "REAL_IS_FLOAT": int(real == "float"),
        "LANES": lanes,
        "TABLES": int(bool(tables)),
        "KNOTS": knots if tables else 0,
        "TYPES": program.n_types,
        "LAYERS": len(layers),
        "MAX_TILE": _MAX_TILE,
        "TILE_ROWS": int(np.clip(_TILE_BYTES // row_bytes, 2, _MAX_TILE)),
        "MAX_COMPONENTS": max(2 * block.l + 1 for layer in program.layers for block in [*layer.inputs, *layer.middle]),
        "BESSEL_PADDED": bessel,
        "ZBL": int(program.repulsion is not None),
    }
    if program.repulsion is not None:
        defines |= {"ZBL_FACTOR": repr(program.repulsion.factor), "ZBL_POWER": repr(program.repulsion.power)}
    constants = {
        "FIRST_FEATURES": blob.add(features),
        "FIRST_CONNECTION": blob.add(connection),
        "WIDEST_MIDDLE": widest_middle,
        "WIDEST_INPUT": max([rows.inputs.width for rows in layers] + [widths[0]]),
        "WIDEST_GATE": max(rows.gate.width for rows in layers),
        "N_READOUT": len(program.readout),
        "READOUT_ROOM": 2 * sum(widths[1:]),
        "READOUT_KIND": _KINDS.index(program.readout_activation[0]),
    }
    here = Path(__file__).parent
    driver = (here / "step.hpp").read_text(encoding="utf-8")
    head, tail = driver.split("struct Step {", 1)
    text = [
        *(f"#define {name} {value}" for name, value in defines.items()),
        "" if tables else f"namespace {{ void bessel(double x, {real}* f, {real}* d); }}",
        (here / "edges.hpp").read_text(encoding="utf-8"),
        "namespace {",
        *(f"enum {{ {name} = {value} }};" for name, value in constants.items()),
        f"const double READOUT_FACTOR = {program.readout_activation[1]!r};",
        "" if tables else _bessel_source(program, bessel),
        *body,
        "struct Dense { int k, m; long weights, transposed; };",
        _array("Dense", "READOUT", readout),
        "}  // namespace",
        (here / "threads.hpp").read_text(encoding="utf-8"),
        head,
        f"const Layer NETWORK[] = {{{', '.join(network)}}};",
        "struct Step {" + tail,
        (here / "simulation.hpp").read_text(encoding="utf-8"),
    ]
    charges = program.repulsion.numbers if program.repulsion is not None else np.zeros(0)
    values = np.concatenate([program.reciprocal_cutoffs.ravel(), program.scales, program.shifts, charges])
    return Generated("\n".join(text), blob.array(), np.ascontiguousarray(values, dtype=np.float64))


def _array(kind: str, name: str, entries: list[str]) -> str:
    filled = entries or ["0"]
    return f"const {kind} {name}[] = {{{', '.join('{' + entry + '}' for entry in filled)}}};"


def _segments(layer: Layer, gate: Rows, outputs: Rows) -> list[str]:
    entries = []
    n, g = layer.gate.n_scalars, layer.gate.n_gates
    for i in range(n + g):
        target = i if i < n else i + g
        kind, factor = layer.gate.activations[i]
        at = -1 if i < n else gate.offsets[i]
        entries.append(
            f"{gate.offsets[target]}, {outputs.offsets[i]}, {gate.channels[target]}, {2 * gate.blocks[target].l + 1}, "
            f"{at}, {_KINDS.index(kind)}, (REAL){factor!r}"
        )
    return entries


def _readout(program: Program, source: Rows, lanes: int, blob: Blob) -> tuple[list[str], list[int]]:
    widths = [source.channels[0]] + [-(-matrix.shape[1] // lanes) * lanes for matrix in program.readout]
    entries = []
    for matrix, k, m in zip(program.readout, widths, widths[1:], strict=False):
        padded = pad_matrix(matrix, list(range(matrix.shape[0])), k, m)
        entries.append(f"{k}, {m}, {blob.add(padded)}, {blob.add(padded.T)}")
    return entries, widths


def _first_features(program: Program, rows: LayerRows) -> tuple[np.ndarray, np.ndarray]:
    """What the first convolution sees of each type, and the first self-connection: both depend on the type alone."""
    layer = program.layers[0]
    features, connection = np.zeros((program.n_types, rows.inputs.width)), np.zeros((program.n_types, rows.gate.width))
    for target, place, maps in ((features, rows.inputs, layer.first), (connection, rows.gate, layer.connection)):
        for entry in maps:
            matrices = np.broadcast_to(entry.weights, (program.n_types, *entry.weights.shape[1:]))
            start = place.offsets[entry.target]
            target[:, start : start + matrices.shape[2]] += np.einsum("tk,tkm->tm", program.embedding, matrices)
    return features, connection


def _bessel_source(program: Program, padded: int) -> str:
    """The radial basis and its derivative at one distance."""
    p = program.power
    roots = program.bessel
    whole = bool(np.array_equal(roots, np.arange(1, len(roots) + 1)))
    lines = [
        "void bessel(double x, REAL* f, REAL* d) {",
        f"  const double p = {p!r}, a = (p + 1) * (p + 2) / 2, b = p * (p + 2), h = p * (p + 1) / 2, "
        f"factor = {program.factor!r};",
        f"  const double top = {_whole_power('x', p - 1)};",
        "  const double cut = factor * (1 - top * x * (a - x * (b - x * h)));",
        "  const double dcut = -factor * top * (a * p - x * (b * (p + 1) - x * h * (p + 2)));",
        "  const double pi = 3.14159265358979323846, over = 1 / (pi * x);",
    ]
    if whole:
        lines += [
            "  const double s1 = std::sin(pi * x), c1 = std::cos(pi * x);",
            "  double s = s1, c = c1;",
            f"  for (int i = 0; i < {len(roots)}; i++) {{",
            "    const double w = pi * (i + 1), v = s * over, dv = (w * c * over) - v / x;",
            "    f[i] = (REAL)(v * cut);",
            "    d[i] = (REAL)(dv * cut + v * dcut);",
            "    const double next = s * c1 + c * s1;",
            "    c = c * c1 - s * s1;",
            "    s = next;",
            "  }",
        ]
    else:
        lines += [
            f"  static const double roots[] = {{{', '.join(repr(float(r)) for r in roots)}}};",
            f"  for (int i = 0; i < {len(roots)}; i++) {{",
            "    const double w = pi * roots[i], v = std::sin(w * x) * over, dv = w * std::cos(w * x) * over - v / x;",
            "    f[i] = (REAL)(v * cut);",
            "    d[i] = (REAL)(dv * cut + v * dcut);",
            "  }",
        ]
    lines.append(f"  for (int i = {len(roots)}; i < {padded}; i++) f[i] = d[i] = 0;")
    return "\n".join([*lines, "}"])


def _whole_power(name: str, exponent: float) -> str:
    if exponent == int(exponent) and 0 < exponent <= 16:
        return " * ".join([name] * int(exponent))
    return f"std::pow({name}, {exponent!r})"


def _radial_source(k: int, layer: Layer, rows: LayerRows, bessel: int, blob: Blob) -> str:
    """Function ``radial_k``: the radial network and its derivative for a block of edges."""
    places, factors = radial_columns(layer, rows)
    matrices = layer.radial.weights
    lanes = blob.lanes
    widths = [bessel] + [-(-m.shape[1] // lanes) * lanes for m in matrices[:-1]] + [rows.weights]
    offsets = []
    for i, matrix in enumerate(matrices):
        if i == len(matrices) - 1:
            columns = np.zeros((matrix.shape[0], rows.weights))
            columns[:, places] = matrix * factors
            matrix = columns
        offsets.append(blob.add(pad_matrix(matrix, list(range(matrix.shape[0])), widths[i], widths[i + 1])))
    hidden = max([*widths[1:-1], lanes])
    lines = [
        f"static void radial_{k}(const Edges& E, const REAL* __restrict__ blob, int at, int n,",
        f"                       REAL (*W)[{rows.weights}], REAL (*D)[{rows.weights}]) {{",
        f"  alignas(64) REAL h[2][LANES][{hidden}], d[2][LANES][{hidden}];",
        "  const REAL *xs[2 * LANES];",
        "  REAL *ys[2 * LANES];",
        "  const int rows = D ? 2 * n : n;",
        "  for (int e = 0; e < n; e++) {",
        "    xs[e] = E.radial + (long)(at + e) * BESSEL_PADDED;",
        "    xs[n + e] = E.radial_slope + (long)(at + e) * BESSEL_PADDED;",
        "  }",
    ]
    for i, (k_in, m, offset) in enumerate(zip(widths, widths[1:], offsets, strict=False)):
        last = i == len(matrices) - 1
        value, slope = ("W[e]", "D[e]") if last else (f"h[{i % 2}][e]", f"d[{i % 2}][e]")
        lines += [
            "  for (int e = 0; e < n; e++) {",
            f"    ys[e] = {value};",
            f"    std::memset(ys[e], 0, {m} * sizeof(REAL));",
            "    if (D) {",
            f"      ys[n + e] = {slope};",
            f"      std::memset(ys[n + e], 0, {m} * sizeof(REAL));",
            "    }",
            "  }",
            f"  multiply(rows, {k_in}, {m}, xs, blob + {offset}, ys);",
        ]
        if not last:
            lines += [
                f"  for (int e = 0; e < n; e++) for (int q = 0; q < {m}; q += LANES) {{",
                "    V f, g;",
                f"    act(SILU, load(h[{i % 2}][e] + q), f, g);",
                f"    store(h[{i % 2}][e] + q, f);",
                f"    if (D) store(d[{i % 2}][e] + q, load(d[{i % 2}][e] + q) * g);",
                "  }",
                f"  for (int e = 0; e < n; e++) {{ xs[e] = h[{i % 2}][e]; xs[n + e] = d[{i % 2}][e]; }}",
            ]
    return "\n".join([*lines, "}"])
