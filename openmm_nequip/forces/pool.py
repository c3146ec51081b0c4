"""One force in several Contexts: as many evaluators as take turns, each with a neighbour list of its own.

OpenMM does not say which Context calls. But a simulation moves its atoms little from one call to the next, so a call
with quite other positions than the last one, and nearly those of an earlier one, comes from another Context that takes
turns with the first. Then a second evaluator is opened for it, and from there on each call goes to the one whose last
positions are nearest. A jump alone (a minimisation, a new frame) opens nothing. Calls that come while an evaluator is
at work, from another thread, get another one.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

#: Atoms that are looked at: enough to tell structures apart at a price that does not grow with them.
PROBES = 16
#: How far the probes may move between two calls of one Context, in nm (root mean square): a quarter of the default
#: skin, and many times what a step of dynamics does.
NEAR_NM = 0.02
#: Evaluators of one force, by number of atoms: the memory of each grows with them.
_MOST = ((2_000, 8), (20_000, 4))
_FEWEST = 2
#: Earlier positions that are remembered, for Contexts that take turns.
_REMEMBERED = 8


class OpenEvaluator(Protocol):
    """What a pool holds: called with positions and box, gives energy and forces."""

    def __call__(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (n_particles, 3) in kJ/mol/nm."""


class _Member:
    def __init__(self, evaluator: OpenEvaluator) -> None:
        self.evaluator = evaluator
        self.busy = False
        self.last: np.ndarray | None = None
        self.before: deque[np.ndarray] = deque(maxlen=_REMEMBERED)

    def distance(self, probes: np.ndarray) -> float:
        """How far the probes (n_probes, 3) are from those of the last call."""
        return 0.0 if self.last is None else _distance(self.last, probes)

    def took_turns(self, probes: np.ndarray) -> bool:
        """Whether the probes (n_probes, 3) go on from an earlier call that was not the last."""
        return any(_distance(earlier, probes) < NEAR_NM for earlier in self.before)

    def remember(self, probes: np.ndarray) -> None:
        """These are the probes (n_probes, 3) of the last call."""
        if self.last is not None and self.distance(probes) >= NEAR_NM:
            self.before.append(self.last)
        self.last = probes


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square displacement of probes (n_probes, 3)."""
    if a.shape != b.shape:
        return math.inf
    moved = a - b
    return math.sqrt(np.vdot(moved, moved) / len(moved)) if len(moved) else 0.0


class EvaluatorPool:
    """Evaluators of one force; called as one, from any thread.

    Parameters
    ----------
    make : callable
        Opens an evaluator; called when another one is needed.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._members = [_Member(make())]
        self._guard = threading.Condition()

    def __len__(self) -> int:
        return len(self._members)

    def __call__(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Energy and forces, see :meth:`openmm_nequip.evaluate.evaluator.Evaluator.__call__`.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm.

        Returns
        -------
        tuple of float and numpy.ndarray, (n_particles, 3)
            kJ/mol and kJ/mol/nm.
        """
        n = len(positions)
        probes = positions[:: max(1, n // PROBES)].copy()
        member = self._take(probes, next((most for size, most in _MOST if n <= size), _FEWEST))
        try:
            return member.evaluator(positions, box)
        finally:
            with self._guard:
                member.busy = False
                self._guard.notify()

    def forget_lists(self) -> None:
        """Drop the neighbour lists of all evaluators."""
        for member in list(self._members):
            member.evaluator.forget_lists()  # type: ignore[attr-defined]

    def _take(self, probes: np.ndarray, most: int) -> _Member:
        """The evaluator for a call, which nobody else uses meanwhile."""
        with self._guard:
            while True:
                free = [member for member in self._members if not member.busy]
                if free:
                    member = min(free, key=lambda each: each.distance(probes)) if len(free) > 1 else free[0]
                    another = len(self._members) < most and member.took_turns(probes)
                    if not (another and member.distance(probes) >= NEAR_NM):
                        break
                elif len(self._members) >= most:
                    self._guard.wait()
                    continue
                member = _Member(self._make())
                self._members.append(member)
                break
            member.busy = True
            member.remember(probes)
        return member
