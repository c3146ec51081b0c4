"""Where everything of a model lies on a GPU: rows of features, weights, and what a group of threads shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..cpu.layer_code import first_features
from ..cpu.packing import (
    Blob,
    LayerRows,
    Rows,
    channel_places,
    lay_out,
    pack_mix,
    pack_table,
    pad_matrix,
    padded,
    radial_matrices,
    rows_of,
)
from ..program import Layer, NequIPProgram
from ..tables import Table
from .dialect import LANES, Numbers
from .edge_couplings import EdgeCouplings

#: Memory that a team of threads has of its group's: what every OpenCL device has, and small enough for many at a time.
TEAM_BYTES = 32 * 1024
#: Memory of a group on devices of CUDA, where several teams share one, and teams at most.
GROUP_BYTES, MOST_TEAMS = 46 * 1024, 8
#: Of these, what the edges of a block may take before blocks become smaller.
_EDGE_BYTES = 20 * 1024


@dataclass(frozen=True, eq=False)
class GpuLayer:
    """A layer, and where its parts are.

    Parameters
    ----------
    number : int
        Number of the layer.
    layer : Layer
        What it computes.
    rows : LayerRows
        Its rows of features.
    outputs : Rows
        Result of its gate.
    couplings : EdgeCouplings
        Matrices of its paths.
    table : int
        Place of its radial table among the weights.
    network : list of tuple of int
        Instead of a table, the matrices of its radial network: rows, padded columns, place among the weights.
    first, second, connection : list of tuple of int
        Linear maps, see :func:`..cpu.packing.pack_mix`.
    """

    number: int
    layer: Layer
    rows: LayerRows
    outputs: Rows
    couplings: EdgeCouplings
    table: int
    network: list[tuple[int, int, int]]
    first: list[tuple[int, ...]]
    second: list[tuple[int, ...]]
    connection: list[tuple[int, ...]]

    @property
    def used_harmonics(self) -> int:
        """Number of harmonics that the layer uses, those of lower orders included."""
        return (max(path.l2 for path in self.layer.paths) + 1) ** 2

    @property
    def slices(self) -> range:
        """First channels of the slices that a warp takes one after the other."""
        return range(0, max(self.rows.inputs.channels), LANES)

    def paths(self, first_channel: int) -> list[int]:
        """Numbers of the paths that have channels in a slice."""
        return [p for p, path in enumerate(self.layer.paths) if self.rows.inputs.channels[path.block] > first_channel]

    def blocks(self, first_channel: int) -> list[int]:
        """Numbers of the input blocks that paths of a slice read."""
        return sorted({self.layer.paths[p].block for p in self.paths(first_channel)})

    def sum_place(self, p: int, m3: int) -> int:
        """Where a component of a path's result stands; as :meth:`..cpu.convolution_code.Convolution.place`."""
        group = self.layer.paths[p].group
        return self.rows.middle.offsets[group] + m3 * self.rows.middle.channels[group] + self.rows.path_slots[p]

    def feature_place(self, block: int, m1: int) -> int:
        """Where a component of an input block stands; as :meth:`..cpu.convolution_code.Convolution.feature_place`."""
        return self.rows.inputs.offsets[block] + m1 * self.rows.inputs.channels[block]


@dataclass(frozen=True, eq=False)
class GpuModel:
    """A model, and where its parts are.

    Parameters
    ----------
    program : NequIPProgram
        The model.
    numbers : Numbers
        How numbers are written.
    layers : list of GpuLayer
        Its layers.
    knots : int
        Intervals of the radial tables; 1 without tables.
    basis : int
        Functions of the radial basis, where radial networks are evaluated; 0 with tables.
    features, connection : int
        Places of what the first layer has by type, see :func:`..cpu.layer_code.first_features`.
    readout : list of tuple of int
        For each matrix padded rows and columns, its place, and that of the transposed.
    warps : int
        Warps that share an atom.
    """

    program: NequIPProgram
    numbers: Numbers
    layers: list[GpuLayer]
    knots: int
    basis: int
    features: int
    connection: int
    readout: list[tuple[int, int, int, int]]
    warps: int

    @property
    def threads(self) -> int:
        """Threads of a group."""
        return LANES * self.warps

    @property
    def number_bytes(self) -> int:
        """Size of a number of the model."""
        return int(np.dtype(self.program.dtype).itemsize)

    def edges_at_once(self, numbers_per_edge: int, most: int) -> int:
        """Edges that a warp prepares together: as many as its share of the group's memory holds.

        Parameters
        ----------
        numbers_per_edge : int
            Numbers that one takes.
        most : int
            Not more than these.

        Returns
        -------
        int
        """
        count = most
        while count > 1 and self.warps * count * numbers_per_edge * self.number_bytes > _EDGE_BYTES:
            count //= 2
        return count


