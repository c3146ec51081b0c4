"""Compiling a model ahead of its first use, and what that made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cache import cache_dir
from ..models import Execution, format_of, locate, open_model


def compile_and_describe(
    path: str,
    device: str | None = None,
    kernels: str = "auto",
    tables: bool = True,
    modifiers: Sequence[str] | None = None,
    trusted: str | None = None,
) -> dict[str, Any]:
    """Compile a model for a device and tell what was made.

    Parameters
    ----------
    path : str
        Checkpoint, package or ``nequip.net:`` id; of other kinds nothing is made.
    device : str, optional
        Torch device that it will run on; CPU by default.
    kernels, tables, modifiers, trusted
        As :func:`openmm_nequip.load_model`.

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
    model = open_model(source, Execution(device, compile, kernels, tables, modifiers))  # type: ignore[arg-type]
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
