"""Files that a command makes: under a name of their own until they are whole, and never over another without a word."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError


def check_new(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse names that are taken or cannot be written to, before any time is spent.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Files to be made.
    overwrite : bool
        Whether files that are there may be replaced.

    Raises
    ------
    UsageError
        With the name and what to do.
    """
    for path in paths:
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise UsageError(f"{path} cannot be written: {folder} is no folder; give another name")
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{path} cannot be written: the folder {folder} is read-only; give another name")
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise UsageError(f"{path} is there and is no ordinary file; give another name")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} is there already; give another name, or --overwrite to replace it")


@contextmanager
def made_whole(paths: Sequence[Path], overwrite: bool) -> Iterator[Path]:
    """A folder to make files in, which go to their places together when the block ends without an error.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Where files of the same names go, all in one folder; one that was not made is left out.
    overwrite : bool
        As in :func:`check_new`, which is called first.

    Yields
    ------
    pathlib.Path
        The scratch folder, on the same file system.

    Raises
    ------
    UsageError
        As :func:`check_new`.
    """
    check_new(paths, overwrite)
    folder = paths[0].parent
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".openmm-nequip-", dir=folder))
    try:
        yield scratch
        check_new(paths, overwrite)  # somebody may have been faster
        for path in paths:
            if (scratch / path.name).exists():
                os.replace(scratch / path.name, path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        for each in made:
            if each.exists() and not any(each.iterdir()):
                each.rmdir()
        raise
    shutil.rmtree(scratch, ignore_errors=True)
