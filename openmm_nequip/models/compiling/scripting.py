"""Checkpoints and packages as TorchScript files, compared with the model they came from before they are given out."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import CompileError, UpstreamError
from ...graph.fields import CELL, EDGE_INDEX, POSITIONS, SHIFTS, TYPES
from ...graph.graph import Edges, Graph, Outputs
from ...upstream.nequip_script import save_script
from ...upstream.nequip_state import preserved_global_state
from ..base import Model
from ..eager import load_module, open_eager
from ..execution import Execution
from ..format import CHECKPOINT, PACKAGE, TORCHSCRIPT
from ..formats import identify
from ..formats.torchscript import open_torchscript
from ..graph_inputs import InputValues, parse_inputs
from ..source import ModelSource
from .example import example_graph
from .targets import stated_versions

SUFFIX = ".nequip.pth"
#: Largest difference between a file and its origin, of the largest component of each quantity (of the energy: of the
#: sum of the sizes of the atomic energies).
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class Agreement:
    """How well a file agrees with the model it came from, on an example with every type.

    Parameters
    ----------
    energy, forces, virial : float
        Largest difference, relative to the largest component; of the energy to the sum of the atomic ones' sizes.
        The virial is -dE/d(strain), minus the stress times the volume.
    """

    energy: float
    forces: float
    virial: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.energy, self.forces, self.virial)


def write_script(
    source: ModelSource, path: str, device: torch.device | None = None, inputs: InputValues = ()
) -> Agreement:
    """Write a checkpoint or package as TorchScript and compare the file with its origin.

    Inputs of the model beside the structure stay inputs of the file.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package; its code is run.
    path : str
        File to write, ending in ``.nequip.pth``.
    device : torch.device, optional
        Where the weights in the file are to be: the CPU by default.
    inputs : tuple of (str, number), optional
        Values of its inputs for the comparison; any that the model takes if not given.

    Returns
    -------
    Agreement

    Raises
    ------
    CompileError
        If torch cannot script the model, or the file does not agree with it.
    ModelFileError, ImportError
        If nequip cannot read the model, or is not installed.
    """
    if source.kind not in (CHECKPOINT, PACKAGE):
        raise CompileError(
            f"{source.path} is a {source.kind} file, compiled already; TorchScript is made of the .ckpt or .nequip.zip "
            "it came from"
        )
    device = device or torch.device("cpu")
    with preserved_global_state():
        model: Any = load_module(source)
        facts = {key: str(int(v)) if isinstance(v, bool) else str(v) for key, v in dict(model.metadata).items()}
        try:
            save_script(model, facts | stated_versions() | {"allow_tf32": "0"}, path, device)
        except UpstreamError:
            raise
        except Exception as error:  # scripting foreign code can raise anything
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise CompileError(
                f"{source.path} cannot be written as TorchScript by torch {torch.__version__} ({reason.strip()}); "
                "modules of your own have to be scriptable"
            ) from error
    return _compared(source, path, inputs)


def _compared(source: ModelSource, path: str, inputs: InputValues) -> Agreement:
    """The differences between a file just written and its origin; CompileError where they are no rounding noise."""
    cpu = torch.device("cpu")
    written = identify(path)
    sample = open_eager(source, cpu, Execution(device="cpu", compile=False, inputs=inputs), ())
    if sample.info.inputs and not inputs:
        inputs = parse_inputs(sample.info.sample_inputs)
        sample = open_eager(source, cpu, Execution(device="cpu", compile=False, inputs=inputs), ())
    script = open_torchscript(written, cpu, Execution(device="cpu", inputs=inputs))
    agreement = compare(script, sample)
    allowed = TOLERANCES[sample.info.dtype]
    if not agreement.worst <= allowed:
        raise CompileError(
            f"the TorchScript file of {source.path} differs from it by {agreement.worst:.2g} of the largest value, and "
            f"{allowed:g} is rounding noise: it is not to be trusted"
        )
    return agreement


def compare(one: Model, other: Model) -> Agreement:
    """The largest relative differences between two models on an example with every type.

    Parameters
    ----------
    one, other : Model
        Of the same types; the second is the reference.

    Returns
    -------
    Agreement
    """
    graph = sample_graph(other)
    found, right = one.evaluate(graph), other.evaluate(graph)
    return Agreement(_energy(found, right), _relative(found.forces, right.forces), _virial(found, right))


def sample_graph(model: Model) -> Graph:
    """A small periodic structure with every type of a model in it.

    Parameters
    ----------
    model : Model
        The model.

    Returns
    -------
    Graph
    """
    info = model.info
    data = example_graph(len(info.type_names), info.reach)
    index, shifts, types, cell = data[EDGE_INDEX], data[SHIFTS], data[TYPES], data[CELL].view(3, 3)
    if info.per_edge_type_cutoff is not None:
        ends = data[POSITIONS][index]
        lengths = torch.linalg.vector_norm(ends[1] - ends[0] + shifts @ cell, dim=1)
        cutoffs = torch.tensor(info.per_edge_type_cutoff, dtype=torch.float64)
        kept = lengths < cutoffs[types[index[0]], types[index[1]]]
        index, shifts = index[:, kept].contiguous(), shifts[kept]
    return Graph(data[POSITIONS], types, Edges(index, shifts), cell)


def _energy(found: Outputs, right: Outputs) -> float:
    sizes = right.energy.abs() if right.atomic_energies is None else right.atomic_energies.abs().sum()
    return _finite((found.energy - right.energy).abs() / sizes.clamp(min=1e-12))


def _virial(found: Outputs, right: Outputs) -> float:
    if right.virial is None:
        return 0.0
    return math.inf if found.virial is None else _relative(found.virial, right.virial)


def _relative(found: torch.Tensor, right: torch.Tensor) -> float:
    return _finite((found - right).abs().max() / right.abs().max().clamp(min=1e-12))


def _finite(value: torch.Tensor) -> float:
    return float(value) if math.isfinite(value) else math.inf


@contextmanager
def scripted_form(source: ModelSource, inputs: InputValues = ()) -> Iterator[ModelSource]:
    """A model as a TorchScript file: the file itself where it is one, else a temporary one that was compared.

    Parameters
    ----------
    source : ModelSource
        TorchScript, a checkpoint or a package.
    inputs : tuple of (str, number), optional
        Values of its inputs for the comparison.

    Yields
    ------
    ModelSource
        Of the kind TorchScript.

    Raises
    ------
    CompileError
        As :func:`write_script`.
    """
    if source.kind == TORCHSCRIPT:
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="openmm-nequip-") as folder:
        path = os.path.join(folder, "model" + SUFFIX)
        write_script(source, path, inputs=inputs)
        yield identify(path)
