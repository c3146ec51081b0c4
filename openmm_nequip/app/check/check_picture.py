"""The picture of a check: total energies without a thermostat, and every number against its limit."""

from __future__ import annotations

import os
from pathlib import Path

from .verdict import LOOK, OK, STOP, Report

_COLOURS = {OK: "#2a9d5c", LOOK: "#e09f1f", STOP: "#c0392b"}


def write_picture(report: Report, path: str | os.PathLike[str], title: str) -> Path:
    """Draw a report.

    Parameters
    ----------
    report : Report
        Of :func:`openmm_nequip.check`.
    path : str or os.PathLike
        File; the suffix decides the format.
    title : str
        Above the picture.

    Returns
    -------
    pathlib.Path
        The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for step, run in report.facts.get("nve", {}).items():
        left.plot(run["time_fs"], run["energy_kj_per_mol"], label=f"{step} fs ({run['part']:.1%})")
    left.set(xlabel="time, fs", ylabel="total energy - start, kJ/mol", title="without a thermostat")
    if left.lines:
        left.legend(title="time step (scatter)", fontsize=8)
    else:
        left.text(0.5, 0.5, "no dynamics were run", ha="center", va="center", transform=left.transAxes)
    rows = report.verdicts[::-1]
    for place, verdict in enumerate(rows):
        right.barh(place, 1.0, color=_COLOURS[verdict.level], height=0.8)
        number = "" if verdict.value is None else f"  {verdict.value:.3g}"
        right.text(0.02, place, f"{verdict.name}{number}", va="center", color="white", fontsize=8)
        right.text(0.98, place, verdict.level, va="center", ha="right", color="white", fontsize=8)
    right.set(xlim=(0, 1), xticks=[], yticks=[], title=f"verdict: {report.level}")
    for side in right.spines.values():
        side.set_visible(False)
    figure.suptitle(title, fontsize=10)
    path = Path(path)
    figure.savefig(path, dpi=150)
    return path
