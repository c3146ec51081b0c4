"""What every reader asks of a model's modules: arrays, irreps, activations, MLPs and linear maps.

Modules are known by the name of their class: those of a package live under mangled module names, where ``isinstance``
fails. What a module computes is read from its weights where their meaning is plain, and measured by probing where it
depends on conventions of e3nn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...errors import NotFusableError
from ...upstream.nequip_modules import normalisation_constant
from ..program import Block

#: Functions between layers by the name that the generated code has for them.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "ssp": lambda x: torch.nn.functional.softplus(x) - float(np.log(2.0)),
    "mish": torch.nn.functional.mish,
    "gelu": torch.nn.functional.gelu,
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
}


def expect_class(module: Any, kind: str, what: str) -> None:
    """Refuse a module of another class.

    Parameters
    ----------
    module : torch.nn.Module
        The module, scripted or not.
    kind : str
        Name of the class that is expected.
    what : str
        The module's part in the model, for the message.

    Raises
    ------
    NotFusableError
        If it is of another class.
    """
    if type(module).__name__ not in (kind, "RecursiveScriptModule") and getattr(module, "original_name", "") != kind:
        raise NotFusableError(f"{what} is a {type(module).__name__} instead of a {kind}")


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A float64 copy of a tensor of any shape (...) as an array of the same shape."""
    return tensor.detach().to(torch.float64).cpu().numpy().copy()


def blocks_of(irreps: Any) -> list[Block]:
    """Blocks of e3nn's irreps, without those that have no channels."""
    return [Block(int(mul), int(ir.l), int(ir.p)) for mul, ir in irreps if mul > 0]


def show_blocks(blocks: list[Block]) -> str:
    """Blocks as e3nn writes them: ``32x0e + 16x1o``."""
    return " + ".join(f"{b.mul}x{b.l}{'e' if b.p > 0 else 'o'}" for b in blocks)


def recognise_activation(function: Callable, dtype: torch.dtype) -> tuple[str, float]:
    """Name and factor of an elementwise function, told by its values.

    Parameters
    ----------
    function : callable
        Activation, wrapped by e3nn or not.
    dtype : torch.dtype
        In which it is evaluated.

    Returns
    -------
    tuple of (str, float)
        A name of :data:`ACTIVATIONS`, and the factor before that function.

    Raises
    ------
    NotFusableError
        If the values are those of none.
    """
    x = torch.linspace(-4, 4, 41, dtype=dtype)
    y = function(x).detach().to(torch.float64)
    for name, candidate in ACTIVATIONS.items():
        expected = candidate(x.to(torch.float64))
        ratio = float((y * expected).sum() / expected.square().sum())
        if torch.allclose(y, ratio * expected, rtol=0, atol=1e-5 * max(1.0, abs(ratio))):
            exact = normalisation_constant(function)
            return name, exact if abs(exact - ratio) < 1e-5 else ratio
    raise NotFusableError(f"the activation {getattr(function, 'f', function)!r} is not known")


def read_mlp(module: Any, what: str) -> tuple[list[np.ndarray], tuple[str, float]]:
    """Matrices of an MLP without bias, with their factors in them, and the function between them.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's ``ScalarMLPFunction``.
    what : str
        Its part in the model, for the message.

    Returns
    -------
    matrices : list of numpy.ndarray, (n_in, n_out) float64
    activation : tuple of (str, float)
        As of :func:`recognise_activation`; the identity where there is a single matrix.

    Raises
    ------
    NotFusableError
        If it has a bias, more than one activation, or something that is not known.
    """
    inner = module.mlp
    if type(inner).__name__ == "DeepLinearMLP":
        # Scripted lists of parameters cannot be iterated over.
        factors = [to_array(weight) for _, weight in inner.weights.named_parameters()]
        return [np.linalg.multi_dot(factors) * float(inner.alpha)], ("identity", 1.0)
    matrices, activations = [], set()
    for part in inner:
        if type(part).__name__ == "ScalarLinearLayer":
            if part.bias is not None:
                raise NotFusableError(f"{what} has a bias")
            matrices.append(to_array(part.weight * part.alpha))
        elif hasattr(part, "weight"):
            raise NotFusableError(f"{what} has a {type(part).__name__}")
        else:
            activations.add(recognise_activation(part, torch.float64))
    if len(activations) > 1:
        raise NotFusableError(f"{what} has more than one activation")
    return matrices, activations.pop() if activations else ("identity", 1.0)


def read_fully_connected(module: Any, what: str) -> tuple[list[np.ndarray], tuple[str, float]]:
    """The same of e3nn's ``FullyConnectedNet``, which models of nequip <= 0.6 have.

    Parameters
    ----------
    module : torch.nn.Module
        e3nn's network: each layer divides its weights by the root of ``h_in`` and ``var_in``, and multiplies what it
        gives by that of ``var_out``.
    what : str
        Its part in the model, for the message.

    Returns
    -------
    matrices : list of numpy.ndarray, (n_in, n_out) float64
    activation : tuple of (str, float)
        As of :func:`read_mlp`.

    Raises
    ------
    NotFusableError
        If it has more than one activation, or one behind its last layer.
    """
    matrices, activations = [], set()
    layers, before = list(module), 1.0
    for k, layer in enumerate(layers):
        expect_class(layer, "_Layer", f"a layer of {what}")
        weight = to_array(layer.weight) * before / np.sqrt(float(layer.h_in) * float(layer.var_in))
        before = float(layer.var_out) ** 0.5
        if k + 1 == len(layers):
            if getattr(layer, "act", None) is not None:
                raise NotFusableError(f"{what} has an activation behind its last layer")
            weight *= before
        else:
            activations.add(recognise_activation(layer.act, torch.float64))
        matrices.append(weight)
    if len(activations) > 1:
        raise NotFusableError(f"{what} has more than one activation")
    return matrices, activations.pop() if activations else ("identity", 1.0)


def probe_linear_map(
    function: Callable[[torch.Tensor], torch.Tensor], sources: list[Block], targets: list[Block], dtype: torch.dtype
) -> dict[tuple[int, int], np.ndarray]:
    """Matrices of an equivariant linear map, from its action on one component of every channel.

    Parameters
    ----------
    function : callable
        (n, dimension of the sources) -> (n, dimension of the targets).
    sources, targets : list of Block
        Blocks that it maps between.
    dtype : torch.dtype
        In which it is evaluated.

    Returns
    -------
    dict of (int, int) to numpy.ndarray, (mul_in, mul_out) float64
        By indices of source and target; blocks that are not connected are left out.
    """
    dims = [b.mul * (2 * b.l + 1) for b in sources]
    result = {}
    for i, source in enumerate(sources):
        wanted = [j for j, target in enumerate(targets) if (target.l, target.p) == (source.l, source.p)]
        if not wanted:
            continue
        width = 2 * source.l + 1
        x = torch.zeros((source.mul, sum(dims)), dtype=dtype)
        x[torch.arange(source.mul), sum(dims[:i]) + torch.arange(source.mul) * width] = 1.0
        y = function(x).detach().to(torch.float64).numpy()
        start = 0
        for j, target in enumerate(targets):
            stop = start + target.mul * (2 * target.l + 1)
            if j in wanted:
                matrix = y[:, start : stop : 2 * target.l + 1].copy()
                if matrix.any():
                    result[i, j] = matrix
            start = stop
    return result
