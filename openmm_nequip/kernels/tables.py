"""Functions of a distance as Hermite tables with a measured error.

Between two knots the table is the polynomial that has the function's value and derivatives at both: of degree five with
value, slope and curvature, so twice continuously differentiable everywhere. The energy that is tabulated thus has
smooth forces, and the forces are its exact gradient. Every two degrees more take a derivative more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .program import Bessel, NequIPProgram, Radial
from .read.probing import ACTIVATIONS

FIRST_KNOTS = 64
MOST_KNOTS = 8192
#: Knots are a multiple of it.
KNOT_STEP = 4
#: How much finer a grid becomes at least when it was too coarse, and at most.
_GROWTH = (1.05, 4.0)
#: Largest error of a table, relative to the largest value (and slope) of its network: rounding noise of float32, and
#: what a float64 model may lose without anyone being able to tell.
TOLERANCES = {"float32": (1e-7, 2e-6), "float64": (1e-10, 1e-9)}
#: Share of it that a radial network's table uses: errors of all its paths add up in a force, which is to differ by less
#: than rounding does (float32), or by 1e-11 of its size (float64).
_SHARE = {"float32": 0.4, "float64": 0.1}
#: Points between two knots where the error is measured; none of them a knot.
_PROBES = 5
#: Below this argument sin(z)/z is a power series of so many terms.
_NEAR_ZERO, _SERIES = 0.5, 9


@dataclass(frozen=True, eq=False)
class Table:
    """A tabulated radial network.

    Parameters
    ----------
    coefficients : numpy.ndarray, (n_knots, degree + 1, n_out) float64
        Polynomial in the fraction of the interval, lowest power first.
    value_error, slope_error : float
        Largest deviation from the network and from its derivative, relative to their largest magnitude.
    """

    coefficients: np.ndarray
    value_error: float
    slope_error: float

    @property
    def knots(self) -> int:
        """Number of intervals on [0, 1]."""
        return len(self.coefficients)


def _sinc(z: torch.Tensor) -> torch.Tensor:
    """sin(z) / z with derivatives that stay exact at 0, where torch's lose all digits."""
    near = z.abs() < _NEAR_ZERO
    far = torch.where(near, torch.ones_like(z), z)
    square = z * z
    series = torch.zeros_like(z)
    for k in range(_SERIES, 0, -1):
        series = (series + 1) * (-square / (2 * k * (2 * k + 1)))
    return torch.where(near, 1 + series, torch.sin(far) / far)


def bessel_function(basis: Bessel) -> Callable[[torch.Tensor], torch.Tensor]:
    """Bessel functions times their cutoff as a function of x = r / cutoff, in float64.

    Parameters
    ----------
    basis : Bessel
        The basis, with roots (..., n_functions).

    Returns
    -------
    callable
        (n,) -> (n, ..., n_functions), for x in [0, 1]; differentiable.
    """
    roots = torch.from_numpy(basis.roots)
    p = basis.power

    def functions(x: torch.Tensor) -> torch.Tensor:
        if basis.ends:
            envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
        else:
            envelope = torch.ones_like(x)
        x, envelope = (each.reshape(-1, *[1] * roots.ndim) for each in (x, envelope))
        found = _sinc(torch.pi * x * roots) * roots * envelope * basis.factor
        if not basis.constants:
            return found
        envelope = envelope.expand(*found.shape[:-1], 1)
        return torch.cat([found, envelope, torch.ones_like(envelope)], dim=-1)

    return functions


def radial_function(program: NequIPProgram, radial: Radial) -> Callable[[torch.Tensor], torch.Tensor]:
    """The radial network as a function of x = r / cutoff, in float64.

    Parameters
    ----------
    program : NequIPProgram
        Has the basis.
    radial : Radial
        Has the network.

    Returns
    -------
    callable
        (n,) -> (n, n_out), for x in [0, 1]; differentiable.
    """
    basis = bessel_function(program.basis)
    weights = [torch.from_numpy(matrix) for matrix in radial.weights]
    activation = ACTIVATIONS[radial.activation]

    def network(x: torch.Tensor) -> torch.Tensor:
        hidden = basis(x)
        for i, matrix in enumerate(weights):
            hidden = (activation(hidden) if i else hidden) @ matrix
        return hidden

    return network


