"""Models run by the fused CPU kernels, which are made at first use and kept in the cache folder."""

from __future__ import annotations

import io
import json
import logging
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..cache import find, keep, key_of, shelf
from ..errors import KernelsError, ModelFileError, NotFusableError, UpstreamError
from ..graph.graph import CANDIDATE_EDGES, EdgeNeeds, Edges, Graph, Outputs
from ..kernels.backend import Backend, Code, CodeTarget, StepperSetup
from ..kernels.cpu import CPU
from ..kernels.cpu.build import refusal
from ..kernels.cpu.library import EDGES_PER_THREAD
from ..kernels.fuse import Fused, backend_for, fuse, fuse_program, generator
from ..kernels.gpu import gpu_target
from ..kernels.read.mean_neighbors import mean_neighbors
from ..upstream.nequip_state import default_dtype, preserved_global_state
from .base import Model, ModelInfo, StepFunction, StepRequest
from .carried_program import read_program
from .compiling.aot import package_version
from .eager import ALL_OUTPUTS, load_module
from .format import AOTINDUCTOR, CHECKPOINT, PACKAGE, TORCHSCRIPT
from .formats import can_fuse
from .formats.aotinductor import read_metadata
from .formats.torchscript import load_to_fuse
from .graph_inputs import InputValues
from .metadata import make_info, package_versions
from .own_answers import References, check_library, make_references
from .source import ModelSource

logger = logging.getLogger(__name__)

#: How names of cache files end.
_SUFFIX = ".npz"


class Kept(NamedTuple):
    """What the cache has of a model."""

    fused: Fused  #: code and weights
    model: dict[str, str]  #: nequip's metadata
    references: References  #: the model's own answers, for every library that the code is compiled to
    neighbors: float | None = None  #: mean number of neighbours in the training data, where the model states it


