"""What a command answers, and its exit codes."""

from __future__ import annotations

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


def pairs(values: dict[str, Any]) -> str:
    """Names and values in one line, without those that are None; ``none stated`` for nothing."""
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None) or "none stated"
