"""What a fused Allegro model of nequip <= 0.6 computes, as plain numbers.

Its layers mix the channels of the tensors of an edge, which later ones do not. With x = r / cutoff, the types a of the
centre and b of the neighbour, order l(m) of the harmonic m, channels c and d, and the cutoff u(x) where the model has
an envelope (u = 1 where it has none)::

    V_0    = u MLP(basis(x) M[a, b])                       embedding of the pair, ``embedding``
    T_0[m] = w[l(m)] Y[m]                                  w = V_0 tensor

and in layer k = 0, 1, ..., with the sum over all edges of the centre::

    A_k[m]            = norm_k[a] * sum of w_k[l(m)] Y[m]  w_k = (V_0, ..., V_k) environment_k
    R_k[o, s, j]      = sum over m, n of C_k[m, n, j] T_k[m] A_k[n]       block o, path s into it, component j
    s_k               = R_k[0]                             scalars: all paths into block 0
    T_{k+1}[o, j, d]  = sum over s, c of R_k[o, s, j, c] M_k[o][s, c, d]
    V_{k+1}           = u MLP_k(V_0, ..., V_k, s_k)

Where an edge is no part of its own environment, A_k is taken without its term. The energy of the atom is the sum over
its edges of readout(V_0, V_1, ...), times a scale, plus a shift. Residual connections between the latent features of
layers are in the matrices that read the V.

References
----------
A. Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; module semantics from Allegro
(https://github.com/mir-group/allegro) of 2022 and 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .allegro_program import Mlp
from .program import Bessel, Program


class EdgePath(NamedTuple):
    """One product of a layer: tensors (l1) x environment (l2) -> l3.

    Parameters
    ----------
    source : int
        Index of the block of the tensors.
    order : int
        l2, the order of the harmonics.
    target : int
        Index of the block of the result.
    slot : int
        Which of the paths into that block.
    couplings : numpy.ndarray, (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) float64
        C.
    """

    source: int
    order: int
    target: int
    slot: int
    couplings: np.ndarray


class EdgeProduct(NamedTuple):
    """The tensor product of one layer, and the mixing behind it.

    Parameters
    ----------
    sources, targets : list of int
        Orders of the blocks of the tensors, and of the result; the first of ``targets`` is that of the scalars.
    paths : list of EdgePath
        The products.
    mixing : list of numpy.ndarray, (n_slots, n_channels, n_channels) float64
        M of each target; none in the last layer.
    """

    sources: list[int]
    targets: list[int]
    paths: list[EdgePath]
    mixing: list[np.ndarray]

    def slots(self, target: int) -> int:
        """Number of paths into a block of the result."""
        return sum(path.target == target for path in self.paths)


@dataclass(frozen=True, eq=False, kw_only=True)
class MixingProgram(Program):
    """An Allegro model whose layers mix channels.

    Parameters
    ----------
    basis : Bessel
        Radial basis; with constants where there is an envelope.
    pairs : numpy.ndarray, (n_types, n_types, n_functions, n_first) float64
        M for each pair of types, with the first matrix of ``embedding`` in it.
    embedding : Mlp
        What follows ``pairs``: its activation, and one or more matrices behind it.
    envelope : bool
        Whether the cutoff is a factor of every V.
    own_edge : bool
        Whether an edge is part of the environment it sees.
    tensor : numpy.ndarray, (n_embedding, n_orders, n_channels) float64
        From V_0 to the weights of the tensors.
    environments : list of numpy.ndarray, (n_latents, n_orders, n_channels) float64
        From all V so far, side by side, to the weights of each layer's environment.
    norms : numpy.ndarray, (n_layers, n_types) float64
        What the environments are multiplied with.
    products : list of EdgeProduct
        Of each layer.
    latents : list of Mlp
        MLP_k: rows of the first matrix are all V so far, then the scalars, path by path, channels side by side.
    readout : Mlp
        From all V, side by side, to the energy of an edge.
    features : list of int
        Numbers in V_0, V_1, ...
    """

    basis: Bessel
    pairs: np.ndarray
    embedding: Mlp
    envelope: bool
    own_edge: bool
    tensor: np.ndarray
    environments: list[np.ndarray]
    norms: np.ndarray
    products: list[EdgeProduct]
    latents: list[Mlp]
    readout: Mlp
    features: list[int]

    @property
    def n_channels(self) -> int:
        """Number of channels of the tensors."""
        return self.tensor.shape[2]

    @property
    def n_orders(self) -> int:
        """l_max + 1."""
        return len(self.harmonics)
