"""One system on 1, 2 and 4 ranks of LAMMPS: agreement, bytes, drift and parallel efficiency.

    python benchmarks/ranks.py --model MODEL.nequip.zip [--side 3.3] [--ranks 1 2 4] [--steps 5] [--rounds 3]

A cube of water (tip3p's density) with velocities at 300 K. Each number of ranks takes --rounds times --steps steps;
ranks that are not in use sleep, and each rank has one thread. Efficiency is the time of one rank over N times that of
N, each the least of the rounds; it says something up to as many ranks as there are cores. The reference for energy,
forces and pressure is the same model in one process without ranks, as OpenMM's road evaluates it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from openmm_nequip.app.engines.lammps.lammps_input import data_file
from openmm_nequip.app.engines.lammps.mpi_programs import find_mpiexec, rank_environment
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import load_model, locate, read_info
from openmm_nequip.units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, Units

PROBE = Path(__file__).resolve().parents[1] / "tests" / "rank_probe.py"
MASSES = {"H": 1.007947, "O": 15.99943}
GAS_CONSTANT = 8.31446261815324e-3  # kJ/mol/K
#: Columns of what a rank tells.
ATOMS, GHOSTS, USED, FEATURES, GRADIENTS, FORCES, PLANS, EVALUATIONS = range(8)


def water(side_nm: float) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Elements, positions and velocities, in nm and nm/ps."""
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    forcefield = app.ForceField("amber14/tip3p.xml")
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1, 1, 1) * side_nm * unit.nanometer)
    elements = [atom.element.symbol for atom in modeller.topology.atoms()]
    masses = np.array([[MASSES[element]] for element in elements])
    velocities = np.random.default_rng(1).normal(size=(len(elements), 3)) * np.sqrt(GAS_CONSTANT * 300 / masses)
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    return elements, np.array(modeller.positions.value_in_unit(unit.nanometer)), velocities


def main() -> None:
    """Parse the command line, measure, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="checkpoint or package with types H and O")
    parser.add_argument("--side", type=float, default=3.3, help="nm")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=5, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--no-reference", action="store_true", help="leave the single process out")
    arguments = parser.parse_args()
    elements, positions, velocities = water(arguments.side)
    box = np.eye(3) * arguments.side
    info = read_info(locate(arguments.model))
    table = info.per_edge_type_cutoff or [[info.cutoff] * len(info.type_names)] * len(info.type_names)
    rules = {"model_types": [info.type_names.index(name) for name in MASSES], "cutoffs": table}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        types = [list(MASSES).index(element) + 1 for element in elements]
        text = data_file(positions * 10, velocities * 10, types, list(MASSES.values()), box * 10)
        (folder / "atoms.data").write_text(text)
        model = {"path": arguments.model, "cutoff": info.cutoff, "rules": rules}
        job = {
            "models": {"model": model}, "sizes": arguments.ranks, "data": str(folder / "atoms.data"), "periodic": True,
            "dynamics": {"timestep": arguments.timestep * 1e-3}, "steps": arguments.steps, "blocks": arguments.rounds,
            "answers": str(folder / "answers.npz"),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job))
        command = [find_mpiexec(), "-n", str(max(arguments.ranks)), sys.executable, str(PROBE)]
        subprocess.run([*command, str(folder / "job.json")], env=rank_environment(1), check=True)
        found = dict(np.load(folder / "answers.npz"))
    answers = {size: {k.split("-", 2)[2]: v for k, v in found.items() if k.startswith(f"model-{size}-")}
               for size in arguments.ranks}  # fmt: skip
    print(f"{len(elements)} atoms, {info.dtype}, cutoff {info.cutoff:g} Å")
    if not arguments.no_reference:
        compare(arguments.model, elements, positions, velocities, box, answers)
    show(answers, len(elements), arguments)


def compare(path: str, elements: list[str], positions: np.ndarray, velocities: np.ndarray, box: np.ndarray,
            answers: dict) -> None:  # fmt: skip
    """Differences to one process without ranks."""
    model = load_model(path, compile=False, kernels="none")
    types = np.array([model.info.type_names.index(element) for element in elements])
    out = Evaluator(model, Units(), Placement(len(types), types), True, 0.0).evaluate(positions, box)
    masses = np.array([[MASSES[element]] for element in elements])
    kinetic = (masses * velocities**2).sum() / 3 / np.linalg.det(box) * BAR_PER_KJ_PER_MOL_PER_NM3
    pressure = kinetic - np.trace(out["stress"]) / 3
    print("| ranks | energy, relative | largest difference of a force component, eV/Å | pressure, relative |")
    print("|---|---|---|---|")
    for size, answer in answers.items():
        energy = out["energy"] / KJ_PER_MOL_PER_EV
        forces = out["forces"] / KJ_PER_MOL_PER_EV / 10
        difference = np.abs(answer["rows"][:, 7:] - forces).max()
        print(
            f"| {size} | {abs(answer['energy'] / energy - 1):.1e} | {difference:.1e} |"
            f" {abs(answer['pressure'] / pressure - 1):.1e} |"
        )


def show(answers: dict, n_atoms: int, arguments: argparse.Namespace) -> None:
    """What ranks hold and receive, how long steps take, and what becomes of the energy."""
    print(
        "| ranks | own atoms | ghosts in use (of LAMMPS) | received in a step: features, gradients, forces, kB | "
        "who has what, kB in all | s per step, least (each round) | efficiency | drift, meV per atom and ps |"
    )
    print("|---|---|---|---|---|---|---|---|")
    first = None
    for size, answer in answers.items():
        ranks = answer["traffic"]
        per_step = ranks[:, [FEATURES, GRADIENTS, FORCES]] / ranks[:, [EVALUATIONS]] / 1e3
        seconds = answer["seconds"] / arguments.steps
        best = float(seconds.min())
        first = first or best * size
        energies = answer["energies"]
        times = (np.arange(len(energies)) + 1) * arguments.steps * arguments.timestep * 1e-3
        drift = np.polyfit(times, energies, 1)[0] / n_atoms * 1e3 if len(energies) > 1 else float("nan")
        print(
            f"| {size} | {', '.join(map(str, ranks[:, ATOMS]))} | "
            f"{', '.join(f'{row[USED]} ({row[GHOSTS]})' for row in ranks)} | "
            f"{'; '.join(', '.join(f'{value:.0f}' for value in row) for row in per_step)} | "
            f"{ranks[:, PLANS].max() / 1e3:.0f} | {best:.3f} ({', '.join(f'{s:.3f}' for s in seconds)}) | "
            f"{first / best / size:.2f} | {drift:.3g} |"
        )


if __name__ == "__main__":
    main()
