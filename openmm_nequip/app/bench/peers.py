"""Other programs that run the same file: OpenMM-ML's own ``nequip`` and ASE driven by NequIPCalculator."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from ...errors import CompileError, UnavailableError
from ...graph.fields import INPUT_FIELDS
from ...models import ModelSource, format_of
from ...models.compiling.aot import cached_package
from ...models.compiling.targets import OUTPUT_FIELDS
from ...models.eager import named_for_nequip, require_nequip
from ...models.format import AOTINDUCTOR
from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...upstream.nequip_calculator import calculator_on_package, eager_calculator
from ...upstream.nequip_state import default_dtype, preserved_global_state
from .bench_systems import BenchSystem
from .contenders import PEER, Contender, Subject, bare_system, device_of
from .runners import HOTTEST_K, STEP_PS, MDRunner, Result, Runner

FS_PER_PS = 1000.0


def installed(distribution: str) -> str:
    """Version of a distribution, "(not installed)" if there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"


def openmm_ml(subject: Subject, platform: str) -> Contender:
    """OpenMM-ML's own ``nequip``: its class is still there under our registration of the name.

    Parameters
    ----------
    subject : Subject
        The model.
    platform : str
        OpenMM platform.

    Returns
    -------
    Contender
        Raises UnavailableError where it is prepared with a file that OpenMM-ML does not read.
    """
    device = device_of(platform)

    def prepare(bench: BenchSystem) -> Runner:
        if not format_of(subject.source.kind).can_compile:
            raise UnavailableError(
                f"it reads .ckpt and .nequip.zip files only, and this is a {subject.source.kind} file"
            )
        from openmmml.models.nequippotential import NequIPPotentialImplFactory

        system = bare_system(bench)
        with preserved_global_state(), named_for_nequip(subject.source) as path:
            implementation = NequIPPotentialImplFactory().createImpl(
                "nequip", modelPath=path, lengthScale=subject.units.length, energyScale=subject.units.energy
            )
            implementation.addForces(bench.topology, system, None, 0, device=device)
        # It leaves nequip's default dtype behind and needs it: it gets it for its own calls only.
        return MDRunner(bench, system, platform, subject.threads, lambda: default_dtype(torch.float64))

    return Contender(
        f"openmm-ml {installed('openmmml')} nequip, {platform}",
        PEER,
        "openmmml.models.nequippotential (eager), PythonForce, LangevinMiddleIntegrator",
        prepare,
        platform=platform,
        device=device,
    )


def ase_calculator(subject: Subject, device: str, compiled: bool) -> Contender:
    """NequIPCalculator with ASE's velocity Verlet: on the compiled file where there is or may be one, else eager.

    Parameters
    ----------
    subject : Subject
        The model.
    device : str
        Torch device.
    compiled : bool
        Whether a checkpoint or package is compiled for it.

    Returns
    -------
    Contender
        Raises UnavailableError where it is prepared with a model whose unit of length is not ASE's.
    """
    how, load = _loader(subject.source, device, compiled)

    def prepare(bench: BenchSystem) -> Runner:
        if abs(subject.units.length - NM_PER_ANGSTROM) > 1e-12 * NM_PER_ANGSTROM:
            raise UnavailableError("ASE hands positions in angstrom to the model, whose unit of length is another")
        require_nequip()
        with preserved_global_state():
            calculator = load(energy_units_to_eV=subject.units.energy / KJ_PER_MOL_PER_EV)
        return ASERunner(bench, calculator)

    return Contender(
        f"NequIPCalculator ({how}), ASE",
        PEER,
        f"nequip {installed('nequip')} NequIPCalculator, {how}; ASE {installed('ase')} VelocityVerlet",
        prepare,
        device=device,
    )


