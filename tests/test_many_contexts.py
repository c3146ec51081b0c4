"""Copies, Contexts, threads and forks of one System: the same numbers, and nothing that grows with their count."""

import copy
import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import openmm
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from toy import lattice, make_topology, write_toy

from openmm_nequip.forces.computation import Computation
from openmm_nequip.forces.pool import NEAR_NM, EvaluatorPool

#: kJ/mol between evaluations of the same positions with another list or number of threads, of some hundred kJ/mol.
ENERGY = 1e-7
COPIES = 500
#: MB that 500 copies may take, beside what the allocator keeps of them.
GROWTH_MB = 6.0

POSITIONS, BOX = lattice(4, 0.3)
SYMBOLS = ["H", "C", "N", "O"] * 16


@pytest.fixture(scope="module", params=["fused", "torchscript"])
def system(request, tmp_path_factory):
    if request.param == "fused":
        path, options = DATA / "tiny-nequip.nequip.zip", {"kernels": "fused"}
    else:
        path, options = write_toy(tmp_path_factory.mktemp("toy") / "toy.nequip.pth"), {}
    potential = MLPotential("nequip", modelPath=str(path), backend="PythonForce", **options)
    return potential.createSystem(make_topology(SYMBOLS, BOX))


def make_context(system):
    context = openmm.Context(system, openmm.VerletIntegrator(5e-4), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(POSITIONS)
    return context


def energy(context):
    return context.getState(getEnergy=True).getPotentialEnergy()._value


def facts():
    """Resident memory in MB, threads and open descriptors."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return float(lines["VmRSS"].split()[0]) / 1024, int(lines["Threads"]), len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: openmm.XmlSerializer.deserialize(
    openmm.XmlSerializer.serialize(s))], ids=["deepcopy", "XML"])  # fmt: skip
def test_copies_leave_nothing(system, copied):
    expected = energy(make_context(system))
    for _ in range(20):
        energy(make_context(copied(system)))
    gc.collect()
    memory, threads, descriptors = facts()
    for _ in range(COPIES):
        assert energy(make_context(copied(system))) == pytest.approx(expected, abs=ENERGY)
    gc.collect()
    after = facts()
    assert after[0] < memory + GROWTH_MB and after[1] <= threads and after[2] <= descriptors


@pytest.mark.slow
def test_four_contexts_in_turn_and_at_once(system):
    """Trajectories that part, stepped in turn, and each alone: the same."""
    velocities = [np.random.default_rng(seed).normal(size=POSITIONS.shape) * 0.8 for seed in range(4)]

    def start(velocity):
        context = make_context(system)
        context.setVelocities(velocity)
        return context

    def run(context):
        energies = []
        for _ in range(10):
            context.getIntegrator().step(10)
            energies.append(energy(context))
        return energies

    alone = [run(start(velocity)) for velocity in velocities]
    contexts = [start(velocity) for velocity in velocities]
    turns = [[] for _ in contexts]
    for _ in range(10):
        for _ in range(10):
            for context in contexts:
                context.getIntegrator().step(1)
        for each, context in zip(turns, contexts, strict=True):
            each.append(energy(context))
    with ThreadPoolExecutor(2) as pool:
        at_once = list(pool.map(run, [start(velocity) for velocity in velocities]))
    assert np.ptp([each[-1] for each in alone]) > 1e-3, "the trajectories differ"
    np.testing.assert_allclose(turns, alone, atol=1e-4, rtol=0)
    np.testing.assert_allclose(at_once, alone, atol=1e-4, rtol=0)


class Counted:
    """An evaluator that counts the lists it had to make: one for each jump of its atoms."""

    made = 0

    def __init__(self):
        self.reference, self.lists = None, 0
        type(self).made += 1

    def __call__(self, positions, box):
        if self.reference is None or np.abs(positions - self.reference).max() > 0.035:
            self.reference, self.lists = positions.copy(), self.lists + 1
        return float(positions.sum()), np.zeros_like(positions)


def test_contexts_that_take_turns_keep_a_list_each():
    Counted.made = 0
    pool = EvaluatorPool(Counted)
    walks = [np.random.default_rng(k).normal(size=(50, 3)) for k in range(4)]
    for _ in range(200):
        for walk in walks:
            walk += 1e-5
            assert pool(walk, None)[0] == walk.sum()
    assert len(pool) == 4 == Counted.made


def test_a_jump_opens_nothing():
    """A minimisation, frames of a trajectory, a new start: one Context, one evaluator."""
    pool = EvaluatorPool(Counted)
    draw = np.random.default_rng(3)
    for _ in range(50):
        pool(draw.normal(size=(50, 3)), None)
    place = np.zeros((50, 3))
    for _ in range(50):
        place = place + 10 * NEAR_NM
        pool(place, None)
    assert len(pool) == 1


def test_the_number_of_evaluators_is_bounded():
    pool = EvaluatorPool(Counted)
    walks = [np.full((50, 3), float(k)) for k in range(40)]
    for _ in range(20):
        for walk in walks[:8]:
            pool(walk, None)
    assert 2 <= len(pool) <= 8
    large = EvaluatorPool(Counted)
    for _ in range(20):
        for k in range(5):
            large(np.full((30_000, 3), float(k)), None)
    assert len(large) <= 2


def test_calls_at_once_do_not_wait_for_each_other():
    inside, both = [], threading.Event()

    class Waits:
        def __call__(self, positions, box):
            inside.append(1)
            if len(inside) == 2:
                both.set()
            assert both.wait(10), "the second call waited for the first"
            return 0.0, positions

    pool = EvaluatorPool(Waits)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda k: pool(np.full((3, 3), float(k)), None), range(2)))
    assert len(pool) == 2


def test_equal_content_is_one_function(system):
    """Whatever the number of copies, and the original among them."""
    import pickle

    texts = {openmm.XmlSerializer.serialize(system) for _ in range(2)}
    assert len(texts) == 1
    before = [each for each in gc.get_objects() if isinstance(each, Computation)]
    copies = [copy.deepcopy(system) for _ in range(5)]
    after = [each for each in gc.get_objects() if isinstance(each, Computation)]
    assert len(after) == len(before) and len(copies) == 5
    one = before[0]
    assert pickle.loads(pickle.dumps(one)) is one


def child(text, positions):
    system = openmm.XmlSerializer.deserialize(text)
    context = openmm.Context(system, openmm.VerletIntegrator(5e-4), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return energy(context)


def test_a_fork_gives_the_same_number(system):
    """The threads of the parent stay behind; the child makes its own."""
    if not isinstance(system.getForce(0), openmm.PythonForce):
        pytest.skip("no PythonForce")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # forking with OpenMP's threads is undefined for torch itself
    try:
        expected = energy(make_context(system))
        text = openmm.XmlSerializer.serialize(system)
        process = get_context("fork").Pool(2)
        with process as pool:
            found = [each.get(timeout=120) for each in
                     [pool.apply_async(child, (text, POSITIONS)) for _ in range(4)]]  # fmt: skip
    finally:
        torch.set_num_threads(before)
    assert found == pytest.approx([expected] * 4, abs=ENERGY)


@pytest.mark.slow
def test_idle_threads_end_and_come_back():
    """In a process of its own, where nothing else has threads that come and go."""
    program = (
        "import os, time, torch, numpy as np, warnings; warnings.simplefilter('ignore')\n"
        "from openmm_nequip import load_model\n"
        f"model = load_model({str(DATA / 'tiny-nequip.nequip.zip')!r}, kernels='fused')\n"
        "from openmm_nequip.models.compiling.example import example_graph\n"
        "data = example_graph(4, 4.0)\n"
        "names = ('pos', 'atom_types', 'edge_index', 'edge_cell_shift')\n"
        "call = lambda: float(model(*[data[n] for n in names], data['cell'][0])['energy'])\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "torch.set_num_threads(1); expected = call(); idle = count()\n"
        "torch.set_num_threads(4); found = [call() for _ in range(3)]; busy = count()\n"
        "time.sleep(7); after = count(); again = [call() for _ in range(50)]; back = count()\n"
        "assert np.ptp(found + again + [expected]) < 1e-9, (expected, found, again)\n"
        "print(busy - idle, after - idle, back - idle)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    started, left, back = map(int, done.stdout.split())
    assert started > 0 and left == 0 and back == started


def test_a_step_after_idle_time_is_not_lost(system):
    """More runs than threads come and go."""
    context = make_context(system)
    expected = energy(context)
    for pause in (0.0, 0.002, 0.01):
        time.sleep(pause)
        context.setPositions(POSITIONS)
        assert energy(context) == pytest.approx(expected, abs=ENERGY)
