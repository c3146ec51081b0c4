"""The goals of benchmarks/gpu_slot.py: when they count as met, as missed, and as open."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")
sys.path.insert(0, BENCHMARKS)
from gpu_verdicts import SIMPLE_FILE, SIZES, table, verdicts  # noqa: E402

sys.path.remove(BENCHMARKS)

DONE = {"seconds": 1.0, "date": "2026-01-01T00:00:00"}
RIGHT, STEPS, COST, OPENMM_ML, PACKAGE, FOUNDATION = range(6)


def bench(size, own, peer=None, package=None, left_out=()):
    rows = [{"contender": "own force", "role": "openmm-nequip", "backend": "Native", "step": {"median_ms": own}}]
    if peer:
        rows.append({"contender": "openmm-ml 1.4 nequip, CUDA", "role": "peer", "step": {"median_ms": peer}})
    if package:
        step = {"median_ms": package}
        rows.append({"contender": "bare model", "role": "limit", "kernels": "none", "step": step})
    # a box of water has 21 atoms where 22 are asked for
    system = {"wanted_atoms": size, "atoms": size - size % 3, "rows": rows}
    return DONE | {"bench": {"left_out": list(left_out), "systems": [system]}}


def kernels(atoms=96, cost=0.2, right=True):
    row = {"warps": 1, "atoms": atoms, "force_error": 1e-6, "right": right, "us_per_atom": cost, "us_per_step": 1.0}
    return DONE | {"rows": [row]}


def document(parts, device="NVIDIA H100", model=SIMPLE_FILE):
    made = {"parts": parts, "device": device, "torch": "2", "model": model}
    return made | {"verdicts": verdicts(made)}


def met(*arguments, **options):
    return [each["met"] for each in document(*arguments, **options)["verdicts"]]


def test_nothing_is_met_before_it_is_measured():
    assert met({}) == [None] * 6
    failed = {"kernels, 1 warps": DONE | {"error": "RuntimeError: no"}, "openmm, 22 atoms": DONE | {"error": "no"}}
    assert met(failed) == [None] * 6


def test_goals_that_are_met():
    parts = {f"openmm, {size} atoms": bench(size, 0.15, 3.0, 1.5) for size in SIZES}
    parts |= {"kernels, 1 warps": kernels(), "large": DONE | {"atoms": 98_304, "us_per_atom": 0.2}}
    parts |= {"foundation": DONE | {"atoms": 110_592, "force_error": 1e-4, "right": True}}
    assert met(parts) == [True] * 6
    # without a GPU nothing but right forces is shown
    assert met(parts, device="emulator, on a CPU")[STEPS : PACKAGE + 1] == [None] * 4
    del parts["openmm, 3072 atoms"]
    assert met(parts)[STEPS : PACKAGE + 1] == [True, True, True, None]
    del parts["openmm, 192 atoms"]
    assert met(parts)[STEPS] is None


def test_one_size_that_misses_a_goal_is_enough():
    parts = {"openmm, 22 atoms": bench(22, 0.1, 0.9, 0.7), "openmm, 96 atoms": bench(96, 0.3, 3.0, 1.2)}
    parts |= {"kernels, 1 warps": kernels(right=False), "large": DONE | {"atoms": 98_304, "us_per_atom": 0.3}}
    parts |= {"foundation": DONE | {"atoms": 110_592, "force_error": 1.0, "right": False}}
    assert met(parts) == [False] * 6
    assert "22: 9.0 ×" in table(document(parts))


def test_the_cost_of_another_model_is_not_that_of_the_goal():
    """Without the goal's model in OpenMM, that of its kernels counts, and it is said."""
    parts = {"large": DONE | {"atoms": 98_304, "us_per_atom": 0.1}}
    assert met(parts, model="alanine-dipeptide.nequip.zip")[COST] is None
    parts |= {"kernels, 1 warps": kernels(98_304, 0.3), "kernels, 2 warps": kernels(98_304, 0.24)}
    found = document(parts, model="alanine-dipeptide.nequip.zip")["verdicts"][COST]
    assert found["met"] is True and "0.240 µs, kernels alone, NVIDIA H100" in found["found"]


@pytest.mark.parametrize("goal", [OPENMM_ML, PACKAGE])
def test_why_something_was_left_out_is_told(goal):
    why = {"name": "kernels=none on cuda", "reason": "there is no CUDA toolkit"}
    found = document({"openmm, 22 atoms": bench(22, 0.1, left_out=[why])})["verdicts"][goal]
    assert found["met"] is None and "no CUDA toolkit" in found["found"]
