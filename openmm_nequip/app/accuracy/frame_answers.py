"""A model's answers for many frames, with an evaluator for each kind of frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import NonFiniteError, SimulationError
from ...evaluate.evaluator import Evaluator
from ...evaluate.placement import Placement
from ...models import Execution, Model, format_of, load_model, locate, open_model
from ...models.fused import known_kernels
from ...models.graph_inputs import parse_inputs
from ...potential import atom_types
from ...progress import no_programs
from ...units import Units
from ..single_point import SinglePoint, choose_execution
from ..structures.structure_files import Structure
from .labelled_frames import LabelledFrame


def load_for_frames(
    path: str,
    device: str | None,
    compile: bool | None,
    trusted: str | None,
    kernels: str,
    inputs: Mapping[str, float] | None = None,
    sample: tuple[Structure, Units] | None = None,
) -> Model:
    """Load a model for a few evaluations: nothing is compiled unless asked for, but what the cache has is used.

    Parameters
    ----------
    path : str
        Model file or ``nequip.net:`` id.
    device : str, optional
        Torch device, CPU by default.
    compile : bool or None
        Whether to compile it; None for no, unless ``sample`` says that eager evaluation takes much memory.
    trusted : str, optional
        SHA-256 that the file must have.
    kernels : str
        ``"auto"`` takes the fused kernels where they lie compiled in the cache.
    inputs : mapping of str to float, optional
        What the model takes beside the structure.
    sample : tuple of (Structure, Units), optional
        A structure that it will be evaluated on, and the model's units.

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
    if kernels == "auto" and not compile and on_cpu and format_of(source.kind).can_fuse:
        known = known_kernels(source, inputs=parse_inputs(inputs or {}))
        if known is not None and not known.startswith("none"):
            try:
                with no_programs():
                    return load_model(path, device, None, trusted, "fused", modelInputs=inputs)
            except (RuntimeError, OSError):
                pass  # made for another compiler or machine, or damaged
    if compile is None and kernels == "auto" and sample is not None:
        how = Execution(device, False, kernels, inputs=parse_inputs(inputs or {}))
        return open_model(source, choose_execution(source, how, *sample))
    return load_model(path, device, bool(compile), trusted, kernels, modelInputs=inputs)


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
            if key not in self._made:
                types = atom_types(self._model.info.type_names, list(structure.topology.atoms()), self._types)
                self._made[key] = Evaluator(self._model, self._units, Placement(len(types), types), periodic, 0.0)
            out = self._made[key].evaluate(structure.positions_nm, structure.box_nm)
        except NonFiniteError as error:
            raise SimulationError(f"frame {frame.index} of {structure.path}: {error}", error.indices) from error
        except ValueError as error:
            raise ValueError(f"frame {frame.index} of {structure.path}: {error}") from error
        return SinglePoint(out["energy"], out["forces"], out.get("atomic_energies"), out.get("stress"))
