"""Where everything lies in memory: padded channels, offsets of blocks, and the one array that holds all weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..program import Block, Layer, Mix, NequIPProgram
from ..tables import Table

#: Vectors have at least so many numbers.
_FEWEST_LANES = 4


def choose_lanes(program: NequIPProgram, vector_bytes: int) -> int:
    """Numbers per vector: the machine's, or fewer where that takes no more vectors.

    Parameters
    ----------
    program : NequIPProgram
        Its channels are to be covered.
    vector_bytes : int
        Width of the machine's vectors.

    Returns
    -------
    int
    """
    blocks = [block for layer in program.layers for block in [*layer.inputs, *layer.gate.inputs]]
    return narrowest_lanes(program.dtype, vector_bytes, [(block.mul, 2 * block.l + 1) for block in blocks])


def narrowest_lanes(dtype: str, vector_bytes: int, parts: list[tuple[int, int]]) -> int:
    """The same for parts of rows.

    Parameters
    ----------
    dtype : str
        Of the model.
    vector_bytes : int
        Width of the machine's vectors.
    parts : list of tuple of int
        Channels, and how many times so many stand in a row.

    Returns
    -------
    int
    """
    native = max(_FEWEST_LANES, vector_bytes // np.dtype(dtype).itemsize)

    def vectors(lanes: int) -> int:
        return sum(-(-channels // lanes) * copies for channels, copies in parts)

    lanes = native
    while lanes > _FEWEST_LANES and vectors(lanes // 2) == vectors(native):
        lanes //= 2
    return lanes


def padded(count: int, lanes: int) -> int:
    """The least multiple of ``lanes`` that holds ``count`` numbers.

    Parameters
    ----------
    count : int
        How many.
    lanes : int
        Numbers of a vector.

    Returns
    -------
    int
    """
    return -(-count // lanes) * lanes


def in_panels(matrices: np.ndarray, lanes: int) -> np.ndarray:
    """Matrices as products.hpp reads them.

    Parameters
    ----------
    matrices : numpy.ndarray, (..., n_in, n_out)
        Padded on both sides.
    lanes : int
        Numbers of a vector.

    Returns
    -------
    numpy.ndarray, (..., n_in * n_out)
        Two vectors of columns after another, each with all rows.
    """
    width, rest = 2 * lanes, matrices.shape[:-2]
    starts = range(0, matrices.shape[-1], width)
    return np.concatenate([matrices[..., start : start + width].reshape(*rest, -1) for start in starts], axis=-1)


@dataclass(frozen=True, eq=False)
class Rows:
    """Blocks in one row of numbers: block by block, component by component, channels padded.

    Parameters
    ----------
    blocks : list of Block
        What is stored.
    channels : list of int
        Padded channels of each block.
    offsets : list of int
        Start of each block.
    width : int
        Numbers in a row.
    """

    blocks: list[Block]
    channels: list[int]
    offsets: list[int]
    width: int


def rows_of(blocks: list[Block], lanes: int, channels: list[int] | None = None) -> Rows:
    """Lay out blocks.

    Parameters
    ----------
    blocks : list of Block
        Blocks in order.
    lanes : int
        Channels are padded to a multiple of it.
    channels : list of int, optional
        Padded channels, if not the least ones.

    Returns
    -------
    Rows
    """
    if channels is None:
        channels = [padded(block.mul, lanes) for block in blocks]
    sizes = [c * (2 * block.l + 1) for c, block in zip(channels, blocks, strict=True)]
    offsets = [sum(sizes[:i]) for i in range(len(sizes))]
    return Rows(blocks, channels, offsets, sum(sizes))


@dataclass(frozen=True, eq=False)
class LayerRows:
    """Rows of one layer, and the channels of its paths.

    Parameters
    ----------
    inputs, middle, gate : Rows
        What the convolution reads and writes, and the input of the gate.
    path_offsets : list of int
        Where the padded channels of each path start in a row of radial weights.
    path_slots : list of int
        Where the path's channels start within each component of its block of ``middle``.
    weights : int
        Numbers in a row of radial weights.
    """

    inputs: Rows
    middle: Rows
    gate: Rows
    path_offsets: list[int]
    path_slots: list[int]
    weights: int


def lay_out(layer: Layer, lanes: int) -> LayerRows:
    """Decide where everything of a layer lies.

    Parameters
    ----------
    layer : Layer
        The layer.
    lanes : int
        Channels are padded to a multiple of it.

    Returns
    -------
    LayerRows
    """
    inputs = rows_of(layer.inputs, lanes)
    channels = [inputs.channels[path.block] for path in layer.paths]
    slots, widths = [0] * len(channels), [0] * len(layer.middle)
    for i in sorted(range(len(channels)), key=lambda i: (layer.paths[i].group, layer.paths[i].slot)):
        group = layer.paths[i].group
        slots[i] = widths[group]
        widths[group] += channels[i]
    middle = rows_of(layer.middle, lanes, widths)
    offsets = [sum(channels[:i]) for i in range(len(channels))]
    return LayerRows(inputs, middle, rows_of(layer.gate.inputs, lanes), offsets, slots, sum(channels))


class Blob:
    """All weights of a model in one array; every part starts at a multiple of the vector length.

    Parameters
    ----------
    dtype : str
        Of the model.
    lanes : int
        Numbers of a vector.
    """

    def __init__(self, dtype: str, lanes: int) -> None:
        self._dtype = dtype
        self.lanes = lanes
        self._parts: list[np.ndarray] = []
        self._size = 0

    def add(self, array: np.ndarray) -> int:
        """Append an array of any shape (...), flattened, and give its offset."""
        flat = np.ascontiguousarray(array, dtype=self._dtype).ravel()
        part = np.zeros(padded(max(flat.size, 1), self.lanes), dtype=self._dtype)
        part[: flat.size] = flat
        self._parts.append(part)
        self._size += part.size
        return self._size - part.size

    def array(self) -> np.ndarray:
        """Everything that was added."""
        return np.concatenate(self._parts)


def pad_matrix(matrix: np.ndarray, rows: list[int], n_rows: int, n_columns: int) -> np.ndarray:
    """A matrix whose rows stand at the given places of a larger one.

    Parameters
    ----------
    matrix : numpy.ndarray, (..., len(rows), m)
    rows : list of int
        Place of each row.
    n_rows, n_columns : int
        Size of the result.

    Returns
    -------
    numpy.ndarray, (..., n_rows, n_columns)
        Zero beside the matrix.
    """
    result = np.zeros((*matrix.shape[:-2], n_rows, n_columns))
    result[..., rows, : matrix.shape[-1]] = matrix
    return result


def channel_places(layer: Layer, rows: LayerRows, group: int) -> list[int]:
    """Place of every channel of a block of the convolution's result among its padded channels.

    Parameters
    ----------
    layer : Layer
        Has the paths.
    rows : LayerRows
        Where they lie.
    group : int
        Index of the block.

    Returns
    -------
    list of int
    """
    places: list[int] = []
    mine = [i for i, path in enumerate(layer.paths) if path.group == group]
    for i in sorted(mine, key=lambda i: layer.paths[i].slot):
        count = layer.inputs[layer.paths[i].block].mul
        places += range(rows.path_slots[i], rows.path_slots[i] + count)
    return places


def radial_columns(layer: Layer, rows: LayerRows) -> tuple[list[int], np.ndarray]:
    """For each output of the radial network its place in a row of weights, and the factor it gets there.

    Parameters
    ----------
    layer : Layer
        Has the paths.
    rows : LayerRows
        Where their weights stand.

    Returns
    -------
    places : list of int
    factors : numpy.ndarray, (n_outputs,)
    """
    count = sum(path.weights.stop - path.weights.start for path in layer.paths)
    places, factors = [0] * count, np.ones(count)
    for path, offset in zip(layer.paths, rows.path_offsets, strict=True):
        for channel, output in enumerate(range(path.weights.start, path.weights.stop)):
            places[output] = offset + channel
        factors[path.weights] = path.coefficient
    return places, factors


def radial_matrices(layer: Layer, rows: LayerRows) -> list[np.ndarray]:
    """Matrices of a radial network, the columns of the last where the kernels read weights, paths' factors in them.

    Parameters
    ----------
    layer : Layer
        Has the network and the paths.
    rows : LayerRows
        Where their weights stand.

    Returns
    -------
    list of numpy.ndarray, (n_in, n_out)
    """
    places, factors = radial_columns(layer, rows)
    *hidden, final = layer.radial.weights
    last = np.zeros((final.shape[0], rows.weights))
    last[:, places] = final * factors
    return [*hidden, last]


def pack_table(layer: Layer, rows: LayerRows, table: Table, lanes: int) -> np.ndarray:
    """A table in the order in which the kernels read it: knot, vector of channels, power, lane.

    Parameters
    ----------
    layer : Layer
        Has the paths.
    rows : LayerRows
        Where their weights stand.
    table : Table
        The table.
    lanes : int
        Numbers of a vector.

    Returns
    -------
    numpy.ndarray, (n_knots, n_weights / lanes, 6, lanes)
    """
    places, factors = radial_columns(layer, rows)
    filled = np.zeros((table.knots, 6, rows.weights))
    filled[:, :, places] = table.coefficients * factors
    return filled.reshape(table.knots, 6, -1, lanes).transpose(0, 2, 1, 3)


def pack_mix(
    blob: Blob, maps: list[Mix], source: Rows, target: Rows, places: list[list[int]] | None = None, panels: bool = False
) -> list[tuple[int, ...]]:
    """Put linear maps into the blob, as they are and transposed.

    Parameters
    ----------
    blob : Blob
        Is added to.
    maps : list of Mix
        Maps between the blocks of two rows.
    source, target : Rows
        The rows.
    places : list of list of int, optional
        For each source block, where its channels stand among the padded ones; from 0 on by default.
    panels : bool
        Whether matrices are in panels, see :func:`in_panels`, instead of row by row.

    Returns
    -------
    list of tuple of int
        Members of ``LinearMap``: source offset, channels; target offset, channels; components, typed, offset, offset of
        the transposed.
    """
    result: list[tuple[int, ...]] = []
    for entry in maps:
        k, m = source.channels[entry.source], target.channels[entry.target]
        rows = list(range(entry.weights.shape[1])) if places is None else places[entry.source]
        matrix = pad_matrix(entry.weights, rows, k, m)
        both = [matrix, matrix.transpose(0, 2, 1)]
        if panels:
            both = [in_panels(each, blob.lanes) for each in both]
        components = 2 * source.blocks[entry.source].l + 1
        result.append(
            (
                source.offsets[entry.source],
                k,
                target.offsets[entry.target],
                m,
                components,
                int(len(matrix) > 1),
                *(blob.add(each) for each in both),
            )  # fmt: skip
        )
    return result
