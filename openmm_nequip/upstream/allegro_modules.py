"""Borrowed from the inside of nequip-allegro's modules: what they keep under private names.

The fused kernels read a model's weights from its modules. Most stand in public attributes; these do not. All were found
in nequip-allegro 0.7 to 0.8, and ``tests/test_kernels_allegro_read.py`` watches over them.
"""

from __future__ import annotations

from typing import Any

from ..errors import UpstreamError


def _private(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise UpstreamError(
            f"{type(module).__name__} of nequip-allegro has no {name}, which the fused kernels read (known to work: "
            "0.7 to 0.8); use kernels='none', or a version of nequip-allegro that is known",
            "nequip-allegro",
        ) from None


def environment_weighter(allegro: Any) -> Any:
    """The ``MakeWeightedChannels`` of an ``Allegro_Module``, which makes environments of harmonics and weights.

    Parameters
    ----------
    allegro : torch.nn.Module
        nequip-allegro's module.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    UpstreamError
        If it is not there.
    """
    return _private(allegro, "_env_weighter")


def tensor_weighter(embed: Any) -> Any:
    """The same of a ``TwoBodySphericalHarmonicTensorEmbed``, which makes the first tensors.

    Parameters
    ----------
    embed : torch.nn.Module
        nequip-allegro's module.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    UpstreamError
        If it is not there.
    """
    return _private(embed, "_edge_weighter")


def weighted_orders(weighter: Any) -> int:
    """How many orders of harmonics have a weight of their own: all, or 1 where one weight serves them all.

    Parameters
    ----------
    weighter : torch.nn.Module
        A ``MakeWeightedChannels``.

    Returns
    -------
    int

    Raises
    ------
    UpstreamError
        If the number is not there.
    """
    return int(_private(weighter, "_num_irreps")) if bool(weighter.weight_individual_irreps) else 1


def scalars_per_layer(allegro: Any) -> list[int]:
    """How many scalars a channel of each layer's tensors gives.

    Parameters
    ----------
    allegro : torch.nn.Module
        nequip-allegro's module.

    Returns
    -------
    list of int

    Raises
    ------
    UpstreamError
        If the numbers are not there.
    """
    return [int(count) for count in _private(allegro, "_n_scalar_outs")]


def spline_constant(spline: Any) -> float:
    """2 pi / width of the functions of a ``PerClassSpline``, in units of the cutoff.

    Parameters
    ----------
    spline : torch.nn.Module
        nequip-allegro's module.

    Returns
    -------
    float

    Raises
    ------
    UpstreamError
        If it is not there.
    """
    return float(_private(spline, "_const"))


def sum_factor(reduce: Any) -> float | None:
    """The factor of an ``EdgewiseReduce`` of nequip-allegro 0.7 to 0.8.0; None for 1.

    Parameters
    ----------
    reduce : torch.nn.Module
        nequip-allegro's module.

    Returns
    -------
    float or None

    Raises
    ------
    UpstreamError
        If it is not there.
    """
    return _private(reduce, "_factor")
