"""What the energy models of nequip have in common, whatever stands between edges and atomic energies.

Modules are known by the name of their class, see :mod:`.probing`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ...upstream.nequip_modules import reciprocal_cutoffs, submodules, zbl_factor
from ..harmonics import fit_polynomials
from ..program import Block, Repulsion
from .probing import blocks_of, expect_class, show_blocks, to_array

#: Directions from which the polynomials of the spherical harmonics are fitted.
_SAMPLES = 200
_MAX_ORDER = 6


def energy_network(model: Any) -> Any:
    """The part of a model of nequip >= 0.7 that makes energies.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel.

    Returns
    -------
    torch.nn.Module
        nequip's SequentialGraphNetwork.

    Raises
    ------
    NotFusableError
        If it has another structure.
    """
    expect_class(model.model, "ForceStressOutput", "the model's outermost module")
    expect_class(model.model.func, "SequentialGraphNetwork", "the energy model")
    return model.model.func


class Parts:
    """Modules of the energy model in the order in which they run, by the name of their class.

    Parameters
    ----------
    network : torch.nn.Module
        nequip's SequentialGraphNetwork.
    known : collection of str
        Names of the classes that the reader knows.

    Raises
    ------
    NotFusableError
        If there is a module of another class.
    """

    def __init__(self, network: Any, known: Collection[str]) -> None:
        self.named = submodules(network)
        for name, module in self.named:
            if type(module).__name__ not in known:
                raise NotFusableError(
                    f"module {name} is a {type(module).__name__}, which the fused kernels do not know"
                )

    def all(self, kind: str) -> list[tuple[str, Any]]:
        """Those of a class, with their names."""
        return [(name, module) for name, module in self.named if type(module).__name__ == kind]

    def one(self, kind: str) -> Any:
        """The only one of a class.

        Raises
        ------
        NotFusableError
            If there is none, or more than one.
        """
        found = self.all(kind)
        if len(found) != 1:
            raise NotFusableError(f"the model has {len(found)} modules of class {kind} instead of one")
        return found[0][1]


def read_dtype(model: Any) -> str:
    """The dtype that a model computes in.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel.

    Returns
    -------
    str
        ``"float32"`` or ``"float64"``.

    Raises
    ------
    NotFusableError
        If it is another one.
    """
    dtype = {torch.float32: "float32", torch.float64: "float64"}.get(model.model_dtype)
    if dtype is None:
        raise NotFusableError(f"the model computes in {model.model_dtype}")
    return dtype


def read_cutoffs(norm: Any, n_types: int) -> np.ndarray:
    """1 / cutoff of every pair of types.

    Parameters
    ----------
    norm : torch.nn.Module
        nequip's ``EdgeLengthNormalizer``.
    n_types : int
        Number of atom types.

    Returns
    -------
    numpy.ndarray, (n_types, n_types) float64
    """
    reciprocal = to_array(reciprocal_cutoffs(norm)).ravel()
    shaped = reciprocal.reshape(n_types, n_types) if reciprocal.size > 1 else reciprocal.reshape(1, 1)
    return np.ascontiguousarray(np.broadcast_to(shaped, (n_types, n_types)))


def expect_plain_sum(reduce: Any) -> None:
    """Refuse a total energy that is not the plain sum of atomic energies.

    Parameters
    ----------
    reduce : torch.nn.Module
        nequip's ``AtomwiseReduce``.

    Raises
    ------
    NotFusableError
        If it is something else.
    """
    if reduce.reduce != "sum" or reduce.constant != 1.0:
        raise NotFusableError("the total energy is not the plain sum of atomic energies")


def per_type(values: torch.Tensor, n_types: int, default: float) -> np.ndarray:
    """Numbers of each type, of which a model may have one for all, or none.

    Parameters
    ----------
    values : torch.Tensor, (n_types,) or (n_types, 1) or (1,) or (0,)
        The model's.
    n_types : int
        Number of atom types.
    default : float
        Where there are none.

    Returns
    -------
    numpy.ndarray, (n_types,) float64
    """
    found = to_array(values).ravel()
    return np.broadcast_to(found if found.size else np.array([default]), (n_types,)).copy()


def read_repulsion(module: Any, power: float | None) -> Repulsion:
    """A ZBL term.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's ``ZBL``.
    power : float or None
        Exponent of the cutoff that the model's edges have, which the term takes where it has none of its own: so until
        nequip 0.17.

    Returns
    -------
    Repulsion

    Raises
    ------
    NotFusableError
        If its cutoff is not known.
    """
    if hasattr(module, "cutoff"):
        expect_class(module.cutoff, "PolynomialCutoff", "the cutoff of the ZBL term")
        power = float(module.cutoff.p)
    if power is None:
        raise NotFusableError("the ZBL term has no cutoff")
    return Repulsion(to_array(module.atomic_numbers), zbl_factor(module), power)


def _plain_blocks(dimension: int) -> list[Block]:
    """Harmonics of orders 0, 1, ..., as many as fill a dimension."""
    orders = math.isqrt(dimension)
    if orders**2 != dimension:
        raise NotFusableError(f"{dimension} edge attributes are not the spherical harmonics of orders 0, 1, ...")
    return [Block(1, order, (-1) ** order) for order in range(orders)]


def read_harmonics(irreps: Any, harmonics: Any) -> list[np.ndarray]:
    """Polynomials of the spherical harmonics of edges.

    Parameters
    ----------
    irreps : e3nn.o3.Irreps or None
        Of the harmonics; None where parities do not matter and orders are told by their number.
    harmonics : torch.nn.Module
        e3nn's ``SphericalHarmonics``.

    Returns
    -------
    list of numpy.ndarray, (2l+1, n_monomials) float64

    Raises
    ------
    NotFusableError
        If they are not those of orders 0, 1, ... of unit vectors.
    """
    vectors = np.random.default_rng(0).normal(size=(_SAMPLES, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = to_array(harmonics(torch.from_numpy(units)))
    blocks = _plain_blocks(values.shape[1]) if irreps is None else blocks_of(irreps)
    # Without parity, nequip <= 0.15 labels all of them even; the numbers are the same.
    labels = [(b.mul, b.l, b.p) for b in blocks]
    if labels not in ([(1, order, sign**order) for order in range(len(blocks))] for sign in (-1, 1)):
        raise NotFusableError(
            f"edge attributes {show_blocks(blocks)} are not the spherical harmonics of orders 0, 1, ..."
        )
    if len(blocks) - 1 > _MAX_ORDER:
        raise NotFusableError(f"edge attributes of order {len(blocks) - 1} are above the largest known, {_MAX_ORDER}")
    if not harmonics.normalize:
        raise NotFusableError("edge attributes are harmonics of vectors that are not normalised")
    found, start = [], 0
    for order in range(len(blocks)):
        stop = start + 2 * order + 1
        try:
            found.append(fit_polynomials(order, units, values[:, start:stop]))
        except ValueError as error:
            raise NotFusableError(str(error)) from error
        start = stop
    return found
