"""Model files of every kind behind one function, :func:`load_model`."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ..choices import KERNELS, NEQUIP_NET
from .aotinductor import load_aotinductor
from .base import Model, ModelInfo
from .compiler import CompileError, cached_package
from .fused import KernelsError, fused_model
from .modifiers import ModifierError, wanted_modifiers
from .nequip import fetch, load_eager
from .source import (
    AOTINDUCTOR,
    CODE_EXECUTING,
    TORCHSCRIPT,
    ModelFileError,
    ModelSource,
    check_trusted,
    identify,
)
from .torchscript import load_torchscript

logger = logging.getLogger(__name__)

__all__ = [
    "KERNELS", "CompileError", "KernelsError", "Model", "ModelFileError", "ModelInfo", "ModelSource",
    "ModifierError", "load_model", "locate", "open_model", "parse_device",
]  # fmt: skip

_LOADED: dict[tuple[str, str, bool, str, bool, tuple[str, ...], bool], Model] = {}
_LOCK = threading.Lock()


def locate(path: str | os.PathLike[str], trusted: str | None = None) -> ModelSource:
    """Find a model file, or the local copy of a ``nequip.net:`` id, and tell its kind without running its code.

    Parameters
    ----------
    path : str or path-like
        Local file or ``nequip.net:group/model:version``.
    trusted : str, optional
        SHA-256 that the file must have.

    Returns
    -------
    ModelSource

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of no known kind, or not the trusted one.
    """
    if isinstance(path, str) and path.startswith(NEQUIP_NET):
        path = fetch(path)
    source = identify(path)
    check_trusted(source, trusted)
    return source


def parse_device(device: str | torch.device | None) -> torch.device:
    """The torch device a user asked for, after checking that it is there; CPU for None.

    Raises
    ------
    ValueError
        If the name is no device, or this machine or torch build has no such device.
    """
    try:
        parsed = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is no torch device; use 'cpu', 'cuda' or 'cuda:N'") from error
    if parsed.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r} is not supported; use 'cpu', 'cuda' or 'cuda:N'")
    if parsed.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (parsed.index or 0) >= count:
            raise ValueError(
                f"device={device!r} is not there: torch {torch.__version__} sees {count} CUDA devices; "
                "use device='cpu', or check the driver and that torch is a CUDA build"
            )
        parsed = torch.device("cuda", parsed.index or 0)
    return parsed


def load_model(
    path: str | os.PathLike[str],
    device: str | torch.device | None = None,
    compile: bool | None = None,
    trusted: str | None = None,
    kernels: str = "auto",
    tables: bool = True,
    modifiers: Sequence[str] | None = None,
) -> Model:
    """Load a NequIP or Allegro model of any kind.

    Parameters
    ----------
    path : str or path-like
        A training checkpoint (``.ckpt``), a package (``.nequip.zip``), a compiled model (``.nequip.pth``,
        ``.nequip.pt2``), a model deployed by nequip <= 0.6 (``.pth``), or a ``nequip.net:group/model:version`` id.
        The kind is told by the content. Loading a checkpoint or package runs code stored in it.
    device : str or torch.device, optional
        ``"cpu"`` (default), ``"cuda"`` or ``"cuda:N"``.
    compile : bool, optional
        For checkpoints and packages: False evaluates eagerly; None (default) compiles at first use and falls back to
        eager evaluation with a warning; True raises instead. Compiled kinds ignore it.
    trusted : str, optional
        SHA-256 that the file must have, checked before anything in it runs.
    kernels : str
        For checkpoints and packages on a CPU: ``"fused"`` runs a NequIP model in generated C++, an order of magnitude
        faster, and raises where that cannot be done; ``"none"`` does not; ``"auto"`` (default) does where it can and
        ``compile`` is not False. :attr:`ModelInfo.kernels` says what became of it.
    tables : bool
        Whether fused kernels tabulate the radial networks (default; the error is rounding noise, see
        :mod:`openmm_nequip.kernels.tables`) or evaluate them.
    modifiers : sequence of str, optional
        For checkpoints and packages: nequip's modifiers to apply, such as ``enable_OpenEquivariance``; they take the
        place of fused kernels. By default, where it is compiled for CUDA, the fastest of those whose library is
        installed, see :mod:`openmm_nequip.models.modifiers`; ``()`` for none.

    Returns
    -------
    Model
        Callable on model-unit tensors, with :attr:`Model.info`. The same file, device and mode give the same object.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign, not the trusted one, or made for another device.
    CompileError
        If ``compile=True`` and the model cannot be compiled here.
    KernelsError
        If ``kernels="fused"`` and the model cannot be fused here.
    ModifierError
        If a modifier is unknown to the model or cannot be used here.
    ImportError
        If the file needs nequip and nequip is not installed.
    ValueError
        If the device is not there, or ``kernels`` is none of its names.
    """
    return open_model(locate(path, trusted), parse_device(device), compile, kernels, tables, modifiers)


def open_model(
    source: ModelSource,
    device: torch.device,
    compile: bool | None = None,
    kernels: str = "auto",
    tables: bool = True,
    modifiers: Sequence[str] | None = None,
) -> Model:
    """Load a located model onto a device that is known to be there; see :func:`load_model`."""
    if kernels not in KERNELS:
        raise ValueError(f"kernels={kernels!r} is unknown; use one of {', '.join(map(repr, KERNELS))}")
    names = wanted_modifiers(modifiers, device) if source.kind in CODE_EXECUTING or modifiers else ()
    if modifiers and source.kind not in CODE_EXECUTING:
        raise ModifierError(
            f"modifiers={list(names)} are applied before a model is compiled, and {source.path} is a {source.kind} "
            "file; give the .ckpt or .nequip.zip it came from, or compile it with `nequip-compile --modifiers`"
        )
    if modifiers and kernels == "fused":
        raise ModifierError(f"modifiers={list(names)} and kernels='fused' exclude each other; give one of them")
    kernels = "none" if modifiers else kernels
    optional = modifiers is None and bool(names)
    key = (source.sha256, str(device), compile is not False, kernels, tables, names, optional)
    with _LOCK:
        model = _LOADED.get(key)
        if model is None:
            model = _LOADED[key] = _load(source, device, compile, kernels, tables, names, optional)
    return model


def _load(
    source: ModelSource,
    device: torch.device,
    compile: bool | None,
    kernels: str,
    tables: bool,
    modifiers: tuple[str, ...],
    optional: bool,
) -> Model:
    reason = ""
    if kernels == "fused" or (kernels == "auto" and compile is not False and source.kind in CODE_EXECUTING):
        try:
            return fused_model(source, device, tables)
        except KernelsError as error:
            if kernels == "fused":
                raise KernelsError(f"the fused kernels cannot run this model: {error}") from error
            reason = str(error)
            logger.info("no fused kernels for %s: %s", source.path, reason)
    model = _load_plain(source, device, compile, modifiers, optional)
    if reason:
        model.info = dataclasses.replace(model.info, kernels=f"none: {reason}")
    return model


def _load_plain(
    source: ModelSource, device: torch.device, compile: bool | None, modifiers: tuple[str, ...], optional: bool
) -> Model:
    if source.kind == TORCHSCRIPT:
        return load_torchscript(source, device)
    if source.kind == AOTINDUCTOR:
        return load_aotinductor(source, device)
    if compile is not False:
        try:
            compiled = load_aotinductor(identify(_package(source, device, modifiers, optional)), device)
        except CompileError as error:
            if compile:
                raise
            warnings.warn(
                f"{source.path} runs uncompiled and several times slower, because it cannot be compiled: {error}. "
                "Give compile=False to run eagerly without this warning",
                RuntimeWarning,
                stacklevel=2,
            )
        else:
            # What a user reads about is the file they gave, not our cache.
            compiled.info = dataclasses.replace(
                compiled.info,
                path=source.path,
                kind=source.kind,
                sha256=source.sha256,
                size_bytes=source.size_bytes,
                target="openmm (compiled at first use)",
            )
            return compiled
    if source.kind in CODE_EXECUTING:
        return load_eager(source, device, () if optional else modifiers)
    raise ModelFileError(f"{source.path} is of the unknown kind {source.kind!r}")


def _package(source: ModelSource, device: torch.device, modifiers: tuple[str, ...], optional: bool) -> Path:
    """The compiled form of a model; modifiers that nobody asked for by name are left out where they do not work."""
    try:
        return cached_package(source, device, modifiers, optional)
    except CompileError as error:
        if not (modifiers and optional):
            raise
        logger.warning("%s is compiled without %s: %s", source.path, " or ".join(modifiers), error)
        return cached_package(source, device)
