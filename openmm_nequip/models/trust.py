"""What the user of this process has said to trust: files by their SHA-256, Python functions by their name."""

from __future__ import annotations

import re
import threading

from ..choices import PYTHON

_DIGEST = re.compile("[0-9a-f]{64}")


class TrustedThings:
    """Digests and names that may bring code of their own into this process."""

    def __init__(self) -> None:
        self._things: set[str] = set()
        self._guard = threading.Lock()

    def add(self, thing: str) -> None:
        """Trust a digest or a name from now on."""
        with self._guard:
            self._things.add(thing)

    def __contains__(self, thing: str) -> bool:
        return thing in self._things


TRUSTED = TrustedThings()


def trust(what: str) -> None:
    """Allow code that a saved System names to be loaded in this process.

    Parameters
    ----------
    what : str
        SHA-256 of a module file, whose extension libraries are then loaded; or ``python:MODULE:NAME``, which is then
        imported and called when a System asks for it.

    Raises
    ------
    ValueError
        If it is neither.
    """
    text = what.strip() if isinstance(what, str) else ""
    if _DIGEST.fullmatch(text.lower()):
        TRUSTED.add(text.lower())
    elif text.startswith(PYTHON) and text.count(":") == 2:
        TRUSTED.add(text)
    else:
        raise ValueError(f"trust({what!r}): give the SHA-256 of a file, or python:MODULE:NAME of a Python function")
