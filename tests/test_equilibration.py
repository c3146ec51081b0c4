"""Equilibration, means with errors, and the density of solvated boxes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as unit
import pytest

from openmm_nequip.app.cli import main
from openmm_nequip.app.run.equilibration import RestSampler, set_temperature, words_for
from openmm_nequip.app.run.run_analysis import averages, read_log, too_short
from openmm_nequip.app.run.run_statistics import mean_of
from openmm_nequip.reporters import degrees_of_freedom
from openmm_nequip.units import GAS_CONSTANT

DATA = Path(__file__).parents[1] / "openmm_nequip" / "data"
PURE = ("--model", DATA / "alanine-dipeptide.nequip.zip", "--structure", DATA / "alanine-dipeptide.pdb")
#: Density of TIP3P water at 300 K and 1 bar, g/mL, and how near a small box with a peptide in it comes.
TIP3P_DENSITY, DENSITY_PART = 0.983, 0.02


def correlated(n: int, memory: float, seed: int = 0) -> np.ndarray:
    """A series of standard deviation 1 whose correlation falls by ``memory`` each step."""
    rng = np.random.default_rng(seed)
    series = np.empty(n)
    series[0] = rng.normal()
    for k in range(1, n):
        series[k] = memory * series[k - 1] + np.sqrt(1 - memory**2) * rng.normal()
    return series


def test_errors_are_those_of_the_independent_samples():
    """The statistical inefficiency of such a series is (1 + m) / (1 - m)."""
    memory, n = 0.9, 20000
    found = mean_of(correlated(n, memory))
    assert found.samples == pytest.approx(n * (1 - memory) / (1 + memory), rel=0.3)
    assert found.error == pytest.approx(found.std / np.sqrt(found.samples), rel=1e-6)
    means = [mean_of(correlated(2000, memory, seed), discard=False) for seed in range(40)]
    inside = np.mean([abs(mean.mean) < 2 * mean.error for mean in means])
    assert inside > 0.85  # 0.95 for exact errors


def test_a_rising_curve_is_cut_or_called_too_short():
    curve = 1.0 - 0.2 * np.exp(-np.arange(2000) / 200) + 0.01 * correlated(2000, 0.8, 1)
    found = mean_of(curve)
    assert 300 < found.start < 1500 and found.mean == pytest.approx(1.0, abs=0.004)
    assert curve.mean() < 0.985
    log = {"time_ps": np.arange(1, 101.0), "density_g_per_ml": curve[:100], "temperature_k": np.full(100, 300.0)}
    words = too_short(averages(log), 100.0)
    assert len(words) == 1 and "density_g_per_ml" in words[0] and "run" in words[0]


def test_means_of_little_and_of_nothing_that_changes():
    assert mean_of(np.array([1.0])).mean == 1.0 and mean_of(np.array([1.0, 2.0])).samples == 1
    constant = mean_of(np.full(50, 3.0))
    assert (constant.mean, constant.std, constant.error, constant.samples) == (3.0, 0.0, 0.0, 50.0)


def test_importing_the_statistics_prints_nothing(caplog):
    with caplog.at_level(logging.DEBUG):
        mean_of(correlated(100, 0.5))
    assert not [record for record in caplog.records if "JAX" in record.getMessage().upper()]


def gas(n: int = 50, constraint: bool = False, remover: bool = False) -> openmm.Context:
    system = openmm.System()
    for k in range(n):
        system.addParticle(1.0 + k % 3)
    if constraint:
        system.addConstraint(0, 1, 0.1)
    if remover:
        system.addForce(openmm.CMMotionRemover())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(0.1 * np.arange(3 * n).reshape(n, 3) + [[0.0, 0, 0]])
    if constraint:
        context.setPositions(np.concatenate([[[0, 0, 0], [0.1, 0, 0]], 1.0 + np.arange(3 * n - 6).reshape(-1, 3)]))
    return context


@pytest.mark.parametrize("constraint", [False, True])
@pytest.mark.parametrize("remover", [False, True])
def test_velocities_have_the_temperature_asked_for(constraint, remover):
    context = gas(constraint=constraint, remover=remover)
    set_temperature(context, 321.0, 5)
    kinetic = context.getState(energy=True).getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    degrees = degrees_of_freedom(context.getSystem())
    assert 2 * kinetic / degrees / GAS_CONSTANT == pytest.approx(321.0, abs=1e-6)
    if remover:
        masses = np.array([context.getSystem().getParticleMass(i)._value for i in range(50)])
        velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
        assert np.abs(masses @ velocities).max() < 1e-9
    set_temperature(context, 321.0, 5, energy=1.2 * kinetic)
    assert context.getState(energy=True).getKineticEnergy()._value == pytest.approx(1.2 * kinetic)


class State:
    """What a sampler asks of a State."""

    def __init__(self, kinetic: float, potential: float, volume: float) -> None:
        energy = unit.kilojoule_per_mole
        self._values = kinetic * energy, potential * energy, volume * unit.nanometer**3

    def getKineticEnergy(self):
        return self._values[0]

    def getPotentialEnergy(self):
        return self._values[1]

    def getPeriodicBoxVolume(self):
        return self._values[2]


def sampled(temperature: np.ndarray, potential: np.ndarray, volume: np.ndarray | None = None) -> RestSampler:
    context = gas()
    degrees = degrees_of_freedom(context.getSystem())
    sampler = RestSampler(context.getSystem(), 300.0, volume is not None)
    for k in range(len(temperature)):
        kinetic = 0.5 * degrees * GAS_CONSTANT * temperature[k]
        sampler.report(None, State(kinetic, potential[k], 1.0 if volume is None else volume[k]))
    return sampler


def test_rest_is_reached_when_nothing_moves_on_any_more():
    n = 400
    warm, calm = 300 + 20 * correlated(n, 0.3, 1), -100 + correlated(n, 0.5, 2)
    slope = np.linspace(0, 40, n)
    assert sampled(warm, calm).rest().reached is True
    assert sampled(warm[:20], calm[:20]).rest().reached is None
    cold = sampled(warm - 60, calm).rest()
    assert cold.reached is False and "temperature is 2" in cold.words
    assert "potential energy" in sampled(warm, calm - slope).rest().words
    volume = 30 + 0.3 * correlated(n, 0.8, 3)
    assert sampled(warm, calm, volume).rest().reached is True
    shrinking = sampled(warm, calm, volume - slope / 5).rest()
    assert shrinking.reached is False and "density" in shrinking.words
    assert "--equilibrate auto" in words_for(shrinking, 100, False) and "--steps" in words_for(shrinking, 100, True)


def run(folder: Path, *more: object) -> dict:
    assert main(["run", "--output", str(folder), "--seed", "5", "--threads", "1", "--quiet", *map(str, more)]) == 0
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.slow
def test_a_run_without_thermostat_has_the_temperature_asked_for(tmp_path):
    """Half of the heat of velocities drawn for a minimised structure goes into vibrations: 165 to 230 K of 300."""
    summary = run(tmp_path / "out", *PURE, "--ensemble", "nve", "--steps", 4000)
    mean = summary["averages"]["temperature_k"]
    assert mean["mean"] == pytest.approx(300.0, abs=45.0)  # 63 degrees of freedom
    assert mean["error"] < mean["std"] and mean["independent_samples"] > 3
    cold = run(tmp_path / "cold", *PURE, "--ensemble", "nve", "--steps", 1000, "--equilibrate", 0)
    assert cold["averages"]["temperature_k"]["mean"] < 230
    assert any("300 K was asked for" in words for words in cold["notes"])


def test_equilibrate_takes_a_number_or_auto(tmp_path, capsys):
    log = run(tmp_path / "out", *PURE, "--steps", 20, "--equilibrate", "auto", "--report-interval", 10)
    assert log["steps"] == 20
    assert 'equilibrate = "auto"' in (tmp_path / "out" / "config.toml").read_text()
    for wrong in ("-3", "soon"):
        assert main(["run", *map(str, PURE), "--output", str(tmp_path / "no"), "--equilibrate", wrong]) == 1
        assert "equilibrate = " in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_a_solvated_box_has_the_density_of_its_water(tmp_path):
    hybrid = ("--ml-atoms", "resname ACE ALA NME", "--forcefield", "amber14-all.xml", "amber14/tip3p.xml")
    run(tmp_path / "out", *PURE, *hybrid, "--solvate", 0.7, "--steps", 20, "--equilibrate", 0, "--report-interval", 10)
    density = read_log(tmp_path / "out" / "log.csv")["density_g_per_ml"]
    assert np.ptp(density) == 0 and density[0] == pytest.approx(TIP3P_DENSITY, rel=DENSITY_PART)
