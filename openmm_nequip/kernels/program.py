"""What a fused model computes, as plain numbers: irreps, paths and weights, with no torch module left in it.

:class:`Program` is what all families have; :class:`NequIPProgram` is that of NequIP models,
:class:`.allegro_program.AllegroProgram` that of Allegro models, and :class:`.mixing_program.MixingProgram` that of
Allegro models of nequip <= 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Names of activations that are even functions.
_EVEN = frozenset({"abs"})


class Block(NamedTuple):
    """``mul`` copies of one irreducible representation.

    Parameters
    ----------
    mul : int
        Number of channels.
    l : int
        Rotation order; 2l + 1 components.
    p : int
        Parity, 1 or -1.
    """

    mul: int
    l: int  # noqa: E741
    p: int


class Path(NamedTuple):
    """One product of the convolution: features (l1) x spherical harmonics (l2) -> l3.

    Parameters
    ----------
    block : int
        Index of the input block.
    l1, l2, l3 : int
        Orders of features, harmonics and result.
    group : int
        Index of the block of the result that the path writes to.
    slot : int
        Which part of that block: paths into one block stand side by side.
    coefficient : float
        Factor of the path.
    weights : slice
        Its channels among the outputs of the radial network.
    """

    block: int
    l1: int
    l2: int
    l3: int
    group: int
    slot: int
    coefficient: float
    weights: slice


class Mix(NamedTuple):
    """A linear map between two blocks of one irrep, the same for every component.

    Parameters
    ----------
    source, target : int
        Indices of the blocks.
    weights : numpy.ndarray, (n_types or 1, mul_in, mul_out) float64
        One matrix, or one for each atom type.
    """

    source: int
    target: int
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class Radial:
    """Radial network of one layer: Bessel functions x cutoff -> MLP without bias.

    Parameters
    ----------
    weights : list of numpy.ndarray, (n_in, n_out) float64
        Matrices of the MLP, with all factors in them.
    activation : str
        Name of the function between them.
    """

    weights: list[np.ndarray]
    activation: str = "silu"


@dataclass(frozen=True, eq=False)
class Gate:
    """The nonlinearity of a layer.

    Parameters
    ----------
    inputs : list of Block
        Scalars, then gates, then gated blocks.
    n_scalars : int
        How many of ``inputs`` are scalars; of the others the first half gates the second half.
    activations : list of tuple of (str, float)
        Name and factor, for scalars and gates.
    """

    inputs: list[Block]
    n_scalars: int
    activations: list[tuple[str, float]]

    @property
    def n_gates(self) -> int:
        """Number of gate blocks, and of gated ones."""
        return (len(self.inputs) - self.n_scalars) // 2

    @property
    def outputs(self) -> list[Block]:
        """Blocks of the result: scalars, then gated blocks, of the parities that they end with.

        Of odd numbers an even function makes even ones, and gates that are odd turn the parity of what they gate.
        """
        names = [name for name, _ in self.activations]
        # Activations are those of scalars and gates, which come first.
        made = [1 if name in _EVEN else block.p for block, name in zip(self.inputs, names, strict=False)]
        scalars, gated = self.inputs[: self.n_scalars], self.inputs[self.n_scalars + self.n_gates :]
        signs = made[: self.n_scalars] + [p * block.p for p, block in zip(made[self.n_scalars :], gated, strict=True)]
        return [Block(block.mul, block.l, sign) for block, sign in zip(scalars + gated, signs, strict=True)]


@dataclass(frozen=True, eq=False)
class Layer:
    """One interaction layer.

    Parameters
    ----------
    inputs : list of Block
        Features before the layer.
    first : list of Mix
        Map of the features that the convolution sees, with the normalisation in it.
    paths : list of Path
        Products of the convolution.
    middle : list of Block
        Blocks of the convolution's result; ``mul`` counts all paths into the block.
    second : list of Mix
        From ``middle`` to the inputs of the gate.
    connection : list of Mix
        Self-connection from ``inputs`` to the inputs of the gate; may be empty.
    gate : Gate
        Nonlinearity.
    radial : Radial
        Radial network.
    """

    inputs: list[Block]
    first: list[Mix]
    paths: list[Path]
    middle: list[Block]
    second: list[Mix]
    connection: list[Mix]
    gate: Gate
    radial: Radial


@dataclass(frozen=True, eq=False)
class Repulsion:
    """Ziegler-Biersack-Littmark screened nuclear repulsion, as nequip adds it.

    Parameters
    ----------
    numbers : numpy.ndarray, (n_types,) float64
        Atomic number of each type.
    factor : float
        e^2 / (4 pi eps0) in model units, times one half for the two directions of an edge.
    power : float
        Exponent p of its polynomial cutoff.
    """

    numbers: np.ndarray
    factor: float
    power: float


@dataclass(frozen=True, eq=False)
class Bessel:
    """Radial basis of Bessel functions times a polynomial cutoff.

    Parameters
    ----------
    roots : numpy.ndarray, (n_functions,) or (n_types, n_types, n_functions) float64
        In units of pi / cutoff: the same for all pairs of types, or those of each.
    power : float
        Exponent p of the polynomial cutoff.
    factor : float
        Factor of all functions.
    constants : bool
        Whether two functions stand behind them: the cutoff itself, and 1.
    ends : bool
        Whether there is a polynomial cutoff; without, 1 takes its place.
    """

    roots: np.ndarray
    power: float
    factor: float
    constants: bool = False
    ends: bool = True

    @property
    def of_pairs(self) -> bool:
        """Whether each pair of types has roots of its own."""
        return self.roots.ndim > 1

    @property
    def size(self) -> int:
        """Number of functions."""
        return self.roots.shape[-1] + 2 * self.constants


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """What models of all families have.

    Parameters
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``, as the model computes.
    n_types : int
        Number of atom types.
    reciprocal_cutoffs : numpy.ndarray, (n_types, n_types) float64
        1 / cutoff [centre type][neighbour type].
    harmonics : list of numpy.ndarray, (2l+1, n_monomials) float64
        Spherical harmonics of order l = 0, 1, ... as polynomials of the unit vector.
    scales, shifts : numpy.ndarray, (n_types,) float64
        Energy of an atom = scale * what the network gives + shift.
    repulsion : Repulsion, optional
        Pair term.
    """

    dtype: str
    n_types: int
    reciprocal_cutoffs: np.ndarray
    harmonics: list[np.ndarray]
    scales: np.ndarray
    shifts: np.ndarray
    repulsion: Repulsion | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class NequIPProgram(Program):
    """A NequIP model.

    Parameters
    ----------
    bessel : numpy.ndarray, (n_bessel,) float64
        Roots of the radial basis, in units of pi / cutoff.
    power : float
        Exponent p of the polynomial cutoff.
    factor : float
        Factor of the radial basis.
    embedding : numpy.ndarray, (n_types, mul) float64
        Features of each type before the first layer.
    layers : list of Layer
        The layers.
    readout : list of numpy.ndarray
        Matrices of the last MLP.
    readout_activation : tuple of (str, float)
        Between them.
    """

    bessel: np.ndarray
    power: float
    factor: float
    embedding: np.ndarray
    layers: list[Layer]
    readout: list[np.ndarray]
    readout_activation: tuple[str, float]

    @property
    def basis(self) -> Bessel:
        """The radial basis."""
        return Bessel(self.bessel, self.power, self.factor)
