"""What a check says: ok, look or stop, with the number and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OK, LOOK, STOP = "ok", "look", "stop"
LEVELS = (OK, LOOK, STOP)


@dataclass(frozen=True)
class CheckVerdict:
    """The outcome of one check.

    Parameters
    ----------
    name : str
        Of the check.
    level : str
        ``"ok"``, ``"look"`` (may be right, a person should look) or ``"stop"``.
    text : str
        What was found, and what to do where it is not ok.
    value, limit : float, optional
        The number and where it stops being ok.
    """

    name: str
    level: str
    text: str
    value: float | None = None
    limit: float | None = None


def graded(value: float, look: float, stop: float) -> str:
    """The level of a number that should be small."""
    return OK if value <= look else LOOK if value <= stop else STOP


@dataclass
class Report:
    """All verdicts on a system.

    Parameters
    ----------
    verdicts : list of CheckVerdict
        In the order in which the checks were made.
    facts : dict
        Numbers that are no verdict: atoms, speeds, series for the picture.
    """

    verdicts: list[CheckVerdict] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The worst of all verdicts."""
        return max((verdict.level for verdict in self.verdicts), key=LEVELS.index, default=OK)

    def of(self, name: str) -> CheckVerdict:
        """The verdict of a check.

        Raises
        ------
        ValueError
            If the check was not made.
        """
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        made = ", ".join(verdict.name for verdict in self.verdicts)
        raise ValueError(f"the check {name!r} was not made; made were {made}")

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        rows = [vars(verdict) for verdict in self.verdicts]
        return {"level": self.level, "verdicts": rows} | self.facts

    def __str__(self) -> str:
        width = max((len(verdict.name) for verdict in self.verdicts), default=0)
        rows = [f"{verdict.level:4}  {verdict.name:{width}}  {verdict.text}" for verdict in self.verdicts]
        counts = {level: sum(verdict.level == level for verdict in self.verdicts) for level in LEVELS}
        total = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
        return "\n".join([*rows, f"{self.level}: {total}"])
