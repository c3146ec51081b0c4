"""The example of the equation of state: its numbers against a lattice sum of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.build
import ase.units
import numpy as np
import pytest
from crystals import carbon
from scipy.optimize import minimize_scalar
from toy import write_toy

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "examples" / "crystal_equation_of_state" / "run.py"
#: eV per atom; Å of the lattice constant; GPa of the bulk modulus and of pressures. Strains of up to 1 %.
ENERGY, CONSTANT, MODULUS, PRESSURE = 1e-9, 1e-4, 5e-3, 1e-3


def run(output, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--output", str(output), *arguments], capture_output=True, text=True, timeout=600
    )


def lattice_sum(constant):
    """Energy per atom (eV) of fcc argon with the example's parameters."""
    sigma, epsilon, cutoff = 3.405, 0.01032, 10.0
    ticks = np.arange(-6, 7)
    sites = (
        np.stack(np.meshgrid(ticks, ticks, ticks), -1).reshape(-1, 3) @ ase.build.bulk("Ar", "fcc", constant).cell[:]
    )
    r = np.linalg.norm(sites, axis=1)
    r = r[(r > 1e-9) & (r < cutoff)]
    x = r / cutoff
    fade = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
    return float(np.sum(2 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) * fade))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eos")
    done = run(folder, "--strain", "0.01", "--points", "9", "--temperatures", "2", "--samples", "40")
    assert done.returncode == 0, done.stderr
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "results.json").read_text())


def test_energies_are_those_of_the_lattice_sum(results):
    for volume, energy in zip(results["volumes"], results["energies"], strict=True):
        assert energy == pytest.approx(lattice_sum(np.cbrt(4 * volume)), abs=ENERGY)


def test_lattice_constant_and_bulk_modulus(results):
    best = minimize_scalar(lattice_sum, bounds=(5.1, 5.4), method="bounded", options={"xatol": 1e-9}).x
    assert np.allclose(results["lattice_constants_of_fit"], best, rtol=0, atol=CONSTANT)
    assert np.allclose(results["lattice_constants_without_pressure"], best, rtol=0, atol=1e-6)
    assert results["volume_without_pressure"] == pytest.approx(best**3 / 4, abs=1e-5)
    step = 1e-3
    curvature = (lattice_sum(best + step) - 2 * lattice_sum(best) + lattice_sum(best - step)) / step**2
    modulus = curvature * 4 / (9 * best) / ase.units.GPa  # V d2E/dV2 with V = a^3/4
    assert results["bulk_modulus_gpa"] == pytest.approx(modulus, abs=MODULUS)


def test_pressures_are_derivatives_of_the_lattice_sum(results):
    step = 1e-4
    for volume, pressure in zip(results["volumes"], results["pressures_gpa"], strict=True):
        low, high = (lattice_sum(np.cbrt(4 * (volume + sign * step))) for sign in (-1, 1))
        assert pressure == pytest.approx(-(high - low) / (2 * step) / ase.units.GPa, abs=1e-6)


def test_dynamics_is_near_the_minimum(results):
    (row,) = results["npt"]
    assert row["volume"] == pytest.approx(results["volume_of_fit"], rel=0.01) and row["error"] > 0


def test_other_models_and_bad_input(tmp_path):
    model = write_toy(tmp_path / "toy.pth", types="Ar")
    ase.io.write(tmp_path / "argon.cif", ase.build.bulk("Ar", "fcc", 5.26, cubic=True))
    given = ["--model", str(model), "--structure", str(tmp_path / "argon.cif"), "--quick", "--points", "5"]
    assert run(tmp_path / "out", *given).returncode == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    # The toy model of the tests: sigma 3.4 Å, cutoff 9 Å.
    assert results["lattice_constants_without_pressure"][0] == pytest.approx(5.26824, abs=2e-5)
    ase.io.write(tmp_path / "argon.cif", ase.build.bulk("Ar", "fcc", 6.0, cubic=True))
    done = run(tmp_path / "out", *given)
    assert done.returncode == 1 and "does not vanish in between" in done.stderr
    assert run(tmp_path / "out", "--model", str(model)).returncode == 2
    ase.io.write(tmp_path / "carbon.cif", carbon("mp-66"))
    done = run(tmp_path / "out", "--model", str(model), "--structure", str(tmp_path / "carbon.cif"), "--quick")
    assert done.returncode == 1 and "is C, which the model does not know" in done.stderr
