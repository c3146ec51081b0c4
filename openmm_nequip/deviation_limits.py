"""Limits of the deviation of a committee, checked before any model is read."""

from __future__ import annotations

from typing import Any

from .units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM

#: Where nobody says otherwise, eV/Å: beyond the first a frame is worth a label, beyond the second no model is to be
#: believed. Good models err by 0.02 to 0.05, and forces at 300 K are about 1; DP-GEN's example for methane has 0.05 and
#: 0.15 for what is worth a label.
USUAL_SELECT, USUAL_STOP = 0.15, 0.5


def in_ev_per_angstrom(name: str, limit: Any) -> float | None:
    """A limit of the deviation.

    Parameters
    ----------
    name : str
        Of the keyword.
    limit : float or openmm.unit.Quantity, optional
        eV/Å if a plain number, as the field has it.

    Returns
    -------
    float or None

    Raises
    ------
    ValueError
        If it is no positive, finite force.
    """
    import openmm.unit as unit

    if limit is None:
        return None
    try:
        if unit.is_quantity(limit):
            found = limit.value_in_unit(unit.kilojoule_per_mole / unit.nanometer) / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM
        else:
            found = float(limit) if not isinstance(limit, (bool, str)) else float("nan")
    except (TypeError, ValueError):
        found = float("nan")
    if not 0.0 < found < float("inf"):
        raise ValueError(f"{name}={limit!r}: give a positive force, eV/Å if a plain number")
    return found


def check_limits(names: tuple[str, ...], select: float | None, stop: float | None) -> None:
    """Refuse limits that stand in the wrong order.

    Parameters
    ----------
    names : tuple of str
        How the user calls the two.
    select, stop : float, optional
        Deviation in eV/Å above which a frame is kept, and above which a simulation ends.

    Raises
    ------
    ValueError
        If frames would be kept only where nothing runs any more.
    """
    if select is not None and stop is not None and select >= stop:
        raise ValueError(
            f"{names[0]}={select:g} and {names[1]}={stop:g} (eV/Å) stand in the wrong order: frames are kept above the "
            "first, and the simulation ends above the second, which must be the larger one"
        )


def limits_in_force(select: float | None, stop: float | None) -> tuple[float, float]:
    """Limits to judge a structure by: those that a user gave, else the usual ones.

    Parameters
    ----------
    select, stop : float, optional
        As of :func:`check_limits`, in the right order.

    Returns
    -------
    tuple of float
        Both, eV/Å; the usual one gives way where it would stand on the wrong side of the other.
    """
    if select is None:
        select = USUAL_SELECT if stop is None else min(USUAL_SELECT, stop)
    return select, max(USUAL_STOP, select) if stop is None else stop
