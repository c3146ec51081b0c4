"""A long run: does a step become slower, does memory grow?

    python benchmarks/steady.py [--model FILE] [--size 22] [--steps 100000] [--parts 10]

Langevin dynamics at 300 K with steps of 0.5 fs; for each part of the run the time of a step, the processor time of a
step and the memory of the process. The shipped model by default.
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import as_file, files
from pathlib import Path

import torch
from openmmml import MLPotential
from timing import environment
from tqdm.auto import tqdm

from openmm_nequip import load_model
from openmm_nequip.app.bench.bench_systems import build_system
from openmm_nequip.app.bench.runners import MDRunner


def resident_mib() -> float:
    """Memory of this process in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--size", type=int, default=22)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with as_file(files("openmm_nequip.data") / "alanine-dipeptide.nequip.zip") as shipped:
        path = arguments.model or str(shipped)
        bench = build_system(load_model(path, compile=False).info.type_names, arguments.size)
        system = MLPotential("nequip", modelPath=path).createSystem(bench.topology)
        runner = MDRunner(bench, system, "CPU", arguments.threads)
        runner.advance(100)
    count = arguments.steps // arguments.parts
    print(f"{bench.n_atoms} atoms, {arguments.parts} parts of {count} steps")
    print("    ms a step   CPU ms a step   memory, MiB")
    for _ in tqdm(range(arguments.parts), leave=False, disable=None):
        start, cpu = time.perf_counter(), time.process_time()
        runner.advance(count)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"{1e3 * wall / count:13.4f}{1e3 * cpu / count:16.4f}{resident_mib():14.1f}", flush=True)
        if runner.is_lost():
            raise SystemExit("the trajectory has left what the model knows: hotter than 1000 K")
    print(environment())


if __name__ == "__main__":
    main()
