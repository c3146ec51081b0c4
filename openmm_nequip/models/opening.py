"""From a model file to a model on a device: fused, compiled or as it is. The only place that decides which."""

from __future__ import annotations

import dataclasses
import logging
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from ..errors import CompileError, KernelsError, ModelFileError, ModifierError
from .base import Model, ModelInfo
from .committee import CommitteeModel, committee_info
from .compiling.aot import cached_package
from .compiling.modifier_names import check_names
from .compiling.modifiers import PREFERRED, wanted_modifiers
from .execution import Execution
from .format import AOTINDUCTOR, CHECKPOINT, Format
from .formats import can_fuse, format_of, identify
from .formats.aotinductor import open_aotinductor
from .formats.checkpoint import warn_of_age
from .fused import fused_model
from .graph_inputs import check_inputs
from .rebuilding import Settings, check_settings
from .source import ModelSource
from .torch_device import parse_device

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)


class OpenModels:
    """Models that somebody uses, so that the same file and execution are loaded once. Others are let go."""

    def __init__(self) -> None:
        self._models: weakref.WeakValueDictionary[tuple, Model] = weakref.WeakValueDictionary()
        self._locks: weakref.WeakValueDictionary[tuple, threading.Lock] = weakref.WeakValueDictionary()
        self._guard = threading.Lock()

    def get(self, key: tuple, make: Callable[[], Model]) -> Model:
        """The model of this key, made now if nobody has it; other keys do not wait for it."""
        with self._guard:
            lock = self._locks.get(key)
            if lock is None:
                lock = self._locks[key] = threading.Lock()
        with lock:
            model = self._models.get(key)
            if model is None:
                model = self._models[key] = make()
        return model


OPEN_MODELS = OpenModels()


def check_execution(source: ModelSource, execution: Execution) -> None:
    """Refuse an execution that a file's format rules out; nothing is loaded.

    Parameters
    ----------
    source : ModelSource
        The file.
    execution : Execution
        How it is to be run.

    Raises
    ------
    ModelFileError
        If the file cannot be run here: a checkpoint that the installed nequip would give other energies, a file that
        was compiled for another device.
    ModifierError
        If modifiers are asked for and the file is compiled already.
    KernelsError
        If fused kernels are asked for and cannot be had for this format or device.
    """
    if source.members:
        for member in source.members:
            check_execution(member, execution)
        return
    row = format_of(source.kind)
    reason = row.obstacle(source, execution)
    if reason:
        raise ModelFileError(reason, source.path)
    check_settings(execution.settings, row.settings, source.path, source.kind)
    if execution.modifiers and not row.can_compile:
        raise ModifierError(
            f"modifiers={list(execution.modifiers)} are applied before a model is compiled, and {source.path} is a "
            f"{source.kind} file; give the .ckpt or .nequip.zip it came from, or compile it with "
            "`nequip-compile --modifiers`"
        )
    if execution.modifiers:
        check_names(source, execution.modifiers)
    on_cpu = execution.device is not None and execution.device.startswith("cpu")
    for name in set(execution.modifiers or ()) & {name for name, _ in PREFERRED} if on_cpu else ():
        raise ModifierError(f"modifiers: {name!r} does not support the device 'cpu'; leave it out")
    if execution.kernels == "fused":
        refused = "the fused kernels cannot run this model: "
        if not can_fuse(source):
            raise KernelsError(
                f"{refused}{source.path} is a {source.kind} file, compiled already; give the .ckpt or .nequip.zip it "
                "came from"
            )
        if execution.device is not None and not on_cpu:
            raise KernelsError(f"{refused}they run on CPUs, and the device is {execution.device}")


def read_info(source: ModelSource, run_code: bool = True, settings: Settings = ()) -> ModelInfo:
    """Facts about a model file; nothing is compiled.

    Parameters
    ----------
    source : ModelSource
        The file.
    run_code : bool
        Whether the file may be loaded, and its code run, where its facts cannot be read otherwise.
    settings : tuple of (str, value), optional
        Hyperparameters that are set otherwise, as :attr:`Execution.settings`.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the file is damaged or no potential, or its facts cannot be read without running its code and must be.
    CommitteeError
        If the models of a committee do not go together.
    """
    if source.members:
        infos = [read_info(member, run_code, settings) for member in source.members]
        return committee_info(infos, [member.path for member in source.members])
    row = format_of(source.kind)
    if settings and row.read_info_as_run is not None:
        as_run = row.read_info_as_run
        return _named(source, lambda: as_run(source, settings))
    return _facts(row, source, run_code)


def _facts(row: Format, source: ModelSource, run_code: bool = True) -> ModelInfo:
    info = _named(source, lambda: row.read_info(source))
    if info is not None:
        return info
    if not run_code:
        raise ModelFileError(
            f"{source.path} tells its facts only to its own code, which was not to be run; allow loading it, if you "
            "trust it",
            source.path,
        )
    return row.open(source, torch.device("cpu"), Execution(device="cpu", compile=False)).info


