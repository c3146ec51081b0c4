"""How far the model's time step can grow: multiple time steps for a hybrid system, their energy drift and their speed.

The shipped model describes alanine dipeptide, TIP3P the water around it. Three ways to divide the forces between the
two loops of ``openmm.MTSIntegrator`` and ``openmm.MTSLangevinIntegrator`` are compared; README.md explains them.
Run: ``python run.py [--picoseconds 4] [--langevin-picoseconds 3] [--jobs 2]``, or ``python run.py --quick`` for a
look that takes seconds and measures nothing.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from tqdm.auto import tqdm

import openmm_nequip

DATA = Path(openmm_nequip.__file__).parent / "data"
REGION = "not water"
TEMPERATURE_K = 300.0
FRICTION_PER_PS = 1.0
INNER_FS = 0.5
CUTOFF_NM = 0.8
#: Where Lennard-Jones interactions begin to fade: a sharp cutoff makes the total energy walk, whatever the time step.
SWITCH_NM = 0.7
#: Forces of the inner loop are in group 0, of the outer loop in group 1; "model inside" has them the other way round.
MODEL_GROUP = 1
#: Time between samples: a multiple of every default outer step.
SAMPLE_FS = 24.0
GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
#: Coulomb's constant in kJ mol^-1 nm e^-2, as OpenMM has it.
COULOMB = 138.93545764438198
#: A total energy that moved this far (kJ/mol) belongs to a trajectory that blew up.
LOST = 5e3

SINGLE = "one step for all"
INSIDE = "model inside"
OUTSIDE = "model outside"
DIFFERENCE = "difference outside"
MARKS = {SINGLE: ("k", "s"), OUTSIDE: ("tab:red", "o"), DIFFERENCE: ("tab:blue", "D"), INSIDE: ("tab:gray", "^")}


@dataclass(frozen=True)
class Start:
    """What every trajectory begins with; plain data, so that other processes can take it.

    Parameters
    ----------
    systems : dict of str to str
        XML of the mixed System (``"mixed"``) and of the one with a difference force (``"difference"``).
    region : list of int
        Atoms that the model describes.
    positions, velocities : numpy.ndarray, (n, 3)
        nm, nm/ps.
    platform : str
        OpenMM platform.
    """

    systems: dict[str, str]
    region: list[int]
    positions: np.ndarray
    velocities: np.ndarray
    platform: str

    def system(self, scheme: str) -> openmm.System:
        """The System that a scheme integrates."""
        return openmm.XmlSerializer.deserialize(self.systems["difference" if scheme == DIFFERENCE else "mixed"])


# ---- the Systems


def solvated() -> tuple[app.Topology, openmm.System, unit.Quantity]:
    """Alanine dipeptide in a box of rigid TIP3P water under amber14: topology, System, positions."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.9, 1.9, 1.9) * unit.nanometer)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=CUTOFF_NM, constraints=None, rigidWater=True,
        removeCMMotion=False, switchDistance=SWITCH_NM,
    )  # fmt: skip
    return modeller.topology, system, modeller.positions


def minus_bonded(force: openmm.Force, inside: set[int]) -> openmm.Force:
    """The terms of a bonded force of which all atoms are in the region, with their strength negated."""
    result = type(force)()
    if isinstance(force, openmm.HarmonicBondForce):
        terms = [force.getBondParameters(i) for i in range(force.getNumBonds())]
        add = result.addBond
    elif isinstance(force, openmm.HarmonicAngleForce):
        terms = [force.getAngleParameters(i) for i in range(force.getNumAngles())]
        add = result.addAngle
    elif isinstance(force, openmm.PeriodicTorsionForce):
        terms = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
        add = result.addTorsion
    else:
        raise NotImplementedError(f"this example has no difference force for a {type(force).__name__}")
    for *term, strength in terms:
        atoms = [item for item in term if isinstance(item, int)][: {"addBond": 2, "addAngle": 3}.get(add.__name__, 4)]
        if inside.issuperset(atoms):
            add(*term, -strength)
    return result


