"""Windows of umbrella sampling put together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...free_energy import Profile, potential_of_mean_force
from .windows import Window


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
        Centres in nm or radians.

    Raises
    ------
    OverlapError
        If the windows fall into groups that share no samples.
    """
    values = [window.values for window in windows]
    joined = np.concatenate(values)
    biases = np.array([window.bias.energy(joined) for window in windows])
    edges = _edges(windows, joined, bins)
    return potential_of_mean_force(values, biases, edges, windows[0].temperature, [w.folder for w in windows])


def _edges(windows: Sequence[Window], values: np.ndarray, bins: int) -> np.ndarray:
    if windows[0].bias.is_periodic:
        return np.linspace(-math.pi, math.pi, bins + 1)
    margin = 1e-9 * max(float(np.ptp(values)), 1e-6)
    return np.linspace(values.min() - margin, values.max() + margin, bins + 1)
