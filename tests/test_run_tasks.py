"""Runs without dynamics, other thermostats and barostats, and velocities of files."""

from __future__ import annotations

import json
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import openmm
import openmm.unit as unit
import pytest

from openmm_nequip.app.cli import main
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.run_analysis import read_log
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.structures.velocity_files import read_velocities
from openmm_nequip.errors import StructureError
from openmm_nequip.inputs import make_simulation

MODEL = str(Path(__file__).parent / "data" / "tiny-nequip.nequip.pth")
FAST = {"minimize": False, "equilibrate": 0, "report_interval": 5, "checkpoint_interval": 10, "seed": 7, "threads": 1}


@pytest.fixture(scope="module")
def waters(tmp_path_factory) -> str:
    """Two waters in a tilted box, the first hydrogen of each a heavy one."""
    molecules = [ase.build.molecule("H2O"), ase.build.molecule("H2O")]
    molecules[1].positions += (3.2, 2.5, 3.0)
    atoms = molecules[0] + molecules[1]
    atoms.set_cell([[7, 0, 0], [1, 7.5, 0], [-1, 2, 8]])
    atoms.pbc = True
    atoms.set_masses([16.0, 2.5, 1.0, 16.0, 2.5, 1.0])
    path = tmp_path_factory.mktemp("structures") / "waters.extxyz"
    ase.io.write(path, atoms, columns=["symbols", "positions", "masses"])
    return str(path)


def settings(structure, output, **changes):
    return {**FAST, "model": MODEL, "structure": structure, "output": str(output), **changes}


@pytest.mark.slow
@pytest.mark.parametrize("thermostat", [pytest.param("csvr", marks=pytest.mark.torchforce_stack), "nose-hoover"])
def test_restart_with_other_thermostats_is_the_run_that_was_not_stopped(waters, tmp_path, thermostat):
    change = {"thermostat": thermostat, "thermostat_time": 20.0, "platform": "Reference"}
    start_run(make_config(settings(waters, tmp_path / "whole", steps=40, **change)))
    start_run(make_config(settings(waters, tmp_path / "parts", steps=20, **change)))
    restart_run(str(tmp_path / "parts"), {"steps": 40})
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    for name, values in logs[0].items():
        assert np.array_equal(logs[1][name], values), name


@pytest.mark.slow
@pytest.mark.parametrize("barostat", ["isotropic", "anisotropic", "flexible"])
def test_barostats(waters, tmp_path, barostat):
    change = {"ensemble": "npt", "barostat": barostat, "pressure": 20000.0, "platform": "Reference"}
    start_run(make_config(settings(waters, tmp_path / "out", steps=120, **change)))
    log = read_log(tmp_path / "out" / "log.csv")
    assert log["volume_nm3"][0] != log["volume_nm3"][-1] and np.isfinite(log["pressure_bar"]).all()
    state = openmm.XmlSerializer.deserialize((tmp_path / "out" / "final-state.xml").read_text())
    box = np.array(state.getPeriodicBoxVectors().value_in_unit(unit.nanometer))
    ratio = box[1, 1] / box[0, 0] / (7.5 / 7.0)
    assert (abs(ratio - 1) < 1e-6) == (barostat == "isotropic")


@pytest.mark.slow
def test_energy_of_a_structure(waters, tmp_path, capfd):
    words = ["run", "--model", MODEL, "--structure", waters, "--threads", "1"]
    assert main([*words, "--task", "energy", "--output", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert main(["energy", MODEL, waters, "--json", "--kernels", "none"]) == 0
    direct = json.loads(capfd.readouterr().out)
    for name in ("energy_kj_per_mol", "pressure_bar", "max_force_kj_per_mol_nm"):
        assert summary[name] == pytest.approx(direct[name], rel=1e-9), name
    frame = ase.io.read(tmp_path / "out" / "forces.extxyz")
    assert frame.get_potential_energy() == pytest.approx(direct["energy_ev"], abs=1e-6)
    assert main([*words, "--task", "energy", "--output", str(tmp_path / "out")]) == 1  # the folder holds a run


@pytest.mark.slow
def test_optimisation_that_is_cut_short_says_so(waters, tmp_path, capfd):
    words = ["run", "--model", MODEL, "--structure", waters, "--task", "minimize", "--iterations", "2"]
    assert main([*words, "--output", str(tmp_path / "out"), "--force-tolerance", "1e-3"]) == 3
    out = capfd.readouterr().out
    assert "not converged" in out and "iterations = 2" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["energy_kj_per_mol"] < summary["energy_at_start_kj_per_mol"] and summary["iterations"] <= 2


def test_masses_of_the_file_count(waters, tmp_path):
    simulation = make_simulation({**settings(waters, tmp_path / "out"), "platform": "Reference"})
    masses = [simulation.system.getParticleMass(i)._value for i in range(6)]
    assert masses == [16.0, 2.5, 1.0, 16.0, 2.5, 1.0]


def test_velocities_of_a_file_turn_with_the_box(tmp_path):
    atoms = ase.build.molecule("H2O", cell=[[0, 8, 0], [0, 0, 8], [8, 0, 0]], pbc=True)  # OpenMM's x is this file's y
    path = tmp_path / "turned.extxyz"
    ase.io.write(path, atoms)
    velocities = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    np.save(tmp_path / "v.npy", velocities)
    given = settings(str(path), tmp_path / "out", velocities=str(tmp_path / "v.npy"), platform="Reference")
    simulation = make_simulation(given)
    found = simulation.context.getState(velocities=True).getVelocities(asNumpy=True)._value
    assert found == pytest.approx(velocities[:, [1, 2, 0]], abs=1e-9)


GRO = """two
    2
    1SOL     OW    1   0.126   1.624   1.679  0.1227 -0.0580  0.0434
    1SOL    HW1    2   0.190   1.661   1.747  0.8085  0.3191 -0.7791
   1.82060   1.82060   1.82060
"""


def test_velocities_of_gro_files(tmp_path):
    path = tmp_path / "a.gro"
    path.write_text(GRO + GRO.replace("0.1227", "0.2227"))
    assert read_velocities(path, 2).tolist() == [[0.2227, -0.0580, 0.0434], [0.8085, 0.3191, -0.7791]]
    wide = GRO.replace("   0.126   1.624   1.679  0.1227 -0.0580  0.0434", "".join(
        f"{x:10.5f}" for x in (0.126, 1.624, 1.679)) + "".join(f"{v:10.6f}" for v in (0.1227, -0.058, 0.0434)))
    wide = wide.replace("   0.190   1.661   1.747  0.8085  0.3191 -0.7791", "".join(
        f"{x:10.5f}" for x in (0.19, 1.661, 1.747)) + "".join(f"{v:10.6f}" for v in (0.8085, 0.3191, -0.7791)))
    path.write_text(wide)
    assert read_velocities(path, 2).tolist() == [[0.1227, -0.0580, 0.0434], [0.8085, 0.3191, -0.7791]]
    with pytest.raises(StructureError, match=r"3 atoms need \(3, 3\)"):
        read_velocities(path, 3)
    path.write_text("\n".join(line[:44] for line in GRO.splitlines()) + "\n")
    with pytest.raises(StructureError, match="an atom has no velocity"):
        read_velocities(path, 2)
    with pytest.raises(StructureError, match="give a .gro file"):
        read_velocities(__file__, 2)
