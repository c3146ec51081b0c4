"""Kill runs at random moments, go on with them, and see whether anything was lost, doubled or left behind.

    python benchmarks/kills.py [--kills 100] [--seed 1] [--roads warm first compiled]

A run of the shipped model, pure or hybrid, is killed at a random moment from its first import on (SIGKILL, and at
times SIGTERM or SIGINT, which are requests) and continued with ``--restart``, or begun anew where it had not written
anything, until it ends by itself. The roads: ``warm``, with a filled cache; ``first``, with an empty one, so that
kills fall into the reading of the model and the C++ compiler; ``compiled``, with an empty one and AOTInductor. In the
last two every other try is the command ``compile``. In the end every frame and row must be there once, and be the
same, to the last bit, as in a run that nobody killed; no process may be left, and no scratch folder or temporary
file, in the cache, the run folder or the system's folder for them. One JSON document on stdout.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mdtraj
import numpy as np

from openmm_nequip.app.run.trajectory_reading import silent_stdout

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "openmm_nequip" / "data"
MODEL, STRUCTURE = DATA / "alanine-dipeptide.nequip.zip", DATA / "alanine-dipeptide.pdb"
STEPS, INTERVAL = 600, 20
MARK = "OPENMM_NEQUIP_KILLS"
SHARES = {"warm": 0.45, "first": 0.25, "compiled": 0.3}
HOW = {
    "warm": ["--kernels", "fused"],
    "first": ["--kernels", "fused"],
    "compiled": ["--kernels", "none", "--compile"],
}
HYBRID = ["--ml-atoms", "resname ALA", "--forcefield", "amber14-all.xml"]
SIGNALS = [signal.SIGKILL] * 6 + [signal.SIGTERM, signal.SIGINT]
#: Most kills of one run: then it may end.
MOST = 8
#: Seconds that what a killed process has left has to clear itself up.
GRACE_S = 20.0


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


class Round:
    """A run with kills in it.

    Parameters
    ----------
    folder : pathlib.Path
        Everything is in it.
    road : str
        One of :data:`HOW`.
    hybrid : bool
        Whether a force field takes part.
    name : str
        What its processes are known by.
    """

    def __init__(self, folder, road, hybrid, name):
        self.folder, self.road, self.name = folder, road, name
        self.output, self.temporary = folder / "run", folder / "tmp"
        self.temporary.mkdir(parents=True)
        settings = dict(OPENMM_NEQUIP_CACHE=str(folder / "cache"), OMP_NUM_THREADS="1", TMPDIR=str(self.temporary))
        self.environment = dict(os.environ, **settings, **{MARK: name})
        self.command = [sys.executable, "-m", "openmm_nequip"]
        self.fresh = ["run", "--quiet", "--model", str(MODEL), "--structure", str(STRUCTURE), "--no-minimize",
                      "--steps", str(STEPS), "--equilibrate", "20", "--report-interval", str(INTERVAL), "--threads",
                      "1", "--checkpoint-interval", "50", "--platform", "Reference", "--seed", "7", "--output",
                      str(self.output), *HOW[road], *(HYBRID if hybrid else [])]  # fmt: skip
        self.kills, self.wrong, self.where = 0, [], {}

    def start(self, arguments):
        """A process of the round."""
        return subprocess.Popen(
            [*self.command, *arguments], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def undisturbed(self):
        """The seconds that it takes when nobody kills it."""
        began = time.monotonic()
        process = self.start(self.fresh)
        errors = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"the run itself fails: {errors.decode()[-500:]}")
        return time.monotonic() - began

    def left_over(self, ignored=()):
        """What is there and should not be; what clears itself up gets a moment."""
        began = time.monotonic()
        while True:
            found = [str(each) for each in marked(self.name)]
            # torch keeps a folder there for all processes of a user, whether or not they compile.
            found += [str(p) for p in self.temporary.iterdir() if not p.name.startswith("torchinductor_")]
            cache = [p for p in (self.folder / "cache").rglob("*") if p.name.startswith("openmm-nequip-")]
            found += [str(p) for p in cache]
            found += [str(p) for p in (self.folder / "cache").rglob("*") if ".part-" in p.name]
            found += [str(p) for p in self.output.glob(".*.tmp")]
            found = [each for each in found if not any(word in each for word in ignored)]
            if not found or time.monotonic() - began > GRACE_S:
                return found
            time.sleep(0.2)

    def go(self, draw, kills, seconds):
        """Kill it so often, then let it end."""
        while True:
            arguments = self.fresh
            if (self.output / "config.toml").exists():
                arguments = ["run", "--quiet", "--restart", "--output", str(self.output)]
            elif self.road != "warm" and self.kills < kills and draw.random() < 0.5:
                arguments = ["compile", str(MODEL), "--device", "cpu", "--quiet", *HOW[self.road][:2]]
            process = self.start(arguments)
            killing = self.kills < kills
            try:
                errors = process.communicate(timeout=draw.uniform(0.0, 0.9 * seconds) if killing else 3600.0)[1]
            except subprocess.TimeoutExpired:
                number = draw.choice(SIGNALS)
                process.send_signal(number)
                process.communicate(timeout=600.0)
                self.kills += 1
                self.where[arguments[0]] = self.where.get(arguments[0], 0) + 1
                # Half a file, and the folder in the cache that a process worked in, go with the next process that works
                # there: no fault here, and one at the end.
                swept = (".part-", ".tmp", f"{self.folder}/cache")
                kept = self.left_over(swept)
                self.wrong += [f"left by {signal.Signals(number).name}: {each}" for each in kept]
                continue
            if process.returncode:
                self.wrong.append(f"{arguments[0]}: exit {process.returncode}: {errors.decode()[-500:]}")
                return
            if arguments[0] == "run":
                break
        self.wrong += [f"left at the end: {each}" for each in self.left_over()]

    def results(self):
        """Rows and frames."""
        rows = (self.output / "log.csv").read_text()
        with silent_stdout():
            frames = mdtraj.load(str(self.output / "trajectory.dcd"), top=str(self.output / "start.pdb"))
        return rows, frames.xyz

    def compare(self, other):
        """What differs from the run that nobody killed."""
        (rows, frames), (expected_rows, expected) = self.results(), other.results()
        steps = [int(line.split(",")[0]) for line in rows.splitlines()[1:]]
        if steps != list(range(INTERVAL, STEPS + 1, INTERVAL)):
            self.wrong.append(f"rows: {steps}")
        elif rows != expected_rows:
            self.wrong.append("rows are there and differ from those of the run that nobody killed")
        if frames.shape != expected.shape:
            self.wrong.append(f"{len(frames)} frames instead of {len(expected)}")
        elif not np.array_equal(frames, expected):
            self.wrong.append(f"frames differ by {np.abs(frames - expected).max():.1e} nm")
        names = {path.name for path in self.output.iterdir()} ^ {path.name for path in other.output.iterdir()}
        if names:
            self.wrong.append(f"files in one folder alone: {sorted(names)}")


def try_road(road, kills, draw, scratch):
    """Kill on a road.

    Returns
    -------
    dict
        Numbers, and what was wrong.
    """
    known, done, rounds, wrong, where = {}, 0, 0, [], {}
    while done < kills:
        hybrid = rounds % 2 == 1
        if hybrid not in known:
            plain = Round(scratch / f"{road}-{hybrid}", road, hybrid, f"{os.getpid()}-{road}-{hybrid}")
            seconds = plain.undisturbed()
            if road == "warm":  # the first one filled the cache
                shutil.rmtree(plain.output)
                seconds = plain.undisturbed()
            known[hybrid] = plain, seconds
        plain, seconds = known[hybrid]
        one = Round(scratch / f"{road}-{rounds}", road, hybrid, f"{os.getpid()}-{road}-{rounds}")
        if road == "warm":
            shutil.copytree(plain.folder / "cache", one.folder / "cache")
        one.go(draw, min(MOST, kills - done), seconds)
        if one.output.joinpath("trajectory.dcd").exists():
            one.compare(plain)
        done, rounds = done + one.kills, rounds + 1
        wrong += [f"round {rounds}: {each}" for each in one.wrong]
        where = {name: where.get(name, 0) + one.where.get(name, 0) for name in {*where, *one.where}}
        print(f"{road}: {done} kills, {rounds} runs, {len(wrong)} wrong", file=sys.stderr, flush=True)
        if one.wrong:
            print("\n".join(one.wrong), file=sys.stderr, flush=True)
    return {"kills": done, "runs": rounds, "killed": where, "wrong": wrong}


def main():
    """Kill as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roads", nargs="+", choices=list(HOW), default=list(HOW))
    arguments = parser.parse_args()
    draw, document = random.Random(arguments.seed), {}
    shares = {road: SHARES[road] / sum(SHARES[name] for name in arguments.roads) for road in arguments.roads}
    with tempfile.TemporaryDirectory() as scratch:
        for road in arguments.roads:
            document[road] = try_road(road, max(1, round(arguments.kills * shares[road])), draw, Path(scratch))
    print(json.dumps(document, indent=2))
    return int(any(entry["wrong"] for entry in document.values()))


if __name__ == "__main__":
    sys.exit(main())
