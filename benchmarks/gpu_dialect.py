"""OpenMM's common dialect for CUDA, as far as the kernels of the native force use it, and the kernels' arguments.

OpenMM itself puts more before a text (``platforms/cuda``); these are the same names with the same meaning, so that a
text can be compiled where there is no OpenMM context: by NVRTC, by cupy, and by the emulator.
"""

from __future__ import annotations

import re

#: Types of OpenMM's three precisions: ``real`` and ``mixed``.
PRECISIONS = {"single": ("float", "float"), "mixed": ("float", "double"), "double": ("double", "double")}

_MACROS = """
#define KERNEL extern "C" __global__
#define DEVICE __device__
#define LOCAL __shared__
#define LOCAL_ARG
#define GLOBAL
#define RESTRICT __restrict__
#define LOCAL_ID threadIdx.x
#define LOCAL_SIZE blockDim.x
#define GLOBAL_ID (blockIdx.x*blockDim.x + threadIdx.x)
#define GLOBAL_SIZE (blockDim.x*gridDim.x)
#define GROUP_ID blockIdx.x
#define NUM_GROUPS gridDim.x
#define SYNC_THREADS __syncthreads();
#define ATOMIC_ADD(place, value) atomicAdd(place, value)
typedef long long mm_long;
typedef unsigned long long mm_ulong;
"""
_KERNEL = re.compile(r"KERNEL\s+void\s+(\w+)\s*\((.*?)\)\s*\{", re.S)


def defines(precision: str, atoms: int) -> str:
    """What depends on the Context.

    Parameters
    ----------
    precision : str
        OpenMM's ``single``, ``mixed`` or ``double``.
    atoms : int
        Teams of a group, see ``prelude.cc``.

    Returns
    -------
    str
    """
    real, mixed = PRECISIONS[precision]
    lines = [f"typedef {real} real;", f"typedef {real}4 real4;", f"typedef {mixed} mixed;"]
    lines += [f"#define ATOMS {atoms}"]
    lines += ["#define USE_MIXED_PRECISION 1"] * (precision == "mixed")
    return "\n".join(lines) + "\n"


def cuda_text(source: str, precision: str, atoms: int) -> str:
    """A model's kernels as CUDA, complete."""
    return _MACROS + defines(precision, atoms) + source


def kernels_in(source: str) -> dict[str, list[tuple[str, str]]]:
    """Type and name of the arguments of each kernel, by its name."""
    found = {}
    for match in _KERNEL.finditer(source):
        arguments = []
        for text in " ".join(match[2].split()).split(","):
            kind, _, name = text.replace("GLOBAL ", "").replace("RESTRICT ", "").strip().rpartition(" ")
            while name.startswith("*"):
                kind, name = kind + "*", name[1:]
            arguments.append((kind, name))
        found[match[1]] = arguments
    return found
