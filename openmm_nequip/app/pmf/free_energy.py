"""Free energy along a coordinate by MBAR, with errors, and what the windows share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...errors import RunFolderError
from ...units import GAS_CONSTANT
from ..run.run_statistics import quiet_pymbar
from .windows import Window

#: Neighbouring windows that share less than this of their samples say nothing about each other (P. Klimovich,
#: M. Shirts and D. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)).
OVERLAP = 0.03


class Profile(NamedTuple):
    """A potential of mean force."""

    centres: np.ndarray  #: (n_bins,) nm or radians
    energies: np.ndarray  #: (n_bins,) kJ/mol from the lowest, NaN where nothing was sampled
    errors: np.ndarray  #: (n_bins,) standard errors, kJ/mol
    counts: np.ndarray  #: (n_windows, n_bins) samples of each window
    overlap: np.ndarray  #: (n_windows, n_windows) share of samples
    notes: list[str]  #: what to know of it


def profile_of(windows: Sequence[Window], bins: int) -> Profile:
    """The potential of mean force of windows.

    Parameters
    ----------
    windows : sequence of Window
        Of one coordinate and temperature.
    bins : int
        Number of bins; of a torsion over the whole circle.

    Returns
    -------
    Profile

    Raises
    ------
    RunFolderError
        If the windows fall into groups that share no samples.

    References
    ----------
    M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), by pymbar.
    """
    pymbar = quiet_pymbar()
    beta = 1.0 / (GAS_CONSTANT * windows[0].temperature)
    values = np.concatenate([window.values for window in windows])
    counts = np.array([len(window.values) for window in windows])
    reduced = np.array([beta * window.bias.energy(values) for window in windows])
    edges = _edges(windows, values, bins)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimate = pymbar.MBAR(reduced, counts)
        overlap = estimate.compute_overlap()["matrix"]
        notes = _check_overlap(windows, overlap)
        surface = pymbar.FES(reduced, counts)
        surface.generate_fes(
            np.zeros(len(values)), values, fes_type="histogram", histogram_parameters={"bin_edges": [edges]}
        )
        centres = 0.5 * (edges[1:] + edges[:-1])
        total, _ = np.histogram(values, edges)
        seen = total > 0
        found = surface.get_fes(centres[seen], reference_point="from-lowest", uncertainty_method="analytical")
    energies, errors = np.full(len(centres), math.nan), np.full(len(centres), math.nan)
    energies[seen], errors[seen] = np.ravel(found["f_i"]) / beta, np.ravel(found["df_i"]) / beta
    shares = np.array([np.histogram(window.values, edges)[0] for window in windows])
    if not seen.all():
        notes.append(f"{int((~seen).sum())} of {len(centres)} bins were never visited")
    return Profile(centres, energies, errors, shares, overlap, notes)


def _edges(windows: Sequence[Window], values: np.ndarray, bins: int) -> np.ndarray:
    if windows[0].bias.is_periodic:
        return np.linspace(-math.pi, math.pi, bins + 1)
    margin = 1e-9 * max(float(np.ptp(values)), 1e-6)
    return np.linspace(values.min() - margin, values.max() + margin, bins + 1)


def _check_overlap(windows: Sequence[Window], overlap: np.ndarray) -> list[str]:
    """Names of windows that share too little; an error where the chain is broken."""
    linked = (overlap + overlap.T) / 2 > OVERLAP
    reached, front = {0}, [0]
    while front:
        for other in np.flatnonzero(linked[front.pop()]):
            if int(other) not in reached:
                reached.add(int(other))
                front.append(int(other))
    if len(reached) < len(windows):
        apart = [windows[k].folder for k in range(len(windows)) if k not in reached]
        near = [windows[k].folder for k in sorted(reached)]
        raise RunFolderError(
            f"no overlap: the windows {', '.join(apart)} share less than {OVERLAP:.0%} of their samples with "
            f"{', '.join(near)}; add windows between them, weaken the biases, or run longer",
            apart[0],
        )
    alone = [windows[k].folder for k in range(len(windows)) if len(windows) > 1 and linked[k].sum() <= 1]
    return [f"{folder} shares less than {OVERLAP:.0%} of its samples with any other window" for folder in alone]
