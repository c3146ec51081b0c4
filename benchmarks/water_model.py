"""A model of water to measure with: the architecture of the kernels' study, trained for minutes on flexible TIP3P.

    python benchmarks/water_model.py --output FOLDER [--family nequip | allegro] [--frames 80] [--epochs 12]

Writes FOLDER/water.nequip.zip: NequIP with 4 layers, l_max 1, no parity, 32 features and a radial network 8-64-64, or
Allegro with 2 layers, l_max 2, no parity, 32 tensor and 64 scalar features and a ZBL term; cutoff 5 Å, float32. It
holds water together for long enough to time its dynamics, and is good for nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

EV = 96.48533212331  # kJ/mol
TYPES = ["H", "O"]
R_MAX = 5.0


def water_box(side_nm: float) -> tuple[app.Topology, np.ndarray, openmm.System]:
    """A box of flexible TIP3P."""
    forcefield = app.ForceField("amber14/tip3p.xml")
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1, 1, 1) * side_nm * unit.nanometer)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=min(0.9, 0.45 * side_nm) * unit.nanometer,
        rigidWater=False, constraints=None,
    )  # fmt: skip
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer)), system


def label(count: int) -> list[Atoms]:
    """Frames of molecular dynamics at 300 and 450 K with energies (eV) and forces (eV/Å)."""
    topology, positions, system = water_box(1.0)
    symbols = [atom.element.symbol for atom in topology.atoms()]
    frames = []
    for seed, temperature in enumerate((300.0, 450.0)):
        integrator = openmm.LangevinMiddleIntegrator(temperature, 5.0, 0.0005)
        integrator.setRandomNumberSeed(seed + 1)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
        context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
        context.setVelocitiesToTemperature(temperature, seed + 1)
        integrator.step(2000)
        for _ in range(count // 2):
            integrator.step(100)
            state = context.getState(getPositions=True, getEnergy=True, getForces=True)
            box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
            atoms = Atoms(symbols, state.getPositions(asNumpy=True).value_in_unit(unit.angstrom), cell=box, pbc=True)
            forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) / EV
            energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / EV
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
            frames.append(atoms)
    return [frames[i] for i in np.random.default_rng(0).permutation(len(frames))]


#: What is built of each family, beside what both have.
MODELS = {
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel", "num_layers": 4, "l_max": 1, "parity": False, "num_features": 32,
        "radial_mlp_depth": 2, "radial_mlp_width": 64,
    },
    "allegro": {
        "_target_": "allegro.model.AllegroModel", "num_layers": 2, "l_max": 2, "parity": False,
        "num_tensor_features": 32, "num_scalar_features": 64, "allegro_mlp_hidden_layers_width": 64,
        "scalar_embed_mlp_hidden_layers_width": 64, "readout_mlp_hidden_layers_width": 64,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
        "pair_potential": {
            "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES,
        },
    },
}  # fmt: skip


def config(family: str, epochs: int) -> dict:
    """A nequip-train configuration."""
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"total_energy_mae": 0.1, "forces_mae": 1.0}}
    loss = {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1,
            "split_dataset": {"file_path": "data.xyz", "train": 0.9, "val": 0.1},
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
            ],
            "train_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 1, "shuffle": True},
            "val_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 4},
            "stats_manager": {"_target_": "nequip.data.CommonDataStatisticsManager", "type_names": TYPES},
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": epochs, "logger": False,
            "callbacks": [{
                "_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out", "filename": "best",
                "monitor": "val0_epoch/weighted_sum",
            }],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.98, "loss": loss, "val_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "model": MODELS[family] | {
                "seed": 1, "model_dtype": "float32", "type_names": TYPES, "r_max": R_MAX,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
                "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
            },
        },
    }  # fmt: skip


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--family", choices=MODELS, default="nequip")
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    from omegaconf import OmegaConf

    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    ase.io.write(folder / "data.xyz", label(arguments.frames), format="extxyz")
    OmegaConf.save(OmegaConf.create(config(arguments.family, arguments.epochs)), folder / "config.yaml")
    shutil.rmtree(folder / "out", ignore_errors=True)
    train = [sys.executable, "-m", "nequip.scripts.train", "-cp", str(folder), "-cn", "config"]
    subprocess.run([*train, f"hydra.run.dir={folder}"], cwd=folder, check=True)
    package = folder / "water.nequip.zip"
    package.unlink(missing_ok=True)
    command = [sys.executable, "-m", "nequip.scripts.package", "build", "out/best.ckpt", str(package)]
    subprocess.run(command, cwd=folder, check=True)


if __name__ == "__main__":
    main()
