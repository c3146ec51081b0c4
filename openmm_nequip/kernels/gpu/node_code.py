"""What an atom does between its convolutions: linear maps, gates, and the readout with its way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..cpu.packing import Rows
from .dialect import LANES, sum_loop
from .gpu_layers import GpuLayer, GpuModel

#: From a place in a row to text: what a sum begins with, or what it is given to.
_Init = Callable[[str], str]
_Store = Callable[[str, str], str]


def map_code(
    model: GpuModel,
    maps: list[tuple[int, ...]],
    target: Rows,
    transposed: bool,
    source: str,
    init: _Init,
    store: _Store,
) -> list[str]:
    """Linear maps into the blocks of a row; the warps of a team take blocks in turn.

    Parameters
    ----------
    model : GpuModel
        The model.
    maps : list of tuple of int
        See :func:`..cpu.packing.pack_mix`.
    target : Rows
        The row that is written.
    transposed : bool
        Whether the maps are gone backward.
    source : str
        Row that is read.
    init, store : callable
        Place -> what a sum begins with; place and sum -> a statement.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for number, offset in enumerate(target.offsets):
        channels, components = target.channels[number], 2 * target.blocks[number].l + 1
        turn = f"if (TEAM_WARP == {number % model.warps}) " if model.warps > 1 else ""
        lines.append(f"    {turn}for (int ch = LANE; ch < {channels}; ch += {LANES}) {{")
        places = [f"{offset + m * channels} + ch" for m in range(components)]
        lines.append(f"      number {', '.join(f'b{m} = {init(place)}' for m, place in enumerate(places))};")
        for start, n_in, end, n_out, _, typed, matrix, reverse in maps:
            if (start if transposed else end) != offset:
                continue
            rows, columns, origin = (n_out, n_in, end) if transposed else (n_in, n_out, start)
            begins = [origin + m * rows for m in range(components)]
            place = f"{reverse if transposed else matrix}" + (f" + type*{n_in * n_out}" if typed else "")
            lines += [
                "      {",
                f"        GLOBAL const number* matrix = weights + {place} + ch;",
                *sum_loop(rows, partial(_add_row, columns, source, begins), "        "),
                "      }",
            ]
        lines += [f"      {store(place, f'b{m}')}" for m, place in enumerate(places)]
        lines.append("    }")
    return lines


def _add_row(columns: int, source: str, places: list[int], q: str) -> list[str]:
    """Row q of a matrix times that number of each component, which begin at ``places``."""
    products = (f"  b{m} += v*{source}[{place} + {q}];" for m, place in enumerate(places))
    return [f"{{ const number v = matrix[{q}*{columns}];", *products, "}"]


def sync_channels(model: GpuModel, blocks: Sequence[int]) -> list[str]:
    """A barrier between two loops over the channels of some blocks, where they may give a channel to different threads.

    With one warp, and where there is one block of no more channels than lanes, a channel is always the same thread's.
    """
    return ["    SYNC_TEAM"] if model.warps > 1 and (len(blocks) > 1 or blocks[0] > LANES) else []


def gate_forward(model: GpuModel, own: GpuLayer, y: str, z: str) -> list[str]:
    """The row z of a layer's outputs from the row y of its gate's inputs; formulas in ``cpu/gate.hpp``.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.
    y, z : str
        Names of the rows.

    Returns
    -------
    list of str
    """
    lines: list[str] = []
    for entry in _gate_blocks(own):
        lines += _activation(model, own, entry, y)
        source, target, channels, components, gate = entry[:5]
        if gate < 0:
            lines.append(f"      {z}[{target} + ch] = value;")
        else:
            for m in range(components):
                lines.append(f"      {z}[{target + m * channels} + ch] = {y}[{source + m * channels} + ch]*value;")
        lines.append("    }")
    return lines


def gate_backward(model: GpuModel, own: GpuLayer, y: str, z_gradient: str, y_gradient: str) -> list[str]:
    """The gradient of y from that of z; other arguments as of :func:`gate_forward`."""
    lines: list[str] = []
    for entry in _gate_blocks(own):
        lines += _activation(model, own, entry, y)
        source, target, channels, components, gate = entry[:5]
        if gate < 0:
            lines += [f"      {y_gradient}[{source} + ch] = slope*{z_gradient}[{target} + ch];", "    }"]
            continue
        lines.append("      number sum = 0, g;")
        for m in range(components):
            at = f"{source + m * channels} + ch"
            lines += [
                f"      g = {z_gradient}[{target + m * channels} + ch];",
                f"      sum += g*{y}[{at}];",
                f"      {y_gradient}[{at}] = g*value;",
            ]
        lines += [f"      {y_gradient}[{gate} + ch] = sum*slope;", "    }"]
    return lines


