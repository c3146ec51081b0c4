"""Borrowed from the inside of Allegro's modules of 2022 and 2023, which stood on nequip <= 0.6: private names.

They come from TorchScript files that nequip-deploy wrote, which nobody changes any more; the readers of the fused
kernels need them. All were found in files of Allegro 0.2 and 0.3, and ``tests/test_kernels_early_allegro.py`` watches.
"""

from __future__ import annotations

from typing import Any

from ..errors import UpstreamError


def _private(module: Any, name: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        raise UpstreamError(
            f"{type(module).__name__} of an Allegro file of nequip <= 0.6 has no {name}, which the fused kernels read "
            "(known to work: Allegro 0.2 and 0.3); use kernels='none'",
            "nequip-allegro",
        ) from None


def network_weights(function: Any) -> list[Any]:
    """Weights of a ``ScalarMLPFunction``, one behind the other, without the factors that its code puts before them.

    Parameters
    ----------
    function : torch.nn.Module
        Allegro's module.

    Returns
    -------
    list of torch.Tensor, (n_in, n_out)

    Raises
    ------
    UpstreamError
        If they are not there.
    """
    code = _private(function, "_forward")
    found: list[Any] = [_private(code, "_weight_0")]
    while hasattr(code, f"_weight_{len(found)}"):
        found.append(getattr(code, f"_weight_{len(found)}"))
    return found


def network_function(mlp: Any) -> Any:
    """The ``ScalarMLPFunction`` in a ``ScalarMLP``.

    Parameters
    ----------
    mlp : torch.nn.Module
        Allegro's module.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    UpstreamError
        If it is not there.
    """
    return _private(mlp, "_module")


def normalises_batches(function: Any) -> bool:
    """Whether a ``ScalarMLPFunction`` of Allegro 0.2 has batch normalisation behind its matrices (mlp_batchnorm).

    Parameters
    ----------
    function : torch.nn.Module
        Allegro's module.

    Returns
    -------
    bool

    Raises
    ------
    UpstreamError
        If its code is not there.
    """
    return hasattr(_private(function, "_forward"), "_bn_0")


def normalised_basis(basis: Any) -> tuple[Any, Any]:
    """What a ``NormalizedBasis`` subtracts from its functions, and what it then multiplies them with.

    Parameters
    ----------
    basis : torch.nn.Module
        Allegro's module.

    Returns
    -------
    tuple of torch.Tensor, (n_functions,) or ()

    Raises
    ------
    UpstreamError
        If they are not there.
    """
    return _private(basis, "_mean"), _private(basis, "_inv_std")


def weights_of_orders(weighter: Any) -> int:
    """How many orders of harmonics have weights in a ``MakeWeightedChannels`` of Allegro 0.2.

    Parameters
    ----------
    weighter : torch.nn.Module
        Allegro's module.

    Returns
    -------
    int

    Raises
    ------
    UpstreamError
        If the number is not there.
    """
    return int(_private(weighter, "_num_irreps"))


def padded_components(allegro: Any) -> int:
    """By how many zeros an ``Allegro_Module`` of 0.2 makes its tensors longer.

    Parameters
    ----------
    allegro : torch.nn.Module
        Allegro's module.

    Returns
    -------
    int

    Raises
    ------
    UpstreamError
        If the number is not there.
    """
    return int(_private(allegro, "_input_pad"))


def update_ratios(allegro: Any) -> Any:
    """Residual updates of an ``Allegro_Module`` of 0.2: logits of the ratio of new to old latents, one for each layer.

    Parameters
    ----------
    allegro : torch.nn.Module
        Allegro's module.

    Returns
    -------
    torch.Tensor, (n_layers,)

    Raises
    ------
    UpstreamError
        If they are not there.
    """
    return _private(allegro, "_latent_resnet_update_params")


def update_coefficients(allegro: Any) -> Any:
    """The same of 0.3: logarithms of the weights of latents, the first included.

    Parameters
    ----------
    allegro : torch.nn.Module
        Allegro's module.

    Returns
    -------
    torch.Tensor, (n_layers + 1,)

    Raises
    ------
    UpstreamError
        If they are not there.
    """
    return _private(allegro, "_latent_resnet_coefficients_params")