def minus_nonbonded(force: openmm.NonbondedForce, inside: set[int]) -> openmm.CustomBondForce:
    """Minus the Coulomb and Lennard-Jones energy of all pairs in the region.

    PME gives a pair its full 1/r (and its images, which the mixed System keeps as well), so a plain pair list will do.
    Only Lennard-Jones interactions end at the cutoff.
    """
    result = openmm.CustomBondForce(
        f"-({COULOMB}*charge/r + step({CUTOFF_NM}-r)*fade*4*epsilon*((sigma/r)^12-(sigma/r)^6));"
        "fade=1-x^3*(10-15*x+6*x^2);"
        f"x=max(0, (r-{SWITCH_NM})/{CUTOFF_NM - SWITCH_NM})"
    )
    for name in ("charge", "sigma", "epsilon"):
        result.addPerBondParameter(name)
    pairs = {}
    particles = {i: [q._value for q in force.getParticleParameters(i)] for i in sorted(inside)}
    for i, (charge, sigma, epsilon) in particles.items():
        for j, (charge_j, sigma_j, epsilon_j) in particles.items():
            if i < j:
                pairs[i, j] = charge * charge_j, (sigma + sigma_j) / 2, (epsilon * epsilon_j) ** 0.5
    for index in range(force.getNumExceptions()):
        i, j, *values = force.getExceptionParameters(index)
        if (min(i, j), max(i, j)) in pairs:
            pairs[min(i, j), max(i, j)] = tuple(value._value for value in values)
    for (i, j), values in pairs.items():
        if values[0] or values[2]:
            result.addBond(i, j, values)
    return result


def difference_system(mm: openmm.System, mixed: openmm.System, region: list[int]) -> openmm.System:
    """The force field for everything in group 0; the model minus the force field of the region in group 1.

    Both groups together are the mixed System. The force field in the inner loop holds the region together between two
    evaluations of the model.
    """
    inside = set(region)
    result = copy.deepcopy(mm)
    added = [copy.deepcopy(force) for force in mixed.getForces() if force.getName() == "NequIP"]
    for force in mm.getForces():
        nonbonded = isinstance(force, openmm.NonbondedForce)
        added.append(minus_nonbonded(force, inside) if nonbonded else minus_bonded(force, inside))
    for force in added:
        force.setForceGroup(MODEL_GROUP)
        result.addForce(force)
    return result


def groups(scheme: str, substeps: int) -> list[tuple[int, int]]:
    """Force groups and how often each is evaluated in an outer step."""
    inner, outer = (MODEL_GROUP, 0) if scheme == INSIDE else (0, MODEL_GROUP)
    return [(outer, 1), (inner, substeps)]


def make_context(
    system: openmm.System, integrator: openmm.Integrator, platform_name: str, start: Start | None = None
) -> openmm.Context:
    """A Context on one thread, at the start of the trajectories if one is given."""
    properties = {"Threads": "1"} if platform_name == "CPU" else {}
    integrator.setConstraintTolerance(1e-7)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform_name), properties)
    if start is not None:
        context.setPositions(start.positions)
        context.setVelocities(start.velocities)
    return context


def prepare(platform_name: str, quick: bool) -> tuple[Start, dict[str, float]]:
    """Build the Systems, check that they agree, and equilibrate: first with the force field, then with the model."""
    topology, mm, positions = solvated()
    mixed = openmm_nequip.create_mixed_system(
        topology, mm, REGION, str(DATA / "alanine-dipeptide.nequip.zip"), forceGroup=MODEL_GROUP,
        compile=False if quick else None,
    )  # fmt: skip
    region = list(mixed.regions[0].atoms)
    systems = {"mixed": mixed.system, "difference": difference_system(mm, mixed.system, region)}

    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, FRICTION_PER_PS, INNER_FS / 1000)
    context = make_context(mm, integrator, platform_name)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=50 if quick else 500)
    context.setVelocitiesToTemperature(TEMPERATURE_K, 1)
    for _ in tqdm(range(20), desc="equilibration, force field", leave=False):
        integrator.step(5 if quick else 1000)
    last = context.getState(getPositions=True, getVelocities=True)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, 10.0, INNER_FS / 1000)
    context = make_context(mixed.system, integrator, platform_name)
    context.setPositions(last.getPositions())
    context.setVelocities(last.getVelocities())
    for _ in tqdm(range(20), desc="equilibration, model", leave=False):
        integrator.step(5 if quick else 200)
    last = context.getState(getPositions=True, getVelocities=True)
    start = Start(
        {name: openmm.XmlSerializer.serialize(system) for name, system in systems.items()},
        region,
        last.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
        last.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond),
        platform_name,
    )
    return start, {
        "particles": mm.getNumParticles(),
        "degrees_of_freedom": degrees_of_freedom(mm),
        "region_atoms": len(region),
        **agreement(systems, start),
    }


def degrees_of_freedom(system: openmm.System) -> int:
    """Three for each particle, less the constraints."""
    return 3 * system.getNumParticles() - system.getNumConstraints()


