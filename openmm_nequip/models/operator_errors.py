"""What went wrong inside an operator of a compiled package: of that AOTInductor's runtime passes on no word."""

from __future__ import annotations

import threading


class _Kept(threading.local):
    """The last error of an operator called by this thread, until somebody asks for it."""

    error: Exception | None = None


_KEPT = _Kept()


def keep_operator_error(error: Exception) -> None:
    """Keep an error that leaves an operator.

    Parameters
    ----------
    error : Exception
        What was raised in it.
    """
    _KEPT.error = error


def take_operator_error() -> Exception | None:
    """The error of the last operator that failed in this thread, once."""
    error, _KEPT.error = _KEPT.error, None
    return error
