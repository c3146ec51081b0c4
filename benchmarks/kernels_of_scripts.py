"""Fused kernels of TorchScript files against the script that lies in the file, interleaved in one process.

    python benchmarks/kernels_of_scripts.py FILE ... [--sizes 22 96 768] [--rounds 7]

Water at its density, types O and H of the model, one thread. The script gets the edges within its cutoff, the kernels
those in the order in which a simulation gives them, with a kept list. Times are those of the thread's own clock, so
that others on the machine disturb little; the ratio is the median over all rounds.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from kernels import water
from timing import interleaved

BLOCK_MS = 20.0


def steps_of(path: Path):
    """The script, and the fused steps with tables and with exact radial functions."""
    from openmm_nequip import load_model
    from openmm_nequip.kernels.cpu.library import Step
    from openmm_nequip.kernels.fuse import fuse
    from openmm_nequip.models import locate
    from openmm_nequip.models.formats.torchscript import load_to_fuse
    from openmm_nequip.models.fused import open_kernels
    from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

    with preserved_global_state(), default_dtype(torch.float64):
        module, _ = load_to_fuse(locate(path))
        steps = [Step(open_kernels(fuse(module, tables))) for tables in (True, False)]
    return load_model(path, kernels="none"), *steps


def main() -> None:
    """Measure and print a table."""
    from openmm_nequip.graph.neighbors import NeighborList

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[22, 96, 768])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("file", "atoms", "script, ms", "fused, ms", "ratio", "exact radial", "difference, eV/Å")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for path in arguments.files:
        script, tabled, exact = steps_of(path)
        names = script.info.type_names
        for size in arguments.sizes:
            positions, types, _, _, cell = (tensor.numpy() for tensor in water(size))
            types = np.array([names.index("H"), names.index("O")])[types]
            found = {}
            for pairwise in (False, True):
                edges = NeighborList(script.info.cutoff, 0.0, size > 24, pairwise=pairwise)(positions, cell)
                found[pairwise] = positions, types, *edges, cell
            graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in found[False]]
            off = np.abs(script(*graph)["forces"].numpy() - tabled(*found[True], 1)[1]).max()
            exact(*found[True], 1)
            calls = {"script": partial(script, *graph)}
            calls |= {"fused": partial(tabled, *found[True], 1, True), "exact": partial(exact, *found[True], 1, True)}
            times = interleaved(calls, arguments.rounds, 3, BLOCK_MS, time.thread_time)
            medians = {name: np.median(values) for name, values in times.items()}
            ratios = [np.median(times["script"] / times[name]) for name in ("fused", "exact")]
            print(
                f"| {path.name} | {size} | {medians['script']:.3g} | {medians['fused']:.3g} | **{ratios[0]:.1f}** | "
                f"{ratios[1]:.1f} | {off:.1g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
