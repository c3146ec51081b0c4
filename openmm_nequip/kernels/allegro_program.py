"""What a fused Allegro model computes, as plain numbers.

An edge from a centre to a neighbour, with distance r and direction u, has scalar features and channels of tensors. With
x = r / cutoff, the types a of the centre and b of the neighbour, order l(m) of the harmonic m, and channel c::

    h      = MLP(basis(x) M[a, b])                                      embedding of the pair, ``embedding``
    w      = h tensor                 environment weights e_1 = h environment             v_0 = h scalars
    T_0[m] = w[l(m)] Y[m](u)

and in layer k = 1, 2, ..., with the sum over all edges of the centre::

    A_k[m]  = norm[a] * sum of e_k[l(m)] Y[m]
    T_k[j]  = sum over paths p, m, n of C_k[p, m, n, j] W_k[p, c] T_{k-1}[m] A_k[n]       s_k = T_k[0]
    (v_k, e_{k+1}) = MLP_k(v_0, ..., v_{k-1}, s_k)

The energy of the atom is the sum over its edges of readout(v_0, v_1, ...), times a scale, plus a shift.

References
----------
A. Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; module semantics from nequip-allegro
(https://github.com/mir-group/allegro).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .program import Bessel, Program


@dataclass(frozen=True, eq=False)
class Splines:
    """Radial basis of bumps of finite support: (1 - cos z)^2 / 4 with z = 2 pi (x - lower) / width, for z in [0, 2 pi].

    Parameters
    ----------
    lower : numpy.ndarray, (n_functions,) float64
        Where each begins, in units of the cutoff.
    width : float
        Of each, in units of the cutoff.
    """

    lower: np.ndarray
    width: float

    @property
    def size(self) -> int:
        """Number of functions."""
        return len(self.lower)


class Product(NamedTuple):
    """The tensor product of one layer.

    Parameters
    ----------
    couplings : numpy.ndarray, (n_paths, n_in, n_harmonics, n_out) float64
        C: how components of the tensors and of the environment give components of the result.
    weights : numpy.ndarray, (n_paths, n_channels) float64
        W.
    """

    couplings: np.ndarray
    weights: np.ndarray


class Mlp(NamedTuple):
    """A network without bias.

    Parameters
    ----------
    matrices : list of numpy.ndarray, (n_in, n_out) float64
        One after another.
    activation : tuple of (str, float)
        Name and factor of the function between them.
    """

    matrices: list[np.ndarray]
    activation: tuple[str, float]


@dataclass(frozen=True, eq=False, kw_only=True)
class AllegroProgram(Program):
    """An Allegro model.

    Parameters
    ----------
    basis : Bessel or Splines
        Radial basis.
    pairs : numpy.ndarray, (n_types, n_types, n_functions, n_first) float64
        M for each pair of types, with the first matrix of ``embedding`` in it.
    embedding : Mlp
        What follows ``pairs``: its activation, and the matrices behind it; without any, ``pairs`` gives h.
    tensor : numpy.ndarray, (n_scalars, n_orders, n_channels) float64
        From h to the weights of the tensors.
    environment : numpy.ndarray, (n_scalars, n_orders, n_channels) float64
        From h to the weights of the first environment.
    scalars : numpy.ndarray, (n_scalars, n_features) float64
        From h to v_0.
    norms : numpy.ndarray, (n_types,) float64
        What sums over the edges of a centre are multiplied with.
    products : list of Product
        Of each layer.
    latents : list of Mlp
        MLP_k: the columns of the last matrix are v_k, then, but for the last layer, e_{k+1} as (n_channels, n_orders).
    readout : Mlp
        From all v_k, side by side, to the energy of an edge.
    """

    basis: Bessel | Splines
    pairs: np.ndarray
    embedding: Mlp
    tensor: np.ndarray
    environment: np.ndarray
    scalars: np.ndarray
    norms: np.ndarray
    products: list[Product]
    latents: list[Mlp]
    readout: Mlp

    @property
    def n_features(self) -> int:
        """Number of scalar features v of a layer."""
        return self.scalars.shape[1]

    @property
    def n_channels(self) -> int:
        """Number of channels of the tensors."""
        return self.tensor.shape[2]

    @property
    def n_orders(self) -> int:
        """l_max + 1."""
        return len(self.harmonics)
