"""Step 4: energies, forces and stresses from a reference potential, and a crystal kept for the end.

The reference is Tersoff's carbon potential as ASE has it; the script first checks that it can be trusted.
Run: ``python 4_labels.py [--frames 40] [--output output]``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.units import GPa
from common import SUPERCELLS, labelled, load_crystals, tersoff
from scipy.optimize import minimize_scalar
from tqdm.auto import tqdm

#: The published diamond: lattice constant in angstrom and cohesive energy in eV per atom.
PUBLISHED = 3.566, -7.37


def frame(crystal: Atoms, rng: np.random.Generator) -> Atoms:
    """A supercell scaled by up to 3 % and strained by up to 2 %, its atoms moved by 0.01 to 0.04 angstrom."""
    atoms = crystal * SUPERCELLS[crystal.info["id"]]
    strain = rng.uniform(-0.02, 0.02, (3, 3))
    scale = np.eye(3) * rng.uniform(0.97, 1.03) + (strain + strain.T) / 2
    atoms.set_cell(atoms.cell @ scale, scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.01, 0.04), atoms.positions.shape)
    return atoms


def check_reference(crystal: Atoms) -> None:
    """Forces and stress against finite differences; diamond's lattice constant and energy against publications."""
    atoms = crystal.copy()
    atoms.set_cell(atoms.cell[:] @ [[1.01, 0.01, 0], [0.01, 0.98, 0.02], [0, 0.02, 1]], scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    atoms.calc = tersoff()
    wrong_force = np.abs(atoms.get_forces() - calculate_numerical_forces(atoms, 1e-4)).max()
    wrong_stress = np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, 1e-5)).max()
    print(f"forces differ from central differences by at most {wrong_force:.1e} eV/A, ", end="")
    print(f"stresses by {wrong_stress / GPa:.1e} GPa")

    def energy(lattice: float) -> float:
        diamond = bulk("C", "diamond", lattice)
        diamond.calc = tersoff()
        return diamond.get_potential_energy() / 2

    found = minimize_scalar(energy, bounds=(3.4, 3.7), method="bounded", options={"xatol": 1e-5})
    print(
        f"diamond: a = {found.x:.4f} A (published {PUBLISHED[0]}), {found.fun:.3f} eV/atom (published {PUBLISHED[1]})"
    )
    for lattice in (2.456, 2.530):
        layers = []
        for spacing in (3.35, 3.8, 6.0):
            layer = Atoms(
                "C4", scaled_positions=[(0, 0, 0), (1 / 3, 2 / 3, 0), (0, 0, 0.5), (2 / 3, 1 / 3, 0.5)],
                cell=[lattice, lattice, 2 * spacing, 90, 90, 120], pbc=True, calculator=tersoff(),
            )  # fmt: skip
            layers.append(f"{layer.get_potential_energy() / 4:.4f}")
        print(f"graphite, a = {lattice} A, layers 3.35, 3.8, 6 A apart: {', '.join(layers)} eV/atom")


def main() -> None:
    """Check the reference, then write train.xyz, val.xyz, test.xyz and heldout.xyz."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=40, help="training frames of each crystal")
    parser.add_argument("--heldout", nargs="+", default=["mp-47"], help="crystals that the model must not see")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for the files")
    arguments = parser.parse_args()
    crystals = load_crystals()
    if unknown := set(arguments.heldout) - set(crystals):
        parser.error(f"--heldout {', '.join(sorted(unknown))}: the crystals are {', '.join(crystals)}")
    check_reference(crystals["mp-66"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    fewer = max(2, arguments.frames // 4)
    known = [crystal for name, crystal in crystals.items() if name not in arguments.heldout]
    unseen = [crystals[name] for name in arguments.heldout]
    plan = {
        "train": (known, arguments.frames),
        "val": (known, fewer),
        "test": (known, fewer),
        "heldout": (unseen, fewer),
    }
    for seed, (name, (members, count)) in enumerate(plan.items()):
        rng = np.random.default_rng(seed)
        jobs = [crystal for crystal in members for _ in range(count)]
        frames = [labelled(frame(crystal, rng)) for crystal in tqdm(jobs, desc=name, leave=False, disable=None)]
        ase.io.write(arguments.output / f"{name}.xyz", frames, format="extxyz")
        sizes = np.concatenate([f.get_forces().ravel() for f in frames])
        print(f"{name}.xyz: {len(frames)} frames of {', '.join(c.info['id'] for c in members)}; forces of ", end="")
        print(f"{np.sqrt((sizes**2).mean()):.2f} eV/A on average")


if __name__ == "__main__":
    main()
