"""Files of every nequip beside what that nequip itself computes: ``python benchmarks/nequip_versions.py FOLDER``.

For each version an environment of its own is made in FOLDER (with pip, some 2 GB each; kept for the next time). In it a
small model with l_max 2, parity and a ZBL term is trained for an epoch and written as a checkpoint, a package, and
compiled (``.pth``, ``.pt2``), and the package evaluates one structure by its own code. Then this process, with the
nequip that is installed here, runs every file in every way. The table has the largest difference of a force component
from the version's own, in eV/Å, or why the file does not run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import venv
import warnings
from pathlib import Path
from typing import Any

VERSIONS = ("0.8.0", "0.11.1", "0.14.0", "0.16.2", "0.17.1", "0.19.1")
ARTEFACTS = ("checkpoint", "package", ".pth", ".pt2")
WAYS = {
    "eager": {"compile": False, "kernels": "none"},
    "compiled": {"compile": True, "kernels": "none"},
    "fused": {"kernels": "fused"},
}
#: torch from 2.6 on loads nothing but weights unless it is told to; files of these versions hold more.
SETTINGS = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
TYPES, R_MAX = ["H", "C", "O"], 4.0
#: From this version on the mapper of species has another name for its argument.
NEW_MAPPER = (0, 16)


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in version.split(".")[:2])


def structure(seed: int) -> Any:
    """A rattled periodic lattice of 27 atoms with Lennard-Jones energy and forces."""
    import numpy as np
    from ase import Atoms
    from ase.calculators.lj import LennardJones

    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.2
    atoms = Atoms(rng.choice(TYPES, 27), grid + rng.normal(0, 0.12, grid.shape), cell=[6.6, 6.7, 6.8], pbc=True)
    atoms.calc = LennardJones(sigma=1.9, epsilon=0.05, rc=R_MAX, smooth=True)
    atoms.get_forces()
    return atoms


def training(version: str) -> dict:
    """A configuration of nequip-train that all versions read."""
    mapper = "chemical_symbols" if numbers(version) < NEW_MAPPER else "model_type_names"
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0}}
    needed = {} if numbers(version) >= NEW_MAPPER else {"global_options": {"allow_tf32": False}}
    return needed | {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1,
            "split_dataset": {"file_path": "data.xyz", "train": 0.75, "val": 0.25},
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", mapper: TYPES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
            ],
            "train_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 1},
            "val_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 1},
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": 1, "logger": False,
            "enable_progress_bar": False, "enable_model_summary": False,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out", "filename": "best",
            }],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.9,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": metrics, "train_metrics": metrics, "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "seed": 1, "model_dtype": "float64", "type_names": TYPES, "r_max": R_MAX,
                "num_layers": 3, "l_max": 2, "parity": True, "num_features": 4, "avg_num_neighbors": 20.0,
                "per_type_energy_scales": {"H": 0.8, "C": 1.0, "O": 1.2},
                "per_type_energy_shifts": {"H": -1.0, "C": -2.0, "O": -3.0},
                "pair_potential": {
                    "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES,
                },
            },
        },
    }  # fmt: skip


def named(script: str, arguments: list[str]) -> list[str]:
    """The arguments of a script of older versions, which have names for the paths."""
    if script == "package":
        return [arguments[0], "--ckpt-path", arguments[1], "--output-path", arguments[2]]
    return ["--input-path", arguments[0], "--output-path", *arguments[1:]]


def write_files(folder: Path, artefacts: list[str]) -> None:
    """In a version's own environment: train, package, compile, and evaluate; what fails leaves a reason behind."""
    import ase.io
    from omegaconf import OmegaConf

    version = importlib.metadata.version("nequip")
    ase.io.write(folder / "data.xyz", [structure(seed) for seed in range(4)], format="extxyz")
    OmegaConf.save(OmegaConf.create(training(version)), folder / "config.yaml")
    scripts = [
        ("checkpoint", "train", ["-cp", str(folder), "-cn", "config", f"hydra.run.dir={folder}"]),
        ("package", "package", ["build", "model.ckpt", "model.nequip.zip"]),
        (".pth", "compile", ["model.nequip.zip", "model.nequip.pth", "--mode", "torchscript", "--device", "cpu"]),
        (".pt2", "compile",
         ["model.nequip.zip", "model.nequip.pt2", "--mode", "aotinductor", "--device", "cpu", "--target", "ase"]),
    ]  # fmt: skip
    failures = {}
    for artefact, script, arguments in scripts:
        if artefact not in ("checkpoint", "package", *artefacts):
            failures[artefact] = "left out"
            continue
        for words in (arguments, named(script, arguments)):
            command = [sys.executable, "-m", f"nequip.scripts.{script}", *words]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode != 2:  # the parser's: older versions take the paths by name
                break
        if artefact == "checkpoint" and done.returncode == 0:
            os.replace(next(folder.glob("**/best.ckpt")), folder / "model.ckpt")
        if done.returncode != 0:
            failures[artefact] = (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
    (folder / "failures.json").write_text(json.dumps(failures))
    if "package" not in failures:
        (folder / "own.json").write_text(json.dumps(own_evaluation(folder / "model.nequip.zip")))


def own_evaluation(package: Path) -> dict:
    """Energy and forces of the package by its own code, with ASE's neighbour list."""
    import torch
    from ase.neighborlist import neighbor_list

    atoms = structure(99)
    torch.set_default_dtype(torch.float64)
    model = torch.package.PackageImporter(str(package)).load_pickle("model", "eager_model.pkl", map_location="cpu")
    while not hasattr(model, "model_input_fields"):
        model = next(iter(model.values()))
    i, j, shifts = neighbor_list("ijS", atoms, R_MAX)
    data = {
        "pos": torch.tensor(atoms.positions),
        "atom_types": torch.tensor([TYPES.index(symbol) for symbol in atoms.get_chemical_symbols()]),
        "edge_index": torch.tensor([i.tolist(), j.tolist()]),
        "edge_cell_shift": torch.tensor(shifts, dtype=torch.float64),
        "cell": torch.tensor(atoms.cell[:]).view(1, 3, 3),
    }
    out = model.eval()(data)
    return {"energy": float(out["total_energy"]), "forces": out["forces"].tolist()}


def prepare(folder: Path, version: str, artefacts: list[str]) -> str:
    """Make the environment and the files of a version where they are not yet; a reason if it cannot be installed."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    torch = importlib.metadata.version("torch").split("+")[0]
    packages = [f"torch=={torch}", "setuptools<81", f"nequip=={version}"]
    done = subprocess.run([python, "-m", "pip", "install", "-q", *packages], capture_output=True, text=True)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
    files = folder / "files"
    if not (files / "failures.json").exists():
        files.mkdir(exist_ok=True)
        command = [python, str(Path(__file__).resolve()), str(files), "--write", "--artefacts", *artefacts]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | SETTINGS
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            return (done.stderr.strip().splitlines() or ["no message"])[-1][:200]
    return ""


def compare(files: Path, artefact: str, way: str) -> str:
    """Largest difference of a force component of a file run here, or why it does not run."""
    import numpy as np

    from openmm_nequip import load_model
    from openmm_nequip.evaluate.evaluator import Evaluator
    from openmm_nequip.evaluate.placement import Placement
    from openmm_nequip.units import KJ_PER_MOL_PER_EV, Units

    failures = json.loads((files / "failures.json").read_text())
    if artefact in failures:
        return f"not made: {failures[artefact]}"
    if not (files / "own.json").exists():
        return "the version's own evaluation failed"
    own = json.loads((files / "own.json").read_text())
    name = {"checkpoint": "model.ckpt", "package": "model.nequip.zip"}.get(artefact, f"model.nequip{artefact}")
    atoms = structure(99)
    types = np.array([TYPES.index(symbol) for symbol in atoms.get_chemical_symbols()])
    try:
        model = load_model(files / name, **WAYS[way])  # type: ignore[arg-type]
        evaluator = Evaluator(model, Units(), Placement(len(types), types), True, 0.0)
        energy, forces = evaluator(atoms.positions / 10, np.array(atoms.cell) / 10)
    except Exception as error:  # noqa: BLE001  # whatever a file of another age can raise belongs into the table
        first = (str(error).splitlines() or ["no message"])[0]
        return f"{type(error).__name__}: {first.replace(str(files), '.')[:160]}"
    off = np.abs(forces / Units().force - np.array(own["forces"])).max()
    return f"{off:.0e} ({abs(energy / KJ_PER_MOL_PER_EV - own['energy']):.0e} eV)"


def main() -> None:
    """Write the files of the version that runs this, or the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--versions", nargs="+", default=VERSIONS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--artefacts", nargs="+", default=list(ARTEFACTS), choices=ARTEFACTS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write_files(given.folder.resolve(), given.artefacts)
        return
    warnings.simplefilter("ignore")
    print("| nequip | file | " + " | ".join(given.ways) + " |\n|---|---|" + "---|" * len(given.ways))
    for version in given.versions:
        folder = given.folder.resolve() / version
        reason = prepare(folder, version, given.artefacts)
        if reason:
            print(f"| {version} | none: {reason} |" + " |" * len(given.ways), flush=True)
            continue
        for artefact in given.artefacts:
            # What is compiled already runs as it is; TorchScript files hold their weights, and are fused as well.
            possible = {".pth": ("eager", "fused"), ".pt2": ("eager",)}.get(artefact, tuple(WAYS))
            with contextlib.redirect_stdout(sys.stderr):
                cells = [
                    compare(folder / "files", artefact, way) if way in possible else "–" for way in given.ways
                ]
            print(f"| {version} | {artefact} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
