"""Biased runs on many workers, and the free energy along their coordinate."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.pmf.windows import Window
from openmm_nequip.app.pmf.windows_profile import profile_of
from openmm_nequip.app.run.bias import Bias, add_biases
from openmm_nequip.errors import OverlapError
from openmm_nequip.units import GAS_CONSTANT

DATA = Path(openmm_nequip.__file__).parent / "data"
MODEL = str(DATA / "alanine-dipeptide.nequip.zip")
PEPTIDE = str(DATA / "alanine-dipeptide.pdb")
PHI = "torsion 4 6 8 10"
#: kJ/mol: the profile against the one that was sampled.
PROFILE = 0.6
ENERGY = 1e-9


def settings(name, output, **more):
    common = {
        "model": MODEL, "structure": PEPTIDE, "steps": 300, "equilibrate": 20, "report-interval": 10,
        "checkpoint-interval": 20, "platform": "Reference", "threads": 1,
    } | more  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in common.items()]
    return "\n".join([f'output = "{output}"', "workers = 2", "[common]", *lines]) + "\n"


@pytest.mark.parametrize(
    ("text", "points", "expected"),
    [
        ("distance 0 1 1.5 200", [[0, 0, 0], [0.17, 0, 0]], 0.5 * 200 * 0.2**2),
        ("angle 0 1 2 100 50", [[0.1, 0, 0], [0, 0, 0], [0, 0.1, 0]], 0.5 * 50 * math.radians(10) ** 2),
        ("torsion 0 1 2 3 -170 80", [[0.1, 0.1, 0], [0.1, 0, 0], [0, 0, 0], [0, -0.0984808, -0.0173648]],
         0.5 * 80 * math.radians(20) ** 2),
    ],
)  # fmt: skip
def test_energies_and_forces_of_biases(text, points, expected):
    """By hand; torsions by their shorter way round, which here goes through 180 degrees."""
    points = np.array(points, dtype=float)
    system = openmm.System()
    for _ in points:
        system.addParticle(1.0)
    add_biases(system, (text,), periodic=False)
    add_biases(system, (text,), periodic=False)
    assert system.getNumForces() == 1, "a restart adds none"
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(points)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(expected, rel=1e-4)
    bias = Bias.parse(text)
    frames = mdtraj.Trajectory(points[None], None)
    of = {"distance": mdtraj.compute_distances, "angle": mdtraj.compute_angles, "torsion": mdtraj.compute_dihedrals}
    value = of[bias.kind](frames, [list(bias.atoms)])[0].astype(float)
    assert bias.energy(value)[0] == pytest.approx(energy, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"), ("twist 0 1 2 3 4", "cannot be read"), ("distance 0 1 1.5", "cannot be read"),
        ("distance 0 x 1.5 2", "cannot be read"), ("distance 0 0 1.5 2", "2 different numbers"),
        ("distance 0 1 -1 2", "is none"), ("torsion 0 1 2 3 nan 2", "finite"), ("angle 0 1 2 90 0", "above 0"),
        ("distance 0 99 1 2", "atom 99, and there are 2"),
    ],
)  # fmt: skip
def test_words_for_biases_that_cannot_be(text, words):
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    with pytest.raises(ValueError, match=words):
        add_biases(system, (text,), periodic=False)


def sampled(centres, count, seed):
    """Windows drawn from a known potential of a torsion: 6 cos(2 x) + 3 cos(x) kJ/mol at 300 K."""
    random = np.random.default_rng(seed)
    beta = 1 / (GAS_CONSTANT * 300.0)
    grid = np.linspace(-math.pi, math.pi, 20_001)
    windows = []
    for k, centre in enumerate(centres):
        bias = Bias.parse(f"{PHI} {centre} 30")
        weights = np.exp(-beta * (known(grid) + bias.energy(grid)))
        values = random.choice(grid, count, p=weights / weights.sum())
        windows.append(Window(f"w{k}", bias, 300.0, values, count))
    return windows


def known(x):
    return 6.0 * np.cos(2 * x) + 3.0 * np.cos(x)


def test_the_profile_is_the_one_that_was_sampled():
    profile = profile_of(sampled(range(-180, 180, 30), 2000, 1), 24)
    # The mean of the Boltzmann factor over each bin, as the histogram has it.
    fine = profile.centres[:, None] + np.linspace(-math.pi, math.pi, 101)[None] / 24
    beta = 1 / (GAS_CONSTANT * 300.0)
    exact = -np.log(np.exp(-beta * known(fine)).mean(axis=1)) / beta
    off = profile.energies - (exact - exact.min())
    assert np.abs(off).max() < PROFILE
    assert (np.abs(off) < 5 * np.maximum(profile.errors, 0.02)).all()
    assert profile.notes == []


def test_windows_that_share_nothing_are_named():
    windows = sampled([-110, -105, 60, 65], 500, 2)
    for window in windows:
        object.__setattr__(window, "bias", Bias.parse(f"{PHI} {math.degrees(window.bias.centre)} 3000"))
        values = np.random.default_rng(0).normal(window.bias.centre, 0.1, 500)
        object.__setattr__(window, "values", values)
    with pytest.raises(OverlapError, match="no overlap: the windows w2, w3 share less than 3%"):
        profile_of(windows, 36)


#: s without a change to any file of the runs, after which they hang: starting Python takes minutes on a busy machine.
PATIENCE_S = 1200
#: What a process of Python loads first, with which a run kills its worker: when its checkpoint of step 160 of 300 is
#: renamed into its place, once for all runs. Who looks from outside has less than a second for it, which passes unseen
#: on a busy machine. Then the run waits for its own end.
EXECUTIONER = """
import os, signal, sys, time
renamed = 0
def hook(event, arguments):
    global renamed
    if event != "os.rename" or not str(arguments[1]).endswith("checkpoint.chk"):
        return
    renamed += 1
    if renamed < 9:
        return
    try:
        with open({done!r}, "x") as file:
            supervisor = open(f"/proc/{{os.getppid()}}/stat").read()
            worker = int(supervisor.rpartition(")")[2].split()[1])
            file.write(os.path.dirname(arguments[1]))
    except FileExistsError:
        return
    os.kill(worker, signal.SIGKILL)
    time.sleep({patience})
