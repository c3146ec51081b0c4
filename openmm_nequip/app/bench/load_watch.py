"""How busy the machine was while something was timed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_SCHEDULER = Path("/proc/thread-self/schedstat")
_NS_PER_S = 1e9
#: Columns of the first line of /proc/stat in which no program of this machine works: idle, waiting for a disk.
_IDLE = (3, 4)
#: Share of the time that this thread may wait for a core before its figures count as disturbed.
BUSY_WAITING = 0.1
#: Cores that other programs may use before the same, unless as many are idle.
BUSY_CORES = 0.5


class LoadWatch:
    """Looks at other programs from when it is made until :meth:`facts`. On Linux; elsewhere it knows nothing."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), _waited(), _busy(), sum(os.times()[:4])

    def facts(self) -> dict[str, Any]:
        """What was going on.

        Returns
        -------
        dict
            ``waiting``: share of the time that this thread was ready and had no core; ``other_cores``: cores that
            other programs used, of ``cores``; ``busy``: whether that disturbs. None for what cannot be told.
        """
        start, waited, busy, own = self._start
        seconds = max(time.perf_counter() - start, 1e-9)
        now_waited, now_busy = _waited(), _busy()
        waiting = None if waited is None or now_waited is None else (now_waited - waited) / seconds
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        used = (sum(os.times()[:4]) - own) / seconds
        others = None
        if busy is not None and now_busy is not None:
            others = max(0.0, (now_busy - busy) / seconds - used)
        crowded = others is not None and others > BUSY_CORES and others + used > cores - BUSY_CORES
        return {
            "waiting": None if waiting is None else round(waiting, 3),
            "other_cores": None if others is None else round(others, 2),
            "cores": cores,
            "busy": (waiting or 0.0) > BUSY_WAITING or crowded,
        }


def _waited() -> float | None:
    """Seconds that this thread has been ready without a core."""
    try:
        return int(_SCHEDULER.read_text(encoding="ascii").split()[1]) / _NS_PER_S
    except (OSError, ValueError, IndexError):
        return None


def _busy() -> float | None:
    """Seconds that all cores together have worked."""
    try:
        fields = [int(word) for word in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
        return sum(value for i, value in enumerate(fields) if i not in _IDLE) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
