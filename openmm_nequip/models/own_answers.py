"""What a model itself answers on small structures, to compare every newly compiled library with.

The structures have what simulations have: all types, covalent bonds, close pairs, boxes narrower than a cutoff in which
an atom sees its own images, and open space. The answers are kept beside the generated code, so a library can be checked
wherever it is compiled, also by another compiler or on another CPU, without the model. A library is asked in all ways
in which it will be: graph by graph and along a simulation, by one thread and by two.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import NotFusableError
from ..graph.fields import ATOMIC_ENERGY, CELL, FORCES, POSITIONS, TYPES, model_inputs
from ..kernels.backend import Backend, StepperSetup
from ..upstream.nequip_state import default_dtype
from .compiling.example import example_graph

#: Largest difference from nequip's own evaluation that is put down to rounding, as a share of the largest force
#: component (and of the energy scale that goes with it: that force times one tenth of a cutoff).
AGREEMENT = {"float32": 2e-4, "float64": 1e-7}
#: Operations that round an energy in single precision: scale, shift and a factor around them.
_ROUNDINGS = 3
#: Distances of pairs, in cutoffs: 0.1 is nearer than any bond comes, 0.15 to 0.4 are those of bonds.
_BONDS = (0.15, 0.2, 0.25, 0.3, 0.4)
_CLOSE = (0.1, 0.12, 0.14)
#: Spacing of the pairs, so that each feels its neighbours as well.
_SPACING = 0.8
#: Most pairs in one structure: all pairs of eight types.
_MOST_PAIRS = 36
#: From so many types on, structures are sparse, for such models are large: an evaluation takes seconds.
_MANY_TYPES = 37
_SPARSE_PAIRS = 24
_SPARSE_SPACING = 0.8
#: A list reaches so far beyond the cutoff, as that of a simulation does: what lies beyond must count for nothing.
_REACH = 1.15
#: How far atoms are moved between the making of a list and its use, in cutoffs.
_MOVED = 0.01


class Reference(NamedTuple):
    """A structure and the model's own answer, in model units.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
    types : numpy.ndarray, (n_atoms,) int64
    cell : numpy.ndarray, (3, 3) float64
    periodic : numpy.ndarray, () bool
    energies : numpy.ndarray, (n_atoms,) float64
        Of the atoms.
    forces : numpy.ndarray, (n_atoms, 3) float64
    rounding : numpy.ndarray, () float64
        By how much the model itself has rounded an energy; 0 where it gives them in double precision.
    """

    positions: np.ndarray
    types: np.ndarray
    cell: np.ndarray
    periodic: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    rounding: np.ndarray = np.zeros(())


class References(NamedTuple):
    """All that a library is compared with.

    Parameters
    ----------
    cutoff : float
        The model's.
    dtype : str
        ``"float32"`` or ``"float64"``.
    structures : tuple of Reference
        Structures and answers.
    """

    cutoff: float
    dtype: str
    structures: tuple[Reference, ...]

    def pack(self) -> bytes:
        """As bytes, for a file."""
        content = io.BytesIO()
        numbered = enumerate(self.structures)
        arrays: dict[str, Any] = {f"{k}.{name}": array for k, one in numbered for name, array in one._asdict().items()}
        np.savez_compressed(content, cutoff=np.array(self.cutoff), dtype=np.array(self.dtype), **arrays)
        return content.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> References:
        """What :meth:`pack` gave.

        Raises
        ------
        ValueError, KeyError
            If it is something else.
        """
        with np.load(io.BytesIO(content)) as stored:
            count = len({name.split(".")[0] for name in stored.files if "." in name})
            # Those that packages of earlier releases carry state no rounding.
            named = [
                {name: stored[f"{k}.{name}"] for name in Reference._fields if f"{k}.{name}" in stored.files}
                for k in range(count)
            ]
            found = [Reference(**arrays) for arrays in named]
            return cls(float(stored["cutoff"]), str(stored["dtype"]), tuple(found))


def make_references(module: Any, facts: Mapping[str, str]) -> References:
    """Ask a model itself.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's GraphModel, on the CPU.
    facts : mapping of str to str
        nequip's metadata, with ``type_names`` and ``r_max``.

    Returns
    -------
    References
    """
    cutoff, n_types = float(facts["r_max"]), len(facts["type_names"].split())
    made = []
    for positions, types, cell, periodic in _structures(n_types, cutoff):
        edges, shifts = find_edges(positions, cell, periodic, cutoff)
        tensors = [torch.from_numpy(array) for array in (positions, types, edges, shifts, cell)]
        with default_dtype(torch.float64), torch.inference_mode(False), torch.enable_grad():
            out = module(model_inputs(*tensors))
        energies = out[ATOMIC_ENERGY].detach().double().numpy().ravel().copy()
        single = out[ATOMIC_ENERGY].dtype == torch.float32  # of nequip <= 0.6, with shifts of hundreds of eV in them
        rounding = np.array(_ROUNDINGS * float(np.finfo(np.float32).eps) * np.abs(energies).max() if single else 0.0)
        forces = out[FORCES].detach().double().numpy().copy()
        made.append(Reference(positions, types, cell, np.array(periodic), energies, forces, rounding))
    return References(cutoff, str(module.model_dtype).removeprefix("torch."), tuple(made))


def _structures(n_types: int, cutoff: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, bool]]:
    """Positions, types, cell and whether it is periodic."""
    many = n_types >= _MANY_TYPES
    lattice = example_graph(n_types, cutoff, _SPARSE_SPACING) if many else example_graph(n_types, cutoff)
    yield lattice[POSITIONS].numpy(), lattice[TYPES].numpy(), np.ascontiguousarray(lattice[CELL][0].numpy()), True
    random = np.random.default_rng(7)
    yield (*_pairs(n_types, cutoff, _BONDS, random), True)
    yield (*_pairs(n_types, cutoff, _CLOSE, random), False)
    # A box narrower than the cutoff: each atom sees several images of the others and of itself.
    edges = np.array([[0.9, 0, 0], [0.2, 0.85, 0], [-0.1, 0.15, 0.95]]) * cutoff
    places = np.array([[0.1, 0.1, 0.1], [0.35, 0.2, 0.15], [0.6, 0.7, 0.55]]) @ edges
    yield places, np.arange(3) % n_types, edges, True


def _pairs(
    n_types: int, cutoff: float, distances: tuple[float, ...], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of atoms at bond lengths on a lattice: those of all pairs of types, or as many as there is room for."""
    pairs = np.array([(a, b) for a in range(n_types) for b in range(a, n_types)], dtype=np.int64)
    if n_types >= _MANY_TYPES:
        pairs = np.resize(random.permutation(n_types), (_SPARSE_PAIRS, 2))
    elif len(pairs) > _MOST_PAIRS:  # every type, with a partner drawn
        order = random.permutation(n_types)
        chosen = np.column_stack([order, np.roll(order, 1)])
        pairs = np.concatenate([chosen, random.permutation(pairs)[: max(0, _MOST_PAIRS - len(chosen))]])
    side = int(np.ceil(len(pairs) ** (1 / 3)))
    side = max(side, 3)
    spacing = _SPACING * cutoff
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[: len(pairs)] * spacing
    directions = random.normal(size=(len(pairs), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.resize(distances, len(pairs)) * cutoff
    centres = grid + 0.05 * spacing * random.normal(size=grid.shape)
    half = 0.5 * lengths[:, None] * directions
    positions = np.ascontiguousarray(np.stack([centres - half, centres + half], axis=1).reshape(-1, 3))
    return positions, pairs.reshape(-1).copy(), np.eye(3) * side * spacing


def find_edges(
    positions: np.ndarray, cell: np.ndarray, periodic: bool, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """All edges within a cutoff.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
    cell : numpy.ndarray, (3, 3) float64
    periodic : bool
    cutoff : float

    Returns
    -------
    tuple of numpy.ndarray
        ``edge_index`` (2, n_edges) int64 and ``shifts`` (n_edges, 3) float64, C-contiguous.
    """
    from vesin import NeighborList

    found = NeighborList(cutoff=cutoff, full_list=True).compute(positions, cell, periodic, "PS")
    return np.ascontiguousarray(found[0].astype(np.int64).T), np.ascontiguousarray(found[1].astype(np.float64))


def check_library(backend: Backend, library: Any, references: References) -> None:
    """Compare a library with the model's own answers, in every way in which it will be asked.

    Parameters
    ----------
    backend : Backend
        Whose library it is.
    library : object
        As ``backend.open`` loads it.
    references : References
        The answers.

    Raises
    ------
    NotFusableError
        If they differ by more than rounding; with the structure's number, the way and the differences.
    """
    step = backend.step(library)
    for number, one in enumerate(references.structures):
        edges, shifts = find_edges(one.positions, one.cell, bool(one.periodic), references.cutoff)
        # Every way on every structure, but for large models: there each way is tried on some.
        large = len(np.unique(one.types)) >= _MANY_TYPES
        for threads, keep in ((1, False), (2, True)) if large else ((1, False), (2, False), (2, True), (-2, True)):
            energies, forces, _ = step(one.positions, one.types, edges, shifts, one.cell, threads, keep)
            compare_answers(references, number, f"{threads} threads", energies, forces)
        for threads in (2,) if large else (1, 2):
            energy, forces = _along(backend, library, one, references.cutoff, threads)
            compare_answers(references, number, f"a simulation with {threads} threads", energy, forces)


def _along(
    backend: Backend, library: Any, one: Reference, cutoff: float, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Total energy () and forces (n_atoms, 3) as in a simulation: from a list that was made a step before."""
    reach = 2 * _MOVED * cutoff
    periodic = bool(one.periodic)

    def neighbors(positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return find_edges(positions, cell, periodic, _REACH * cutoff)

    setup = StepperSetup(reach, 1.0, 1.0, None if periodic else one.cell)
    stepper: Callable = backend.stepper(library, one.types, neighbors, setup, edges_per_thread=1)
    box = one.cell if periodic else None
    moved = one.positions + _MOVED * cutoff * np.array([1.0, -1.0, 1.0]) / np.sqrt(3)
    moved[::2] = one.positions[::2]
    stepper(moved, box, threads)
    energy, forces = stepper(one.positions, box, threads)
    return np.array(energy), forces


def compare_answers(
    references: References, number: int, way: str, energies: np.ndarray, forces: np.ndarray, least: float = 0.0
) -> None:
    """Compare what was computed for a structure with the model's own answer.

    Parameters
    ----------
    references : References
        The answers.
    number : int
        Of the structure.
    way : str
        How it was computed, for messages.
    energies : numpy.ndarray, () or (n_atoms,)
        Total, or of the atoms.
    forces : numpy.ndarray, (n_atoms, 3)
    least : float
        What is rounding at least, as of :data:`AGREEMENT`: where positions or sums are less precise than the model.

    Raises
    ------
    NotFusableError
        If they differ by more than rounding.
    """
    one = references.structures[number]
    scale = max(float(np.abs(one.forces).max()), 1e-3)
    allowed = max(AGREEMENT[references.dtype], least)
    total = energies.ndim == 0
    expected = one.energies.sum() if total else one.energies
    off_energy = float(np.abs(energies - expected).max()) / (len(one.types) if total else 1)
    off_force = float(np.abs(forces - one.forces).max())
    allowed_energy = allowed * scale * 0.1 * references.cutoff + float(one.rounding)
    if not (off_force <= allowed * scale and off_energy <= allowed_energy):
        raise NotFusableError(
            f"fused and original model differ by {off_force:.1e} in forces (largest {scale:.1e}) and {off_energy:.1e} "
            f"in atomic energies, on structure {number} by {way}: the model computes something that was not "
            "recognised, or this compiler makes something else of the code"
        )
