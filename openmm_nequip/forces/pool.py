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
#: The same for a mean over coordinates, in nm^2.
_NEAR_SQUARE = NEAR_NM**2 / 3.0
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

    def near(self, probes: np.ndarray) -> bool:
        """Whether the probes (3 n_probes,) go on from those of the last call."""
        return self.last is None or _square(self.last, probes) <= _NEAR_SQUARE * len(probes)

    def took_turns(self, probes: np.ndarray) -> bool:
        """Whether the probes (3 n_probes,) go on from an earlier call that was not the last."""
        return any(_square(earlier, probes) <= _NEAR_SQUARE * len(probes) for earlier in self.before)


def _square(a: np.ndarray, b: np.ndarray) -> float:
    """Sum of squared displacements of probes (3 n_probes,), nm^2."""
    if a.size != b.size:
        return math.inf
    moved = a - b
    return float(moved.dot(moved))


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
        # Taken at every step: the lock itself is cheaper to enter than the condition round it.
        self._guard = threading.Lock()
        self._freed = threading.Condition(self._guard)
        self._waiting = 0
        self._size = -1
        self._places = np.zeros(0, dtype=np.int64)

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
        member = self._take(positions)
        try:
            return member.evaluator(positions, box)
        finally:
            member.busy = False
            if self._waiting:
                with self._guard:
                    self._freed.notify()

    def forget_lists(self) -> None:
        """Drop the neighbour lists of all evaluators."""
        for member in list(self._members):
            member.evaluator.forget_lists()  # type: ignore[attr-defined]

    def _take(self, positions: np.ndarray) -> _Member:
        """The evaluator for a call, which nobody else uses meanwhile."""
        with self._guard:
            if positions.size != self._size:
                self._size = positions.size
                atoms = np.arange(0, len(positions), max(1, len(positions) // PROBES))
                self._places = (3 * atoms[:, None] + np.arange(3)).ravel()
            probes = positions.take(self._places)
            member = self._members[0]
            if len(self._members) > 1 or member.busy or not member.near(probes):  # seldom
                member = self._choose(probes, len(positions))
            member.busy = True
            member.last = probes
        return member

    def _choose(self, probes: np.ndarray, n_atoms: int) -> _Member:
        most = next((most for size, most in _MOST if n_atoms <= size), _FEWEST)
        while True:
            free = [member for member in self._members if not member.busy]
            if free:
                member = min(free, key=lambda each: 0.0 if each.last is None else _square(each.last, probes))
                if member.near(probes):
                    return member
                if len(self._members) < most and member.took_turns(probes):
                    break
                member.before.append(member.last)  # type: ignore[arg-type]  # only what was called is far from anything
                return member
            if len(self._members) < most:
                break
            self._waiting += 1
            self._freed.wait(1.0)
            self._waiting -= 1
        member = _Member(self._make())
        self._members.append(member)
        return member
