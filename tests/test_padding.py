"""Padding edges contribute exactly nothing, to every class of model; capacities hold all edges and seldom change."""

import numpy as np
import pytest
import torch
from conftest import DATA
from static import BUILT, CUTOFF, RowByRow, build, structure

from openmm_nequip import load_model
from openmm_nequip.graph.geometry import edge_vectors
from openmm_nequip.graph.graph import Edges, Graph
from openmm_nequip.graph.neighbors import CandidateList, NeighborList
from openmm_nequip.graph.padding import (
    PAD_DISTANCE,
    STEP,
    Capacity,
    PaddedNeighborList,
    is_near,
    padding_shift,
    take_near,
)
from openmm_nequip.models.edge_vectors import potential_of, takes_vectors

#: Model energy and force units (eV, eV/A), between two orders of summation in float64 and float32.
ROUNDING = {"float64": 1e-11, "float32": 1e-4}
PADDINGS = (1, 2, 7, 64, 500)


def edges_of(model, positions, cell, periodic, types):
    """Tensors of the edges within the cutoffs."""
    neighbors = NeighborList(CUTOFF, 0.0, periodic, types, model.info.per_edge_type_cutoff)
    return tuple(neighbors(positions, cell).tensors())


def padded(edge_index, shifts, cell, count, n_atoms, distance=PAD_DISTANCE * CUTOFF):
    """The edges with padding after them."""
    more = (torch.arange(count) % n_atoms).repeat(2, 1)
    shift = padding_shift(torch.from_numpy(cell), distance)
    return torch.cat([edge_index, more], 1), torch.cat([shifts, shift.repeat(count, 1)])


def loaded(name):
    """A model by its name here."""
    if name in BUILT:
        return build(name)
    file, keywords = {
        "compiled nequip": ("tiny-nequip.nequip.zip", {"kernels": "none"}),
        "compiled allegro, ZBL": ("tiny-allegro.nequip.zip", {"kernels": "none"}),
        "fused nequip": ("tiny-nequip.nequip.zip", {"kernels": "fused"}),
        "scripted nequip": ("tiny-nequip.nequip.pth", {"kernels": "none"}),
        "scripted allegro, ZBL": ("tiny-allegro.nequip.pth", {"kernels": "none"}),
    }[name]
    return load_model(DATA / file, **keywords)


@pytest.fixture(scope="module")
def any_model(packages):
    """Models by name, made once."""
    made = {}
    return lambda name: made.setdefault(name, None) or made.update({name: loaded(name)}) or made[name]


FILES = ("compiled nequip", "compiled allegro, ZBL", "fused nequip", "scripted nequip", "scripted allegro, ZBL")


#: Whole vectors of any CPU: the rest at the end of an array goes through other code, with another last bit.
WHOLE = 64


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", BUILT)
def test_padding_changes_nothing_at_all(name, periodic):
    """Not to rounding: the very same bits of energy, forces and atomic energies, if each edge is computed in the same
    way however many there are. The virial is one sum over all edges."""
    model = build(name)
    positions, cell = structure(periodic)
    types = np.arange(27) % 4
    edge_index, shifts = edges_of(model, positions, cell, periodic, types)
    whole = edge_index.shape[1] // WHOLE * WHOLE
    edges = edge_index[:, :whole].contiguous(), shifts[:whole].contiguous()
    inputs = torch.from_numpy(positions), torch.from_numpy(types)
    with RowByRow():
        bare = model(*inputs, *edges, torch.from_numpy(cell))
        assert whole and bare["forces"].abs().max() > 1e-3
        for count in (WHOLE, 7 * WHOLE):
            out = model(*inputs, *padded(*edges, cell, count, 27), torch.from_numpy(cell))
            assert set(out) == set(bare)
            for key in ("energy", "forces", "atomic_energies"):
                assert torch.equal(out[key], bare[key]), f"{key} with {count} padding edges"
            assert (out["virial"] - bare["virial"]).abs().max() < ROUNDING["float64"]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", [*BUILT, *FILES])
def test_padding_of_any_number_and_place(any_model, name, periodic):
    """The same as without padding to the rounding between two numbers of rows, with fused models to the last bit; and
    from every model the very same bits wherever the padding is and whichever atoms it belongs to."""
    model = any_model(name)
    positions, cell = structure(periodic)
    types = np.arange(27) % 4
    edges = edges_of(model, positions, cell, periodic, types)
    inputs = torch.from_numpy(positions), torch.from_numpy(types)
    bare = model(*inputs, *edges, torch.from_numpy(cell))
    for count in PADDINGS:
        for _ in range(4):  # TorchScript evaluates differently, and then the same for good, after some runs
            out = model(*inputs, *padded(*edges, cell, count, 27), torch.from_numpy(cell))
        other = model(*inputs, *padded(*edges, cell, count, 1, 3.1 * CUTOFF), torch.from_numpy(cell))
        assert set(out) == set(bare)
        for key in bare:
            assert (out[key] - bare[key]).abs().max() < ROUNDING["float64"], f"{key} with {count} padding edges"
        for key in ("energy", "forces", "atomic_energies"):
            assert torch.equal(out[key], other[key]), f"{key} with {count} padding edges elsewhere"
            if name.startswith("fused"):
                assert torch.equal(out[key], bare[key]), f"{key} with {count} padding edges"


