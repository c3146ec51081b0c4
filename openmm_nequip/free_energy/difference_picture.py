"""The picture of free energy differences: along the states, with errors, and the overlap of each two."""

from __future__ import annotations

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
    places = np.arange(len(values))
    left.errorbar(places, values, 2 * errors, fmt="o-", color=_MBAR, ms=4, capsize=3, label="MBAR, ± 2 errors")
    sampled = np.flatnonzero(found.frames)
    scale = found.between(0, -1, temperature)[0] / found.differences[0, -1] if found.differences[0, -1] else 1.0
    by_bar = values[sampled[0]] + scale * np.concatenate([[0.0], np.cumsum(found.bar)])
    left.plot(sampled, by_bar, "x", color=_BAR, ms=7, label="BAR from each to the next")
    step = max(1, -(-len(places) // _WRITTEN))
    left.set_xticks(places[::step], found.names[::step])
    left.set(xlabel=label, ylabel=f"free energy from {found.names[0]}, {unit}")
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
    right.set(title="overlap", xlabel=label)
    figure.colorbar(image, ax=right, shrink=0.8)
