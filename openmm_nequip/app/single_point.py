"""Energy, forces and stress of one structure, straight from the model: what ``openmm-nequip energy`` gives."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluate.evaluator import Evaluator
from ..evaluate.placement import Placement
from ..files import output_obstacle, read_text
from ..models import Model
from ..topology import atom_types, common_symbol
from ..units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM, Units
from .structures.structure_files import Structure

logger = logging.getLogger(__name__)

FORCE_SUFFIXES = (".npy", ".csv", ".txt", ".extxyz")


@dataclass(frozen=True, eq=False)
class SinglePoint:
    """A model's answer for one structure.

    Parameters
    ----------
    energy : float
        kJ/mol.
    forces : numpy.ndarray, (n_atoms, 3) float64
        kJ/mol/nm.
    atomic_energies : numpy.ndarray, (n_atoms,) float64, or None
        kJ/mol.
    stress : numpy.ndarray, (3, 3) float64, or None
        bar, dE/d(strain)/V in the frame of the structure, positive under tension; None without a box.
    energy_spread : float, optional
        Standard deviation of the energies of an ensemble, kJ/mol.
    forces_spread : numpy.ndarray, (n_atoms,) float64, optional
        And of the force on each atom, kJ/mol/nm.
    """

    energy: float
    forces: np.ndarray
    atomic_energies: np.ndarray | None
    stress: np.ndarray | None
    energy_spread: float | None = None
    forces_spread: np.ndarray | None = None

    @classmethod
    def of(cls, out: dict[str, Any]) -> SinglePoint:
        """What :meth:`openmm_nequip.evaluate.evaluator.Evaluator.evaluate` gives."""
        names = "atomic_energies", "stress", "energy_spread", "forces_spread"
        return cls(out["energy"], out["forces"], **{name: out.get(name) for name in names})

    def as_json(self) -> dict[str, Any]:
        """Everything but the forces, with units in the keys; None for what the model or the structure lacks."""
        stress, spread = self.stress, self.forces_spread
        spreads = {} if spread is None else {
            "energy_spread_kj_per_mol": self.energy_spread, "forces_spread_kj_per_mol_nm": spread.tolist(),
        }  # fmt: skip
        return spreads | {
            "energy_kj_per_mol": self.energy,
            "energy_ev": self.energy / KJ_PER_MOL_PER_EV,
            "max_force_kj_per_mol_nm": float(np.linalg.norm(self.forces, axis=1).max()),
            "atomic_energies_kj_per_mol": None if self.atomic_energies is None else self.atomic_energies.tolist(),
            "stress_bar": None if stress is None else stress.tolist(),
            "pressure_bar": None if stress is None else float(-np.trace(stress) / 3),
        }


def read_types(given: Sequence[str] | None) -> list[int | str] | None:
    """Atom types as typed: names and indices, or one file that holds them.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    if given is None:
        return None
    words = list(given)
    if len(words) == 1 and words[0] and os.path.exists(words[0]):
        words = read_text(words[0], "file of atom types").split()
    return [int(word) if word.lstrip("-").isdigit() else word for word in words]


def evaluate(model: Model, structure: Structure, units: Units, types: Sequence[int | str] | None = None) -> SinglePoint:
    """Evaluate a model on a structure, in any cell.

    Parameters
    ----------
    model : Model
        The potential.
    structure : Structure
        The atoms.
    units : Units
        The model's units.
    types : sequence of int or str, optional
        Model type of each atom; by element if not given.

    Returns
    -------
    SinglePoint

    Raises
    ------
    ValueError
        If an atom's element or type is unknown to the model, or it takes no box and there is one.
    NonFiniteError
        If the model's answer is not finite.
    """
    indices = atom_types(model.info.type_names, list(structure.topology.atoms()), types)
    periodic = structure.box_nm is not None
    model.info.check_box(periodic)
    model.info.check_charges(None)
    evaluator = Evaluator(model, units, Placement(len(indices), indices), periodic, 0.0)
    return SinglePoint.of(evaluator.evaluate(structure.positions_nm, structure.box_nm))


def check_forces_path(path: str | os.PathLike[str]) -> None:
    """Refuse a name that :func:`write_forces` cannot serve, before any time is spent.

    Raises
    ------
    ValueError
        If the suffix is unknown or the folder does not exist.
    """
    if Path(path).suffix.lower() not in FORCE_SUFFIXES:
        raise ValueError(f"forces file {path}: the suffix must be one of {', '.join(FORCE_SUFFIXES)}")
    reason = output_obstacle(path)
    if reason:
        raise ValueError(f"forces file {path} {reason}")


def write_forces(path: str | os.PathLike[str], structure: Structure, result: SinglePoint) -> str:
    """Write forces in the format that the suffix names.

    Parameters
    ----------
    path : str or path-like
        ``.npy`` and ``.csv``/``.txt`` in kJ/mol/nm; ``.extxyz`` with positions, energy, forces and, if periodic,
        stress in Å and eV.
    structure : Structure
        The atoms.
    result : SinglePoint
        Their forces.

    Returns
    -------
    str
        The unit of the forces in the file.

    Raises
    ------
    ValueError
        For another suffix.
    """
    check_forces_path(path)
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        np.save(path, result.forces)
        return "kJ/mol/nm"
    symbols = structure.symbols
    if suffix != ".extxyz":
        unit = "kJ_per_mol_nm"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"atom,element,fx_{unit},fy_{unit},fz_{unit}\n")
            for i, (symbol, force) in enumerate(zip(symbols, result.forces.tolist(), strict=True)):
                file.write(f"{i},{symbol},{force[0]!r},{force[1]!r},{force[2]!r}\n")
        return "kJ/mol/nm"
    import ase.io

    ase.io.write(Path(path), [to_ase(structure, result)], format="extxyz")
    return "eV/Å"


def to_ase(structure: Structure, result: SinglePoint) -> Any:
    """A structure with a model's answer, as ASE has it.

    Parameters
    ----------
    structure : Structure
        The atoms.
    result : SinglePoint
        Their energy, forces and stress.

    Returns
    -------
    ase.Atoms
        In Å and eV, with a calculator that holds the answer.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    periodic = structure.box_nm is not None
    symbols = [common_symbol(symbol) or "X" for symbol in structure.symbols]
    atoms = Atoms(symbols, structure.positions_nm / NM_PER_ANGSTROM, pbc=periodic)
    if structure.box_nm is not None:
        atoms.cell = structure.box_nm / NM_PER_ANGSTROM
    answers = {
        "energy": result.energy / KJ_PER_MOL_PER_EV,
        "forces": result.forces * NM_PER_ANGSTROM / KJ_PER_MOL_PER_EV,
    }
    if result.stress is not None:
        stress = result.stress / BAR_PER_KJ_PER_MOL_PER_NM3 * NM_PER_ANGSTROM**3 / KJ_PER_MOL_PER_EV
        answers["stress"] = (stress + stress.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / 2
    atoms.calc = SinglePointCalculator(atoms, **answers)
    return atoms
