"""Two-body functions of Allegro models: all that an edge needs of its distance and the types of its atoms, and tables.

Everything between the radial basis and the first thing that depends on other edges is a function of x = r / cutoff for
each pair of types: the weights of the tensors and of the first environment, and what v_0 gives to the first layer of
each latent network and of the readout. All of it is one row of numbers, so it is tabulated as one function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .allegro_program import AllegroProgram, Mlp, Splines
from .mixing_program import MixingProgram
from .program import Bessel
from .read.probing import ACTIVATIONS
from .tables import KNOT_STEP, MOST_KNOTS, TOLERANCES, Table, bessel_function, derivatives, deviation, finer, probes

#: Tables above this size are not made: the functions are evaluated instead.
MOST_TABLE_BYTES = 512e6
#: Degrees that are tried one after another, each with the largest size of all its tables. A table costs the numbers
#: that are read for an edge, of which a low degree has fewer; of all degrees up to 11, seven has the smallest tables
#: that keep the promise of TOLERANCES (with four they are twice as large in float32, and several times in float64), so
#: it is for what no cache holds.
DEGREES = {"float32": ((4, 32e6), (7, MOST_TABLE_BYTES)), "float64": ((7, MOST_TABLE_BYTES),)}
#: Knots to begin with.
_FEWEST = 16
#: Pairs that are tabulated together.
_TOGETHER = 16
#: Largest value at the cutoff, relative to the largest anywhere, that is rounding on a function that ends there.
_ENDED = 1e-12
#: Value, slope and curvature of a polynomial cutoff end there; further derivatives need not.
_ENDING = 3


def hidden_form(mlp: Mlp) -> Mlp:
    """A network with at least one hidden layer: one without gets its own outputs as such, and the unit matrix."""
    if len(mlp.matrices) > 1:
        return mlp
    return Mlp([*mlp.matrices, np.eye(mlp.matrices[0].shape[1])], ("identity", 1.0))


def two_body_matrix(program: AllegroProgram | MixingProgram) -> np.ndarray:
    """From the embedding h of a pair to its row.

    Parameters
    ----------
    program : AllegroProgram or MixingProgram
        The model.

    Returns
    -------
    numpy.ndarray, (n_scalars, n_row) float64
        Columns: weights of the tensors (n_orders, n_channels), weights of the environment (n_orders, n_channels), then
        inputs of the first activation of every latent network, and of the readout. Where channels are mixed, the
        weights of the other environments stand before the inputs of the network of their layer, or where weights come
        from networks the inputs of these, without weights; and with an envelope there is a row and a column more, the
        first, for the envelope itself.
    """
    if isinstance(program, MixingProgram):
        return _mixing_matrix(program)
    rows = len(program.scalars)
    features = program.n_features
    networks = [hidden_form(mlp) for mlp in (*program.latents, program.readout)]
    return np.concatenate(
        [
            program.tensor.reshape(rows, -1),
            program.environment.reshape(rows, -1),
            *(program.scalars @ network.matrices[0][:features] for network in networks),
        ],
        axis=1,
    )


def _mixing_matrix(program: MixingProgram) -> np.ndarray:
    networks = [hidden_form(mlp).matrices[0] for mlp in (*program.latents, program.readout)]
    rows = program.features[0]
    if program.weighters:  # what comes from them is not among the two-body functions
        parts = []
        for weighter, network in zip(program.weighters, networks, strict=False):
            parts += [weighter.matrices[0][:rows], network[:rows]]
    else:
        parts = [program.tensor.reshape(rows, -1)]
        for environment, network in zip(program.environments, networks, strict=False):
            parts += [environment[:rows].reshape(rows, -1), network[:rows]]
    matrix = np.concatenate([*parts, networks[-1][:rows]], axis=1)
    if not program.tabulated_envelope:
        return matrix
    found = np.zeros((rows + 1, matrix.shape[1] + 1))
    found[0, 0], found[1:, 1:] = 1.0, matrix
    return found


def _spline_function(splines: Splines) -> Callable[[torch.Tensor], torch.Tensor]:
    lower = torch.from_numpy(splines.lower)

    def functions(x: torch.Tensor) -> torch.Tensor:
        angle = torch.clamp((x[:, None] - lower) / splines.width, min=0.0, max=1.0) * (2 * torch.pi)
        return 0.25 * (1 - torch.cos(angle)).square()

    return functions


class PairFunctions:
    """The rows of some pairs of types as functions of x = r / cutoff, in float64.

    Parameters
    ----------
    program : AllegroProgram or MixingProgram
        The model.
    pairs : sequence of tuple of int
        Types of centre and neighbour.
    """

    def __init__(self, program: AllegroProgram | MixingProgram, pairs: Sequence[tuple[int, int]]) -> None:
        basis = program.basis
        self._envelope = isinstance(program, MixingProgram) and program.tabulated_envelope
        self.count = len(pairs)
        if isinstance(basis, Bessel) and basis.of_pairs:
            basis = dataclasses.replace(basis, roots=np.stack([basis.roots[pair] for pair in pairs]))
        self._basis = _spline_function(basis) if isinstance(basis, Splines) else bessel_function(basis)
        self._first = torch.from_numpy(np.stack([program.pairs[pair] for pair in pairs]))
        self._matrices = [torch.from_numpy(matrix) for matrix in program.embedding.matrices]
        self._activation, self._factor = program.embedding.activation
        self._last = torch.from_numpy(two_body_matrix(program))

    def _embedding(self, x: torch.Tensor) -> torch.Tensor:
        basis = self._basis(x)
        of_pairs = basis if basis.ndim > 2 else basis[:, None].expand(-1, self.count, -1)
        hidden = torch.einsum("npf,pfh->nph", of_pairs, self._first)
        for matrix in self._matrices:
            hidden = ACTIVATIONS[self._activation](hidden) * self._factor @ matrix
        if self._envelope:  # the last but one of the functions of the basis
            envelope = basis[:, -2, None, None]
            hidden = torch.cat([envelope.expand(-1, self.count, 1), envelope * hidden], dim=2)
        return hidden

    def derivatives(self, x: torch.Tensor, order: int) -> list[torch.Tensor]:
        """Rows (n, n_pairs, n_row) at x (n,) in [0, 1], and their derivatives, see :func:`.tables.derivatives`.

        The map onto the row comes last, because it is wide.
        """
        return [values @ self._last for values in derivatives(self._embedding, x, order)]


def _hermite_matrix(degree: int) -> np.ndarray:
    """From derivatives at 0, then at 1, then (even degrees) the value at 1/2 to coefficients of the polynomial.

    An array (degree + 1, degree + 1).
    """
    order = (degree + 1) // 2
    conditions = np.zeros((degree + 1, degree + 1))
    for derivative in range(order):
        for power in range(derivative, degree + 1):
            falling = float(np.prod(np.arange(power - derivative + 1, power + 1)))
            conditions[order + derivative, power] = falling
            if power == derivative:
                conditions[derivative, power] = falling
    if degree % 2 == 0:
        conditions[-1] = 0.5 ** np.arange(degree + 1)
    return np.linalg.inv(conditions)


def interpolants(functions: PairFunctions, knots: int, degree: int) -> np.ndarray:
    """Coefficients of polynomials on the intervals of [0, 1] with the functions' value and derivatives at both ends.

    Odd degrees have (degree - 1) / 2 derivatives. Even ones have one less than the next odd degree, and instead the
    value in the middle, which makes the largest error of the slope as small as it can be.

    Parameters
    ----------
    functions : PairFunctions
        What is tabulated.
    knots : int
        Number of intervals.
    degree : int
        Of the polynomials, three at least.

    Returns
    -------
    numpy.ndarray, (n_pairs, knots, degree + 1, n_row) float64
    """
    x = torch.linspace(0, 1, knots + 1, dtype=torch.float64)
    found = [d.numpy() / knots**i for i, d in enumerate(functions.derivatives(x, (degree + 1) // 2 - 1))]
    if np.abs(found[0][-1]).max() <= _ENDED * np.abs(found[0]).max():
        for values in found[:_ENDING]:  # they end at the cutoff, and beyond it all is zero
            values[-1] = 0.0
    middle = [] if degree % 2 else [functions.derivatives((x[:-1] + x[1:]) / 2, 0)[0].numpy()]
    wanted = np.stack([*(values[:-1] for values in found), *(values[1:] for values in found), *middle])
    flat = _hermite_matrix(degree) @ wanted.reshape(degree + 1, -1)
    return np.ascontiguousarray(flat.reshape(degree + 1, *found[0][1:].shape).transpose(2, 1, 0, 3))


def _tabulate(functions: PairFunctions, knots: int, degree: int) -> list[Table]:
    """Tables of some pairs with so many knots, and their errors."""
    coefficients = interpolants(functions, knots, degree)
    points = torch.from_numpy(probes(knots))
    true_value, true_slope = (d.numpy() for d in functions.derivatives(points, 1))
    return [
        Table(table, *deviation(table, points.numpy(), true_value[:, i], true_slope[:, i]))
        for i, table in enumerate(coefficients)
    ]


def table_bytes(program: AllegroProgram | MixingProgram, knots: int, degree: int) -> float:
    """Size of all tables of a model with so many knots."""
    width = two_body_matrix(program).shape[1]
    return program.n_types**2 * knots * (degree + 1.0) * width * np.dtype(program.dtype).itemsize


def tabulate_pairs(
    program: AllegroProgram | MixingProgram, pairs: Sequence[tuple[int, int]] | None = None
) -> list[Table] | None:
    """Tables of all pairs of types, with one grid.

    Parameters
    ----------
    program : AllegroProgram or MixingProgram
        The model.
    pairs : sequence of tuple of int, optional
        Types of centre and neighbour; all by default, row by row.

    Returns
    -------
    list of Table or None
        None if they would be larger than :data:`MOST_TABLE_BYTES`: a model of many elements.

    Raises
    ------
    ValueError
        If the promise cannot be kept.
    """
    # Splines are smooth between the ends of their supports, which are multiples of 1 / number of functions.
    step = program.basis.size if isinstance(program.basis, Splines) else KNOT_STEP
    wanted = list(pairs or [(a, b) for a in range(program.n_types) for b in range(program.n_types)])
    chunks = [PairFunctions(program, wanted[i : i + _TOGETHER]) for i in range(0, len(wanted), _TOGETHER)]
    promised = TOLERANCES[program.dtype]
    most = 0
    for degree, most_bytes in DEGREES[program.dtype]:
        most = int(most_bytes / table_bytes(program, 1, degree))
        found = _tables_of_degree(chunks, degree, step, promised, min(most, MOST_KNOTS))
        if found is not None:
            return found
    if most > MOST_KNOTS:
        raise ValueError(
            f"tables of {MOST_KNOTS} knots are not enough for errors of {promised[0]:.1e} in value and "
            f"{promised[1]:.1e} in slope"
        )
    return None


def _tables_of_degree(
    chunks: list[PairFunctions], degree: int, step: int, promised: tuple[float, float], most: int
) -> list[Table] | None:
    """Tables of all pairs with one grid: a multiple of ``step`` knots; None if they would be more than ``most``."""
    knots = -(-_FEWEST // step) * step
    found: dict[int, list[Table]] = {}
    waiting = list(range(len(chunks)))
    while waiting:
        if knots > most:
            return None
        found[waiting[0]] = made = _tabulate(chunks[waiting[0]], knots, degree)
        growth = max(finer(table, promised) for table in made)
        if growth == 1.0:
            waiting.pop(0)
        else:
            knots = max(-(-int(np.ceil(knots * growth)) // step) * step, knots + step)
    for i, chunk in enumerate(chunks):
        if found[i][0].knots < knots:
            found[i] = _tabulate(chunk, knots, degree)
    return [table for i in range(len(chunks)) for table in found[i]]
