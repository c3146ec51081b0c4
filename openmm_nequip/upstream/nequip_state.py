"""Process-wide state that nequip changes when it is imported or loads a model, put back as it was.

Borrows ``_GLOBAL_STATE_INITIALIZED`` and ``_latest_global_config`` of ``nequip.utils.global_state`` (nequip 0.7 to
0.19): nequip has a function that sets its state and none that puts it back. Watched by ``tests/test_models.py``.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

_ENVIRONMENT = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTORCH_JIT_USE_NNC_NOT_NVFUSER")
_DYNAMO_FLAGS = ("capture_dynamic_output_shape_ops", "capture_scalar_outputs")


#: One thread at a time changes the state of the process; the same thread may do so again inside.
_STATE_LOCK = threading.RLock()

# torch's stubs and mypy's module types do not know the attributes below.
_backends: Any = torch.backends


def read_tf32() -> tuple[Any, ...]:
    """Settings of TF32 by torch's old names (None where torch says that it mixes with the new ones) and by its new."""
    return tuple(
        _readable(read)
        for read in (
            torch.get_float32_matmul_precision,
            lambda: _backends.cudnn.allow_tf32,
            lambda: _backends.fp32_precision,
            lambda: _backends.cuda.matmul.fp32_precision,
            lambda: _backends.mkldnn.matmul.fp32_precision,
        )
    )


def _readable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (RuntimeError, AttributeError):  # mixed by the user; a torch without the new names
        return None


def write_tf32(saved: tuple[Any, ...]) -> None:
    """Put back what :func:`read_tf32` found: the old names first, which set the new ones as well."""
    if saved == read_tf32():
        return
    matmul, cudnn, everywhere, on_cuda, on_cpu = saved
    if matmul is not None and _readable(torch.get_float32_matmul_precision) != matmul:
        torch.set_float32_matmul_precision(matmul)
    if cudnn is not None and _readable(lambda: _backends.cudnn.allow_tf32) != cudnn:
        _backends.cudnn.allow_tf32 = cudnn
    if everywhere is not None and _readable(lambda: _backends.fp32_precision) != everywhere:
        _backends.fp32_precision = everywhere
    for product, precision in ((_backends.cuda.matmul, on_cuda), (_backends.mkldnn.matmul, on_cpu)):
        if precision is not None and product.fp32_precision != precision:
            product.fp32_precision = precision


def _set_fusion(strategy: Any) -> Any:
    """Set TorchScript's fusion strategy and return the one before; torch calls it deprecated at every use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.set_fusion_strategy(strategy)


@contextlib.contextmanager
def preserved_global_state() -> Iterator[None]:
    """Run nequip's loaders without a trace.

    ``nequip.utils.global_state.set_global_state`` seeds every random-number generator, makes float64 torch's default
    dtype and sets TF32, e3nn, dynamo and environment flags on its first call in a process. Everything it touches is
    put back on leaving, nequip's own "already initialised" mark included, so that nequip used later in the same
    process sets up what it needs as if we had never been there. Other threads wait for their turn.
    """
    with _STATE_LOCK:
        yield from _preserved()


def _preserved() -> Iterator[None]:
    dtype = torch.get_default_dtype()
    threads = torch.get_num_threads()
    python_rng, numpy_rng, torch_rng = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_rng = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    tf32 = read_tf32()
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    sharing = torch.multiprocessing.get_sharing_strategy()
    dynamo: Any = sys.modules.get("torch._dynamo.config")
    flags = {name: getattr(dynamo, name) for name in _DYNAMO_FLAGS} if dynamo else None
    e3nn: Any = sys.modules.get("e3nn")
    optimization = dict(e3nn.get_optimization_defaults()) if e3nn else None
    nequip_state: Any = sys.modules.get("nequip.utils.global_state")
    initialized = nequip_state._GLOBAL_STATE_INITIALIZED if nequip_state else False
    latest = dict(nequip_state._latest_global_config) if nequip_state else {}
    fusion = _set_fusion([("STATIC", 2), ("DYNAMIC", 10)])
    _set_fusion(fusion)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        random.setstate(python_rng)
        np.random.set_state(numpy_rng)
        torch.set_rng_state(torch_rng)
        if cuda_rng is not None:
            torch.cuda.set_rng_state_all(cuda_rng)
        write_tf32(tf32)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.multiprocessing.set_sharing_strategy(sharing)
        if flags is not None:
            for name, value in flags.items():
                setattr(dynamo, name, value)
        if optimization is not None:
            e3nn.set_optimization_defaults(**optimization)
        nequip_state = sys.modules.get("nequip.utils.global_state")
        if nequip_state is not None:
            nequip_state._GLOBAL_STATE_INITIALIZED = initialized
            nequip_state._latest_global_config.clear()
            nequip_state._latest_global_config.update(latest)
        _set_fusion(fusion)


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make ``dtype`` torch's default inside the block: eager nequip modules create tensors without naming one.

    The default is one for all threads, so other threads that need one wait for their turn.
    """
    with _STATE_LOCK:
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@contextlib.contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 matrix products on CUDA inside the block, as the model's metadata asks.

    By torch's old name, which sets the new ones with it. A new one alone leaves the old as the user set it, and then
    torch (2.9 to 2.13) raises wherever the old one is asked for, in matrix products among them.
    """
    saved = read_tf32()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        write_tf32(saved)
