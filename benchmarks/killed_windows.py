"""A potential of mean force from windows on two workers, one of which is killed half-way: is anything lost or doubled?

    python benchmarks/killed_windows.py [--windows 12] [--steps 2000] [--output FOLDER]

Windows along phi of the shipped peptide are run one after the other in this process, undisturbed, and then by
``openmm-nequip many`` with two workers. When half of the windows are done, the worker above a run with a checkpoint
gets signal 9. Every frame and row has to be there once and be the same to the last bit; ``openmm-nequip pmf`` makes the
profile. One JSON document on stdout; exit code 1 if anything differs.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mdtraj
import numpy as np
import psutil

from openmm_nequip.app.cli import main as run_command
from openmm_nequip.app.run.trajectory_reading import silent_stdout

DATA = Path(__file__).resolve().parent.parent / "openmm_nequip" / "data"
MODEL, STRUCTURE = DATA / "alanine-dipeptide.nequip.zip", DATA / "alanine-dipeptide.pdb"
PHI = "torsion 4 6 8 10"
#: Degrees, of the first and the last window, and kJ/mol/rad²: windows 10 degrees apart share a third of their samples.
ENDS, STRENGTH = (-170.0, -60.0), 60
INTERVAL = 20
#: Seconds until a run has to have a checkpoint.
PATIENCE_S = 3600.0


def command(words):
    """Run a command here without what it says on stdout; its exit code."""
    with contextlib.redirect_stdout(io.StringIO()):
        return run_command([*words, "--quiet", "--json"])


def settings(steps, centre, number):
    """Settings of a window as TOML lines."""
    values = {
        "model": str(MODEL), "structure": str(STRUCTURE), "steps": steps, "equilibrate": 1000, "threads": 1,
        "report-interval": INTERVAL, "checkpoint-interval": 100, "platform": "Reference", "seed": 100 + number,
        "bias": [f"{PHI} {centre:g} {STRENGTH}"],
    }  # fmt: skip
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()) + "\n"


def undisturbed(folder, windows, steps):
    """Run every window to its end; their folders."""
    found = []
    for number, centre in enumerate(windows):
        table = folder / f"{number:02d}.toml"
        table.write_text(settings(steps, centre, number) + f'output = "{folder / f"{number:02d}"}"\n')
        if command(["run", "--config", str(table)]) != 0:
            raise SystemExit(f"the window {number} fails by itself")
        found.append(folder / f"{number:02d}")
    return found


def done(folder):
    """Windows with a summary."""
    return len(list(folder.glob("*/summary.json")))


def kill_a_worker(pid, folder, half):
    """Kill the worker above a run that has a checkpoint, once half of the windows are done; what was killed."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for process in psutil.Process(pid).children(recursive=True) if done(folder) >= half else ():
            try:
                words = process.cmdline()
                if "run" not in words or "--output" not in words or any("supervisor" in word for word in words):
                    continue
                run = Path(words[words.index("--output") + 1])
                if not (run / "checkpoint.chk").exists() or (run / "summary.json").exists():
                    continue
                worker = process.parent().ppid()  # above a run is its supervisor, and above that the worker
                os.kill(worker, signal.SIGKILL)
            except (psutil.Error, OSError):
                continue
            return {"worker": worker, "run": run.name, "windows_done": done(folder)}
        time.sleep(0.05)
    raise SystemExit("no run had a checkpoint when half of the windows were done")


def disturbed(folder, windows, steps):
    """Run the windows on two workers and kill one; what was killed, and what ``many`` says."""
    table = folder / "windows.toml"
    rows = [
        f'[[run]]\nname = "{number:02d}"\n' + settings(steps, centre, number) for number, centre in enumerate(windows)
    ]
    table.write_text(f'output = "{folder}"\nworkers = 2\n' + "".join(rows))
    words = [sys.executable, "-m", "openmm_nequip", "many", "--config", str(table), "--json", "--quiet"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = kill_a_worker(process.pid, folder, len(windows) // 2)
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"many ended with {process.returncode}: {errors[-500:]}")
    return killed, json.loads(output)["runs"]


def contents(run):
    """Frames and rows of a run."""
    with silent_stdout():
        frames = mdtraj.load(str(run / "trajectory.dcd"), top=str(run / "start.pdb")).xyz
    return frames, (run / "log.csv").read_text()


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--output", help="an empty folder to keep everything in")
    arguments = parser.parse_args()
    folder = Path(arguments.output or tempfile.mkdtemp())
    calm, hit = folder / "calm", folder / "killed"
    for each in (calm, hit):
        each.mkdir(parents=True)
    windows = np.linspace(*ENDS, arguments.windows)
    began = time.monotonic()
    expected = undisturbed(calm, windows, arguments.steps)
    killed, runs = disturbed(hit, windows, arguments.steps)
    wrong, frames = [], 0
    for one, run in zip(expected, runs, strict=True):
        (points, rows), (others, other_rows) = contents(one), contents(Path(run["folder"]))
        frames += len(others)
        if len(others) != arguments.steps // INTERVAL:
            wrong.append(f"{run['name']}: {len(others)} frames")
        elif not np.array_equal(points, others):
            wrong.append(f"{run['name']}: frames differ by {np.abs(points - others).max():.1e} nm")
        if [row.split(",")[0] for row in rows.splitlines()] != [row.split(",")[0] for row in other_rows.splitlines()]:
            wrong.append(f"{run['name']}: other rows")
    code = command(["pmf", *(run["folder"] for run in runs), "--output", str(folder / "pmf")])
    document = {
        "windows": len(runs), "frames": frames, "killed": killed, "wrong": wrong, "pmf_code": code,
        "attempts": {run["name"]: run["attempts"] for run in runs}, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if wrong or code else 0


if __name__ == "__main__":
    sys.exit(main())
