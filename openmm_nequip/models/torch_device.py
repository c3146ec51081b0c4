"""The torch device that a user asked for, checked against this machine."""

from __future__ import annotations

from typing import Any

import torch

from .execution import Execution


def parse_device(device: Any = None) -> torch.device:
    """The torch device a user asked for, after checking that it is there; CPU for None.

    Parameters
    ----------
    device : str or torch.device, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Returns
    -------
    torch.device
        With an index, if it is a CUDA device.

    Raises
    ------
    ValueError
        If the name is no device, or this machine or torch build has no such device.
    """
    parsed = torch.device(Execution(device=device).device or "cpu")
    if parsed.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (parsed.index or 0) >= count:
            raise ValueError(
                f"device={str(device)!r} is not there: torch {torch.__version__} sees {count} CUDA devices; "
                "use device='cpu', or check the driver and that torch is a CUDA build"
            )
        parsed = torch.device("cuda", parsed.index or 0)
    return parsed
