"""The example of multiple time steps: its quick run writes what it promises, and its Systems and integrators agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "examples" / "multiple_time_steps" / "run.py"
#: Total energy, kJ/mol: how far 0.1 ps with an outer step of 1 fs may move it from where it started. Measured: below 3,
#: most of it the error of the integrator, which comes and goes with the bond vibrations; kT times the degrees of
#: freedom of the peptide is 160.
ENERGY_CONSERVED = 15.0
#: kJ/mol and kJ/mol/nm between the mixed System and force field + difference force, in single precision.
SYSTEMS_AGREE = 0.02
SYSTEMS_AGREE_FORCE = 0.05


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folder that ``run.py --quick`` wrote, and its results.json."""
    folder = tmp_path_factory.mktemp("mts")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--output", str(folder)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "results.json").read_text())


def by_scheme(results):
    return {row["scheme"]: row for row in results[1]["rows"]}


def test_writes_table_and_picture(results):
    folder, _ = results
    lines = (folder / "table.md").read_text().splitlines()
    assert len(lines) == 2 + 4 and all(line.count("|") == lines[0].count("|") for line in lines)
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_says_where_it_was_measured(results):
    facts = results[1]
    assert facts["quick"] and len(facts["model_sha256"]) == 64
    assert all(facts[name] for name in ("date", "cpu", "openmm", "torch", "nequip"))


def test_difference_system_is_the_mixed_system(results):
    facts = results[1]
    assert abs(facts["energy_difference_of_systems_kj_per_mol"]) < SYSTEMS_AGREE
    assert facts["force_difference_of_systems_kj_per_mol_nm"] < SYSTEMS_AGREE_FORCE


@pytest.mark.parametrize("scheme", ["one step for all", "model outside", "difference outside"])
def test_outer_step_of_1_fs_conserves_energy(results, scheme):
    row = by_scheme(results)[scheme]
    assert row["outer_fs"] == (0.5 if scheme == "one step for all" else 1.0)
    assert row["nve_stable"] and row["langevin_stable"]
    assert row["largest_deviation_kj_per_mol"] < ENERGY_CONSERVED


def test_refuses_an_outer_step_that_does_not_fit(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--outer", "1.2", "--output", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and "1.2 is no multiple of the inner step of 0.5 fs" in done.stderr
