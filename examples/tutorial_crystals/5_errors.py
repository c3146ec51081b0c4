"""Step 5: how wrong the trained model is, on frames of the crystals it knows and of the one it does not.

Run: ``python 5_errors.py [--folder output]``, after training and packaging; it reads the model, the frames and the
training log from the folder.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from common import COLORS, load_model, new_picture, predict, tersoff


def read_log(path: Path) -> list[tuple[int, float]]:
    """Epoch and mean absolute force error on the validation frames (eV/angstrom), from nequip-train's log."""
    column = "val0_epoch/forces_mae"
    with path.open(encoding="utf-8") as file:
        return [(int(row["epoch"]), float(row[column])) for row in csv.DictReader(file) if row.get(column)]


def lattice(energy) -> tuple[float, float]:
    """Lattice constant (angstrom) and bulk modulus (GPa) of diamond, from a parabola through E(a)."""
    edges = np.linspace(3.53, 3.60, 8)
    a, b, _ = np.polyfit(edges, [energy(bulk("C", "diamond", edge, cubic=True)) for edge in edges], 2)
    minimum = -b / (2 * a)
    # V = a^3, so B = V d2E/dV2 = E'' / (9 a) at the minimum
    return minimum, 2 * a / (9 * minimum) / GPa


def tersoff_energy(atoms: Atoms) -> float:
    """Energy in eV by the reference."""
    atoms.calc = tersoff()
    return atoms.get_potential_energy()


def main() -> None:
    """Print the errors by crystal and diamond's lattice constant; write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output"), help="folder of training and frames")
    arguments = parser.parse_args()
    model = load_model(arguments.folder / "carbon.nequip.zip")
    known = ase.io.read(arguments.folder / "test.xyz", ":")
    unseen = ase.io.read(arguments.folder / "heldout.xyz", ":")
    unseen_names = {frame.info["crystal"] for frame in unseen}
    by_crystal: dict[str, list[Atoms]] = {}
    for frame in known + unseen:
        by_crystal.setdefault(frame.info["crystal"], []).append(frame)

    figure, (left, middle, right) = new_picture(3)
    print("mean absolute errors   energy, meV/atom   forces, meV/A   of their rms   stress, GPa")
    for name in sorted(by_crystal, key=lambda name: name in unseen_names):
        frames = by_crystal[name]
        found = predict(model, frames)
        energies = np.array([frame.get_potential_energy() / len(frame) for frame in frames])
        forces = np.concatenate([frame.get_forces() for frame in frames])
        stresses = np.array([frame.get_stress(voigt=False) for frame in frames])
        force_error = np.abs(found["forces"] - forces).mean()
        never = name in unseen_names
        print(f"{name:7}{'(never seen)' if never else '':16}", end="")
        print(f"{1e3 * np.abs(found['energies'] - energies).mean():15.1f}{1e3 * force_error:16.0f}", end="")
        print(f"{force_error / np.sqrt((forces**2).mean()):15.0%}", end="")
        print(f"{np.abs(found['stresses'] - stresses).mean() / GPa:14.2f}")
        style = {"marker": "x" if never else "o", "s": 14, "color": COLORS[name], "linewidths": 0.8, "alpha": 0.7}
        middle.scatter(energies, found["energies"], label=name + (", never seen" if never else ""), **style)
        right.scatter(forces, found["forces"], **style | {"s": 4})
    reference, ours = (
        lattice(tersoff_energy),
        lattice(lambda atoms: predict(model, [atoms])["energies"][0] * len(atoms)),
    )
    print("diamond          lattice constant, A   bulk modulus, GPa")
    for label, (edge, modulus) in {"reference": reference, "model": ours}.items():
        print(f"{label:17}{edge:19.4f}{modulus:20.0f}")

    epochs, errors = zip(*read_log(arguments.folder / "log" / "metrics.csv"), strict=True)
    left.semilogy(epochs, [1e3 * error for error in errors], color="k")
    left.set(xlabel="epoch", ylabel="force error of validation, meV/Å", title="training")
    middle.set(xlabel="reference, eV/atom", ylabel="model, eV/atom", title="energies of test frames")
    right.set(xlabel="reference, eV/Å", ylabel="model, eV/Å", title="forces of test frames")
    for axis in (middle, right):
        ends = min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    middle.legend(frameon=False, fontsize=8)
    figure.savefig(arguments.folder / "errors.png", dpi=90)


if __name__ == "__main__":
    main()
