"""The picture of a selection: deviations along the frames, where the chosen ones lie, and how far apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from .farthest_points import plane
from .frame_choice import CHOSEN, COPY, HIGH, LOW, Choice, Rule

_COLOURS = {CHOSEN: "#cc3311", COPY: "#bbbbbb", LOW: "#bbbbbb", HIGH: "#ee9900"}
_OTHER = "#4477aa"


def draw_selection(path: Any, choice: Choice, rule: Rule, title: str) -> None:
    """Draw a selection.

    Parameters
    ----------
    path : path-like
        File; the suffix decides the format.
    choice : Choice
        What to draw.
    rule : Rule
        What was wanted.
    title : str
        Above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), layout="constrained")
    along, where, far = figure.subplots(1, 3)
    numbers = np.arange(len(choice.candidates))
    values = np.array([np.nan if each.deviation is None else each.deviation for each in choice.candidates])
    known = bool(np.isfinite(values).any())
    heights = values if known else np.zeros(len(values))
    places = plane(choice.points)
    for fate in sorted(set(choice.fates), key=lambda each: each == CHOSEN):  # the chosen ones on top
        those = np.array([each == fate for each in choice.fates])
        style: dict[str, Any] = {"ms": 5 if fate == CHOSEN else 3, "color": _COLOURS.get(fate, _OTHER), "ls": ""}
        label = f"{fate} ({those.sum()})"
        along.plot(numbers[those], heights[those], marker="o", label=label, **style)
        where.plot(*places[those].T, marker="o", **style)
    top = 1.4 * float(np.nanmax(heights, initial=1e-9))  # room for the legend
    for limit in (rule.above, rule.below):
        if limit is not None and limit < top:
            along.axhline(limit, color="black", lw=0.8, ls="--")
    along.set(xlabel="frame, in the order of the sources", ylabel="deviation, eV/Å" if known else "no deviation known")
    if known:
        along.set_ylim(0, top)
    else:
        along.set(yticks=[], ylim=(-1, 4))
    along.legend(fontsize=7, loc="upper left", ncols=2)
    where.set(xlabel="first direction, Å", ylabel="second direction, Å", title="where sorted distances differ most")
    finite = np.isfinite(choice.distances)
    far.plot(np.flatnonzero(finite) + 1, choice.distances[finite], marker="o", ms=3, color=_COLOURS[CHOSEN])
    far.set(xlabel="chosen frame", ylabel="Å from the nearest before", title="how far apart", ylim=(0, None))
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
