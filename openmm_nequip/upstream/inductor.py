"""Borrowed from torch: AOTInductor's loader, and the settings of the process that compiles."""

from __future__ import annotations

import importlib
import weakref
from typing import Any

import torch

from ..errors import UpstreamError


def load_package(path: str, device: torch.device, single_threaded: bool) -> Any:
    """Load an AOTInductor package.

    Borrows ``torch._inductor.aoti_load_package`` (torch 2.6 to 2.13), which nequip uses as well and for which torch has
    no public name, and the import of ``torch._inductor.codecache`` that it has needed and not done since torch 2.10.
    Watched by ``tests/test_models.py``.

    Parameters
    ----------
    path : str
        The package.
    device : torch.device
        Where to load it.
    single_threaded : bool
        Whether the caller sees to it that one thread calls it at a time.

    Returns
    -------
    callable

    Raises
    ------
    UpstreamError
        If torch has no such function.
    RuntimeError, OSError, ValueError
        If the package cannot be loaded.
    """
    index = -1 if device.type == "cpu" or device.index is None else device.index
    try:
        importlib.import_module("torch._inductor.codecache")
        load = torch._inductor.aoti_load_package
    except (ImportError, AttributeError) as error:
        raise UpstreamError(
            f"torch {torch.__version__} has no aoti_load_package ({error}); it is known in torch 2.6 to 2.13", "torch"
        ) from error
    return load(path, single_threaded, index)


class _Mapping(dict):
    """A dict that can be referred to weakly."""


def with_dynamic_threads(mapping: dict[str, Any]) -> dict[str, Any]:
    """A copy of a mapping; while it is alive, Inductor compiles code that uses as many threads as its caller has.

    Borrows ``torch._inductor.config.cpp.dynamic_threads`` (torch 2.6 to 2.13): without it the number of threads of the
    compiling process is written into the code. A compile target cannot hand settings to Inductor, so the process-wide
    one is changed. Watched by ``tests/test_compile_target.py``.

    Parameters
    ----------
    mapping : dict
        Anything.

    Returns
    -------
    dict
    """
    import torch._inductor.config as inductor

    config: Any = inductor
    result = _Mapping(mapping)
    weakref.finalize(result, setattr, config.cpp, "dynamic_threads", config.cpp.dynamic_threads)
    config.cpp.dynamic_threads = True
    return result
