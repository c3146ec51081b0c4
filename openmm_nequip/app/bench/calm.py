"""Figures of a busy machine: measured again, and what cannot be is said and not shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from .figures import Figure, measure
from .load_watch import LoadWatch
from .runners import Runner

logger = logging.getLogger(__name__)

#: How often a size is measured at most.
MOST_TRIES = 3
#: How much less than its parts a step may seem to take: share of the step, and ms.
SPLIT_SHARE = 0.05
SPLIT_MS = 0.05


def is_possible(step: Figure, parts: list[Figure]) -> bool:
    """Whether a step takes no less than its parts, but for what medians of few samples are off.

    Parameters
    ----------
    step : Figure
        The whole.
    parts : list of Figure
        What is in it.

    Returns
    -------
    bool
    """
    return step.median_ms - sum(part.median_ms for part in parts) >= -max(SPLIT_SHARE * step.median_ms, SPLIT_MS)


def measure_calmly(
    runners: dict[str, Runner],
    seconds: dict[str, float],
    plan: tuple[int, float],
    stop: Callable[[], bool],
    title: str,
    parts: Mapping[str, list[str]],
) -> tuple[dict[str, Figure], dict[str, str], dict[str, Any]]:
    """Sample all runners, and again where the machine was busy or a step came out faster than what is in it.

    Up to :data:`MOST_TRIES` times, as long as they have not taken longer than one may.

    Parameters
    ----------
    runners : dict of str to Runner
        What to time.
    seconds : dict of str to float
        About how long a step of each takes.
    plan : (int, float)
        Rounds, and seconds that the samples of one try may take.
    stop : callable
        Whether to end early; what was measured is kept.
    title : str
        For the progress bar.
    parts : mapping of str to list of str
        Names of the figures that are in a step.

    Returns
    -------
    figures, given_up
        As :func:`.figures.measure`, of the calmest try: the fewest impossible steps, then the least waiting.
    load : dict
        :meth:`LoadWatch.facts` of that try, ``tries``, and ``impossible``, the steps that are faster than their parts.
    """
    best: tuple[tuple[float, ...], dict[str, Figure], dict[str, str], dict[str, Any]] | None = None
    began = time.monotonic()
    for attempt in range(1, MOST_TRIES + 1):
        watch = LoadWatch()
        figures, given_up = measure(runners, seconds, *plan, stop, title)
        load = watch.facts()
        load["impossible"] = [
            name
            for name, names in parts.items()
            if name in figures and not is_possible(figures[name], [figures[each] for each in names if each in figures])
        ]
        rank = len(load["impossible"]), load["busy"], load["waiting"] or 0.0, load["other_cores"] or 0.0
        # A try that was cut short is no calmer for having fewer figures.
        if best is None or (rank < best[0] and len(figures) >= len(best[1])):
            best = rank, figures, given_up, load
        best[3]["tries"] = attempt
        if stop() or not (load["busy"] or load["impossible"]) or time.monotonic() - began > plan[1]:
            break
        if attempt < MOST_TRIES:
            why = "a step came out faster than its parts" if load["impossible"] else "other programs are at work"
            logger.info("%s: measured again, since %s", title, why)
    _, figures, given_up, load = best  # type: ignore[misc]
    return figures, given_up, load


def describe_load(load: Mapping[str, Any]) -> list[str]:
    """Lines about a busy machine; none for a quiet one.

    Parameters
    ----------
    load : mapping
        From :func:`measure_calmly`.
    """
    lines = []
    if load["busy"]:
        others = "?" if load["other_cores"] is None else f"{load['other_cores']:.1f}"
        waiting = "?" if load["waiting"] is None else f"{100 * load['waiting']:.0f}"
        lines.append(
            f"BUSY MACHINE: other programs had {others} of {load['cores']} cores, this one waited {waiting} % of the "
            f"time (the calmest of {load['tries']} tries): compare the contenders, do not rely on the times"
        )
    if load["impossible"]:
        lines.append(
            f"not split: {', '.join(load['impossible'])}: measured as faster than what is in the step, "
            f"{load['tries']} times"
        )
    return lines
