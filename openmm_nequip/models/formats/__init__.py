"""The formats of model files: one row each. A new format is a file in this folder and a row in :data:`FORMATS`."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from typing import Any

from ...choices import PYTHON
from ...data import shipped_damage
from ...errors import ModelFileError, ModuleError
from ..archive import check_archive
from ..format import FUNCTION, MODULE, TORCHSCRIPT, Contents, Format
from ..modules.module_interface import parse_interface
from ..source import ModelSource, read_file
from . import aotinductor, checkpoint, module_file, module_function, package, torchmdnet, torchscript

#: In the order in which they are tried.
FORMATS: tuple[Format, ...] = (
    aotinductor.FORMAT,
    package.FORMAT,
    torchscript.FORMAT,
    checkpoint.FORMAT,
    torchmdnet.FORMAT,
    torchmdnet.ENSEMBLE_FORMAT,
    module_file.FORMAT,
    module_function.FORMAT,
)

_EXPECTED = (
    "expected a nequip checkpoint (.ckpt), a nequip-package file (.nequip.zip), a compiled model (.nequip.pth or "
    ".nequip.pt2), a deployed model of nequip <= 0.6 (.pth), or a TorchMD-Net checkpoint (.ckpt) or ensemble (.zip)"
)


def format_of(kind: str) -> Format:
    """The row of a format.

    Raises
    ------
    ModelFileError
        If there is none of that name.
    """
    for row in FORMATS:
        if row.kind == kind:
            return row
    known = ", ".join(row.kind for row in FORMATS)
    raise ModelFileError(f"model format {kind!r} is unknown to this release, which knows {known}")


def can_fuse(source: ModelSource) -> bool:
    """Whether fused kernels may know the model in a file.

    Parameters
    ----------
    source : ModelSource
        The file; it is not loaded.

    Returns
    -------
    bool

    Raises
    ------
    ModelFileError
        If the file is damaged.
    """
    row = format_of(source.kind)
    return row.can_fuse and row.holds_program(source)


def identify(path: str | os.PathLike[str], interface: Any = None) -> ModelSource:
    """Find out what a model file is.

    Parameters
    ----------
    path : str or path-like
        A local file, or ``python:MODULE:NAME``; ``nequip.net:`` ids must be resolved before
        (:func:`openmm_nequip.models.eager.fetch`).
    interface : optional
        What a module takes, see :func:`openmm_nequip.models.modules.module_interface.parse_interface`.

    Returns
    -------
    ModelSource

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, or not a model of a known kind; the message says which and what is expected.
    ModuleError
        If the interface is wrong, or given for a file that is no module.
    """
    text = "" if interface is None else parse_interface(interface).text
    path = os.fspath(path)
    if path.startswith(PYTHON):
        digest, content = read_file(path)
        return ModelSource(path, FUNCTION, digest, len(content), text)
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        raise ModelFileError(f"model file {path} is a folder; {_EXPECTED}", path)
    digest, content = read_file(path)
    damage = shipped_damage(path, content)
    if damage:
        raise ModelFileError(f"model file {path} {damage}", path)
    contents = _contents(path, content)
    for row in FORMATS:
        if row.recognise(contents):
            source = ModelSource(path, row.kind, digest, contents.size)
            return _declared(source, contents, text) if text else source
    raise ModelFileError(f"{_near_miss(contents)}; {_EXPECTED}", path)


def _declared(source: ModelSource, contents: Contents, interface: str) -> ModelSource:
    """The file as a module with an interface."""
    own = torchscript.states_facts(contents)
    if source.kind != TORCHSCRIPT or own:
        what = "a NequIP or Allegro model" if own else f"a {source.kind} file"
        raise ModuleError(
            f"moduleInputs={interface!r} was given, and {source.path} is {what}, which needs no declaration; leave "
            "moduleInputs out",
            path=source.path,
        )
    return replace(source, kind=MODULE, interface=interface)


def _contents(path: str, content: bytes) -> Contents:
    size, head = len(content), content[:8]
    if size == 0:
        raise ModelFileError(f"model file {path} is empty; {_EXPECTED}", path)
    if zipfile.is_zipfile(io.BytesIO(content)):
        return Contents(path, size, head, check_archive(path, content), content)
    if head.startswith(b"PK\x03\x04"):
        raise ModelFileError(
            f"model file {path} is truncated: it starts as a zip archive but its directory is missing "
            f"({size} bytes); copy it again",
            path,
        )
    return Contents(path, size, head)


def _near_miss(contents: Contents) -> str:
    """What a file is that is no model."""
    path = contents.path
    if contents.names is None:
        pickled = contents.head[:1] == b"\x80"
        found = "a bare pickle" if pickled else f"no zip archive (it starts with {contents.head!r})"
        return f"model file {path} is {found}, not a model"
    if ".data/extern_modules" in contents.inner:
        return f"{path} is a torch.package archive, but not one of nequip-package"
    if any(name.endswith("/data.pkl") and name.count("/") == 1 for name in contents.names):
        return f"{path} is a file of torch.save, but no nequip training checkpoint, and none of TorchMD-Net"
    return f"model file {path} is a zip archive, but not a model ({len(contents.names)} entries)"
