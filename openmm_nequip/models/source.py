"""Model files by path, format and SHA-256. Nothing in a file is executed here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from ..errors import ModelFileError


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Parameters
    ----------
    path : str
        Absolute path of the file.
    kind : str
        Name of its format, see :mod:`openmm_nequip.models.formats`.
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
        """Return the file's content after checking that it is still the one that was identified.

        Raises
        ------
        ModelFileError
            If it is gone or has changed.
        """
        try:
            with open(self.path, "rb") as file:
                content = file.read()
        except OSError:
            sha256_of(self.path)  # says what is wrong
            raise
        self._compare(hashlib.sha256(content).hexdigest())
        return content

    def verify(self) -> None:
        """Make sure that the file is there with the content that was identified.

        Raises
        ------
        ModelFileError
            If the file is gone or its content differs from :attr:`sha256`.
        """
        self._compare(sha256_of(self.path))

    def _compare(self, found: str) -> None:
        if found != self.sha256:
            raise ModelFileError(
                f"model file {self.path} has changed: its SHA-256 is {found}, the System was built with {self.sha256}; "
                "put the original file back, rebuild the System, or build it with embedModel=True",
                self.path,
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
            f"model file {path} does not exist; check the path (relative paths start at {os.getcwd()})", path
        ) from None
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error}", path) from error
    return digest.hexdigest()


def check_trusted(source: ModelSource, trusted: str | None) -> None:
    """Refuse a file whose SHA-256 is not the pinned one, before any of its code runs.

    Parameters
    ----------
    source : ModelSource
        The file.
    trusted : str, optional
        SHA-256 that it must have; None for any.

    Raises
    ------
    ModelFileError
        If ``trusted`` is given and differs from the file's SHA-256.
    """
    if trusted is not None and trusted.strip().lower() != source.sha256:
        raise ModelFileError(
            f"model file {source.path} is not the trusted one: its SHA-256 is {source.sha256}, trusted={trusted!r}; "
            "nothing of it was loaded",
            source.path,
        )
