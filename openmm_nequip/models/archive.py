"""Entries of zip archives, which all model files of today are."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter

from ..errors import ModelFileError
from ..files import memory_bytes
from .source import ModelSource

#: What Python's reader raises on archives that are not as they were written.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, LookupError, ValueError, RuntimeError, TypeError,
    OverflowError, MemoryError,
)  # fmt: skip

#: Share of the machine's memory that unpacked entries may take.
_SHARE = 0.5


def damaged(path: str, reason: object) -> ModelFileError:
    """The error for a file that is not as it was written.

    Parameters
    ----------
    path : str
        The file.
    reason : object
        What was found.

    Returns
    -------
    ModelFileError
    """
    return ModelFileError(f"model file {path} is damaged ({reason}); copy it again", path)


def _opened(file: str | ModelSource) -> zipfile.ZipFile:
    return zipfile.ZipFile(file if isinstance(file, str) else io.BytesIO(file.read()))


def _path(file: str | ModelSource) -> str:
    return file if isinstance(file, str) else file.path


def check_archive(path: str, content: bytes) -> tuple[str, ...]:
    """Names of the entries of an archive, after comparing the content of each with its checksum.

    Parameters
    ----------
    path : str
        The file, for messages.
    content : bytes
        What is in it.

    Returns
    -------
    tuple of str

    Raises
    ------
    ModelFileError
        If an entry is not as it was written, two have one name, or a name leads out of the archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > _SHARE * memory_bytes():
                raise damaged(path, f"its entries claim {unpacked:.3g} bytes, more than this machine can hold")
            spoiled = archive.testzip()
    except ModelFileError:
        raise
    except DAMAGED as error:
        raise damaged(path, error) from error
    if spoiled is not None:
        raise damaged(path, f"the checksum of its entry {spoiled!r} is wrong")
    stated = _stated_count(content)
    if stated not in (None, len(names)):
        raise damaged(path, f"its directory has {len(names)} entries of {stated}")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise damaged(path, f"two of its entries have the name {twice[0]!r}")
    outside = [name for name in names if _leads_out(name)]
    if outside:
        raise ModelFileError(
            f"model file {path} has the entry {outside[0]!r}, which would be written outside its own folder; no tool "
            "writes such files: do not use it",
            path,
        )
    return tuple(names)


def _stated_count(content: bytes) -> int | None:
    """Number of entries by the archive's last record, which Python's reader does not compare; None for very many."""
    end = content.rfind(b"PK\x05\x06")
    count = int.from_bytes(content[end + 10 : end + 12], "little") if end >= 0 else 0xFFFF
    return None if count == 0xFFFF else count


def _leads_out(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or ":" in parts[0] or "\0" in name


def read_entry(file: str | ModelSource, name: str) -> bytes:
    """An entry of a zip archive.

    Parameters
    ----------
    file : str or ModelSource
        The archive.
    name : str
        The entry.

    Returns
    -------
    bytes

    Raises
    ------
    ModelFileError
        If the archive or the entry is damaged.
    """
    try:
        with _opened(file) as archive:
            return archive.read(name)
    except ModelFileError:
        raise
    except DAMAGED as error:
        raise damaged(_path(file), error) from error


def entries(file: str | ModelSource) -> list[str]:
    """Names of the entries of a zip archive.

    Raises
    ------
    ModelFileError
        If the archive is damaged.
    """
    try:
        with _opened(file) as archive:
            return archive.namelist()
    except ModelFileError:
        raise
    except DAMAGED as error:
        raise damaged(_path(file), error) from error


def find_entry(file: str | ModelSource, end: str) -> str | None:
    """The first entry of an archive whose name ends so, or None.

    Parameters
    ----------
    file : str or ModelSource
        The archive.
    end : str
        End of the name.

    Returns
    -------
    str or None
    """
    return next((name for name in entries(file) if name.endswith(end)), None)


def read_end(file: str | ModelSource, end: str) -> bytes | None:
    """Content of the first entry whose name ends so, or None where there is none.

    Parameters
    ----------
    file : str or ModelSource
        The archive.
    end : str
        End of the name.

    Returns
    -------
    bytes or None
    """
    name = find_entry(file, end)
    return None if name is None else read_entry(file, name)
