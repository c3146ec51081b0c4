"""A step of the native force without OpenMM: its arrays and its launches, on whatever launches kernels.

The host's part of ``openmm_nequip/forces/native`` (``gpu_arrays.hpp``, ``gpu_force.cpp``) once more, in Python, so that
the kernels can be run by the emulator and by cupy. Lengths and energies are the model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from gpu_dialect import PRECISIONS

from openmm_nequip.kernels.fuse import Fused
from openmm_nequip.kernels.gpu.gpu_generate import CELL_THREADS, KernelFacts

#: Numbers of a block that takes one item a thread.
BLOCK = 64
#: Without a box: cells each way, and atoms of a cell on average.
_FEWEST_CELLS, _ATOMS_PER_CELL = 3, 4.0
_ROUNDING = 1e-5


class Device(Protocol):
    """What launches kernels."""

    def array(self, values: np.ndarray) -> Any:
        """Memory with these values."""

    def get(self, array: Any) -> np.ndarray:
        """The values in it."""

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any]) -> None:
        """Begin a kernel."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """A structure.

    Parameters
    ----------
    positions : numpy.ndarray, (n_sites, 3)
        Of the atoms, then of other sites at the ends of cut bonds.
    types : numpy.ndarray, (n_nodes,) int
        Of the atoms, then of the caps.
    cell : numpy.ndarray, (3, 3), optional
        Reduced box, rows; None where nothing is periodic.
    regions : numpy.ndarray, (n_nodes,) int, optional
        Nodes of different ones do not see each other.
    cap_q, cap_m : numpy.ndarray, (n_caps,) int
        Sites that a cap is bonded to, and stands for.
    cap_distance : numpy.ndarray, (n_caps,)
        From the former.
    """

    positions: np.ndarray
    types: np.ndarray
    cell: np.ndarray | None
    regions: np.ndarray | None = None
    cap_q: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    cap_m: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    cap_distance: np.ndarray = field(default_factory=lambda: np.zeros(0))


class GpuStep:
    """The kernels of a model on a structure.

    Parameters
    ----------
    device : Device
        What launches them.
    fused : Fused
        The model's kernels and weights.
    atoms : Atoms
        The structure.
    precision : str
        OpenMM's.
    skin : float
        Verlet skin.
    slots : int
        Room for neighbours of an atom to begin with.
    groups : int, optional
        Groups of threads of the layers' kernels; as many as there are atoms by default.
    seed : int
        Of the order in which OpenMM keeps its particles.
    """

    def __init__(
        self, device: Device, fused: Fused, atoms: Atoms, precision: str = "double", skin: float = 0.5, slots: int = 64,
        groups: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.device, self.facts, self.atoms, self.precision = device, KernelFacts.of(fused.source), atoms, precision
        self.skin, self.slots, self._groups = skin, 0, groups
        self.overflows = 0
        real, mixed = (
            np.dtype(name.replace("float", "float32").replace("double", "float64")) for name in PRECISIONS[precision]
        )
        self._real, self._mixed, self._number = real, mixed, np.dtype(self.facts.dtype)
        self.n_nodes, self.n_caps = len(atoms.types), len(atoms.cap_q)
        self.n_atoms, self.n_sites = self.n_nodes - self.n_caps, len(atoms.positions)
        self.padded = padded(self.n_sites)
        self._order = np.random.default_rng(seed).permutation(self.n_sites).astype(np.int32)
        squares, types = self.facts.n_types**2, self.facts.n_types
        self.constant_energy = float(fused.constants[squares + types : squares + 2 * types][atoms.types].sum())
        self._arrays = self._make(fused)
        self._make_slots(slots)
        self.set_box(atoms.cell)
        self.move(atoms.positions)

    def _make(self, fused: Fused) -> dict[str, Any]:
        facts, atoms, n = self.facts, self.atoms, self.n_nodes
        squares, types = facts.n_types**2, facts.n_types
        rest = fused.constants[squares:]
        pulls = [[2 * c for c in np.flatnonzero(atoms.cap_q == s)] + [2 * c + 1 for c in np.flatnonzero(atoms.cap_m ==
        s)]
                 for s in range(self.n_sites)]  # fmt: skip
        where = np.full(self.padded, -1, np.int32)
        where[: self.n_sites] = np.arange(self.n_sites)
        values = {
            "weights": fused.weights.astype(self._number), "scales": rest[:types].astype(self._number),
            "charges": rest[2 * types :].astype(self._mixed), "reciprocal":
            fused.constants[:squares].astype(self._mixed), "types": atoms.types.astype(np.int32),
            "region": np.zeros(n, np.int32) if atoms.regions is None else atoms.regions.astype(np.int32),
            "room": self._blank(n * facts.room, self._number),
            "atom_index": np.resize(self._order, self.padded), "site_of": where,
            "place_of": np.full(self.n_sites, -1, np.int32), "offsets": np.zeros(4 * self.padded, np.int32),
            "sites": self._blank(3 * self.n_sites, self._mixed), "positions": self._blank(3 * n, self._mixed),
            "old": self._blank(3 * n, self._mixed), "energies": self._blank(n, self._mixed),
            "state": np.array([1, 1, 0, 0], np.int32),
            "cap_q": _filled(atoms.cap_q, np.int32), "cap_m": _filled(atoms.cap_m, np.int32),
            "cap_distance": _filled(atoms.cap_distance, self._mixed),
            "caps_from": np.cumsum([0, *map(len, pulls)]).astype(np.int32),
            "cap_list": _filled(np.array(sum(pulls, []), int), np.int32),
            "cell_of": np.zeros(n, np.int32), "members": np.zeros(n, np.int32), "count": np.zeros(n, np.int32),
            "forces": np.zeros(3 * self.padded, np.uint64),
            "energy_buffer": np.zeros(BLOCK * -(-max(self.n_sites, n) // BLOCK), self._mixed),
        }  # fmt: skip
        for k, (inputs, gate) in enumerate(zip(facts.inputs, facts.gate, strict=True)):
            values |= {f"features{k}": self._blank(n * inputs, self._number)}
            values |= {f"gate{k}": self._blank(n * gate, self._number)}
        values |= {f"sums{k}": self._blank(n * max(facts.middle), self._number) for k in range(2)}
        return {name: self.device.array(value) for name, value in values.items()}

    def _blank(self, count: int, kind: np.dtype) -> np.ndarray:
        """Memory that nobody has written to."""
        return np.full(max(1, count), np.nan, kind)

    def _make_slots(self, wanted: int) -> None:
        self.slots = -(-wanted // 8) * 8
        every, wide = self.n_nodes * self.slots, 2 * self.facts.basis or 1
        kinds = {"fraction": 1, "unit": 3, "radial": 1, "unit_gradient": 3, "basis": wide, "basis_in": wide}
        fresh = {name: np.full(every, -7, np.int32) for name in ("other", "shift", "mirror", "knot", "knot_in")}
        fresh |= {name: self._blank(every * width, self._number) for name, width in kinds.items()}
        fresh |= {"length": self._blank(every, self._mixed), "fraction_in": self._blank(every, self._number)}
        self._arrays |= {name: self.device.array(value) for name, value in fresh.items()}

    def set_box(self, cell: np.ndarray | None) -> None:
        """Another box (3, 3), or none."""
        reach = (self.facts.cutoff + self.skin) * (1 + _ROUNDING)
        frame, grid = np.zeros(17), np.ones(7, np.int32)
        most = max(64, self.n_nodes)
        grid[6] = cell is not None
        if cell is not None:
            faces = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
            widths = abs(np.linalg.det(cell)) / np.linalg.norm(faces, axis=1)
            frame[:9] = cell.ravel()
            cells = np.maximum(1, np.floor(widths / reach)).astype(int)
        else:
            cells = np.full(3, max(_FEWEST_CELLS, math.ceil((self.n_nodes / _ATOMS_PER_CELL) ** (1 / 3))))
        while cells.prod() > most:
            cells[cells.argmax()] = (cells.max() + 1) // 2
        frame[9:12] = 1 / reach
        frame[12:17] = 1, 0.25 * self.skin**2 * (1 - _ROUNDING), reach**2, 1, 1
        grid[:3] = cells
        grid[3:6] = 1 if cell is None else np.ceil(reach * cells / widths + _ROUNDING)
        self._arrays |= {"frame": self.device.array(frame.astype(self._mixed)), "grid": self.device.array(grid)}
        self._arrays |= {name: self.device.array(np.zeros(most, np.int32)) for name in ("cell_start", "cell_end")}
        self.forget_list()

    def forget_list(self) -> None:
        """The next step makes a list."""
        self._arrays["state"] = self.device.array(np.array([1, 1, 0, self.lists], np.int32))

    @property
    def lists(self) -> int:
        """Lists made so far."""
        return int(self.device.get(self._arrays["state"])[3]) if "state" in self._arrays else 0

    def move(self, positions: np.ndarray) -> None:
        """Other positions (n_sites, 3)."""
        rows = np.zeros((self.padded, 4))
        rows[: self.n_sites, :3] = positions[self._order]
        near = rows.astype(self._real)
        self._arrays |= {"posq": self.device.array(near), "rest": self.device.array((rows - near).astype(self._real))}

    def launches(self) -> list[tuple[str, int, int, list[Any]]]:
        """Name, groups, threads of a group and arguments of each kernel of a step, in order."""
        a, facts, n, last = self._arrays, self.facts, self.n_nodes, len(self.facts.inputs) - 1
        knots, fractions = ("knot", "fraction") if facts.symmetric else ("knot_in", "fraction_in")
        parts = ("fraction", fractions) if not facts.basis else ("basis", "basis" if facts.symmetric else "basis_in")
        block = 32 * facts.warps * facts.atoms
        groups = self._groups or -(-n // facts.atoms)

        def one_each(kernel: str, count: int, *given: Any) -> tuple[str, int, int, list[Any]]:
            return kernel, -(-count // BLOCK), BLOCK, [a[each] if isinstance(each, str) else each for each in given]

        def layer(kernel: str, near: str, part: str, *given: str) -> tuple[str, int, int, list[Any]]:
            names = ("count", "other", "types", near, part, "unit", "weights", "scales", "room", *given)
            return kernel, groups, block, [n, self.slots, *(a[name] for name in names)]

        found = [
            one_each("gather", self.n_sites, self.n_sites, self.n_atoms, "posq", "rest", "atom_index", "offsets",
            "site_of",
                     "place_of", "sites", "positions", "old", "frame", "grid", "state"),
        ]  # fmt: skip
        if self.n_caps:
            found.append(
                one_each("place_caps", self.n_caps, self.n_caps, self.n_atoms, "cap_q", "cap_m", "cap_distance",
                "sites",
                         "positions", "old", "frame", "grid", "state")
            )  # fmt: skip
        sort = ("state", "positions", "old", "frame", "grid", "cell_of", "cell_start", "cell_end", "members")
        found += [
            ("sort_into_cells", 1, CELL_THREADS, [n, *(a[name] for name in sort)]),
            one_each("find", n, n, self.slots, "state", "positions", "frame", "grid", "region", "cell_of", "cell_start",
                     "cell_end", "members", "count", "other", "shift"),
            one_each("geometry", n * self.slots, n, self.slots, "count", "other", "shift", "positions", "types",
            "frame",
                     "reciprocal", "state", "knot", "fraction", knots, fractions, "unit", "length", "mirror"),
        ]  # fmt: skip
        sides = ((0, "knot", "basis"), (1, "knot_in", "basis_in"))[: 1 + (not facts.symmetric)] if facts.basis else ()
        for incoming, near, basis in sides:
            given = n, self.slots, incoming, "count", "other", "types", near, "reciprocal", "length", basis
            found.append(one_each("radial_basis", n * self.slots, *given))
        for k in range(last + 1):
            following = min(k + 1, last)
            found.append(layer(f"forward_{k}", "knot", parts[0], f"features{k}", f"gate{k}", f"features{following}",
                               f"gate{following}", "energies", f"sums{last % 2}"))  # fmt: skip
        for k in range(last, -1, -1):
            found.append(layer(f"backward_{k}", knots, parts[1], f"features{k}", f"sums{k % 2}", f"gate{k}",
                               f"gate{max(k - 1, 0)}", f"sums{(k + 1) % 2}", "radial", "unit_gradient"))  # fmt: skip
        found.append(
            one_each("give", max(self.n_sites, n), self.n_sites, self.n_atoms, n, self.slots, self.padded, 1, "count",
            "other", "mirror",
                     "types", "knot", knots, "reciprocal", "charges", "unit", "length", "radial", "unit_gradient",
                     "caps_from", "cap_list", "cap_q", "cap_m", "cap_distance", "sites", "frame", "grid", "place_of",
                     "energies", "forces", "energy_buffer", "state")
        )  # fmt: skip
        return found

    def begin(self) -> None:
        """Launch a step; nothing is waited for."""
        for launch in self.launches():
            self.device.launch(*launch)

    def run(self) -> tuple[float, np.ndarray]:
        """A step, repeated with more room where there was too little.

        Returns
        -------
        energy : float
        forces : numpy.ndarray, (n_sites, 3)
        """
        while True:
            for name in ("forces", "energy_buffer"):
                kind = np.uint64 if name == "forces" else self._mixed
                size = 3 * self.padded if name == "forces" else BLOCK * -(-max(self.n_sites, self.n_nodes) // BLOCK)
                self._arrays[name] = self.device.array(np.zeros(size, kind))
            self.begin()
            lacking = int(self.device.get(self._arrays["state"])[2])
            if not lacking:
                return self.answer()
            self.overflows += 1
            self._make_slots(max(lacking, self.slots + self.slots // 4))
            self.forget_list()

    def answer(self) -> tuple[float, np.ndarray]:
        """Energy and forces (n_sites, 3) of the last step."""
        fixed = self.device.get(self._arrays["forces"]).view(np.int64).reshape(3, self.padded)[:, : self.n_sites]
        forces = np.empty((self.n_sites, 3))
        forces[self._order] = fixed.T / 2.0**32
        return float(self.device.get(self._arrays["energy_buffer"]).sum()) + self.constant_energy, forces

    def tell(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is asked for beside a step, at the positions of the last one.

        Returns
        -------
        energies : numpy.ndarray, (n_nodes,)
            Without the shifts of types.
        forces : numpy.ndarray, (n_nodes, 3)
        virial : numpy.ndarray, (6,)
            xx, yx, yy, zx, zy, zz.
        """
        a, near = self._arrays, "knot" if self.facts.symmetric else "knot_in"
        told = self.device.array(self._blank(10 * self.n_nodes, self._mixed))
        names = ("count", "other", "mirror", "types", "knot", near, "reciprocal", "charges", "unit", "length", "radial",
                 "unit_gradient", "energies")  # fmt: skip
        given = [self.n_nodes, self.slots, *(a[name] for name in names), told, a["state"]]
        self.device.launch("tell", -(-self.n_nodes // BLOCK), BLOCK, given)
        rows = self.device.get(told).reshape(self.n_nodes, 10)
        return rows[:, 0], rows[:, 1:4], rows[:, 4:].sum(0)

    @property
    def edges(self) -> tuple[int, int]:
        """Candidates of the list, and those of them within the cutoff."""
        counts = self.device.get(self._arrays["count"])
        knots = self.device.get(self._arrays["knot"]).reshape(self.n_nodes, self.slots)
        held = np.arange(self.slots) < counts[:, None]
        return int(counts.sum()), int((knots[held] >= 0).sum())


def padded(n_sites: int) -> int:
    """Length of a row of OpenMM's buffers for so many particles."""
    return -(-n_sites // 32) * 32


def _filled(values: np.ndarray, kind: Any) -> np.ndarray:
    """An array of at least one value: there is no memory of none."""
    return np.asarray(values, kind) if len(values) else np.zeros(1, kind)