def agreement(systems: dict[str, openmm.System], start: Start) -> dict[str, float]:
    """How far the two Systems are apart: energy in kJ/mol, root mean square force difference in kJ/mol/nm."""
    energies, forces = [], []
    for system in systems.values():
        context = make_context(system, openmm.VerletIntegrator(0.001), start.platform, start)
        state = context.getState(getEnergy=True, getForces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return {
        "energy_difference_of_systems_kj_per_mol": energies[1] - energies[0],
        "force_difference_of_systems_kj_per_mol_nm": float(np.sqrt(((forces[1] - forces[0]) ** 2).mean())),
    }


# ---- trajectories


def inefficiency(values: np.ndarray) -> float:
    """How many correlated samples are worth one: autocorrelation summed up to its first zero."""
    centred = values - values.mean()
    spectrum = np.correlate(centred, centred, "full")[len(values) - 1 :]
    if spectrum[0] <= 0:
        return 1.0
    ratio = spectrum / spectrum[0]
    end = int(np.argmax(ratio <= 0)) or len(ratio)
    return float(1 + 2 * ratio[1:end].sum())


def slope(times: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """Least-squares slope, its standard error with correlated residuals, and the residuals' standard deviation."""
    centred = times - times.mean()
    value = (centred * values).sum() / (centred**2).sum()
    residual = values - values.mean() - value * centred
    spread = float(residual.std(ddof=2)) if len(values) > 2 else float("nan")
    error = spread / np.sqrt((centred**2).sum()) * np.sqrt(inefficiency(residual))
    return float(value), float(error), spread


def samples(context: openmm.Context, outer_fs: float, picoseconds: float, region: list[int]) -> np.ndarray | None:
    """Time (ps), total energy (kJ/mol), temperature of all and of the region (K), in columns; None if it blew up."""
    system, integrator = context.getSystem(), context.getIntegrator()
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    every = max(1, round(SAMPLE_FS / outer_fs))
    freedom = degrees_of_freedom(system)
    rows = []
    for count in range(max(3, round(picoseconds * 1000 / (every * outer_fs)) + 1)):
        try:
            integrator.step(every if count else 0)
            state = context.getState(getEnergy=True, getVelocities=True)
        except openmm.OpenMMException as error:
            if not count or not any(word in str(error).lower() for word in ("nan", "finite")):
                raise  # something else is wrong than the time step
            return None
        velocities = state.getVelocities(asNumpy=True)._value
        kinetic = 0.5 * masses * (velocities**2).sum(axis=1)
        total = kinetic.sum() + state.getPotentialEnergy()._value
        hot = 2 * kinetic.sum() / (freedom * GAS_CONSTANT), 2 * kinetic[region].sum() / (3 * len(region) * GAS_CONSTANT)
        rows.append((count * every * outer_fs / 1000, total, *hot))
        if not np.isfinite(total) or abs(total - rows[0][1]) > LOST:
            return None
    return np.array(rows)


def trajectory(start: Start, scheme: str, outer_fs: float, picoseconds: float, langevin: bool) -> dict[str, object]:
    """Run one trajectory, with or without a thermostat, and reduce it to the numbers of the table."""
    torch.set_num_threads(1)
    system = start.system(scheme)
    parts = groups(scheme, round(outer_fs / INNER_FS))
    if langevin:
        integrator = openmm.MTSLangevinIntegrator(
            TEMPERATURE_K * unit.kelvin, FRICTION_PER_PS / unit.picosecond, outer_fs * unit.femtosecond, parts
        )
        integrator.setRandomNumberSeed(1)
    else:
        integrator = openmm.MTSIntegrator(outer_fs * unit.femtosecond, parts)
    context = make_context(system, integrator, start.platform, start)
    rows = samples(context, outer_fs, picoseconds, start.region)
    key = {"scheme": scheme, "outer_fs": outer_fs}
    if rows is None:
        return {**key, ("langevin_stable" if langevin else "nve_stable"): False}
    times, energies, temperature, region_temperature = rows.T
    if langevin:
        tail = slice(len(rows) // 5, None)
        found: dict[str, object] = {"langevin_stable": True, "langevin_ps": times[-1]}
        for name, values in (("", temperature[tail]), ("region_", region_temperature[tail])):
            found[f"{name}temperature_k"] = float(values.mean())
            found[f"{name}temperature_error_k"] = float(values.std() * np.sqrt(inefficiency(values) / len(values)))
        return {**key, **found}
    value, error, spread = slope(times / 1000, energies)
    freedom = degrees_of_freedom(system)
    return {
        **key,
        "nve_stable": True,
        "nve_ps": times[-1],
        "drift_kj_per_mol_ns_dof": value / freedom,
        "drift_error_kj_per_mol_ns_dof": error / freedom,
        "fluctuation_kj_per_mol": spread,
        "largest_deviation_kj_per_mol": float(np.abs(energies - energies[0]).max()),
        "energies_kj_per_mol": [round(float(e - energies[0]), 4) for e in energies],
        "times_ps": [round(float(t), 4) for t in times],
    }


# ---- speed


def speed(start: Start, plan: list[tuple[str, float]], rounds: int) -> dict[tuple[str, float], dict[str, float]]:
    """Time of 24 fs for every candidate in turn, round after round, beside plain LangevinMiddle at 0.5 fs.

    Returns
    -------
    dict
        By scheme and outer step: milliseconds for 1 fs, and the median over the rounds of the ratio to the plain
        integrator. The plain integrator itself is under ``(SINGLE, 0.5)``.
    """
    base = (SINGLE, INNER_FS)
    steppers = {}
    for scheme, outer_fs in dict.fromkeys([base, *plan]):
        if (scheme, outer_fs) == base:
            integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE_K, FRICTION_PER_PS, INNER_FS / 1000)
        else:
            integrator = openmm.MTSLangevinIntegrator(
                TEMPERATURE_K * unit.kelvin, FRICTION_PER_PS / unit.picosecond, outer_fs * unit.femtosecond,
                groups(scheme, round(outer_fs / INNER_FS)),
            )  # fmt: skip
        context = make_context(start.system(scheme), integrator, start.platform, start)
        integrator.step(2)
        steppers[scheme, outer_fs] = context, integrator, max(1, round(SAMPLE_FS / outer_fs))
    times: dict[tuple[str, float], list[float]] = {key: [] for key in steppers}
    for _ in tqdm(range(rounds), desc="timing", leave=False):
        for key, (context, integrator, steps) in steppers.items():
            context.setPositions(start.positions)
            context.setVelocities(start.velocities)
            before = time.perf_counter()
            integrator.step(steps)
            times[key].append((time.perf_counter() - before) / (steps * key[1]) * 1e3)
    arrays = {key: np.array(values) for key, values in times.items()}
    return {
        key: {"ms_per_fs": float(np.median(values)), "speedup": float(np.median(arrays[base] / values))}
        for key, values in arrays.items()
    }


# ---- what is written


def environment(arguments: argparse.Namespace) -> dict[str, object]:
    """Date, processor, versions, model and settings that belong beside every figure."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "date": date.today().isoformat(),
        "cpu": cpu,
        "platform": f"OpenMM {arguments.platform}, 1 thread a trajectory",
        **{name: version(name) for name in ("openmm", "torch", "nequip", "openmmml", "openmm-nequip")},
        "model_sha256": hashlib.sha256((DATA / "alanine-dipeptide.nequip.zip").read_bytes()).hexdigest(),
        "quick": arguments.quick,
    }


def number(row: dict[str, object], name: str, digits: int, error: str | None = None, stable: str = "") -> str:
    """A value, with its error if it has one, for a table."""
    if row.get(stable) is False:
        return "unstable"
    if name not in row:
        return "–"
    text = f"{row[name]:.{digits}f}"
    return f"{text} ± {row[error]:.{digits}f}" if error else text


def table(rows: list[dict[str, object]]) -> str:
    """The results in markdown."""
    lines = [
        "| scheme | outer step, fs | NVE drift, kJ/mol/ns/dof | NVE fluctuation, kJ/mol | T, K | T of the peptide, K "
        "| ms for 1 fs | speed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            str(row["scheme"]),
            f"{row['outer_fs']:g}",
            number(row, "drift_kj_per_mol_ns_dof", 3, "drift_error_kj_per_mol_ns_dof", "nve_stable"),
            number(row, "fluctuation_kj_per_mol", 2, None, "nve_stable"),
            number(row, "temperature_k", 1, "temperature_error_k", "langevin_stable"),
            number(row, "region_temperature_k", 0, "region_temperature_error_k", "langevin_stable"),
            number(row, "ms_per_fs", 2),
            number(row, "speedup", 2),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Drift, fluctuation and speed against the outer step; a dotted line is a step at which the energy blew up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    panels = (
        ("drift_kj_per_mol_ns_dof", "drift_error_kj_per_mol_ns_dof", "NVE drift, kJ/mol/ns/dof"),
        ("fluctuation_kj_per_mol", None, "NVE fluctuation, kJ/mol"),
        ("speedup", None, "speed against LangevinMiddle, 0.5 fs"),
    )
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    for axis, (name, error, label) in zip(axes, panels, strict=True):
        for scheme in schemes:
            color, mark = MARKS[scheme]
            shown = [row for row in rows if row["scheme"] == scheme and name in row]
            if not shown:
                continue
            axis.errorbar(
                [row["outer_fs"] for row in shown], [row[name] for row in shown],
                None if error is None else [row[error] for row in shown],
                color=color, marker=mark, markersize=5, linewidth=1.2, capsize=3, label=scheme,
            )  # fmt: skip
        axis.set_xlabel("outer step, fs")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    for row in rows:
        if row.get("nve_stable") is False:
            axes[0].axvline(row["outer_fs"], color=MARKS[row["scheme"]][0], linestyle=":", linewidth=1)
    axes[0].axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes[2].axhline(1, color="0.7", linewidth=0.8, zorder=0)
    handles, labels = axes[2].get_legend_handles_labels()
    axes[2].legend(handles, labels, frameon=False, fontsize=9)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def write(folder: Path, facts: dict[str, object], rows: list[dict[str, object]]) -> None:
    """Write results.json, table.md and picture.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(rows), encoding="utf-8")
    draw(rows, folder / "picture.png")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outer", type=float, nargs="+", default=[1, 1.5, 2, 2.5, 3, 4], help="outer steps, fs")
    parser.add_argument("--schemes", nargs="+", choices=[INSIDE, OUTSIDE, DIFFERENCE], default=[OUTSIDE, DIFFERENCE])
    parser.add_argument("--picoseconds", type=float, default=1.0, help="length of each NVE trajectory; 0 for none")
    parser.add_argument(
        "--langevin-picoseconds", type=float, default=1.0, help="length of each Langevin trajectory; 0 for none"
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing; 0 for none")
    parser.add_argument("--add", action="store_true", help="add to the results.json of an earlier run with these steps")
    parser.add_argument("--jobs", type=int, default=1, help="trajectories at the same time")
    parser.add_argument("--platform", default="CPU", choices=["CPU", "Reference"])
    parser.add_argument("--output", type=Path, default=Path("multiple_time_steps"), help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the numbers mean nothing")
    arguments = parser.parse_args()
    for outer in arguments.outer:
        if outer < INNER_FS or (outer / INNER_FS) % 1:
            parser.error(f"--outer {outer:g} is no multiple of the inner step of {INNER_FS} fs")
    if arguments.quick:
        arguments.outer, arguments.rounds, arguments.jobs = [1.0], 1, 1
        arguments.picoseconds = arguments.langevin_picoseconds = 0.096
    return arguments


def main() -> None:
    """Run everything and write the results."""
    arguments = parse()
    torch.set_num_threads(1)
    start, facts = prepare(arguments.platform, arguments.quick)
    facts = {**environment(arguments), **facts}
    plan = [(SINGLE, INNER_FS), *((scheme, outer) for scheme in arguments.schemes for outer in arguments.outer)]
    rows: dict[tuple[str, float], dict[str, object]] = {key: {"scheme": key[0], "outer_fs": key[1]} for key in plan}
    if arguments.add:
        earlier = json.loads((arguments.output / "results.json").read_text(encoding="utf-8"))["rows"]
        rows |= {(row["scheme"], row["outer_fs"]): row for row in earlier}
    tasks = [
        (start, scheme, outer, length, langevin)
        for langevin, length in ((False, arguments.picoseconds), (True, arguments.langevin_picoseconds))
        for scheme, outer in plan
        if length
    ]
    with tqdm(total=len(tasks), desc="trajectories") as bar:
        for result in run_all(tasks, arguments.jobs):
            rows[result["scheme"], result["outer_fs"]].update(result)
            write(arguments.output, facts, list(rows.values()))
            bar.update()
    if arguments.rounds:
        timed = [*plan, *((INSIDE, outer) for outer in arguments.outer if INSIDE not in arguments.schemes)]
        stable = [key for key in timed if rows.get(key, {}).get("langevin_stable") is not False]
        for key, found in speed(start, stable, arguments.rounds).items():
            rows.setdefault(key, {"scheme": key[0], "outer_fs": key[1]}).update(found)
        write(arguments.output, facts, list(rows.values()))
    print("\n" + table(list(rows.values())))
    print(facts)
    print(f"wrote results.json, table.md and picture.png to {arguments.output}")


def run_all(tasks: list[tuple], jobs: int):
    """Yield the results of the trajectories as they end, from this process or from several."""
    if jobs == 1:
        yield from (trajectory(*task) for task in tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(trajectory, *task) for task in tasks]):
            yield future.result()


if __name__ == "__main__":
    main()
