"""How far the models of a committee are from each other.

The spread of a number is its standard deviation among the M models, that of a force the length of the three of its
components:

    spread(E) = sqrt(1/M sum_k (E_k - <E>)^2),    spread(F_i) = sqrt(1/M sum_k |F_ik - <F_i>|^2).

The model deviation of a frame is the largest spread of a force in it, ``max_i spread(F_i)``.

References
----------
Y. Zhang et al., DP-GEN: a concurrent learning platform for the generation of reliable deep learning based potential
energy models, Comput. Phys. Commun. 253, 107206 (2020), https://doi.org/10.1016/j.cpc.2020.107206; with 1/M, as
its ``model_devi.out`` (``max_devi_f``) has it.
"""

from __future__ import annotations

import numpy as np


def spread_of(values: np.ndarray) -> np.ndarray:
    """Standard deviation among models; exactly zero where all say the same.

    Parameters
    ----------
    values : numpy.ndarray, (n_models, ...) float64
        What each says.

    Returns
    -------
    numpy.ndarray, (...)
    """
    return np.sqrt(np.square(_excess(values)).mean(axis=0))


def force_spread(forces: np.ndarray) -> np.ndarray:
    """Spread of the force on each atom.

    Parameters
    ----------
    forces : numpy.ndarray, (n_models, n_atoms, 3) float64
        Of each model.

    Returns
    -------
    numpy.ndarray, (n_atoms,)
    """
    return np.sqrt(np.square(_excess(forces)).sum(axis=2).mean(axis=0))


def _excess(values: np.ndarray) -> np.ndarray:
    """Differences from the mean; from the first at first, so that equal numbers leave no rounding."""
    found = values - values[0]
    return found - found.mean(axis=0)