def derivatives(network: Callable, x: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Value and derivatives by nested forward-mode differentiation: exact to rounding.

    Parameters
    ----------
    network : callable
        (n,) -> (n, n_out).
    x : torch.Tensor, (n,) float64
        Where.
    order : int
        Of the highest derivative.

    Returns
    -------
    list of torch.Tensor, (n, n_out)
    """
    functions = [network]
    for _ in range(order):
        inner = functions[-1]
        functions.append(lambda y, inner=inner: torch.func.jvp(inner, (y,), (torch.ones_like(y),))[1])
    return [function(x) for function in functions]


def hermite(network: Callable[[torch.Tensor], torch.Tensor], knots: int) -> np.ndarray:
    """Coefficients of the quintic interpolant on [0, 1].

    Parameters
    ----------
    network : callable
        (n,) -> (n, n_out).
    knots : int
        Number of intervals.

    Returns
    -------
    numpy.ndarray, (knots, 6, n_out) float64
    """
    step = 1.0 / knots
    x = torch.linspace(0, 1, knots + 1, dtype=torch.float64)
    value, slope, curve = (d.numpy() * step**i for i, d in enumerate(derivatives(network, x, 2)))
    # Beyond the cutoff all is zero: so it must be at the last knot.
    value[-1], slope[-1], curve[-1] = 0.0, 0.0, 0.0
    v0, s0, c0, v1, s1, c1 = value[:-1], slope[:-1], curve[:-1], value[1:], slope[1:], curve[1:]
    rise = v1 - v0
    return np.stack(
        [
            v0,
            s0,
            c0 / 2,
            10 * rise - 6 * s0 - 4 * s1 - 1.5 * c0 + 0.5 * c1,
            -15 * rise + 8 * s0 + 7 * s1 + 1.5 * c0 - c1,
            6 * rise - 3 * (s0 + s1) - 0.5 * (c0 - c1),
        ],
        axis=1,
    )


def evaluate(coefficients: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and derivative of a table.

    Parameters
    ----------
    coefficients : numpy.ndarray, (n_knots, degree + 1, n_out)
        From :func:`hermite`, or of another degree.
    x : numpy.ndarray, (n,) float64
        In [0, 1).

    Returns
    -------
    tuple of numpy.ndarray, (n, n_out)
    """
    knots = len(coefficients)
    index = np.minimum((x * knots).astype(np.int64), knots - 1)
    f = (x * knots - index)[:, None]
    rows = coefficients[index]
    value, slope = rows[:, -1].copy(), np.zeros_like(rows[:, -1])
    for power in range(coefficients.shape[1] - 2, -1, -1):
        slope = slope * f + value
        value = value * f + rows[:, power]
    return value, slope * knots


def probes(knots: int) -> np.ndarray:
    """Where errors of a table are measured: (n,) float64, a few points between any two knots, none of them a knot."""
    return (np.arange(knots)[:, None] + (np.arange(_PROBES) + 0.5) / _PROBES).ravel() / knots


def deviation(
    coefficients: np.ndarray, x: np.ndarray, true_value: np.ndarray, true_slope: np.ndarray
) -> tuple[float, float]:
    """Largest deviation of a table from its function.

    Parameters
    ----------
    coefficients : numpy.ndarray, (n_knots, degree + 1, n_out)
        The table.
    x : numpy.ndarray, (n,) float64
        Where it is measured.
    true_value, true_slope : numpy.ndarray, (n, n_out)
        The function and its derivative there.

    Returns
    -------
    tuple of float
        Of value and derivative, relative to their largest magnitude.
    """
    value, slope = evaluate(coefficients, x)
    return (
        float(np.abs(value - true_value).max() / max(np.abs(true_value).max(), 1e-300)),
        float(np.abs(slope - true_slope).max() / max(np.abs(true_slope).max(), 1e-300)),
    )


def finer(table: Table, promised: tuple[float, float]) -> float:
    """How much finer the grid of a table has to be to keep its promise.

    Parameters
    ----------
    table : Table
        The table.
    promised : tuple of float
        Largest relative error of value and slope.

    Returns
    -------
    float
        Factor for the number of knots; 1 if the promise is kept.

    Raises
    ------
    ValueError
        If there is no such grid: a cutoff whose exponent is no whole number has infinite derivatives at 0.
    """
    if not np.isfinite(table.value_error + table.slope_error):
        raise ValueError("radial functions have derivatives that are not finite")
    if table.value_error <= promised[0] and table.slope_error <= promised[1]:
        return 1.0
    # An error falls with the power degree + 1 of the interval, that of a slope with one less.
    count = table.coefficients.shape[1]
    value = (table.value_error / promised[0]) ** (1 / count)
    slope = (table.slope_error / promised[1]) ** (1 / (count - 1))
    return min(max(value, slope, _GROWTH[0]), _GROWTH[1])


def tabulate(
    program: NequIPProgram, radial: Radial, tolerances: tuple[float, float] | None = None, fewest: int = FIRST_KNOTS
) -> Table:
    """The smallest table that keeps the promise.

    Parameters
    ----------
    program : NequIPProgram
        Has the basis.
    radial : Radial
        The network.
    tolerances : tuple of float, optional
        Largest relative error of value and slope; a share of :data:`TOLERANCES` of the model's dtype by default.
    fewest : int
        Number of knots to begin with.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If the promise cannot be kept with :data:`MOST_KNOTS`.
    """
    value, slope = TOLERANCES[program.dtype]
    promised = tolerances or (_SHARE[program.dtype] * value, _SHARE[program.dtype] * slope)
    network = radial_function(program, radial)
    knots = fewest
    while True:
        coefficients = hermite(network, knots)
        points = probes(knots)
        errors = deviation(
            coefficients, points, *(d.numpy() for d in derivatives(network, torch.from_numpy(points), 1))
        )
        table = Table(coefficients, *errors)
        growth = finer(table, promised)
        if growth == 1:
            return table
        if knots >= MOST_KNOTS:
            raise ValueError(
                f"a table of {knots} knots is still off by {errors[0]:.1e} in value and {errors[1]:.1e} in slope "
                f"(wanted {promised[0]:.1e} and {promised[1]:.1e})"
            )
        knots = min(-int(-knots * growth // KNOT_STEP) * KNOT_STEP, MOST_KNOTS)