def _loader(source: ModelSource, device: str, may_compile: bool) -> tuple[str, Callable[..., Any]]:
    """How NequIPCalculator reads a file, in words, and what does it."""

    def compiled(energy_units_to_eV: float) -> Any:
        from nequip.integrations.ase import NequIPCalculator

        return NequIPCalculator.from_compiled_model(
            source.path, device=device, chemical_species_to_atom_type_map=True, energy_units_to_eV=energy_units_to_eV
        )

    def on_package(energy_units_to_eV: float) -> Any:
        return calculator_on_package(str(package), device, INPUT_FIELDS, OUTPUT_FIELDS, energy_units_to_eV)

    def eager(energy_units_to_eV: float) -> Any:
        with named_for_nequip(source) as path:
            return eager_calculator(path, device, energy_units_to_eV)

    if not format_of(source.kind).can_compile:
        return "AOTInductor" if source.kind == AOTINDUCTOR else "TorchScript", compiled
    if not may_compile:
        return "eager", eager
    try:
        package = cached_package(source, torch.device(device))
    except CompileError:
        return "eager: not compiled here", eager
    return "AOTInductor", on_package


class ASERunner(Runner):
    """ASE's velocity Verlet with steps of 0.5 fs.

    Parameters
    ----------
    bench : BenchSystem
        Positions, box and velocities to start from.
    calculator : ase.calculators.calculator.Calculator
        The model.
    """

    def __init__(self, bench: BenchSystem, calculator: Any) -> None:
        from ase import Atoms, units
        from ase.md.verlet import VelocityVerlet

        self._bench = bench
        # One ASE velocity in nm/ps.
        self._velocity_unit = NM_PER_ANGSTROM * FS_PER_PS * units.fs
        self._atoms = Atoms(bench.symbols, bench.positions_nm / NM_PER_ANGSTROM, masses=bench.masses)
        if bench.box_nm is not None:
            self._atoms.set_cell(bench.box_nm / NM_PER_ANGSTROM)
            self._atoms.pbc = True
        self._atoms.calc = calculator
        self._dynamics = VelocityVerlet(self._atoms, timestep=STEP_PS * FS_PER_PS * units.fs)
        self.restart()

    def evaluate(self) -> Result:
        """Energy and forces at the start."""
        self.restart()
        with default_dtype(torch.float64):
            energy, forces = self._atoms.get_potential_energy(), self._atoms.get_forces()
        return Result(float(energy) * KJ_PER_MOL_PER_EV, np.array(forces) * KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM)

    def stress(self) -> np.ndarray:
        """Stress (3, 3) at the start in eV/Å³, positive under tension."""
        self.restart()
        with default_dtype(torch.float64):
            return np.array(self._atoms.get_stress(voigt=False))

    def advance(self, count: int) -> None:
        """MD steps; nequip computes with float64 as torch's default."""
        with default_dtype(torch.float64):
            self._dynamics.run(count)

    def is_lost(self) -> bool:
        """Whether the atoms are hotter than :data:`HOTTEST_K`."""
        return not self._bench.temperature(self._atoms.get_velocities() * self._velocity_unit) < HOTTEST_K

    def restart(self) -> None:
        """Back to the first positions and velocities."""
        self._atoms.set_positions(self._bench.positions_nm / NM_PER_ANGSTROM)
        self._atoms.set_velocities(self._bench.velocities / self._velocity_unit)


def make_peers(subject: Subject, wanted: tuple[str, ...], platform: str, compiled: bool) -> list[Contender]:
    """The peers of the given names (:data:`openmm_nequip.app.bench.bench_settings.PEERS`) on one platform.

    Parameters
    ----------
    subject : Subject
        The model.
    wanted : tuple of str
        Names.
    platform : str
        OpenMM platform; its device is that of all peers.
    compiled : bool
        Whether NequIPCalculator gets this package's compiled form of a checkpoint or package, made now if need be.
    """
    makers: dict[str, Callable[[], Contender]] = {
        "openmm-ml": lambda: openmm_ml(subject, platform),
        "ase": lambda: ase_calculator(subject, device_of(platform), compiled),
    }
    return [makers[name]() for name in wanted]
