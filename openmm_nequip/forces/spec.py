"""What a force needs to find, open and run its model again: in a copy, an XML file, another process."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

import numpy as np

from ..cudagraphs import with_graphs
from ..devices import choose_device
from ..layout import Layout
from ..models import ModelFileError, ModelSource, open_model, parse_device
from ..models.cache import cache_dir, write_atomically
from ..models.source import AOTINDUCTOR, CHECKPOINT, PACKAGE, TORCHSCRIPT
from ..units import Units
from ..wrapper import Evaluator

_SUFFIX = {CHECKPOINT: ".ckpt", PACKAGE: ".nequip.zip", TORCHSCRIPT: ".nequip.pth", AOTINDUCTOR: ".nequip.pt2"}


@dataclass(frozen=True, eq=False)
class PotentialSpec:
    """A potential on some particles, without the model's weights in memory.

    Parameters
    ----------
    source : ModelSource
        The model file, by path and SHA-256.
    units : Units
        The model's units.
    layout : Layout
        Which of the force's particles are which nodes of the graph.
    periodic : bool
        Whether the force uses the box.
    skin_nm : float
        Verlet skin in nm.
    device : str, optional
        Torch device; None follows the Context.
    compile : bool, optional
        As in :func:`openmm_nequip.load_model`.
    kernels : str
        As in :func:`openmm_nequip.load_model`.
    tables : bool
        As in :func:`openmm_nequip.load_model`.
    content : bytes, optional
        The model file itself, where it was embedded.
    lambda_name : str, optional
        Global parameter; where it is exactly 0 the model is not evaluated.
    cuda_graphs : bool or str
        As in :func:`openmm_nequip.cudagraphs.with_graphs`.
    modifiers : tuple of str, optional
        As in :func:`openmm_nequip.load_model`.
    """

    source: ModelSource
    units: Units
    layout: Layout
    periodic: bool
    skin_nm: float
    device: str | None = None
    compile: bool | None = None
    kernels: str = "auto"
    tables: bool = True
    content: bytes | None = None
    lambda_name: str | None = None
    cuda_graphs: bool | str = "auto"
    modifiers: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        """The model file, for messages."""
        return self.source.path

    @property
    def n_particles(self) -> int:
        """Number of particles that the force is given."""
        return self.layout.n_particles

    def on_system(self, particles: np.ndarray, n_system: int) -> PotentialSpec:
        """The same potential for a force that is given all particles; see :meth:`Layout.on_system`."""
        return dataclasses.replace(self, layout=self.layout.on_system(particles, n_system))

    def embed(self) -> PotentialSpec:
        """The same potential, carrying the bytes of its model file."""
        return dataclasses.replace(self, content=self.source.read())

    def open(self) -> Evaluator:
        """Load the model (once per process, file and device) and make an evaluator of its own for this potential.

        Raises
        ------
        ModelFileError
            If the file is gone or has changed and was not embedded.
        CudaGraphError
            If CUDA graphs were asked for and the model runs on a CPU.
        """
        device = choose_device() if self.device is None else parse_device(self.device)
        model = open_model(self._source(), device, self.compile, self.kernels, self.tables, self.modifiers)
        model = with_graphs(model, self.cuda_graphs, len(self.layout.types))
        return Evaluator(model, self.units, self.layout, self.periodic, self.skin_nm)

    def _source(self) -> ModelSource:
        """Where the model's file is now: at its path, or unpacked from the embedded bytes."""
        if self.content is None:
            self.source.verify()
            return self.source
        try:
            self.source.verify()
            return self.source
        except ModelFileError:
            folder = cache_dir() / "embedded"
            folder.mkdir(exist_ok=True)
            path = folder / (self.source.sha256 + _SUFFIX[self.source.kind])
            if not path.exists():
                write_atomically(path, self.content)
            unpacked = dataclasses.replace(self.source, path=str(path))
            unpacked.verify()
            return unpacked


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
        return self.parts[0].device

    @property
    def lambda_name(self) -> str | None:
        """Global parameter that switches the model off."""
        return self.parts[0].lambda_name

    def on_system(self, particles: np.ndarray, n_system: int) -> SumSpec:
        """The same potentials for a force that is given all particles."""
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


class LazyEvaluator:
    """An evaluator that is opened at its first use; pickles as its specification alone.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        What to open.
    """

    def __init__(self, spec: PotentialSpec | SumSpec) -> None:
        self.spec = spec
        self._evaluator: Evaluator | SumEvaluator | None = None
        self._lock = threading.Lock()

    def get(self) -> Evaluator | SumEvaluator:
        """The evaluator, opened now if this is the first call in this process."""
        if self._evaluator is None:
            with self._lock:
                if self._evaluator is None:
                    self._evaluator = self.spec.open()
        return self._evaluator

    def __getstate__(self) -> PotentialSpec | SumSpec:
        return self.spec

    def __setstate__(self, spec: PotentialSpec | SumSpec) -> None:
        self.__init__(spec)  # type: ignore[misc]
