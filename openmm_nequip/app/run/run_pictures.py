"""Pictures of a run; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .rdf import RdfTable

#: Lines after the tenth colour are drawn otherwise.
_COLOURS = 10
_STYLES = ("-", "--", ":")


def _figure(rows: int, columns: int = 1, size: tuple[float, float] = (7.0, 2.4)):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0], size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the user's backend is
    return figure, figure.subplots(rows, columns, squeeze=False)[:, 0]


def draw_energies(
    log: dict[str, np.ndarray],
    path: Path,
    title: str,
    temperature: float | None = None,
    marks: Sequence[tuple[float, str]] = (),
) -> None:
    """Energies and temperature against time; volume terms too where there are any.

    Parameters
    ----------
    log : dict of str to numpy.ndarray, (n_rows,) float64
        From :func:`openmm_nequip.app.run.run_analysis.read_log`.
    path : pathlib.Path
        PNG to write.
    title : str
        Stands above the picture.
    temperature : float, optional
        Temperature in K of the thermostat, drawn as a line.
    marks : sequence of (float, str)
        Times in ps at which something was wrong, and what.
    """
    time = log["time_ps"]
    density = log.get("density_g_per_ml")
    with_density = density is not None and len(density) and float(np.ptp(density)) > 0
    figure, axes = _figure(3 if with_density else 2)
    start = log["potential_energy_kj_per_mol"][0]
    axes[0].plot(time, log["potential_energy_kj_per_mol"] - start, label="potential", lw=1)
    axes[0].plot(time, log["kinetic_energy_kj_per_mol"], label="kinetic", lw=1)
    axes[0].plot(time, log["total_energy_kj_per_mol"] - start, label="total", lw=1.2, color="black")
    axes[0].set_ylabel(f"energy (kJ/mol)\nzero at {start:.1f}")
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[1].plot(time, log["temperature_k"], lw=1, color="tab:red")
    if temperature is not None:
        axes[1].axhline(temperature, color="grey", lw=1, ls="--")
    axes[1].set_ylabel("temperature (K)")
    if with_density:
        axes[2].plot(time, density, lw=1, color="tab:green")
        axes[2].set_ylabel("density (g/mL)")
    for axis in axes:
        axis.grid(alpha=0.3)
        for when, _ in marks:
            axis.axvline(when, color="tab:purple", lw=1.5, ls=":")
    axes[-1].set_xlabel("time (ps)")
    figure.suptitle(title)
    if marks:
        words = "; ".join(f"{what} at {when:.3g} ps" for when, what in marks)
        figure.text(0.5, -0.02, f"NOT TO BE TRUSTED: {words}", ha="center", va="top", color="tab:purple", weight="bold")
    figure.savefig(path, dpi=130, format="png", bbox_inches="tight" if marks else None)


def draw_deviation(
    table: dict[str, np.ndarray], path: Path, select: float | None = None, stop: float | None = None,
    bias: float | None = None,
) -> None:  # fmt: skip
    """How far the models of a committee are from each other, against time.

    Parameters
    ----------
    table : dict of str to numpy.ndarray, (n_rows,) float64
        Columns of ``deviation.csv``.
    path : pathlib.Path
        PNG to write.
    select, stop : float, optional
        Limits in eV/Å, drawn as lines.
    bias : float, optional
        Spread of the energy in eV above which a bias acts, drawn as a line.
    """
    time = table["time_ps"]
    figure, axes = _figure(2)
    axes[0].plot(time, table["deviation_ev_per_angstrom"], lw=1, label="largest of an atom")
    axes[0].plot(time, table["mean_deviation_ev_per_angstrom"], lw=1, label="mean of atoms")
    for limit, colour, label in ((select, "tab:orange", "kept above"), (stop, "tab:red", "stops above")):
        if limit is not None:
            axes[0].axhline(limit, color=colour, lw=1, ls="--", label=label)
    axes[0].set_ylabel("deviation of\nthe force (eV/Å)")
    axes[0].set_ylim(bottom=0.0)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[1].plot(time, table["energy_spread_ev"], lw=1, color="black")
    if bias is not None:
        axes[1].axhline(bias, color="tab:orange", lw=1, ls="--", label="biased above")
        axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes[1].set_ylabel("spread of\nthe energy (eV)")
    axes[1].set_ylim(bottom=0.0)
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("time (ps)")
    figure.suptitle("standard deviations among the models of the committee")
    figure.savefig(path, dpi=130, format="png")


def draw_rdfs(table: RdfTable, path: Path) -> None:
    """Radial distribution functions between molecules.

    Parameters
    ----------
    table : RdfTable
        With at least one pair.
    path : pathlib.Path
        PNG to write.
    """
    figure, axes = _figure(1, size=(7.0, 4.0))
    for number, (name, values) in enumerate(table.functions.items()):
        style = _STYLES[number // _COLOURS % len(_STYLES)]
        axes[0].plot(table.r_nm, values, lw=1.2, ls=style, color=f"C{number % _COLOURS}", label=name)
    axes[0].axhline(1.0, color="grey", lw=0.8, ls="--")
    axes[0].set_xlabel("r (nm)")
    axes[0].set_ylabel("g(r), atoms of different molecules")
    axes[0].set_xlim(0.0, float(table.edges_nm[-1]))
    axes[0].set_ylim(bottom=0.0)
    axes[0].grid(alpha=0.3)
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.suptitle(f"radial distribution functions, {table.n_frames} frames")
    figure.savefig(path, dpi=130, format="png")


def draw_ramachandran(torsions: dict[str, tuple[np.ndarray, np.ndarray]], time_ps: np.ndarray, path: Path) -> None:
    """Backbone torsions as maps side by side, coloured by time.

    Parameters
    ----------
    torsions : dict of str to (numpy.ndarray, numpy.ndarray)
        Title of each map, and its φ and ψ (n_frames,) in radians.
    time_ps : numpy.ndarray, (n_frames,)
        Time of each frame in ps.
    path : pathlib.Path
        PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(torsions) + 0.8, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(torsions), squeeze=False)[0]
    for panel, (title, (phi, psi)) in zip(axes, torsions.items(), strict=True):
        times = time_ps[: len(phi)]
        points = panel.scatter(np.degrees(phi), np.degrees(psi), c=times, s=8, cmap="viridis")
        panel.plot(np.degrees(phi[:1]), np.degrees(psi[:1]), marker="x", color="red", ls="", label="first frame")
        panel.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="φ (°)", ylabel="ψ (°)", aspect="equal", title=title)
        panel.set_xticks(range(-180, 181, 60))
        panel.set_yticks(range(-180, 181, 60))
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", frameon=False)
    figure.colorbar(points, ax=list(axes), label="time (ps)", shrink=0.8)
    figure.savefig(path, dpi=130, format="png")
