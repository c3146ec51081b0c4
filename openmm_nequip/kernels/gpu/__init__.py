"""Fused NequIP models on GPUs: kernels in OpenMM's common dialect, for CUDA, HIP and OpenCL.

They are compiled by OpenMM, and launched by the force in :mod:`openmm_nequip.forces.native`. The path of a step::

    gather, place_caps -> sort_into_cells, find (only where a new list is needed) -> geometry
      -> forward_0 ... forward_L -> backward_L ... backward_0 -> give

One warp (or several) takes an atom, 32 channels in its lanes; sums over edges are kept in registers; gradients of
edges are written where they arise and read at the mirror image of an edge, so that no result depends on the order of
threads.

:data:`GPU` is the row that the rest of the package uses.
"""

from __future__ import annotations

from ..backend import CodeTarget, Generated
from ..program import Program
from ..tables import Table
from .gpu_generate import generate_gpu


def _target() -> str:
    return "OpenMM's common dialect"


def _build(program: Program, tables: list[Table] | None) -> Generated:
    return generate_gpu(program, tables)


#: Fused models on OpenMM's platforms of GPUs.
GPU = CodeTarget("gpu", _target, _build)
