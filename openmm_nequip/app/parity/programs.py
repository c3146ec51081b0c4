"""Everything installed that can evaluate a model file on a structure."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from ...choices import BACKENDS
from ...errors import OpenMMNequIPError, UnavailableError
from ...forces.native.gpu_devices import platforms_with_gpu
from ...models import can_fuse, format_of
from ...units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...upstream.nequip_calculator import torch_sim_model
from ...upstream.nequip_state import default_dtype, preserved_global_state
from ..bench.bench_systems import BenchSystem
from ..bench.contenders import Contender, Subject, how_it_runs, ours
from ..bench.peers import ASERunner, make_peers
from ..platforms import sensible_platforms
from ..single_point import evaluate
from ..structures.structure_files import Structure
from .answers import ProgramAnswer
from .published import published

_Evaluation = Callable[[], ProgramAnswer]
_BAR_PER_EV_PER_ANGSTROM3 = KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM**3 * BAR_PER_KJ_PER_MOL_PER_NM3


def programs(
    subject: Subject, structure: Structure, types: Any, compiled: bool
) -> Iterator[tuple[str, _Evaluation]]:
    """Names of all programs and what asks them, the measure first.

    Parameters
    ----------
    subject : Subject
        The model.
    structure : Structure
        The atoms; whole box or none.
    types : sequence, optional
        Model type of each atom.
    compiled : bool
        Whether a checkpoint or package is compiled with AOTInductor for those that run it so.

    Yields
    ------
    tuple of str and callable
    """
    row = format_of(subject.source.kind)
    variants = ["eager"] if row.can_compile else ["none"]
    variants += (["none"] if compiled and row.can_compile else []) + (["fused"] if can_fuse(subject.source) else [])
    for variant in variants:
        yield f"model alone, {how_it_runs(subject, variant)}", _alone(subject, variant, structure, types)
    bench = BenchSystem(structure.path, structure.topology, structure.positions_nm, structure.box_nm)
    best = "fused" if can_fuse(subject.source) else "none" if compiled or not row.can_compile else "eager"
    with_gpu = platforms_with_gpu()
    for platform in sensible_platforms():
        for backend in BACKENDS[1:]:
            if backend == "Native" and platform not in with_gpu:
                continue  # a PythonForce by another way
            # A TorchForce runs scripts, not kernels that are called through Python.
            contender = ours(subject, variants[0] if backend == "TorchForce" else best, platform, backend)
            shown = ", PythonForce" if backend == "PythonForce" else ""
            yield contender.name + shown, _asked(contender, bench)
    for name in ("openmm-ml", "ase"):
        for peer in make_peers(subject, (name,), "Reference", compiled):
            yield peer.name, _asked(peer, bench)
    if find_spec("torch_sim") is not None:
        yield "torch-sim", _torch_sim(subject, bench)
    known = published(subject.source.sha256, structure)
    if known is not None:
        yield known.name, lambda: known


def _alone(subject: Subject, variant: str, structure: Structure, types: Any) -> _Evaluation:
    def ask() -> ProgramAnswer:
        model = subject.model(variant, "cpu")
        found = evaluate(model, structure, subject.units, types)
        return ProgramAnswer("", found.energy, found.forces, found.stress)

    return ask


def _asked(contender: Contender, bench: BenchSystem) -> _Evaluation:
    def ask() -> ProgramAnswer:
        runner = contender.prepare(bench)
        result = runner.evaluate()
        if result is None:
            raise UnavailableError("it gives no energy")
        stress = _ase_stress(runner) if isinstance(runner, ASERunner) and bench.box_nm is not None else None
        return ProgramAnswer("", result.energy, result.forces, stress)

    return ask


def _ase_stress(runner: ASERunner) -> np.ndarray:
    return runner.stress() * _BAR_PER_EV_PER_ANGSTROM3


def _torch_sim(subject: Subject, bench: BenchSystem) -> _Evaluation:
    """nequip's own model class for torch-sim, on a checkpoint or package."""

    def ask() -> ProgramAnswer:
        import torch_sim
        from ase import Atoms

        from ...models.eager import named_for_nequip

        if not format_of(subject.source.kind).can_compile:
            raise UnavailableError("it is given checkpoints and packages here")
        atoms = Atoms(bench.symbols, bench.positions_nm / NM_PER_ANGSTROM)
        if bench.box_nm is not None:
            atoms.set_cell(bench.box_nm / NM_PER_ANGSTROM)
            atoms.pbc = True
        with preserved_global_state(), default_dtype(torch.float64), named_for_nequip(subject.source) as path:
            model = torch_sim_model(path, "cpu")
            state = torch_sim.initialize_state([atoms], device=torch.device("cpu"), dtype=torch.float64)
            out = model(state)
        energy = float(out["energy"].sum()) * subject.units.energy
        forces = out["forces"].detach().double().numpy() * subject.units.force
        stress = out["stress"][0].detach().double().numpy() * subject.units.stress_bar if "stress" in out else None
        return ProgramAnswer("", energy, forces, None if bench.box_nm is None else stress)

    return ask


def ask(name: str, evaluation: _Evaluation) -> ProgramAnswer:
    """A program's answer, or why it gives none.

    Parameters
    ----------
    name : str
        Of the program.
    evaluation : callable
        As :func:`programs` gives it.

    Returns
    -------
    ProgramAnswer
    """
    try:
        found = evaluation()
    except Exception as error:  # another program may raise anything: that is its row of the table
        lines = str(error).splitlines() or [type(error).__name__]
        kind = "" if isinstance(error, (OpenMMNequIPError, ValueError)) else f"{type(error).__name__}: "
        return ProgramAnswer(name, reason=(kind + lines[0])[:200])
    finally:
        with contextlib.suppress(Exception):
            gc.collect()
    return ProgramAnswer(name, found.energy, found.forces, found.stress)
