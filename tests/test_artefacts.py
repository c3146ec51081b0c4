"""From training to OpenMM with nequip's own commands: every file that they make of a model gives the same numbers.

A NequIP model in double and an Allegro model in single precision are trained for one epoch, packaged and compiled for
each target, in processes of their own as a user would.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
import openmm
import pytest
import torch
from conftest import BACKENDS, DATA
from openmmml import MLPotential
from toy import evaluate, make_topology

from openmm_nequip import ModelFileError, load_model
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM, Units

pytestmark = pytest.mark.torchforce_stack

#: Between files of one model, eV per atom and eV/Å: rounding in double and in single precision.
ENERGY_PER_ATOM = {"nequip": 1e-9, "allegro": 5e-7}
FORCE = {"nequip": 1e-9, "allegro": 1e-5}
#: Stress, eV/Å^3.
STRESS = {"nequip": 1e-11, "allegro": 1e-8}
MODELS = ["nequip", "allegro"]
#: Each compilation takes a minute of one core: between them the models have the package's own targets; nequip's are in
#: test_models.py and test_ase.py.
TARGETS = {"nequip": ["openmm"], "allegro": ["openmm-full"]}
#: The last torch series for which nequip writes TorchScript files is 2.9.
TORCHSCRIPT = tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10)


def make_models():
    """The module of ``tests/data`` that has the configurations."""
    spec = importlib.util.spec_from_file_location("make_models", DATA / "make_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(name, *arguments, cwd):
    """Run one of nequip's commands; its output becomes the failure's message."""
    done = subprocess.run(
        [sys.executable, "-m", f"nequip.scripts.{name}", *map(str, arguments)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
        env=dict(os.environ, TORCHINDUCTOR_CACHE_DIR=str(Path(cwd) / f"inductor-{arguments[1]}".replace(".", "-")))
        | ({"OMP_NUM_THREADS": "1"} if name == "train" else {}),
    )  # fmt: skip
    assert done.returncode == 0, f"nequip-{name} {' '.join(map(str, arguments))}:\n{done.stdout[-4000:]}"
    return done.stdout


class Frame(torch.nn.Module):
    """An example for ``nequip-compile --data-path``."""

    def __init__(self, tensors):
        super().__init__()
        for key, value in tensors.items():
            self.register_buffer(key, value)

    def forward(self):
        """Nothing: the file is a carrier of tensors."""
        return 0


def write_open_frame(path):
    """A molecule as ASE hands it to nequip: its cell is zero, nequip's stress is NaN, positions in single precision."""
    from nequip.data import from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    module = make_models()
    atoms = module.structures(1, 7)[0]
    atoms.pbc, atoms.cell = False, np.zeros((3, 3))
    data = from_ase(atoms)
    for transform in (ChemicalSpeciesToAtomTypeMapper(module.TYPES), NeighborListTransform(module.R_MAX)):
        data = transform(data)
    keys = [key for key in ("pos", "edge_index", "atom_types", "cell", "edge_cell_shift") if key in data]
    torch.jit.save(torch.jit.script(Frame({key: data[key] for key in keys})), str(path))


def make(name, root):
    """Train one model and package it: folder with ``data.xyz``, ``model.ckpt``, ``model.nequip.zip``."""
    from omegaconf import OmegaConf

    module = make_models()
    folder = root / name
    folder.mkdir()
    model = {"nequip": module.NEQUIP, "allegro": module.ALLEGRO | {"model_dtype": "float32"}}[name]
    config = module.config(model)
    config["trainer"]["max_epochs"] = 1
    ase.io.write(folder / "data.xyz", module.structures(10, 3), format="extxyz")
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    command("train", "-cp", folder, "-cn", "config", f"hydra.run.dir={folder}", cwd=folder)
    shutil.copy(next(folder.glob("**/best.ckpt")), folder / "model.ckpt")
    command("package", "build", "model.ckpt", "model.nequip.zip", cwd=folder)
    if TORCHSCRIPT:
        command("compile", "model.ckpt", "model.nequip.pth", "--mode", "torchscript", "--device", "cpu", cwd=folder)
    return folder


