"""Steps of MD by this checkout and by another one, interleaved in one process: what a change costs.

    python benchmarks/against_checkout.py CHECKOUT [--atoms 22 96 768] [--rounds 30]

The other checkout's package is imported under another name, so both run in one process, on the same model file, the
same structure and the same OpenMM. The ratio is the median over all rounds; below 1 this checkout is faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as unit
import torch
from openmmml import MLPotential

import openmm_nequip
from openmm_nequip.app.bench.bench_systems import build_system

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "openmm_nequip" / "data" / "alanine-dipeptide.nequip.zip"
OTHER = "openmm_nequip_other"
BLOCK_S = 0.15
#: Rounding of a float32 model, kJ/mol/nm: 1e-5 eV/Å, and as much more as forces are above 1 eV/Å.
NOISE = 0.01


def import_other(checkout: Path):
    """The package of another checkout as :data:`OTHER`; its registration with OpenMM-ML is taken back."""
    factory = MLPotential("nequip", modelPath=MODEL)  # registers ours
    place = checkout / "openmm_nequip"
    spec = importlib.util.spec_from_file_location(OTHER, place / "__init__.py", submodule_search_locations=[str(place)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[OTHER] = module
    spec.loader.exec_module(module)
    importlib.import_module(f"{OTHER}.potential")
    openmm_nequip.register()
    del factory
    return sys.modules[f"{OTHER}.potential"]


def context_of(system, bench, platform, threads):
    """A Context with positions and velocities, and its integrator."""
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    properties = {"Threads": str(threads)} if platform == "CPU" else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(bench.positions_nm)
    context.setVelocities(bench.velocities)
    return context, integrator


def systems(other, bench, options):
    """The System of this checkout and that of the other."""
    own = MLPotential("nequip", modelPath=MODEL).createSystem(bench.topology, removeCMMotion=False, **options)
    foreign = openmm.System()
    for mass in bench.masses.tolist():
        foreign.addParticle(mass * unit.dalton)
    if bench.box_nm is not None:
        foreign.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*row) for row in bench.box_nm.tolist()])
    impl = other.NequIPPotentialImpl("nequip", MODEL)
    impl.addForces(bench.topology, foreign, None, 0, **options)
    return own, foreign


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--atoms", type=int, nargs="+", default=[22, 96, 768])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    other = import_other(arguments.checkout.resolve())
    print("| atoms | kernels | platform | this, ms/step | other, ms/step | ratio |\n|---|---|---|---|---|---|")
    for atoms in arguments.atoms:
        bench = build_system(("H", "C", "N", "O"), atoms)
        for kernels, platform in (("fused", "Reference"), ("fused", "CPU"), ("none", "Reference")):
            pair = systems(other, bench, {"kernels": kernels, "backend": "PythonForce"})
            runs = [context_of(system, bench, platform, arguments.threads) for system in pair]
            states = [context.getState(energy=True, forces=True) for context, _ in runs]
            forces = [np.array(state.getForces(asNumpy=True)._value) for state in states]
            off = np.abs(forces[0] - forces[1]).max()
            if off > NOISE * max(1.0, np.abs(forces[1]).max() / 1000.0):
                sys.exit(f"{atoms} atoms, {kernels}, {platform}: forces differ by {off} kJ/mol/nm")
            for _, integrator in runs:
                integrator.step(20)
            start = time.perf_counter()
            runs[0][1].step(10)
            count = max(5, int(BLOCK_S / ((time.perf_counter() - start) / 10)))
            times = [[], []]
            for round_ in range(arguments.rounds):
                for which in (0, 1) if round_ % 2 else (1, 0):
                    for place in (0, 1):  # the same structure again, so that neither is elsewhere
                        runs[place][0].setPositions(bench.positions_nm)
                        runs[place][0].setVelocities(bench.velocities)
                    runs[which][1].step(2)
                    time.sleep(0.02)  # threads of the one before fall asleep
                    begin = time.perf_counter()
                    runs[which][1].step(count)
                    times[which].append((time.perf_counter() - begin) / count * 1e3)
            own, foreign = (float(np.median(each)) for each in times)
            ratio = float(np.median(np.array(times[0]) / np.array(times[1])))
            print(f"| {bench.n_atoms} | {kernels} | {platform} | {own:.4f} | {foreign:.4f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
