"""Answers of programs for one structure, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...models import ModelInfo
from ...units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, KJ_PER_MOL_PER_EV, Units
from ..bench.agreement import ENERGY_LENGTH, FORCE_SHARE, SMALLEST_FORCE

_EV_PER_ANGSTROM = KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM
#: Stresses are compared with at least this, bar.
_SMALLEST_STRESS = 1000.0


@dataclass(frozen=True, eq=False)
class ProgramAnswer:
    """What one program says, or why it says nothing.

    Parameters
    ----------
    name : str
        The program and how it ran.
    energy : float, optional
        kJ/mol.
    forces : numpy.ndarray, (n_atoms, 3), optional
        kJ/mol/nm.
    stress : numpy.ndarray, (3, 3), optional
        bar, positive under tension.
    reason : str
        Why there is no answer.
    """

    name: str
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    reason: str = ""


@dataclass(frozen=True)
class Tolerance:
    """What is rounding, for a model and a structure.

    Parameters
    ----------
    energy : float
        kJ/mol and atom.
    force : float
        kJ/mol/nm.
    stress : float
        bar.
    """

    energy: float
    force: float
    stress: float

    @classmethod
    def of(cls, info: ModelInfo, units: Units, first: ProgramAnswer) -> Tolerance:
        """The tolerances of ``bench``: a share of the largest force, by the model's precision."""
        largest = 0.0 if first.forces is None else float(np.abs(first.forces).max())
        force = FORCE_SHARE[info.dtype] * max(largest, SMALLEST_FORCE)
        stress = _SMALLEST_STRESS if first.stress is None else max(float(np.abs(first.stress).max()), _SMALLEST_STRESS)
        energy = force * ENERGY_LENGTH * info.reach * units.length
        return cls(energy, force, FORCE_SHARE[info.dtype] * stress)

    def cells(self) -> list[str]:
        """The last row of the table."""
        energy, force = self.energy / KJ_PER_MOL_PER_EV * 1e3, self.force / _EV_PER_ANGSTROM
        return ["tolerance", "", f"{energy:.1e}", f"{force:.1e}", f"{self.stress:.1e}", ""]


@dataclass(frozen=True)
class Difference:
    """One answer beside the first.

    Parameters
    ----------
    name : str
        The program.
    energy : float or None
        Its energy, kJ/mol.
    energy_off, force_off, stress_off : float or None
        Differences per atom (kJ/mol), of a force component (kJ/mol/nm) and of a component of the stress (bar), at most;
        None for what it does not give.
    agrees : bool or None
        Whether all are rounding; None without an answer.
    reason : str
        Why there is none.
    """

    name: str
    energy: float | None
    energy_off: float | None
    force_off: float | None
    stress_off: float | None
    agrees: bool | None
    reason: str = ""

    @classmethod
    def between(cls, answer: ProgramAnswer, first: ProgramAnswer, allowed: Tolerance, n_atoms: int) -> Difference:
        """An answer beside the first."""
        if answer.reason or answer.energy is None or first.energy is None:
            return cls(answer.name, None, None, None, None, None, answer.reason)
        offs = (
            abs(answer.energy - first.energy) / n_atoms,
            _largest(answer.forces, first.forces),
            _largest(answer.stress, first.stress),
        )
        limits = allowed.energy, allowed.force, allowed.stress
        # A NaN is no agreement.
        agrees = all(off is None or off <= limit for off, limit in zip(offs, limits, strict=True))
        return cls(answer.name, answer.energy, *offs, agrees)

    def as_json(self) -> dict[str, Any]:
        """Plain data with units in the keys."""
        return {
            "program": self.name,
            "energy_kj_per_mol": self.energy,
            "energy_difference_kj_per_mol_per_atom": self.energy_off,
            "force_difference_kj_per_mol_nm": self.force_off,
            "stress_difference_bar": self.stress_off,
            "agrees": self.agrees,
            "reason": self.reason,
        }

    def cells(self) -> list[str]:
        """A row of the table: in eV, meV/atom, eV/Å and bar."""
        if self.agrees is None:
            return [self.name, f"none: {self.reason}", "", "", "", ""]
        energy_off, force_off = self.energy_off, self.force_off
        return [
            self.name,
            f"{(self.energy or 0.0) / KJ_PER_MOL_PER_EV:.8f}",
            "–" if energy_off is None else f"{energy_off / KJ_PER_MOL_PER_EV * 1e3:.1e}",
            "–" if force_off is None else f"{force_off / _EV_PER_ANGSTROM:.1e}",
            "–" if self.stress_off is None else f"{self.stress_off:.1e}",
            "yes" if self.agrees else "**no**",
        ]


def _largest(one: np.ndarray | None, other: np.ndarray | None) -> float | None:
    return None if one is None or other is None else float(np.abs(one - other).max())


HEADINGS = ("program", "energy, eV", "energy off, meV/atom", "force off, eV/Å", "stress off, bar", "agrees")


def markdown(rows: list[Difference], allowed: Tolerance) -> str:
    """A table in Markdown.

    Parameters
    ----------
    rows : list of Difference
        The first is the measure.
    allowed : Tolerance
        What each should keep, in the last row.

    Returns
    -------
    str
    """
    cells = [list(HEADINGS), ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    cells.append(allowed.cells())
    return "\n".join(f"| {' | '.join(each)} |" for each in cells)