def _gate_blocks(own: GpuLayer) -> list[tuple[int, int, int, int, int, int]]:
    """For each block of z: its place in y and z, channels, components, place of its gates (-1: scalars), activation."""
    gate, rows = own.layer.gate, own.rows.gate
    found = []
    for block in range(gate.n_scalars + gate.n_gates):
        target = block if block < gate.n_scalars else block + gate.n_gates
        at = -1 if block < gate.n_scalars else rows.offsets[block]
        shape = rows.channels[target], 2 * rows.blocks[target].l + 1
        found.append((rows.offsets[target], own.outputs.offsets[block], *shape, at, block))
    return found


def _activation(model: GpuModel, own: GpuLayer, entry: tuple[int, ...], y: str) -> list[str]:
    source, _, channels, _, gate, block = entry
    kind, factor = own.layer.gate.activations[block]
    return [
        f"    for (int ch = MEMBER; ch < {channels}; ch += {model.threads}) {{",
        "      number value, slope;",
        f"      ACTIVATE_{kind}({y}[{source if gate < 0 else gate} + ch], value, slope)",
        f"      value *= {model.numbers.literal(factor)};",
        f"      slope *= {model.numbers.literal(factor)};",
    ]


def readout_code(model: GpuModel, z: str) -> list[str]:
    """The energy of atom i from its last features z, whose gradient takes their place.

    ``hidden<k>`` and ``slope<k>`` are the activated values between two matrices and the slopes there; ``lanes`` has a
    number for each lane. The energy is without the shift of its type.

    Parameters
    ----------
    model : GpuModel
        The model.
    z : str
        Name of the row.

    Returns
    -------
    list of str
    """
    program, literal = model.program, model.numbers.literal
    kind, factor = program.readout_activation
    lines, source = [], z
    *inner, (n_in, n_out, last, _) = model.readout
    for k, (rows, columns, matrix, _) in enumerate(inner):
        lines += [
            "    SYNC_TEAM",
            f"    for (int ch = MEMBER; ch < {columns}; ch += {model.threads}) {{",
            "      number sum = 0, value, slope;",
            *_product(rows, matrix, columns, source),
            f"      ACTIVATE_{kind}(sum, value, slope)",
            f"      hidden{k}[ch] = value*{literal(factor)};",
            f"      slope{k}[ch] = slope*{literal(factor)};",
            "    }",
        ]
        source = f"hidden{k}"
    lines += [
        *sync_channels(model, [n_in]),
        "    if (TEAM_WARP == 0) {",
        "      number sum = 0;",
        f"      for (int ch = LANE; ch < {n_in}; ch += {LANES}) sum += {source}[ch]*weights[{last} + ch*{n_out}];",
        "      lanes[LANE] = sum;",
        "    }",
        "    SYNC_TEAM",
        "    if (MEMBER == 0) {",
        "      mixed sum = 0;",
        f"      for (int q = 0; q < {LANES}; q++) sum += lanes[q];",
        "      energies[i] = scales[type]*sum;",
        "    }",
        "    const number scale = scales[type];",
    ]
    slope = f"*slope{len(inner) - 1}[ch]" if inner else ""
    target = f"hidden{len(inner) - 1}" if inner else z
    lines += [
        f"    for (int ch = MEMBER; ch < {n_in}; ch += {model.threads})",
        f"      {target}[ch] = scale*weights[{last} + ch*{n_out}]{slope};",
    ]
    for k in range(len(inner) - 1, -1, -1):
        rows, columns, _, reverse = inner[k]
        slope, target = (f"*slope{k - 1}[ch]", f"hidden{k - 1}") if k else ("", z)
        lines += [
            "    SYNC_TEAM",
            f"    for (int ch = MEMBER; ch < {rows}; ch += {model.threads}) {{",
            "      number sum = 0;",
            *_product(columns, reverse, rows, f"hidden{k}"),
            f"      {target}[ch] = sum{slope};",
            "    }",
        ]
    width = model.layers[-1].outputs
    rest = width.width - width.channels[0]
    if rest:  # features of higher orders after the last layer: the energy does not depend on them
        lines += [
            f"    for (int ch = MEMBER; ch < {rest}; ch += {model.threads}) {z}[{width.channels[0]} + ch] = 0;",
            *sync_channels(model, width.channels),
        ]
    return lines


def _product(rows: int, matrix: int, columns: int, source: str) -> list[str]:
    """Column ch of a matrix among the weights times a row, added to ``sum``."""
    return sum_loop(rows, lambda q: [f"sum += weights[{matrix} + {q}*{columns} + ch]*{source}[{q}];"], "      ")
