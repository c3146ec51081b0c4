"""OpenCL on a CPU, for tests in a process of their own: pocl as ``tests/pocl.sh`` unpacked it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from openmm_nequip.cache import cache_dir


def pocl_folder() -> Path:
    """Where pocl is: ``OPENMM_NEQUIP_POCL``, or the folder ``pocl`` in the cache folder."""
    return Path(os.environ.get("OPENMM_NEQUIP_POCL") or cache_dir() / "pocl")


def pocl_environment() -> dict[str, str]:
    """Variables with which a new process finds pocl and its loader; its compiled kernels stay in the cache folder."""
    folder = pocl_folder()
    (loader,) = {path.parent for path in folder.glob("usr/lib/*/libOpenCL.so.1")}
    (llvm,) = folder.glob("usr/lib/llvm-*")
    kept = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    return {
        "OCL_ICD_VENDORS": str(folder / "icd"),
        "LD_LIBRARY_PATH": os.pathsep.join([str(loader), str(llvm / "lib"), *kept]),
        "POCL_PATH_CLANG": str(llvm / "bin" / "clang"),
        "POCL_CACHE_DIR": str(cache_dir() / "pocl-kernels"),
        "POCL_DEVICES": "pthread pthread",  # this CPU twice, for what has two devices
    }


needs_pocl = pytest.mark.skipif(
    not (pocl_folder() / "icd" / "pocl.icd").exists() and not os.environ.get("OPENMM_NEQUIP_REQUIRE_POCL"),
    reason="pocl is not there; `bash tests/pocl.sh FOLDER` makes it, OPENMM_NEQUIP_POCL names the folder",
)
