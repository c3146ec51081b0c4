"""Run, select, label, fine-tune, and again: a model that learns where its own dynamics leads it.

Two small models of alanine dipeptide learn from a few frames of one conformer. Then, twice: one of them runs from
another conformer; `openmm-nequip select` takes the frames on which the two disagree and that lie far apart; GFN2-xTB
labels these; both models are fine-tuned on old and new frames. A last run ends the example, with a picture.
"""

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
from chemistry import dihedral, held_out, label, load_molecule, narrow, start_of_run
from picture import draw

from openmm_nequip.errors import SimulationError
from openmm_nequip.inputs import start_run

HERE = Path(__file__).resolve().parent
#: Frames and epochs of the two forms; `every`: of the held-out set; `number`: labels of a round.
SHORT = {"members": 2, "first": 64, "val": 8, "old_test": 60, "every": 3, "epochs": 125, "tuning": 200, "starts": 6,
         "steps": 200, "interval": 10, "number": 20, "kernels": "none"}  # fmt: skip
FULL = {"members": 3, "first": 200, "val": 20, "old_test": 60, "every": 1, "epochs": 200, "tuning": 300, "starts": 8,
        "steps": 10000, "interval": 50, "number": 60, "kernels": "auto"}  # fmt: skip
ROUNDS = 2
TEMPERATURE = 300.0  # K
#: Above these a frame is no structure that anybody wants to describe, eV/Å.
LARGEST_DEVIATION, LARGEST_FORCE = 10.0, 25.0
#: What nequip-train measures on its two test sets.
MEASURED = {"forces": ("forces_mae", "mev_per_angstrom"), "energy": ("per_atom_energy_mae", "mev_per_atom")}
SETS = {"held_out": "test0_epoch", "old": "test1_epoch"}


def execute(command):
    """Run a command and keep what it says; an error ends the example."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )
    with open("loop.log", "a") as log:
        log.write(f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout


def train(generation, form, seed):
    """Train or fine-tune all members, two at a time; their packages."""
    names = [f"g{generation}m{k}" for k in range(form["members"])]
    commands = []
    for k, name in enumerate(names):
        common = [HERE / "learn.py", "finetune" if generation else "train", name, f"seed={10 * seed + k}"]
        if generation:
            common += [f"package=g{generation - 1}m{k}.nequip.zip", f"epochs={form['tuning']}"]
        else:
            common += [f"epochs={form['epochs']}"]
        commands.append(common)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(execute, commands))
    return [f"{name}.nequip.zip" for name in names]


def errors(generation, form):
    """Mean absolute errors of a generation, averaged over its members, meV/Å and meV/atom; and each member's."""
    found = {name: {} for name in SETS}
    for name, prefix in SETS.items():
        for what, (column, unit) in MEASURED.items():
            values = []
            for k in range(form["members"]):
                with open(f"g{generation}m{k}/log/version_0/metrics.csv", newline="") as file:
                    rows = [row.get(f"{prefix}/{column}") for row in csv.DictReader(file)]
                values.append(1000 * float(next(value for value in rows if value)))
            found[name][f"{what}_mae_{unit}"] = float(np.mean(values))
            found[name][f"{what}_mae_{unit}_of_members"] = values
    return found


def run_and_select(round_, models, form, seed):
    """Dynamics of the first model from other conformers, and what `select` makes of it."""
    runs = []
    for k in range(form["starts"]):
        start, folder = f"start{round_}-{k}.pdb", f"run{round_}-{k}"
        each = 1000 * seed + 100 * round_ + k  # no two runs of any seed from one start
        start_of_run(start, each)
        settings = {
            "model": models[0], "structure": start, "output": folder, "temperature": TEMPERATURE, "seed": each,
            "steps": form["steps"], "report-interval": form["interval"], "equilibrate": 0, "minimize": False,
            "platform": "Reference", "threads": 1, "compile": False, "kernels": form["kernels"],
        }  # fmt: skip
        try:
            start_run(settings)
        except SimulationError as error:  # the frames before are there, and are what is looked for
            print(f"{folder} ended early: {error}")
        runs.append(folder)
    words = ["--committee", *models, "--known", "train.xyz", "val.xyz", "--number", form["number"]]
    words += ["--below", LARGEST_DEVIATION, "--kernels", form["kernels"], "--output", f"select{round_}", "--json"]
    return json.loads(execute(["-m", "openmm_nequip", "select", *runs, *words]))