@pytest.mark.parametrize("name", [*BUILT, *FILES])
def test_padding_alone_is_nothing(any_model, name):
    """Atoms with no edge but padding: forces of exactly zero, and the energies of isolated atoms to the last bit."""
    model = any_model(name)
    positions, cell = structure(False)
    inputs = torch.from_numpy(positions), torch.from_numpy(np.arange(27) % 4)
    none = torch.zeros((2, 0), dtype=torch.int64), torch.zeros((0, 3), dtype=torch.float64)
    bare = model(*inputs, *none, torch.from_numpy(cell))
    out = model(*inputs, *padded(*none, cell, 64, 27), torch.from_numpy(cell))
    assert not out["forces"].any() and not out["virial"].any()
    assert torch.equal(out["atomic_energies"], bare["atomic_energies"])


@pytest.mark.parametrize("name", ["nequip, ZBL, cutoffs by type", "allegro, ZBL"])
def test_padding_changes_nothing_in_cells_smaller_than_the_cutoff(any_model, name):
    """Flat and sheared cells: the padding edge is an image among images, as far away as anywhere."""
    model = any_model(name)
    for cell in (np.diag([2.1, 2.6, 9.0]), np.array([[2.4, 0, 0], [-1.2, 2.2, 0], [0.9, 0.3, 5.0]])):
        positions = np.array([[0.0, 0, 0], [0.4, 1.2, 1.5]])
        types = np.array([3, 1])
        edges = edges_of(model, positions, cell, True, types)
        inputs = torch.from_numpy(positions), torch.from_numpy(types)
        bare = model(*inputs, *edges, torch.from_numpy(cell))
        more = padded(*edges, cell, 64, 2)
        length = edge_vectors(inputs[0], *more, torch.from_numpy(cell)).norm(dim=1)[-64:]
        assert length.min() >= PAD_DISTANCE * CUTOFF and length.max() < PAD_DISTANCE * CUTOFF + np.linalg.norm(cell[0])
        out = model(*inputs, *more, torch.from_numpy(cell))
        assert all((out[key] - bare[key]).abs().max() < ROUNDING["float64"] for key in bare)
        other = model(*inputs, *padded(*edges, cell, 64, 1, 3.1 * CUTOFF), torch.from_numpy(cell))
        assert all(torch.equal(out[key], other[key]) for key in ("energy", "forces", "atomic_energies"))


@pytest.mark.parametrize("name", ["nequip, ZBL", "allegro, ZBL", "allegro, splines"])
def test_edges_between_cutoff_and_skin_change_nothing_but_rounding(any_model, name):
    """Candidates that a Verlet skin brings: exactly zero too, though they stand between others in the sums."""
    model = any_model(name)
    positions, cell = structure(True)
    types = np.arange(27) % 4
    inputs = torch.from_numpy(positions), torch.from_numpy(types)
    bare = model(*inputs, *edges_of(model, positions, cell, True, types), torch.from_numpy(cell))
    wide = [torch.from_numpy(array) for array in NeighborList(CUTOFF + 1.0, 0.0, True)(positions, cell)]
    out = model(*inputs, *wide, torch.from_numpy(cell))
    assert all((out[key] - bare[key]).abs().max() < ROUNDING["float64"] for key in bare)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", BUILT)
def test_edge_vectors_give_what_nequip_gives(name, dtype):
    """Energy, forces, atomic energies and virial without strain, cell or determinant."""
    model = build(name, dtype)
    assert takes_vectors(model)
    positions, cell = structure(True)
    cell[1, 0], cell[2, 1] = 1.1, -0.7
    types = np.arange(27) % 4
    edges = edges_of(model, positions, cell, True, types)
    inputs = torch.from_numpy(positions), torch.from_numpy(types), *edges, torch.from_numpy(cell)
    graph = Graph(*inputs[:2], Edges(*edges), inputs[-1])
    expected, found = model(*inputs), potential_of(model)(graph).as_dict()
    assert set(found) == set(expected)
    for key in expected:
        assert found[key].shape == expected[key].shape and found[key].dtype == torch.float64
        assert (found[key] - expected[key]).abs().max() < ROUNDING[dtype], key


def test_models_without_edge_vectors_are_told_apart(tmp_path, any_model):
    from toy import write_toy

    toy = load_model(write_toy(tmp_path / "toy.nequip.pth"))
    assert not takes_vectors(toy) and potential_of(toy) == toy.evaluate
    assert takes_vectors(any_model("scripted nequip")) and not takes_vectors(any_model("compiled nequip"))


