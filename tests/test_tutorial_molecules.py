"""The tutorial on molecules, in a short form: the commands that its README prints, in their order."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import mdtraj
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from openmmml import MLPotential

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[1] / "examples" / "tutorial_molecules"
RUN = "openmm-nequip run --config 5_run.toml"
#: What makes each command short; the commands stay as printed.
SHORT = {
    "python 1_data.py": "--train 20 --val 4 --test 4",
    'nequip-train -cp "$PWD" -cn 2_train': "epochs=40",
    RUN: "--steps 120 --equilibrate 40 --report-interval 6",
    'nequip-train -cp "$PWD" -cn 7_finetune': "epochs=30",
}
#: The last section repeats compilation, run and comparison with the other model: one compilation is enough here.
LAST_SECTION = "## 9"
#: Between the artefacts of one float32 model, per atom: kJ/mol, and kJ/mol/nm for forces.
ENERGY_PER_ATOM = 2e-3
FORCES = 0.1
LARGEST_PICTURE = 100_000


def printed(text: str) -> list[str]:
    """The commands in the bash blocks of the steps."""
    commands, inside = [], False
    for line in text[text.index("## 1") :].splitlines():
        if line.startswith("```"):
            inside = line == "```bash"
        elif inside:
            commands.append(line)
    return commands


def execute(command, folder):
    """Run a command of the README in the copy of the tutorial; it must succeed."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the tutorial in which all of it ran, in short."""
    folder = tmp_path_factory.mktemp("tutorial") / "copy"
    shutil.copytree(TUTORIAL, folder, ignore=shutil.ignore_patterns("*.png", "__pycache__"))
    text = (TUTORIAL / "README.md").read_text(encoding="utf-8")
    for command in printed(text[: text.index(LAST_SECTION)]):
        execute(f"{command} {SHORT.get(command, '')}", folder)
    return folder


def energy_and_forces(path, topology, frames, **options):
    """Energies (frames,) in kJ/mol and forces (frames, atoms, 3) in kJ/mol/nm in OpenMM."""
    system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, **options)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies, forces = [], []
    for frame in frames:
        context.setPositions(frame.positions * unit.angstrom)
        state = context.getState(energy=True, forces=True)
        energies.append(state.getPotentialEnergy()._value)
        forces.append(state.getForces(asNumpy=True)._value)
    return np.array(energies), np.array(forces)


def test_run_all_runs_what_the_readme_prints():
    script = (TUTORIAL / "run_all.sh").read_text(encoding="utf-8").splitlines()
    commands = printed((TUTORIAL / "README.md").read_text(encoding="utf-8"))
    assert commands and script[script.index("") + 1 :] == commands
    assert set(SHORT) <= set(commands)
    for command in commands:
        files = [word for word in shlex.split(command) if word.endswith((".py", ".toml"))]
        assert all((TUTORIAL / file).exists() for file in files)


def test_every_step_leaves_its_files(folder):
    frames = {path.stem: len(ase.io.read(path, ":")) for path in folder.glob("*.xyz")}
    assert (frames["train"], frames["val"], frames["test"]) == (20, 4, 4)
    assert (frames["run_train"], frames["run_val"], frames["run_test"]) == (12, 2, 5)
    assert (frames["all_train"], frames["all_val"]) == (32, 6)
    for name in ("first/best.ckpt", "first.nequip.zip", "first.nequip.pt2", "tuned/best.ckpt", "tuned.nequip.zip"):
        assert (folder / name).stat().st_size > 0
    assert (folder / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_frames_of_the_run_are_whole_molecules(folder):
    topology = app.PDBFile(str(folder / "molecule.pdb")).topology
    bonds = np.array([(bond[0].index, bond[1].index) for bond in topology.bonds()])
    for frame in ase.io.read(folder / "run_train.xyz", ":"):
        lengths = np.linalg.norm(frame.positions[bonds[:, 0]] - frame.positions[bonds[:, 1]], axis=1)
        assert lengths.min() > 0.8 and lengths.max() < 1.9


def test_the_run_repeats_itself(folder):
    """Water, minimisation, thermostat and barostat on one thread: the same bits in the same place of a second run."""
    execute(f"{RUN} {SHORT[RUN].replace('--steps 120', '--steps 12')} --output again", folder)
    top = folder / "run" / "start.pdb"
    first, again = (mdtraj.load(str(folder / run / "trajectory.dcd"), top=str(top)) for run in ("run", "again"))
    assert top.read_bytes() == (folder / "again" / "start.pdb").read_bytes()
    assert len(again) == 2 and (first.xyz[:2] == again.xyz).all()
    assert (first.unitcell_lengths[:2] == again.unitcell_lengths).all()


@pytest.mark.parametrize("model", ["first", "tuned"])
def test_artefacts_agree_in_openmm(folder, monkeypatch, model):
    monkeypatch.chdir(folder)  # a fine-tuned checkpoint names the package that it started from
    topology = app.PDBFile("molecule.pdb").topology
    frames = ase.io.read("test.xyz", ":")
    energy, forces = energy_and_forces(f"{model}.nequip.zip", topology, frames, compile=False)
    others = {f"{model}/best.ckpt": {"compile": False}}
    if model == "first":
        others["first.nequip.pt2"] = {}
    for path, options in others.items():
        other, other_forces = energy_and_forces(path, topology, frames, **options)
        assert np.abs(other - energy).max() < ENERGY_PER_ATOM * len(frames[0]), path
        assert np.abs(other_forces - forces).max() < FORCES, path


def test_fine_tuning_lowers_the_errors_on_the_run(folder):
    errors = json.loads((folder / "errors.json").read_text())
    for quantity in ("forces_mae_mev_per_angstrom", "energy_mae_mev_per_atom"):
        assert errors["tuned"]["production"][quantity] < errors["first"]["production"][quantity]


def test_committed_pictures_are_small():
    pictures = list(TUTORIAL.glob("*.png"))
    assert pictures and max(path.stat().st_size for path in pictures) < LARGEST_PICTURE
