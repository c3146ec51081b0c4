"""AOTInductor models: ``.nequip.pt2`` packages of ``nequip-compile --mode aotinductor`` and our own compile cache.

References
----------
Metadata keys follow nequip's ``utils/aoti_metadata.py`` and ``nn/graph_model.py``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import threading
from typing import Any

import torch

from ...errors import ModelFileError
from ...graph.fields import (
    CELL,
    EDGE_INDEX,
    INPUT_FIELDS,
    POSITIONS,
    SHIFTS,
    STRUCTURE_FIELDS,
    TYPES,
    collect_outputs,
    model_inputs,
)
from ...graph.graph import Graph, Outputs
from ...upstream.inductor import load_package
from ...upstream.nequip_state import preserved_global_state
from ..archive import entries, read_end, read_entry
from ..base import Model, ModelInfo, flat
from ..carried_program import carries_program
from ..compiling.targets import MODIFIERS_KEY, TARGETS
from ..execution import Execution
from ..format import AOTINDUCTOR, Contents, Format
from ..graph_inputs import as_tensors, inputs_of_fields
from ..metadata import KERNELS_KEY, make_info
from ..operator_errors import take_operator_error
from ..self_check import check_gradient
from ..source import ModelSource

_ASE_OUTPUTS = ("atomic_energy", "total_energy", "forces", "stress")
_LAMMPS_OUTPUTS = ("atomic_energy", "forces", "virial")
_OPENMM_OUTPUTS = tuple(TARGETS["openmm"]["output"])
#: nequip < 0.17 states no field names: its targets by the numbers of their inputs and outputs.
_UNNAMED = {
    (5, 4): (INPUT_FIELDS, _ASE_OUTPUTS),
    (5, 3): (INPUT_FIELDS, _LAMMPS_OUTPUTS),
    (5, 2): (INPUT_FIELDS, _OPENMM_OUTPUTS),
    (3, 3): ((POSITIONS, EDGE_INDEX, TYPES), _LAMMPS_OUTPUTS),
    (7, 4): ((*INPUT_FIELDS, "batch", "num_atoms"), _ASE_OUTPUTS),
}
#: How the generated C++ states both numbers.
_COUNTS = re.compile(rb"AOTInductorModelBase\(\s*(\d+)\s*,\s*(\d+)\s*,")
_TARGETS = {_ASE_OUTPUTS: "ase", _LAMMPS_OUTPUTS: "pair_nequip"} | {
    tuple(target["output"]): name for name, target in TARGETS.items()
}
#: Why a package for CPUs is not fused, and what would be.
NOT_IN_PACKAGE = (
    "it was compiled without them; the .ckpt or .nequip.zip it came from runs 10 to 130 times faster on a CPU, with "
    "fused kernels, and so does a file of it made by `openmm-nequip compile MODEL --mode aotinductor`, or by "
    "`nequip-compile --modifiers enable_FusedKernels`"
)
_CUSTOM_OPS_ENTRY = "nequip_custom_ops_libs.txt"
#: Libraries that a package may have imported before it is loaded: those of nequip's and this package's modifiers.
_OWN_OPS_LIBRARY = "openmm_nequip.models.fused_op"
CUSTOM_OPS_LIBRARIES = ["openequivariance", "cuequivariance_torch", _OWN_OPS_LIBRARY]
_METADATA_ENTRY = "_metadata.json"


class AOTInductorModel(Model):
    """A model compiled ahead of time for one kind of device.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    device : torch.device
        Where it is.
    package : callable
        The loaded package.
    fields : tuple of tuple of str
        nequip's names of the inputs and of the outputs, in order.
    given : dict of str to torch.Tensor, (1, 1)
        Inputs beside the structure.
    """

    def __init__(
        self, info: ModelInfo, device: torch.device, package: Any, fields: tuple[tuple[str, ...], tuple[str, ...]],
        given: dict[str, torch.Tensor],
    ) -> None:  # fmt: skip
        super().__init__(info, device)
        self._package = package
        self._inputs, self._outputs = fields
        self._given = {name: value.to(device) for name, value in given.items()}
        self._lock = threading.Lock() if self.device.type == "cuda" else contextlib.nullcontext()

    def _evaluate(self, graph: Graph) -> Outputs:
        # The generated code assumes the strides it was traced with, so every input is made contiguous.
        data = model_inputs(*[tensor.contiguous() for tensor in flat(graph)]) | self._given
        take_operator_error()
        try:
            with self._lock:
                values = self._package(*[data[name] for name in self._inputs])
        except RuntimeError as error:
            behind = take_operator_error()
            if behind is None:
                raise
            raise behind from error
        if len(values) != len(self._outputs):
            raise ModelFileError(
                f"the package gives {len(values)} values where {' '.join(self._outputs)} were expected; compile the "
                "model again with `--target openmm`"
            )
        out = dict(zip(self._outputs, values, strict=True))
        virial = out.get("virial")
        if virial is None and "stress" in out:
            virial = -out["stress"].reshape(3, 3) * torch.linalg.det(graph.cell).abs()
        return collect_outputs(out.get("total_energy"), out["forces"], out.get("atomic_energy"), virial)


def recognise(contents: Contents) -> bool:
    """Whether a file is an AOTInductor package."""
    return contents.has("data/aotinductor/")


def read_info(source: ModelSource) -> ModelInfo:
    """Facts from the text in the package, before its machine code is in the process.

    Parameters
    ----------
    source : ModelSource
        The file.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the package is damaged, a batched or a ghost-atom target, or not from nequip.
    """
    metadata = read_metadata(source)
    fields, outputs = _fields(source, metadata)
    given = {"energy", "forces"}
    given |= {"atomic_energies"} if "atomic_energy" in outputs else set()
    given |= {"virial"} if {"virial", "stress"} & set(outputs) else set()
    return make_info(
        metadata,
        allow_tf32=metadata.get("allow_tf32", "0").strip() in ("1", "True"),
        compiled=True,
        target=_TARGETS.get(outputs, "outputs " + " ".join(outputs)),
        outputs=tuple(sorted(given)),
        kernels=metadata.get(KERNELS_KEY) or metadata.get(MODIFIERS_KEY) or _without_kernels(source, metadata),
        inputs=inputs_of_fields(fields, {}),
    )


def _without_kernels(source: ModelSource, metadata: dict[str, str]) -> str:
    """What to say of a package that nequip alone has made: its weights are in machine code, which nobody can read."""
    if not metadata.get("AOTI_DEVICE_KEY", "cpu").startswith("cpu") or carries_program(source):
        return "none"
    return f"none: {NOT_IN_PACKAGE}"


def obstacle(source: ModelSource, execution: Execution) -> str:
    """Why a package cannot run on a device: it was compiled for another kind.

    Parameters
    ----------
    source : ModelSource
        An AOTInductor package.
    execution : Execution
        Its device; without one it follows the Context, which is on a CPU where there is no CUDA device.

    Returns
    -------
    str
        Empty if nothing speaks against it.
    """
    compiled_for = read_metadata(source).get("AOTI_DEVICE_KEY", "cpu")
    device = execution.device
    if device is None:
        device = compiled_for if torch.cuda.is_available() else "cpu"
    kind = str(device).partition(":")[0]
    if compiled_for.partition(":")[0] == kind:
        return ""
    return (
        f"{source.path} was compiled for {compiled_for!r} and cannot run on {kind!r}; compile it again with "
        f"`nequip-compile ... --mode aotinductor --target openmm --device {kind}`, choose "
        f"device={compiled_for!r}, or give the .ckpt or .nequip.zip it came from"
    )


def open_aotinductor(source: ModelSource, device: torch.device, execution: Execution) -> AOTInductorModel:
    """Open a ``.nequip.pt2`` package.

    Parameters
    ----------
    source : ModelSource
        An AOTInductor package.
    device : torch.device
        Where to run it; must be of the type that the package was compiled for.
    execution : Execution
        Its inputs beside the structure; the file is compiled.

    Returns
    -------
    AOTInductorModel

    Raises
    ------
    ModelFileError
        If the package is damaged, made for another device, a batched or a ghost-atom target, or not from nequip.
    """
    metadata = read_metadata(source)
    reason = obstacle(source, execution.on(device))
    if reason:
        raise ModelFileError(reason, source.path)
    info = read_info(source)
    if not any(name.endswith(".so") for name in entries(source)):
        raise ModelFileError(
            f"{source.path} holds no compiled library: torch would run the compiler commands that stand in the file; "
            "compile the .ckpt or .nequip.zip again here",
            source.path,
        )
    with preserved_global_state():
        foreign = _import_custom_ops(source)
        try:
            # Its own thread-safety makes CUDA events, which a CUDA graph cannot record: on CUDA we see to that.
            with source.private_file(".nequip.pt2") as path:
                package = load_package(path, device, device.type == "cuda")
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelFileError(_load_failure(source, metadata, error), source.path) from error
    given = as_tensors(info.inputs, execution.inputs)
    model = AOTInductorModel(info, device, package, _fields(source, metadata), given)
    if foreign:
        check_gradient(model, source.path)
    return model


def read_metadata(source: ModelSource) -> dict[str, str]:
    """What torch and nequip-compile wrote into a package, without loading it.

    Parameters
    ----------
    source : ModelSource
        An AOTInductor package.

    Returns
    -------
    dict of str to str

    Raises
    ------
    ModelFileError
        If it is damaged.
    """
    text = read_end(source, _METADATA_ENTRY)
    try:
        return {} if text is None else json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"{source.path} is damaged ({error}); copy it again", source.path) from error


def _import_custom_ops(source: ModelSource) -> bool:
    """Import the libraries whose operators the package calls: they must be registered before it is loaded.

    Returns
    -------
    bool
        Whether one is not ours: ours compare what they compile with the model's own answers, which the file brings.
    """
    text = read_end(source, _CUSTOM_OPS_ENTRY)
    named = text.decode(errors="replace").split() if text else []
    for library in named:
        if library not in CUSTOM_OPS_LIBRARIES:
            raise ModelFileError(
                f"{source.path} asks to import {library!r}, which is none of the libraries whose operators nequip's "
                f"compiled models use ({', '.join(CUSTOM_OPS_LIBRARIES)}); it was not imported. Compile the .ckpt or "
                ".nequip.zip again here, or import the library yourself and register it in CUSTOM_OPS_LIBRARIES of "
                "openmm_nequip.models.formats.aotinductor if you trust the file",
                source.path,
            )
        try:
            importlib.import_module(library)
        except ImportError as error:
            raise ModelFileError(
                f"{source.path} was compiled with operators of {library!r}, which cannot be imported ({error}); "
                f"install {library!r} or compile the model without that modifier",
                source.path,
            ) from error
    return bool(set(named) - {_OWN_OPS_LIBRARY})


def _load_failure(source: ModelSource, metadata: dict[str, str], error: Exception) -> str:
    lines = str(error).strip().splitlines()
    made_with = f", compiled with torch {metadata['torch_version']}," if "torch_version" in metadata else ""
    return (
        f"AOTInductor package {source.path}{made_with} cannot be loaded with torch {torch.__version__}: "
        f"{lines[0] if lines else type(error).__name__}; packages only run with the torch version and the kind of "
        "machine they were compiled for, so compile the .ckpt or .nequip.zip again here, or give that file instead"
    )


def _unnamed_fields(source: ModelSource, metadata: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of a package that does not name them, by their numbers in the generated C++."""
    counts = None
    for name in entries(source):
        if name.endswith(".cpp") and counts is None:
            stated = _COUNTS.search(read_entry(source, name))
            counts = stated and (int(stated[1]), int(stated[2]))
    if counts is None:  # no C++ in it: the target of Python clients
        return INPUT_FIELDS, _ASE_OUTPUTS
    if counts not in _UNNAMED:
        raise ModelFileError(
            f"{source.path} was compiled by nequip < 0.17, which does not name inputs and outputs, and has {counts[0]} "
            f"and {counts[1]} of them, as no target that is known; compile it again with `--target openmm`",
            source.path,
        )
    if counts == (5, 4) and "openmm-nequip_version" in metadata:
        return INPUT_FIELDS, tuple(TARGETS["openmm-full"]["output"])
    return _UNNAMED[counts]


