"""The kernels for GPUs without one: their CUDA text by an emulator, with real barriers and threads in any order."""

import sys
from pathlib import Path

import numpy as np
import pytest
from nequip_models import CUTOFF, eager, structure

from openmm_nequip.graph.neighbors import NeighborList

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
from gpu_barriers import emulator_of, fused_of, model_of, remove_each  # noqa: E402
from gpu_steps import Atoms, GpuStep  # noqa: E402

sys.path.remove(BENCHMARKS)

pytestmark = pytest.mark.slow

#: eV and eV/Å: tables, and OpenMM's buffer of forces, which counts in 2^-32.
ENERGY, FORCE = 1e-8, 1e-8
#: By warps an atom, a model of gpu_barriers.py: several warps have one with more channels than lanes.
MODEL = {1: "plain", 4: "wide"}


def step_of(warps, atoms, **more):
    name = MODEL[warps]
    return GpuStep(emulator_of(name, warps), fused_of(name, warps), atoms, "double", **more)


def expected(positions, types, cell, regions=None, warps=1):
    box = np.eye(3) * 100.0 if cell is None else cell
    edges, shifts = NeighborList(CUTOFF, 0.0, cell is not None)(positions, box)
    if regions is not None:
        kept = regions[edges[0]] == regions[edges[1]]
        edges, shifts = edges[:, kept], shifts[kept]
    energies, forces, _ = eager(model_of(MODEL[warps]), positions, types, edges, shifts, box)
    return energies.sum(), forces


def assert_same(found, wanted):
    assert found[0] == pytest.approx(wanted[0], abs=ENERGY * len(wanted[1]))
    assert np.abs(found[1] - wanted[1]).max() < FORCE


@pytest.mark.parametrize("warps", [1, 4])
def test_the_order_of_threads_changes_nothing(warps):
    """Bit for bit: energies and forces of a skewed box narrower than the cutoff and skin, atoms in images of it."""
    positions, types, cell = structure(14, side=5.0)
    scattered = positions + np.random.default_rng(1).integers(-2, 3, positions.shape) @ cell
    found = []
    for seed in (1, 77, 4000):
        emulator_of(MODEL[warps], warps).seed = seed
        found.append(step_of(warps, Atoms(scattered, types, cell), slots=80, seed=3).run())
    assert_same(found[0], expected(positions, types, cell, warps=warps))
    assert all(energy == found[0][0] and np.array_equal(forces, found[0][1]) for energy, forces in found[1:])


def test_cells_regions_and_open_space():
    """A box of several cells each way, two regions in it, and the same atoms without a box; fewer groups than atoms."""
    positions, types, cell = structure(40, side=14.5)
    regions = np.arange(40) % 2
    assert_same(step_of(1, Atoms(positions, types, cell), groups=3).run(), expected(positions, types, cell))
    found = step_of(1, Atoms(positions, types, cell, regions)).run()
    assert_same(found, expected(positions, types, cell, regions))
    assert_same(step_of(1, Atoms(positions, types, None)).run(), expected(positions, types, None))


def test_buffers_that_overflow_three_times():
    """No edge is dropped: the step is repeated once with room enough, whatever the order of threads was."""
    positions, types, cell = structure(14, side=5.0)
    step = step_of(1, Atoms(positions, types, cell), slots=8)
    for times, scale in enumerate((1.0, 0.9, 0.8), 1):
        step.set_box(cell * scale)
        step.move(positions * scale)
        assert_same(step.run(), expected(positions * scale, types, cell * scale))
        assert step.overflows == times  # the first repeat has room for the atom with most neighbours
    assert step.edges[0] > step.edges[1]


def test_a_list_holds_until_an_atom_has_moved_half_the_skin():
    positions, types, cell = structure(40, side=14.5)
    step = step_of(1, Atoms(positions, types, cell), skin=0.6)
    rng = np.random.default_rng(2)
    lists = []
    for _ in range(6):
        assert_same(step.run(), expected(positions, types, cell))
        lists.append(step.lists)
        positions = positions + rng.uniform(-0.09, 0.09, positions.shape)
        step.move(positions + rng.integers(-1, 2, positions.shape) @ cell)  # OpenMM moves atoms to other images
    assert 1 < lists[-1] < len(lists)


def test_link_caps_hand_their_force_on():
    """Central differences of the energy, by the atoms on both sides of a cut bond."""
    positions, types, cell = structure(12, side=9.0)
    caps = {"cap_q": np.array([3, 3]), "cap_m": np.array([10, 11]), "cap_distance": np.array([1.1, 0.95])}
    types = types[:12]  # ten atoms and two caps

    def run(at):
        step = step_of(1, Atoms(at, types, cell, **caps))
        return step.run()

    _, forces = run(positions)
    size = 1e-4
    for site, axis in ((3, 0), (10, 1), (11, 2), (5, 0)):
        ends = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[site, axis] += sign * size
            ends.append(run(moved)[0])
        assert -(ends[0] - ends[1]) / (2 * size) == pytest.approx(forces[site, axis], abs=1e-6)
    assert np.abs(forces.sum(0)).max() < FORCE * 12 and np.abs(forces[10:]).max() > 1e-3


def test_exact_networks_and_what_is_told_beside_a_step():
    """Radial networks evaluated, cutoffs by direction, repulsion; also atomic energies and the virial."""
    name = "exact, by direction"
    positions, types, cell = structure(14, side=5.0)
    edges, shifts = NeighborList(CUTOFF, 0.0, True)(positions, cell)
    energies, forces, virial = eager(model_of(name), positions, types, edges, shifts, cell)
    made = fused_of(name, 1)
    step = GpuStep(emulator_of(name, 1), made, Atoms(positions, types, cell), "double", slots=80)
    assert_same(step.run(), (energies.sum(), forces))
    atomic, on_nodes, told = step.tell()
    shifts_of = made.constants[step.facts.n_types**2 + step.facts.n_types :][types]
    scale = max(1.0, np.abs(virial).max())
    assert np.abs(atomic + shifts_of - energies.ravel()).max() < ENERGY
    assert np.abs(on_nodes - forces).max() < FORCE
    assert np.abs(told - virial.reshape(3, 3)[np.tril_indices(3)]).max() < FORCE * scale


@pytest.mark.parametrize("warps", [1, 4])
def test_barriers_that_are_missing_are_noticed(warps):
    """Each taken away in turn shows; with all of them no two threads meet in a group's memory."""
    removed = remove_each(MODEL[warps], warps)
    assert len(removed) >= 19 and all(one.shown for one in removed)
