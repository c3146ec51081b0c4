"""Does the deviation of a committee follow its error? Trained at 300 K, asked along its own run at 600 K.

    python benchmarks/committee_error.py FOLDER [--models 4] [--epochs 100] [--ps 40]

The training data are what a first run gives: frames of alanine dipeptide at 300 K from C7eq, here by the shipped model,
labelled by GFN2-xTB. Small NequIP models are trained on them, each from another seed and on another half. Their mean
then runs at 600 K, which leads out of what they have seen; the frames of that run are labelled by GFN2-xTB, and
``openmm-nequip test --committee`` compares. Needs ``openmm-nequip[train]``; what is in FOLDER is not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import ase.io
import mdtraj
import numpy as np
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from openmm_nequip.app.cli import main as command

ROOT = Path(__file__).resolve().parent.parent
PEPTIDE = ROOT / "openmm_nequip" / "data" / "alanine-dipeptide.pdb"
SHIPPED = PEPTIDE.with_suffix(".nequip.zip")
TYPES = ["H", "C", "N", "O"]
#: ps at 300 K, fs between frames of both runs, and of a step.
COLD_PS, INTERVAL_FS, STEP_FS = 80, 200, 0.5


def configuration(epochs: int, seed: int) -> dict:
    """What nequip-train is told."""
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"per_atom_energy_mae": 1.0, "forces_mae": 1.0}}
    model = {
        "_target_": "nequip.model.NequIPGNNModel", "compile_mode": "eager", "seed": seed, "model_dtype": "float32",
        "type_names": TYPES, "r_max": 4.5, "num_layers": 2, "l_max": 1, "parity": False, "num_features": [16, 8],
        "type_embed_num_features": 8, "radial_mlp_depth": 1, "radial_mlp_width": 16, "num_bessels": 8,
        "avg_num_neighbors": 14.0, "per_type_energy_scales": 1.3,
        "per_type_energy_shifts": {"H": -16.50446, "C": -54.59533, "N": -76.70534, "O": -108.31906},
    }  # fmt: skip
    loader = "torch.utils.data.DataLoader"
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": seed, "train_file_path": "train.xyz",
            "val_file_path": "val.xyz",
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": 4.5},
            ],
            "train_dataloader": {"_target_": loader, "batch_size": 5, "shuffle": True},
            "val_dataloader": {"_target_": loader, "batch_size": 20},
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": epochs, "logger": False,
            "enable_progress_bar": False, "enable_model_summary": False, "gradient_clip_val": 1.0,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out", "filename": "best",
                "monitor": "val0_epoch/weighted_sum",
            }],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.99,
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss", "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": metrics, "train_metrics": metrics, "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "lr_scheduler": {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": epochs, "eta_min": 1e-4,
                },
                "interval": "epoch", "frequency": 1,
            },
            "model": model,
        },
    }  # fmt: skip


def train(folder: Path, data: Path, epochs: int, seed: int) -> Path:
    """One model, trained on a half of the data; its checkpoint."""
    target = folder / f"model{seed}.ckpt"
    if target.exists():
        return target
    work = folder / f"training{seed}"
    work.mkdir(exist_ok=True)
    frames = ase.io.read(data, ":", format="extxyz")
    order = np.random.default_rng(seed).permutation(len(frames))
    half, tenth = len(frames) // 2, len(frames) // 10
    for name, chosen in (("train", order[:half]), ("val", order[half : half + tenth])):
        ase.io.write(work / f"{name}.xyz", [frames[i] for i in chosen], format="extxyz")
    (work / "config.yaml").write_text(yaml.safe_dump(configuration(epochs, seed)))
    line = [sys.executable, "-m", "nequip.scripts.train", "-cp", str(work), "-cn", "config", f"hydra.run.dir={work}"]
    subprocess.run(line, cwd=work, check=True)
    next(work.glob("**/best.ckpt")).rename(target)
    return target


def run(target: Path, kelvin: int, ps: float, *words: str) -> None:
    """A run folder with a frame every so often."""
    interval = round(INTERVAL_FS / STEP_FS)
    command([
        "run", *words, "--structure", str(PEPTIDE), "--output", str(target), "--temperature", str(kelvin),
        "--steps", str(round(ps * 1e3 / STEP_FS)), "--equilibrate", "2000", "--seed", "1", "--timestep", str(STEP_FS),
        "--report-interval", str(interval), "--platform", "Reference", "--threads", "1",
    ])  # fmt: skip


def label(run: Path, target: Path) -> None:
    """The frames of a run with the energies and forces of GFN2-xTB."""
    from tblite.ase import TBLite

    start = ase.io.read(PEPTIDE)
    frames = []
    for positions in mdtraj.load(str(run / "trajectory.dcd"), top=str(run / "start.pdb")).xyz:
        atoms = start.copy()
        atoms.positions = positions * 10
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(target, frames, format="extxyz")


def main() -> None:
    """Train, run, label, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--ps", type=float, default=40, help="of the run at 600 K")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cold, data, hot, labels = (folder / name for name in ("run300", "run300.xyz", "run600", "run600.xyz"))
    if not cold.exists():
        run(cold, 300, COLD_PS, "--model", str(SHIPPED))
    if not data.exists():
        label(cold, data)
    first, *others = [str(train(folder, data, arguments.epochs, seed)) for seed in range(1, arguments.models + 1)]
    committee = [first, "--committee", *others]
    if not hot.exists():
        run(hot, 600, arguments.ps, "--model", *committee, "--deviation-interval", "20", "--deviation-stop", "2.0")
    if not labels.exists():
        label(hot, labels)
    number = 1 + len(list(folder.glob("compared*")))
    compared = folder / f"compared{number}"
    command(["test", first, str(labels), "--committee", *others, "--kernels", "fused", "--output", str(compared)])
    found = json.loads((compared / "test.json").read_text())
    ranks = {name: value for name, value in found.items() if name.startswith("deviation_rank_correlation")}
    print(ranks | {name: found[name] for name in ("frames", "force_mae_mev_per_angstrom")})


if __name__ == "__main__":
    main()