def _fields(source: ModelSource, metadata: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    path = source.path
    if "r_max" not in metadata or "type_names" not in metadata:
        raise ModelFileError(f"{path} is an AOTInductor package, but not one of nequip-compile (no r_max in it)", path)
    inputs = tuple(metadata.get("nequip_aoti_inputs", "").split())
    outputs = tuple(metadata.get("nequip_aoti_outputs", "").split())
    if not inputs or not outputs:
        unnamed = _unnamed_fields(source, metadata)
        inputs, outputs = inputs or unnamed[0], outputs or unnamed[1]
    if not {CELL, SHIFTS} <= set(inputs):
        raise ModelFileError(
            f"{path} was compiled for ghost atoms (inputs {' '.join(inputs)}: the LAMMPS `pair_allegro` target);"
            " compile it with `--target openmm` (or `--target ase`, `--target pair_nequip`)",
            path,
        )
    unknown = [name for name in inputs if name not in INPUT_FIELDS and name in STRUCTURE_FIELDS]
    if unknown:
        raise ModelFileError(
            f"{path} needs the inputs {' '.join(unknown)} (a batched target?); compile it with `--target openmm`", path
        )
    if "forces" not in outputs or not {"total_energy", "atomic_energy"} & set(outputs):
        raise ModelFileError(
            f"{path} gives {' '.join(outputs)}; energy and forces are needed: compile it with `--target openmm`", path
        )
    return inputs, outputs


FORMAT = Format(
    kind=AOTINDUCTOR,
    suffix=".nequip.pt2",
    runs_code=False,
    can_compile=False,
    can_fuse=True,
    holds_program=carries_program,
    recognise=recognise,
    read_info=read_info,
    open=open_aotinductor,
    obstacle=obstacle,
)
