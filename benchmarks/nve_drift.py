"""Energy conservation of a model with fused kernels and without: constant-energy runs from the same states.

    python benchmarks/nve_drift.py [--model FILE --size 96] [--ps 10] [--step-fs 0.25] [--seeds 3] [--json]
    python benchmarks/nve_drift.py --modes native --platform CUDA

The shipped model by default. Beside the slope of the total energy stands its fluctuation, of the run and of its halves:
where the second is larger, it grows.
"""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files

import numpy as np
import openmm
import openmm.unit as unit
import torch
from openmmml import MLPotential
from timing import finish
from tqdm.auto import trange

from openmm_nequip import load_model
from openmm_nequip.app.bench.bench_systems import BenchSystem, build_system

MODES = {
    "AOTInductor package": {"kernels": "none"},
    "fused": {"kernels": "fused"},
    "fused, exact radial": {"kernels": "fused", "tables": False},
    "native": {"backend": "Native"},
}
#: Those that run without asking for a GPU.
_ON_CPUS = list(MODES)[:3]
_SAMPLES = 400


def slope(times: np.ndarray, energies: np.ndarray) -> tuple[float, float, float]:
    """Slope of the total energy, its standard error, and what is left around the line: kJ/mol per ns, kJ/mol."""
    fit, covariance = np.polyfit(times, energies, 1, cov=True)
    rest = energies - np.polyval(fit, times)
    return float(fit[0]), float(np.sqrt(covariance[0, 0])), float(rest.std())


def minimised(path: str, bench: BenchSystem) -> np.ndarray:
    """Positions in nm after a minimisation by the CPU kernels, from which all modes start."""
    system = MLPotential("nequip", modelPath=path, kernels="fused").createSystem(bench.topology)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(bench.positions_nm)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
    return context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def drift(
    path: str, bench: BenchSystem, mode: str, steps: int, step_fs: float, seed: int, platform: str = "Reference"
) -> dict[str, float]:
    """Slope of the total energy (kJ/mol per ns and atom) and its fluctuation (kJ/mol), of a run and of its halves."""
    system = MLPotential("nequip", modelPath=path, **MODES[mode]).createSystem(bench.topology)
    integrator = openmm.VerletIntegrator(step_fs * unit.femtosecond)
    properties = {} if platform in ("Reference", "CPU") else {"Precision": "mixed"}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(minimised(path, bench))
    context.setVelocitiesToTemperature(300.0, seed)
    count = max(1, steps // _SAMPLES)
    times, energies = [], []
    for _ in trange(_SAMPLES, desc=f"{mode}, seed {seed}", leave=False, disable=None):
        integrator.step(count)
        state = context.getState(getEnergy=True)
        times.append(state.getTime().value_in_unit(unit.nanosecond))
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        energies.append(total.value_in_unit(unit.kilojoule_per_mole))
    half = _SAMPLES // 2
    t, e = np.array(times), np.array(energies)
    whole, first, second = (slope(t[part], e[part]) for part in (slice(None), slice(half), slice(half, None)))
    kinetic = state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    gas = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    return {
        "slope": whole[0] / bench.n_atoms, "error": whole[1] / bench.n_atoms, "fluctuation": whole[2],
        "first_half": first[2], "second_half": second[2], "temperature": 2 * kinetic / (3 * bench.n_atoms * gas),
    }  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="the shipped one by default")
    parser.add_argument("--size", type=int, default=22, help="number of atoms")
    parser.add_argument("--ps", type=float, default=10.0)
    parser.add_argument("--steps", type=int, help="instead of --ps")
    parser.add_argument("--step-fs", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=_ON_CPUS)
    parser.add_argument("--platform", default="Reference", help="of OpenMM")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results: list[dict[str, object]] = []
    steps = given.steps or round(given.ps * 1000 / given.step_fs)
    with as_file(files("openmm_nequip.data") / "alanine-dipeptide.nequip.zip") as shipped:
        path = given.model or str(shipped)
        bench = build_system(load_model(path, compile=False).info.type_names, given.size)
        for mode in given.modes:
            for seed in range(1, given.seeds + 1):
                found = drift(path, bench, mode, steps, given.step_fs, seed, given.platform)
                results.append({"mode": mode, "seed": seed, "steps": steps} | found)
                if not given.json:
                    print(
                        f"{mode:22s} seed {seed}  {found['slope']:8.3f} ± {found['error']:.3f} kJ/mol/ns/atom  rms "
                        f"{found['fluctuation']:.4f} kJ/mol ({found['first_half']:.4f}, then "
                        f"{found['second_half']:.4f}), {found['temperature']:.0f} K at the end",
                        flush=True,
                    )
    finish(results, given.json)


if __name__ == "__main__":
    main()
