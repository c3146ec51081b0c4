"""From the force field to the model by two routes, for a free molecule: do they agree, and are the errors right?

    python benchmarks/two_routes.py FOLDER [--repeats 8] [--ps 100]

The shipped peptide turns about φ and ψ more seldom than a run of minutes shows. So metadynamics of amber14, amber03 and
the model along both finds what each has to overcome, and four fifths of it are taken away in all runs: a bias of either
end, mixed along λ as the energies are. The ends without bias are states that nobody samples; MBAR predicts them from
all others. Peptide bonds stay trans. Errors of a repeat heed the cosines and sines of φ and ψ.

The first route goes from amber14 to the model along λ, the second from amber14 to amber03 and from there along λ. Each
repeat has its own start, somewhere on the map of φ and ψ, and its own seeds; the scatter of the repeats is compared
with the errors that each states. What is in FOLDER is not run again; a run that was cut off goes on with the next part.
"""

from __future__ import annotations

import argparse
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

import openmm_nequip
from openmm_nequip import free_energy

TEMPERATURE = 300 * unit.kelvin
THERMAL = (unit.MOLAR_GAS_CONSTANT_R * TEMPERATURE).value_in_unit(unit.kilojoule_per_mole)
DATA = files("openmm_nequip") / "data"
PDB = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
MODEL = str(DATA / "alanine-dipeptide.nequip.zip")
PLATFORM = openmm.Platform.getPlatform("Reference")
PHI, PSI = (4, 6, 8, 10), (6, 8, 10, 16)
FIELDS = ("amber14", "amber03")
LAMBDA = "lambda_interpolate"
LAMBDAS = (0.0, 0.3, 0.65, 1.0)
#: Part of the free energy along φ and ψ that is taken away, and points of its grid along each.
FLATTENED, GRID = 0.8, 61
#: ps of metadynamics of a force field and of the model.
BUILD_PS = {"amber14": 600, "amber03": 600, "model": 400}
#: Hydrogens weigh 4 u, which no free energy knows of, so that steps can be long.
STEP_PS = 0.002
#: Steps between frames and before the first of a state.
INTERVAL, SETTLE = 100, 2500


def field_system(name: str) -> openmm.System:
    """The System of a force field, without bias."""
    file = "amber14-all.xml" if name == "amber14" else f"{name}.xml"
    return app.ForceField(file).createSystem(PDB.topology, hydrogenMass=4 * unit.amu)


def mixed_system(name: str) -> openmm.System:
    """The System from a force field (λ = 0) to the model (λ = 1), without bias."""
    return openmm_nequip.create_mixed_system(
        PDB.topology, field_system(name), "all", MODEL, interpolate=True
    ).system  # fmt: skip


def langevin(seed: int) -> openmm.LangevinMiddleIntegrator:
    """An integrator."""
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 2 / unit.picosecond, STEP_PS * unit.picosecond)
    integrator.setRandomNumberSeed(seed)
    return integrator


def make_context(system: openmm.System, positions: Any, seed: int) -> openmm.Context:
    """A Context with velocities of the temperature."""
    context = openmm.Context(system, langevin(seed), PLATFORM)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    return context


