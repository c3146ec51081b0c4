"""Borrowed from the inside of nequip's and e3nn's modules: numbers that they keep under private names.

The fused kernels read a model's weights from its modules. Most stand in public attributes; these do not. All were found
in nequip 0.7 to 0.19 with e3nn 0.5 to 0.6, and ``tests/test_kernels_read.py`` watches over them: it compares each with
what the model was built from.
"""

from __future__ import annotations

from typing import Any

from ..errors import UpstreamError


def _private(module: Any, name: str, package: str, known: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise UpstreamError(
            f"{type(module).__name__} of {package} has no {name}, which the fused kernels read (known to work: "
            f"{known}); use kernels='none', or a version of {package} that is known",
            package,
        ) from None


def reciprocal_cutoffs(normalizer: Any) -> Any:
    """1 / cutoff of an ``EdgeLengthNormalizer``.

    nequip keeps them as the buffer ``_rmax_recip`` alone: what the constructor was given is not stored, and metadata of
    the model have the cutoffs rounded to text.

    Parameters
    ----------
    normalizer : torch.nn.Module
        nequip's module (nequip 0.7 to 0.19).

    Returns
    -------
    torch.Tensor, () or (n_types, n_types) or (n_types * n_types, 1)
        One number, or one for each pair of types.

    Raises
    ------
    UpstreamError
        If the buffer is not there.
    """
    return _private(normalizer, "_rmax_recip", "nequip", "0.7 to 0.19")


def zbl_factor(module: Any) -> float:
    """e^2 / (4 pi eps0) times one half, in model units, of a ``ZBL`` pair term.

    The constructor takes the name of a unit system, which is not stored; the buffer ``_qqr2exesquare`` is.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's module (nequip 0.7 to 0.19).

    Returns
    -------
    float

    Raises
    ------
    UpstreamError
        If the buffer is not there.
    """
    return float(_private(module, "_qqr2exesquare", "nequip", "0.7 to 0.19"))


def normalisation_constant(function: Any) -> float:
    """The factor that e3nn's ``normalize2mom`` puts before an activation; 1 where there is none.

    The factor is the public attribute ``cst``, but where it is near 1 the module leaves it out, which only the private
    ``_is_id`` tells (e3nn 0.5 to 0.6). Without that attribute the factor is taken as applied; the caller compares it
    with values of the function.

    Parameters
    ----------
    function : callable
        An activation, wrapped by e3nn or not.

    Returns
    -------
    float
    """
    constant = getattr(function, "cst", None)
    return 1.0 if constant is None or getattr(function, "_is_id", False) else float(constant)


def submodules(network: Any) -> list[tuple[str, Any]]:
    """Modules of a ``SequentialGraphNetwork`` in the order in which they run, with their names.

    ``named_children`` leaves out a module that is used twice, so torch's ``_modules`` is read (torch 2.9 to 2.13).

    Parameters
    ----------
    network : torch.nn.Module
        nequip's sequence of modules.

    Returns
    -------
    list of tuple of (str, torch.nn.Module)

    Raises
    ------
    UpstreamError
        If it is not a torch module.
    """
    return list(_private(network, "_modules", "torch", "2.9 to 2.13").items())