def _named(source: ModelSource, read: Callable[[], _Answer]) -> _Answer:
    """What a function gives; errors about the content of a file that do not know its name get it."""
    try:
        return read()
    except ModelFileError as error:
        if error.path is not None:
            raise
        raise ModelFileError(f"model file {source.path}: {error}", source.path) from error


def open_model(source: ModelSource, execution: Execution) -> Model:
    """Open a model file; the same file and execution give the same object while somebody uses it.

    Parameters
    ----------
    source : ModelSource
        The file; its content is taken to be verified.
    execution : Execution
        How to run it; without a device on the CPU.

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        If the file is damaged, foreign, or made for another device.
    CommitteeError
        If the models of a committee do not go together.
    CompileError
        If ``compile=True`` and the model cannot be compiled here.
    KernelsError
        If ``kernels="fused"`` and the model cannot be fused here.
    ModelInputError
        If the model needs an input beside the structure that is not given, or does not know one that is.
    ModifierError
        If a modifier is unknown to the model or cannot be used here.
    ImportError
        If the file needs nequip and nequip is not installed.
    ValueError
        If the device is not there.
    """
    check_execution(source, execution)
    device = parse_device(execution.device)
    # CUDA graphs are made around a model for each structure; the model inside is the same.
    execution = dataclasses.replace(execution.on(device), cuda_graphs="auto")
    if not wanted_modifiers(execution.modifiers, device):  # nobody's choice, and none: one key for both
        execution = dataclasses.replace(execution, modifiers=())
    key = source.path, *source.key, execution
    return OPEN_MODELS.get(key, lambda: _load(source, device, execution))


def _load(source: ModelSource, device: torch.device, execution: Execution) -> Model:
    if source.members:
        return _load_committee(source, execution)
    row = format_of(source.kind)
    inputs = _facts(row, source).inputs
    check_inputs(inputs, execution.inputs, source.path)
    model = _named(source, lambda: _loaded(row, source, device, execution))
    if source.kind == CHECKPOINT:
        warn_of_age(source)
    # A file made at first use has their values in it, and does not know that the model had a choice.
    model.info = dataclasses.replace(model.info, inputs=inputs)
    model.source = source
    return model


def _load_committee(source: ModelSource, execution: Execution) -> Model:
    """Its members, each as it would be opened alone."""
    paths = [member.path for member in source.members]
    committee_info([_facts(format_of(member.kind), member) for member in source.members], paths)  # before any compiler
    members = [open_model(member, execution) for member in source.members]
    committee = CommitteeModel(committee_info([each.info for each in members], paths), members, source.drive)
    committee.source = source
    return committee


def _loaded(row: Format, source: ModelSource, device: torch.device, execution: Execution) -> Model:
    reason = ""
    if can_fuse(source) and execution.wants_fused:
        try:
            return fused_model(source, device, execution.tables, execution.inputs)
        except KernelsError as error:
            if execution.kernels == "fused":
                raise KernelsError(f"the fused kernels cannot run this model: {error}") from error
            reason = str(error)
            logger.info("no fused kernels for %s: %s", source.path, reason)
    model = _load_plain(row, source, device, execution)
    if source.kind == AOTINDUCTOR and model.info.kernels.startswith("none:"):
        logger.info("no fused kernels for %s: %s", source.path, model.info.kernels.removeprefix("none: "))
    if reason:
        model.info = dataclasses.replace(model.info, kernels=f"none: {reason}")
    return model


def _load_plain(row: Format, source: ModelSource, device: torch.device, execution: Execution) -> Model:
    names = wanted_modifiers(execution.modifiers, device) if row.can_compile else ()
    if not row.can_compile or execution.compile is False:
        return row.open(source, device, execution)
    try:
        package = _package(source, device, execution, names)
    except CompileError as error:
        if execution.compile:
            raise
        warnings.warn(
            f"{source.path} runs uncompiled and several times slower, because it cannot be compiled: {error}. "
            "Give compile=False to run eagerly without this warning",
            RuntimeWarning,
            stacklevel=2,
        )
        return row.open(source, device, execution)
    compiled = open_aotinductor(identify(package), device, dataclasses.replace(execution, inputs=()))
    versions = (row.read_info(source) or compiled.info).versions
    kernels = "none" if compiled.info.kernels.startswith("none") else compiled.info.kernels  # a modifier's name
    compiled.info = dataclasses.replace(
        compiled.info,
        target="openmm (compiled at first use)",
        versions=compiled.info.versions or versions,
        kernels=kernels,
    )
    return compiled


def _package(source: ModelSource, device: torch.device, execution: Execution, modifiers: tuple[str, ...]) -> Path:
    """The compiled form of a model; modifiers that nobody asked for by name are left out where they do not work."""
    optional = execution.modifiers is None and bool(modifiers)
    try:
        return cached_package(source, device, modifiers, optional, execution.inputs)
    except CompileError as error:
        if not (modifiers and optional):
            raise
        logger.warning("%s is compiled without %s: %s", source.path, " or ".join(modifiers), error)
        return cached_package(source, device, inputs=execution.inputs)
