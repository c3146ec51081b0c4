"""TorchMD-Net: its model from a checkpoint's hyperparameters and weights, and the modules in it that search for pairs.

Borrows ``load_model`` of ``torchmdnet.models.model`` and the class ``OptimizedDistance`` of ``torchmdnet.models.utils``
with its attributes ``cutoff_lower``, ``cutoff_upper``, ``max_num_pairs``, ``loop``, ``include_transpose`` and
``long_edge_index`` (torchmd-net 3.1): it has no way to be given pairs. Watched by ``tests/test_torchmdnet.py``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..errors import UpstreamError

#: The package on PyPI, the extra of this package that installs it, and the first release that is known to work.
PACKAGE, EXTRA, OLDEST = "torchmd-net", "torchmdnet", (3, 1)
_CURE = f'install it with `pip install "openmm-nequip[{EXTRA}]"`'
_FINDER = "OptimizedDistance"
_FINDER_FACTS = ("cutoff_lower", "cutoff_upper", "max_num_pairs", "loop", "include_transpose", "long_edge_index")


def installed() -> str | None:
    """Version of TorchMD-Net; None where it is not installed. Nothing of it is imported."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def missing() -> str:
    """Why TorchMD-Net cannot be used here, with the cure; empty if it can. Nothing of it is imported."""
    found = installed()
    if found is None or importlib.util.find_spec("torchmdnet") is None:
        return f"needs TorchMD-Net, which is not installed; {_CURE}"
    digits = [int(part) if part.isdigit() else 0 for part in found.split(".")[:2]]
    if tuple(digits) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"needs TorchMD-Net >= {oldest}, and {found} is installed; {_CURE}"
    return ""


def import_quietly() -> Any:
    """The module with ``load_model``; Warp, on which it runs, prints neither a banner nor what it compiles.

    Where the user has imported Warp before, its settings are theirs and stay.

    Raises
    ------
    ImportError
        If TorchMD-Net is not installed, or cannot be imported; the message has the cure.
    """
    reason = missing()
    if reason:
        raise ImportError(f"this model file {reason}")
    try:
        if "warp" not in sys.modules:
            _silence()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchmdnet.models.model as module
    except Exception as error:  # an installation may be broken in any way
        raise ImportError(f"TorchMD-Net {installed()} cannot be imported ({type(error).__name__}: {error})") from error
    return module


def _silence() -> None:
    """Let Warp print nothing below errors: it writes to stdout."""
    try:
        import warp
    except ImportError:  # TorchMD-Net then goes without
        return
    config: Any = warp.config
    if hasattr(config, "log_level") and hasattr(warp, "LOG_ERROR"):
        config.log_level = warp.LOG_ERROR
    else:
        config.quiet = True


def rebuild(
    parameters: Mapping[str, Any], weights: Mapping[str, torch.Tensor], settings: Mapping[str, Any]
) -> torch.nn.Module:
    """TorchMD-Net's own model of a checkpoint, as its ``load_model`` makes it.

    ``load_model`` unpickles what it is given, so it gets a file of plain data that is written here.

    Parameters
    ----------
    parameters : mapping of str to object
        The checkpoint's hyperparameters, plain data.
    weights : mapping of str to torch.Tensor, (...)
        Its state dictionary.
    settings : mapping of str to object
        Hyperparameters to set otherwise. ``load_model`` takes every one that it does not know for one of the
        checkpoint, and the mere presence of some changes how it reads the weights: give known ones alone.

    Returns
    -------
    torch.nn.Module
        On the CPU, in evaluation mode, with frozen parameters.

    Raises
    ------
    ImportError
        As :func:`import_quietly`.
    UpstreamError
        If it cannot be rebuilt; the message has TorchMD-Net's reason.
    """
    module = import_quietly()
    with tempfile.TemporaryDirectory(prefix="openmm-nequip-") as folder:
        path = os.path.join(folder, "model.ckpt")
        torch.save({"hyper_parameters": dict(parameters), "state_dict": dict(weights)}, path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = module.load_model(path, derivative=False, **settings)
        except Exception as error:  # foreign hyperparameters can raise anything
            text = " ".join(str(error).replace(path, "the checkpoint").split()) or "no reason given"
            raise UpstreamError(
                f"TorchMD-Net {installed()} cannot rebuild it: {type(error).__name__}: {_shortened(text)}", PACKAGE
            ) from error
    model.eval()
    model.requires_grad_(False)
    return model


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[:most] + " ..."


def pair_finders(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, Any]]:
    """Modules that search for pairs: their parent, name in it, and the module.

    Parameters
    ----------
    model : torch.nn.Module
        A model of TorchMD-Net.

    Yields
    ------
    tuple of torch.nn.Module, str and torch.nn.Module

    Raises
    ------
    UpstreamError
        If one has not the attributes that it should have, or there is none.
    """
    found = 0
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if type(part).__name__ != _FINDER:
                continue
            lacking = [fact for fact in _FINDER_FACTS if not hasattr(part, fact)]
            if lacking:
                raise UpstreamError(
                    f"{_FINDER} of TorchMD-Net {installed()} lacks {', '.join(lacking)}; release 3.1 is known to work",
                    PACKAGE,
                )
            found += 1
            yield parent, name, part
    if not found:
        raise UpstreamError(
            f"TorchMD-Net {installed()} has no {_FINDER} in this model; release 3.1 is known to work", PACKAGE
        )
