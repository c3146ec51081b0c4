"""Entries of zip archives, which all model files of today are."""

from __future__ import annotations

import zipfile

from ..errors import ModelFileError


def read_entry(path: str, name: str) -> bytes:
    """An entry of a zip archive.

    Parameters
    ----------
    path : str
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
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise ModelFileError(f"model file {path} is damaged ({error}); copy it again", path) from error


def entries(path: str) -> list[str]:
    """Names of the entries of a zip archive.

    Raises
    ------
    ModelFileError
        If the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelFileError(f"model file {path} is damaged ({error}); copy it again", path) from error


def find_entry(path: str, end: str) -> str | None:
    """The first entry of an archive whose name ends so, or None.

    Parameters
    ----------
    path : str
        The archive.
    end : str
        End of the name.

    Returns
    -------
    str or None
    """
    return next((name for name in entries(path) if name.endswith(end)), None)


def read_end(path: str, end: str) -> bytes | None:
    """Content of the first entry whose name ends so, or None where there is none.

    Parameters
    ----------
    path : str
        The archive.
    end : str
        End of the name.

    Returns
    -------
    bytes or None
    """
    name = find_entry(path, end)
    return None if name is None else read_entry(path, name)