class GroupMemory:
    """Rows of numbers that a team of threads works on: in its group's memory, or where that is full in global memory.

    Parameters
    ----------
    model : GpuModel
        Says how large a number is.
    taken : int
        Numbers of the group's memory that are in use otherwise.
    """

    def __init__(self, model: GpuModel, taken: int) -> None:
        self._all = TEAM_BYTES // model.number_bytes
        self._left = self._all - taken
        self._near: list[tuple[str, int]] = []
        self._far: list[str] = []
        #: Numbers of global memory that a group needs.
        self.room = 0

    @property
    def used(self) -> int:
        """Numbers of the group's memory that a team has."""
        return self._all - self._left

    def add(self, name: str, width: int) -> None:
        """A row of numbers.

        Parameters
        ----------
        name : str
            Under which the text knows it.
        width : int
            So many.
        """
        if width <= self._left:
            self._left -= width
            self._near.append((name, width))
        else:
            self._far.append(f"    GLOBAL number* {name} = room + (mm_long) i*ROOM + {self.room};")
            self.room += width

    def declarations(self) -> list[str]:
        """For the head of a kernel."""
        return [f"  LOCAL number {name}_rows[ATOMS*{width}];" for name, width in self._near]

    def pointers(self) -> list[str]:
        """For the head of its loop over atoms i."""
        near = [f"    LOCAL_ARG number* {name} = {name}_rows + TEAM*{width};" for name, width in self._near]
        return near + self._far


def place_model(program: NequIPProgram, tables: list[Table] | None, warps: int) -> tuple[GpuModel, np.ndarray]:
    """Put all weights of a model into one array.

    Parameters
    ----------
    program : NequIPProgram
        The model.
    tables : list of Table, optional
        One for each layer, with one number of knots; without them radial networks are evaluated.
    warps : int
        Warps that share an atom.

    Returns
    -------
    model : GpuModel
    weights : numpy.ndarray, (n_weights,)
        In the model's dtype.
    """
    numbers, blob = Numbers(program.dtype), Blob(program.dtype, LANES)
    y00 = float(program.harmonics[0][0, 0])
    layers = []
    for number, layer in enumerate(program.layers):
        rows = lay_out(layer, LANES)
        places = [channel_places(layer, rows, group) for group in range(len(layer.middle))]
        layers.append(
            GpuLayer(
                number,
                layer,
                rows,
                rows_of(layer.gate.outputs, LANES),
                EdgeCouplings(layer, y00, numbers),
                blob.add(pack_table(layer, rows, tables[number], LANES)) if tables else 0,
                [] if tables else _pack_network(blob, layer, rows),
                pack_mix(blob, layer.first, rows.inputs, rows.inputs),
                pack_mix(blob, layer.second, rows.middle, rows.gate, places),
                pack_mix(blob, layer.connection, rows.inputs, rows.gate),
            )
        )
    features, connection = (blob.add(part) for part in first_features(program, layers[0].rows))
    readout, width = [], layers[-1].outputs.channels[0]
    for matrix in program.readout:
        columns = padded(matrix.shape[1], LANES)
        filled = pad_matrix(matrix, list(range(matrix.shape[0])), width, columns)
        readout.append((width, columns, blob.add(filled), blob.add(filled.T)))
        width = columns
    knots, basis = (tables[0].knots, 0) if tables else (1, program.basis.size)
    return GpuModel(program, numbers, layers, knots, basis, features, connection, readout, warps), blob.array()


def _pack_network(blob: Blob, layer: Layer, rows: LayerRows) -> list[tuple[int, int, int]]:
    """Put the matrices of a radial network into the blob, columns padded; see :attr:`GpuLayer.network`."""
    found = []
    for matrix in radial_matrices(layer, rows):
        n_in, n_out = matrix.shape[0], padded(matrix.shape[1], LANES)
        found.append((n_in, n_out, blob.add(pad_matrix(matrix, list(range(n_in)), n_in, n_out))))
    return found
