"""What the first ten minutes on a GPU run, in the order of what matters: one JSON, one table, the goals as verdicts.

    python benchmarks/gpu_slot.py [--output gpu-slot] [--model FILE] [--minutes 10] [--emulator] [--again PART ...]
    python benchmarks/gpu_slot.py --prepare 90     # before, without a GPU: machine code for sm_90, beside the output

Every part is written down as soon as it is done; a second call goes on with what is missing. A part that fails is
written down with its error and does not stop the others; none begins after the minutes that there are. With
``--emulator`` the same parts run on a CPU, small: kernels by the emulator, OpenMM on a platform that is there.

| parts     | what                                                                                         |
|-----------|----------------------------------------------------------------------------------------------|
| kernels   | by warps an atom: right at 96 to 98,304 atoms, time of a step and of each kernel                |
| openmm    | by atoms, in OpenMM: our force, PythonForce with graphs, openmm-ml, the bare AOTInductor package |
| large     | our force at 98,304 atoms in OpenMM                                                            |
| foundation | a model of foundation size (l_max 3, 128 features) beyond 100,000 atoms                         |
| sanitizer | compute-sanitizer's racecheck and memcheck on a step of 96 atoms                                |
| tests     | the tests marked ``gpu``: recordings that fail and are made anew, contexts, lists                |
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_compilers import machine_code
from gpu_dialect import cuda_text
from gpu_emulator import Emulator
from gpu_launcher import CudaLauncher
from gpu_models import ROOT, SHIPPED, kernels_of, module_of
from gpu_steps import Atoms, GpuStep
from gpu_verdicts import EMULATED, SIMPLE, SIMPLE_FILE, SIZES, table, verdicts

from openmm_nequip.app.bench.bench_run import run_bench
from openmm_nequip.app.bench.bench_settings import BenchSettings
from openmm_nequip.app.bench.bench_systems import build_system
from openmm_nequip.cxx import find_compiler
from openmm_nequip.graph.fields import ATOMIC_ENERGY, FORCES, model_inputs
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.gpu.gpu_generate import KernelFacts
from openmm_nequip.models import locate, read_info
from openmm_nequip.upstream.nequip_state import default_dtype

#: A model with random weights (l_max 1, 32 features, 4 layers) beside the repository; else the shipped one.
WATER = ROOT.parent / "shared" / "data" / "models" / SIMPLE_FILE
#: eV/Å for forces of tens of eV/Å in float32, and in float64 with OpenMM's buffer of forces.
FORCE = {"float32": 1e-3, "float64": 1e-7}
#: Å between the atoms of the random structures, and their number in a base box that is repeated.
_SPACING, _BASE = 2.3, 96
REPEATS = ((1, 1, 1), (2, 2, 2), (4, 4, 2), (8, 8, 4), (16, 8, 8))
#: Of OpenMM's.
PRECISION = "mixed"
FOUNDATION = "l3 f128 L4"
WARPS = (1, 2, 4, 8)
#: Seconds that the samples of one size in OpenMM may take, and that a run of the sanitizer may.
_BUDGET_S, _SANITIZER_S = 15.0, 45.0


class Slot:
    """A run of the parts.

    Parameters
    ----------
    output : pathlib.Path
        Stem of the files ``.json`` and ``.md``.
    model : pathlib.Path
        Model for what runs inside OpenMM.
    emulated : bool
        Whether a CPU stands in for the GPU.
    minutes : float
        How long parts may begin.
    """

    def __init__(self, output: Path, model: Path, emulated: bool, minutes: float) -> None:
        self.model, self.emulated = model, emulated
        self._end = time.monotonic() + 60 * minutes
        self.code = code_folder(output)
        self._json, self._table = output.with_suffix(".json"), output.with_suffix(".md")
        self.document: dict[str, Any] = {"parts": {}}
        if self._json.exists():
            self.document = json.loads(self._json.read_text(encoding="utf-8"))
        where = f"{EMULATED}, on a CPU" if emulated else torch.cuda.get_device_name()
        facts = {"device": where, "torch": torch.__version__, "model": model.name}
        for name, value in facts.items():
            if self.document.setdefault(name, value) != value:
                sys.exit(f"{self._json} is of {name} {self.document[name]!r}, not {value!r}; give another --output")

    def run(self, again: list[str]) -> None:
        """All parts that are not done, or are wanted again."""
        for name, part in parts(self.emulated).items():
            if name in self.document["parts"] and "error" not in self.document["parts"][name] and name not in again:
                print(f"{name}: done before")
                continue
            if self.left() <= 0:
                print(f"{name}: no time left; the same command goes on with it")
                continue
            start = time.monotonic()
            try:
                found = part(self)
            except Exception as error:
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"}
            found |= {"seconds": round(time.monotonic() - start, 1), "date": datetime.now(timezone.utc).isoformat()}
            self.document["parts"][name] = found
            self.document["verdicts"] = verdicts(self.document)
            self._json.write_text(json.dumps(self.document, indent=1) + "\n", encoding="utf-8")
            self._table.write_text(table(self.document), encoding="utf-8")
            print(f"{name}: {found['seconds']} s{': ' + found['error'] if 'error' in found else ''}", flush=True)

    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    def launcher(self, fused: Any) -> Any:
        """What launches the kernels of a model here."""
        teams = KernelFacts.of(fused.source).atoms
        if not self.emulated:
            return CudaLauncher(fused.source, PRECISION, teams, self.code)
        with tempfile.TemporaryDirectory() as folder:
            return Emulator(fused.source, PRECISION, teams, Path(folder), find_compiler()[0])


def code_folder(output: Path) -> Path:
    """Where machine code is kept, beside the output."""
    return output.with_name(f"{output.name}-code")


def prepare(output: Path, architecture: int) -> None:
    """Compile what the parts launch by themselves for a card that is not here; OpenMM compiles its own."""
    for name, warps in [*((SIMPLE, warps) for warps in WARPS), (FOUNDATION, 1)]:
        source = kernels_of(name, warps).source
        start = time.monotonic()
        machine_code(cuda_text(source, PRECISION, KernelFacts.of(source).atoms), architecture, code_folder(output))
        print(f"{name}, {warps} warps an atom: {time.monotonic() - start:.0f} s", flush=True)


def base_box(n_types: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rattled lattice: positions (n, 3), types and box in Å."""
    rng, counts = np.random.default_rng(4), np.array([6, 4, 4])
    ticks = np.stack(np.meshgrid(*(np.arange(k) for k in counts), indexing="ij"), -1).reshape(-1, 3)
    return (
        (ticks + 0.5) * _SPACING + rng.normal(0, 0.1, ticks.shape),
        rng.integers(0, n_types, _BASE),
        np.diag(counts * _SPACING),
    )


