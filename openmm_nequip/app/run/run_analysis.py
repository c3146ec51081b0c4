"""Numbers from what a run wrote."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from .run_folder import written_atomically

#: Columns of which a summary gives mean and standard deviation.
AVERAGED = ("temperature_k", "potential_energy_kj_per_mol", "density_g_per_ml", "pressure_bar")
_FEWEST_FOR_DRIFT = 3


def read_log(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Columns of a run's log.

    Parameters
    ----------
    path : str or path-like
        ``log.csv``.

    Returns
    -------
    dict of str to numpy.ndarray, (n_rows,) float64
        By name of column; a half-written last row is left out.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    if not rows:
        return {}
    values = np.array([row for row in rows[1:] if len(row) == len(rows[0])], dtype=np.float64)
    return dict(zip(rows[0], values.reshape(-1, len(rows[0])).T, strict=True))


def truncate_log(path: Path, rows: int) -> int:
    """Keep the header and the first rows of a log.

    Parameters
    ----------
    path : pathlib.Path
        ``log.csv``; may be missing.
    rows : int
        How many to keep.

    Returns
    -------
    int
        Rows there are now; -1 if there is not even a header.
    """
    if not path.exists():
        return -1
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    if len(lines) > 1 and len(lines[-1].split(",")) != len(lines[0].split(",")):
        lines.pop()
    kept = lines[: rows + 1]
    with written_atomically(path) as scratch:
        scratch.write_text("".join(kept), encoding="utf-8")
    return len(kept) - 1


def energy_drift(log: dict[str, np.ndarray], n_atoms: int) -> float | None:
    """Slope of the total energy by least squares.

    Parameters
    ----------
    log : dict of str to numpy.ndarray, (n_rows,) float64
        From :func:`read_log`.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    float or None
        kJ/mol per atom and ns; None for fewer than three rows.
    """
    time = log.get("time_ps", np.zeros(0))
    if len(time) < _FEWEST_FOR_DRIFT:
        return None
    slope = np.polyfit(time - time.mean(), log["total_energy_kj_per_mol"], 1)[0]
    return float(slope * 1000.0 / n_atoms)


def averages(log: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of the columns that are worth it.

    Parameters
    ----------
    log : dict of str to numpy.ndarray, (n_rows,) float64
        From :func:`read_log`.

    Returns
    -------
    dict
        ``mean`` and ``std`` of each of :data:`AVERAGED` that is there.
    """
    return {
        name: {"mean": float(log[name].mean()), "std": float(log[name].std())}
        for name in AVERAGED
        if name in log and len(log[name])
    }
