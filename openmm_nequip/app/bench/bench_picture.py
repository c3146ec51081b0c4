"""Time per atom and step against size, for everyone."""

from __future__ import annotations

import io
from typing import Any

from .contenders import LIMIT, OURS

_STYLES = {LIMIT: ("--", "o"), OURS: ("-", "o")}
_PEER_STYLE = ("-.", "s")


def draw(document: dict[str, Any]) -> bytes:
    """A PNG picture of a benchmark: time per atom and step against size, both logarithmic.

    Parameters
    ----------
    document : dict
        What :func:`openmm_nequip.app.bench.bench_run.run_bench` measured.

    Returns
    -------
    bytes
        The PNG file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(9.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the user's backend is
    axes = figure.subplots()
    lines: dict[str, tuple[str, list[tuple[float, ...]]]] = {}
    for system in document["systems"]:
        for row in system["rows"]:
            factor = row["us_per_atom"] / row["step"]["median_ms"]
            low, high = (row["step"][key] * factor for key in ("quartile_1_ms", "quartile_3_ms"))
            points = lines.setdefault(row["contender"], (row["role"], []))[1]
            points.append((system["atoms"], row["us_per_atom"], low, high))
    for name, (role, points) in lines.items():
        atoms, middle, low, high = zip(*points, strict=True)
        dash, marker = _STYLES.get(role, _PEER_STYLE)
        (line,) = axes.plot(atoms, middle, dash, marker=marker, ms=4, lw=1.2, label=name)
        axes.fill_between(atoms, low, high, color=line.get_color(), alpha=0.15, lw=0)
    axes.set(xscale="log", yscale="log", xlabel="atoms", ylabel="µs per atom and step")
    sizes = sorted({system["atoms"] for system in document["systems"] if system["rows"]})
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
    machine = document["environment"]
    where = machine["gpus"][0] if machine["gpus"] else f"{machine['cpu']}, threads: {machine['threads']}"
    axes.set_title(f"{document['model']['name']} on {where}, {machine['date'][:10]}", fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format="png")
    return content.getvalue()
