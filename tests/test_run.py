"""Runs: what they write, how they stop, go on and fail."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import ase.io
import mdtraj
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from ase import Atoms

from openmm_nequip import reporters
from openmm_nequip.app.cli import main
from openmm_nequip.app.run import equilibrate, peptide_demo, stepping, trajectory_files
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.md_system import make_integrator, make_setup, make_simulation
from openmm_nequip.app.run.run_analysis import energy_drift, read_log
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.models.base import Model
from openmm_nequip.units import NM_PER_ANGSTROM

pytestmark = pytest.mark.torchforce_stack

MODEL = str(Path(__file__).parent / "data" / "tiny-nequip.nequip.pth")
PEPTIDE = str(Path(__file__).parents[1] / "openmm_nequip" / "data" / "alanine-dipeptide.pdb")
SHIPPED = PEPTIDE.replace(".pdb", ".nequip.zip")
FAST = {"minimize": False, "equilibrate": 0, "report_interval": 5, "checkpoint_interval": 10, "seed": 7, "threads": 1}


@pytest.fixture(scope="module")
def waters(tmp_path_factory) -> str:
    """Two water molecules in a small triclinic box, one of them broken across a face."""
    molecules = []
    for center in ([0.0, 2.0, 2.0], [3.5, 5.0, 5.0]):
        molecule = ase.build.molecule("H2O")
        molecule.rotate(40, (1, 1, 0))
        molecule.positions += np.array(center) - molecule.positions.mean(axis=0)
        molecules.append(molecule)
    atoms: Atoms = molecules[0] + molecules[1]
    atoms.set_cell([[7, 0, 0], [1, 7.5, 0], [-1, 2, 8]])
    atoms.pbc = True
    atoms.wrap()
    path = tmp_path_factory.mktemp("structures") / "waters.extxyz"
    ase.io.write(path, atoms)
    return str(path)


def settings(structure: str, output: Path, **changes) -> dict:
    return {**FAST, "model": MODEL, "structure": structure, "output": str(output), **changes}


def arguments(values: dict) -> list[str]:
    """The same settings as the command line has them."""
    words = ["run"]
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words


def test_a_run_writes_everything(waters, tmp_path, capfd):
    output = tmp_path / "out"
    values = settings(waters, output, minimize=True, equilibrate=5, steps=20, ensemble="npt")
    assert main([*arguments(values), "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)  # one document, whatever C libraries print
    assert summary == json.loads((output / "summary.json").read_text())
    assert (summary["steps"], summary["frames"], summary["molecules"], summary["interrupted"]) == (20, 4, 2, False)
    assert summary["pictures"] == ["energy.png", "rdf.png"]
    for name in summary["pictures"]:
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    log = read_log(output / "log.csv")
    assert log["step"].tolist() == [5, 10, 15, 20] and np.allclose(log["time_ps"], log["step"] * 5e-4)
    assert {"volume_nm3", "density_g_per_ml"} <= log.keys()
    assert ("pressure_bar" in log) == ("backend TorchForce" not in (output / "run.log").read_text())
    assert np.allclose(
        log["total_energy_kj_per_mol"], log["potential_energy_kj_per_mol"] + log["kinetic_energy_kj_per_mol"]
    )
    frames = mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "start.pdb"))
    assert frames.n_frames == 4 and frames.unitcell_vectors is not None
    for path in ("final.pdb", "final.cif"):
        reader = app.PDBFile if path.endswith("pdb") else app.PDBxFile
        assert reader(str(output / path)).topology.getNumAtoms() == 6
    system = openmm.XmlSerializer.deserialize((output / "system.xml").read_text())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setState(openmm.XmlSerializer.deserialize((output / "final-state.xml").read_text()))
    assert "6 atoms in 2 molecules" in (output / "run.log").read_text()
    assert 'ensemble = "npt"' in (output / "config.toml").read_text()
    assert not list(output.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dcd", "xtc"])
def test_trajectory_formats(tmp_path, name):
    start_run(make_config(settings(PEPTIDE, tmp_path / "out", steps=15, trajectory=name)))
    path = tmp_path / "out" / f"trajectory.{name}"
    frames = mdtraj.load(str(path), top=str(tmp_path / "out" / "start.pdb"))
    assert frames.n_frames == trajectory_files.count_frames(path) == 3
    with open(path, "ab") as file:
        file.write(path.read_bytes()[-100:])  # half a frame, as a crash leaves it
    assert trajectory_files.truncate(path, 2) == 2
    cut = mdtraj.load(str(path), top=str(tmp_path / "out" / "start.pdb"))
    assert np.array_equal(cut.xyz, frames.xyz[:2])


def test_h5_without_pytables_names_the_cure(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tables", None)
    with pytest.raises(ImportError, match="pip install tables"):
        start_run(make_config(settings(PEPTIDE, tmp_path / "out", trajectory="h5")))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_restart_is_the_run_that_was_not_stopped(waters, tmp_path, ensemble):
    whole = start_run(make_config(settings(waters, tmp_path / "whole", steps=40, ensemble=ensemble)))
    start_run(make_config(settings(waters, tmp_path / "parts", steps=20, ensemble=ensemble)))
    # Written after the checkpoint, as a crash leaves it: must not appear twice.
    with open(tmp_path / "parts" / "log.csv", "a") as file:
        file.write("25,0.0125,1,2,3,4,5,6\n30,0.0")
    parts = restart_run(str(tmp_path / "parts"), {"steps": 40})
    logs = [read_log(tmp_path / name / "log.csv") for name in ("whole", "parts")]
    assert logs[1]["step"].tolist() == list(range(5, 41, 5))
    for name, values in logs[0].items():
        assert np.allclose(logs[1][name], values, rtol=1e-6, atol=0), name
    frames = [
        mdtraj.load(str(tmp_path / name / "trajectory.dcd"), top=str(tmp_path / name / "start.pdb"))
        for name in ("whole", "parts")
    ]
    assert frames[1].n_frames == 8 and np.allclose(frames[0].xyz, frames[1].xyz, atol=1e-5)
    assert whole.summary["averages"]["temperature_k"] == pytest.approx(parts.summary["averages"]["temperature_k"])
    again = restart_run(str(tmp_path / "parts"), {})
    assert again.summary["steps"] == 40 and again.summary["frames"] == 8


@pytest.mark.slow
def test_restart_from_the_portable_state(tmp_path, caplog):
    output = tmp_path / "out"
    start_run(make_config(settings(PEPTIDE, output, steps=10, ensemble="nve")))
    (output / "checkpoint.chk").write_bytes(b"of another machine")
    outcome = restart_run(str(output), {"steps": 20})
    assert outcome.summary["steps"] == 20
    assert "new random numbers" in caplog.text
    whole = tmp_path / "whole"
    start_run(make_config(settings(PEPTIDE, whole, steps=20, ensemble="nve")))
    ends = [read_log(path / "log.csv")["total_energy_kj_per_mol"][-1] for path in (output, whole)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)


def test_bad_restarts(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(ValueError, match="holds no run to continue"):
        restart_run(str(output), {})
    structure = tmp_path / "peptide.pdb"
    structure.write_text(Path(PEPTIDE).read_text())
    start_run(make_config(settings(str(structure), output, steps=5)))
    with pytest.raises(ValueError, match="timestep was 0.5 and cannot become 1.0"):
        restart_run(str(output), {"timestep": 1.0})
    with pytest.raises(FileExistsError, match="holds another run; give --restart"):
        start_run(make_config(settings(str(structure), output)))
    structure.write_text(structure.read_text().replace("REMARK", "REMARKS", 1))
    with pytest.raises(ValueError, match="is not the one the run was started from"):
        restart_run(str(output), {})


def test_bad_settings_leave_no_folder(tmp_path):
    for changes, message in (
        ({"ensemble": "npt"}, "npt needs a periodic box"),
        ({"units": ["feet", "eV"]}, "'feet' is not a known unit"),
        ({"platform": "Abacus"}, "platform 'Abacus' is not there"),
        ({"device": "cuda:7"}, "is not there"),
        ({"backend": "TorchForce", "model": MODEL.replace(".pth", ".zip"), "compile": False}, "cannot be used"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            start_run(make_config(settings(PEPTIDE, tmp_path / "out", **changes)))
        assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be made"):
        start_run(make_config(settings(PEPTIDE, tmp_path / "file" / "out")))


@pytest.mark.slow
def test_npt_moves_molecules_and_keeps_their_shape(waters, tmp_path):
    config = make_config(settings(waters, tmp_path, ensemble="npt", pressure=5e4, timestep=1e-9))
    setup = make_setup(config)
    setup.barostat.setFrequency(1)
    simulation = make_simulation(config, setup, make_integrator(config, thermostat=True))
    simulation.context.setPositions(setup.structure.positions_nm * unit.nanometer)

    def look() -> tuple[np.ndarray, float]:
        state = simulation.context.getState(positions=True)
        return state.getPositions(asNumpy=True)._value, state.getPeriodicBoxVolume()._value

    (before, small), _ = look(), simulation.step(100)
    after, large = look()
    assert abs(large / small - 1) > 0.01

    def shape(positions: np.ndarray) -> np.ndarray:
        return np.array([positions[i] - positions[j] for i, j in ((0, 1), (0, 2), (3, 4), (3, 5))])

    assert np.abs(shape(before)).max() < 0.2  # the molecule that came broken is whole
    assert np.allclose(shape(after), shape(before), atol=1e-6)
    apart = [np.linalg.norm(x[:3].mean(axis=0) - x[3:].mean(axis=0)) for x in (before, after)]
    assert abs(apart[1] / apart[0] - 1) > 1e-3


def test_temperature_and_drift_of_a_log():
    time_ps = np.linspace(0, 2, 21)
    log = {"time_ps": time_ps, "total_energy_kj_per_mol": 5.0 + 0.3 * time_ps}
    assert energy_drift(log, 10) == pytest.approx(30.0)
    assert energy_drift({"time_ps": time_ps[:2]}, 10) is None


def test_degrees_of_freedom():
    system = openmm.System()
    for mass in (1.0, 1.0, 16.0, 0.0):
        system.addParticle(mass)
    system.addConstraint(0, 1, 0.1)
    assert reporters.degrees_of_freedom(system) == 8
    system.addForce(openmm.CMMotionRemover())
    assert reporters.degrees_of_freedom(system) == 5


def test_nve_reports_drift(tmp_path, capsys):
    values = settings(PEPTIDE, tmp_path / "out", steps=40, ensemble="nve", minimize=True, model=SHIPPED)
    assert main(arguments(values)) == 0
    assert "total-energy drift: " in capsys.readouterr().out
    log = read_log(tmp_path / "out" / "log.csv")
    assert np.ptp(log["total_energy_kj_per_mol"]) < 0.2 * np.ptp(log["potential_energy_kj_per_mol"])


def test_nan_at_an_absurd_time_step(tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    # The watch refuses such a step before the first; what NaN does is seen without it.
    monkeypatch.setattr(equilibrate, "check_time_step", lambda frequency, timestep: None)
    assert main(arguments(settings(PEPTIDE, output, steps=20, timestep=1e300, backend="PythonForce"))) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the simulation broke down" in error and "NaN or infinite" in error and "failed.pdb" in error
    assert app.PDBFile(str(output / "failed.pdb")).topology.getNumAtoms() == 22


@pytest.mark.slow
def test_nan_from_the_model_names_atoms_and_keeps_the_last_good_frame(tmp_path, capsys, monkeypatch):
    calls, evaluate = [], Model.evaluate

    def fail(self, graph):
        calls.append(graph.positions.numpy().copy() * NM_PER_ANGSTROM)
        out = evaluate(self, graph)
        if len(calls) > 31:  # the vibration that the time step is measured by takes 16
            out.forces[3] = np.nan
        return out

    monkeypatch.setattr(Model, "evaluate", fail)
    output = tmp_path / "out"
    assert main(arguments(settings(PEPTIDE, output, steps=40, backend="PythonForce", kernels="none"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "the model's energy or forces are NaN or infinite for 1 of 22 atoms (indices 3)" in lines[-1]
    assert "(3 (H3 of ACE 1))" in lines[-1]
    assert "failed.pdb" in lines[-1] and not any("Traceback" in line for line in lines)
    good = app.PDBFile(str(output / "failed.pdb")).getPositions(asNumpy=True)._value
    assert np.abs(good - calls[-1]).max() < 0.05
    assert (output / "failed-current.cif").exists()
    # Frames and checkpoint of before are there and readable.
    frames = trajectory_files.count_frames(output / "trajectory.dcd")
    assert frames == len(read_log(output / "log.csv")["step"]) >= 2
    monkeypatch.undo()
    assert restart_run(str(output), {}).summary["frames"] == 8


def test_nan_at_the_start(tmp_path, capsys):
    (tmp_path / "overlap.xyz").write_text("3\n\nH 0 0 0\nH 0 0 0\nO 0 0 1\n")
    values = settings(str(tmp_path / "overlap.xyz"), tmp_path / "out", minimize=True, backend="PythonForce")
    assert main(arguments(values | {"model": MODEL.replace("nequip.nequip", "allegro.nequip")})) == 1
    assert "for 2 of 3 atoms" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "log.csv").exists()


def test_full_disk(tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    report = reporters.EnergyLog.report

    def full(self, simulation, state):
        if simulation.currentStep > 25:
            with open(output / "log.csv", "a") as file:
                file.write("30,0.01")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        report(self, simulation, state)

    monkeypatch.setattr(reporters.EnergyLog, "report", full)
    assert main(arguments(settings(PEPTIDE, output, steps=60, model=SHIPPED))) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error and "last checkpoint is whole" in error and "--restart" in error
    assert mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "start.pdb")).n_frames >= 5
    assert read_log(output / "log.csv")["step"].tolist() == [5, 10, 15, 20, 25]
    monkeypatch.undo()
    assert restart_run(str(output), {}).summary["frames"] == 12
    assert read_log(output / "log.csv")["step"].tolist() == list(range(5, 61, 5))


def command(*words: str, **more) -> subprocess.Popen:
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.Popen(
        [sys.executable, "-m", "openmm_nequip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, **more,
    )  # fmt: skip


@pytest.mark.pythonforce_stack
@pytest.mark.slow
def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--steps", "40"]) == 0
    text = capsys.readouterr().out
    assert "Look at demo-output/ramachandran.png" in text
    assert (tmp_path / "demo-output" / "ramachandran.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((tmp_path / "demo-output" / "summary.json").read_text())
    assert summary["openmm_energy_kj_per_mol"] == pytest.approx(summary["direct_energy_kj_per_mol"], abs=1e-3)
    assert summary["largest_force_difference_kj_per_mol_nm"] < 0.1
    density = read_log(tmp_path / "demo-output" / "log.csv")["density_g_per_ml"]
    assert density == pytest.approx(0.983, rel=0.02)  # TIP3P water
    assert summary["suspicions"] == []
    assert (tmp_path / "demo-output" / "mm.dcd").stat().st_size > 0
    assert peptide_demo.free_folder(None) == "demo-output-2" and peptide_demo.free_folder("mine") == "mine"


@pytest.mark.slow
def test_interrupted_equilibration_goes_on(tmp_path, monkeypatch):
    output = tmp_path / "out"
    advance = stepping.StageRunner.advance

    def stopped(self):
        self.last, last = 7, self.last
        advance(self)
        self.last = last
        self.stop.signal = signal.SIGTERM
        return False

    monkeypatch.setattr(stepping.StageRunner, "advance", stopped)
    outcome = start_run(make_config(settings(PEPTIDE, output, steps=10, equilibrate=12)))
    assert outcome.signal == signal.SIGTERM and not (output / "log.csv").exists()
    monkeypatch.undo()
    begun = []

    def noted(self):
        begun.append(self.simulation.currentStep)
        return advance(self)

    monkeypatch.setattr(stepping.StageRunner, "advance", noted)
    assert restart_run(str(output), {}).summary["steps"] == 10
    assert begun == [7, 0]  # equilibration went on, production began
    assert not (output / "equilibration.chk").exists()


@pytest.mark.pythonforce_stack
@pytest.mark.slow
def test_file_size_limit_of_the_system(tmp_path):
    output = tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))

    # A TorchForce's XML holds the model, which is beyond the limit.
    start_run(make_config(settings(PEPTIDE, tmp_path / "first", steps=1, model=SHIPPED)))  # leaves its kernels
    values = settings(PEPTIDE, output, steps=100000, report_interval=1, backend="PythonForce", model=SHIPPED)
    words = arguments(values)
    process = command(*words, preexec_fn=limit)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "File too large" in error.splitlines()[-1] and "Traceback" not in error
    frames = trajectory_files.count_frames(output / "trajectory.dcd")
    assert frames > 20 and mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "start.pdb")).n_frames == frames
    state = openmm.XmlSerializer.deserialize((output / "checkpoint.xml").read_text())
    assert 0 < state.getStepCount() <= frames + 10


@pytest.mark.pythonforce_stack
@pytest.mark.slow
def test_ctrl_c_leaves_everything_readable(tmp_path):
    output = tmp_path / "out"
    process = command(*arguments(settings(PEPTIDE, output, steps=1000000, model=SHIPPED)))
    log = output / "log.csv"
    deadline = time.monotonic() + 80
    while not (log.exists() and len(log.read_text().splitlines()) > 3) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    text, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "continues" in text and "Traceback" not in error
    summary = json.loads((output / "summary.json").read_text())
    steps = summary["steps"]
    assert summary["interrupted"] and steps >= 15
    state = openmm.XmlSerializer.deserialize((output / "checkpoint.xml").read_text())
    assert state.getStepCount() == steps
    assert mdtraj.load(str(output / "trajectory.dcd"), top=str(output / "start.pdb")).n_frames == steps // 5
    more = restart_run(str(output), {"steps": steps + 5})
    assert more.summary["frames"] == (steps + 5) // 5 and not more.summary["interrupted"]
