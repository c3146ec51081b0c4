"""Borrowed from Python: variables of a caller that has no other way to hand them over."""

from __future__ import annotations

import sys
from typing import Any


def caller_variable(name: str, depth: int) -> Any:
    """A local variable of a function further up the stack, or None where there is none of that name.

    Borrows ``sys._getframe``, which CPython has and other Pythons need not. Used where another package keeps to itself
    what it should hand on; each use says which package and version that is.

    Parameters
    ----------
    name : str
        The variable.
    depth : int
        Calls between this function's caller and the function that has it: 1 is the caller's caller.

    Returns
    -------
    object or None
    """
    try:
        frame = sys._getframe(depth + 1)
    except (AttributeError, ValueError):
        return None
    return frame.f_locals.get(name)
