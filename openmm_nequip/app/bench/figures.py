"""Medians with their spread, from samples taken in turn, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...progress import progress_bar
from .runners import Runner

logger = logging.getLogger(__name__)

#: A sample is so many steps that it takes about this long, so that neither the clock nor one list rebuild decides.
SAMPLE_S = 0.03
MOST_STEPS = 100
#: Anything faster gets an untimed step before each sample, to have its own data in the caches again,
LEAD_IN_S = 0.1
#: and as many as take this long: OpenMP's threads of the one before stay awake for milliseconds, waiting for more.
SETTLE_S = 0.02
FEWEST_SAMPLES = 3
#: Samples lost in a row to a model that breaks the simulation before a runner is given up.
MOST_FAILURES = 5
SHORTER = 4
MS_PER_S = 1e3


@dataclass(frozen=True)
class Figure:
    """Time of one step.

    Parameters
    ----------
    samples_ms : tuple of float
        Mean time of a step in each sample, ms.
    rounds : tuple of int
        The round in which each sample was taken.
    steps_per_sample : int
        Steps timed together, at the end.
    restarts : int
        How often the simulation had to start again, because the model had broken it.
    """

    samples_ms: tuple[float, ...]
    rounds: tuple[int, ...]
    steps_per_sample: int
    restarts: int = 0

    @property
    def median_ms(self) -> float:
        """Median over the samples."""
        return float(np.median(self.samples_ms))

    def ratio_to(self, other: Figure) -> float:
        """Median of the ratios round by round, in which what disturbed both cancels; else the ratio of the medians."""
        theirs = dict(zip(other.rounds, other.samples_ms, strict=True))
        pairs = zip(self.rounds, self.samples_ms, strict=True)
        ratios = [mine / theirs[number] for number, mine in pairs if number in theirs]
        return float(np.median(ratios)) if len(ratios) >= FEWEST_SAMPLES else self.median_ms / other.median_ms

    def as_json(self) -> dict[str, Any]:
        """Median, quartiles and extremes in ms, with the number of samples."""
        low, high = np.quantile(self.samples_ms, [0.25, 0.75])
        return {
            "median_ms": self.median_ms,
            "quartile_1_ms": float(low),
            "quartile_3_ms": float(high),
            "min_ms": min(self.samples_ms),
            "max_ms": max(self.samples_ms),
            "n": len(self.samples_ms),
            "steps_per_sample": self.steps_per_sample,
            "restarts": self.restarts,
        }


@dataclass
class _Track:
    """One runner and what was measured of it."""

    runner: Runner
    steps: int
    wanted: int
    lead_in: int
    samples: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    restarts: int = 0
    failures: int = 0


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(
    runners: dict[str, Runner],
    seconds: dict[str, float],
    repeats: int,
    budget: float,
    stop: Callable[[], bool],
    title: str = "timing",
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Sample all runners in turn, round after round.

    Slow ones get fewer samples, spread evenly over the rounds, when their share of the budget asks for it; none gets
    fewer than three.

    Parameters
    ----------
    runners : dict of str to Runner
        What to time.
    seconds : dict of str to float
        About how long a step of each takes.
    repeats : int
        Rounds.
    budget : float
        Seconds that all samples together may take.
    stop : callable
        Whether to end early; what was measured is kept.
    title : str
        For the progress bar.

    Returns
    -------
    figures : dict of str to Figure
        Of all with at least one sample.
    given_up : dict of str to str
        Why others have none.
    """
    share = budget / max(1, len(runners))
    tracks = {name: _track(runner, seconds[name], repeats, share) for name, runner in runners.items()}
    given_up: dict[str, str] = {}
    for turn in progress_bar(range(repeats), desc=title, leave=False):
        for name, track in tracks.items():
            if stop():
                break
            if name in given_up or not _is_due(turn, track.wanted, repeats):
                continue
            try:
                track.samples.append(_sample(track))
                track.rounds.append(turn)
                track.failures = 0
            except Exception as error:  # OpenMM, ASE and torch each have errors of their own for broken structures
                logger.debug("%s: a sample failed: %s", name, error)
                track.failures += 1
                track.restarts += 1
                track.runner.restart()
                track.steps = max(1, track.steps // SHORTER)  # the model may hold for fewer steps
                if track.failures >= MOST_FAILURES:
                    given_up[name] = f"{MOST_FAILURES} samples in a row failed: {str(error).splitlines()[0]}"
    figures = {
        name: Figure(tuple(track.samples), tuple(track.rounds), track.steps, track.restarts)
        for name, track in tracks.items()
        if track.samples
    }
    return figures, {name: reason for name, reason in given_up.items() if name not in figures}


def _track(runner: Runner, seconds: float, repeats: int, share: float) -> _Track:
    steps = max(1, min(MOST_STEPS, int(SAMPLE_S / max(seconds, 1e-9))))
    lead_in = max(1, min(MOST_STEPS, int(SETTLE_S / max(seconds, 1e-9)))) if seconds < LEAD_IN_S else 0
    affordable = int(share / max((steps + lead_in) * seconds, 1e-9))
    return _Track(runner, steps, max(min(FEWEST_SAMPLES, repeats), min(repeats, affordable)), lead_in)


def _is_due(turn: int, wanted: int, repeats: int) -> bool:
    """Whether one who takes part in ``wanted`` of ``repeats`` rounds takes part in this one."""
    return math.floor((turn + 1) * wanted / repeats) > math.floor(turn * wanted / repeats)


def _sample(track: _Track) -> float:
    lost = track.runner.is_lost()
    if lost:
        track.runner.restart()
        track.restarts += 1
    # After a restart the first step may have to compute the forces at the start as well.
    if lost or track.lead_in or track.failures:
        track.runner.advance(max(1, track.lead_in))
    return timed(lambda: track.runner.advance(track.steps)) / track.steps * MS_PER_S