def repeated(box: tuple[np.ndarray, np.ndarray, np.ndarray], times: tuple[int, int, int]) -> Atoms:
    """So many boxes each way."""
    positions, types, cell = box
    offsets = np.stack(np.meshgrid(*(np.arange(k) for k in times), indexing="ij"), -1).reshape(-1, 3) @ cell
    return Atoms(
        (positions[None] + offsets[:, None]).reshape(-1, 3),
        np.tile(types, len(offsets)),
        cell * np.array(times)[:, None],
    )


def own_forces(name: str, box: tuple[np.ndarray, np.ndarray, np.ndarray], cutoff: float) -> np.ndarray:
    """Forces of the model itself, by nequip on the CPU."""
    positions, types, cell = box
    edges, shifts = NeighborList(cutoff, 0.0, True)(positions, cell)
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in (positions, types, edges, shifts, cell)]
    with default_dtype(torch.float64), torch.enable_grad():
        out = module_of(name)(model_inputs(*tensors))
    if ATOMIC_ENERGY not in out:
        raise RuntimeError("the model gives no energies of atoms")
    return out[FORCES].detach().double().numpy()


def measure_kernels(slot: Slot, warps: int) -> dict[str, Any]:
    """Right and how fast, by size."""
    rows, fused = [], kernels_of(SIMPLE, warps)
    facts = KernelFacts.of(fused.source)
    box = base_box(facts.n_types)
    forces = own_forces(SIMPLE, box, facts.cutoff)
    launcher = slot.launcher(fused)
    for times in REPEATS[:1] if slot.emulated else REPEATS:
        atoms = repeated(box, times)
        n = len(atoms.types)
        step = GpuStep(launcher, fused, atoms, PRECISION)
        found = step.run()[1]
        error = float(np.abs(found - np.tile(forces, (n // _BASE, 1))).max())
        row = {"warps": warps, "atoms": n, "force_error": error, "right": error < FORCE[facts.dtype]}
        row |= {"edges_per_atom": step.edges[1] / n, "repeated_steps": step.overflows}
        if not slot.emulated:
            row["us_per_step"] = launcher.microseconds(step.begin)
            row["us_per_atom"] = row["us_per_step"] / n
            if times in (REPEATS[1], REPEATS[3]):
                step.forget_list()  # so that the kernels of the list have work
                row["kernels_us"] = {
                    one[0]: launcher.microseconds(functools.partial(launcher.launch, *one)) for one in step.launches()
                }
        rows.append(row)
    return {"model": SIMPLE, "precision": PRECISION, "rows": rows}


def check_races(slot: Slot) -> dict[str, Any]:
    """NVIDIA's sanitizer on a step; the emulator has its own barriers and orders."""
    if slot.emulated:
        fused = kernels_of(SIMPLE)
        box = base_box(KernelFacts.of(fused.source).n_types)
        launcher, found = slot.launcher(fused), []
        for seed in (1, 900):
            launcher.seed = seed
            found.append(GpuStep(launcher, fused, repeated(box, (1, 1, 1)), PRECISION).run())
        same = found[0][0] == found[1][0] and bool(np.array_equal(found[0][1], found[1][1]))
        return {"two orders of threads": "the same bits" if same else "other bits"}
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"left_out": "compute-sanitizer is not there"}
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from gpu_slot import *\nfused = kernels_of(SIMPLE)\n"
        "box = base_box(KernelFacts.of(fused.source).n_types)\n"
        f"atoms, folder = KernelFacts.of(fused.source).atoms, Path({str(slot.code)!r})\n"
        "launcher = CudaLauncher(fused.source, PRECISION, atoms, folder)\n"
        "GpuStep(launcher, fused, repeated(box, (1, 1, 1)), PRECISION).run()\n"
    )
    found = {}
    for kind in ("racecheck", "memcheck"):
        command = [tool, "--tool", kind, sys.executable, "-c", code]
        limit = max(5.0, min(_SANITIZER_S, slot.left()))
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        found[kind] = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return found


def measure_in_openmm(slot: Slot, size: int) -> dict[str, Any]:
    """All that can run the model, through the package's own benchmark."""
    folder = tempfile.mkdtemp()
    more: dict[str, Any] = {"platforms": ("CUDA",), "budget": _BUDGET_S}
    if slot.emulated:
        more = {"platforms": ("Reference",), "budget": 10.0, "repeats": 3, "peers": ()}
        more |= {"kernels": ("fused",), "backends": ("Native", "PythonForce")}
    try:
        settings = BenchSettings(str(slot.model), sizes=(size,), output=str(Path(folder) / "bench"), **more)
        return {"bench": run_bench(settings).document}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _steps_in_openmm(slot: Slot, size: int, model: Path) -> dict[str, Any]:
    """Time of a step of the native force in OpenMM."""
    import openmm
    import openmm.unit as unit
    from openmmml import MLPotential

    bench = build_system(read_info(locate(str(model))).type_names, size)
    potential = MLPotential("nequip", modelPath=str(model))
    system = potential.createSystem(bench.topology, backend="Native")
    platform = openmm.Platform.getPlatformByName("Reference" if slot.emulated else "CUDA")
    properties = {} if slot.emulated else {"Precision": "mixed"}
    integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond)
    context = openmm.Context(system, integrator, platform, properties)
    context.setPositions(bench.positions_nm)
    context.setVelocitiesToTemperature(300, 1)
    count = 3 if slot.emulated else 100
    for _ in range(2):
        start = time.perf_counter()
        integrator.step(count)
        context.getState(getEnergy=True)
        seconds = (time.perf_counter() - start) / count
    return {"atoms": bench.n_atoms, "ms_per_step": seconds * 1e3, "us_per_atom": seconds * 1e6 / bench.n_atoms}


def measure_large(slot: Slot) -> dict[str, Any]:
    """A hundred thousand atoms."""
    return _steps_in_openmm(slot, 22 if slot.emulated else 98_304, slot.model)


def measure_foundation(slot: Slot) -> dict[str, Any]:
    """The kernels of a large model, and the memory that they take."""
    name = SIMPLE if slot.emulated else FOUNDATION
    fused = kernels_of(name)
    facts = KernelFacts.of(fused.source)
    box = base_box(facts.n_types)
    atoms = repeated(box, (1, 1, 1) if slot.emulated else (16, 9, 8))
    launcher = slot.launcher(fused)
    step = GpuStep(launcher, fused, atoms, PRECISION)
    found = step.run()[1]
    error = float(np.abs(found - np.tile(own_forces(name, box, facts.cutoff), (len(atoms.types) // _BASE, 1))).max())
    row: dict[str, Any] = {
        "model": name,
        "atoms": len(atoms.types),
        "force_error": error,
        "right": error < FORCE[facts.dtype],
    }
    if not slot.emulated:
        row["us_per_atom"] = launcher.microseconds(step.begin, 3) / len(atoms.types)
        row["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row


def run_tests(slot: Slot) -> dict[str, Any]:
    """The tests that need a GPU."""
    files = [str(path) for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files]
    if slot.emulated:
        command.insert(4, "--collect-only")
    limit = max(30.0, slot.left())
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    return {"code": done.returncode, "last": (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]}


def parts(emulated: bool) -> dict[str, Callable[[Slot], dict[str, Any]]]:
    """All parts by name, in the order of what matters: their names begin with their kind, see gpu_verdicts.py."""
    kernels = {f"kernels, {warps} warps": functools.partial(measure_kernels, warps=warps) for warps in WARPS}
    inside = {f"openmm, {size} atoms": functools.partial(measure_in_openmm, size=size) for size in SIZES}
    if emulated:
        kernels = {name: part for name, part in kernels.items() if name in ("kernels, 1 warps", "kernels, 4 warps")}
        inside = {name: part for name, part in inside.items() if name == "openmm, 22 atoms"}
    first = [(name, part) for name, part in kernels.items() if name == "kernels, 1 warps"]
    return dict(
        [*first, *inside.items(), ("large", measure_large), ("foundation", measure_foundation), *kernels.items(),
         ("sanitizer", check_races), ("tests", run_tests)]
    )  # fmt: skip


def main() -> None:
    """Run what is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-slot"), help="stem of the files that are written")
    parser.add_argument("--model", type=Path, default=WATER if WATER.exists() else SHIPPED)
    parser.add_argument("--emulator", action="store_true", help="on a CPU, small, to try this script")
    parser.add_argument("--again", nargs="*", default=[], choices=list(parts(False)), help="parts that are run again")
    parser.add_argument("--minutes", type=float, default=10.0, help="no part begins after these")
    parser.add_argument("--prepare", type=int, metavar="ARCHITECTURE", help="compile for such a card, and no more")
    given = parser.parse_args()
    if given.prepare:
        prepare(given.output, given.prepare)
        return
    if not given.emulator and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; --emulator tries this script on a CPU")
    Slot(given.output, given.model, given.emulator, given.minutes).run(given.again)


if __name__ == "__main__":
    main()
