"""The models whose GPU kernels are looked at: the shipped one, and random weights from small to foundation size."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from openmm_nequip.kernels.fuse import Fused, fuse
from openmm_nequip.kernels.gpu import gpu_target
from openmm_nequip.models import locate
from openmm_nequip.models.eager import load_module
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "openmm_nequip" / "data" / "alanine-dipeptide.nequip.zip"


def _random(**options: Any) -> Callable[[], Any]:
    def make() -> Any:
        sys.path.insert(0, str(ROOT / "tests"))
        try:
            from nequip_models import make_model
        finally:
            sys.path.pop(0)
        return make_model(model_dtype=options.pop("dtype", "float32"), **options)

    return make


def _shipped() -> Any:
    with preserved_global_state():
        return load_module(locate(SHIPPED), ())


#: By name: l_max, features, layers; exact: radial networks are evaluated, not read from tables.
MODELS: dict[str, Callable[[], Any]] = {
    "shipped": _shipped,
    "l0 f64 L3": _random(l_max=0, num_features=64, num_layers=3),
    "l1 f32 L4": _random(l_max=1, num_features=32, num_layers=4, r_max=5.0),
    "l1 f32 L4 parity": _random(l_max=1, num_features=32, num_layers=4, parity=True),
    "l2 f32 L4": _random(l_max=2, num_features=32, num_layers=4),
    "l2 f64 L4 parity": _random(l_max=2, num_features=64, num_layers=4, parity=True),
    "l2 f32 L3 ZBL": _random(l_max=2, num_features=32, num_layers=3, zbl=True),
    "l2 f32 L3 float64": _random(l_max=2, num_features=32, num_layers=3, dtype="float64"),
    "l2 f32 L4 exact": _random(l_max=2, num_features=32, num_layers=4),
    "l3 f32 L3": _random(l_max=3, num_features=32, num_layers=3),
    "l3 f128 L4": _random(l_max=3, num_features=128, num_layers=4),
}


@functools.cache
def module_of(name: str) -> Any:
    """nequip's module of a model of :data:`MODELS`."""
    return MODELS[name]()


def kernels_of(name: str, warps: int = 1) -> Fused:
    """Kernels and weights of a model, for so many warps an atom."""
    with default_dtype(torch.float64):
        return fuse(module_of(name), not name.endswith("exact"), gpu_target(warps))