if "openmm_nequip" in sys.orig_argv and "run" in sys.orig_argv:
    sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(tmp_path):
    """Three windows on two workers, one of which dies half-way: the frames of the undisturbed runs, bit for bit."""
    pytest.importorskip("distributed")
    grid = "[grid]\nbias = " + json.dumps([[f"{PHI} {centre} 5"] for centre in (-85, -80, -75)]) + "\nseed = [7]\n"
    inside = tmp_path / "inside"
    inside.mkdir()
    done = tmp_path / "killed.txt"
    (inside / "sitecustomize.py").write_text(EXECUTIONER.format(done=str(done), patience=PATIENCE_S))
    paths = [str(inside), *filter(None, [os.environ.get("PYTHONPATH")])]
    runs = {}
    for name, more in (("calm", {}), ("killed", {"PYTHONPATH": os.pathsep.join(paths)})):
        table = tmp_path / f"{name}.toml"
        table.write_text(settings(name, tmp_path / name) + grid)
        command = [sys.executable, "-m", "openmm_nequip", "many", "--config", str(table), "--json", "--quiet"]
        code, output, errors = ended(command, os.environ | more, tmp_path / name)
        assert code == 0, errors
        runs[name] = json.loads(output)["runs"]
    assert len(runs["killed"]) == 3
    stopped = Path(done.read_text())
    assert "continuing from step" in (stopped / "run.log").read_text()
    for calm, killed in zip(runs["calm"], runs["killed"], strict=True):
        assert killed["summary"]["steps"] == 300
        frames = [mdtraj.load(f"{run['folder']}/trajectory.dcd", top=PEPTIDE).xyz for run in (calm, killed)]
        assert len(frames[0]) == 30
        assert np.array_equal(*frames)
        logs = [np.genfromtxt(f"{run['folder']}/log.csv", delimiter=",", names=True) for run in (calm, killed)]
        step = next(key for key in logs[0].dtype.names if "tep" in key)
        assert np.array_equal(logs[0][step], logs[1][step])
    folders = [run["folder"] for run in runs["calm"]]
    assert main(["pmf", *folders, "--bins", "18", "--output", str(tmp_path / "pmf"), "--quiet"]) == 0
    rows = np.genfromtxt(tmp_path / "pmf" / "pmf.csv", delimiter=",", skip_header=1)
    assert np.nanmin(rows[:, 1]) == pytest.approx(0.0, abs=ENERGY)
    assert (tmp_path / "pmf" / "pmf.png").stat().st_size > 10_000


def touched(folder):
    """Files below a folder, and when each was changed; they may go while they are looked at."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found[place, name] = os.stat(os.path.join(place, name)).st_mtime_ns
    return found


def ended(command, environment, folder):
    """Exit code, output and errors of a program, which may take as long as files in its folder change."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as program:
        seen, since = None, time.monotonic()
        while True:
            try:
                output, errors = program.communicate(timeout=5)
                return program.returncode, output, errors
            except subprocess.TimeoutExpired:
                now = touched(folder)
                if now != seen:
                    seen, since = now, time.monotonic()
                if time.monotonic() - since > PATIENCE_S:
                    program.kill()
                    raise


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('output = "x"', "has no run"),
        ('nonsense = 1\noutput = "x"', "unknown key 'nonsense'"),
        ("workers = 2", "name the folder"),
        ('output = "x"\nworkers = 0\n[[run]]\nname = "a"', "run a: a run needs --model"),
        ('output = "x"\n[[run]]\nname = "a/b"', "has the name 'a/b'"),
        ('output = "x"\n[[run]]\nname = "a"\n[[run]]\nname = "a"', "two runs have the name 'a'"),
        ('output = "x"\n[grid]\nseed = 1', "give a list of values"),
        ('output = "x"\n[grid]\nseed = []', "give a list of values"),
        ('output = "x', "is no TOML"),
    ],
)
def test_words_for_tables_that_cannot_be(tmp_path, capsys, text, words):
    table = tmp_path / "t.toml"
    table.write_text(text)
    assert main(["many", "--config", str(table)]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_pools_that_are_not_there(tmp_path, capsys):
    pytest.importorskip("distributed")
    run = '[[run]]\nname = "a"\n'
    for line, words in [
        ('scheduler = "tcp://127.0.0.1:9"', "no Dask scheduler answers"),
        ('scheduler = "slurm"', "dask-jobqueue"),
        ('scheduler = "night"', "give local, slurm, pbs or an address"),
        ("workers = 0", "give a number from 1 on"),
    ]:
        table = tmp_path / "t.toml"
        table.write_text(f"{line}\n" + settings("t", tmp_path / "out").replace("workers = 2\n", "") + run)
        assert main(["many", "--config", str(table)]) == 1
        assert words in capsys.readouterr().err


def test_words_for_windows_that_do_not_belong_together(tmp_path, capsys):
    assert main(["pmf", str(tmp_path), "--output", str(tmp_path / "p")]) == 1
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "config.toml").write_text('model = "m"\n')
    assert main(["pmf", str(tmp_path), "--output", str(tmp_path / "p")]) == 1
    assert "with 0 biases" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pmf", str(tmp_path), "--bins", "1"])
