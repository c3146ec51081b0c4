"""Spherical harmonics as polynomials and their couplings, for the generated code.

References
----------
e3nn (https://e3nn.org): conventions of ``o3.spherical_harmonics`` and ``o3.wigner_3j``.
"""

from __future__ import annotations

from functools import cache

import numpy as np

#: Numbers below this are zeros with rounding on them.
_ZERO = 1e-10


def monomials(order: int) -> list[tuple[int, int, int]]:
    """Exponents (of x, y, z) of all monomials of a degree."""
    return [(a, b, order - a - b) for a in range(order, -1, -1) for b in range(order - a, -1, -1)]


def fit_polynomials(order: int, units: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients of homogeneous polynomials through samples on the unit sphere.

    Parameters
    ----------
    order : int
        Degree.
    units : numpy.ndarray, (n, 3) float64
        Unit vectors, many more than monomials.
    values : numpy.ndarray, (n, 2 * order + 1) float64
        Samples.

    Returns
    -------
    numpy.ndarray, (2 * order + 1, n_monomials) float64

    Raises
    ------
    ValueError
        If the samples are not polynomials of that degree.
    """
    basis = np.stack([np.prod(units ** np.array(powers), axis=1) for powers in monomials(order)], axis=1)
    found = np.linalg.lstsq(basis, values, rcond=None)[0]
    error = np.abs(basis @ found - values).max()
    if error > 1e-6:
        raise ValueError(f"edge attributes of order {order} are no polynomials of unit vectors (off by {error:.1e})")
    found[np.abs(found) < _ZERO] = 0.0
    return np.ascontiguousarray(found.T)


@cache
def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """Wigner 3j symbols in e3nn's real basis.

    Parameters
    ----------
    l1, l2, l3 : int
        Orders.

    Returns
    -------
    numpy.ndarray, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) float64
    """
    import torch
    from e3nn import o3

    table = o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy().copy()
    table[np.abs(table) < _ZERO] = 0.0
    return table
