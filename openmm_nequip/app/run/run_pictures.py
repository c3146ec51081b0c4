"""Pictures of a run; matplotlib and mdtraj are imported when one is drawn."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openmm.app as app

#: Radial distribution functions are computed from at most so many atoms per element and so many frames.
_MOST_ATOMS = 400
_MOST_FRAMES = 200
_LARGEST_R_NM = 1.0
_BIN_NM = 0.005


def _figure(rows: int, columns: int = 1, size: tuple[float, float] = (7.0, 2.4)):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0], size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no window, whatever the user's backend is
    return figure, figure.subplots(rows, columns, squeeze=False)[:, 0]


def draw_energies(log: dict[str, np.ndarray], path: Path, title: str, temperature: float | None = None) -> None:
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
    axes[-1].set_xlabel("time (ps)")
    figure.suptitle(title)
    figure.savefig(path, dpi=130, format="png")


def load_trajectory(path: Path, topology: app.Topology):
    """A trajectory through mdtraj.

    Parameters
    ----------
    path : pathlib.Path
        A file of a run.
    topology : openmm.app.Topology
        Its atoms.

    Returns
    -------
    mdtraj.Trajectory
    """
    import mdtraj

    with _silent_stdout():
        return mdtraj.load(str(path), top=mdtraj.Topology.from_openmm(topology))


@contextlib.contextmanager
def _silent_stdout() -> Iterator[None]:
    """Swallow what C code prints: mdtraj's DCD reader greets on stdout, where ``--json`` must be alone."""
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def draw_rdfs(trajectory, labels: np.ndarray, path: Path) -> bool:
    """Radial distribution functions between molecules, by pair of elements.

    Parameters
    ----------
    trajectory : mdtraj.Trajectory
        Periodic.
    labels : numpy.ndarray, (n_atoms,) int64
        Molecule of each atom.
    path : pathlib.Path
        PNG to write.

    Returns
    -------
    bool
        False if there was nothing to draw: no box, no frames or no pairs.
    """
    import mdtraj

    if trajectory.unitcell_vectors is None or trajectory.n_frames == 0:
        return False
    frames = trajectory[:: -(-trajectory.n_frames // _MOST_FRAMES)]
    reach = min(_LARGEST_R_NM, 0.5 * _smallest_width(frames.unitcell_vectors))
    elements: dict[str, np.ndarray] = {}
    for symbol in sorted({atom.element.symbol for atom in frames.topology.atoms}):
        members = np.array([atom.index for atom in frames.topology.atoms if atom.element.symbol == symbol])
        elements[symbol] = members[:: -(-len(members) // _MOST_ATOMS)]
    figure, axes = _figure(1, size=(7.0, 4.0))
    drawn = 0
    for first, second in itertools.combinations_with_replacement(elements, 2):
        pairs = np.array(list(_pairs(elements[first], elements[second], labels, first == second)), dtype=np.int64)
        if len(pairs) == 0:
            continue
        r, g = mdtraj.compute_rdf(frames, pairs, r_range=(0.0, reach), bin_width=_BIN_NM, periodic=True)
        axes[0].plot(r, g, lw=1.2, label=f"{first}–{second}")
        drawn += 1
    if not drawn:
        return False
    axes[0].axhline(1.0, color="grey", lw=0.8, ls="--")
    axes[0].set_xlabel("r (nm)")
    axes[0].set_ylabel("g(r), atoms of different molecules")
    axes[0].set_xlim(0.0, reach)
    axes[0].set_ylim(bottom=0.0)
    axes[0].grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.suptitle(f"radial distribution functions, {frames.n_frames} frames")
    figure.savefig(path, dpi=130, format="png")
    return True


def _pairs(first: np.ndarray, second: np.ndarray, labels: np.ndarray, same: bool):
    for i in first.tolist():
        for j in second.tolist():
            if (i < j or not same) and labels[i] != labels[j]:
                yield i, j


def _smallest_width(cells: np.ndarray) -> float:
    """Smallest distance between opposite faces over all frames, nm."""
    volumes = np.abs(np.linalg.det(cells))
    areas = [np.linalg.norm(np.cross(cells[:, i], cells[:, (i + 1) % 3]), axis=1) for i in range(3)]
    return float(min((volumes / area).min() for area in areas))


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
