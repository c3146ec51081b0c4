"""Numbers from what a run wrote."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from ...series import FEWEST_INDEPENDENT, mean_of
from .run_folder import written_atomically

#: Columns of which a summary gives the mean.
AVERAGED = ("temperature_k", "potential_energy_kj_per_mol", "density_g_per_ml", "pressure_bar")
_OF_ENERGY = AVERAGED[:2]
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
        By name of column; a half-written last row is left out, and rows that are damaged so that they hold no numbers.
    """
    # Damage up to a checkpoint has been told of when the run went on from it.
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.reader(line.replace("\0", " ") for line in file))
    if not rows:
        return {}
    values = np.array([row for row in rows[1:] if len(row) == len(rows[0]) and _holds_numbers(row)], dtype=np.float64)
    return dict(zip(rows[0], values.reshape(-1, len(rows[0])).T, strict=True))


def _holds_numbers(row: list[str]) -> bool:
    try:
        return bool(np.array(row, dtype=np.float64).size)
    except ValueError:
        return False


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
    # Bytes: what lies behind the checkpoint may be anything, and goes.
    lines = [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]
    if len(lines) > 1 and len(lines[-1].split(b",")) != len(lines[0].split(b",")):
        lines.pop()
    kept = lines[: rows + 1]
    with written_atomically(path) as scratch:
        scratch.write_bytes(b"".join(kept))
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


def averages(log: dict[str, np.ndarray], friction: float | None = None) -> dict[str, dict[str, float]]:
    """Means of the columns that are worth it, over what is equilibrated of them.

    Parameters
    ----------
    log : dict of str to numpy.ndarray, (n_rows,) float64
        From :func:`read_log`.
    friction : float, optional
        Of the thermostat, 1/ps: it gives and takes energy, so that temperature and energy, which seem to forget
        faster, are independent after its inverse at the earliest.

    Returns
    -------
    dict
        For each of :data:`AVERAGED` that is there: ``mean``, ``std`` (how much the values fluctuate), ``error``
        (standard error of the mean), ``independent_samples`` and ``from_ps`` (where the equilibrated part begins).
    """
    found = {}
    for name in AVERAGED:
        if len(log.get(name, ())):
            mean = mean_of(log[name])
            if friction is not None and name in _OF_ENERGY:
                span = float(log["time_ps"][-1] - log["time_ps"][mean.start])
                mean = mean.with_samples(min(mean.samples, max(span * friction, 1.0)))
            found[name] = {
                "mean": mean.mean,
                "std": mean.std,
                "error": mean.error,
                "independent_samples": mean.samples,
                "from_ps": float(log["time_ps"][mean.start]),
            }
    return found


def too_short(means: dict[str, dict[str, float]], duration_ps: float) -> list[str]:
    """Plain words about means that a run is too short for.

    Parameters
    ----------
    means : dict
        From :func:`averages`.
    duration_ps : float
        Length of the run, ps.

    Returns
    -------
    list of str
    """
    words = []
    for name, mean in means.items():
        if mean["from_ps"] > duration_ps / 2:
            words.append(f"{name} had not settled before {mean['from_ps']:.3g} of {duration_ps:.3g} ps: run longer")
        elif mean["independent_samples"] < FEWEST_INDEPENDENT:
            words.append(
                f"{name} rests on {mean['independent_samples']:.1f} independent samples: run at least "
                f"{FEWEST_INDEPENDENT / mean['independent_samples']:.1f} times as long"
            )
    return words
