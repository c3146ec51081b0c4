"""Fused kernels of this checkout and of another one over the models of kernels.py, interleaved in one process.

    python benchmarks/kernels_against_checkout.py CHECKOUT [--cells study l1-plain-32 ...] [--sizes 22 96 768]

Both generate and compile their own code from the same model. One thread, timed by its own clock, so that others on the
machine disturb little. The ratio is the median over all rounds; below 1 this checkout is faster. Beside it stands the
largest difference between the forces, in eV/Å; 0 is equality bit for bit.
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
from kernels import ALLEGRO, CELLS, make, water
from timing import interleaved

BLOCK_MS = 20.0


def other_step(model):
    """The fused step of the other checkout, which is of the time before there were backends."""
    build = importlib.import_module(f"{OTHER}.kernels.build")
    library = importlib.import_module(f"{OTHER}.kernels.library")
    made = importlib.import_module(f"{OTHER}.kernels.fuse").fuse(model, True, build.vector_bytes())
    place = importlib.import_module(f"{OTHER}.models.fused").build_library(made.source)
    return library.Step(library.Library(place, made.weights, made.constants))


def own_step(model):
    """The fused step of this checkout."""
    from openmm_nequip.kernels.cpu.library import Step
    from openmm_nequip.kernels.fuse import fuse
    from openmm_nequip.models.fused import open_kernels

    return Step(open_kernels(fuse(model, True)))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--cells", nargs="+", default=[cell for cell in CELLS if not cell.startswith(ALLEGRO)])
    parser.add_argument("--sizes", type=int, nargs="+", default=[22, 96, 768])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    from openmm_nequip.upstream.nequip_state import default_dtype

    import_other(arguments.checkout.resolve())
    print("| model | atoms | this, ms | other, ms | ratio | difference, eV/Å |\n|---|---|---|---|---|---|", flush=True)
    ratios = []
    for cell in arguments.cells:
        model = make(cell, "float32")
        with default_dtype(torch.float64):
            steps = {"this": own_step(model), "other": other_step(model)}
        for size in arguments.sizes:
            inputs = [tensor.numpy() for tensor in water(size, pairwise=True)]
            calls = {name: partial(step, *inputs, 1, True) for name, step in steps.items()}
            forces = [step(*inputs, 1)[1] for step in steps.values()]
            times = interleaved(calls, arguments.rounds, 2, BLOCK_MS, time.thread_time)
            ratio = float(np.median(times["this"] / times["other"]))
            ratios.append(ratio)
            own, foreign = (np.median(times[name]) for name in ("this", "other"))
            off = np.abs(forces[0] - forces[1]).max()
            print(f"| {cell} | {size} | {own:.3f} | {foreign:.3f} | {ratio:.3f} | {off:.1g} |", flush=True)
    print(f"median {np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
