"""The terminal while a command runs: log and warnings go to stderr, one line each."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from .answer import printable

_PACKAGE = __name__.split(".")[0]


class _Handler(logging.Handler):
    """Writes records to stderr, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        from tqdm.auto import tqdm

        tqdm.write(printable(self.format(record)), file=sys.stderr)


@contextlib.contextmanager
def console(quiet: bool, debug: bool) -> Iterator[None]:
    """Log and warn to stderr, one line each, and keep stdout for the answer.

    Parameters
    ----------
    quiet : bool
        Whether only warnings are shown.
    debug : bool
        Whether everything is shown.
    """
    handler = _Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    package = logging.getLogger(_PACKAGE)
    level = package.level
    package.addHandler(handler)
    # --quiet is about the terminal; the log that a run keeps in its folder gets everything.
    handler.setLevel(logging.WARNING if quiet else logging.NOTSET)
    package.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), _descriptor_to_stderr():
            warnings.showwarning = _show_warning
            yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


@contextlib.contextmanager
def _descriptor_to_stderr() -> Iterator[None]:
    """Send to stderr what compiled code prints to stdout: OpenMM does with some warnings, and Python cannot see it."""
    try:
        sys.__stdout__.flush()  # type: ignore[union-attr]
        kept = os.dup(1)
    except (OSError, AttributeError, ValueError):  # there is no stdout
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # what C has not written yet belongs to stderr as well
        os.dup2(kept, 1)
        os.close(kept)


def _show_warning(message: Any, category: Any, filename: str, *_: Any, **__: Any) -> None:
    # Other packages' advice to their programmers is noise to a person at the terminal.
    if _PACKAGE in filename or "openmm" in filename:
        logging.getLogger(_PACKAGE).warning("warning: %s", str(message).splitlines()[0])
