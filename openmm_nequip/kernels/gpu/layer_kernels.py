"""The kernels ``forward_<k>`` and ``backward_<k>`` of a layer: a team of threads takes an atom from sums to sums.

Forward: convolution -> maps to the gate's inputs y -> gate -> z, and for the next layer features and self-connection.
The last layer goes on to the energy and back to the gradient of its convolution's sums. Backward: gradient of a
layer's features -> of z of the layer before -> of its y (which takes the place of y) -> of its convolution's sums.

| array            | a row for each atom                                                                     |
|------------------|-----------------------------------------------------------------------------------------|
| ``features``     | what the convolution reads                                                                |
| ``gate_inputs``  | y; the self-connection from the layer before until forward has added to it; then its gradient |
| ``sums_gradient`` | gradient of the convolution's result                                                       |
"""

from __future__ import annotations

from .edge_loops import backward_loop, edge_arrays, edge_numbers, forward_loop
from .gpu_layers import GpuLayer, GpuModel, GroupMemory
from .node_code import gate_backward, gate_forward, map_code, readout_code, sync_channels

#: Edges that a warp prepares together at most.
_MOST_FORWARD, _MOST_BACKWARD = 16, 8
_EDGE_ARGUMENTS = (
    "int n, int slots, GLOBAL const int* RESTRICT count, GLOBAL const int* RESTRICT other, "
    "GLOBAL const int* RESTRICT types,\n    GLOBAL const int* RESTRICT knot, GLOBAL const number* RESTRICT fraction, "
    "GLOBAL const number* RESTRICT unit,\n    GLOBAL const number* RESTRICT weights, "
    "GLOBAL const number* RESTRICT scales, GLOBAL number* RESTRICT room"
)


def forward_kernel(model: GpuModel, own: GpuLayer) -> tuple[str, int, int]:
    """The kernel of a layer forward.

    Parameters
    ----------
    model, own : GpuModel and GpuLayer
        The model and the layer.

    Returns
    -------
    text : str
    room : int
        Numbers of global memory that it needs for each atom.
    used : int
        Numbers of its group's memory that a team takes.
    """
    last = own.number + 1 == len(model.layers)
    block = model.edges_at_once(edge_numbers(model, own, False), _MOST_FORWARD)
    arrays, taken = edge_arrays(model, own, block, False)
    memory = GroupMemory(model, taken)
    middle, gate = own.rows.middle.width, own.rows.gate.width
    memory.add("middle", middle)
    memory.add("y", gate)
    memory.add("z", own.outputs.width)
    if model.warps > 1:
        memory.add("parts", model.warps * middle)
    if last:
        memory.add("lanes", 32)
        memory.add("y_gradient", gate)
        for k, (_, columns, _, _) in enumerate(model.readout[:-1]):
            memory.add(f"hidden{k}", columns)
            memory.add(f"slope{k}", columns)
    body = forward_loop(model, own, block, "middle" if model.warps == 1 else f"(parts + WARP*{middle})")
    body += _add_parts(model, "parts", "middle", middle)
    body.append("    SYNC_TEAM")
    body += _gate_inputs(model, own)
    body += sync_channels(model, own.rows.gate.channels)
    body += gate_forward(model, own, "y", "z")
    if last:
        body += readout_code(model, "z")
        body += _sums_gradient(model, own, "y")
    else:
        body.append("    SYNC_TEAM")
        following = model.layers[own.number + 1]
        for maps, rows, target in (
            (following.first, following.rows.inputs, "next_features"),
            (following.connection, following.rows.gate, "next_gate_inputs"),
        ):
            body += map_code(model, maps, rows, False, "z", lambda _: "0", _store_row(target, rows.width))
    head = [
        f"KERNEL void forward_{own.number}({_EDGE_ARGUMENTS},",
        "    GLOBAL const number* RESTRICT features_in, GLOBAL number* RESTRICT gate_inputs,",
        "    GLOBAL number* RESTRICT next_features, GLOBAL number* RESTRICT next_gate_inputs,",
        "    GLOBAL mixed* RESTRICT energies, GLOBAL number* RESTRICT sums_gradient) {",
    ]
    source = "features_in" if own.number else f"weights + {model.features}"
    before = [f"  GLOBAL const number* features = {source};"]
    return _kernel(head, arrays, memory, before, body), memory.room, memory.used