def learn_from(folder, round_):
    """Label the frames of a selection and add them to the training and validation sets; how many."""
    frames = label([frame.positions for frame in ase.io.read(f"{folder}/selected.extxyz", ":")], f"round{round_}")
    frames = [frame for frame in frames if np.abs(frame.get_forces()).max() < LARGEST_FORCE]
    # Old frames stay in the sets: a model that sees new ones alone forgets what it knew.
    for name, new in (("val", frames[::6]), ("train", [frame for i, frame in enumerate(frames) if i % 6])):
        ase.io.write(f"{name}.xyz", ase.io.read(f"{name}.xyz", ":") + new, format="extxyz")
    return len(frames)


def torsions(path):
    """Both torsions of each frame in degrees (frames, 2), by the frame's origin."""
    frames = ase.io.read(path, ":")
    positions = np.array([frame.positions for frame in frames])
    angles = np.stack([dihedral(positions, quadruple) for quadruple in load_molecule()[2]], axis=1)
    origins = np.array([frame.info["config_type"] for frame in frames])
    return {str(origin): angles[origins == origin].tolist() for origin in dict.fromkeys(origins)}


def say(generation, found):
    """One line for each test set."""
    for name, row in found.items():
        forces, energy = row["forces_mae_mev_per_angstrom"], row["energy_mae_mev_per_atom"]
        print(f"models {generation}, {name:9} forces {forces:7.1f} meV/Å, energy {energy:6.2f} meV/atom", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the full form; without it, one of some minutes")
    parser.add_argument("--output", default="output", help="folder to work in")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    form = FULL if options.full else SHORT
    began = time.perf_counter()
    Path(options.output).mkdir(parents=True)
    os.chdir(options.output)

    for i, name in enumerate(("train", "val", "old_test")):
        count = form["first"] if name == "train" else form[name]
        ase.io.write(f"{name}.xyz", narrow(count, options.seed + 10 * i), format="extxyz")
    ase.io.write("held_out.xyz", held_out(form["every"]), format="extxyz")
    result = {"form": form, "generations": [], "rounds": []}
    models = train(0, form, options.seed)
    for round_ in range(1, ROUNDS + 2):
        result["generations"].append(errors(round_ - 1, form))
        say(round_ - 1, result["generations"][-1])
        chosen = run_and_select(round_, models, form, options.seed)
        deviation = chosen["deviation_ev_per_angstrom"]
        row = {"frames": chosen["frames_read"], "chosen": chosen["frames_chosen"], "fates": chosen["fates"]}
        row |= {"median_deviation": deviation["median"], "largest_deviation": deviation["largest"]}
        if round_ <= ROUNDS:
            row["labelled"] = learn_from(f"select{round_}", round_)
            models = train(round_, form, options.seed)
        result["rounds"].append(row)
        print(f"run {round_}: {row}", flush=True)
    result["torsions"] = torsions("train.xyz")
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result["cpu_seconds"] = round(sum(each.ru_utime + each.ru_stime for each in used))
    result["seconds"] = round(time.perf_counter() - began)
    Path("results.json").write_text(json.dumps(result, indent=1) + "\n")
    draw("picture.png", result)
    print(f"{options.output}/picture.png, results.json; {result['cpu_seconds']} s of CPU time, {result['seconds']} s")


if __name__ == "__main__":
    main()
