"""The cache folder: compiled models and answers that are slow to find out.

What is in it runs as code, so nothing in it is believed for its name: folders and files belong to this user and nobody
else may write to them, and each file bears the SHA-256 of its content in its name. One that is not as it was written,
planted, truncated or with a flipped bit, is taken away and made anew. Files appear whole or not at all; what a killed
process was in the middle of is swept away by the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

ENVIRONMENT_VARIABLE = "OPENMM_NEQUIP_CACHE"
_SCRATCH = "openmm-nequip-"
_PART = ".part-"
#: Files being written and folders being filled are left alone for so long, if their owner cannot be asked.
_STALE_S = 3600.0
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_DIGEST = re.compile("[0-9a-f]{64}")


def cache_dir() -> Path:
    """The cache folder, created if needed.

    ``$OPENMM_NEQUIP_CACHE``, else ``openmm-nequip`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises
    ------
    OSError
        If it cannot be created, or belongs to somebody else.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openmm-nequip"
    return _private(Path(named).expanduser() if named else base)


def shelf(name: str) -> Path:
    """A folder in the cache folder, created if needed.

    Raises
    ------
    OSError
        As :func:`cache_dir`.
    """
    return _private(cache_dir() / name)


def _private(folder: Path) -> Path:
    """The folder, made for this user alone to write to."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name != "posix":
        return folder
    facts = folder.stat()
    if facts.st_uid not in (os.geteuid(), 0):
        raise PermissionError(
            f"{folder} belongs to the user {facts.st_uid}, who could have put code into it that runs here; name a "
            f"folder of your own with {ENVIRONMENT_VARIABLE}"
        )
    if facts.st_mode & _OTHERS:
        if facts.st_uid != os.geteuid():
            raise PermissionError(
                f"others may write to {folder} (mode {stat.S_IMODE(facts.st_mode):o}), and what is in it runs as code "
                f"here; name a folder of your own with {ENVIRONMENT_VARIABLE}"
            )
        logger.warning("others could write to the cache folder %s; from now on only you can", folder)
        folder.chmod(stat.S_IMODE(facts.st_mode) & ~_OTHERS)
    return folder


def key_of(facts: Mapping[str, object]) -> str:
    """A short, stable name for a set of facts."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find(folder: Path, key: str, suffix: str) -> tuple[Path, bytes] | None:
    """What is kept under a key, if it is as it was written.

    Parameters
    ----------
    folder : pathlib.Path
        A :func:`shelf`.
    key : str
        Its name.
    suffix : str
        How the file's name ends.

    Returns
    -------
    tuple of pathlib.Path and bytes, or None
        The file and its content. Files with another content than their name says, or that others could have written,
        are taken away.

    Raises
    ------
    OSError
        If a file cannot be read for another reason.
    """
    for path in sorted(folder.glob(f"{key}-*{suffix}")):
        digest = path.name[len(key) + 1 : len(path.name) - len(suffix)]
        if not _DIGEST.fullmatch(digest):
            continue
        try:
            with open(path, "rb") as file:
                reason = _writable(os.fstat(file.fileno()))
                content = b"" if reason else file.read()
        except FileNotFoundError:  # another process has just taken it away
            continue
        if not reason and hashlib.sha256(content).hexdigest() == digest:
            return path, content
        logger.warning("%s %s and is made anew", path, reason or "is damaged")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    return None


def _writable(facts: os.stat_result) -> str:
    """Why others could have written a file; empty if they could not."""
    if not stat.S_ISREG(facts.st_mode):
        return "is no file"
    if os.name != "posix":
        return ""
    if facts.st_uid not in (os.geteuid(), 0):
        return f"belongs to the user {facts.st_uid}"
    return "could be written by others" if facts.st_mode & _OTHERS else ""


def keep(folder: Path, key: str, suffix: str, content: bytes) -> Path:
    """Keep something under a key, with the digest of its content in the file's name.

    Parameters
    ----------
    folder, key, suffix
        As :func:`find`.
    content : bytes
        What to keep.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = folder / f"{key}-{hashlib.sha256(content).hexdigest()}{suffix}"
    write_atomically(path, content)
    return path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees part of it and two writers do no harm."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name[:40] + _PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def scratch(folder: Path, name: str) -> Iterator[Path]:
    """A folder to work in, gone afterwards; those that killed processes have left are swept away first.

    Parameters
    ----------
    folder : pathlib.Path
        A :func:`shelf`.
    name : str
        What the work is, for its name.

    Yields
    ------
    pathlib.Path
    """
    sweep(folder)
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{name}-", dir=folder, ignore_cleanup_errors=True) as path:
        with _claimed(path):
            yield Path(path)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for files that other libraries are to read, gone afterwards.

    It is in the cache folder, where the next process sweeps away what a killed one has left; where that cannot be used,
    among the system's temporary files.

    Yields
    ------
    pathlib.Path
        Nobody else can write to it.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch(shelf("opening"), "open"))
        except OSError:
            named = tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(named))
        yield folder


@contextlib.contextmanager
def _claimed(path: str) -> Iterator[None]:
    """Hold a lock on a folder: it ends with the process, in whatever way that ends."""
    handle = os.open(path, os.O_RDONLY) if fcntl else -1
    try:
        if fcntl:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def sweep(folder: Path) -> None:
    """Take away what processes that are no more have left half done in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        A :func:`shelf`.
    """
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                age = time.time() - path.lstat().st_mtime
                if path.name.startswith(_SCRATCH) and path.is_dir():
                    if _abandoned(path, age):
                        shutil.rmtree(path, ignore_errors=True)
                elif _PART in path.name and age > _STALE_S:
                    path.unlink()


def _abandoned(path: Path, age: float) -> bool:
    """Whether nobody works in a scratch folder; young ones may not be claimed yet."""
    if fcntl is None:
        return age > 24 * _STALE_S
    if age < 60.0:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return age > 24 * _STALE_S
    finally:
        os.close(handle)
