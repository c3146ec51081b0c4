"""Model files: which kind a file is, told by its content, and its SHA-256. Nothing in the file is executed here."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass

CHECKPOINT = "checkpoint"  #: training checkpoint of nequip >= 0.7 (``.ckpt``)
PACKAGE = "package"  #: ``nequip-package`` file (``.nequip.zip``)
TORCHSCRIPT = "torchscript"  #: ``nequip-compile --mode torchscript`` file (``.nequip.pth``) or an older deployed one
AOTINDUCTOR = "aotinductor"  #: ``nequip-compile --mode aotinductor`` file (``.nequip.pt2``)
KINDS = (CHECKPOINT, PACKAGE, TORCHSCRIPT, AOTINDUCTOR)
#: Kinds whose loading runs Python code stored in the file.
CODE_EXECUTING = (CHECKPOINT, PACKAGE)

_EXPECTED = (
    "expected a nequip checkpoint (.ckpt), a nequip-package file (.nequip.zip), a compiled model (.nequip.pth or "
    ".nequip.pt2) or a deployed model of nequip <= 0.6 (.pth)"
)


class ModelFileError(ValueError):
    """A model file that is missing, damaged, changed or of a kind this package cannot run."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    kind : str
        One of :data:`KINDS`.
    sha256 : str
        Hex digest of the file's content.
    size_bytes : int
        Size of the file.
    """

    path: str
    kind: str
    sha256: str
    size_bytes: int

    def read(self) -> bytes:
        """Return the file's content after checking that it is still the one that was identified."""
        self.verify()
        with open(self.path, "rb") as file:
            return file.read()

    def verify(self) -> None:
        """Raise :class:`ModelFileError` if the file is gone or its content differs from :attr:`sha256`."""
        found = sha256_of(self.path)
        if found != self.sha256:
            raise ModelFileError(
                f"model file {self.path} has changed: its SHA-256 is {found}, the System was built with {self.sha256}; "
                "put the original file back, rebuild the System, or build it with embedModel=True"
            )


def sha256_of(path: str) -> str:
    """SHA-256 of a file as hex.

    Raises
    ------
    ModelFileError
        If there is no such file or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except FileNotFoundError:
        raise ModelFileError(
            f"model file {path} does not exist; check the path (relative paths start at {os.getcwd()})"
        ) from None
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error}") from error
    return digest.hexdigest()


def identify(path: str | os.PathLike[str]) -> ModelSource:
    """Find out what a model file is.

    Parameters
    ----------
    path : str or path-like
        A local file; ``nequip.net:`` ids must be resolved before (:func:`openmm_nequip.models.nequip.fetch`).

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
        raise ModelFileError(f"model file {path} is a folder; {_EXPECTED}")
    digest = sha256_of(path)
    size = os.path.getsize(path)
    return ModelSource(path, _kind(path, size), digest, size)


def _kind(path: str, size: int) -> str:
    if size == 0:
        raise ModelFileError(f"model file {path} is empty; {_EXPECTED}")
    with open(path, "rb") as file:
        head = file.read(8)
    if not zipfile.is_zipfile(path):
        if head.startswith(b"PK\x03\x04"):
            raise ModelFileError(
                f"model file {path} is truncated: it starts as a zip archive but its directory is missing "
                f"({size} bytes); copy it again"
            )
        found = "a bare pickle" if head[:1] == b"\x80" else f"no zip archive (it starts with {head!r})"
        raise ModelFileError(f"model file {path} is {found}, not a model; {_EXPECTED}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inner = [name.split("/", 1)[1] for name in names if "/" in name]
            if any(name.startswith("data/aotinductor/") for name in inner):
                return AOTINDUCTOR
            if any(name.startswith("model/package_metadata") for name in inner):
                return PACKAGE
            if ".data/extern_modules" in inner:
                raise ModelFileError(f"{path} is a torch.package archive, but not one of nequip-package; {_EXPECTED}")
            if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
                return TORCHSCRIPT
            data = next((name for name in names if name.endswith("/data.pkl") and name.count("/") == 1), None)
            if data is not None:
                pickled = archive.read(data)
                if b"state_dict" in pickled and b"info_dict" in pickled and b"training_module" in pickled:
                    return CHECKPOINT
                raise ModelFileError(f"{path} is a file of torch.save, but no nequip training checkpoint; {_EXPECTED}")
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelFileError(f"model file {path} is damaged ({error}); copy it again") from error
    raise ModelFileError(f"model file {path} is a zip archive, but not a model ({len(names)} entries); {_EXPECTED}")


def check_trusted(source: ModelSource, trusted: str | None) -> None:
    """Refuse a file whose SHA-256 is not the pinned one, before any of its code runs.

    Raises
    ------
    ModelFileError
        If ``trusted`` is given and differs from the file's SHA-256.
    """
    if trusted is not None and trusted.strip().lower() != source.sha256:
        raise ModelFileError(
            f"model file {source.path} is not the trusted one: its SHA-256 is {source.sha256}, trusted={trusted!r}; "
            "nothing of it was loaded"
        )