def backward_kernel(model: GpuModel, own: GpuLayer) -> tuple[str, int, int]:
    """The kernel of a layer backward, as :func:`forward_kernel`."""
    block = model.edges_at_once(edge_numbers(model, own, True), _MOST_BACKWARD)
    arrays, taken = edge_arrays(model, own, block, True)
    memory = GroupMemory(model, taken)
    inputs = own.rows.inputs.width
    features = f"features + (mm_long) i*{inputs}" if own.number else f"weights + {model.features} + type*{inputs}"
    body = [f"    GLOBAL const number* own_features = {features};"]
    if own.number == 0:
        body += backward_loop(model, own, block, "")
    else:
        before = model.layers[own.number - 1]
        gate = before.rows.gate.width
        memory.add("features_gradient", inputs)
        memory.add("z_gradient", inputs)
        memory.add("connection_gradient", own.rows.gate.width)
        memory.add("y", gate)
        memory.add("y_gradient", gate)
        if model.warps > 1:
            memory.add("parts", model.warps * inputs)
        target = "features_gradient" if model.warps == 1 else f"(parts + WARP*{inputs})"
        body += backward_loop(model, own, block, target)
        body += _copy(model, "connection_gradient", "gate_inputs", own.rows.gate.width)
        body += _copy(model, "y", "previous_gate_inputs", gate)
        body += _add_parts(model, "parts", "features_gradient", inputs)
        body.append("    SYNC_TEAM")
        for maps, source, init in (
            (own.first, "features_gradient", lambda _: "0"),
            (own.connection, "connection_gradient", lambda place: f"z_gradient[{place}]"),
        ):
            body += map_code(model, maps, own.rows.inputs, True, source, init, _store_into("z_gradient"))
        body += sync_channels(model, own.rows.inputs.channels)
        body += _sums_gradient(model, before, "previous")
    head = [
        f"KERNEL void backward_{own.number}({_EDGE_ARGUMENTS},",
        "    GLOBAL const number* RESTRICT features, GLOBAL const number* RESTRICT gradients,",
        "    GLOBAL const number* RESTRICT gate_inputs, GLOBAL number* RESTRICT previous_gate_inputs,",
        "    GLOBAL number* RESTRICT sums_gradient, GLOBAL number* RESTRICT radial_gradient,",
        "    GLOBAL number* RESTRICT unit_gradient) {",
    ]
    return _kernel(head, arrays, memory, [], body), memory.room, memory.used


def _kernel(head: list[str], arrays: list[str], memory: GroupMemory, before: list[str], body: list[str]) -> str:
    """A kernel whose teams take one atom after the other.

    They need no barrier between two atoms: what is written first of the next one was read last before the last barrier.
    """
    lines = [
        *head,
        *arrays,
        *memory.declarations(),
        *before,
        "  for (int i = GROUP_ID*ATOMS + TEAM; i < n; i += NUM_GROUPS*ATOMS) {",
        "    const int type = types[i];",
        *memory.pointers(),
        *body,
        "  }",
        "}",
    ]
    return "\n".join(lines)


def _store_into(row: str):
    return lambda place, value: f"{row}[{place}] = {value};"


def _store_row(array: str, width: int):
    """A statement that stores into the atom's row of an array."""
    return lambda place, value: f"{array}[(mm_long) i*{width} + {place}] = {value};"


def _add_parts(model: GpuModel, parts: str, target: str, width: int) -> list[str]:
    """The sum over the warps of a team."""
    if model.warps == 1:
        return []
    return [
        "    SYNC_TEAM",
        f"    for (int c = MEMBER; c < {width}; c += {model.threads}) {{",
        "      number sum = 0;",
        f"      for (int w = 0; w < {model.warps}; w++) sum += {parts}[w*{width} + c];",
        f"      {target}[c] = sum;",
        "    }",
    ]


def _copy(model: GpuModel, target: str, array: str, width: int) -> list[str]:
    """The atom's row of an array."""
    return [
        f"    for (int c = MEMBER; c < {width}; c += {model.threads})",
        f"      {target}[c] = {array}[(mm_long) i*{width} + c];",
    ]


def _gate_inputs(model: GpuModel, own: GpuLayer) -> list[str]:
    """y from the sums and the self-connection, which the layer before has left; in the first, the type has."""
    width = own.rows.gate.width

    def begin(place: str) -> str:
        if own.number:
            return f"gate_inputs[(mm_long) i*{width} + {place}]"
        return f"weights[{model.connection} + type*{width} + {place}]"

    def end(place: str, value: str) -> str:
        return f"{_store_row('gate_inputs', width)(place, value)} y[{place}] = {value};"

    return map_code(model, own.second, own.rows.gate, False, "middle", begin, end)


def _sums_gradient(model: GpuModel, own: GpuLayer, of: str) -> list[str]:
    """From the gradient of z of a layer to those of its y and of its sums.

    ``of``: ``"y"`` in the layer's own kernel, ``"previous"`` in the backward kernel of the next one.
    """
    array, z_gradient = ("gate_inputs", "z") if of == "y" else ("previous_gate_inputs", "z_gradient")
    width, middle = own.rows.gate.width, own.rows.middle
    return [
        *gate_backward(model, own, "y", z_gradient, "y_gradient"),
        "    SYNC_TEAM",
        f"    for (int c = MEMBER; c < {width}; c += {model.threads})",
        f"      {array}[(mm_long) i*{width} + c] = y_gradient[c];",
        *map_code(
            model, own.second, middle, True, "y_gradient", lambda _: "0", _store_row("sums_gradient", middle.width)
        ),
    ]