def build(target: Path, name: str) -> None:
    """The free energy of a force field or the model along φ and ψ (rows), roughly, and frames all over the map."""
    collective = []
    for atoms in (PHI, PSI):
        torsion = openmm.CustomTorsionForce("theta")
        torsion.addTorsion(*atoms)
        width = math.radians(15)
        collective.append(app.BiasVariable(torsion, -math.pi, math.pi, width, periodic=True, gridWidth=GRID))
    system = mixed_system("amber14") if name == "model" else field_system(name)
    metadynamics = app.Metadynamics(system, collective, TEMPERATURE, 10, 1.5 * unit.kilojoule_per_mole, 50)
    simulation = app.Simulation(PDB.topology, system, langevin(1), PLATFORM)
    simulation.context.setPositions(PDB.positions)
    simulation.context.setVelocitiesToTemperature(TEMPERATURE, 1)
    frames = []
    for _ in range(20):
        metadynamics.step(simulation, round(BUILD_PS[name] / STEP_PS) // 20)
        frames.append(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
    surface = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole)
    np.savez(target, surface=surface, frames=frames[8:])


def add_bias(system: openmm.System, surfaces: dict[str, np.ndarray]) -> openmm.System:
    """Take the larger part of free energies along φ and ψ away: of λ = 0 under "field", of λ = 1 under "model"."""
    mixed = f"(1-{LAMBDA})*field(phi,psi)+{LAMBDA}*model(phi,psi)" if "model" in surfaces else "field(phi,psi)"
    bias = openmm.CustomCompoundBondForce(
        5, f"{mixed}; phi=dihedral(p1,p2,p3,p4); psi=dihedral(p2,p3,p4,p5)"
    )  # fmt: skip
    for name, surface in surfaces.items():
        values = -FLATTENED * (surface - surface.min())
        ends = -math.pi, math.pi
        bias.addTabulatedFunction(name, openmm.Continuous2DFunction(GRID, GRID, values.ravel(), *ends, *ends, True))
    if "model" in surfaces:
        bias.addGlobalParameter(LAMBDA, 1.0)
    bias.addBond([*PHI, PSI[-1]])
    system.addForce(bias)
    return system


def bias_alone(surfaces: dict[str, np.ndarray]) -> openmm.Context:
    """A Context that has nothing but the bias."""
    system = openmm.System()
    for _ in range(PDB.topology.getNumAtoms()):
        system.addParticle(1.0)
    return openmm.Context(add_bias(system, surfaces), openmm.VerletIntegrator(0.001), PLATFORM)


def sample(context: openmm.Context, count: int) -> list[np.ndarray]:
    """Frames (count, n_atoms, 3) in nm."""
    context.getIntegrator().step(SETTLE)
    frames = []
    for _ in range(count):
        context.getIntegrator().step(INTERVAL)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    return frames


def angles(frames: list[np.ndarray]) -> np.ndarray:
    """φ and ψ of frames, (2, n_frames), radians."""
    trajectory = mdtraj.Trajectory(np.array(frames), mdtraj.Topology.from_openmm(PDB.topology))
    return mdtraj.compute_dihedrals(trajectory, [PHI, PSI]).T


def energies_of(context: openmm.Context, frames: list[np.ndarray]) -> np.ndarray:
    """Energies (n_frames,) in kJ/mol."""
    found = []
    for frame in frames:
        context.setPositions(frame)
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    return np.array(found)


def run_to_model(target: Path, name: str, surfaces: dict[str, np.ndarray], start: np.ndarray, count: int, seed: int):
    """One repeat along λ: the table of reduced potentials, the two ends without bias last."""
    pair = {"field": surfaces[name], "model": surfaces["model"]}
    context = make_context(add_bias(mixed_system(name), pair), start, seed)
    frames = []
    for value in LAMBDAS:
        context.setParameter(LAMBDA, value)
        frames += sample(context, count)
    ends = free_energy.end_states(context, frames)
    bias = free_energy.end_states(bias_alone(pair), frames)
    biases = np.zeros((len(LAMBDAS) + 2, len(frames)))
    biases[-2:] = -bias.force_field, -bias.model
    reduced = free_energy.reduced_potentials(ends, [*LAMBDAS, 0.0, 1.0], TEMPERATURE, biases=biases)
    np.savez(target, reduced=reduced, angles=angles(frames), counts=[count] * len(LAMBDAS) + [0, 0])


def run_between(target: Path, surfaces: dict[str, np.ndarray], starts: list[np.ndarray], count: int, seed: int):
    """One repeat between the force fields: the same table."""
    frames, rows = [], []
    for number, (name, start) in enumerate(zip(FIELDS, starts, strict=True)):
        biased = add_bias(field_system(name), {"field": surfaces[name]})
        frames += sample(make_context(biased, start, seed + number), count)
    for name in FIELDS:
        free = energies_of(make_context(field_system(name), PDB.positions, 1), frames)
        rows.append((free + energies_of(bias_alone({"field": surfaces[name]}), frames), free))
    reduced = np.array([rows[0][0], rows[1][0], rows[0][1], rows[1][1]]) / THERMAL
    np.savez(target, reduced=reduced, angles=angles(frames), counts=[count, count, 0, 0])


def analyse(path: Path) -> free_energy.FreeEnergies:
    """The free energies of one repeat."""
    found = np.load(path)
    turned = np.concatenate([np.cos(found["angles"]), np.sin(found["angles"])])
    return free_energy.estimate(found["reduced"], found["counts"], slow=turned)


def visits(path: Path) -> dict[str, float]:
    """How often φ changed its side in a repeat, and the part of all biased frames at positive φ."""
    found = np.load(path)
    phi = found["angles"][0]
    right = (phi > 0) & (phi < 2.3)
    return {"changes_of_side": int(np.count_nonzero(np.diff(right))), "at_the_right": float(right.mean())}


def summary(folder: Path, repeats: int) -> dict[str, Any]:
    """Both routes of all repeats, kJ/mol: values, stated errors, scatter, and the difference in its own errors."""
    routes: dict[str, list[tuple[float, float]]] = {"direct": [], "by amber03": []}
    legs: dict[str, list[tuple[float, float]]] = {name: [] for name in ("amber14", "amber03", "between")}
    seen: dict[str, list[Any]] = {name: [] for name in legs}
    flat: dict[str, list[float]] = {name: [] for name in legs}
    for number in range(repeats):
        for name in legs:
            path = folder / f"{name}{number}.npz"
            found = analyse(path)
            legs[name].append(found.between(-2, -1, TEMPERATURE))
            flat[name].append(found.between(0, len(found.names) - 3, TEMPERATURE)[0])
            seen[name].append(visits(path) | {"independent": found.independent[found.frames > 0].tolist(),
                                              "effective": found.effective[-2:].round(1).tolist()})  # fmt: skip
        routes["direct"].append(legs["amber14"][-1])
        (first, error), (second, other) = legs["between"][-1], legs["amber03"][-1]
        routes["by amber03"].append((first + second, math.hypot(error, other)))
    found: dict[str, Any] = {"repeats": repeats, "samples": seen}
    for name, rows in (legs | routes).items():
        values, errors = np.array(rows).T
        found[name] = {
            "values": values.round(3).tolist(), "stated_errors": errors.round(3).tolist(),
            "mean": values.mean(), "error": values.std(ddof=1) / math.sqrt(repeats), "scatter": values.std(ddof=1),
            "stated": math.sqrt((errors**2).mean()),
        }  # fmt: skip
    one, two = found["direct"], found["by amber03"]
    found["difference"] = one["mean"] - two["mean"]
    found["error"] = math.hypot(one["error"], two["error"])
    found["chi"] = found["difference"] / found["error"]
    closing = np.array(flat["amber14"]) - flat["between"] - flat["amber03"]
    found["difference_with_bias"] = closing.mean(), closing.std(ddof=1) / math.sqrt(repeats)
    return found


def main() -> None:
    """Build, run, analyse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=8, help="2 or more")
    parser.add_argument("--ps", type=int, default=100, help="of each λ of a repeat; ten times that of each force field")
    arguments = parser.parse_args()
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    built = {}
    for name in BUILD_PS:
        target = folder / f"surface-{name}.npz"
        if not target.exists():
            build(target, name)
        built[name] = np.load(target)
    surfaces = {name: found["surface"] for name, found in built.items()}
    count = round(arguments.ps / STEP_PS) // INTERVAL
    for number in range(arguments.repeats):
        starts = [built[name]["frames"][number % 12] for name in FIELDS]
        seed = 100 * (number + 1)
        if not (between := folder / f"between{number}.npz").exists():
            run_between(between, surfaces, starts, 10 * count, seed)
        for name, start in zip(FIELDS, starts, strict=True):
            if not (target := folder / f"{name}{number}.npz").exists():
                run_to_model(target, name, surfaces, start, count, seed + 10 + FIELDS.index(name))
    found = summary(folder, arguments.repeats)
    (folder / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    for name in ("direct", "by amber03"):
        print(f"{name}: {found[name]['mean']:.2f} ± {found[name]['error']:.2f} kJ/mol")
    print("difference {difference:.2f} ± {error:.2f}, chi {chi:.2f}".format(**found))
    print("between the ends with their bias {:.2f} ± {:.2f}".format(*found["difference_with_bias"]))


if __name__ == "__main__":
    main()
