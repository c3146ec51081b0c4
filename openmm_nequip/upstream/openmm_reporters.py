"""Files of OpenMM's reporters."""

from __future__ import annotations

import contextlib
from typing import Any


def close_reporter(reporter: Any) -> None:
    """Let go of a reporter's file, without a word if a full disk makes even that fail.

    Borrowed: the attribute ``_out`` of OpenMM's DCDReporter and other reporters, which have no ``close``: they close
    their file when the garbage collector finds them. Known to work: OpenMM 8.2 to 8.6. Where it is gone, the reporter's
    own ``close`` is called if there is one. Test: ``tests/test_run.py``.

    Parameters
    ----------
    reporter
        Any of ``Simulation.reporters``.
    """
    handle = getattr(reporter, "_out", reporter)
    with contextlib.suppress(OSError):
        getattr(handle, "close", lambda: None)()
