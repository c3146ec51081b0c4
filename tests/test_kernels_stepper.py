"""Fused models along a simulation: the same numbers as one by one, lists that hold exactly as long as they may."""

import math

import numpy as np
import pytest
from kernel_checks import EXACT, FORCE, edges_of
from nequip_models import CUTOFF, eager, structure
from test_kernels import NEQUIP

from openmm_nequip.errors import NonFiniteError
from openmm_nequip.graph.neighbors import CandidateList
from openmm_nequip.kernels.backend import StepperSetup
from openmm_nequip.kernels.cpu.stepper import FusedStepper

SKIN = 0.8
#: The caller's units: one model length is 0.1 of the caller's, one model energy 96.485.
LENGTH, ENERGY = 0.1, 96.485
#: Energy per atom (eV) and forces (eV/Å) where only the order of sums differs.
ROUNDING = {"float64": 1e-12, "float32": 1e-5}
EVERYTHING = ["l1", "l1 parity", "l2 everything"]


class Follower:
    """A trajectory in the caller's units, which counts how often it looked for neighbours."""

    def __init__(self, name, types, periodic=True, cell=None):
        self.lists = 0
        self._candidates = CandidateList(CUTOFF, SKIN, periodic)
        setup = StepperSetup(self._candidates.reach(len(types)), LENGTH, ENERGY, None if periodic else cell)
        self.follow = FusedStepper(NEQUIP.library(name, True), types, self._find, setup, edges_per_thread=64)

    def _find(self, positions, cell):
        self.lists += 1
        return self._candidates.find(positions, cell)

    def __call__(self, positions, cell, threads=2):
        """Energy (eV) and forces (eV/Å) of positions and cell in Å."""
        energy, forces = self.follow(positions * LENGTH, None if cell is None else cell * LENGTH, threads)
        return energy / ENERGY, forces * LENGTH / ENERGY


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("periodic", [True, False])
def test_steps_give_what_the_model_gives(name, periodic):
    positions, types, cell = structure(60, side=9.0, periodic=periodic)
    follow, step = Follower(name, types, periodic, cell), NEQUIP.step(name)
    rng = np.random.default_rng(4)
    limit = ROUNDING[NEQUIP.dtype(name)]
    for _ in range(12):
        positions = positions + rng.normal(0, 0.06, positions.shape)
        energy, forces = follow(positions, cell if periodic else None)
        expected = step(positions, types, *edges_of(positions, cell, periodic), cell, 1)
        scale = max(1.0, np.abs(expected[1]).max())
        assert abs(energy - expected[0].sum()) < limit * scale * len(types)
        assert np.abs(forces - expected[1]).max() < limit * scale
    assert 1 < follow.lists < 12


def test_forces_are_those_of_the_uncompiled_model():
    positions, types, cell = structure(60, side=9.0)
    name = "l1 parity"
    edges = edges_of(positions, cell)
    expected = eager(NEQUIP.model(name), positions, types, *edges, cell)
    _, forces = Follower(name, types)(positions, cell)
    scale = max(1.0, np.abs(expected[1]).max())
    assert np.abs(forces - expected[1]).max() < FORCE[NEQUIP.dtype(name)] * scale


@pytest.mark.parametrize("name", EVERYTHING)
def test_edges_beside_their_mirror_images_or_anywhere(name):
    """The kernels share the geometry of both directions where they can; the numbers are the same."""
    positions, types, cell = structure(60, side=9.0)
    edge_index, shifts = CandidateList(CUTOFF, 0.0, True).find(positions, cell)
    order = np.random.default_rng(5).permutation(edge_index.shape[1])
    mixed = np.ascontiguousarray(edge_index[:, order]), np.ascontiguousarray(shifts[order])
    paired = NEQUIP.step(name, False)(positions, types, edge_index, shifts, cell, 1)
    anywhere = NEQUIP.step(name, False)(positions, types, *mixed, cell, 1)
    limit = EXACT if NEQUIP.dtype(name) == "float64" else ROUNDING["float32"]
    for a, b in zip(paired, anywhere, strict=True):
        assert np.abs(a - b).max() < limit * max(1.0, np.abs(b).max())


def test_the_list_is_made_anew_exactly_when_it_must_be():
    positions, types, cell = structure(60, side=9.0)
    follow = Follower("l1", types)
    follow(positions, cell)
    for distance, lists in ((0.49 * SKIN, 1), (-0.49 * SKIN, 1), (0.51 * SKIN, 2)):
        moved = positions.copy()
        moved[7, 1] += distance
        follow(moved, cell)
        assert follow.lists == lists
    follow(moved, cell * (1 + 1e-9))
    assert follow.lists == 3, "the cell has changed"


def test_a_small_molecule_needs_one_list():
    positions, types, cell = structure(20, periodic=False)
    follow = Follower("l1", types, False, cell)
    assert math.isinf(CandidateList(CUTOFF, SKIN, False).reach(20))
    for factor in (1.0, 1.3, 50.0):
        follow(positions * factor, None)
    assert follow.lists == 1


def test_two_trajectories_do_not_disturb_each_other():
    positions, types, cell = structure(60, side=9.0)
    first, second = Follower("l1", types), Follower("l1", types[::-1].copy())
    alone = first(positions, cell)
    second(positions[::-1].copy() + 0.01, cell)
    again = first(positions, cell)
    assert alone[0] == again[0] and np.array_equal(alone[1], again[1])
    assert first.lists == second.lists == 1


def test_answers_are_the_callers_own():
    positions, types, cell = structure(60, side=9.0)
    follow = Follower("l1", types)
    energy, forces = follow.follow(positions * LENGTH, cell * LENGTH, 1)
    kept = forces.copy()
    forces[:] = 7.0
    _, other = follow.follow(positions * LENGTH, cell * LENGTH, 1)
    assert np.array_equal(other, kept) and other is not forces


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_said_and_forgotten(value):
    positions, types, cell = structure(60, side=9.0)
    follow = Follower("l1", types)
    expected = follow(positions, cell)
    bad = positions.copy()
    bad[3, 2] = value
    with pytest.raises(NonFiniteError, match="positions") as caught:
        follow(bad, cell)
    assert caught.value.indices == (3,) and caught.value.n_atoms == 60 and caught.value.what == "positions"
    fresh = Follower("l1", types)
    with pytest.raises(NonFiniteError, match="positions"):
        fresh(bad, cell)
    assert fresh.lists == 0
    on_top = positions.copy()
    on_top[5] = on_top[6]
    with pytest.raises(NonFiniteError, match="energy or forces"):
        follow(on_top, cell)
    found = follow(positions, cell)
    assert abs(found[0] - expected[0]) < ROUNDING["float32"] * len(types)


@pytest.mark.parametrize(
    ("positions", "box", "message"),
    [
        (np.zeros((59, 3)), np.eye(3), r"shape \(59, 3\), expected \(60, 3\)"),
        (np.zeros(180), np.eye(3), r"shape \(180,\), expected \(60, 3\)"),
        (np.zeros((60, 3)), np.eye(2), r"box of shape \(2, 2\), expected \(3, 3\)"),
        (np.zeros((60, 3)), None, r"box of shape \(\), expected \(3, 3\)"),
    ],
)
def test_other_shapes_are_refused(positions, box, message):
    follow = Follower("l1", np.zeros(60, dtype=np.int64))
    with pytest.raises(ValueError, match=message):
        follow.follow(positions, box, 1)
