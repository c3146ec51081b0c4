"""First use of models of foundation size: ``python benchmarks/foundation_size.py FOLDER [--models S L allegro-L]``.

Models with random weights, 89 types and the published sizes: NequIP-OAM-S and -L (nequip's presets, cutoff 6 Å, ZBL)
and Allegro-OAM-L (l_max 3, 4 layers, 64 tensor features, networks 1,024 wide, cutoff 7 Å). Each is written as a
checkpoint and a package in FOLDER (kept for the next time). Then, with an empty cache and in processes of their own
as a user has them: ``info`` twice, ``energy --kernels fused`` twice. The C++ compiler's time is measured by a wrapper
round it. The energy and forces are compared with nequip's own uncompiled evaluation of the same file, in float32 as
the model is.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.data import chemical_symbols

TYPES = [*chemical_symbols[1:84], *chemical_symbols[89:95]]
_ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES}
_NEQUIP = {"_target_": "nequip.model.PresetNequIPGNNModel", "r_max": 6.0, "pair_potential": _ZBL}
MODELS = {
    "S": _NEQUIP | {"preset": "S"},
    "L": _NEQUIP | {"preset": "L"},
    "allegro-L": {
        "_target_": "allegro.model.AllegroModel", "r_max": 7.0, "l_max": 3, "num_layers": 4, "parity": False,
        "num_scalar_features": 64, "num_tensor_features": 64, "tp_path_channel_coupling": True,
        "allegro_mlp_hidden_layers_depth": 2, "allegro_mlp_hidden_layers_width": 1024,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 12},
    },
}  # fmt: skip
#: A compiler that says how long it took.
_WRAPPER = """#!{python}
import os, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call({compiler} + sys.argv[1:])
if "-o" in sys.argv:
    open({log}, "a").write(f"{{time.perf_counter() - start}}\\n")
sys.exit(code)
"""


def structure(seed: int, n_side: int) -> Atoms:
    """A rattled lattice of n_side^3 atoms of 89 elements, 2.8 Å apart."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n_side)] * 3, indexing="ij"), -1).reshape(-1, 3) * 2.8
    symbols = rng.choice(TYPES, len(grid))
    atoms = Atoms(symbols, grid + rng.normal(0, 0.1, grid.shape), cell=[2.8 * n_side] * 3, pbc=True)
    atoms.calc = LennardJones(sigma=2.5, epsilon=0.05, rc=6.0, smooth=True)
    atoms.get_forces()
    return atoms


def write(folder: Path, name: str) -> None:
    """Train for one step and package, by nequip's own scripts."""
    from omegaconf import OmegaConf

    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "model.nequip.zip").exists():
        return
    ase.io.write(folder / "data.xyz", [structure(seed, 2) for seed in range(2)], format="extxyz")
    ase.io.write(folder / "structure.xyz", structure(99, 4), format="extxyz")
    options = MODELS[name]
    metrics = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0}}
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 1}
    configuration = {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule", "seed": 1,
            "split_dataset": {"file_path": "data.xyz", "train": 0.5, "val": 0.5},
            "transforms": [
                {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": TYPES},
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": options["r_max"]},
            ],
            "train_dataloader": loader, "val_dataloader": loader,
        },
        "trainer": {
            "_target_": "lightning.Trainer", "accelerator": "cpu", "max_epochs": 1, "logger": False,
            "enable_progress_bar": False, "enable_model_summary": False,
            "callbacks": [
                {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "out", "filename": "best"}
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule", "ema_decay": 0.9,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": metrics, "train_metrics": metrics, "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.0001},
            "model": {
                "seed": 1, "model_dtype": "float32", "type_names": TYPES, "avg_num_neighbors": 60.0,
                "compile_mode": "eager", "per_type_energy_scales": 1.0, "per_type_energy_shifts": -3.0,
            } | options,
        },
    }  # fmt: skip
    OmegaConf.save(OmegaConf.create(configuration), folder / "config.yaml")
    scripts = (
        ["train", "-cp", str(folder), "-cn", "config", f"hydra.run.dir={folder}"],
        ["package", "build", "model.ckpt", "model.nequip.zip"],
    )
    for script, *words in scripts:
        subprocess.run([sys.executable, "-m", f"nequip.scripts.{script}", *words], cwd=folder, check=True)
        if script == "train":
            os.replace(next(folder.glob("**/best.ckpt")), folder / "model.ckpt")


def timed(words: list[str], environment: dict[str, str]) -> tuple[float, dict]:
    """Seconds of a command in a process of its own, and the document that it prints."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "openmm_nequip", *words, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{shlex.join(words)}: {done.stderr}")
    return seconds, json.loads(done.stdout)


def own_answer(folder: Path) -> dict:
    """nequip's own uncompiled evaluation: energy (eV), forces (eV/Å)."""
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.model.saved_models import load_saved_model
    from nequip.utils.global_state import set_global_state

    set_global_state()
    model = load_saved_model(str(folder / "model.ckpt"), compile_mode="eager", model_key="sole_model").eval()
    radius = float(model.metadata["r_max"])
    data = from_ase(ase.io.read(folder / "structure.xyz"))
    for transform in (ChemicalSpeciesToAtomTypeMapper(TYPES), NeighborListTransform(radius)):
        data = transform(data)
    out = model(AtomicDataDict.to_(data, "cpu"))
    return {"energy": float(out["total_energy"]), "forces": out["forces"].tolist()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--file", default="model.nequip.zip", choices=["model.nequip.zip", "model.ckpt"])
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.own:
        print(json.dumps(own_answer(given.folder)))
        return
    from openmm_nequip.cxx import find_compiler

    columns = "model", "file, MB", "info, s", "again", "energy, s", "of it the compiler", "again", "energy", "force"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for name in given.models:
        folder = given.folder.resolve() / name
        write(folder, name)
        model, atoms = folder / given.file, folder / "structure.xyz"
        kept = folder / "own.json"
        if not kept.exists():
            command = [sys.executable, __file__, str(folder), "--own"]
            kept.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        own = json.loads(kept.read_text())
        with tempfile.TemporaryDirectory() as scratch:
            log, wrapper = Path(scratch) / "seconds", Path(scratch) / "c++"
            text = _WRAPPER.format(python=sys.executable, compiler=find_compiler(), log=repr(str(log)))
            wrapper.write_text(text)
            wrapper.chmod(0o755)
            environment = os.environ | {"OPENMM_NEQUIP_CACHE": f"{scratch}/cache", "CXX": str(wrapper)}
            infos = [timed(["info", str(model)], environment)[0] for _ in range(2)]
            units = ["--units", "angstrom", "eV"]
            words = ["energy", str(model), str(atoms), "--kernels", "fused", "--forces", f"{scratch}/f.npy", *units]
            first, _ = timed(words, environment)
            compiler = sum(float(line) for line in log.read_text().split()) if log.exists() else 0.0
            again, answer = timed(words, environment)
            computed = np.load(f"{scratch}/f.npy") * (answer["energy_ev"] / answer["energy_kj_per_mol"]) / 10.0
        off = abs(answer["energy_ev"] - own["energy"]) / abs(own["energy"])
        forces = np.abs(computed - np.array(own["forces"])).max()
        cells = [f"{seconds:.1f}" for seconds in (*infos, first, compiler, again)]
        size = model.stat().st_size / 1e6
        print(f"| {name} | {size:.0f} | {' | '.join(cells)} | {off:.0e} | {forces:.0e} |", flush=True)


if __name__ == "__main__":
    main()
