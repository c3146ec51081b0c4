"""Model units and their conversion to OpenMM's nm and kJ/mol: the only place in the package that converts.

References
----------
Constants are exact or recommended values of CODATA 2018 (https://doi.org/10.1103/RevModPhys.93.025010). Those that
other programs convert by, and that decide numbers which they publish, are of CODATA 2006
(https://doi.org/10.1103/RevModPhys.80.633); they have the year in their names.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

AVOGADRO = 6.02214076e23  #: 1/mol, exact
ELEMENTARY_CHARGE = 1.602176634e-19  #: C, exact; numerically also 1 eV in J
KJ_PER_MOL_PER_EV = ELEMENTARY_CHARGE * AVOGADRO * 1e-3
KJ_PER_MOL_PER_HARTREE = 2625.4996394798254
KJ_PER_MOL_PER_KCAL_PER_MOL = 4.184  #: thermochemical calorie, exact
GAS_CONSTANT = 1.380649e-23 * AVOGADRO * 1e-3  #: kJ/mol/K, exact
#: Grams per mL in 1 dalton per nm^3.
GRAM_PER_ML_PER_DALTON_PER_NM3 = 1e21 / AVOGADRO
N_PER_M_PER_KJ_PER_MOL_PER_NM2 = 1e21 / AVOGADRO
LIGHT_SPEED_CM_PER_PS = 2.99792458e-2  #: exact
NM_PER_ANGSTROM = 0.1
KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM = KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM  #: forces
NS_PER_PS, NS_PER_FS = 1e-3, 1e-6
SECONDS_PER_DAY = 86400.0
NM_PER_BOHR = 0.0529177210903
#: 1 kJ/mol/nm^3 in bar: (1000 J / N_A) / (1e-27 m^3) / (1e5 Pa/bar)
BAR_PER_KJ_PER_MOL_PER_NM3 = 1e3 / AVOGADRO / 1e-27 / 1e5

# CP2K derives its units from these seven.
ELEMENTARY_CHARGE_2006 = 1.602176487e-19  #: C
PLANCK_2006 = 6.62606896e-34  #: J s
LIGHT_SPEED = 299792458.0  #: m/s, exact
RYDBERG_2006 = 10973731.568527  #: 1/m
FINE_STRUCTURE_2006 = 7.2973525376e-3
AVOGADRO_2006 = 6.02214179e23  #: 1/mol
BOLTZMANN_2006 = 1.3806504e-23  #: J/K
HARTREE_J_2006 = 2 * RYDBERG_2006 * PLANCK_2006 * LIGHT_SPEED
EV_PER_HARTREE_2006 = HARTREE_J_2006 / ELEMENTARY_CHARGE_2006  #: 27.211383856556
BOHR_M_2006 = FINE_STRUCTURE_2006 / (4 * math.pi * RYDBERG_2006)
ATOMIC_TIME_S_2006 = PLANCK_2006 / (2 * math.pi * HARTREE_J_2006)

LENGTHS_NM = {"angstrom": NM_PER_ANGSTROM, "nm": 1.0, "nanometer": 1.0, "bohr": NM_PER_BOHR}
ENERGIES_KJ_PER_MOL = {
    "ev": KJ_PER_MOL_PER_EV,
    "kj/mol": 1.0,
    "kcal/mol": KJ_PER_MOL_PER_KCAL_PER_MOL,
    "hartree": KJ_PER_MOL_PER_HARTREE,
}
DEFAULT_LENGTH_UNIT = "angstrom"
DEFAULT_ENERGY_UNIT = "eV"


@dataclass(frozen=True)
class Units:
    """The units in which a model takes positions and gives energies; forces and stress follow from the two.

    Parameters
    ----------
    length : float
        One model length in nm, > 0.
    energy : float
        One model energy in kJ/mol, > 0.
    assumed : bool
        True when nobody stated the units and the default (Å and eV) is in force.

    Raises
    ------
    ValueError
        If a factor is not positive and finite.
    """

    length: float = NM_PER_ANGSTROM
    energy: float = KJ_PER_MOL_PER_EV
    assumed: bool = False

    def __post_init__(self) -> None:
        _scale(self.length, "length")
        _scale(self.energy, "energy")

    @property
    def force(self) -> float:
        """One model force in kJ/mol/nm."""
        return self.energy / self.length

    @property
    def stress_bar(self) -> float:
        """One model energy per cubed model length in bar."""
        return self.energy / self.length**3 * BAR_PER_KJ_PER_MOL_PER_NM3

    def describe(self) -> str:
        """Name the pair of units, e.g. ``"angstrom, eV"``; factors where no name fits."""
        return f"{_name(self.length, LENGTHS_NM, 'nm')}, {_name(self.energy, ENERGIES_KJ_PER_MOL, 'kJ/mol')}"


def _name(value: float, table: dict[str, float], base: str) -> str:
    for name, factor in table.items():
        if math.isclose(value, factor, rel_tol=1e-12):
            return {"ev": "eV", "kj/mol": "kJ/mol"}.get(name, name)
    return f"{value:.12g} {base}"


def _factor(value: Any, table: dict[str, float], base: Any, what: str) -> float:
    """One unit given as a name or an ``openmm.unit`` unit, in the base unit of OpenMM."""
    if isinstance(value, str):
        factor = table.get(value.strip().lower())
        if factor is None:
            raise ValueError(
                f"{what}={value!r} is not a known unit; use one of {', '.join(sorted(table))} or an openmm.unit unit"
            )
        return factor
    if hasattr(value, "conversion_factor_to"):
        if not value.is_compatible(base):
            raise ValueError(f"{what}={value!r} is not convertible to {base}; give a unit of the right dimension")
        return float(value.conversion_factor_to(base))
    raise ValueError(f"{what}={value!r} is neither a unit's name ({', '.join(sorted(table))}) nor an openmm.unit unit")


def _scale(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{what}={value!r} must be a positive, finite number: one model unit in nm or kJ/mol")
    return float(value)


def resolve_units(
    length_unit: Any = None,
    energy_unit: Any = None,
    length_scale: Any = None,
    energy_scale: Any = None,
    stated: Units | None = None,
) -> Units:
    """Turn what a user may say about a model's units into factors.

    Parameters
    ----------
    length_unit : str or openmm.unit.Unit, optional
        ``"angstrom"`` (default), ``"nm"``, ``"bohr"`` or a unit of length.
    energy_unit : str or openmm.unit.Unit, optional
        ``"eV"`` (default), ``"kJ/mol"``, ``"kcal/mol"``, ``"hartree"`` or a unit of energy per amount.
    length_scale, energy_scale : float, optional
        One model length in nm and one model energy in kJ/mol: OpenMM-ML's way to say the same.
    stated : Units, optional
        Those that the model's file states: they stand where the user says nothing, in place of Å and eV.

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        For an unknown unit, a unit of the wrong dimension, a scale that is not positive, or a unit and a scale for
        the same quantity.
    """
    import openmm.unit as unit

    if length_unit is not None and length_scale is not None:
        raise ValueError(f"both lengthUnit={length_unit!r} and lengthScale={length_scale!r} were given; give only one")
    if energy_unit is not None and energy_scale is not None:
        raise ValueError(f"both energyUnit={energy_unit!r} and energyScale={energy_scale!r} were given; give only one")
    if length_scale is not None:
        length = _scale(length_scale, "lengthScale")
    elif length_unit is None and stated is not None:
        length = stated.length
    else:
        named = DEFAULT_LENGTH_UNIT if length_unit is None else length_unit
        length = _factor(named, LENGTHS_NM, unit.nanometer, "lengthUnit")
    if energy_scale is not None:
        energy = _scale(energy_scale, "energyScale")
    elif energy_unit is not None and hasattr(energy_unit, "is_compatible") and energy_unit.is_compatible(unit.joule):
        # openmm.unit.hartree and electronvolt-like units count one particle, kJ/mol counts a mole of them.
        energy = float(energy_unit.conversion_factor_to(unit.joule)) * AVOGADRO * 1e-3
    elif energy_unit is None and stated is not None:
        energy = stated.energy
    else:
        named = DEFAULT_ENERGY_UNIT if energy_unit is None else energy_unit
        energy = _factor(named, ENERGIES_KJ_PER_MOL, unit.kilojoule_per_mole, "energyUnit")
    given = (length_unit, length_scale), (energy_unit, energy_scale)
    assumed = stated is None and any(a is None and b is None for a, b in given)
    return Units(length, energy, assumed)
