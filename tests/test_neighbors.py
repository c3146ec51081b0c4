"""Neighbour lists against matscipy and brute force, with and without a skin."""

import numpy as np
import pytest
from matscipy.neighbours import neighbour_list

from openmm_nequip.graph.neighbors import FEW_ATOMS, NeighborList

CUTOFF = 5.0
LATTICES = {
    "cubic": np.eye(3) * 9.0,
    "orthorhombic": np.diag([7.0, 9.0, 12.0]),
    "triclinic": np.array([[8.0, 0, 0], [3.9, 8.5, 0], [-3.5, 4.0, 9.0]]),
    "smaller than the cutoff": np.array([[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 6.7]]),
    "flat": np.array([[3.0, 0, 0], [0, 3.0, 0], [1.4, -1.4, 30.0]]),
    "left-handed": np.array([[0, 8.0, 0], [9.0, 0, 0], [1.0, 1.0, 7.0]]),
}


def as_set(edge_index, shifts):
    return {(int(i), int(j), *map(int, s)) for i, j, s in zip(*edge_index, shifts, strict=True)}


def matscipy_set(positions, cell, periodic, cutoff=CUTOFF):
    if periodic:
        i, j, s = neighbour_list("ijS", pbc=[True] * 3, cell=cell, positions=positions, cutoff=cutoff)
    else:
        r = np.linalg.norm(positions[None] - positions[:, None], axis=-1) + np.eye(len(positions)) * 10 * cutoff
        i, j = np.nonzero(r < cutoff)
        s = np.zeros((len(i), 3))
    return as_set((i, j), s)


@pytest.mark.parametrize(("skin", "pairwise"), [(0.0, False), (1.0, False), (0.0, True)])
@pytest.mark.parametrize("name", LATTICES)
def test_periodic_edges_agree_with_matscipy(name, skin, pairwise):
    cell = LATTICES[name]
    rng = np.random.default_rng(2)
    # Fractions beyond [0, 1): atoms outside the box and molecules broken across its faces.
    positions = rng.uniform(-1.3, 2.2, (8, 3)) @ cell
    edges = NeighborList(CUTOFF, skin, True, pairwise=pairwise)(positions, cell)
    assert as_set(*edges) == matscipy_set(positions, cell, True)
    assert edges[0].shape[1] == len(as_set(*edges)), "an edge stands there twice"
    assert edges[0].dtype == np.int64 and edges[0].flags.c_contiguous and edges[1].dtype == np.float64


@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 2, 30, 80])
def test_non_periodic_edges(count, skin):
    positions = np.random.default_rng(count).uniform(0, 9, (count, 3))
    for pairwise in (False, True):
        edges = NeighborList(CUTOFF, skin, False, pairwise=pairwise)(positions, np.eye(3))
        assert as_set(*edges) == matscipy_set(positions, np.eye(3), False)
        assert not edges[1].any()


def test_vectors_follow_the_pair_convention():
    cell = LATTICES["triclinic"]
    positions = np.random.default_rng(3).uniform(-1, 2, (10, 3)) @ cell
    (i, j), shifts = NeighborList(CUTOFF, 0.5, True)(positions, cell)
    r = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1)
    assert (r < CUTOFF).all()
    pairs = as_set(np.stack([i, j]), shifts)
    assert all((b, a, -x, -y, -z) in pairs for a, b, x, y, z in pairs), "every pair stands in both directions"


def test_skin_follows_a_trajectory_with_a_changing_box():
    """A random walk, then jumps of whole box vectors (wrapping), then box changes: always the fresh list."""
    rng = np.random.default_rng(4)
    cell = LATTICES["cubic"].copy()
    positions = rng.uniform(0, 9, (40, 3))
    skinned = NeighborList(CUTOFF, 1.0, True)
    for step in range(60):
        positions = positions + rng.normal(0, 0.08, positions.shape)
        if step % 9 == 8:
            positions[rng.integers(40)] += cell[rng.integers(3)] * rng.integers(-2, 3)
        if step % 7 == 6:
            cell = cell * (1 + rng.normal(0, 0.01))
        if step == 40:
            cell[1, 0] += 0.7
        assert as_set(*skinned(positions, cell)) == matscipy_set(positions, cell, True), f"step {step}"


def test_arrays_outlive_the_next_call():
    neighbors = NeighborList(CUTOFF, 1.0, True)
    cell = LATTICES["cubic"]
    positions = np.random.default_rng(5).uniform(0, 9, (20, 3))
    edge_index, shifts = neighbors(positions, cell)
    before = edge_index.copy(), shifts.copy()
    neighbors(positions * 0.7, cell)
    assert (edge_index == before[0]).all() and (shifts == before[1]).all()


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("count", [30, 80])
def test_per_edge_type_cutoffs_prune_by_centre_and_neighbour(periodic, count):
    cutoffs = ((3.0, 4.0), (5.0, 2.5))
    cell = LATTICES["cubic"]
    positions = np.random.default_rng(6).uniform(0, 9, (count, 3))
    types = np.arange(count) % 2
    (i, j), shifts = NeighborList(CUTOFF, 0.8, periodic, types, cutoffs)(positions, cell)
    assert NeighborList(CUTOFF, 0.8, periodic, types, cutoffs)(positions, cell)[0].flags.c_contiguous
    full = matscipy_set(positions, cell, periodic)
    table = np.array(cutoffs)
    expected = set()
    for a, b, *s in full:
        r = np.linalg.norm(positions[b] - positions[a] + np.array(s) @ cell)
        if r < table[types[a], types[b]]:
            expected.add((a, b, *s))
    assert as_set(np.stack([i, j]), shifts) == expected
    assert 0 < len(expected) < len(full)


@pytest.mark.parametrize("far", [1e4, 1e7, 1e12])
@pytest.mark.parametrize("line", [(1, 0, 0), (1, 1, 0), (1, 1, 1)])
def test_atoms_far_apart_do_no_harm(far, line):
    """Flat, exploded clusters end the process inside vesin if they reach it as they are; also many atoms at a place."""
    positions = np.array([[0.0, 0, 0], [far, far, far], [far, far, far]]) * line + [[0, 0, 0], [0, 0, 0], [0, 1.0, 0]]
    assert as_set(*NeighborList(CUTOFF, 1.0, False)(positions, np.eye(3))) == {(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)}
    many = np.concatenate([positions, np.tile(positions[:1], (FEW_ATOMS, 1))])
    found = as_set(*NeighborList(CUTOFF, 1.0, False)(many, np.eye(3)))
    assert {(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)} <= found and not any({1, 2} & {i, j} for i, j, *_ in found if i + j != 3)


def test_closing_gaps_keeps_the_list_through_a_trajectory():
    """Three drops drift apart and back; the list with its skin stays that of the true positions."""
    rng = np.random.default_rng(7)
    drops = rng.uniform(0, 6, (60, 3))
    neighbors = NeighborList(CUTOFF, 1.0, False)
    for step in range(40):
        drops = drops + rng.normal(0, 0.1, drops.shape)
        apart = np.array([[0, 0, 0], [30.0, 0, 0], [700.0, -800.0, 5.0]]) * abs(20 - step) / 10
        positions = drops + np.repeat(apart, 20, axis=0)
        assert as_set(*neighbors(positions, np.eye(3))) == matscipy_set(positions, np.eye(3), False), f"step {step}"
