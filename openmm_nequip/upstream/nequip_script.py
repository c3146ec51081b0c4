"""nequip's own way to write TorchScript files, which its command refuses with torch >= 2.10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import UpstreamError

_KNOWN = "nequip 0.19"


def save_script(model: Any, metadata: Mapping[str, str], path: str, device: torch.device) -> None:
    """Write a model as TorchScript, with nequip's metadata beside it.

    Borrowed: ``save_torchscript_model`` of ``nequip.model.inference_models.torchscript``. Known to work: nequip 0.19
    with torch 2.9 to 2.13. nequip-compile refuses its mode ``torchscript`` with torch >= 2.10, because torch calls
    scripting deprecated; the function that it would call works. Test: ``tests/test_scripting.py``.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel.
    metadata : mapping of str to str
        What stands beside the module.
    path : str
        File to write.
    device : torch.device
        Where the model is to be.

    Raises
    ------
    UpstreamError
        If nequip has no such function.
    """
    import warnings

    try:
        from nequip.model.inference_models.torchscript import save_torchscript_model
    except ImportError as error:
        raise UpstreamError(
            f"this nequip has no save_torchscript_model ({error}), which is known in {_KNOWN}; install that version, "
            "or use nequip-compile --mode torchscript with torch < 2.10",
            "nequip",
        ) from error
    with warnings.catch_warnings():
        # torch calls scripting deprecated; the files it makes are what LAMMPS, CP2K and GROMACS read.
        warnings.simplefilter("ignore")
        save_torchscript_model(model, dict(metadata), path, device)
