"""Energy conservation of hybrid systems: drift of the total energy at constant energy, beside the pure force field's.

Alanine dipeptide in flexible TIP3P water under amber14, without constraints, by plain Verlet: once with the force
field alone, once with the shipped model for the whole peptide (no cut bond), once for the side chain of the alanine
only (two cut bonds, hydrogen caps). The model never saw the capped side chain, so that case says whether energy is
conserved and nothing about chemistry. Run: ``python benchmarks/hybrid_drift.py [--picoseconds 10] [--jobs 2]
[--platform Reference] [--output FILE]``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from timing import environment, finish
from tqdm.auto import tqdm

import openmm_nequip

DATA = Path(openmm_nequip.__file__).parent / "data"
MODEL = DATA / "alanine-dipeptide.nequip.zip"
#: Region of each case; None for the force field alone.
CASES = {
    "force field alone": None,
    "model, whole peptide, no link": "not water",
    "model, ALA side chain, 2 links": "resname ALA and (name CA HA CB HB1 HB2 HB3)",
}
TEMPERATURE_K = 300.0
STEP_PS = 0.0005
#: Steps between two samples of the energy.
EVERY = 20
GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


def solvated() -> tuple[app.Topology, openmm.System, unit.Quantity]:
    """The solvated peptide: topology, System without constraints and without removal of drift, positions."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.9, 1.9, 1.9) * unit.nanometer)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8, constraints=None, rigidWater=False,
        removeCMMotion=False,
    )  # fmt: skip
    # A smooth end of the Lennard-Jones interaction: a cut one leaks energy that has nothing to do with the model.
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setUseSwitchingFunction(True)
            force.setSwitchingDistance(0.7)
            force.setEwaldErrorTolerance(1e-5)
    return modeller.topology, system, modeller.positions


def make_context(system: openmm.System, integrator: openmm.Integrator, platform: str) -> openmm.Context:
    """A Context on one thread."""
    properties = {"Threads": "1"} if platform == "CPU" else {}
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)


def fitted_slope(times: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """Least-squares slope, its standard error and the standard deviation of the residuals.

    The error counts correlated residuals as fewer samples: their autocorrelation is summed up to its first zero.
    """
    centred = times - times.mean()
    value = (centred * values).sum() / (centred**2).sum()
    residual = values - values.mean() - value * centred
    correlation = np.correlate(residual, residual, "full")[len(residual) - 1 :]
    correlation /= correlation[0]
    end = int(np.argmax(correlation <= 0)) or len(correlation)
    inefficiency = max(1.0, 1 + 2 * correlation[1:end].sum())
    spread = residual.std(ddof=2)
    return float(value), float(spread * np.sqrt(inefficiency / (centred**2).sum())), float(spread)


def equilibrated(mm: openmm.System, system: openmm.System, positions: unit.Quantity) -> openmm.State:
    """Positions and velocities after 5 ps under the force field and, where it differs, 1 ps under the System itself."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 5.0, STEP_PS)
    integrator.setRandomNumberSeed(1)
    context = make_context(mm, integrator, "CPU")
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=500)
    context.setVelocitiesToTemperature(TEMPERATURE_K, 1)
    integrator.step(10000)
    state = context.getState(getPositions=True, getVelocities=True)
    if system is mm:
        return state
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 10.0, STEP_PS)
    integrator.setRandomNumberSeed(2)
    context = make_context(system, integrator, "CPU")
    context.setPositions(state.getPositions())
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(TEMPERATURE_K, 1)
    integrator.step(2000)
    return context.getState(getPositions=True, getVelocities=True)


def drift(case: str, picoseconds: float, platform: str) -> dict[str, object]:
    """Run one case and fit its total energy.

    Returns
    -------
    dict
        Drift and its standard error in kJ/mol per ns and degree of freedom, the fluctuation about the line in kJ/mol,
        temperatures in K, and the sampled energies.
    """
    torch.set_num_threads(1)
    topology, mm, positions = solvated()
    system, links = mm, 0
    if CASES[case] is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the charges of a side chain sum to no whole number
            mixed = openmm_nequip.create_mixed_system(topology, mm, CASES[case], str(MODEL))
        system, links = mixed.system, len(mixed.regions[0].links)
    state = equilibrated(mm, system, positions)
    integrator = openmm.VerletIntegrator(STEP_PS)
    context = make_context(system, integrator, platform)
    context.setPositions(state.getPositions())
    context.setVelocities(state.getVelocities())
    freedom = 3 * system.getNumParticles()
    rows = []
    for count in range(round(picoseconds / (EVERY * STEP_PS)) + 1):
        integrator.step(EVERY if count else 0)
        found = context.getState(getEnergy=True)
        kinetic = found.getKineticEnergy()._value
        rows.append((count * EVERY * STEP_PS, kinetic + found.getPotentialEnergy()._value, kinetic))
    times, energies, kinetics = np.array(rows).T
    value, error, spread = fitted_slope(times / 1000, energies)
    return {
        "case": case,
        "region": CASES[case],
        "links": links,
        "particles": system.getNumParticles(),
        "degrees_of_freedom": freedom,
        "picoseconds": float(times[-1]),
        "drift_kj_per_mol_ns_dof": value / freedom,
        "error_kj_per_mol_ns_dof": error / freedom,
        "fluctuation_kj_per_mol": spread,
        "temperature_k": float(2 * kinetics.mean() / (freedom * GAS_CONSTANT)),
        "energies_kj_per_mol": [round(float(energy - energies[0]), 4) for energy in energies],
    }


def main() -> None:
    """Run the cases and print the table, or everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=10.0)
    parser.add_argument("--platform", default="Reference", choices=["Reference", "CPU"])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--output", type=Path, help="also write the JSON, with the sampled energies, to this file")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"Verlet, {STEP_PS * 1000:g} fs, OpenMM {arguments.platform}, no constraints")
        print("| system | ps | dof | drift, kJ/mol/ns/dof | fluctuation, kJ/mol | T, K |\n|---|---|---|---|---|---|")
    found: dict[str, dict[str, object]] = {}
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(drift, case, arguments.picoseconds, arguments.platform) for case in arguments.cases]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="cases", disable=None):
            row = future.result()
            found[str(row["case"])] = row
            if not arguments.json:
                tqdm.write(
                    f"| {row['case']} | {row['picoseconds']:g} | {row['degrees_of_freedom']} "
                    f"| {row['drift_kj_per_mol_ns_dof']:.4f} ± {row['error_kj_per_mol_ns_dof']:.4f} "
                    f"| {row['fluctuation_kj_per_mol']:.3f} | {row['temperature_k']:.1f} |"
                )
    rows = [found[case] for case in arguments.cases]
    facts = {
        "title": "NVE drift of hybrid systems",
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "platform": arguments.platform,
        "step_fs": STEP_PS * 1000,
        "rows": rows,
    }
    if arguments.output is not None:
        document = {"environment": environment(), "results": [facts]}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    finish([facts], arguments.json)


if __name__ == "__main__":
    main()
