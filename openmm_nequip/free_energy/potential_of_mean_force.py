"""Free energy along a coordinate from biased samples, by MBAR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..series import quiet_pymbar
from ..units import GAS_CONSTANT
from .shared_samples import SOLVERS, check_overlap, solving

_CURE = "add windows between them, weaken the biases, or run longer"


class Profile(NamedTuple):
    """A potential of mean force."""

    centres: np.ndarray  #: (n_bins,) in the unit of the coordinate
    energies: np.ndarray  #: (n_bins,) kJ/mol from the lowest, NaN where nothing was sampled
    errors: np.ndarray  #: (n_bins,) standard errors, kJ/mol
    counts: np.ndarray  #: (n_windows, n_bins) samples of each window
    overlap: np.ndarray  #: (n_windows, n_windows) share of samples
    notes: list[str]  #: what to know of it


def potential_of_mean_force(
    values: Sequence[np.ndarray],
    biases: np.ndarray,
    edges: np.ndarray,
    temperature: Any,
    names: Sequence[Any] | None = None,
) -> Profile:
    """The potential of mean force of windows.

    Parameters
    ----------
    values : sequence of numpy.ndarray, (n_k,) float64
        The coordinate of the independent samples of each window.
    biases : numpy.ndarray, (n_windows, n_samples) float64
        Energy of each window's bias for all samples, kJ/mol, those of the first window first.
    edges : numpy.ndarray, (n_bins + 1,) float64
        Of the bins, in the unit of the coordinate.
    temperature : Quantity or float
        Of all windows, K.
    names : sequence, optional
        Of the windows, for messages.

    Returns
    -------
    Profile
        Errors are relative to the lowest bin.

    Raises
    ------
    ValueError
        If a window is empty or the numbers do not fit together.
    OverlapError
        If windows share no samples with the others; says which.

    References
    ----------
    M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), by pymbar.
    """
    import openmm.unit as unit

    kelvin = temperature.value_in_unit(unit.kelvin) if unit.is_quantity(temperature) else float(temperature)
    labels = [str(name) for name in (range(len(values)) if names is None else names)]
    counts = np.array([len(each) for each in values])
    for label, count in zip(labels, counts, strict=True):
        if count == 0:
            raise ValueError(f"the window {label} has no samples; leave it out, or run it")
    joined = np.concatenate(list(values)) if len(values) else np.zeros(0)
    if len(values) < 2 or np.shape(biases) != (len(values), len(joined)):
        raise ValueError(
            f"{len(values)} windows with {len(joined)} samples, and biases of the shape {np.shape(biases)}; give two "
            "or more windows, and for each the bias of all samples"
        )
    beta = 1.0 / (GAS_CONSTANT * kelvin)
    reduced = beta * np.asarray(biases, dtype=np.float64)
    pymbar = quiet_pymbar()
    with solving(_CURE):
        overlap = pymbar.MBAR(reduced, counts, solver_protocol=SOLVERS).compute_overlap()["matrix"]
        notes = check_overlap(overlap, labels, "windows", _CURE)
        surface = pymbar.FES(reduced, counts, mbar_options={"solver_protocol": SOLVERS})
        surface.generate_fes(
            np.zeros(len(joined)), joined, fes_type="histogram", histogram_parameters={"bin_edges": [edges]}
        )
        centres = 0.5 * (edges[1:] + edges[:-1])
        total, _ = np.histogram(joined, edges)
        seen = total > 0
        found = surface.get_fes(centres[seen], reference_point="from-lowest", uncertainty_method="analytical")
    energies, errors = np.full(len(centres), math.nan), np.full(len(centres), math.nan)
    energies[seen], errors[seen] = np.ravel(found["f_i"]) / beta, np.ravel(found["df_i"]) / beta
    shares = np.array([np.histogram(each, edges)[0] for each in values])
    if not seen.all():
        notes.append(f"{int((~seen).sum())} of {len(centres)} bins were never visited")
    return Profile(centres, energies, errors, shares, overlap, notes)
