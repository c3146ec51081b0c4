"""What a force needs to find, open and run its model again: in a copy, an XML file, another process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cache import find, keep, shelf
from ..committee_bias import CommitteeBias
from ..cuda_driver import on_device
from ..devices import choose_device
from ..errors import ModelFileError
from ..evaluate.cuda_graphs import with_graphs
from ..evaluate.evaluator import Evaluator
from ..evaluate.placement import Placement
from ..models import ModelSource, format_of, open_model, parse_device
from ..models.execution import Execution
from ..models.format import FUNCTION
from ..units import Units


@dataclass(frozen=True, eq=False)
class PotentialSpec:
    """A potential on some particles, without the model's weights in memory.

    Parameters
    ----------
    source : ModelSource
        The model file, by path and SHA-256.
    units : Units
        The model's units.
    placement : Placement
        Which of the force's particles are which nodes of the graph.
    periodic : bool
        Whether the force uses the box.
    skin_nm : float
        Verlet skin in nm.
    execution : Execution
        How the model is run; without a device on that of the Context.
    content : bytes or tuple of these, optional
        The model file itself, where it was embedded; of a committee each of its files.
    lambda_name : str, optional
        Global parameter; where it is exactly 0 the model is not evaluated.
    bias : CommitteeBias, optional
        Of a committee whose mean drives: what is added where its models disagree. It is a part of the energy of this
        force, so the parameter scales it as the rest.
    """

    source: ModelSource
    units: Units
    placement: Placement
    periodic: bool
    skin_nm: float
    execution: Execution = Execution()
    content: bytes | tuple[bytes | None, ...] | None = None
    lambda_name: str | None = None
    bias: CommitteeBias | None = None

    def __setstate__(self, state: dict) -> None:
        """Read what release 0.1 pickled; later ones pickle :mod:`openmm_nequip.forces.saved` alone."""
        self.__dict__.update(state if "execution" in state else from_release_0_1(state))

    @property
    def parts(self) -> tuple[PotentialSpec, ...]:
        """The potential alone, as :attr:`SumSpec.parts`."""
        return (self,)

    @property
    def origin(self) -> str:
        """The model file, for messages."""
        return self.source.path

    @property
    def n_particles(self) -> int:
        """Number of particles that the force is given."""
        return self.placement.n_particles

    def on_system(self, particles: np.ndarray, n_system: int) -> PotentialSpec:
        """The same potential for a force on all particles, with their indices (n,); see :meth:`Placement.on_system`."""
        return dataclasses.replace(self, placement=self.placement.on_system(particles, n_system))

    def embed(self) -> PotentialSpec:
        """The same potential, carrying the bytes of its model file or files; functions of Python stay names."""
        read = [None if each.kind == FUNCTION else each.read() for each in self.source.files]
        content = tuple(read) if self.source.members else read[0]
        return self if content is None else dataclasses.replace(self, content=content)

    def open(self) -> Evaluator:
        """Load the model (once per process, file and device) and make an evaluator of its own for this potential.

        Of a committee whose first model drives, that is loaded alone.

        Raises
        ------
        ModelFileError
            If the file is gone or has changed and was not embedded.
        CudaGraphError
            If CUDA graphs were asked for and the model runs on a CPU.
        """
        return self._opened(self.present_source().driving)

    def open_whole(self) -> Evaluator:
        """As :meth:`open`, always with all models of a committee: to ask how far they are from each other."""
        return self._opened(self.present_source())

    def _opened(self, source: ModelSource) -> Evaluator:
        execution = self.execution
        device = choose_device() if execution.device is None else parse_device(execution.device)
        with on_device(device):
            model = open_model(source, execution.on(device))
            model = with_graphs(model, execution.cuda_graphs, len(self.placement.types))
            return Evaluator(model, self.units, self.placement, self.periodic, self.skin_nm, self.bias)

    def present_source(self) -> ModelSource:
        """Where the model's file is now, or its files: at its path, or unpacked from the embedded bytes.

        Raises
        ------
        ModelFileError
            If it is gone or has changed and was not embedded, or what was embedded is damaged.
        """
        source, content = self.source, self.content
        if not source.members:
            return _present(source, content if isinstance(content, bytes) else None)
        inside = content if isinstance(content, tuple) else (None,) * len(source.members)
        found = tuple(_present(*pair) for pair in zip(source.members, inside, strict=True))
        return dataclasses.replace(source, members=found)


def _present(source: ModelSource, content: bytes | None) -> ModelSource:
    """Where a file is now."""
    try:
        source.verify()
        return source
    except ModelFileError:
        if content is None:
            raise
    folder, suffix = shelf("embedded"), format_of(source.kind).suffix
    found = find(folder, source.sha256[:32], suffix)
    if found is None and hashlib.sha256(content).hexdigest() != source.sha256:
        raise ModelFileError(
            f"the model that is embedded in the System is damaged: it is not {source.path} with the SHA-256 "
            f"{source.sha256}; copy the System's file again, or rebuild the System",
            source.path,
        ) from None
    path = found[0] if found else keep(folder, source.sha256[:32], suffix, content)
    return dataclasses.replace(source, path=str(path))


@dataclass(frozen=True, eq=False)
class SumSpec:
    """Several potentials on the same particles, evaluated one after the other in one force.

    Parameters
    ----------
    parts : tuple of PotentialSpec
        At least one; all with the same number of particles, periodicity, device and lambda parameter.
    """

    parts: tuple[PotentialSpec, ...]

    @property
    def origin(self) -> str:
        """The model files, for messages."""
        return ", ".join(part.origin for part in self.parts)

    @property
    def n_particles(self) -> int:
        """Number of particles that the force is given."""
        return self.parts[0].n_particles

    @property
    def periodic(self) -> bool:
        """Whether the force uses the box."""
        return self.parts[0].periodic

    @property
    def device(self) -> str | None:
        """Torch device, None to follow the Context."""
        return self.parts[0].execution.device

    @property
    def lambda_name(self) -> str | None:
        """Global parameter that switches the model off."""
        return self.parts[0].lambda_name

    def on_system(self, particles: np.ndarray, n_system: int) -> SumSpec:
        """The same potentials for a force that is given all particles (n_particles,)."""
        return SumSpec(tuple(part.on_system(particles, n_system) for part in self.parts))

    def open(self) -> SumEvaluator:
        """Open every part."""
        return SumEvaluator([part.open() for part in self.parts])


class SumEvaluator:
    """Adds up evaluators on the same particles; called as one."""

    def __init__(self, parts: list[Evaluator]) -> None:
        self._parts = parts

    def __call__(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Energy and forces as :meth:`Evaluator.__call__`."""
        results = [part(positions, box) for part in self._parts]
        return sum(energy for energy, _ in results), np.sum([forces for _, forces in results], axis=0)

    def forget_lists(self) -> None:
        """As :meth:`Evaluator.forget_lists`."""
        for part in self._parts:
            part.forget_lists()


