"""Pictures of what kernels.py measured: the ratio against the number of features, a panel for each size."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  after the choice of its backend

#: Names of Allegro's cells begin with it.
ALLEGRO = "allegro-"


def draw(results: Path) -> None:
    """A picture beside the results: the ratio against the number of features, a panel for each size."""
    stored = json.loads(results.read_text())["rows"]
    rows = [row for row in stored if row["dtype"] == "float32" and not row["cell"].startswith(ALLEGRO)]
    if not rows:
        return
    found = {(row["cell"], row["atoms"]): row for row in rows}
    sizes = sorted({row["atoms"] for row in rows})
    models = [(order, parity) for order in (1, 2, 3) for parity in ("plain", "parity")]
    figure, panels = plt.subplots(1, len(sizes), figsize=(3 * len(sizes), 3.4), sharey=True, squeeze=False)
    for panel, size in zip(panels[0], sizes, strict=True):
        for order, parity in models:
            widths = [width for width in (16, 32, 64, 128) if (f"l{order}-{parity}-{width}", size) in found]
            of_model = [found[f"l{order}-{parity}-{width}", size] for width in widths]
            style = {"color": f"C{order}", "linestyle": "-" if parity == "plain" else "--"}
            for kind, marker, label in (("fused", "o", f"l_max {order}, {parity}"), ("fused, exact radial", "x", None)):
                panel.plot(widths, [row[kind]["ratio"] for row in of_model], marker=marker, label=label, **style)
        panel.axhline(3, color="grey", linewidth=0.8)
        panel.set(xscale="log", yscale="log", xticks=[16, 32, 64, 128], xticklabels=["16", "32", "64", "128"])
        panel.minorticks_off()
        panel.set(title=f"{size} atoms", xlabel="features")
        panel.set_yticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    panels[0][0].set_ylabel("times faster than the package\n(o tables, x exact radial network)")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(results.with_suffix(".png"), dpi=130)


def draw_allegro(results: Path, cells: dict) -> None:
    """The same of Allegro with default networks: a point for each cell, full with tables and empty without."""
    rows = [row for row in json.loads(results.read_text())["rows"] if row["cell"].startswith(f"{ALLEGRO}l")]
    if not rows:
        return
    sizes = sorted({row["atoms"] for row in rows})
    figure, panels = plt.subplots(1, len(sizes), figsize=(3 * len(sizes), 3.4), sharey=True, squeeze=False)
    for row in rows:
        options = cells[row["cell"]]
        panel = panels[0][sizes.index(row["atoms"])]
        style = {"color": f"C{options['l_max']}", "marker": "os^"[options["num_layers"] - 1]}
        place = options["num_tensor_features"] * (1.08 if options["parity"] else 1 / 1.08)
        panel.plot(place, row["fused"]["ratio"], **style)
        panel.plot(place, row["fused, exact radial"]["ratio"], fillstyle="none", **style)
    for size, panel in zip(sizes, panels[0], strict=True):
        panel.axhline(15, color="grey", linewidth=0.8)
        panel.set(xscale="log", yscale="log", xticks=[16, 32, 64, 128], xticklabels=["16", "32", "64", "128"])
        panel.minorticks_off()
        panel.set(title=f"{size} atoms", xlabel="tensor features")
        panel.set_yticks([5, 15, 30, 60, 120], ["5", "15", "30", "60", "120"])
    panels[0][0].set_ylabel("times faster than the package\n(full: tables, empty: exact)")
    for order in (1, 2, 3):
        panels[0][0].plot([], [], "-", color=f"C{order}", label=f"l_max {order}")
    for depth, marker in enumerate("os^", start=1):
        panels[0][0].plot([], [], marker, color="grey", label=f"{depth} layer{'s' if depth > 1 else ''}")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(results.with_name(f"{results.stem}-allegro.png"), dpi=130)
