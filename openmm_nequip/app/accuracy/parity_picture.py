"""Model against reference, as a picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

_TITLES = {"energy": "energy (eV per atom)", "forces": "force components (eV/Å)", "stress": "stress (eV/Å³)"}


def draw_parity(values: dict[str, tuple[np.ndarray, np.ndarray]], figures: dict[str, Any], title: str) -> bytes:
    """A PNG picture with a panel for each quantity.

    Parameters
    ----------
    values : dict of str to (reference, model), each (n_values,) float64
        From :func:`.error_figures.values_of`.
    figures : dict
        From :func:`.error_figures.compare_all`.
    title : str
        Stands above it.

    Returns
    -------
    bytes
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(values), 4.4), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the user's backend is
    panels = figure.subplots(1, len(values), squeeze=False)[0]
    said = {
        "energy": ("energy", "mev_per_atom", "meV/atom"),
        "forces": ("force", "mev_per_angstrom", "meV/Å"),
        "stress": ("stress", "mev_per_angstrom3", "meV/Å³"),
    }
    for axes, (name, (reference, model)) in zip(panels, values.items(), strict=True):
        ends = [min(reference.min(), model.min()), max(reference.max(), model.max())]
        axes.plot(ends, ends, "-", color="black", lw=0.8)
        # A picture of points: a file with one vector each would be huge.
        axes.plot(reference, model, ".", ms=2.5, alpha=0.5, rasterized=True)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xlabel="reference", ylabel="model", title=_TITLES[name])
        key, unit, text = said[name]
        note = f"MAE {figures[f'{key}_mae_{unit}']:.3g}, RMSE {figures[f'{key}_rmse_{unit}']:.3g} {text}"
        axes.text(0.03, 0.97, note, transform=axes.transAxes, va="top", fontsize=8)
    figure.suptitle(title, fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format="png")
    return content.getvalue()