def from_release_0_1(state: dict) -> dict:
    """Fields of a :class:`PotentialSpec` from those that release 0.1 pickled.

    Parameters
    ----------
    state : dict
        ``layout`` and loose ``device``, ``compile``, ``kernels``, ``tables``, ``modifiers`` and ``cuda_graphs``.

    Returns
    -------
    dict
    """
    state = dict(state)
    loose = ("device", "compile", "kernels", "tables", "modifiers", "cuda_graphs")
    given = {name: state.pop(name) for name in loose if name in state}
    return state | {"placement": state.pop("layout"), "execution": Execution(**given)}


def to_plain(spec: PotentialSpec | SumSpec) -> list[dict[str, Any]]:
    """The potentials of a force as plain data, version 1.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.

    Returns
    -------
    list of dict
        One for each part.
    """
    return [
        {
            "source": part.source.as_dict(),
            "units": dataclasses.asdict(part.units),
            "placement": part.placement.as_dict(),
            "periodic": bool(part.periodic),
            "skin_nm": float(part.skin_nm),
            "execution": part.execution.as_dict(),
            "content": list(part.content) if isinstance(part.content, tuple) else part.content,
            "lambda_name": part.lambda_name,
        }
        | ({} if part.bias is None else {"bias": dataclasses.asdict(part.bias)})
        for part in spec.parts
    ]


def from_plain(parts: Sequence[Mapping[str, Any]]) -> PotentialSpec | SumSpec:
    """What :func:`to_plain` made.

    Parameters
    ----------
    parts : sequence of mapping
        Plain data.

    Returns
    -------
    PotentialSpec or SumSpec

    Raises
    ------
    KeyError, TypeError, ValueError
        If the data is not as :func:`to_plain` makes it.
    """
    found = tuple(
        PotentialSpec(
            source=ModelSource.from_dict(part["source"]),
            units=Units(**part["units"]),
            placement=Placement.from_dict(part["placement"]),
            periodic=part["periodic"],
            skin_nm=part["skin_nm"],
            execution=Execution.from_dict(part["execution"]),
            content=tuple(part["content"]) if isinstance(part["content"], list) else part["content"],
            lambda_name=part["lambda_name"],
            bias=CommitteeBias(**part["bias"]) if "bias" in part else None,
        )
        for part in parts
    )
    if not found:
        raise ValueError("there is no potential in it")
    return found[0] if len(found) == 1 else SumSpec(found)
