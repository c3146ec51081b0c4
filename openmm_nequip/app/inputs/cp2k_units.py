"""CP2K's unit expressions, such as ``eV*angstrom^-1``, with the constants that CP2K has."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ...units import (
    ATOMIC_TIME_S_2006,
    AVOGADRO_2006,
    BOHR_M_2006,
    BOLTZMANN_2006,
    ELEMENTARY_CHARGE_2006,
    HARTREE_J_2006,
    LIGHT_SPEED,
    PLANCK_2006,
)
from .cp2k_sections import Keyword

_J, _M, _S = 1 / HARTREE_J_2006, 1 / BOHR_M_2006, 1 / ATOMIC_TIME_S_2006
_EV = ELEMENTARY_CHARGE_2006 * _J
_PA = _J / _M**3
_AMU = 1822.88848426455  # electron masses, as in CODATA 2006
#: Kinds of quantity as exponents of energy, length, time, mass, temperature, angle.
ENERGY, LENGTH, TIME = (1, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0)
MASS, TEMPERATURE, ANGLE = (0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 1, 0), (0, 0, 0, 0, 0, 1)
FORCE, PRESSURE = (1, -1, 0, 0, 0, 0), (1, -3, 0, 0, 0, 0)
VELOCITY, PER_TIME = (0, 1, -1, 0, 0, 0), (0, 0, -1, 0, 0, 0)
NONE = (0, 0, 0, 0, 0, 0)
_KIND_NAMES: dict[tuple[int, ...], str] = {
    ENERGY: "an energy", LENGTH: "a length", TIME: "a time", MASS: "a mass", TEMPERATURE: "a temperature",
    ANGLE: "an angle", FORCE: "a force", PRESSURE: "a pressure", VELOCITY: "a velocity", PER_TIME: "an inverse time",
    NONE: "a number",
}  # fmt: skip
#: Value of each unit in atomic units (kelvin and degrees as they are), and its kind.
_UNITS = {
    "hartree": (1.0, ENERGY), "au_e": (1.0, ENERGY), "ev": (_EV, ENERGY), "kev": (1e3 * _EV, ENERGY),
    "ry": (0.5, ENERGY), "joule": (_J, ENERGY), "kcalmol": (4184.0 * _J / AVOGADRO_2006, ENERGY),
    "kjmol": (1e3 * _J / AVOGADRO_2006, ENERGY), "k_e": (BOLTZMANN_2006 * _J, ENERGY),
    "wavenumber_e": (100 * PLANCK_2006 * LIGHT_SPEED * _J, ENERGY),
    "bohr": (1.0, LENGTH), "au_l": (1.0, LENGTH), "angstrom": (1e-10 * _M, LENGTH), "nm": (1e-9 * _M, LENGTH),
    "pm": (1e-12 * _M, LENGTH), "m": (_M, LENGTH),
    "fs": (1e-15 * _S, TIME), "ps": (1e-12 * _S, TIME), "s": (_S, TIME), "au_t": (1.0, TIME),
    "amu": (_AMU, MASS), "m_e": (1.0, MASS),
    "k": (1.0, TEMPERATURE), "k_temp": (1.0, TEMPERATURE), "au_temp": (HARTREE_J_2006 / BOLTZMANN_2006, TEMPERATURE),
    "deg": (1.0, ANGLE), "rad": (57.29577951308232, ANGLE),
    "bar": (1e5 * _PA, PRESSURE), "kbar": (1e8 * _PA, PRESSURE), "atm": (101325.0 * _PA, PRESSURE),
    "pa": (_PA, PRESSURE), "mpa": (1e6 * _PA, PRESSURE), "gpa": (1e9 * _PA, PRESSURE), "au_p": (1.0, PRESSURE),
    "n": (_J / _M, FORCE), "newton": (_J / _M, FORCE), "mn": (1e-3 * _J / _M, FORCE),
    "mnewton": (1e-3 * _J / _M, FORCE), "au_f": (1.0, FORCE),
}  # fmt: skip
BAR = _UNITS["bar"][0]
ANGSTROM = _UNITS["angstrom"][0]
_TERM = re.compile(r"([A-Za-z_]+)(?:\^\(?([+-]?\d+)\)?)?")


@dataclass(frozen=True)
class CP2KUnit:
    """A unit as CP2K reads it.

    Parameters
    ----------
    text : str
        As written.
    factor : float
        Its value in atomic units.
    kind : tuple of int
        Exponents of energy, length, time, mass, temperature and angle.
    """

    text: str
    factor: float
    kind: tuple[int, ...]


def read_unit(text: str, owner: Keyword, kind: tuple[int, ...]) -> CP2KUnit:
    """A unit expression: names in any case, with ``*``, ``/`` and ``^``.

    Parameters
    ----------
    text : str
        The expression.
    owner : Keyword
        Whose it is, for messages.
    kind : tuple of int
        What it must be.

    Returns
    -------
    CP2KUnit

    Raises
    ------
    EngineInputError
        If it is no expression of units, or of another kind.
    """
    factor, exponents = 1.0, list(NONE)
    for sign, term in re.findall(r"([*/]?)([^*/]+)", text.replace(" ", "")) or [("", text)]:
        found = _TERM.fullmatch(term)
        if found is None or found[1].lower() not in _UNITS:
            raise owner.error(f"{term!r} is no unit; units are {', '.join(_UNITS)}, with *, / and ^")
        power = int(found[2] or 1) * (-1 if sign == "/" else 1)
        value, dimension = _UNITS[found[1].lower()]
        factor *= value**power
        exponents = [a + power * b for a, b in zip(exponents, dimension, strict=True)]
    if tuple(exponents) != kind or text.strip()[-1:] in ("*", "/", "") or text.strip()[0] in "*/":
        raise owner.error(f"{text!r} is not the unit of {_KIND_NAMES[kind]}")
    return CP2KUnit(text, factor, kind)


def energy_name(factor: float) -> str:
    """Name of the unit of energy of this value in atomic units; the value where none has it."""
    names = (name for name, (value, kind) in _UNITS.items() if kind == ENERGY and math.isclose(value, factor))
    return next(names, f"{factor:.9g} hartree")


def quantities(
    keyword: Keyword, kind: tuple[int, ...], default: str, wanted: str, count: int | None = 1
) -> list[float]:
    """Numbers with a unit, which may stand in brackets in front of them.

    Parameters
    ----------
    keyword : Keyword
        Where they are.
    kind : tuple of int
        What they are.
    default : str
        Unit of numbers without one.
    wanted : str
        Unit of the result.
    count : int, optional
        How many there must be.

    Returns
    -------
    list of float

    Raises
    ------
    EngineInputError
        If they are no numbers, or the unit is of another kind.
    """
    stated = keyword.split_unit()[0]
    values = keyword.numbers(count)
    if stated is None or stated.lower() == wanted.lower():
        if default.lower() == wanted.lower() or stated is not None:
            return values
        stated = default
    unit = read_unit(stated, keyword, kind)
    goal = read_unit(wanted, keyword, kind)
    return [value * unit.factor / goal.factor for value in values]


def quantity(keyword: Keyword | None, kind: tuple[int, ...], unit: str, default: float) -> float:
    """One number in `unit`, which is also that of a number without one; `default` without a keyword.

    Parameters
    ----------
    keyword : Keyword or None
        Where it is.
    kind : tuple of int
        What it is.
    unit : str
        Its unit here and in CP2K.
    default : float
        CP2K's default, in that unit.

    Raises
    ------
    EngineInputError
        As :func:`quantities`.
    """
    return default if keyword is None else quantities(keyword, kind, unit, unit)[0]


