"""Fused NequIP models on GPUs: kernels in OpenMM's common dialect, for CUDA, HIP and OpenCL.

They are compiled by OpenMM, and launched by the force in :mod:`openmm_nequip.forces.native`. The path of a step::

    gather, place_caps -> sort_into_cells, find (only where a new list is needed) -> geometry
      -> forward_0 ... forward_L -> backward_L ... backward_0 -> give

One warp (or several) takes an atom, 32 channels in its lanes; sums over edges are kept in registers; gradients of
edges are written where they arise and read at the mirror image of an edge, so that no result depends on the order of
threads.

:func:`gpu_target` gives the row that the rest of the package uses.
"""

from __future__ import annotations

from ..backend import CodeTarget, Generated
from ..program import Program
from ..tables import Table
from .gpu_generate import generate_gpu

#: Warps that keep a large device busy, and of which more than one take an atom where atoms are few.
BUSY_WARPS, MOST_WARPS = 1024, 8


def warps_for(n_atoms: int) -> int:
    """Warps that share an atom of so many: a power of two."""
    warps = 1
    while warps < MOST_WARPS and 2 * warps * n_atoms <= BUSY_WARPS:
        warps *= 2
    return warps


def gpu_target(warps: int = 1) -> CodeTarget:
    """Fused models on OpenMM's platforms of GPUs, with so many warps for an atom."""

    def build(program: Program, tables: list[Table] | None) -> Generated:
        return generate_gpu(program, tables, warps)

    return CodeTarget("gpu", lambda: f"OpenMM's common dialect, {warps} warps an atom", build)


#: The row with one warp for an atom, of which there are many in large systems.
GPU = gpu_target()
