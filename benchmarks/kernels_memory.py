"""Peak memory of one evaluation: fused kernels against nequip's own AOTInductor package, each in a process of its own.

    python benchmarks/kernels_memory.py --output FOLDER [--cell study] [--sizes 768 3072 12288]

FOLDER is that of kernels.py, where the package is. What the process takes before the evaluation is subtracted.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch
from kernels import CELLS, fused_steps, make, water
from timing import environment


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def evaluate(cell: str, path: Path, size: int, mode: str) -> dict[str, float]:
    """One evaluation in this process."""
    graph = water(size)
    positions, types, edges, shifts, box = graph
    if mode == "package":
        torch.set_num_threads(2)
        package = torch._inductor.aoti_load_package(str(path))
        inputs = [positions, edges, types, box.view(1, 3, 3), shifts]
        before = peak_mb()
        package(inputs)
    else:
        step = fused_steps(make(cell, "float32"))[0][mode]
        before = peak_mb()
        step(*[tensor.numpy() for tensor in graph], 2)
    return {"atoms": size, "edges": edges.shape[1], "mode": mode, "mb": peak_mb() - before, "before_mb": before}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cell", choices=list(CELLS), default="study")
    parser.add_argument("--sizes", nargs="+", type=int, default=[768, 3072, 12288])
    parser.add_argument("--modes", nargs="+", default=["fused", "fused, exact radial", "package"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = arguments.output / f"{arguments.cell}-float32.nequip.pt2"
    if arguments.one:
        print(json.dumps(evaluate(arguments.cell, path, arguments.sizes[0], arguments.modes[0])))
        return
    for size in arguments.sizes:
        for mode in arguments.modes:
            command = [sys.executable, __file__, "--output", str(arguments.output), "--cell", arguments.cell, "--one"]
            done = subprocess.run([*command, "--sizes", str(size), "--modes", mode], capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
                print(f"{size:6d} atoms  {mode:22s} did not finish: {reason}", flush=True)
                continue
            row = json.loads(done.stdout.splitlines()[-1])
            print(f"{size:6d} atoms {row['edges']:8d} edges  {mode:22s} {row['mb']:9.0f} MB", flush=True)
    print(environment())


if __name__ == "__main__":
    main()
