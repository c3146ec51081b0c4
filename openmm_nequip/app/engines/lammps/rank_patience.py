"""Lines of the ranks as they come, and when to stop waiting for more."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable

#: Seconds: the limit before any step was measured, the least limit after that, and how many of the longest steps it is.
FIRST_S, LEAST_S, STEPS = 3600.0, 300.0, 100.0
#: Seconds of one look. A launcher that was itself stopped for hours counts them as one look.
_LOOK_S = 1.0


class RankPatience:
    """Waits for lines of the ranks, and knows how long that takes them at most.

    Parameters
    ----------
    limit : float, optional
        Seconds without a line of dynamics after which to give up; by default :data:`STEPS` times the longest time
        between two such lines so far, at least :data:`LEAST_S`. Whatever comes before steps has :data:`FIRST_S`, or
        this if it is longer.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._given = limit
        self._longest: float | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    @property
    def limit(self) -> float:
        """Seconds to wait for a line of dynamics."""
        if self._given is not None:
            return self._given
        return FIRST_S if self._longest is None else max(LEAST_S, STEPS * self._longest)

    def listen(self, stream: Iterable[str]) -> None:
        """Take lines from a stream from now on, until it ends.

        Parameters
        ----------
        stream : iterable of str
            Standard output of what started the ranks.
        """
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lines = lines

        def forward() -> None:
            try:
                for line in stream:
                    lines.put(line)
            except (OSError, ValueError):  # closed under it
                pass
            lines.put("")

        threading.Thread(target=forward, daemon=True, name="ranks").start()

    def line(self, measured: bool) -> str:
        """The next line, empty where there are no more.

        Parameters
        ----------
        measured : bool
            Whether the ranks take steps now.

        Raises
        ------
        TimeoutError
            If none has come in time.
        """
        limit, waited = self.limit if measured else max(self._given or 0.0, FIRST_S), 0.0
        while waited < limit:
            look = min(_LOOK_S, limit - waited)
            begun = time.monotonic()
            try:
                line = self._lines.get(timeout=look)
            except queue.Empty:
                waited += look
                continue
            if measured:
                waited += min(time.monotonic() - begun, look)
                self._longest = max(self._longest or 0.0, waited)
            return line
        raise TimeoutError(f"{limit:g} s")
