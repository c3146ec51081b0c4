"""An error in one line."""

from __future__ import annotations

from ..errors import OpenMMNequIPError
from ..kept_error import error_behind
from ..upstream.openmm_messages import first_line

#: Types whose message was written for a reader.
_EXPECTED = (OpenMMNequIPError, ValueError, OSError, RuntimeError, ImportError, TypeError)


def describe_error(error: BaseException) -> str:
    """The message of an error without the traceback that one inside a force's function carries in its text.

    Parameters
    ----------
    error : BaseException
        The error; of OpenMM's exceptions the error behind is told, with its type.

    Returns
    -------
    str
    """
    behind = error_behind(error)
    text = first_line(str(getattr(behind, "typed", behind))) or type(behind).__name__
    return text if behind is error else f"{type(behind).__name__}: {text}"


def one_line(error: BaseException) -> str:
    """An error as the terminal gets it; the type of those that nobody expects.

    Parameters
    ----------
    error : BaseException
        What a command raised.

    Returns
    -------
    str
    """
    text = describe_error(error)
    return text if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {text} (--debug shows where)"
