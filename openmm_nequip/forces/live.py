"""The functions of this process's forces, to ask something of all of them: OpenMM gives no way from a force to its own.

A PythonForce keeps its function to itself, so whoever needs it finds it here.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any


class LiveComputations:
    """Functions of forces that somebody holds; others are let go."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[Any] = weakref.WeakSet()
        self._guard = threading.Lock()

    def add(self, computation: Any) -> None:
        """Remember a function as long as it lives."""
        with self._guard:
            self._members.add(computation)

    def forget_lists(self) -> None:
        """Drop every neighbour list; the next call of each makes a new one."""
        with self._guard:
            members = list(self._members)
        for computation in members:
            computation.forget_lists()


LIVE = LiveComputations()


def forget_lists() -> None:
    """Make the edges of all models depend on the next positions alone, not on those that were before.

    An edge list that is kept with a skin, and thereby the order of the sums over it, depends on when it was made. Two
    runs are equal bit for bit only if they make theirs at the same steps.
    """
    LIVE.forget_lists()
