"""What a watch found, and the record of it that outlives the process."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..run_folder import written_atomically

logger = logging.getLogger(__name__)

#: How grave a finding is: something to know, something that should not be, something that ends the run.
NOTE, SUSPICION, CERTAINTY = 0, 1, 2
_WORDS = ("note", "suspicious", "wrong")
_DIGEST = "sha256"


def graded(certain: bool) -> int:
    """:data:`CERTAINTY` or :data:`SUSPICION`."""
    return CERTAINTY if certain else SUSPICION


@dataclass(frozen=True)
class Finding:
    """Something about a run that its user should know.

    Parameters
    ----------
    kind : str
        What was looked at: ``"bonds"``, ``"contacts"``, ``"lost atoms"``, ``"temperature"``, ``"energy"``,
        ``"time step"``, ``"equilibration"`` or ``"committee"``.
    text : str
        What was seen, where, and what was expected, in a line.
    value, limit : float
        The number seen and the one it should have kept; in the unit that the text names.
    level : int
        :data:`NOTE`, :data:`SUSPICION` or :data:`CERTAINTY`.
    atoms : tuple of int
        Atoms concerned.
    stage : str
        Stage of the run, empty until a record knows it.
    first_step, last_step : int
        Steps of the stage at which it was seen.
    times : int
        Number of looks at which it was seen.
    """

    kind: str
    text: str
    value: float
    limit: float
    level: int = SUSPICION
    atoms: tuple[int, ...] = ()
    stage: str = ""
    first_step: int = 0
    last_step: int = 0
    times: int = 1

    def line(self) -> str:
        """The finding as the log and the terminal have it."""
        when = f"{self.stage}, step {self.first_step}"
        more = f" (seen {self.times} times, last at step {self.last_step})" if self.times > 1 else ""
        return f"{_WORDS[self.level]}: {self.kind} ({when}): {self.text}{more}"


class Record:
    """Findings of a run, one for each kind, on disk as soon as there is one.

    Parameters
    ----------
    path : pathlib.Path
        JSON file of the run; made with the first finding.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, Finding] = {}
        try:
            rows = _read(path) if path.exists() else []
            found = [Finding(**{**row, "atoms": tuple(row["atoms"])}) for row in rows]
            self._kept = {each.kind: each for each in found}
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s): what was found before is in run.log alone", path, error)

    @property
    def findings(self) -> Sequence[Finding]:
        """In the order in which they were first seen."""
        return list(self._kept.values())

    def line_of(self, kind: str) -> str:
        """The line of the finding of a kind."""
        return self._kept[kind].line()

    def forget_after(self, stage: str, step: int) -> None:
        """Drop what was seen in a stage after a step to which the run was put back.

        Parameters
        ----------
        stage : str
            The stage.
        step : int
            Its present step.
        """
        kept = {kind: found for kind, found in self._kept.items() if found.stage != stage or found.first_step <= step}
        if len(kept) < len(self._kept):
            self._kept = kept
            self._write()

    def add(self, found: Finding, stage: str, step: int) -> bool:
        """Note a finding.

        Parameters
        ----------
        found : Finding
            As a check made it.
        stage : str
            Stage of the run.
        step : int
            Step of the stage.

        Returns
        -------
        bool
            Whether it is news: the first of its kind, or the first that is so grave.
        """
        before = self._kept.get(found.kind)
        if before is None:
            self._kept[found.kind] = replace(found, stage=stage, first_step=step, last_step=step)
            self._write()
            return True
        news = found.level > before.level
        worst = found if news else before
        # Counts go to disk with the next news and at the end: a run that is suspicious at each look is not slowed.
        self._kept[found.kind] = replace(
            worst, stage=stage if news else before.stage, first_step=step if news else before.first_step,
            last_step=step, times=before.times + 1,
        )  # fmt: skip
        if news:
            self._write()
        return news

    def of_level(self, *levels: int) -> list[dict]:
        """Findings of these levels as plain data, each with its line of text."""
        return [{**asdict(found), "line": found.line()} for found in self._kept.values() if found.level in levels]

    def save(self) -> None:
        """Write the counts; nothing where nothing was found."""
        if self._kept:
            self._write()

    def _write(self) -> None:
        with written_atomically(self._path) as scratch:
            rows = [asdict(found) for found in self._kept.values()]
            known = {"findings": rows, _DIGEST: _digest_of(rows)}
            scratch.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _digest_of(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> list[dict[str, Any]]:
    """Findings as they were written; ValueError, KeyError or TypeError if they are damaged."""
    known = json.loads(path.read_text(encoding="utf-8"))
    if known[_DIGEST] != _digest_of(known["findings"]):
        raise ValueError("its content is not that of its SHA-256")
    return known["findings"]
