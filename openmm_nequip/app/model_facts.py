"""What ``openmm-nequip info`` tells about a model file."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .._version import __version__
from ..cudagraphs import describe_graphs
from ..models import ModelInfo, load_model, locate
from ..models.fused import describe_kernels
from ..units import Units

_PACKAGES = {"torch": "torch", "openmm": "openmm", "openmmml": "openmmml", "nequip": "nequip", "e3nn": "e3nn",
             "nequip-allegro": "nequip-allegro", "openmmtorch": "openmmtorch", "vesin": "vesin"}  # fmt: skip


def installed_versions() -> dict[str, str | None]:
    """Versions of this package, Python and what it runs on; None for what is not installed."""
    found: dict[str, str | None] = {"openmm-nequip": __version__, "python": platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe_model(path: str, device: str | None = None, trusted: str | None = None) -> dict[str, Any]:
    """Facts about a model file; nothing is compiled and no System is built.

    Parameters
    ----------
    path : str
        Model file or ``nequip.net:`` id.
    device : str, optional
        Torch device to load it on; CPU by default.
    trusted : str, optional
        SHA-256 that the file must have.

    Returns
    -------
    dict
        JSON-ready. ``cutoff`` and ``per_edge_type_cutoff`` (centre type -> neighbour type -> cutoff, or None) are in
        the model's unit of length.

    Raises
    ------
    ModelFileError, ImportError, ValueError
        As :func:`openmm_nequip.load_model`.
    """
    model = load_model(path, device=device, compile=False, trusted=trusted)
    info = model.info
    length, energy = (part.strip() for part in Units().describe().split(","))
    return {
        "path": info.path,
        "kind": info.kind,
        "type_names": list(info.type_names),
        "cutoff": info.cutoff,
        "per_edge_type_cutoff": _cutoff_table(info),
        "dtype": info.dtype,
        "allow_tf32": info.allow_tf32,
        "units_assumed": {"length": length, "energy": energy},
        "device": info.device,
        "compiled": info.compiled,
        "compile_target": info.target,
        "kernels": _kernels(path, info, trusted),
        "cuda_graphs": describe_graphs(model),
        "outputs": list(info.outputs),
        "size_bytes": info.size_bytes,
        "sha256": info.sha256,
        "versions_in_file": dict(info.versions),
        "versions_installed": installed_versions(),
    }


def _kernels(path: str, info: ModelInfo, trusted: str | None) -> str:
    """What is in a compiled file, or what would become of a checkpoint or package on a CPU."""
    return info.kernels if info.compiled else describe_kernels(locate(path, trusted))


def _cutoff_table(info: ModelInfo) -> dict[str, dict[str, float]] | None:
    if info.per_edge_type_cutoff is None:
        return None
    names = info.type_names
    return {
        center: dict(zip(names, row, strict=True)) for center, row in zip(names, info.per_edge_type_cutoff, strict=True)
    }
