"""Compiling a model ahead of its first use, and what that made."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cache import cache_dir
from ..models import Execution, format_of, locate, open_model


def compile_and_describe(path: str, execution: Execution, trusted: str | None = None) -> dict[str, Any]:
    """Compile a model for a device and tell what was made.

    Parameters
    ----------
    path : str
        Checkpoint, package or ``nequip.net:`` id; of other kinds nothing is made.
    execution : Execution
        How it will be run.
    trusted : str, optional
        SHA-256 that the file must have.

    Returns
    -------
    dict
        JSON-ready. ``made`` has the name and size of each file that is new in the cache folder.

    Raises
    ------
    CompileError, KernelsError, ModelFileError, ModifierError, ImportError, ValueError
        As :func:`openmm_nequip.load_model` with ``compile=True``.
    """
    folder = cache_dir()
    before = set(_files(folder))
    began = time.perf_counter()
    source = locate(path, trusted)
    compile = True if format_of(source.kind).can_compile else None
    model = open_model(source, replace(execution, compile=compile))
    seconds = time.perf_counter() - began
    new = sorted(set(_files(folder)) - before)
    return {
        "path": source.path,
        "kind": source.kind,
        "device": str(model.device),
        "kernels": model.info.kernels,
        "compile_target": model.info.target,
        "cache": str(folder),
        "made": [{"name": str(file.relative_to(folder)), "size_bytes": file.stat().st_size} for file in new],
        "seconds": seconds,
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
