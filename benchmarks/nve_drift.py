"""Energy conservation of the shipped model with fused kernels and without: constant-energy runs from the same states.

python benchmarks/nve_drift.py [--ps 10] [--step-fs 0.25] [--seeds 3] [--json]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from openmmml import MLPotential
from timing import finish
from tqdm.auto import trange

import openmm_nequip

DATA = Path(openmm_nequip.__file__).parent / "data"
MODES = {
    "AOTInductor package": {"kernels": "none"},
    "fused": {"kernels": "fused"},
    "fused, exact radial": {"kernels": "fused", "tables": False},
}
_SAMPLES = 400


def drift(mode: str, picoseconds: float, step_fs: float, seed: int) -> tuple[float, float, float]:
    """Slope (kJ/mol per ns and atom), its standard error, and the fluctuation (kJ/mol) of the total energy."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    potential = MLPotential("nequip", modelPath=DATA / "alanine-dipeptide.nequip.zip", **MODES[mode])
    system = potential.createSystem(pdb.topology)
    integrator = openmm.VerletIntegrator(step_fs * unit.femtosecond)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(pdb.positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
    context.setVelocitiesToTemperature(300.0, seed)
    steps = int(round(picoseconds * 1000 / step_fs / _SAMPLES))
    times, energies = [], []
    for _ in trange(_SAMPLES, desc=f"{mode}, seed {seed}", leave=False, disable=None):
        integrator.step(steps)
        state = context.getState(getEnergy=True)
        times.append(state.getTime().value_in_unit(unit.nanosecond))
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        energies.append(total.value_in_unit(unit.kilojoule_per_mole))
    fit, covariance = np.polyfit(times, energies, 1, cov=True)
    rest = np.array(energies) - np.polyval(fit, times)
    atoms = system.getNumParticles()
    return fit[0] / atoms, float(np.sqrt(covariance[0, 0])) / atoms, float(rest.std())


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ps", type=float, default=10.0)
    parser.add_argument("--step-fs", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: list[dict[str, object]] = []
    for mode in arguments.modes:
        for seed in range(1, arguments.seeds + 1):
            slope, error, fluctuation = drift(mode, arguments.ps, arguments.step_fs, seed)
            results.append({"mode": mode, "seed": seed, "slope": slope, "error": error, "fluctuation": fluctuation})
            if not arguments.json:
                print(
                    f"{mode:22s} seed {seed}  {slope:8.3f} ± {error:.3f} kJ/mol/ns/atom  rms {fluctuation:.4f} kJ/mol"
                )
    finish(results, arguments.json)


if __name__ == "__main__":
    main()
