"""AOTInductor models: ``.nequip.pt2`` packages of ``nequip-compile --mode aotinductor`` and our own compile cache.

References
----------
Metadata keys follow nequip's ``utils/aoti_metadata.py`` and ``nn/graph_model.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
import zipfile

import torch

from .base import Model, ModelInfo, collect_outputs
from .metadata import KERNELS_KEY, make_info
from .source import ModelFileError, ModelSource
from .state import preserved_global_state
from .target import INPUT_FIELDS, MODIFIERS_KEY, TARGETS

_ASE_OUTPUTS = ("atomic_energy", "total_energy", "forces", "stress")
_LAMMPS_OUTPUTS = ("atomic_energy", "forces", "virial")
_TARGETS = {_ASE_OUTPUTS: "ase", _LAMMPS_OUTPUTS: "pair_nequip"} | {
    tuple(target["output"]): name for name, target in TARGETS.items()
}
_CUSTOM_OPS_ENTRY = "nequip_custom_ops_libs.txt"
_METADATA_ENTRY = "_metadata.json"


class AOTInductorModel(Model):
    """A model compiled ahead of time for one kind of device.

    Parameters
    ----------
    info : ModelInfo
        Description of the model.
    package
        What ``torch._inductor.aoti_load_package`` returned.
    inputs, outputs : tuple of str
        nequip's names of the inputs and outputs, in order.
    """

    def __init__(self, info: ModelInfo, package, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__(info)
        self._package = package
        self._inputs = inputs
        self._outputs = outputs
        self._lock = threading.Lock() if self.device.type == "cuda" else contextlib.nullcontext()

    def _evaluate(self, positions, types, edge_index, shifts, cell):
        # The generated code assumes the strides it was traced with, so every input is made contiguous.
        data = {
            "pos": positions.contiguous(),
            "atom_types": types.contiguous(),
            "edge_index": edge_index.contiguous(),
            "edge_cell_shift": shifts.contiguous(),
            "cell": cell.contiguous().view(1, 3, 3),
        }
        with self._lock:
            values = self._package(*[data[name] for name in self._inputs])
        out = dict(zip(self._outputs, values, strict=True))
        virial = out.get("virial")
        if virial is None and "stress" in out:
            virial = -out["stress"].reshape(3, 3) * torch.linalg.det(cell).abs()
        return collect_outputs(out.get("total_energy"), out["forces"], out.get("atomic_energy"), virial)


def load_aotinductor(source: ModelSource, device: torch.device) -> AOTInductorModel:
    """Load a ``.nequip.pt2`` package.

    Parameters
    ----------
    source : ModelSource
        A file of kind ``aotinductor``.
    device : torch.device
        Where to run it; must be of the type that the package was compiled for.

    Returns
    -------
    AOTInductorModel

    Raises
    ------
    ModelFileError
        If the package is damaged, made for another device, a batched or a ghost-atom target, or not from nequip.
    """
    # Everything that can be told from the text in the file is told before its machine code is in the process.
    metadata = _read_metadata(source)
    _check_device(source, metadata, device)
    inputs, outputs = _fields(source, metadata)
    with preserved_global_state():
        _import_custom_ops(source)
        try:
            # Needed by aoti_load_package since torch 2.10, and not imported by it.
            importlib.import_module("torch._inductor.codecache")
            # Its own thread-safety makes CUDA events, which a CUDA graph cannot record: on CUDA we see to that.
            single = device.type == "cuda"
            package = torch._inductor.aoti_load_package(source.path, single, _index(device))
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelFileError(_load_failure(source, metadata, error)) from error
    given = {"energy", "forces"}
    given |= {"atomic_energies"} if "atomic_energy" in outputs else set()
    given |= {"virial"} if {"virial", "stress"} & set(outputs) else set()
    info = make_info(
        source,
        metadata,
        device,
        allow_tf32=metadata.get("allow_tf32", "0").strip() in ("1", "True"),
        compiled=True,
        target=_target(outputs),
        outputs=tuple(sorted(given)),
        kernels=metadata.get(KERNELS_KEY) or metadata.get(MODIFIERS_KEY) or "none",
    )
    return AOTInductorModel(info, package, inputs, outputs)


def _index(device: torch.device) -> int:
    return -1 if device.type == "cpu" or device.index is None else device.index


def _target(outputs: tuple[str, ...]) -> str:
    return _TARGETS.get(outputs, "outputs " + " ".join(outputs))


def _read_metadata(source: ModelSource) -> dict[str, str]:
    """What torch and nequip-compile wrote into the package, without loading it."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            name = next((name for name in archive.namelist() if name.endswith(_METADATA_ENTRY)), None)
            return {} if name is None else json.loads(archive.read(name))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise ModelFileError(f"{source.path} is damaged ({error}); copy it again") from error


