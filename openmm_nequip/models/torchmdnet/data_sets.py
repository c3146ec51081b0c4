"""Units of TorchMD-Net checkpoints: of what they were trained on, where that is well known or stated.

References
----------
Data sets as TorchMD-Net reads them (``torchmdnet/datasets``): ANI, COMP6, SPICE, QM9q and GenentechTorsions are
converted to eV and Å there, ACE and MACE-OFF state eV and Å. MD17 and MD22 are in kcal/mol and Å (quantum-machine.org),
mdCATH as well (https://doi.org/10.1038/s41597-024-04140-z); energies of QM9 are in eV as torch_geometric gives them.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ModelFileError
from ...units import AVOGADRO, ENERGIES_KJ_PER_MOL, LENGTHS_NM, Units, resolve_units

#: Unit of energy by data set, in small letters; lengths are in Å in all of them.
_ENERGY_UNITS = {
    **dict.fromkeys(
        ("ace", "acehf", "ani1", "ani1ccx", "ani1x", "ani2x", "animd", "comp6v1", "comp6v2", "drugbank", "gdb07to09",
         "gdb10to13", "tripeptides", "s66x8", "genentechtorsions", "maceoff", "qm9q", "spice"), "eV",
    ),
    **dict.fromkeys(("md17", "md22", "mdcath"), "kcal/mol"),
}  # fmt: skip
#: Labels of QM9 that are energies.
_QM9_ENERGIES = ("energy_U0", "energy_U", "enthalpy_H", "free_energy")
#: Priors state their units to so many digits, as their authors rounded the constants.
_ROUNDED = 1e-4


def stated_units(parameters: Mapping[str, Any]) -> tuple[Units | None, str]:
    """Units of a checkpoint, where its hyperparameters say them.

    Parameters
    ----------
    parameters : mapping of str to object
        Hyperparameters of TorchMD-Net.

    Returns
    -------
    units : Units or None
        None where nothing says them.
    source : str
        What says them, in words.

    Raises
    ------
    ModelFileError
        If two parts of a checkpoint say different units.
    """
    found = [each for each in _sayings(parameters)]
    if not found:
        return None, ""
    first, source = found[0]
    for units, other in found[1:]:
        if units.describe() != first.describe():
            raise ModelFileError(
                f"the checkpoint contradicts itself: its {source} is in {first.describe()}, its {other} in "
                f"{units.describe()}; it cannot be run until one of its hyper_parameters is put right"
            )
    return first, source


def _sayings(parameters: Mapping[str, Any]) -> Iterator[tuple[Units, str]]:
    name = parameters.get("dataset")
    if isinstance(name, str):
        energy = _ENERGY_UNITS.get(name.lower())
        argument = parameters.get("dataset_arg")
        label = argument.get("label") if isinstance(argument, Mapping) else argument
        if name.lower() == "qm9" and label in _QM9_ENERGIES:
            energy = "eV"
        if energy is not None:
            yield resolve_units("angstrom", energy), f"data set {name}"
    if parameters.get("output_model") == "ScalarPlusWeightedCoulomb":
        yield resolve_units("angstrom", "eV"), "Coulomb term"
    for prior, arguments in priors_of(parameters):
        units = _of_scales(arguments.get("distance_scale"), arguments.get("energy_scale"))
        if units is not None:
            yield units, f"prior {prior}"


def _of_scales(distance: Any, energy: Any) -> Units | None:
    """Units of a prior that states its length in metres and its energy in joules, where they are units with a name."""
    if not (isinstance(distance, numbers.Real) and isinstance(energy, numbers.Real)):
        return None
    length = _nearest(float(distance) * 1e9, LENGTHS_NM)
    unit = _nearest(float(energy) * AVOGADRO * 1e-3, ENERGIES_KJ_PER_MOL)
    return None if length is None or unit is None else resolve_units(length, unit)


def _nearest(value: float, table: Mapping[str, float]) -> str | None:
    return next((name for name, factor in table.items() if math.isclose(value, factor, rel_tol=_ROUNDED)), None)


def priors_of(parameters: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and arguments of each prior, in all the ways in which TorchMD-Net writes them.

    Parameters
    ----------
    parameters : mapping of str to object
        Hyperparameters of TorchMD-Net.

    Returns
    -------
    list of (str, mapping)
    """
    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value] if value else []

    found: list[tuple[str, Any]] = []
    for prior in listed(parameters.get("prior_model")):
        found += prior.items() if isinstance(prior, Mapping) else [(str(prior), None)]
    if parameters.get("prior_args") is not None:  # takes the place of what stands beside the names
        given = parameters["prior_args"]
        given = given if isinstance(given, list) else [given]
        found = [(name, arguments) for (name, _), arguments in zip(found, given, strict=False)]
    return [(name, arguments if isinstance(arguments, Mapping) else {}) for name, arguments in found]
