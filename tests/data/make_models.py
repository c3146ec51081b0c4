"""Make the small trained models of the tests: ``python make_models.py``, with nequip, nequip-allegro and torch 2.9.

Each model is trained for a few epochs on rattled H/C/N/O structures labelled with ASE's Lennard-Jones potential, then
saved in every form: ``.ckpt``, ``.nequip.zip`` and ``.nequip.pth``. torch 2.9 is the last one for which nequip writes
``.nequip.pth``; ``.nequip.pt2`` files hold code for one machine and are compiled by the tests themselves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones

TYPES = ["H", "C", "N", "O"]
R_MAX = 4.0
COMMON = {"seed": 1, "model_dtype": "float64", "type_names": TYPES, "r_max": R_MAX, "compile_mode": "eager"}
NEQUIP = COMMON | {
    "_target_": "nequip.model.NequIPGNNModel",
    "num_layers": 2, "l_max": 1, "parity": True, "num_features": 4, "radial_mlp_depth": 1, "radial_mlp_width": 8,
    "type_embed_num_features": 4,
    # Two different cutoffs, so that the tests see whether pairs are pruned as the model wants.
    "per_edge_type_cutoff": {"H": 3.0, "O": {"H": 3.0, "C": 4.0, "N": 4.0, "O": 3.5}},
}  # fmt: skip
ALLEGRO = COMMON | {
    "_target_": "allegro.model.AllegroModel",
    "l_max": 1, "num_layers": 2, "num_scalar_features": 8, "num_tensor_features": 4,
    "allegro_mlp_hidden_layers_depth": 1, "allegro_mlp_hidden_layers_width": 8,
    "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4},
    "radial_chemical_embed_dim": 8, "readout_mlp_hidden_layers_depth": 1, "readout_mlp_hidden_layers_width": 4,
    "pair_potential": {
        "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal",
        "chemical_species": "${training_module.model.type_names}",
    },
}  # fmt: skip
STATISTICS = {
    "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
    "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
    "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
}


def structures(count: int, seed: int) -> list[Atoms]:
    """Rattled periodic lattices of random composition with Lennard-Jones energies (eV), forces (eV/Å)."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        spacing = rng.uniform(2.0, 2.4)
        grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) * spacing
        atoms = Atoms(rng.choice(TYPES, 27), grid + rng.normal(0, 0.12, grid.shape), cell=[3 * spacing] * 3, pbc=True)
        atoms.calc = LennardJones(sigma=1.9, epsilon=0.05, rc=R_MAX, smooth=True)
        atoms.get_forces()
        frames.append(atoms)
    return frames


def config(model: dict) -> dict:
    """A nequip-train configuration for one model."""
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0}}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1,
            "split_dataset": {"file_path": "data.xyz", "train": 0.8, "val": 0.2},
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
            ],
            "train_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 2},
            "val_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 8},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager", "type_names": TYPES,
                "dataloader_kwargs": {"batch_size": 8},
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": 5, "logger": False,
            "enable_progress_bar": False, "enable_model_summary": False,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out", "filename": "best",
                "monitor": "val0_epoch/weighted_sum",
            }],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.9,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": metrics, "train_metrics": metrics, "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": model | STATISTICS,
        },
    }  # fmt: skip


def nequip(command: str, *arguments: str, cwd: Path) -> None:
    """Run one of nequip's commands with this interpreter."""
    subprocess.run([sys.executable, "-m", f"nequip.scripts.{command}", *arguments], cwd=cwd, check=True)


def deflate(source: Path, target: Path) -> None:
    """Rewrite an archive, which torch stores uncompressed, with compression and without debug records (paths)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as new:
        for name in old.namelist():
            if not name.endswith(".debug_pkl"):
                new.writestr(name, old.read(name))


def slim(source: Path, target: Path) -> None:
    """Copy a checkpoint without what only a continued training needs."""
    import torch

    checkpoint = torch.load(source, map_location="cpu", weights_only=False)
    torch.save(checkpoint | {"callbacks": {}, "optimizer_states": []}, target)


def make(name: str, model: dict, folder: Path) -> None:
    """Train one model and write its three files to ``folder``."""
    from omegaconf import OmegaConf

    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        ase.io.write(work / "data.xyz", structures(30, 1), format="extxyz")
        OmegaConf.save(OmegaConf.create(config(model)), work / "config.yaml")
        nequip("train", "-cp", str(work), "-cn", "config", f"hydra.run.dir={work}", cwd=work)
        checkpoint = next(work.glob("**/best.ckpt"))
        nequip("package", "build", str(checkpoint), "model.nequip.zip", cwd=work)
        nequip("compile", "model.nequip.zip", "model.nequip.pth", "--mode", "torchscript", "--device", "cpu", cwd=work)
        slim(checkpoint, folder / f"{name}.ckpt")
        deflate(work / "model.nequip.zip", folder / f"{name}.nequip.zip")
        deflate(work / "model.nequip.pth", folder / f"{name}.nequip.pth")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    make("tiny-nequip", NEQUIP, arguments.folder.resolve())
    make("tiny-allegro", ALLEGRO, arguments.folder.resolve())
