"""Model files by path, format and SHA-256. Nothing in a file is executed here.

A file may be exchanged at any time between two looks at it. So its content is read once, the digest is that of the
bytes that were read, and facts, checks and loaders all get those very bytes (:meth:`ModelSource.read`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..cache import private_folder
from ..choices import PYTHON
from ..errors import ModelFileError
from ..files import obstacle
from .trust import TRUSTED

#: The last content that was read is kept up to this size, so that one file is not read and hashed for every question.
_KEPT_BYTES = 64 << 20


class _LastContent:
    """The bytes of the file that was read last, by their digest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: tuple[str, bytes] = "", b""

    def get(self, sha256: str) -> bytes | None:
        """The bytes with that digest, if they are at hand."""
        with self._lock:
            return self._kept[1] if self._kept[0] == sha256 else None

    def put(self, sha256: str, content: bytes) -> None:
        """Keep these, and let go of the ones before."""
        with self._lock:
            self._kept = (sha256, content) if len(content) <= _KEPT_BYTES else ("", b"")


_LAST = _LastContent()
#: Whose forces those of a committee are: the mean of its models, or the first model's.
MEAN, FIRST = "mean", "first"


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
    interface : str
        What a module takes and gives, see :mod:`openmm_nequip.models.modules.module_interface`; else empty.
    members : tuple of ModelSource
        Of a committee, its models; see :mod:`openmm_nequip.models.committee_path`.
    drive : str
        Of a committee: :data:`MEAN` or :data:`FIRST`; else empty.
    """

    path: str
    kind: str
    sha256: str
    size_bytes: int
    interface: str = ""
    members: tuple[ModelSource, ...] = ()
    drive: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from every other model: content and interface; for what depends on these alone."""
        return self.kind, self.sha256, self.interface

    @property
    def files(self) -> tuple[ModelSource, ...]:
        """The files themselves: the members of a committee, else this one."""
        return self.members or (self,)

    @property
    def driving(self) -> ModelSource:
        """What the forces of a simulation come from: of a committee whose first model drives, that one."""
        return self.members[0] if self.drive == FIRST else self

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for files."""
        data = asdict(self)
        for name in ("interface", "members", "drive"):
            if not data[name]:
                del data[name]  # earlier releases, which know none, read the rest
        if self.members:
            data["members"] = [member.as_dict() for member in self.members]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSource:
        """What :meth:`as_dict` gave."""
        members = tuple(cls.from_dict(member) for member in data.get("members", ()))
        return cls(**{**data, "members": members})

    def read(self) -> bytes:
        """The content that was identified: bytes with the digest :attr:`sha256`, whatever the file holds by now.

        Raises
        ------
        ModelFileError
            If the file is gone or has changed.
        """
        kept = _LAST.get(self.sha256)
        if kept is not None:
            return kept
        found, content = read_file(self.path)
        self._compare(found)
        return content

    def verify(self) -> None:
        """Make sure that the file, or each of a committee, is there with the content that was identified.

        Raises
        ------
        ModelFileError
            If a file is gone or its content differs from :attr:`sha256`.
        """
        for file in self.files:
            file._compare(read_file(file.path)[0])

    @contextlib.contextmanager
    def private_file(self, suffix: str) -> Iterator[str]:
        """A file of our own with the content that was identified, for libraries that want a path.

        Parameters
        ----------
        suffix : str
            How its name ends: some libraries tell formats by names.

        Yields
        ------
        str
            Path in a folder that nobody else can write to; gone afterwards.

        Raises
        ------
        ModelFileError
            If the file is gone or has changed.
        """
        content = self.read()
        with private_folder() as folder:
            path = os.path.join(folder, "model" + suffix)
            with open(path, "wb") as file:
                file.write(content)
            del content
            yield path

    def _compare(self, found: str) -> None:
        if found != self.sha256:
            raise ModelFileError(
                f"model file {self.path} has changed: its SHA-256 is {found}, the System was built with {self.sha256}; "
                "put the original file back, rebuild the System, or build it with embedModel=True",
                self.path,
            )


def read_file(path: str) -> tuple[str, bytes]:
    """SHA-256 of a file as hex, and the bytes that have it.

    Raises
    ------
    ModelFileError
        If there is no such file, it is no ordinary one, or it cannot be read.
    """
    if path.startswith(PYTHON):
        from .modules.callables import source_of  # what it imports stands above files

        return source_of(path)
    reason = obstacle(path)
    if reason:
        raise ModelFileError(f"model file {path} {reason}", path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ModelFileError(
            f"model file {path} cannot be read: {error.strerror or error}; check its permissions", path
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    _LAST.put(digest, content)
    return digest, content


def sha256_of(path: str) -> str:
    """SHA-256 of a file as hex.

    Raises
    ------
    ModelFileError
        As :func:`read_file`.
    """
    return read_file(path)[0]


def digests_given(trusted: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """What ``trusted=`` says, in one form.

    Parameters
    ----------
    trusted : str or sequence of str, optional
        SHA-256 in hex, in capitals or not; several for a committee, in a list or with commas.

    Returns
    -------
    tuple of str, or None

    Raises
    ------
    ValueError
        If it is no SHA-256.
    """
    if trusted is None:
        return None
    listed = trusted.split(",") if isinstance(trusted, str) else trusted
    texts = [each.strip().lower() if isinstance(each, str) else "" for each in _listed(listed)]
    if not texts or not all(re.fullmatch("[0-9a-f]{64}", text) for text in texts):
        raise ValueError(
            f"trusted={trusted!r} is no SHA-256; give its 64 hexadecimal digits, as `sha256sum` prints them for a file "
            "that you trust; for a committee those of each model, in a list"
        )
    return tuple(texts)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, Iterable) else [values]


def check_trusted(source: ModelSource, trusted: str | Iterable[str] | None) -> None:
    """Refuse a file whose SHA-256 is not the pinned one, before any of its code runs.

    Parameters
    ----------
    source : ModelSource
        The file, or a committee.
    trusted : str or sequence of str, optional
        SHA-256 that it must have; None for any. Each model of a committee must have one of several.

    Raises
    ------
    ModelFileError
        If ``trusted`` is given and the SHA-256 of a file is not in it.
    ValueError
        If it is no SHA-256.
    """
    wanted = digests_given(trusted)
    if wanted is None:
        return
    for file in source.files:
        if file.sha256 not in wanted:
            raise ModelFileError(
                f"model file {file.path} is not the trusted one: its SHA-256 is {file.sha256}, trusted={trusted!r}; "
                "nothing of it was loaded",
                file.path,
            )
    for digest in wanted:
        TRUSTED.add(digest)