def compile_for(folder, target):
    """Compile the package; for ``openmm-full`` with an example whose cell is zero."""
    extra = ["--data-path", "open.pt"] if target == "openmm-full" else []
    command(
        "compile", "model.nequip.zip", f"{target}.nequip.pt2", "--mode", "aotinductor", "--device", "cpu",
        "--target", target, *extra, cwd=folder,
    )  # fmt: skip


def jobs(folders):
    return [(folder, target) for folder in folders for target in TARGETS[folder.name]]


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory):
    """Folder with a folder of files for each model."""
    root = tmp_path_factory.mktemp("artefacts")
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda name: make(name, root), MODELS))
        write_open_frame(root / "allegro" / "open.pt")
        list(pool.map(lambda job: compile_for(*job), jobs(folders)))
    return root


def files(folder):
    """Every file of one model and how to run it: name -> keywords of createSystem."""
    found = {"model.ckpt": {"compile": False}, "model.nequip.zip": {"compile": False}}
    found |= {f"{target}.nequip.pt2": {} for target in TARGETS[folder.name]}
    return found | ({"model.nequip.pth": {"kernels": "none"}} if TORCHSCRIPT else {})


def structure(periodic):
    """A structure that the models have not seen: symbols, positions (n, 3) and box (3, 3) or None, in nm."""
    atoms = make_models().structures(1, 11)[0]
    positions = atoms.positions * NM_PER_ANGSTROM
    return atoms.get_chemical_symbols(), positions, np.array(atoms.cell) * NM_PER_ANGSTROM if periodic else None


def in_openmm(path, periodic, backend="PythonForce", **keywords):
    """Energy (eV) and forces (eV/Å) of the structure, through MLPotential and a Context."""
    symbols, positions, box = structure(periodic)
    potential = MLPotential("nequip", modelPath=str(path))
    system = potential.createSystem(make_topology(symbols, box), backend=backend, **keywords)
    assert system.usesPeriodicBoundaryConditions() == periodic
    energy, forces = evaluate(system, positions)
    return energy / KJ_PER_MOL_PER_EV, forces / Units().force


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_file_gives_the_same_energy_and_forces_in_openmm(artefacts, name, periodic):
    reference = None
    for file, keywords in files(artefacts / name).items():
        backends = BACKENDS if file.endswith(".pth") else [b for b in BACKENDS if b != "TorchForce"]
        for backend in backends:
            energy, forces = in_openmm(artefacts / name / file, periodic, backend, **keywords)
            if reference is None:
                reference = energy, forces
                assert np.abs(forces).max() > 0.01  # eV/Å: a model that says something
            assert abs(energy - reference[0]) < ENERGY_PER_ATOM[name] * len(forces), (file, backend)
            assert np.abs(forces - reference[1]).max() < FORCE[name], (file, backend)


@pytest.mark.parametrize("name", MODELS)
def test_atomic_energies_and_stress_where_compiled_in(artefacts, name):
    symbols, positions, box = structure(True)
    layout = Placement(len(symbols), np.array(["HCNO".index(symbol) for symbol in symbols]))
    results = {
        file: Evaluator(load_model(artefacts / name / file, **keywords), Units(), layout, True, 0.0).evaluate(
            positions, box
        )
        for file, keywords in files(artefacts / name).items()
    }
    reference = results.pop("model.ckpt")
    for file, result in results.items():
        if file == "openmm.nequip.pt2":
            assert set(result) == {"energy", "forces"}
        else:
            difference = (result["atomic_energies"] - reference["atomic_energies"]) / KJ_PER_MOL_PER_EV
            assert np.abs(difference).max() < ENERGY_PER_ATOM[name], file
            assert np.abs(result["stress"] - reference["stress"]).max() / Units().stress_bar < STRESS[name], file


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_atoms", [1, 2])
def test_atoms_without_neighbors_have_their_own_energy(artefacts, name, n_atoms):
    """Fewer atoms and edges than the files were traced for."""
    model = {file: load_model(artefacts / name / file, **keys) for file, keys in files(artefacts / name).items()}
    inputs = (
        torch.eye(3, dtype=torch.float64)[:n_atoms] * 50, torch.arange(n_atoms),
        torch.zeros((2, 0), dtype=torch.int64), torch.zeros((0, 3), dtype=torch.float64),
        torch.eye(3, dtype=torch.float64) * 40,
    )  # fmt: skip
    energies = {file: float(one(*inputs)["energy"]) for file, one in model.items()}
    assert np.ptp(list(energies.values())) < ENERGY_PER_ATOM[name] * n_atoms, energies


