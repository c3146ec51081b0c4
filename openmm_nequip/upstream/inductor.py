"""Borrowed from torch: AOTInductor's loader, and the settings of the process that compiles."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import torch

from ..errors import UpstreamError

#: One thread at a time changes the environment.
_ENVIRONMENT = threading.Lock()


def load_package(path: str, device: torch.device, single_threaded: bool) -> Any:
    """Load an AOTInductor package.

    Borrows ``torch._inductor.aoti_load_package`` (torch 2.6 to 2.13), which nequip uses as well and for which torch has
    no public name, and the import of ``torch._inductor.codecache`` that it has needed and not done since torch 2.10.
    Also that it unpacks into ``$TMPDIR``: for a CPU that is the package's own folder, since what is unpacked is needed
    no longer once it is loaded, and would stay where the process is killed. A GPU reads its kernels when it needs them.
    Watched by ``tests/test_models.py`` and ``tests/test_left_behind.py``.

    Parameters
    ----------
    path : str
        The package, in a folder of its own that is taken away after loading.
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
    with _unpacking_to(os.path.dirname(path)) if device.type == "cpu" else contextlib.nullcontext():
        return load(path, single_threaded, index)


@contextlib.contextmanager
def _unpacking_to(folder: str) -> Iterator[None]:
    """Let C++ code of this process put temporary files into a folder; Python's tempfile keeps its own."""
    tempfile.gettempdir()  # from now on it does not ask the environment any more
    with _ENVIRONMENT:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


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
