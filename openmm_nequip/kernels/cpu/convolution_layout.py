"""What the convolution of a layer is written from: which paths share a loop, and where its numbers lie.

A convolution goes through its edges once for each group of paths and each chunk of channels. What it then reads of an
atom should lie together, so rows of its results and of their gradients are *interleaved* here: block of features that
is read, vector of channels, path of the block, component of the result, lane. The maps around the convolution want the
channels of a component side by side, as in :class:`.packing.Rows`; between the two a row is copied vector by vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..program import Layer, Path
from .packing import LayerRows
from .radial_code import COEFFICIENTS
from .table_slabs import paths_of


@dataclass(frozen=True, eq=False)
class Convolution:
    """The convolution of one layer.

    Parameters
    ----------
    number : int
        Number of the layer; in the first, features depend on the type of the neighbour alone.
    layer : Layer
        Paths and blocks.
    rows : LayerRows
        Where they lie.
    y00 : float
        The constant harmonic.
    knots : int
        Of the tables of radial weights; 0 if they are evaluated instead.
    n_harmonics : int
        Number of spherical harmonics of the model.
    lanes : int
        Numbers of a vector.
    """

    number: int
    layer: Layer
    rows: LayerRows
    y00: float
    knots: int
    n_harmonics: int
    lanes: int

    @property
    def first(self) -> bool:
        """Whether it is the first layer."""
        return self.number == 0

    @property
    def used_harmonics(self) -> int:
        """Number of harmonics that the layer uses, those of lower orders included."""
        return (max(path.l2 for path in self.layer.paths) + 1) ** 2

    def groups(self, cost: Callable[[Path], int], limit: int) -> list[list[int]]:
        """Paths that share a loop: of one input block, with a cost within a limit.

        Parameters
        ----------
        cost : callable
            Path -> cost.
        limit : int
            Of the costs of a group.

        Returns
        -------
        list of list of int
            Numbers of the paths.
        """
        found: list[list[int]] = []
        for block in range(len(self.layer.inputs)):
            current: list[int] = []
            for p in paths_of(self.layer, block):
                if current and sum(cost(self.layer.paths[q]) for q in [*current, p]) > limit:
                    found.append(current)
                    current = []
                current.append(p)
            if current:
                found.append(current)
        return found

    def paths(self, group: list[int]) -> list[Path]:
        """The paths of a group."""
        return [self.layer.paths[p] for p in group]

    def block(self, group: list[int]) -> int:
        """Index of the block of features that the paths of a group read."""
        return self.layer.paths[group[0]].block

    def feature_place(self, block: int, m1: int) -> int:
        """Where a component of a block stands in a row of features.

        Parameters
        ----------
        block : int
            Index of the block.
        m1 : int
            Component.

        Returns
        -------
        int
        """
        return self.rows.inputs.offsets[block] + m1 * self.rows.inputs.channels[block]

    def _results(self, block: int) -> list[tuple[int, int]]:
        """Path and component of all results of a block, in the order in which an interleaved row has them."""
        paths = self.layer.paths
        return [(p, m3) for p in paths_of(self.layer, block) for m3 in range(2 * paths[p].l3 + 1)]

    def results_start(self, block: int) -> str:
        """C++ of where, in an interleaved row, the results of a block begin that belong to channel ``c``."""
        channels = self.rows.inputs.channels
        before = sum(channels[b] * len(self._results(b)) for b in range(block))
        return f"{before} + (long)c * {len(self._results(block))}"

    def result_place(self, p: int, m3: int) -> str:
        """C++ of where a component of a path's result stands, counted from :meth:`results_start`.

        Parameters
        ----------
        p : int
            Number of the path.
        m3 : int
            Component.

        Returns
        -------
        str
        """
        return f"{self._results(self.layer.paths[p].block).index((p, m3))} * LANES"

    def table_start(self, block: int) -> str:
        """C++ of where the slab of channel ``c`` begins in the table of the layer, see :mod:`.table_slabs`."""
        channels = self.rows.inputs.channels
        sizes = [COEFFICIENTS * self.knots * len(paths_of(self.layer, b)) for b in range(block + 1)]
        before = sum(channel * size for channel, size in zip(channels, sizes[:block], strict=False))
        return f"TABLE_{self.number} + {before} + (long)c * {sizes[block]}"

    def table_place(self, p: int) -> str:
        """C++ of where the coefficients of a path stand in a knot of its slab."""
        return f"{COEFFICIENTS * paths_of(self.layer, self.layer.paths[p].block).index(p)} * LANES"

    def standard_places(self) -> list[int]:
        """Where each vector of an interleaved row stands in a row of :attr:`LayerRows.middle`."""
        middle = self.rows.middle
        places = []
        for block, channels in enumerate(self.rows.inputs.channels):
            for c in range(0, channels, self.lanes):
                for p, m3 in self._results(block):
                    group = self.layer.paths[p].group
                    component = middle.offsets[group] + m3 * middle.channels[group]
                    places.append(component + self.rows.path_slots[p] + c)
        return places
