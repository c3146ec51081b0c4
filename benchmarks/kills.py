"""Kill runs at random moments, go on with them, and see whether anything was lost, doubled or left behind.

    python benchmarks/kills.py [--kills 100] [--seed 1] [--compile]

Each run of a small water box is killed by SIGKILL at a random moment, from its first import on, and restarted with
``--restart`` (or begun anew where it had not written anything), until it ends by itself. With ``--compile`` each begins
with an empty cache, so that kills fall into compilations as well. In the end every frame and every row must be there
once, no process of the run may be left, and no scratch folder or temporary file. One JSON document on stdout.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests" / "data" / "tiny-nequip.nequip.zip"
STEPS, INTERVAL = 600, 20
MARK = "OPENMM_NEQUIP_KILLS"


def water(path, edge=3):
    """A small box of molecules that the test model knows."""
    lines = []
    for k in range(edge**3):
        x, y, z = (3.1 * (k // edge**j % edge) for j in range(3))
        lines += [f"O {x} {y} {z}", f"H {x + 0.96} {y} {z}", f"H {x - 0.24} {y + 0.93} {z}"]
    lattice = " ".join(str(3.1 * edge * (row == column)) for row in range(3) for column in range(3))
    head = f'{len(lines)}\nLattice="{lattice}" pbc="T T T" Properties=species:S:1:pos:R:3\n'
    path.write_text(head + "\n".join(lines) + "\n")


def marked(value):
    """Processes that were started for this round, by their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                found += [int(folder.name)] if state != "Z" else []
        except OSError:
            continue
    return found


def left_over(folder, round_):
    """What a killed process has left, after a moment to clear up."""
    for _ in range(100):
        files = [p for p in (folder / "cache").rglob("*") if "openmm-nequip-" in p.name or ".part-" in p.name]
        processes = marked(round_)
        if not files and not processes:
            return []
        time.sleep(0.1)
    return [str(path) for path in files] + processes


def one_run(folder, draw, kills_left, round_):
    """A run with kills in it.

    Returns
    -------
    tuple of int and list of str
        Number of kills, and what was wrong.
    """
    water(folder / "water.extxyz")
    output = folder / "run"
    environment = dict(os.environ, OPENMM_NEQUIP_CACHE=str(folder / "cache"), OMP_NUM_THREADS="1")
    environment[MARK] = str(round_)
    command = [sys.executable, "-m", "openmm_nequip", "run", "--quiet"]
    fresh = ["--model", str(MODEL), "--structure", str(folder / "water.extxyz"), "--output", str(output),
             "--steps", str(STEPS), "--equilibrate", "20", "--report-interval", str(INTERVAL), "--threads", "1",
             "--checkpoint-interval", "50", "--no-minimize", "--kernels", "fused"]  # fmt: skip
    kills, wrong = 0, []
    while True:
        again = ["--restart", "--output", str(output)] if (output / "config.toml").exists() else fresh
        words = [*command, *again]
        process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        patience = draw.uniform(0.0, 12.0) if kills < kills_left else 600.0
        try:
            _, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            wrong += [f"left behind: {each}" for each in left_over(folder, round_)]
            continue
        if process.returncode == 0:
            break
        return kills, [*wrong, f"exit {process.returncode}: {errors.decode()[-300:]}"]
    rows = [int(line.split(",")[0]) for line in (output / "log.csv").read_text().splitlines()[1:]]
    if rows != list(range(INTERVAL, STEPS + 1, INTERVAL)):
        wrong.append(f"rows: {rows}")
    import mdtraj

    frames = mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "start.pdb")).n_frames
    if frames != STEPS // INTERVAL:
        wrong.append(f"{frames} frames instead of {STEPS // INTERVAL}")
    return kills, wrong


def main():
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="an empty cache for every run")
    arguments = parser.parse_args()
    draw, kills, rounds, wrong = random.Random(arguments.seed), 0, 0, []
    with tempfile.TemporaryDirectory() as scratch:
        while kills < arguments.kills:
            folder = Path(scratch) / str(rounds)
            folder.mkdir()
            if rounds and not arguments.compile:
                os.symlink(Path(scratch) / "0" / "cache", folder / "cache")
            done, found = one_run(folder, draw, min(6, arguments.kills - kills), f"{os.getpid()}-{rounds}")
            kills, rounds, wrong = kills + done, rounds + 1, wrong + found
    print(json.dumps({"kills": kills, "runs": rounds, "wrong": wrong}, indent=2))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
