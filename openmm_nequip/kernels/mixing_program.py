"""What a fused Allegro model of nequip <= 0.6 computes, as plain numbers.

Its layers mix the channels of the tensors of an edge, which later ones do not. With x = r / cutoff, the types a of the
centre and b of the neighbour, order l(m) of the harmonic m, channels c and d, and the cutoff u(x) where the model has
an envelope (u = 1 where it has none; u_k where layers have their own)::

    V_0       = u_0 MLP(basis(x) M[a, b])                  embedding of the pair, ``embedding``
    T_0[i, m] = w[i] Y[m]                                  w = V_0 tensor, block i of order l(m)

and in layer k = 0, 1, ..., with the sum over all edges of the centre::

    A_k[m]            = norm_k[a] * sum of w_k[l(m)] Y[m]  w_k = (V_0, ..., V_k) environment_k
    R_k[o, s, j]      = sum over m, n of C_k[m, n, j] T_k[m] A_k[n]       block o, slot s, component j
    s_k               = R_k[0]                             scalars: all slots of block 0
    T_{k+1}[i, j, d]  = sum over s, c of R_k[o, s, j, c] M_k[i][s, c, d]  o: the block that i is made of
    V_{k+1}           = u_{k+1} MLP_k(V_0, ..., V_k, s_k)

Weights may come from networks with hidden layers h_k, ``weighters``: then w_k = h_k(V_0, ..., V_k) environment_k, and
w = h_0(V_0) tensor. Where an edge is no part of its own environment, A_k is taken without its term; and where layers
have cutoffs of their own, an edge beyond that of layer k has no term in A_k. The energy of the atom is the sum over its
edges of readout(V_0, V_1, ...), times a scale of the types of both atoms if there is one, times a scale, plus a shift.
Residual connections between the latent features of layers are in the matrices that read the V.

References
----------
A. Musaelian et al., Nat. Commun. 14, 579 (2023), doi:10.1038/s41467-023-36329-y; module semantics from Allegro
(https://github.com/mir-group/allegro) of 2022 and 2023.
"""

from __future__ import annotations

import dataclasses
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
        Which part of that block; paths into one slot are added.
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
    made_of : list of int
        For each block of the next tensors, the block of the result that it is made of; none in the last layer.
    mixing : list of numpy.ndarray, (n_slots, n_channels, n_channels) float64
        M of each of them.
    """

    sources: list[int]
    targets: list[int]
    paths: list[EdgePath]
    made_of: list[int]
    mixing: list[np.ndarray]

    def slots(self, target: int) -> int:
        """Number of parts of a block of the result."""
        return 1 + max(path.slot for path in self.paths if path.target == target)


class Envelope(NamedTuple):
    """A cutoff of latents of its own, as a function of the distance.

    Parameters
    ----------
    cutoff : float
        Where it ends, Å.
    cosine : bool
        Whether it is 1 up to ``shape`` times the cutoff, and (1 + cos) / 2 from there on, or else the polynomial cutoff
        of exponent ``shape``.
    shape : float
        See ``cosine``.
    """

    cutoff: float
    cosine: bool
    shape: float


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
        Whether a cutoff is a factor of every V.
    envelopes : list of Envelope
        The cutoffs u_0, u_1, ..., all of one kind; empty where they are all that of the radial basis.
    own_edge : bool
        Whether an edge is part of the environment it sees.
    tensor : numpy.ndarray, (n_embedding, n_blocks, n_channels) float64
        From V_0 to the weights of the tensors, whose blocks are the sources of the first product; with weighters from
        the last hidden layer of the first.
    environments : list of numpy.ndarray, (n_latents, n_orders, n_channels) float64
        From all V so far, side by side, to the weights of each layer's environment; with weighters from the last hidden
        layer of that of the layer.
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
    pair_scales : numpy.ndarray, (n_types, n_types) float64, optional
        Factor of the energy of an edge [centre type][neighbour type].
    weighters : list of Mlp
        For each layer the network from all V so far to its last hidden layer, all with one activation, which stands
        behind the last matrix as well; empty where weights are linear in V.
    """

    basis: Bessel
    pairs: np.ndarray
    embedding: Mlp
    envelope: bool
    envelopes: list[Envelope]
    own_edge: bool
    tensor: np.ndarray
    environments: list[np.ndarray]
    norms: np.ndarray
    products: list[EdgeProduct]
    latents: list[Mlp]
    readout: Mlp
    features: list[int]
    pair_scales: np.ndarray | None = None
    weighters: list[Mlp] = dataclasses.field(default_factory=list)

    @property
    def weights_of_layers(self) -> list[np.ndarray]:
        """From the last hidden layer of each weighter to what it gives: (n_hidden, n_weights, n_channels)."""
        first, *others = self.environments
        return [np.concatenate([self.tensor, first], axis=1), *others]

    @property
    def tabulated_envelope(self) -> bool:
        """Whether the envelope is one of the two-body functions."""
        return self.envelope and not self.envelopes

    @property
    def n_channels(self) -> int:
        """Number of channels of the tensors."""
        return self.tensor.shape[2]

    @property
    def n_orders(self) -> int:
        """l_max + 1."""
        return len(self.harmonics)
