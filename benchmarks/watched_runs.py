"""Runs that go wrong, and runs that do not: what the watch says of each.

Usage: python benchmarks/watched_runs.py [--shared FOLDER] [--only WORD] [--output TABLE.md]

FOLDER holds the published water models (``data/cp2k``); rows that need them say so when it is absent. Every row is a
run of the command line in a folder of its own; the exit code is 3 for a run that is not to be trusted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.build
import ase.io
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "openmm_nequip" / "data"
PEPTIDE = DATA / "alanine-dipeptide.pdb"
MODEL = DATA / "alanine-dipeptide.nequip.zip"
TOY = ROOT / "tests" / "data" / "tiny-nequip.nequip.pth"
AMBER = ["--forcefield", "amber14-all.xml", "amber14/tip3p.xml"]
SOLUTION = ["--ml-atoms", "resname ACE ALA NME", *AMBER, "--solvate", "0.7"]


def water_box(path: Path, edge: int = 3) -> str:
    """Water molecules at the density of water, on a grid, turned at random."""
    rng = np.random.default_rng(1)
    spacing = 3.104
    box = ase.Atoms()
    for place in np.ndindex(edge, edge, edge):
        molecule = ase.build.molecule("H2O")
        molecule.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COP")
        molecule.positions += (np.array(place) + 0.5) * spacing - molecule.get_center_of_mass()
        box += molecule
    box.set_cell([edge * spacing] * 3)
    box.pbc = True
    ase.io.write(path, box)
    return str(path)


def residues_of(box: ase.Atoms, path: Path) -> str:
    """A PDB file in which every three atoms are a water, as force fields want them."""
    ase.io.write(path, box)
    lines, k = [], 0
    for line in path.read_text().splitlines():
        if line.startswith("ATOM"):
            name = ("O", "H1", "H2")[k % 3]
            line = f"HETATM{k + 1:5d}  {name:<3s} HOH A{k // 3 + 1:4d}{line[26:]}"
            k += 1
        lines.append(line)
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def rows(folder: Path, shared: Path):
    """Name, exit code that is right, words that the answer must have, and arguments of ``run``."""
    box = water_box(folder / "water.extxyz")
    small = water_box(folder / "small.extxyz", 2)
    peptide = ["--model", MODEL, "--structure", PEPTIDE]
    yield "dipeptide, 4 fs", 3, "time step", [*peptide, "--timestep", 4, "--steps", 2000]
    yield "dipeptide, 3 fs", 3, "bonds", [*peptide, "--timestep", 3, "--steps", 2000]
    toy = ["--model", TOY, "--structure", box, "--ensemble", "npt", "--steps", 2000, "--equilibrate", 0]
    yield "toy water, NPT", 3, "wrong", toy
    rigid = residues_of(ase.io.read(box), folder / "water.pdb")
    gromacs = ["--model", MODEL, "--structure", rigid, "--forcefield", "amber14/tip3p.xml", "--ml-atoms", "resid 0"]
    gromacs += ["--steps", 4000]
    yield "water of a box by a peptide model", 3, "", gromacs
    yield "the same, NPT", 3, "", [*gromacs, "--ensemble", "npt"]
    for ensemble in ("nve", "nvt"):
        for step in (0.25, 0.5, 1.0):
            yield f"dipeptide, {ensemble}, {step} fs", 0, "", [
                *peptide, "--ensemble", ensemble, "--timestep", step, "--steps", 4000,
            ]  # fmt: skip
    for temperature in (100, 500):
        yield f"dipeptide, {temperature} K", 0, "", [*peptide, "--temperature", temperature, "--steps", 4000]
    yield "dipeptide, not minimised, not equilibrated", 0, "", [
        *peptide, "--no-minimize", "--equilibrate", 0, "--steps", 4000,
    ]  # fmt: skip
    yield "dipeptide, reactive", 0, "", [*peptide, "--reactive", "--steps", 4000]
    for ensemble in ("nve", "nvt", "npt"):
        yield f"dipeptide in water, {ensemble}", 0, "", [*peptide, *SOLUTION, "--ensemble", ensemble, "--steps", 2000]
    links = ["--ml-atoms", "resname ALA", *AMBER]
    yield "a residue with link atoms, vacuum", 0, "", [*peptide, *links, "--steps", 2000]
    yield "a residue with link atoms, water", 0, "", [*peptide, *links, "--solvate", "0.7", "--steps", 1000]
    yield "dipeptide in water, 1 fs", 0, "", [*peptide, *SOLUTION, "--timestep", 1, "--steps", 2000]
    yield "dipeptide in water, molecules put into the box", 0, "", [
        *peptide, *SOLUTION, "--wrap", "molecules", "--trajectory", "xtc", "--steps", 1000,
    ]  # fmt: skip
    yield "dipeptide, without tables", 0, "", [*peptide, "--no-tables", "--steps", 2000]
    yield "dipeptide, on the Reference platform", 0, "", [*peptide, "--platform", "Reference", "--steps", 1000]
    water = shared / "data/cp2k/water-deployed-neq060sp.pth"
    scan = shared / "data/cp2k/waterscan-neq0.16.nequip.pth"
    for name, model in (("water", water), ("water, SCAN", scan)):
        for ensemble in ("nve", "nvt", "npt"):
            yield f"{name}, {ensemble}", 0, "", [
                "--model", model, "--structure", box, "--ensemble", ensemble, "--steps", 600,
            ]  # fmt: skip
        yield f"{name}, reactive", 0, "", ["--model", model, "--structure", box, "--reactive", "--steps", 600]
        yield f"{name}, small box", 0, "", ["--model", model, "--structure", small, "--steps", 600]
        yield f"{name}, 400 K, wrapped", 0, "", [
            "--model", model, "--structure", box, "--temperature", 400, "--wrap", "molecules", "--steps", 600,
        ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--only", default="")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    table = ["| run | exit code | right | what was found |", "|---|---|---|---|"]
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, code, words, arguments) in enumerate(rows(Path(scratch), options.shared)):
            if options.only not in name:
                continue
            absent = [str(a) for a in arguments if isinstance(a, Path) and not a.exists()]
            if absent:
                table.append(f"| {name} | not run | {code} | absent: {', '.join(absent)} |")
                continue
            command = [sys.executable, "-m", "openmm_nequip", "run", "--quiet", "--json", "--seed", "3"]
            command += ["--threads", "1", "--output", f"{scratch}/{number}", *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            summary = json.loads(done.stdout) if done.stdout.startswith("{") else {"suspicions": []}
            found = "; ".join(row["line"] for row in summary.get("suspicions", ())) or done.stderr[-200:].strip()
            ok = done.returncode == code and words in found
            wrong += not ok
            temperature = summary.get("averages", {}).get("temperature_k", {}).get("mean")
            found = (f"{temperature:.0f} K; " if temperature else "") + (found or "nothing")
            right = code if ok else f"**{code}**"
            table.append(f"| {name} | {done.returncode} | {right} | {found.replace('|', '/')} |")
            print(table[-1], flush=True)
    text = "\n".join([*table, "", f"{wrong} not as they should be"])
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text.splitlines()[-1])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
