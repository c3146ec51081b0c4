"""The formats of model files: one row each. A new format is a file in this folder and a row in :data:`FORMATS`."""

from __future__ import annotations

import io
import os
import zipfile

from ...data import shipped_damage
from ...errors import ModelFileError
from ..archive import check_archive
from ..format import Contents, Format
from ..source import ModelSource, read_file
from . import aotinductor, checkpoint, package, torchscript

#: In the order in which they are tried.
FORMATS: tuple[Format, ...] = (
    aotinductor.FORMAT,
    package.FORMAT,
    torchscript.FORMAT,
    checkpoint.FORMAT,
)

_EXPECTED = (
    "expected a nequip checkpoint (.ckpt), a nequip-package file (.nequip.zip), a compiled model (.nequip.pth or "
    ".nequip.pt2) or a deployed model of nequip <= 0.6 (.pth)"
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


def identify(path: str | os.PathLike[str]) -> ModelSource:
    """Find out what a model file is.

    Parameters
    ----------
    path : str or path-like
        A local file; ``nequip.net:`` ids must be resolved before (:func:`openmm_nequip.models.eager.fetch`).

    Returns
    -------
    ModelSource

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, or not a model of a known kind; the message says which and what is expected.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.isdir(path):
        raise ModelFileError(f"model file {path} is a folder; {_EXPECTED}", path)
    digest, content = read_file(path)
    damage = shipped_damage(path, content)
    if damage:
        raise ModelFileError(f"model file {path} {damage}", path)
    contents = _contents(path, content)
    for row in FORMATS:
        if row.recognise(contents):
            return ModelSource(path, row.kind, digest, contents.size)
    raise ModelFileError(f"{_near_miss(contents)}; {_EXPECTED}", path)


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
        return f"{path} is a file of torch.save, but no nequip training checkpoint"
    return f"model file {path} is a zip archive, but not a model ({len(contents.names)} entries)"
