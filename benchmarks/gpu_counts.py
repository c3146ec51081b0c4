"""What a step of the native force costs by its machine code, for cards that are not here: ``gpu-counts.md``.

    python benchmarks/gpu_counts.py [NAME ...]

Every kernel of the grid of models goes through NVRTC with OpenMM's options, for each architecture, and through ptxas:
it compiles, and registers, spills and the instructions of the loops over edges are counted. Needs an environment with a
CUDA build of torch (its wheels bring the compilers); no GPU.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from gpu_compilers import KernelUse, Nvrtc, find_tool, look_at
from gpu_dialect import cuda_text, kernels_in
from gpu_models import MODELS, kernels_of
from tqdm.auto import tqdm

from openmm_nequip.kernels.gpu.gpu_generate import KernelFacts

ARCHITECTURES = (75, 80, 90, 100)
#: The one whose machine code is read.
READ = 90
OUTPUT = Path(__file__).parent / "gpu-counts.md"
#: Kernels of link caps, and of what is asked for beside steps.
NOT_IN_A_STEP = {"place_caps", "tell"}
#: Warps an atom that are looked at, besides one, for the first model.
MORE_WARPS = (4, 8)


def table_numbers(source: str) -> int:
    """Numbers of the radial tables that an edge reads, summed over layers."""
    strides = re.findall(r"KERNEL void forward_\d+.*?place\*(\d+)", source, re.S)
    return sum(map(int, strides))


def traffic(source: str) -> dict[str, int]:
    """Bytes that a step reads and writes: for each edge within the cutoff, and for each atom.

    Parameters
    ----------
    source : str
        A model's kernels.

    Returns
    -------
    dict of str to int
        ``edge``: rows of features forward and of gradients backward, the table twice. ``atom``: rows written and read
        once more.
    """
    facts = KernelFacts.of(source)
    size = np.dtype(facts.dtype).itemsize
    rows = sum(facts.inputs[1:]) + sum(facts.middle)
    return {
        "edge": size * (rows + 2 * table_numbers(source)),
        "atom": size * (2 * sum(facts.inputs) + 4 * sum(facts.gate) + 2 * sum(facts.middle)),
    }


def launches(source: str) -> int:
    """Kernels of a step without caps."""
    return len(kernels_in(source).keys() - NOT_IN_A_STEP)


def reads_of_edges(source: str) -> dict[str, list[int]]:
    """Numbers that a lane reads from memory for an edge, in each loop over edges of each kernel of a layer."""
    found = {}
    for text in source.split("KERNEL void ")[1:]:
        loops = text.split("for (int e = WARP")[1:]
        found[text.partition("(")[0]] = [
            len(re.findall(r"\bt\d+\[|\brow\[", loop.partition("SYNC_WARP")[0])) for loop in loops
        ]
    return {name: reads for name, reads in found.items() if reads}


def instructions(uses: dict[str, KernelUse], source: str, kind: str) -> int | None:
    """Machine instructions for an edge, summed over the kernels of one kind; None where a loop is not found.

    The loops over edges come first among a kernel's loops with the reads of memory that they have, of which the
    compiler leaves out one at most; where it does several edges at once, there are as many times more.
    """
    total = 0.0
    for kernel, reads in reads_of_edges(source).items():
        if not kernel.startswith(kind):
            continue
        left = list(uses[kernel].loops)
        for count in reads:
            fitting = ((at, k) for at, (_, loads) in enumerate(left) for k in (1, 2, 4) if 0 <= k * count - loads <= k)
            at, times = next(fitting, (-1, 1))
            if at < 0:
                return None
            total += left[at][0] / times
            del left[: at + 1]
    return round(total)


def measure(name: str, warps: int, compiler: Nvrtc, folder: Path) -> list[str]:
    """A row of the table.

    Parameters
    ----------
    name : str
        Of :data:`gpu_models.MODELS`.
    warps : int
        Warps an atom.
    compiler : Nvrtc
        The compiler.
    folder : pathlib.Path
        For intermediate files.

    Returns
    -------
    list of str
    """
    source = kernels_of(name, warps).source
    facts = KernelFacts.of(source)
    registers, spilled, shared, counted = [], [], 0, ["?", "?"]
    for architecture in ARCHITECTURES:
        ptx = compiler.ptx(cuda_text(source, "mixed", facts.atoms), architecture)
        uses = look_at(ptx, architecture, folder, loops=architecture == READ)
        registers.append(str(max(use.registers for use in uses.values())))
        spilled.append(str(sum(use.spilled for use in uses.values())))
        if architecture == READ:
            shared = max(use.shared for use in uses.values())
            counted = [str(instructions(uses, source, kind) or "?") for kind in ("forward", "backward")]
    moved = traffic(source)
    return [
        name,
        str(warps),
        str(facts.atoms),
        str(launches(source)),
        " / ".join(registers),
        " / ".join(spilled),
        f"{shared / 1024:.1f}",
        " + ".join(counted),
        f"{moved['edge'] / 1024:.1f}",
        f"{moved['atom'] / 1024:.1f}",
    ]


def main() -> None:
    """Write the table."""
    library = find_tool("libnvrtc.so")
    if library is None or find_tool("ptxas") is None or find_tool("nvdisasm") is None:
        sys.exit("NVRTC, ptxas or nvdisasm is not in this environment; use one with a CUDA build of torch")
    compiler, names = Nvrtc(library), sys.argv[1:] or list(MODELS)
    cases = [(name, 1) for name in names] + [(names[0], warps) for warps in MORE_WARPS]
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, warps in tqdm(cases):  # wide models take minutes: what is there is kept
            rows.append(measure(name, warps, compiler, Path(folder)))
            OUTPUT.write_text(table(rows, compiler.version), encoding="utf-8")


def table(rows: list[list[str]], version: str) -> str:
    """The file's text."""
    head = [
        "model", "warps an atom", "atoms a group", "launches a step",
        f"most registers, sm_{'/'.join(map(str, ARCHITECTURES))}", "bytes spilled", "shared memory, KiB",
        "instructions an edge, forward + backward", "KiB an edge", "KiB an atom",
    ]  # fmt: skip
    lines = [
        "# The native force's kernels, counted",
        "",
        f"Written by `benchmarks/gpu_counts.py` with NVRTC {version} and OpenMM's options "
        "(`--use_fast_math`, mixed precision); no GPU ran them.",
        "Models: l_max, features, layers; random weights but for the shipped one. Instructions: machine code (sm_90)",
        "that a warp runs for an edge within the cutoff, summed over the layers; 32 channels at a time, so wider ones",
        "run their loops once for each 32. KiB: read for an edge, and read and written for an atom, caches left out.",
        "Exact: radial networks are evaluated, not read from tables; the loop over an edge holds others, not counted.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
