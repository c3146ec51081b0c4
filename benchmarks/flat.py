"""Time of an MD step per atom against the size of a box of water, sizes in turn in one process.

    python benchmarks/flat.py --model FOLDER/water.nequip.zip [--sizes 192 768 3072 12288] [--rounds 9]

``--model`` is what ``water_model.py`` writes. Every sample is at least as many steps as a neighbour list lives.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from openmmml import MLPotential
from timing import environment
from tqdm.auto import tqdm

from openmm_nequip.app.bench.bench_systems import build_system
from openmm_nequip.app.bench.runners import MDRunner

#: A list of default skin is made anew about every 23 steps of 0.5 fs.
FEWEST_STEPS = 48
#: Atoms times steps of a sample, at least.
SAMPLE = 60_000


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[192, 768, 3072, 12288])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    runners: dict[int, MDRunner] = {}
    potential = MLPotential("nequip", modelPath=arguments.model)
    for size in arguments.sizes:
        bench = build_system(["H", "O"], size)
        system = potential.createSystem(bench.topology, kernels="fused")
        runners[bench.n_atoms] = MDRunner(bench, system, "CPU", arguments.threads)
        runners[bench.n_atoms].advance(5)
    times: dict[int, list[float]] = {size: [] for size in runners}
    for _ in tqdm(range(arguments.rounds), desc="timing", leave=False, disable=None):
        for size, runner in runners.items():
            count = max(FEWEST_STEPS, SAMPLE // size)
            start = time.perf_counter()
            runner.advance(count)
            times[size].append((time.perf_counter() - start) / count / size * 1e6)
    first = np.array(times[min(times)])
    print(f"{'atoms':>8s}   us an atom and step   ratio to {min(times)} atoms")
    for size, values in times.items():
        ratio = np.median(np.array(values) / first)
        print(f"{size:8d}   {np.median(values):19.2f}   {ratio:.3f}")
    print(environment())


if __name__ == "__main__":
    main()
