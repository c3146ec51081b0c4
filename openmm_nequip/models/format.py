"""What a format of model files is: one row of the table in :mod:`openmm_nequip.models.formats`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from .archive import damaged
from .base import Model, ModelInfo
from .execution import Execution
from .rebuilding import Settings
from .source import ModelSource

CHECKPOINT = "checkpoint"  #: training checkpoint of nequip >= 0.7 (``.ckpt``)
PACKAGE = "package"  #: ``nequip-package`` file (``.nequip.zip``)
TORCHSCRIPT = "torchscript"  #: ``nequip-compile --mode torchscript`` file (``.nequip.pth``) or an older deployed one
TORCHMDNET = "torchmdnet"  #: training checkpoint of TorchMD-Net (``.ckpt``)
TORCHMDNET_ENSEMBLE = "torchmdnet-ensemble"  #: several of these in one archive (``.zip``)
AOTINDUCTOR = "aotinductor"  #: ``nequip-compile --mode aotinductor`` file (``.nequip.pt2``)
MODULE = "module"  #: any other TorchScript module (``.pt``), with declared inputs
COMMITTEE = "committee"  #: several models as one; no format of files, and in no row
FUNCTION = "function"  #: a function or class of a Python program (``python:MODULE:NAME``), with declared inputs


@dataclass(frozen=True, eq=False)
class Contents:
    """A file as :attr:`Format.recognise` sees it; nothing in it is executed.

    Parameters
    ----------
    path : str
        The file.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    names : tuple of str, optional
        Entries of a zip archive; None where the file is none.
    content : bytes
        All of it, where it is one.
    """

    path: str
    size: int
    head: bytes
    names: tuple[str, ...] | None = None
    content: bytes = field(default=b"", repr=False)
    inner: tuple[str, ...] = field(default=(), init=False)  #: entries without the archive's own folder

    def __post_init__(self) -> None:
        inner = tuple(name.split("/", 1)[1] for name in self.names or () if "/" in name)
        object.__setattr__(self, "inner", inner)

    def has(self, start: str) -> bool:
        """Whether an entry below the archive's own folder begins so."""
        return any(name.startswith(start) for name in self.inner)

    def read(self, name: str) -> bytes:
        """An entry of the archive.

        Raises
        ------
        ModelFileError
            If the archive is damaged.
        """
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            try:
                return archive.read(name)
            except KeyError as error:
                raise damaged(self.path, error) from error


@dataclass(frozen=True, eq=False)
class Format:
    """A format of model files.

    Parameters
    ----------
    kind : str
        Its name.
    suffix : str
        How names of its files end.
    runs_code : bool
        Whether opening a file runs Python code stored in it.
    can_compile : bool
        Whether AOTInductor can compile it at first use.
    can_fuse : bool
        Whether fused kernels may know it.
    holds_program : callable
        :class:`ModelSource` -> whether this file of a format that can be fused holds what is needed for it.
    recognise : callable
        :class:`Contents` -> whether the file is of this format.
    read_info : callable
        :class:`ModelSource` -> :class:`ModelInfo`, without compiling anything or running code of the file; None where
        the file tells its facts to its own code alone.
    obstacle : callable
        :class:`ModelSource` and :class:`Execution` -> why the file cannot be run here or in this way, with the cure;
        empty if nothing speaks against it. Nothing is loaded.
    open : callable
        :class:`ModelSource`, ``torch.device`` and :class:`Execution` -> :class:`Model`, as the file is: neither
        compiled nor fused.
    settings : tuple of str
        Hyperparameters that :attr:`Execution.settings` may set otherwise.
    read_info_as_run : callable, optional
        As ``read_info``, with these settings; None where there are none.
    """

    kind: str
    suffix: str
    runs_code: bool
    can_compile: bool
    can_fuse: bool
    recognise: Callable[[Contents], bool]
    read_info: Callable[[ModelSource], ModelInfo | None]
    open: Callable[[ModelSource, torch.device, Execution], Model]
    obstacle: Callable[[ModelSource, Execution], str] = lambda source, execution: ""
    holds_program: Callable[[ModelSource], bool] = lambda source: True
    settings: tuple[str, ...] = ()
    read_info_as_run: Callable[[ModelSource, Settings], ModelInfo] | None = None
