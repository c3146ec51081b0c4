"""Threads of the fused kernels: as many as were asked for, the same numbers, asleep when idle, gone with the model."""

import gc
import multiprocessing
import os
import shutil
import sys
import time

import numpy as np
import pytest
from nequip_models import structure
from test_kernels import dtype_of, edges_of, libraries, open_step
from test_kernels_stepper import ROUNDING

from openmm_nequip.cxx import find_compiler
from openmm_nequip.kernels.cpu.library import Step, open_library

#: Seconds of one core that threads may take in a second in which nobody asks for anything.
IDLE = 0.1
#: Seconds in which an idle thread certainly sleeps.
SETTLED = 0.2

linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")


def count_threads():
    return len(os.listdir("/proc/self/task"))


def arguments():
    positions, types, cell = structure(60, side=9.0)
    return positions, types, *edges_of(positions, cell), cell


@pytest.mark.parametrize("name", [pytest.param("l1", marks=pytest.mark.slow), "l2 everything"])
def test_any_number_of_threads_gives_the_same(name):
    """More of them than cores and than atoms too, in any order, one step right after another."""
    inputs, step = arguments(), open_step(name)
    expected = [array.copy() for array in step(*inputs, 1)]
    limit = ROUNDING[dtype_of(name)] * max(1.0, np.abs(expected[1]).max())
    for threads in (2, 7, 1, 3, 80, 2, *range(1, 9)):
        for _ in range(10):
            found = step(*inputs, threads)
            for a, b in zip(found, expected, strict=True):
                assert np.abs(a - b).max() < limit * (len(inputs[0]) if a.shape == (3, 3) else 1)


@pytest.mark.parametrize("name", ["l1", "l2 everything"])
def test_borrowed_threads_give_the_same(name):
    """Those of OpenMP, for calls from torch's operators; in turn with own ones."""
    inputs, step = arguments(), open_step(name)
    for threads in (1, 2, 5):
        expected = [array.copy() for array in step(*inputs, threads)]
        assert all(np.array_equal(a, b) for a, b in zip(step(*inputs, -threads), expected, strict=True))


@pytest.mark.slow
def test_a_compiler_without_openmp(tmp_path, monkeypatch):
    """What would be borrowed is then the kernels' own."""
    script, real = tmp_path / "compiler", shutil.which(find_compiler()[0])
    script.write_text(f'#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    made, _ = libraries("l1", True)
    inputs, expected = arguments(), open_step("l1")(*arguments(), 2)
    found = Step(open_library(made, tmp_path))(*inputs, -2)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@linux
def test_threads_come_when_needed_and_go_with_the_model():
    gc.collect()  # the threads of models that others have left
    inputs, before = arguments(), count_threads()
    step = open_step("l1")
    step(*inputs, 1)
    assert count_threads() == before
    step(*inputs, 3)
    step(*inputs, 2)
    assert count_threads() == before + 2
    del step
    assert count_threads() == before


def test_idle_threads_sleep():
    """They do not take the cores of whoever computes between two steps."""
    inputs, step = arguments(), open_step("l1")
    step(*inputs, 4)
    time.sleep(SETTLED)
    start = time.process_time()
    time.sleep(1.0)
    assert time.process_time() - start < IDLE
    assert np.isfinite(step(*inputs, 4)[1]).all()  # and they wake up again


def evaluate_in_child(step, inputs, pipe):
    pipe.send([array.copy() for array in step(*inputs, 3)])


@linux
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    inputs, step = arguments(), open_step("l1")
    expected = [array.copy() for array in step(*inputs, 3)]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=evaluate_in_child, args=(step, inputs, theirs))
    child.start()
    assert ours.poll(60), "the child waits for threads that it does not have"
    assert all(np.array_equal(a, b) for a, b in zip(ours.recv(), expected, strict=True))
    child.join(60)
    assert child.exitcode == 0
    assert all(np.array_equal(a, b) for a, b in zip(step(*inputs, 3), expected, strict=True))
