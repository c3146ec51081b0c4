"""Files that are read whole: ordinary ones, of a size that this machine can hold."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_NO_NUMBER = re.compile(r"(?:could not convert string to float|invalid literal for int\(\) with base 10): (.*)")
#: Share of the machine's memory that the content of one file may take.
_SHARE = 0.5
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def obstacle(path: str | os.PathLike[str]) -> str:
    """Why a file cannot be read whole: it is missing, no ordinary file, or too large.

    Nothing is opened: a pipe would wait for its writer, a device has no end.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    str
        Words that follow the file's name in a sentence; empty if nothing speaks against it.
    """
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return f"does not exist; check the path (relative paths start at {os.getcwd()})"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}; check the path"
    for is_one, name in _KINDS:
        if is_one(facts.st_mode):
            return f"is {name}; expected an ordinary file"
    most = _SHARE * memory_bytes()
    if facts.st_size > most:
        return f"has {facts.st_size:.3g} bytes, and this machine can hold {most:.3g} at most; is it the right file?"
    return ""


#: How text is read: with or without the mark that some editors put before it.
TEXT_ENCODING = "utf-8-sig"


def text_obstacle(path: str | os.PathLike[str]) -> str:
    """Why a file cannot be read as text; parameters and result as :func:`obstacle`.

    Bytes that are no UTF-8 are none: comments have them. Zero bytes are, which text in two bytes a letter is full of.
    """
    reason = obstacle(path)
    if reason:
        return reason
    try:
        with open(path, "rb") as file:
            if b"\0" in file.read():
                return "is no text: it has zero bytes; save it as UTF-8"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}; check its permissions"
    return ""


def folder_obstacle(path: str | os.PathLike[str]) -> str:
    """Why a folder cannot be made, or not be written to; nothing is made.

    Parameters
    ----------
    path : str or path-like
        The folder; it need not exist.

    Returns
    -------
    str
        Words that follow the folder's name in a sentence; empty if nothing speaks against it.
    """
    place = Path(path).absolute()
    try:
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            what = "is" if place == Path(path).absolute() else f"cannot be made: {place} is"
            return f"{what} a file; give another --output"
    except (OSError, ValueError) as error:
        return f"cannot be made: {getattr(error, 'strerror', None) or error}; give another --output"
    if not os.access(place, os.W_OK | os.X_OK) or place.parts[:2] in ((os.sep, "proc"), (os.sep, "sys")):
        return f"cannot be written to: {place} allows no new files; check its permissions, or give another --output"
    return ""


def output_obstacle(path: str | os.PathLike[str]) -> str:
    """Why a file cannot be written; nothing is opened.

    Parameters
    ----------
    path : str or path-like
        The file; one that is there is replaced.

    Returns
    -------
    str
        Words that follow the file's name in a sentence; empty if nothing speaks against it.
    """
    if not os.fspath(path).strip():
        return "is no name; give a file"
    place = Path(path).absolute()
    try:
        if place.exists() and not place.is_file():
            return "is there and is no ordinary file; give another name"
        if not place.parent.is_dir():
            return f"cannot be written: the folder {place.parent} does not exist"
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            return "cannot be written to; check its permissions, or give another name"
    except (OSError, ValueError) as error:
        return f"cannot be written: {getattr(error, 'strerror', None) or error}; give another name"
    return ""


def memory_bytes() -> float:
    """Memory of this machine in bytes."""
    return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")


def parser_reason(error: BaseException) -> str:
    """What a reader's error says of a file, in words for its user: readers show what Python told them.

    Parameters
    ----------
    error : BaseException
        Whatever a reader raised.

    Returns
    -------
    str
        One line.
    """
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    number = _NO_NUMBER.search(text)
    if number:
        return f"a number was expected where {number[1].strip()} stands"
    if "math domain error" in text:
        return "its lengths and angles make no cell"
    if isinstance(error, (IndexError, KeyError, StopIteration, AttributeError, TypeError, UnboundLocalError, EOFError)):
        return f"a line, a column or a name that its format has is missing ({type(error).__name__})"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text or type(error).__name__


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """The text of a file.

    Parameters
    ----------
    path : str or path-like
        The file.
    what : str
        What it is, for messages.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it cannot be read or is no UTF-8 text; the message names the file.
    """
    reason = obstacle(path)
    if reason:
        raise ValueError(f"{what} {path} {reason}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{what} {path} cannot be read: {error.strerror or error}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} {path} is no text ({error}); expected UTF-8") from error
