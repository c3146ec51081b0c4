"""Compiling a model ahead of its first use, and what that made."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..cache import cache_dir
from ..errors import UsageError
from ..models import Execution, check_execution, format_of, locate, open_model, parse_device
from ..models.compiling.aot import SUFFIX as PACKAGE_SUFFIX
from ..models.compiling.aot import write_package
from ..models.compiling.scripting import SUFFIX, write_script
from ..models.source import sha256_of
from .new_files import check_new, made_whole

#: How names of compiled files end, by mode of the command ``compile``.
SUFFIXES = {"torchscript": SUFFIX, "aotinductor": PACKAGE_SUFFIX}


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


def write_and_describe(
    mode: str,
    path: str,
    output: str | None,
    execution: Execution,
    trusted: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a model as a compiled file and tell what was made.

    Parameters
    ----------
    mode : str
        ``"torchscript"`` or ``"aotinductor"``.
    path : str
        Checkpoint, package or ``nequip.net:`` id.
    output : str, optional
        File to write, ending as files of the mode do (:data:`SUFFIXES`); the model's name in the current folder by
        default.
    execution : Execution
        Device: where the weights in the file are to be, or what it is compiled for. Values of inputs: for the
        comparison of TorchScript, and a part of what AOTInductor compiles. nequip's modifiers: of AOTInductor alone.
    trusted : str, optional
        SHA-256 that the model file must have.
    overwrite : bool
        Whether a file that is there may be replaced.

    Returns
    -------
    dict
        JSON-ready; ``differences`` between a script and its model are relative to the largest value of each quantity,
        ``kernels`` is how a package runs where it was made.

    Raises
    ------
    UsageError
        If the name has another suffix, or is taken.
    CompileError, ModelFileError, ImportError, ValueError
        As :func:`openmm_nequip.models.compiling.scripting.write_script` and
        :func:`openmm_nequip.models.compiling.aot.write_package`.
    """
    began = time.perf_counter()
    suffix = SUFFIXES[mode]
    target = Path(output if output is not None else compiled_name(path, suffix))
    if not target.name.endswith(suffix) or target.name == suffix:
        raise UsageError(f"--output {output}: the name has to end in {suffix}, by which others know such files")
    check_new([target], overwrite)
    source = locate(path, trusted)
    check_execution(source, execution)
    where, values = parse_device(execution.device), execution.inputs
    found: dict[str, Any] = {}
    with made_whole([target], overwrite) as scratch:
        made = scratch / target.name
        if mode == "torchscript":
            found["differences"] = asdict(write_script(source, str(made), where, values))
        else:
            write_package(source, where, made, execution.modifiers or (), values)
            found["kernels"] = open_model(locate(made), Execution(device=str(where))).info.kernels
    return {
        "path": source.path,
        "kind": source.kind,
        "output": str(target),
        "size_bytes": target.stat().st_size,
        "sha256": sha256_of(str(target)),
        **found,
        "seconds": time.perf_counter() - began,
    }


def compiled_name(path: str, suffix: str) -> str:
    """Name of the compiled file of a model: its own, or that of a ``nequip.net:`` id, with another suffix.

    Parameters
    ----------
    path : str
        The model.
    suffix : str
        How the name is to end.

    Returns
    -------
    str
    """
    name = path.replace(":", "/").rstrip("/").split("/")[-2 if path.startswith("nequip.net:") else -1]
    for own in (".nequip.zip", *SUFFIXES.values(), ".ckpt", ".pth", ".zip"):
        if name.endswith(own) and name != own:
            return name.removesuffix(own) + suffix
    return name + suffix
