"""Which frames are chosen: by deviation first, then as far apart as can be, no two alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StructureError
from .candidate import Candidate
from .distance_vectors import distance_vectors
from .farthest_points import farthest, without_copies

#: Without a threshold, so many times as many frames as are wanted go on to the search for the farthest: those of the
#: largest deviation.
POOL = 5


@dataclass(frozen=True)
class Rule:
    """What is wanted.

    Parameters
    ----------
    number : int
        Frames at most.
    above, below : float, optional
        Smallest deviation that is worth a label, and the one from which on a frame is taken for unphysical, eV/Å.
    alike : float
        Two frames are copies where no sorted distance differs by more, Å.
    reach_nm : float
        Longest distance that is told from longer ones, nm.
    """

    number: int = 100
    above: float | None = None
    below: float | None = None
    alike: float = 0.05
    reach_nm: float = 0.6


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and what became of the others.

    Parameters
    ----------
    candidates : list of Candidate
        All frames that were read.
    points : numpy.ndarray, (n_frames, n_columns) float64
        Their sorted distances, Å.
    chosen : list of int
        In the order in which they were chosen.
    distances : numpy.ndarray, (n_chosen,) float64
        Of each from the nearest that was there before, Å; infinite for the first of all.
    fates : list of str
        Of each frame, one of :data:`FATES`.
    """

    candidates: list[Candidate]
    points: np.ndarray
    chosen: list[int]
    distances: np.ndarray
    fates: list[str]


CHOSEN, UNKNOWN, LOW, HIGH, COPY, SMALLER, NEARER = (
    "chosen", "without a deviation", "below the threshold", "too far out", "copy", "of smaller deviation",
    "near others",
)  # fmt: skip
FATES = (CHOSEN, UNKNOWN, LOW, HIGH, COPY, SMALLER, NEARER)


def choose(candidates: Sequence[Candidate], known: Sequence[Candidate], rule: Rule) -> Choice:
    """Choose frames.

    Parameters
    ----------
    candidates : sequence of Candidate
        Frames that may be chosen.
    known : sequence of Candidate
        Frames that have labels already: no copy of theirs is chosen, and none near them.
    rule : Rule
        What is wanted.

    Returns
    -------
    Choice

    Raises
    ------
    StructureError
        If nothing is left to choose; the message says what became of all.
    """
    fates = _by_deviation(candidates, rule)
    both = [*candidates, *known]
    points = distance_vectors(both, rule.reach_nm)
    n = len(candidates)
    left = [i for i in range(n) if not fates[i]]
    # Of copies the one of the largest deviation stays; what has a label comes first of all.
    left.sort(key=lambda i: -(candidates[i].deviation or 0.0))
    kept, copies = without_copies(points, [*range(n, len(both)), *left], rule.alike)
    for i in copies:
        if i < n:
            fates[i] = COPY
    known_kept = [i for i in kept if i >= n]
    pool = [i for i in kept if i < n]
    if rule.above is None and pool and candidates[pool[0]].deviation is not None:
        for i in pool[POOL * rule.number :]:
            fates[i] = SMALLER
        pool = pool[: POOL * rule.number]
    if not pool:
        raise StructureError(_nothing(candidates, fates, rule))
    start = known_kept or pool[:1]
    first = [] if known_kept else [0]
    others = pool[len(first) :]
    found, far = farthest(points[[*start, *others]], rule.number - len(first), range(len(start)))
    chosen = [*(pool[i] for i in first), *(others[i - len(start)] for i in found)]
    for i in pool:
        fates[i] = NEARER
    for i in chosen:
        fates[i] = CHOSEN
    return Choice(list(candidates), points[:n], chosen, np.concatenate([np.full(len(first), np.inf), far]), fates)


def _by_deviation(candidates: Sequence[Candidate], rule: Rule) -> list[str]:
    """What the deviation decides; empty where it leaves a frame in."""
    known = any(candidate.deviation is not None for candidate in candidates)
    if not known and (rule.above is not None or rule.below is not None):
        raise StructureError(
            "--above and --below need a deviation, and no frame has one (deviation_ev_per_angstrom of an extended XYZ "
            "file, deviation.csv of a run folder); give the models with --committee"
        )
    fates = []
    for candidate in candidates:
        value = candidate.deviation
        if value is None:
            fates.append(UNKNOWN if known else "")
        elif rule.above is not None and value < rule.above:
            fates.append(LOW)
        elif rule.below is not None and value >= rule.below:
            fates.append(HIGH)
        else:
            fates.append("")
    return fates


def _nothing(candidates: Sequence[Candidate], fates: Sequence[str], rule: Rule) -> str:
    """Why nothing was chosen, with what to do."""
    values = [each.deviation for each in candidates if each.deviation is not None]
    counts = {fate: sum(each == fate for each in fates) for fate in FATES}
    said = ", ".join(f"{count} {fate}" for fate, count in counts.items() if count)
    cure = "read other frames"
    if counts[LOW]:
        cure = f"the largest deviation is {max(values):.3g} eV/Å, so lower --above {rule.above:g}, or the models agree"
    elif counts[HIGH]:
        cure = f"the smallest deviation is {min(values):.3g} eV/Å: look at the run, or raise --below {rule.below:g}"
    elif counts[COPY]:
        cure = f"all are like frames that have labels, by {rule.alike:g} Å (--alike)"
    return f"no frame is left to choose of {len(candidates)}: {said}; {cure}"
