"""NequIP checkpoints and packages run by the fused CPU kernels, made at first use and kept in the cache folder."""

from __future__ import annotations

import io
import json
import logging
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cache import cache_dir, key_of, write_atomically
from ..errors import KernelsError, NotFusableError
from ..graph.fields import ATOMIC_ENERGY, CELL, EDGE_INDEX, FORCES, POSITIONS, SHIFTS, TYPES
from ..graph.graph import CANDIDATE_EDGES, EdgeNeeds, Edges, Graph, Outputs
from ..kernels.backend import Backend, Code, StepperSetup
from ..kernels.cpu import CPU
from ..kernels.cpu.library import EDGES_PER_THREAD
from ..kernels.fuse import Fused, backend_for, fuse, generator
from ..upstream.nequip_state import default_dtype, preserved_global_state
from .base import Model, ModelInfo, StepFunction, StepRequest
from .compiling.aot import package_version
from .compiling.example import example_graph
from .eager import ALL_OUTPUTS, load_module
from .format import PACKAGE
from .formats import format_of
from .graph_inputs import InputValues
from .metadata import make_info, package_versions
from .source import ModelSource

logger = logging.getLogger(__name__)

#: Largest difference from nequip's own evaluation that is put down to rounding, as a share of the largest force
#: component (and of the energy scale that goes with it: that force times one tenth of a cutoff).
AGREEMENT = {"float32": 2e-4, "float64": 1e-7}


class FusedModel(Model):
    """A NequIP model in generated C++.

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
    """A checkpoint or package, run by the fused kernels.

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
    if not format_of(source.kind).can_fuse:
        raise KernelsError(
            f"{source.path} is a {source.kind} file, compiled already; give the .ckpt or .nequip.zip it came from"
        )
    backend = backend_for(device)
    if reason := backend.obstacle(device):
        raise KernelsError(reason)
    try:
        fused, facts = _cached(source, tables, backend, inputs)
        library = open_kernels(fused, backend)
    except OSError as error:
        raise KernelsError(f"the cache folder cannot be used: {error}") from error
    target = "openmm (fused at first use)"
    stated = {"versions": package_versions(source.path)} if source.kind == PACKAGE else {}
    info = make_info(facts, outputs=ALL_OUTPUTS, compiled=True, target=target, kernels=fused.summary, **stated)
    return FusedModel(info, backend, library)


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
        stored = _read(_cache_file(source, tables, CPU, inputs))
    except (NotFusableError, OSError) as error:
        return f"none: {error}"
    return None if stored is None else stored[0].summary


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
    if not format_of(source.kind).can_fuse:
        return "none: the file was compiled already"
    known = known_kernels(source, tables, inputs)
    if known is not None:
        return known
    try:
        with preserved_global_state():
            module: Any = load_module(source, inputs)
            with default_dtype(torch.float64):
                return fuse(module, tables).summary
    except NotFusableError as error:
        return f"none: {error}"


def open_kernels(code: Code, backend: Backend = CPU) -> Any:
    """The library of generated code, from the cache folder or compiled now.

    Parameters
    ----------
    code : Code
        Source, weights and constants, for example a :class:`Fused`.
    backend : Backend
        The kind of device it was generated for.

    Returns
    -------
    openmm_nequip.kernels.cpu.library.Library

    Raises
    ------
    BuildError
        If it cannot be compiled.
    """
    return backend.open(code, cache_dir() / "kernels")


def _cache_file(source: ModelSource, tables: bool, backend: Backend, inputs: InputValues) -> Path:
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
    folder = cache_dir() / "fused"
    folder.mkdir(exist_ok=True)
    return folder / f"{key_of(key)}.npz"


def _read(path: Path) -> tuple[Fused, dict[str, str]] | None:
    """What the cache has; None if that is nothing, or damaged."""
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
        facts = json.loads(bytes(arrays["facts"]))
        if "refused" not in facts:
            text = bytes(arrays["source"]).decode()
            return Fused(text, arrays["weights"], arrays["constants"], facts["fused"]), facts["model"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s is damaged (%s) and is made anew", path, error)
        return None
    raise NotFusableError(facts["refused"])


def _cached(
    source: ModelSource, tables: bool, backend: Backend, inputs: InputValues
) -> tuple[Fused, dict[str, str]]:
    """Code and weights from the cache, or made now; a refusal is remembered as well."""
    path = _cache_file(source, tables, backend, inputs)
    stored = _read(path)
    if stored is not None:
        return stored
    try:
        fused, model = _make(source, tables, backend, inputs)
    except NotFusableError as error:
        _store(path, {"refused": str(error)})
        raise
    _store(
        path,
        {"fused": fused.facts, "model": model},
        source=np.frombuffer(fused.source.encode(), dtype=np.uint8),
        weights=fused.weights,
        constants=fused.constants,
    )
    return fused, model


def _store(path: Path, facts: dict[str, Any], **arrays: np.ndarray) -> None:
    content = io.BytesIO()
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    np.savez(content, **arrays)  # type: ignore[arg-type]  # weights do not shrink
    write_atomically(path, content.getvalue())


def _make(
    source: ModelSource, tables: bool, backend: Backend, inputs: InputValues
) -> tuple[Fused, dict[str, str]]:
    logger.info("reading %s for the fused kernels", source.path)
    with preserved_global_state():
        module: Any = load_module(source, inputs)
        facts = {key: str(value) for key, value in module.metadata.items()}
        with default_dtype(torch.float64):
            fused = fuse(module, tables, backend)
        verify(module, backend.step(open_kernels(fused, backend)), facts)
    return fused, facts


def verify(module: Any, step: Callable, facts: dict[str, str]) -> None:
    """Compare the fused model with the model itself on a structure that has all types.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's GraphModel.
    step : callable
        The fused model, see :class:`openmm_nequip.kernels.cpu.library.Step`.
    facts : dict of str to str
        nequip's metadata.

    Raises
    ------
    NotFusableError
        If they differ by more than rounding.
    """
    cutoff = float(facts["r_max"])
    data = example_graph(len(facts["type_names"].split()), cutoff)
    positions, types, edges, shifts, cell = (data[key].numpy() for key in (POSITIONS, TYPES, EDGE_INDEX, SHIFTS, CELL))
    energies, forces, _ = step(positions, types, edges, shifts, np.ascontiguousarray(cell[0]), 1)
    with default_dtype(torch.float64), torch.inference_mode(False), torch.enable_grad():
        expected = module(data)
    reference = expected[FORCES].detach().double().numpy()
    scale = max(float(np.abs(reference).max()), 1e-3)
    allowed = AGREEMENT[str(module.model_dtype).removeprefix("torch.")]
    off_energy = float(np.abs(energies - expected[ATOMIC_ENERGY].detach().double().numpy().ravel()).max())
    off_force = float(np.abs(forces - reference).max())
    if not (off_force <= allowed * scale and off_energy <= allowed * scale * 0.1 * cutoff):
        raise NotFusableError(
            f"fused and original model differ by {off_force:.1e} in forces (largest {scale:.1e}) and {off_energy:.1e} "
            "in atomic energies: the model computes something that was not recognised"
        )
