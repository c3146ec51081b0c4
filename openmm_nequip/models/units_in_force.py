"""Units in which a model is run: those that the user says, else those of its file, else Å and eV where usual."""

from __future__ import annotations

import logging
from typing import Any

from ..units import Units, resolve_units
from .base import ModelInfo

logger = logging.getLogger(__name__)


def units_of(
    info: ModelInfo,
    length_unit: Any = None,
    energy_unit: Any = None,
    length_scale: Any = None,
    energy_scale: Any = None,
) -> Units:
    """Units of a model.

    Parameters
    ----------
    info : ModelInfo
        Its facts.
    length_unit, energy_unit, length_scale, energy_scale
        What the user says, as :func:`openmm_nequip.units.resolve_units`.

    Returns
    -------
    Units

    Raises
    ------
    ModuleError
        If neither the user nor the file says them, and models of this kind come in any.
    ValueError
        As :func:`openmm_nequip.units.resolve_units`.
    """
    return info.units_given(resolve_units(length_unit, energy_unit, length_scale, energy_scale, info.units))


def log_units(path: str, units: Units, info: ModelInfo | None = None) -> None:
    """Say at INFO which units are in force and what says so.

    Parameters
    ----------
    path : str
        The model file.
    units : Units
        As :func:`units_of` gives them.
    info : ModelInfo, optional
        Facts about the model.
    """
    why = " (assumed; NequIP files state none)" * units.assumed
    if info is not None and units == info.units and info.units_source:
        why = f" (by its {info.units_source})"
    logger.info("units of %s: %s%s", path, units.describe(), why)
