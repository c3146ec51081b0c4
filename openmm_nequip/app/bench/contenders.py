"""Who is timed: this package in its variants, on each platform and backend, and the bare model that limits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openmm
import openmm.unit as unit
from openmmml import MLPotential

from ...choices import NATIVE, POTENTIAL_NAME
from ...errors import UnavailableError
from ...evaluate.cuda_graphs import with_graphs
from ...models import Execution, Model, ModelSource, format_of, open_model, read_info
from ...models.format import TORCHSCRIPT
from ...topology import declare_molecules
from ...units import Units
from .bench_settings import VARIANTS
from .bench_systems import BenchSystem
from .runners import FixedGraph, MDRunner, Runner

#: Roles: the bare model, this package, another program.
LIMIT, OURS, PEER = "limit", "openmm-nequip", "peer"


@dataclass(frozen=True)
class Subject:
    """The model that everyone runs.

    Parameters
    ----------
    source : ModelSource
        The file.
    units : Units
        Its units.
    threads : int
        CPU threads.
    """

    source: ModelSource
    units: Units
    threads: int

    def model_in_steps(self, variant: str, device: str, n_atoms: int) -> Model:
        """The model as an MD step runs it: on CUDA devices from a graph, where the package does so.

        Parameters
        ----------
        variant, device
            As in :meth:`model`.
        n_atoms : int
            Number of atoms.

        Returns
        -------
        Model
        """
        return with_graphs(self.model(variant, device), "auto", n_atoms)

    def model(self, variant: str, device: str) -> Model:
        """The model, run in one of :data:`VARIANTS`.

        Parameters
        ----------
        variant : str
            How it runs.
        device : str
            Torch device.

        Returns
        -------
        Model

        Raises
        ------
        UnavailableError
            If the file is compiled already and is to be run eagerly.
        CompileError, KernelsError, ModelFileError, ImportError, ValueError
            As :func:`openmm_nequip.load_model`.
        """
        if variant == "eager" and not format_of(self.source.kind).can_compile:
            raise UnavailableError(
                f"it is a {self.source.kind} file, compiled already; there is nothing to run eagerly"
            )
        # Which values they are does not change the time.
        samples: Any = read_info(self.source).sample_inputs
        return open_model(self.source, Execution(device, inputs=samples, **VARIANTS[variant]))


@dataclass(frozen=True, eq=False)
class Contender:
    """Someone who runs the model.

    Parameters
    ----------
    name : str
        Unique.
    role : str
        :data:`LIMIT`, :data:`OURS` or :data:`PEER`.
    description : str
        What exactly runs.
    prepare : callable
        Makes the Runner for a system; raises what it likes where that cannot be done.
    variant, platform, backend, device : str, optional
        What of this package is used; the platform and device for peers too.
    """

    name: str
    role: str
    description: str
    prepare: Callable[[BenchSystem], Runner]
    variant: str | None = None
    platform: str | None = None
    backend: str | None = None
    device: str = "cpu"


def device_of(platform: str) -> str:
    """Torch device that goes with an OpenMM platform."""
    return "cuda" if platform in ("CUDA", "HIP") else "cpu"


def how_it_runs(subject: Subject, variant: str) -> str:
    """In words, what a variant makes of a file.

    Parameters
    ----------
    subject : Subject
        The model.
    variant : str
        How the model runs, of :data:`openmm_nequip.app.bench.bench_settings.VARIANTS`.

    Returns
    -------
    str
    """
    if variant == "fused":
        return "fused kernels"
    if variant == "eager":
        return "eager"
    return "TorchScript" if subject.source.kind == TORCHSCRIPT else "AOTInductor"


def bare(subject: Subject, variant: str, device: str) -> Contender:
    """The model on a fixed graph.

    Parameters
    ----------
    subject : Subject
        The model.
    variant : str
        How the model runs, of :data:`openmm_nequip.app.bench.bench_settings.VARIANTS`.
    device : str
        Torch device.

    Returns
    -------
    Contender
    """

    def prepare(bench: BenchSystem) -> Runner:
        return FixedGraph(bench, subject.model_in_steps(variant, device, bench.n_atoms), subject.units)

    how = how_it_runs(subject, variant)
    where = "" if device == "cpu" else f", {device}"
    return Contender(
        f"bare model, {how}{where}", LIMIT, "the model on a fixed graph", prepare, variant=variant, device=device
    )


def ours(subject: Subject, variant: str, platform: str, backend: str) -> Contender:
    """This package, as ``MLPotential("nequip", ...)`` sets it up.

    Parameters
    ----------
    subject : Subject
        The model.
    variant : str
        How the model runs, of :data:`openmm_nequip.app.bench.bench_settings.VARIANTS`.
    platform : str
        OpenMM platform.
    backend : str
        OpenMM force that calls the model.

    Returns
    -------
    Contender
    """
    if backend == NATIVE:
        return own_force(subject, platform)
    device = device_of(platform)

    def prepare(bench: BenchSystem) -> Runner:
        subject.model(variant, device)  # a model that cannot be had is said in the model's own words
        potential = MLPotential(POTENTIAL_NAME, modelPath=subject.source.path, trusted=subject.source.sha256)
        # A TorchForce follows its Context and refuses to be told.
        options = dict(VARIANTS[variant]) if backend == "TorchForce" else VARIANTS[variant] | {"device": device}
        system = potential.createSystem(
            bench.topology,
            removeCMMotion=False,
            backend=backend,
            lengthScale=subject.units.length,
            energyScale=subject.units.energy,
            modelInputs=read_info(subject.source).sample_inputs,
            **options,
        )
        return MDRunner(bench, system, platform, subject.threads)

    how = how_it_runs(subject, variant)
    shown = "" if backend == "PythonForce" else f", {backend}"
    return Contender(
        f"openmm-nequip, {how}, {platform}{shown}",
        OURS,
        f"MLPotential('nequip'), {backend}, LangevinMiddleIntegrator",
        prepare,
        variant=variant,
        platform=platform,
        backend=backend,
        device=device,
    )


def own_force(subject: Subject, platform: str) -> Contender:
    """This package's own force, which has a way of its own to run a model: no variant, no device of torch's.

    Parameters
    ----------
    subject : Subject
        The model.
    platform : str
        OpenMM platform.

    Returns
    -------
    Contender
    """

    def prepare(bench: BenchSystem) -> Runner:
        potential = MLPotential(POTENTIAL_NAME, modelPath=subject.source.path, trusted=subject.source.sha256)
        system = potential.createSystem(
            bench.topology,
            removeCMMotion=False,
            backend=NATIVE,
            lengthScale=subject.units.length,
            energyScale=subject.units.energy,
            modelInputs=read_info(subject.source).sample_inputs,
        )
        return MDRunner(bench, system, platform, subject.threads)

    return Contender(
        f"openmm-nequip, own force, {platform}",
        OURS,
        f"MLPotential('nequip'), {NATIVE}, LangevinMiddleIntegrator",
        prepare,
        platform=platform,
        backend=NATIVE,
        device=device_of(platform),
    )


def empty(subject: Subject, platform: str) -> Callable[[BenchSystem], Runner]:
    """What OpenMM does in a step without the model: the same particles and integrator, forces of zero.

    Parameters
    ----------
    subject : Subject
        The model.
    platform : str
        OpenMM platform.

    Returns
    -------
    callable
        Gives the Runner of a system.
    """

    def prepare(bench: BenchSystem) -> Runner:
        system = bare_system(bench)
        declare_molecules(system, bench.topology, None, bench.box_nm is not None, 0)
        return MDRunner(bench, system, platform, subject.threads)

    return prepare


def bare_system(bench: BenchSystem) -> openmm.System:
    """A System with the masses and the box, and no forces."""
    system = openmm.System()
    for mass in bench.masses.tolist():
        system.addParticle(mass * unit.dalton)
    if bench.box_nm is not None:
        system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*row) for row in bench.box_nm.tolist()])
    return system
