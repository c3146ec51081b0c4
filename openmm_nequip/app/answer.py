"""What a command answers, and its exit codes."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

PROGRAM = "openmm-nequip"
OK, FAILED = 0, 1
#: A run has come to its end, and something in it is not as in a right one.
SUSPICIOUS = 3


class Answer(NamedTuple):
    """What a command has to say."""

    document: dict[str, Any]  #: for ``--json``
    text: str  #: for a person
    code: int = OK  #: exit code


#: What a terminal takes for a command, or for a change of direction, rather than for text.
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text with everything that is a command to a terminal written out: files and paths may hold any characters.

    Parameters
    ----------
    text : str
        Line ends and tabs in it stay.

    Returns
    -------
    str
    """
    return _COMMANDS.sub(lambda found: repr(found[0])[1:-1], text)


def pairs(values: dict[str, Any]) -> str:
    """Names and values in one line, without those that are None; ``none stated`` for nothing."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None) or "none stated"
