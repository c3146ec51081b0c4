"""Borrowed from torch: its allocator's pools of memory for CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch


def end_allocation(device: torch.device, pool: Any) -> None:
    """Tell torch's allocator that a recording is over which ``CUDAGraph.capture_end`` could not end.

    Borrows ``torch._C._cuda_endAllocateToPool`` and ``torch._C._cuda_releasePool`` (torch 2.9 to 2.13), which torch's
    own graph trees use: ``capture_end`` raises for a spoilt recording before it calls the first, and the graph then
    never calls the second, so that the allocator would take a recording to be underway for ever. Where they are gone,
    nothing is done. Watched by ``tests/test_cuda_recording.py``.

    Parameters
    ----------
    device : torch.device
        A CUDA device.
    pool : object
        As ``torch.cuda.graph_pool_handle`` gave it.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    release = getattr(torch._C, "_cuda_releasePool", None)
    if end is None or release is None:
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    try:
        end(index, pool)
    except RuntimeError:  # the recording got so far as to end it itself
        return
    release(index, pool)