class FusedModel(Model):
    """A NequIP or Allegro model in generated C++.

    Parameters
    ----------
    info : ModelInfo
        Description of the model.
    backend : Backend
        The kind of device it runs on.
    library : openmm_nequip.kernels.cpu.library.Library
        The compiled code with its weights, opened by that backend.
    """

    def __init__(self, info: ModelInfo, backend: Backend, library: Any) -> None:
        super().__init__(info, torch.device(backend.device_type))
        self.needs = EdgeNeeds(CANDIDATE_EDGES)
        self._backend = backend
        self._library = library
        self._step = backend.step(library)
        self._lock = threading.Lock()
        self._types: torch.Tensor | None = None
        self._edges: Edges | None = None

    def evaluate(self, graph: Graph) -> Outputs:
        """Energy and more, see :meth:`Model.evaluate`; no graph is too small.

        Edges beyond the cutoff count for nothing. Types and edges that are the very objects of the last call are not
        read again.
        """
        edges = graph.edges
        threads = max(1, min(torch.get_num_threads(), edges.count // EDGES_PER_THREAD))
        tensors = graph.positions, graph.types, edges.index, edges.shifts, graph.cell
        with self._lock:
            keep = edges is self._edges and graph.types is self._types
            energies, forces, virial = self._step(*[t.contiguous().numpy() for t in tensors], threads, keep)
            self._types, self._edges = graph.types, edges
        return Outputs(
            torch.tensor(energies.sum(), dtype=torch.float64),
            torch.from_numpy(forces),
            torch.from_numpy(energies),
            torch.from_numpy(virial),
        )

    def stepper(self, request: StepRequest) -> StepFunction:
        """See :meth:`Model.stepper`."""

        def neighbors(positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            edges = request.find(positions, cell)
            return edges.index, edges.shifts

        setup = StepperSetup(request.reach, request.units.length, request.units.energy, request.cell)
        made = self._backend.stepper(self._library, request.types, neighbors, setup)
        return lambda positions, box: made(positions, box, torch.get_num_threads())


def fused_model(
    source: ModelSource, device: torch.device, tables: bool = True, inputs: InputValues = ()
) -> FusedModel:
    """A checkpoint, package or TorchScript file, run by the fused kernels.

    Parameters
    ----------
    source : ModelSource
        The file.
    device : torch.device
        Must be a CPU.
    tables : bool
        Whether the radial networks are tabulated (to rounding noise) or evaluated.
    inputs : tuple of (str, number)
        Values of the model's inputs beside the structure.

    Returns
    -------
    FusedModel

    Raises
    ------
    KernelsError
        If the model has a part that the kernels do not know, or they cannot be built here.
    """
    if not can_fuse(source):
        raise KernelsError(_compiled(source))
    backend = backend_for(device)
    if reason := backend.obstacle(device):
        raise KernelsError(reason)
    try:
        fused, facts, references, _ = _cached(source, tables, backend, inputs)
        library = open_kernels(fused, backend, references)
    except OSError as error:
        raise KernelsError(f"the cache folder cannot be used: {error}") from error
    target = "torchscript (fused at first use)" if source.kind == TORCHSCRIPT else "openmm (fused at first use)"
    stated = {"versions": package_versions(source)} if source.kind == PACKAGE else {}
    info = make_info(facts, outputs=ALL_OUTPUTS, compiled=True, target=target, kernels=fused.summary, **stated)
    return FusedModel(info, backend, library)


def gpu_kernels(source: ModelSource, inputs: InputValues = (), warps: int = 1, tables: bool = True) -> Kept:
    """The kernels of a model file for OpenMM's platforms of GPUs, from the cache folder or made now.

    Parameters
    ----------
    source : ModelSource
        The file.
    inputs : tuple of (str, number)
        Values of the model's inputs beside the structure.
    warps : int
        Warps that share an atom, see :func:`openmm_nequip.kernels.gpu.warps_for`.
    tables : bool
        As in :func:`fused_model`.

    Returns
    -------
    Kept
        Its source begins with :class:`openmm_nequip.kernels.gpu.gpu_generate.KernelFacts`.

    Raises
    ------
    KernelsError
        If the model has a part that the kernels do not know.
    """
    if not can_fuse(source):
        raise KernelsError(_compiled(source))
    try:
        return _cached(source, tables, gpu_target(warps), inputs)
    except OSError as error:
        raise KernelsError(f"the cache folder cannot be used: {error}") from error


def _compiled(source: ModelSource) -> str:
    return f"{source.path} is a {source.kind} file, compiled already; give the .ckpt or .nequip.zip it came from"


def known_kernels(source: ModelSource, tables: bool = True, inputs: InputValues = ()) -> str | None:
    """What the cache knows of the fused kernels of a model file; None where it was never tried here.

    Parameters
    ----------
    source : ModelSource
        The file.
    tables, inputs
        As in :func:`fused_model`.

    Returns
    -------
    str or None
        One line: a summary with the error of the tables, or ``"none: "`` and the reason.
    """
    try:
        stored = _read(*_place(source, tables, CPU, inputs))
        reason = "" if stored is None else refusal(shelf("kernels"), stored.fused.source)
    except (NotFusableError, OSError) as error:
        return f"none: {error}"
    return None if stored is None else f"none: {reason}" if reason else stored.fused.summary


def describe_kernels(source: ModelSource, tables: bool = True, inputs: InputValues = ()) -> str:
    """What the fused kernels make of a model file, for a CPU; the model is loaded, nothing is compiled.

    Parameters
    ----------
    source : ModelSource
        The file.
    tables, inputs
        As in :func:`fused_model`.

    Returns
    -------
    str
        One line, as :func:`known_kernels`.
    """
    if not can_fuse(source):
        return "none: the file was compiled already"
    known = known_kernels(source, tables, inputs)
    if known is not None:
        return known
    try:
        with preserved_global_state():
            if source.kind == AOTINDUCTOR:
                return fuse_program(read_program(source)[0], tables).summary
            module, _ = _module_and_facts(source, inputs)
            with default_dtype(torch.float64):
                return fuse(module, tables).summary
    except NotFusableError as error:
        return f"none: {error}"


def open_kernels(code: Code, backend: Backend = CPU, references: References | None = None) -> Any:
    """The library of generated code, from the cache folder or compiled now.

    A new library is compared with the model's own answers before it is kept; that it differs is remembered for this
    library alone, since another compiler may do better.

    Parameters
    ----------
    code : Code
        Source, weights and constants, for example a :class:`Fused`.
    backend : Backend
        The kind of device it was generated for.
    references : References, optional
        The answers; without them nothing is compared.

    Returns
    -------
    openmm_nequip.kernels.cpu.library.Library

    Raises
    ------
    BuildError
        If it cannot be compiled.
    NotFusableError
        If it differs from the model by more than rounding.
    """
    check = None if references is None else lambda library: check_library(backend, library, references)
    return backend.open(code, shelf("kernels"), check)


def _place(source: ModelSource, tables: bool, backend: CodeTarget, inputs: InputValues) -> tuple[Path, str]:
    """Folder and key of a model in the cache."""
    key = ({"inputs": inputs} if inputs else {}) | {
        "generator": generator(),
        "model": source.sha256,
        "kind": source.kind,
        "tables": tables,
        "backend": backend.name,
        "target": backend.target(),
        "nequip": package_version("nequip"),
        "e3nn": package_version("e3nn"),
    }
    return shelf("fused"), key_of(key)


def _read(folder: Path, key: str) -> Kept | None:
    """What the cache has; None if that is nothing, or damaged."""
    found = find(folder, key, _SUFFIX)
    if found is None:
        return None
    with np.load(io.BytesIO(found[1])) as stored:
        arrays = {name: stored[name] for name in stored.files}
    facts = json.loads(bytes(arrays["facts"]))
    if "refused" not in facts:
        text = bytes(arrays["source"]).decode()
        fused = Fused(text, arrays["weights"], arrays["constants"], facts["fused"])
        return Kept(fused, facts["model"], References.unpack(bytes(arrays["references"])), facts.get("neighbors"))
    raise NotFusableError(facts["refused"])


def _cached(source: ModelSource, tables: bool, backend: CodeTarget, inputs: InputValues) -> Kept:
    """Code and weights from the cache, or made now; that a model has an unknown part is remembered as well."""
    folder, key = _place(source, tables, backend, inputs)
    stored = _read(folder, key)
    if stored is not None:
        return stored
    try:
        made = _make(source, tables, backend, inputs)
    except NotFusableError as error:
        _store(folder, key, {"refused": str(error)})
        raise
    _store(
        folder,
        key,
        {"fused": made.fused.facts, "model": made.model, "neighbors": made.neighbors},
        source=np.frombuffer(made.fused.source.encode(), dtype=np.uint8),
        weights=made.fused.weights,
        constants=made.fused.constants,
        references=np.frombuffer(made.references.pack(), dtype=np.uint8),
    )
    return made


def _store(folder: Path, key: str, facts: dict[str, Any], **arrays: np.ndarray) -> None:
    content = io.BytesIO()
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    np.savez(content, **arrays)  # type: ignore[arg-type]  # weights do not shrink
    keep(folder, key, _SUFFIX, content.getvalue())


def _make(source: ModelSource, tables: bool, backend: CodeTarget, inputs: InputValues) -> Kept:
    logger.info("reading %s for the fused kernels", source.path)
    with preserved_global_state():
        if source.kind == AOTINDUCTOR:
            program, references = read_program(source)
            return Kept(fuse_program(program, tables, backend), read_metadata(source), references)
        module, facts = _module_and_facts(source, inputs)
        with default_dtype(torch.float64):
            fused = fuse(module, tables, backend)
        return Kept(fused, facts, make_references(module, facts), mean_neighbors(module))


def _module_and_facts(source: ModelSource, inputs: InputValues) -> tuple[Any, dict[str, str]]:
    """A model as kernel readers want it, and nequip's metadata."""
    if source.kind == TORCHSCRIPT:
        if inputs:
            raise NotFusableError("it is TorchScript and takes inputs beside the structure")
        return load_to_fuse(source)
    module: Any = load_module(source, inputs)
    return module, {key: str(value) for key, value in module.metadata.items()}


def training_neighbors(source: ModelSource, inputs: InputValues = ()) -> float | None:
    """Mean number of neighbours within the cutoff in the data that a model was trained on.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package, whose code is run, or a TorchScript file.
    inputs
        What the model takes beside the structure.

    Returns
    -------
    float or None
        None where the file does not state it.
    """
    if source.kind not in (CHECKPOINT, PACKAGE, TORCHSCRIPT):
        return None
    for tables in (True, False):  # a model that was fused was asked then, and need not be opened again
        try:
            stored = _read(*_place(source, tables, CPU, inputs))
        except (NotFusableError, OSError):
            continue
        if stored is not None and stored.neighbors is not None:
            return stored.neighbors
    try:
        with preserved_global_state():
            return mean_neighbors(_module_and_facts(source, inputs)[0])
    except (NotFusableError, ModelFileError, UpstreamError):
        return None
