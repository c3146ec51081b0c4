"""Errors of a model against reference values: means by quantity, element and group, and the worst frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ...units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ..single_point import SinglePoint
from .labelled_frames import LabelledFrame

#: meV in kJ/mol, meV/Å in kJ/mol/nm and meV/Å³ in bar.
MEV = KJ_PER_MOL_PER_EV / 1e3
MEV_PER_ANGSTROM = MEV / NM_PER_ANGSTROM
MEV_PER_ANGSTROM3 = MEV / NM_PER_ANGSTROM**3 * BAR_PER_KJ_PER_MOL_PER_NM3
_EV_PER_MEV = 1e-3
#: How many standard deviations the mean error of energies may be before it is taken for another zero of energy.
_OFFSET = 5.0
#: Frames that a rank correlation needs at least.
_FEWEST_FOR_RANKS = 3


@dataclass(frozen=True, eq=False)
class FrameErrors:
    """A frame's errors, model less reference; NaN or empty where there is no reference.

    Parameters
    ----------
    frame : LabelledFrame
        The frame.
    answer : SinglePoint
        The model's values.
    """

    frame: LabelledFrame
    answer: SinglePoint

    @property
    def energy_per_atom(self) -> float:
        """meV."""
        if self.frame.energy is None:
            return float("nan")
        return (self.answer.energy - self.frame.energy) / MEV / len(self.answer.forces)

    @property
    def forces(self) -> np.ndarray:
        """(n_atoms, 3) or (0, 3), meV/Å."""
        reference = self.frame.forces
        return np.zeros((0, 3)) if reference is None else (self.answer.forces - reference) / MEV_PER_ANGSTROM

    @property
    def stress(self) -> np.ndarray:
        """(9,) or (0,), meV/Å³."""
        reference, found = self.frame.stress, self.answer.stress
        return np.zeros(0) if reference is None or found is None else (found - reference).ravel() / MEV_PER_ANGSTROM3

    def as_row(self) -> dict[str, Any]:
        """What a table tells of the frame; None where there is nothing."""
        structure, found = self.frame.structure, self.answer.as_json()
        reference, forces, stress = self.frame.energy, self.forces, self.stress
        row: dict[str, Any] = {
            "frame": self.frame.index,
            "atoms": len(self.answer.forces),
            "periodic": structure.box_nm is not None,
            "energy_kj_per_mol": found["energy_kj_per_mol"],
            "energy_ev": found["energy_ev"],
            "max_force_kj_per_mol_nm": found["max_force_kj_per_mol_nm"],
            "pressure_bar": found["pressure_bar"],
            "reference_energy_ev": None if reference is None else reference / KJ_PER_MOL_PER_EV,
            "energy_error_mev_per_atom": None if reference is None else self.energy_per_atom,
        }
        if self.answer.forces_spread is not None:  # of an ensemble
            row["energy_spread_kj_per_mol"] = self.answer.energy_spread
            row["max_forces_spread_kj_per_mol_nm"] = float(self.answer.forces_spread.max())
        for name, errors in (("force", forces), ("stress", stress)):
            unit = "mev_per_angstrom" + "3" * (name == "stress")
            row[f"{name}_mae_{unit}"] = float(np.abs(errors).mean()) if errors.size else None
            row[f"{name}_rmse_{unit}"] = float(np.sqrt(np.square(errors).mean())) if errors.size else None
        return row


def _means(errors: np.ndarray, name: str, unit: str) -> dict[str, Any]:
    """Number of values, mean absolute and root mean square error, the largest; None without values."""
    some = errors.size > 0
    return {
        f"{name}_mae_{unit}": float(np.abs(errors).mean()) if some else None,
        f"{name}_rmse_{unit}": float(np.sqrt(np.square(errors).mean())) if some else None,
        f"{name}_max_{unit}": float(np.abs(errors).max()) if some else None,
    }


def _summary(frames: Sequence[FrameErrors]) -> dict[str, Any]:
    energies = np.array([each.energy_per_atom for each in frames])
    energies = energies[np.isfinite(energies)]
    forces = np.concatenate([each.forces.ravel() for each in frames]) if frames else np.zeros(0)
    stress = np.concatenate([each.stress for each in frames]) if frames else np.zeros(0)
    return {
        "frames": len(frames),
        "energies": len(energies),
        "force_components": len(forces),
        "stress_components": len(stress),
        **_means(energies, "energy", "mev_per_atom"),
        "energy_mean_error_mev_per_atom": float(energies.mean()) if len(energies) else None,
        "energy_std_error_mev_per_atom": float(energies.std()) if len(energies) else None,
        **_means(forces, "force", "mev_per_angstrom"),
        **_means(stress, "stress", "mev_per_angstrom3"),
    }


def compare_all(frames: Sequence[FrameErrors], group: str, worst: int) -> dict[str, Any]:
    """Errors over all frames, and in parts.

    Parameters
    ----------
    frames : sequence of FrameErrors
        At least one.
    group : str
        Value of the frames by which they are also told apart, such as ``config_type``.
    worst : int
        How many of the worst frames are named.

    Returns
    -------
    dict
        JSON-ready, with the units in the keys.
    """
    symbols = np.concatenate([np.array(each.frame.structure.symbols)[: len(each.forces)] for each in frames])
    forces = np.concatenate([each.forces for each in frames])
    by_element = {
        str(symbol): {"atoms": int((symbols == symbol).sum())}
        | _means(forces[symbols == symbol].ravel(), "force", "mev_per_angstrom")
        for symbol in sorted(set(symbols.tolist()))
    }
    names = [None if group not in each.frame.info else str(each.frame.info[group]) for each in frames]
    present = sorted({name for name in names if name is not None})
    by_group = {
        name: _summary([each for each, own in zip(frames, names, strict=True) if own == name]) for name in present
    }
    total = _summary(frames)
    return total | {
        "energy_offset_likely": _is_offset(total),
        **_correlations(frames),
        "force_by_element": by_element,
        "group": group if present else None,
        "by_group": by_group,
        "worst_energies": _worst(frames, [abs(each.energy_per_atom) for each in frames], worst),
        "worst_forces": _worst(
            frames, [float(np.sqrt(np.square(each.forces).mean())) if each.forces.size else float("nan")
                     for each in frames], worst
        ),
    }  # fmt: skip


def _is_offset(total: dict[str, Any]) -> bool:
    mean, std = total["energy_mean_error_mev_per_atom"], total["energy_std_error_mev_per_atom"]
    return mean is not None and total["energies"] > 1 and abs(mean) > max(_OFFSET * std, 1.0)


def _correlations(frames: Sequence[FrameErrors]) -> dict[str, float | None]:
    """Spearman's rank correlation between the spread of a committee's forces and their error."""
    pairs = [
        (each.answer.forces_spread, np.linalg.norm(each.forces, axis=1))
        for each in frames
        if each.answer.forces_spread is not None and each.forces.size
    ]
    what = "deviation_rank_correlation"
    names = what, f"{what}_of_means", f"{what}_of_atoms"
    if len(pairs) < _FEWEST_FOR_RANKS:
        return dict.fromkeys(names)
    largest = [(spread.max(), error.max()) for spread, error in pairs]
    means = [(spread.mean(), error.mean()) for spread, error in pairs]
    atoms = np.column_stack([np.concatenate(values) for values in zip(*pairs, strict=True)])
    ranks = [spearmanr(*np.transpose(values)).statistic for values in (largest, means, atoms)]
    return {name: float(rank) if np.isfinite(rank) else None for name, rank in zip(names, ranks, strict=True)}


def _worst(frames: Sequence[FrameErrors], errors: list[float], count: int) -> list[dict[str, Any]]:
    """Rows of the frames with the largest errors."""
    ranked = sorted((i for i, error in enumerate(errors) if np.isfinite(error)), key=lambda i: -errors[i])
    return [frames[i].as_row() for i in ranked[:count]]


def values_of(frames: Sequence[FrameErrors]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reference and model, for a picture.

    Parameters
    ----------
    frames : sequence of FrameErrors
        What was compared.

    Returns
    -------
    dict of str to (reference, model)
        ``energy`` (n_frames,) in eV per atom, ``forces`` (n_components,) in eV/Å, ``stress`` (n_components,) in eV/Å³;
        those that there are.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"energy": [], "forces": [], "stress": []}
    for each in frames:
        n, frame, answer = len(each.answer.forces), each.frame, each.answer
        if frame.energy is not None:
            found["energy"].append((np.array([frame.energy / n / MEV]), np.array([answer.energy / n / MEV])))
        if frame.forces is not None:
            found["forces"].append((frame.forces.ravel() / MEV_PER_ANGSTROM, answer.forces.ravel() / MEV_PER_ANGSTROM))
        if frame.stress is not None and answer.stress is not None:
            pair = frame.stress.ravel() / MEV_PER_ANGSTROM3, answer.stress.ravel() / MEV_PER_ANGSTROM3
            found["stress"].append(pair)
    return {
        name: (np.concatenate([a for a, _ in pairs]) * _EV_PER_MEV, np.concatenate([b for _, b in pairs]) * _EV_PER_MEV)
        for name, pairs in found.items()
        if pairs
    }
