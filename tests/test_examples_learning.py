"""The learning loop: its pieces, and what the page says of the run that was made for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "learning_loop"
#: The runs of the page, by seed.
RESULTS = {1: "results.json", 2: "results_seed2.json"}
#: What the energy error of the old set may rise by and count as unchanged, meV/atom: first models that differ by their
#: seed alone lie up to 0.36 apart.
NOISE = 0.3
KEYS = ("forces_mae_mev_per_angstrom", "energy_mae_mev_per_atom")


def errors(seed, name, key):
    """One error of the three generations, of the run with this seed."""
    results = json.loads((EXAMPLE / RESULTS[seed]).read_text())
    return np.array([row[name][key] for row in results["generations"]])


@pytest.mark.parametrize("seed", RESULTS)
def test_two_rounds_make_it_better(seed):
    """Of the runs of the page, each by itself: held out all falls, and what was known is not forgotten."""
    for key in KEYS:
        found = errors(seed, "held_out", key)
        assert len(found) == 3 and found[2] < found[0]
    forces, energy = (errors(seed, "old", key) for key in KEYS)
    assert forces[2] < forces[0]
    assert energy[2] - energy[0] < NOISE


def test_the_page_has_the_numbers():
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    for seed in RESULTS:
        for name in ("held_out", "old"):
            for forces, energy in zip(*(errors(seed, name, key) for key in KEYS), strict=True):
                assert f"{forces:.1f}" in page and f"{energy:.2f}" in page
    assert (EXAMPLE / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_names_commands_that_are():
    from openmm_nequip.app.cli import make_parser

    text = (EXAMPLE / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^    openmm-nequip (.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        make_parser().parse_args(command.split())


@pytest.mark.slow
def test_a_round_in_pieces(tmp_path):
    """First frames, one training, frames of a run chosen and labelled, and fine-tuning on both sets."""
    work = f"""
import sys
sys.path.insert(0, {str(EXAMPLE)!r})
import ase.io
from chemistry import held_out, label, narrow, start_of_run
for i, (name, count) in enumerate({{"train": 5, "val": 2, "old_test": 2}}.items()):
    ase.io.write(f"{{name}}.xyz", narrow(count, i), format="extxyz")
ase.io.write("held_out.xyz", held_out(100), format="extxyz")
start_of_run("start.pdb", 3)
start = ase.io.read("start.pdb")
frames = label([start.positions, start.positions + 0.01 * (start.numbers[:, None] - 6)], "round1")
ase.io.write("new.xyz", frames, format="extxyz")
"""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    run = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", work], **run)
    assert done.returncode == 0, done.stderr
    first, new = (ase.io.read(tmp_path / f"{name}.xyz", ":") for name in ("train", "new"))
    assert len(first) == 5 and len(new) == 2
    assert all(np.isfinite(frame.get_forces()).all() and frame.get_potential_energy() < -800 for frame in first + new)
    for words in (["train", "a"], ["finetune", "b", "package=a.nequip.zip"]):
        done = subprocess.run([sys.executable, str(EXAMPLE / "learn.py"), *words, "epochs=1"], **run)
        assert done.returncode == 0, done.stderr[-3000:]
        ase.io.write(tmp_path / "train.xyz", first + new, format="extxyz")
        assert (tmp_path / f"{words[1]}.nequip.zip").stat().st_size > 100_000
        table = (tmp_path / words[1] / "log" / "version_0" / "metrics.csv").read_text()
        assert "test0_epoch/forces_mae" in table and "test1_epoch/per_atom_energy_mae" in table
