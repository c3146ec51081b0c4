"""The four carbon crystals of the crystal tutorial, and cells that are hard to get right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms

CRYSTALS_JSON = Path(__file__).parents[1] / "examples" / "tutorial_crystals" / "crystals.json"
ENTRIES = {entry["id"]: entry for entry in json.loads(CRYSTALS_JSON.read_text())["crystals"]}
NAMES = tuple(ENTRIES)


def carbon(name: str) -> Atoms:
    """One of the four crystals, as in the tutorial."""
    entry = ENTRIES[name]
    return Atoms(entry["symbols"], entry["positions"], cell=entry["lattice"], pbc=True)


def rattled(name: str, amplitude: float = 0.05, seed: int = 1) -> Atoms:
    """The same with its atoms moved by random vectors (Å), so that no force vanishes by symmetry."""
    atoms = carbon(name)
    atoms.positions += np.random.default_rng(seed).normal(0, amplitude, atoms.positions.shape)
    return atoms


def random_rotation(seed: int) -> np.ndarray:
    """A proper rotation, (3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def rotated(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """Atoms and cell turned together: r' = rotation @ r."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell[:] @ rotation.T, scale_atoms=False)
    turned.positions = atoms.positions @ rotation.T
    return turned


def awkward_cells() -> dict[str, Atoms]:
    """The same few atoms in cells of every kind that OpenMM does not take as they are."""
    symbols, fractions = "CNOH", np.array([[0.1, 0.2, 0.3], [1.6, -0.3, 0.5], [0.4, 0.9, 0.8], [-0.7, 0.6, 2.2]])
    cells = {
        "left-handed": np.array([[0, 5.0, 0], [6.0, 0, 0], [1.0, 1.0, 7.0]]),
        "left-handed, lower triangular": np.array([[5.0, 0, 0], [1.0, 6.0, 0], [1.0, -1.0, -7.0]]),
        "skewed far": np.array([[4.0, 0, 0], [13.7, 5.0, 0], [-9.1, 23.2, 6.0]]),
        "face-centred": np.array([[0, 2.6, 2.6], [2.6, 0, 2.6], [2.6, 2.6, 0]]),
        "body-centred": np.array([[-2.0, 2.0, 2.0], [2.0, -2.0, 2.0], [2.0, 2.0, -2.0]]),
        "rhombohedral": np.array([[1.23, -0.71, 3.35], [0, 1.42, 3.35], [-1.23, -0.71, 3.35]]),
        "turned": np.diag([5.0, 6.0, 7.0]) @ random_rotation(3).T,
        "upside down": np.diag([-5.0, -6.0, 7.0]),
    }
    return {name: Atoms(symbols, fractions @ cell, cell=cell, pbc=True) for name, cell in cells.items()}
