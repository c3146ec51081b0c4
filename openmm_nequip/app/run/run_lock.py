"""One run folder, one process: a lock for the life of a run."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ...errors import RunFolderError

logger = logging.getLogger(__name__)

NAME = "run.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder; the system lets go of it when the process ends, however it ends.

    Parameters
    ----------
    folder : pathlib.Path
        It exists.

    Raises
    ------
    RunFolderError
        If another process, or another run of this one, has it.
    """
    path = folder / NAME
    holder = _holder(path)
    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(
            f"output folder {folder} is in use by another run{holder}; wait until that one has ended, or stop it "
            "(Ctrl-C saves)",
            str(folder),
        ) from None
    except (OSError, NotImplementedError) as error:
        # Some network file systems have no locks.
        logger.warning("%s cannot be locked (%s): do not start two runs in it", folder, error)
    try:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                os.truncate(path, 0)
        lock.release()


def _holder(path: Path) -> str:
    """Who is written into the lock, for a message."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({text})" if text.startswith("process ") and text.isprintable() else ""
