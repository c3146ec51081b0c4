"""Whether all contenders compute the same energy and forces: who does not is not timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...models import ModelInfo
from ...units import Units
from .runners import Result

#: Largest difference of a force that is put down to rounding, as a share of the largest force component.
FORCE_SHARE = {"float32": 5e-4, "float64": 1e-6}
#: Length, in cutoffs, that makes of a difference in force one in energy per atom.
ENERGY_LENGTH = 0.1
#: Forces are compared with at least this, kJ/mol/nm: at a symmetric point they are all rounding.
SMALLEST_FORCE = 10.0


@dataclass(frozen=True)
class Comparison:
    """One contender beside the first.

    Parameters
    ----------
    name : str
        The contender.
    energy_per_atom : float
        Difference of the energies over the number of atoms, kJ/mol.
    force : float
        Largest difference of a force component, kJ/mol/nm.
    largest_force : float
        Largest force component of the first, kJ/mol/nm.
    agrees : bool
        Whether both are rounding.
    """

    name: str
    energy_per_atom: float
    force: float
    largest_force: float
    agrees: bool

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "contender": self.name,
            "energy_difference_kj_per_mol_per_atom": self.energy_per_atom,
            "force_difference_kj_per_mol_nm": self.force,
            "largest_force_kj_per_mol_nm": self.largest_force,
            "agrees": self.agrees,
        }

    def explain(self, first: str) -> str:
        """Why this one is not timed."""
        return (
            f"disagrees with {first}: {self.energy_per_atom:.2e} kJ/mol per atom in energy, {self.force:.2e} kJ/mol/nm "
            f"in forces, of which the largest is {self.largest_force:.2e}; not timed"
        )


def compare(results: dict[str, Result], info: ModelInfo, units: Units) -> list[Comparison]:
    """Compare everyone with the first.

    Parameters
    ----------
    results : dict of str to Result
        By contender; the first is the measure.
    info : ModelInfo
        The model's precision and cutoff decide what is rounding.
    units : Units
        The model's units.

    Returns
    -------
    list of Comparison
        One for each but the first.
    """
    if not results:
        return []
    (_, first), *others = results.items()
    largest = float(np.abs(first.forces).max())
    allowed = FORCE_SHARE[info.dtype] * max(largest, SMALLEST_FORCE)
    allowed_energy = allowed * ENERGY_LENGTH * info.reach * units.length
    rows = []
    for name, result in others:
        energy = abs(result.energy - first.energy) / len(first.forces)
        force = float(np.abs(result.forces - first.forces).max())
        rows.append(Comparison(name, energy, force, largest, force <= allowed and energy <= allowed_energy))
    return rows
