"""The kernels for GPUs without one: their CUDA text by an emulator, with real barriers and threads in any order."""

import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from nequip_models import CUTOFF, eager, make_model, structure

from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.kernels.gpu import gpu_target
from openmm_nequip.kernels.gpu.gpu_generate import KernelFacts
from openmm_nequip.upstream.nequip_state import default_dtype

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
from gpu_emulator import Emulator  # noqa: E402
from gpu_steps import Atoms, GpuStep, padded  # noqa: E402

sys.path.remove(BENCHMARKS)

pytestmark = pytest.mark.slow

#: eV and eV/Å: tables, and OpenMM's buffer of forces, which counts in 2^-32.
ENERGY, FORCE = 1e-8, 1e-8
#: Barriers that are seen when they are missing, at least: others stand where, in these sizes, the threads that they
#: hold apart do not touch the same memory.
SEEN = 0.55


@functools.cache
def small_model():
    return make_model(num_features=[6, 4], num_layers=2, noise=0.05)


@functools.cache
def kernels(warps):
    with default_dtype(torch.float64):
        return fuse(small_model(), True, gpu_target(warps))


@functools.cache
def emulator(warps):
    made = kernels(warps)
    folder = Path(tempfile.mkdtemp())
    try:
        return Emulator(made.source, "double", padded(40), KernelFacts.of(made.source).atoms, folder)
    finally:
        shutil.rmtree(folder)  # it is loaded


def step_of(warps, atoms, **more):
    return GpuStep(emulator(warps), kernels(warps), atoms, "double", **more)


def expected(positions, types, cell, regions=None):
    box = np.eye(3) * 100.0 if cell is None else cell
    edges, shifts = NeighborList(CUTOFF, 0.0, cell is not None)(positions, box)
    if regions is not None:
        kept = regions[edges[0]] == regions[edges[1]]
        edges, shifts = edges[:, kept], shifts[kept]
    energies, forces, _ = eager(small_model(), positions, types, edges, shifts, box)
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
        emulator(warps).seed = seed
        found.append(step_of(warps, Atoms(scattered, types, cell), slots=80, seed=3).run())
    assert_same(found[0], expected(positions, types, cell))
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
    """No edge is dropped: the step is repeated with more room."""
    positions, types, cell = structure(14, side=5.0)
    step = step_of(1, Atoms(positions, types, cell), slots=8)
    assert_same(step.run(), expected(positions, types, cell))
    first = step.overflows
    for scale in (0.94, 0.88):
        step.set_box(cell * scale)
        step.move(positions * scale)
        assert_same(step.run(), expected(positions * scale, types, cell * scale))
    assert first >= 1 and step.overflows >= 3 and step.edges[0] > step.edges[1]


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


def in_child(work):
    """What a function answers, True or False, in a process of its own; None where that dies, of a wrong index."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = int(work())
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return bool(os.WEXITSTATUS(status)) if os.WIFEXITED(status) else None


def notices(warps, atoms, whole, number):
    """Whether a step without a barrier is another step: threads meet, results change, or threads wait for ever."""
    machine = emulator(warps)
    machine.skip(number)
    try:
        found = step_of(warps, atoms, groups=3, slots=80).run()
    except RuntimeError:
        return True
    return machine.races() > 0 or abs(found[0] - whole[0]) > ENERGY or not np.abs(found[1] - whole[1]).max() < FORCE


DENSE, WIDE = {"n_atoms": 14, "side": 5.0}, {"n_atoms": 40, "side": 14.5}


@pytest.mark.parametrize(("warps", "boxes"), [(1, (DENSE, WIDE)), (4, (DENSE,))])
def test_barriers_that_are_missing_are_noticed(warps, boxes):
    """Each taken away in turn; with all of them no two threads meet in a group's memory.

    A dense box has several blocks of edges an atom, a wide one several cells.
    """
    machine, seen = emulator(warps), set()
    for box in boxes:
        atoms = Atoms(*structure(**box))
        machine.races()
        whole = step_of(warps, atoms, groups=3, slots=80).run()
        assert machine.races() == 0
        for number in set(range(len(machine.barriers))) - seen:
            if in_child(functools.partial(notices, warps, atoms, whole, number)) is not False:
                seen.add(number)
    assert len(machine.barriers) >= 30 and len(seen) >= SEEN * len(machine.barriers)
    sorting = {k for k, (kernel, _, _) in enumerate(machine.barriers) if kernel == "sort_into_cells"}
    assert len(boxes) == 1 or (len(sorting) == 2 and sorting <= seen)