def _import_custom_ops(source: ModelSource) -> None:
    """Import the libraries whose operators the package calls: they must be registered before it is loaded."""
    with zipfile.ZipFile(source.path) as archive:
        name = next((name for name in archive.namelist() if name.endswith(_CUSTOM_OPS_ENTRY)), None)
        libraries = archive.read(name).decode().split() if name else []
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise ModelFileError(
                f"{source.path} was compiled with operators of {library!r}, which cannot be imported ({error}); "
                f"install {library!r} or compile the model without that modifier"
            ) from error


def _load_failure(source: ModelSource, metadata: dict[str, str], error: Exception) -> str:
    lines = str(error).strip().splitlines()
    made_with = f", compiled with torch {metadata['torch_version']}," if "torch_version" in metadata else ""
    return (
        f"AOTInductor package {source.path}{made_with} cannot be loaded with torch {torch.__version__}: "
        f"{lines[0] if lines else type(error).__name__}; packages only run with the torch version and the kind of "
        "machine they were compiled for, so compile the .ckpt or .nequip.zip again here, or give that file instead"
    )


def _check_device(source: ModelSource, metadata: dict[str, str], device: torch.device) -> None:
    compiled_for = metadata.get("AOTI_DEVICE_KEY", "cpu")
    if torch.device(compiled_for).type != device.type:
        raise ModelFileError(
            f"{source.path} was compiled for {compiled_for!r} and cannot run on {device.type!r}; compile it again with "
            f"`nequip-compile ... --mode aotinductor --target openmm --device {device.type}`, choose "
            f"device={compiled_for!r}, or give the .ckpt or .nequip.zip it came from"
        )


def _fields(source: ModelSource, metadata: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "r_max" not in metadata or "type_names" not in metadata:
        raise ModelFileError(f"{source.path} is an AOTInductor package, but not one of nequip-compile (no r_max in it)")
    # nequip < 0.17 stored no field names; its `ase` target was the only one that Python clients used.
    inputs = tuple(metadata.get("nequip_aoti_inputs", " ".join(INPUT_FIELDS)).split())
    outputs = tuple(metadata.get("nequip_aoti_outputs", " ".join(_ASE_OUTPUTS)).split())
    if "cell" not in inputs or "edge_cell_shift" not in inputs:
        raise ModelFileError(
            f"{source.path} was compiled for ghost atoms (inputs {' '.join(inputs)}: the LAMMPS `pair_allegro` target);"
            " compile it with `--target openmm` (or `--target ase`, `--target pair_nequip`)"
        )
    unknown = [name for name in inputs if name not in INPUT_FIELDS]
    if unknown:
        raise ModelFileError(
            f"{source.path} needs the inputs {' '.join(unknown)} (a batched target?); compile it with `--target openmm`"
        )
    if "forces" not in outputs or not {"total_energy", "atomic_energy"} & set(outputs):
        raise ModelFileError(
            f"{source.path} gives {' '.join(outputs)}; energy and forces are needed: compile it with `--target openmm`"
        )
    return inputs, outputs
