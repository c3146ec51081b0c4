"""Fused kernels of this checkout and of another one over the models of kernels.py, interleaved in one process.

    python benchmarks/kernels_against_checkout.py CHECKOUT [--cells study l1-plain-32 ...] [--sizes 22 96 768]

Both generate and compile their own code from the same model. One thread, timed by its own clock, so that others on the
machine disturb little. The ratio is the median over all rounds; below 1 this checkout is faster. Beside it stands the
largest difference between the forces, in eV/Å (0 is equality bit for bit), and the share of the measured peak of fused
multiply-adds that this checkout reaches.
"""

from __future__ import annotations

import argparse
import importlib
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from against_checkout import OTHER, import_other
from kernels import ALLEGRO, CELLS, make, node_operations, operations, peak_rate, water
from timing import interleaved

BLOCK_MS = 20.0


def step_of(model, package: str):
    """The fused step of a checkout, imported under the name of a package, and the facts about its tables."""
    fuse = importlib.import_module(f"{package}.kernels.fuse").fuse
    open_kernels = importlib.import_module(f"{package}.models.fused").open_kernels
    made = fuse(model, True)
    return importlib.import_module(f"{package}.kernels.cpu.library").Step(open_kernels(made)), made.facts


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--cells", nargs="+", default=[cell for cell in CELLS if not cell.startswith(ALLEGRO)])
    parser.add_argument("--sizes", type=int, nargs="+", default=[22, 96, 768])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    from openmm_nequip.kernels.read import read_model
    from openmm_nequip.upstream.nequip_state import default_dtype

    import_other(arguments.checkout.resolve())
    peak = peak_rate("float32", 1)
    print(f"peak of one thread: {peak / 1e9:.0f} GFLOP/s")
    print("| model | atoms | this, ms | other, ms | ratio | share of peak, % | difference, eV/Å |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    ratios = []
    for cell in arguments.cells:
        model = make(cell, "float32")
        with default_dtype(torch.float64):
            own, facts = step_of(model, "openmm_nequip")
            steps = {"this": own, "other": step_of(model, OTHER)[0]}
            program = read_model(model)
        per_edge, per_atom = operations(program, facts), node_operations(program)
        for size in arguments.sizes:
            inputs = [tensor.numpy() for tensor in water(size, pairwise=True)]
            calls = {name: partial(step, *inputs, 1, True) for name, step in steps.items()}
            forces = [step(*inputs, 1)[1] for step in steps.values()]
            times = interleaved(calls, arguments.rounds, 2, BLOCK_MS, time.thread_time)
            ratio = float(np.median(times["this"] / times["other"]))
            ratios.append(ratio)
            own, foreign = (np.median(times[name]) for name in ("this", "other"))
            off = np.abs(forces[0] - forces[1]).max()
            share = 100 * (per_edge * inputs[2].shape[1] + per_atom * size) / (own * 1e-3) / peak
            numbers = f"{own:.3f} | {foreign:.3f} | {ratio:.3f} | {share:.0f} | {off:.1g}"
            print(f"| {cell} | {size} | {numbers} |", flush=True)
    print(f"median {np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
