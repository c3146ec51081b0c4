"""The picture of free energy differences: along the states, with errors, and the overlap of each two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .differences import FreeEnergies

#: States up to which each number of the overlap is written out.
_WRITTEN = 12
_MBAR, _BAR = "#0072b2", "#d55e00"


def draw(figure: Any, found: FreeEnergies, temperature: Any = None, label: str = "state") -> None:
    """Draw free energies into a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Empty; about 9 by 4 inches.
    found : FreeEnergies
        What to draw.
    temperature : Quantity or float, optional
        Of all states, in K, for kJ/mol; in units of RT without it.
    label : str
        What the names of the states are.
    """
    unit = "RT" if temperature is None else "kJ/mol"
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    values, errors = np.array([found.between(0, k, temperature) for k in range(len(found.names))]).T
    numbers = _numbers(found.names)
    x = np.arange(len(values)) if numbers is None else numbers
    # Between a force field and a model the ends lie ten thousands apart, on which nothing else can be seen.
    line = np.zeros(len(x)) if numbers is None else values[-1] * (x - x[0]) / (x[-1] - x[0])
    left.errorbar(x, values - line, 2 * errors, fmt="o-", color=_MBAR, ms=4, capsize=3, label="MBAR, ± 2 errors")
    sampled = np.flatnonzero(found.frames)
    factor = found.by_bar(temperature)[0] / found.by_bar()[0] if found.by_bar()[0] else 1.0
    by_bar = values[sampled[0]] + factor * np.concatenate([[0.0], np.cumsum(found.bar)])
    left.plot(x[sampled], by_bar - line[sampled], "x", color=_BAR, ms=7, label="BAR from each to the next")
    places = np.arange(len(values))
    step = max(1, -(-len(places) // _WRITTEN))
    left.set_xticks(x[::step], found.names[::step])
    less = "" if numbers is None else "\nless the line between the ends"
    left.set(xlabel=label, ylabel=f"free energy from {found.names[0]}{less}, {unit}")
    left.set_title(f"{found.names[-1]}: {values[-1]:.2f} ± {errors[-1]:.2f} {unit}", fontsize=10)
    left.legend(fontsize=8, frameon=False)
    image = right.imshow(found.overlap, cmap="Blues", vmin=0.0, vmax=1.0)
    if len(places) <= _WRITTEN:
        for (row, column), share in np.ndenumerate(found.overlap):
            if share >= 0.005:
                colour = "white" if share > 0.5 else "black"
                text = f"{share:.2f}".removeprefix("0")
                right.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    right.set_xticks(places[::step], found.names[::step], fontsize=8)
    right.set_yticks(places[::step], found.names[::step], fontsize=8)
    right.set_title("overlap", fontsize=10)
    right.set_xlabel(label)
    figure.colorbar(image, ax=right, shrink=0.8)


def _numbers(names: Sequence[str]) -> np.ndarray | None:
    """Names as rising numbers (n,), None if they are not."""
    try:
        found = np.array([float(name) for name in names])
    except ValueError:
        return None
    return found if (np.diff(found) > 0).all() else None
