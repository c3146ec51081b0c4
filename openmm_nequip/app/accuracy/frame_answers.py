"""A model's answers for many frames, with an evaluator for each kind of frame."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import KernelsError, NonFiniteError, SimulationError
from ...evaluate.evaluator import Evaluator
from ...evaluate.placement import Placement
from ...graph.neighbors import NeighborList
from ...models import Model, ModelSource, can_fuse, load_model, locate, read_info
from ...models.fused import known_kernels
from ...models.graph_inputs import parse_inputs
from ...potential import atom_types
from ...progress import no_programs
from ...units import Units
from ..single_point import SinglePoint
from ..structures.structure_files import Structure
from .labelled_frames import LabelledFrame

logger = logging.getLogger(__name__)

#: Memory of an eager evaluation for each edge, as a share of the size of the model file: 12 GB for the 6,400 edges of
#: 64 atoms and an Allegro model of 75 MB. Above the other number in bytes it is much.
EAGER_MEMORY, MUCH_MEMORY = 0.025, 2e9


def load_for_frames(
    path: Any,
    device: str | None,
    compile: bool | None,
    trusted: str | None,
    kernels: str,
    inputs: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
    **memory: Any,
) -> Model:
    """Load a model for a few evaluations: nothing is compiled unless asked for, but what the cache has is used.

    Parameters
    ----------
    path : str or path-like
        Model file or ``nequip.net:`` id, or the :class:`openmm_nequip.models.CommitteePath` of several.
    device : str, optional
        Torch device, CPU by default.
    compile : bool or None
        Whether to compile it; None leaves it to the memory that it needs uncompiled.
    trusted : str, optional
        SHA-256 that the file must have.
    kernels : str
        ``"auto"`` takes the fused kernels where they lie compiled in the cache.
    inputs : mapping of str to float, optional
        What the model takes beside the structure.
    settings : mapping of str to value, optional
        Options of TorchMD-Net checkpoints, as of :func:`openmm_nequip.load_model`.
    memory
        ``largest``: the :class:`Structure` with most atoms, and ``units`` of the model, to tell the memory by.

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError, KernelsError, ImportError, ValueError
        As :func:`openmm_nequip.load_model`.
    """
    source = locate(path, trusted)
    on_cpu = device is None or str(device).startswith("cpu")
    if kernels == "auto" and not compile and on_cpu and all(can_fuse(each) for each in source.files):
        known = [known_kernels(each, inputs=parse_inputs(inputs or {})) for each in source.files]
        if not any(each is None or each.startswith("none") for each in known):
            try:
                with no_programs():
                    return load_model(path, device, None, trusted, "fused", modelInputs=inputs)
            except (RuntimeError, OSError):
                pass  # made for another compiler or machine, or damaged
        needs = compile is None and "largest" in memory and much_memory(source, **memory)
        if needs:
            try:
                model = load_model(path, device, None, trusted, "fused", modelInputs=inputs)
                logger.info("%s: the fused kernels are used (--kernels none evaluates eagerly)", needs)
                return model
            except KernelsError as error:
                logger.warning("%s, and %s", needs, error)
    return load_model(path, device, bool(compile), trusted, kernels, modelInputs=inputs, **(settings or {}))


def much_memory(source: ModelSource, largest: Structure, units: Units) -> str:
    """Whether an eager evaluation takes much memory.

    Parameters
    ----------
    source : ModelSource
        The model file.
    largest : Structure
        The atoms.
    units : Units
        The model's units.

    Returns
    -------
    str
        How much, in words; empty if it does not.
    """
    cutoff = read_info(source).cutoff
    if cutoff is None:
        return ""
    box = largest.box_nm
    neighbors = NeighborList(cutoff * units.length, 0.0, box is not None)
    edges = neighbors(np.ascontiguousarray(largest.positions_nm), np.eye(3) if box is None else box).count
    need = edges * source.size_bytes * EAGER_MEMORY
    if need < MUCH_MEMORY:
        return ""
    return f"evaluated eagerly, {edges} edges of a model of this size may need {need / 1e9:.1f} GB"


class FrameEvaluator:
    """Single points of one model.

    Parameters
    ----------
    model : Model
        The model.
    units : Units
        Its units.
    types : sequence of int or str, optional
        Type of each atom, the same for all frames; by element if not given.
    """

    def __init__(self, model: Model, units: Units, types: Sequence[int | str] | None = None) -> None:
        self._model = model
        self._units = units
        self._types = types
        self._made: dict[tuple[Any, ...], Evaluator] = {}

    def __call__(self, frame: LabelledFrame) -> SinglePoint:
        """Energy, forces and stress of a frame.

        Raises
        ------
        ValueError
            If the model does not know an element or type; the message names the frame.
        SimulationError
            If its answer is not finite.
        """
        cutoff = self._model.info.cutoff
        structure = frame.structure.filled(None if cutoff is None else cutoff * self._units.length)
        periodic = structure.box_nm is not None
        key = id(structure.topology), periodic
        try:
            self._model.info.check_box(periodic)
            self._model.info.check_charges(None)
            if key not in self._made:
                types = atom_types(self._model.info.type_names, list(structure.topology.atoms()), self._types)
                self._made[key] = Evaluator(self._model, self._units, Placement(len(types), types), periodic, 0.0)
            out = self._made[key].evaluate(structure.positions_nm, structure.box_nm)
        except NonFiniteError as error:
            raise SimulationError(f"frame {frame.index} of {structure.path}: {error}", error.indices) from error
        except ValueError as error:
            raise ValueError(f"frame {frame.index} of {structure.path}: {error}") from error
        return SinglePoint.of(out)
