"""Ctrl-C and a batch system's SIGTERM as a wish to stop, granted between steps."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While the block runs, SIGINT and SIGTERM only set :attr:`signal`: an exception inside a force's function would
    tear OpenMM out of the middle of a step.

    Attributes
    ----------
    signal : int or None
        The signal that came, None if none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            logger.warning("%s: stopping after the present step and saving", signal.Signals(number).name)

    def __bool__(self) -> bool:
        return self.signal is not None