@pytest.mark.parametrize(
    ("name", "target", "outputs"),
    [
        ("nequip", "openmm", ["energy", "forces"]),
        ("allegro", "openmm-full", ["atomic_energies", "energy", "forces", "virial"]),
    ],
)
def test_info_tells_what_the_file_carries(artefacts, name, target, outputs):
    path = artefacts / name / f"{target}.nequip.pt2"
    done = subprocess.run(
        [sys.executable, "-m", "openmm_nequip", "info", str(path), "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    expected = load_model(artefacts / name / "model.ckpt", compile=False).info
    assert facts["compile_target"] == target and facts["outputs"] == outputs and facts["compiled"]
    assert facts["type_names"] == list(expected.type_names) and facts["cutoff"] == expected.cutoff
    assert facts["dtype"] == {"nequip": "float64", "allegro": "float32"}[name] == expected.dtype
    assert facts["device"] == "cpu" and facts["allow_tf32"] is False
    assert (facts["per_edge_type_cutoff"] is None) == (name == "allegro")
    assert facts["versions_in_file"]["torch"] == torch.__version__
    installed = facts["versions_installed"]
    for package in ("openmm-nequip", "nequip", "nequip-allegro", "e3nn"):
        assert facts["versions_in_file"][package] == installed[package]


def test_the_package_states_its_versions(artefacts):
    versions = load_model(artefacts / "nequip" / "model.nequip.zip", compile=False).info.versions
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    assert {"nequip", "e3nn", "allegro"} <= set(versions)


@pytest.mark.parametrize(("name", "target"), [("nequip", "openmm"), ("allegro", "openmm-full")])
def test_the_number_of_threads_is_not_in_the_code(artefacts, name, target):
    with zipfile.ZipFile(artefacts / name / f"{target}.nequip.pt2") as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".cpp"))
    assert "omp parallel" in code and "num_threads(" not in code.replace("omp_get_num_threads(", "")


def test_a_file_for_another_device_is_refused_before_its_code_is_loaded(artefacts, tmp_path):
    """No GPU is needed: the statement in the file is changed, and with it every answer to what it was made for."""
    path = tmp_path / "gpu.nequip.pt2"
    source = artefacts / "nequip" / "openmm.nequip.pt2"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith("_metadata.json"):
                content = json.dumps(json.loads(content) | {"AOTI_DEVICE_KEY": "cuda"}).encode()
            new.writestr(entry, b"no machine code" if entry.endswith(".so") else content)
    symbols, _, _ = structure(False)
    with pytest.raises(ModelFileError, match=r"compiled for 'cuda' and cannot run on 'cpu'.*--target openmm.*cpu"):
        MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(symbols))


def test_a_system_with_a_target_file_survives_xml(artefacts):
    symbols, positions, box = structure(True)
    path = artefacts / "nequip" / "openmm.nequip.pt2"
    system = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(symbols, box), embedModel=True)
    before = evaluate(system, positions)
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    after = evaluate(again, positions)
    assert before[0] == after[0] and (before[1] == after[1]).all()
