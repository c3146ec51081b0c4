"""Checkpoints and packages compiled with AOTInductor: at first use, kept in the cache folder, or into a file.

The compilation runs in a process of its own: it needs nequip's global settings, holds the interpreter for a minute,
and a Ctrl-C or crash in it must not harm the simulation's process.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ...cache import find, keep, key_of, scratch, shelf
from ...cxx import find_compiler, for_inductor, missing_compiler
from ...errors import CompileError
from ...kernels.cpu.build import machine
from ...progress import run_program
from ..format import CHECKPOINT, PACKAGE
from ..graph_inputs import InputValues
from ..source import ModelSource
from .cuda_toolkit import for_gpu

logger = logging.getLogger(__name__)

#: Raise when the compiled files of an older release must not be used any more.
CACHE_FORMAT = 5
SUFFIX = ".nequip.pt2"
WORKER = "openmm_nequip.models.compiling.worker"


def cached_package(
    source: ModelSource,
    device: torch.device,
    modifiers: tuple[str, ...] = (),
    optional: bool = False,
    inputs: InputValues = (),
    target: str = "",
) -> Path:
    """The compiled form of a checkpoint or package, compiled now if it is not in the cache.

    Parameters
    ----------
    source : ModelSource
        A file of kind ``checkpoint`` or ``package``.
    device : torch.device
        What to compile for.
    modifiers, optional
        As in :func:`openmm_nequip.models.compiling.modifiers.apply_modifiers`.
    inputs : tuple of (str, number)
        Values of the model's inputs beside the structure, which become a part of the file.
    target : str
        A target of nequip-compile for another program; empty for what this package runs.

    Returns
    -------
    pathlib.Path
        A complete ``.nequip.pt2`` file in the cache folder. One of ours for a CPU carries what is needed to be fused.

    Raises
    ------
    CompileError
        If there is no compiler, no cache folder, or the compilation fails.
    """
    try:
        facts = _facts(source, device) | _modified(modifiers, optional) | ({"inputs": inputs} if inputs else {})
        facts |= {"target": target} if target else {}
        folder, key = shelf("compiled"), key_of(facts)
        found = find(folder, key, SUFFIX)
        if found is not None:
            return found[0]
        options = _options(modifiers, optional, inputs) + ["--target", target] * bool(target)
        options += ["--carry"] * (device.type == "cpu" and not target)
        with scratch(folder, "compile") as work:
            made = work / f"model{SUFFIX}"
            compile_in_worker(source, device, made, options)
            return keep(folder, key, SUFFIX, made.read_bytes())
    except OSError as error:
        raise CompileError(f"the cache folder cannot be used: {error}") from error


def write_package(
    source: ModelSource, device: torch.device, target: Path, modifiers: tuple[str, ...] = (), inputs: InputValues = ()
) -> None:
    """Compile a checkpoint or package, unless that was done before, into a file of the user's.

    Parameters
    ----------
    source : ModelSource
        A file of kind ``checkpoint`` or ``package``; its code is run.
    device, modifiers, inputs
        As of :func:`cached_package`.
    target : pathlib.Path
        File to write, in a folder that is there for it alone.

    Raises
    ------
    CompileError
        If the file is compiled already, there is no compiler, or the compilation fails.
    """
    if source.kind not in (CHECKPOINT, PACKAGE):
        raise CompileError(
            f"{source.path} is a {source.kind} file, compiled already; give the .ckpt or .nequip.zip it came from"
        )
    made = cached_package(source, device, modifiers, inputs=inputs)
    try:
        shutil.copyfile(made, target)
    except OSError as error:
        raise CompileError(f"{target} cannot be written: {error}") from error


def _options(modifiers: tuple[str, ...], optional: bool, inputs: InputValues) -> list[str]:
    """Arguments of the worker beside those that all have."""
    options = ["--modifiers", *modifiers] * bool(modifiers) + ["--optional"] * optional
    return options + ["--inputs", json.dumps(dict(inputs))] * bool(inputs)


def _modified(modifiers: tuple[str, ...], optional: bool) -> dict[str, object]:
    """What else decides where there are modifiers."""
    if not modifiers:
        return {}
    libraries = ("openequivariance", "cuequivariance-torch", "triton")
    return {"modifiers": modifiers, "optional": optional} | {name: package_version(name) for name in libraries}


def _facts(source: ModelSource, device: torch.device) -> dict[str, object]:
    """Everything that decides whether a compiled file can serve."""
    hardware = f"{torch.backends.cpu.get_cpu_capability()} {machine()}"
    if device.type == "cuda":
        hardware = f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"
    return {
        "format": CACHE_FORMAT,
        "model": source.sha256,
        "kind": source.kind,
        "torch": torch.__version__,
        "nequip": package_version("nequip"),
        "allegro": package_version("nequip-allegro"),
        "device": device.type,
        "hardware": hardware,
    }


def package_version(distribution: str) -> str:
    """Version of an installed distribution, "none" if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"


def _time(size: int) -> str:
    """How long the compilation of a model file of so many bytes takes, in words: nine minutes for 75 MB."""
    if size < 3e6:
        return "a minute or two"
    return "some minutes" if size < 3e7 else "ten minutes or more for a model of this size"


def compile_in_worker(source: ModelSource, device: torch.device, target: Path, options: Sequence[str]) -> None:
    """Compile in a process of its own, and put the result where it belongs when it is whole.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package.
    device : torch.device
        What to compile for.
    target : pathlib.Path
        File to write, in a folder that is there for it alone.
    options : sequence of str
        More arguments of the worker.

    Raises
    ------
    CompileError
        If there is no compiler or the compilation fails.
    """
    target = target.absolute()  # the worker has another current folder
    command = find_compiler()
    if command is None:
        raise CompileError(missing_compiler())
    on_gpu = for_gpu(device) if device.type == "cuda" else {}
    # Both the result and Inductor's own cache are private to this run: a killed compilation leaves truncated
    # libraries in a shared Inductor cache that break the next one.
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as work:
        output = Path(work) / "model.nequip.pt2"
        environment = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=os.path.join(work, "inductor"), TMPDIR=work)
        environment |= for_inductor(command, work) | on_gpu
        # The worker must find this very package, installed or not.
        root = str(Path(__file__).resolve().parents[3])
        # `python -m` looks for modules in the current folder first: the user's may hold an argparse.py. So the worker
        # starts in an empty folder, and nothing on its path is relative.
        given = [os.path.abspath(path) for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
        environment["PYTHONPATH"] = os.pathsep.join([root, *given])
        empty = os.path.join(work, "empty")
        os.mkdir(empty)
        worker = [sys.executable, "-m", WORKER, source.path, str(output), "--device", device.type]
        worker += ["--sha256", source.sha256, *options]
        with open(os.path.join(work, "log"), "w+b") as log:
            name = Path(source.path).name
            what = f"Compiling {name} for {device.type}: {_time(source.size_bytes)}, once; the result is kept"
            code = run_program(worker, what, log, environment, folder=empty, scratch=target.parent)
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
        if code != 0 or not output.exists():
            last = text.splitlines()[-1] if text else "it printed nothing"
            logger.debug("output of the failed compilation:\n%s", text)
            raise CompileError(f"the compilation ended with code {code}: {last}")
        os.replace(output, target)