@pytest.mark.parametrize("capacity", [64, 512, 1152])
def test_near_edges_come_first_and_in_order(capacity):
    positions, cell = structure(True)
    points, box = torch.from_numpy(positions), torch.from_numpy(cell)
    types = torch.arange(27) % 4
    squares = (torch.rand(4, 4, generator=torch.Generator().manual_seed(1)).double() + 2.5).square()
    edge_index, shifts = map(torch.from_numpy, NeighborList(CUTOFF + 0.8, 0.0, True)(positions, cell))
    vectors = edge_vectors(points, edge_index, shifts, box)
    near = is_near(vectors, types, edge_index, squares)
    expected = vectors.norm(dim=1) < squares.sqrt()[types[edge_index[0]], types[edge_index[1]]]
    assert torch.equal(near, expected) and 64 < near.sum() < len(near)
    filler = padding_shift(box, PAD_DISTANCE * CUTOFF)
    found, rows, needed = take_near(near, edge_index, shifts, filler, 27, capacity)
    count = min(capacity, int(near.sum()))
    assert needed == near.sum() and found.shape == (2, capacity) and rows.shape == (capacity, 3)
    assert torch.equal(found[:, :count], edge_index[:, near][:, :count])
    assert torch.equal(rows[:count], shifts[near][:count])
    assert (edge_vectors(points, found, rows, box)[count:].norm(dim=1) >= PAD_DISTANCE * CUTOFF).all()
    # The padding takes turns over the atoms.
    assert capacity == count or len(found[0, count:].unique()) == min(27, capacity - count)


def test_capacity_grows_with_room_and_shrinks_far_below():
    capacity = Capacity()
    assert capacity.fit(0) and capacity.size == STEP and capacity.changes == 0
    assert not capacity.fit(STEP) and capacity.fit(STEP + 1)
    first = capacity.size
    assert first % STEP == 0 and first > STEP + 1 and capacity.changes == 1
    # Anything between half of it and all of it leaves it alone, in whatever order.
    rng = np.random.default_rng(0)
    assert not any(capacity.fit(int(n)) for n in rng.integers(first // 2, first + 1, 500))
    assert capacity.fit(100_000) and 100_000 < capacity.size < 107_000
    assert capacity.fit(49_000) and 49_000 < capacity.size < 54_000
    assert capacity.fit(90_000, most=89_984 + STEP) and capacity.size == 89_984 + STEP


@pytest.mark.parametrize("n", [300, 3000, 300_000])
def test_capacity_changes_a_handful_of_times_in_dynamics(n):
    """A number of edges that drifts by 5 % and fluctuates as independent pairs would."""
    rng = np.random.default_rng(n)
    capacity = Capacity()
    for step in range(20_000):
        mean = n * (1 + 0.05 * np.sin(step / 3000))
        needed = round(mean + rng.normal(0, np.sqrt(mean)))
        capacity.fit(needed)
        assert capacity.size >= needed
    assert capacity.changes <= 4


@pytest.mark.parametrize("kind", ["candidates", "neighbours"])
@pytest.mark.parametrize("periodic", [True, False])
def test_padded_list_holds_the_list_and_keeps_its_shape(kind, periodic):
    """A random walk with jumps of the box: all edges in front, padding beyond the cutoff, few shapes."""
    positions, cell = structure(periodic, n=4)
    types = np.arange(64) % 2
    cutoffs = ((3.0, 3.5), (3.5, CUTOFF))

    def make():
        if kind == "candidates":
            return CandidateList(CUTOFF, 0.7, periodic)
        return NeighborList(CUTOFF, 0.7, periodic, types, cutoffs)

    bare, wrapped = make(), PaddedNeighborList(make(), PAD_DISTANCE * CUTOFF)
    rng = np.random.default_rng(8)
    shapes, before, same = set(), None, 0
    for step in range(80):
        positions = positions + rng.normal(0, 0.03, positions.shape)
        if periodic and step % 20 == 19:
            cell = cell * (1 + 0.01 * rng.normal())
        edge_index, shifts = bare(positions, cell)
        found = wrapped(positions, cell)
        count = edge_index.shape[1]
        index, rows = (tensor.numpy() for tensor in found)
        assert np.array_equal(index[:, :count], edge_index) and np.array_equal(rows[:count], shifts)
        i, j = index[:, count:]
        far = np.linalg.norm(positions[j] - positions[i] + rows[count:] @ cell, axis=1)
        assert (far >= PAD_DISTANCE * CUTOFF).all() and np.isfinite(far).all()
        assert index.dtype == np.int64 and index.flags.c_contiguous and rows.dtype == np.float64
        shapes.add(found.count)
        same += found is before
        before = found
    assert len(shapes) <= 3 and wrapped.capacity.changes == len(shapes) - 1
    assert (same > 20) == (kind == "candidates"), "where the list gives the same again, so does the padded one"


def test_a_list_without_edges_is_all_padding():
    wrapped = PaddedNeighborList(NeighborList(CUTOFF, 0.0, False), PAD_DISTANCE * CUTOFF)
    edge_index, shifts = wrapped(np.array([[0.0, 0, 0]]), np.eye(3) * 10 * CUTOFF)
    assert edge_index.shape == (2, STEP) and not edge_index.any() and (shifts.numpy() == [1.0, 0, 0]).all()
