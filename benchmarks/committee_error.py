"""Does the deviation of a committee follow its error? Trained here, asked along its own run at 600 K.

    python benchmarks/committee_error.py FOLDER [--models 4] [--epochs 40] [--steps 4000]

Small NequIP models of alanine dipeptide are trained on the frames of up to 400 K of the demo model's test set
(GFN2-xTB), each on another five sixths of them and from another seed. Their mean then runs at 600 K, where none of them
was trained; the frames of that run are labelled by GFN2-xTB, and `openmm-nequip test --committee` compares. Needs
``openmm-nequip[train]``; models that are in FOLDER are not trained again.
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
DATA = ROOT / "examples" / "train_demo_model" / "test.xyz.gz"
PEPTIDE = ROOT / "openmm_nequip" / "data" / "alanine-dipeptide.pdb"
TYPES = ["H", "C", "N", "O"]
#: Kinds of frames that no model sees.
HOT = ("gfn2_600K", "gfn2_900K")


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


def train(folder: Path, epochs: int, seed: int) -> Path:
    """One model; its checkpoint."""
    target = folder / f"model{seed}.ckpt"
    if target.exists():
        return target
    work = folder / f"training{seed}"
    work.mkdir(exist_ok=True)
    frames = [atoms for atoms in ase.io.read(DATA, ":", format="extxyz") if atoms.info["config_type"] not in HOT]
    order = np.random.default_rng(seed).permutation(len(frames))
    count = len(frames) // 6
    for name, chosen in (("val", order[:count]), ("train", order[count:])):
        ase.io.write(work / f"{name}.xyz", [frames[i] for i in chosen], format="extxyz")
    (work / "config.yaml").write_text(yaml.safe_dump(configuration(epochs, seed)))
    line = [sys.executable, "-m", "nequip.scripts.train", "-cp", str(work), "-cn", "config", f"hydra.run.dir={work}"]
    subprocess.run(line, cwd=work, check=True)
    next(work.glob("**/best.ckpt")).rename(target)
    return target


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
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    first, *others = [str(train(folder, arguments.epochs, seed)) for seed in range(1, arguments.models + 1)]
    run, labels = folder / "run600", folder / "run600.xyz"
    if not run.exists():
        command([
            "run", "--model", first, "--committee", *others, "--structure", str(PEPTIDE), "--output", str(run),
            "--temperature", "600", "--steps", str(arguments.steps), "--equilibrate", "500", "--seed", "1",
            "--report-interval", str(max(1, arguments.steps // 100)), "--deviation-select", "0.1", "--threads", "1",
        ])  # fmt: skip
    label(run, labels)
    number = 1 + len(list(folder.glob("compared*")))
    compared = folder / f"compared{number}"
    command(["test", first, str(labels), "--committee", *others, "--kernels", "fused", "--output", str(compared)])
    found = json.loads((compared / "test.json").read_text())
    names = ("deviation_rank_correlation", "deviation_rank_correlation_of_atoms", "force_mae_mev_per_angstrom")
    print({name: found[name] for name in names})


if __name__ == "__main__":
    main()
