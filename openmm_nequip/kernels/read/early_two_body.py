"""What an edge of an Allegro model of nequip <= 0.6 has of its length and types before the first network."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...errors import NotFusableError
from ...upstream.early_allegro_modules import normalised_basis
from ...upstream.nequip_modules import reciprocal_cutoffs
from ..program import Bessel
from .early_networks import read_network
from .energy_model import Parts
from .probing import expect_class, to_array

#: Roots that differ less than this, in units of pi / cutoff, were not trained: they are rounded.
_SAME_ROOTS = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class TwoBody:
    """Inputs of the first network.

    Parameters
    ----------
    n_types : int
        Number of atom types.
    basis : Bessel
        Radial basis.
    inputs : numpy.ndarray, (n_types, n_types, n_functions, n_inputs) float64
        Inputs of the network from functions of the basis.
    reciprocal_cutoffs : numpy.ndarray, (n_types, n_types) float64
        1 / cutoff [centre type][neighbour type].
    """

    n_types: int
    basis: Bessel
    inputs: np.ndarray
    reciprocal_cutoffs: np.ndarray


def one_hot(parts: Parts) -> TwoBody:
    """Types as one-hot vectors beside the radial basis: 0.2.

    Parameters
    ----------
    parts : Parts
        Modules of the model.

    Returns
    -------
    TwoBody

    Raises
    ------
    NotFusableError
        If the basis is not known.
    """
    radial = parts.one("RadialBasisEdgeEncoding")
    expect_class(radial.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    n_types = int(parts.one("OneHotAtomEncoding").num_types)
    bessel, cutoff, functions = _bessel(radial.basis, float(radial.cutoff.p))
    count = functions.shape[1]
    # The last function is 1, for the types.
    inputs = np.zeros((n_types, n_types, count + 2, 2 * n_types + count))
    inputs[:, :, : count + 1, 2 * n_types :] = functions
    for a in range(n_types):
        inputs[a, :, count + 1, a] = 1.0
        inputs[:, a, count + 1, n_types + a] = 1.0
    return TwoBody(n_types, bessel, inputs, np.full((n_types, n_types), 1.0 / cutoff))


def _bessel(basis: Any, power: float | None) -> tuple[Bessel, float, np.ndarray]:
    """Bessel functions with the polynomial cutoff itself (or without any) and 1; their cutoff; the basis made of them.

    The basis is a map (n_bessel + 1, n_bessel): of each function a multiple of the cutoff may be subtracted.
    """
    means, factors = np.zeros(1), np.ones(1)
    if type(basis).__name__ == "NormalizedBasis":
        means, factors = (to_array(each).ravel() for each in normalised_basis(basis))
        means = means if means.size else np.zeros(1)  # of 0.3, where nothing is subtracted
        basis = basis.basis
    expect_class(basis, "BesselBasis", "the radial basis")
    cutoff, roots = float(basis.r_max), to_array(basis.bessel_weights).ravel() / np.pi
    functions = np.zeros((len(roots) + 1, len(roots)))
    np.fill_diagonal(functions, np.broadcast_to(factors, len(roots)))
    functions[-1] = -means * factors
    factor, ends = float(basis.prefactor) * np.pi / cutoff, power is not None
    return Bessel(roots, power or 0.0, factor, constants=True, ends=ends), cutoff, functions


def products_of_types(parts: Parts) -> TwoBody:
    """Types as factors of the radial basis: 0.3.

    Parameters
    ----------
    parts : Parts
        Modules of the model.

    Returns
    -------
    TwoBody

    Raises
    ------
    NotFusableError
        If a part is not known.
    """
    types = parts.one("ProductTypeEmbedding")
    n_types = int(types.num_types)
    network = read_network("the radial part of the type embedding", types.basis_mlp, types.type_embeddings.dtype)
    if len(network.matrices) != 1:
        raise NotFusableError("the radial part of its type embedding is a network with hidden layers")
    matrix = network.matrices[0]
    if parts.all("NormalizedBasis"):  # use_original_normalized_basis: nothing makes it end at the cutoff
        bessel, cutoff, functions = _bessel(parts.one("NormalizedBasis"), None)
        matrix = np.concatenate([functions @ matrix, np.zeros((1, matrix.shape[1]))])
        reciprocal = np.full((n_types, n_types), 1.0 / cutoff)
    else:
        bessel, reciprocal = _bessel_of_pairs(parts.one("AllegroBesselBasis"), n_types)
    centre, neighbour = to_array(types.type_embeddings)
    columns = np.concatenate(
        [np.repeat(centre[:, None], n_types, axis=1), np.repeat(neighbour[None], n_types, axis=0)], axis=-1
    )
    return TwoBody(n_types, bessel, matrix * columns[:, :, None], reciprocal)


def _bessel_of_pairs(basis: Any, n_types: int) -> tuple[Bessel, np.ndarray]:
    """Bessel functions, with roots for each pair of types where these were trained, and 1 / cutoff of each pair."""
    reciprocal = to_array(reciprocal_cutoffs(basis)).ravel()
    roots = to_array(basis.bessel_weights).reshape(len(reciprocal), -1) / reciprocal[:, None] / np.pi
    if np.abs(roots - np.arange(1, roots.shape[1] + 1)).max() < _SAME_ROOTS:
        roots = np.arange(1.0, roots.shape[1] + 1)[None]
    elif np.abs(roots - roots[0]).max() < _SAME_ROOTS:
        roots = roots[:1]
    shaped = roots.reshape(n_types, n_types, -1) if len(roots) > 1 else roots[0]
    cutoffs = np.broadcast_to(reciprocal.reshape((n_types,) * 2 if reciprocal.size > 1 else (1, 1)), (n_types,) * 2)
    return Bessel(shaped, float(basis.PolynomialCutoff_p), 1.0), np.ascontiguousarray(cutoffs)
