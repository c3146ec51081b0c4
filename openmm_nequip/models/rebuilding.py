"""What a user may set otherwise than a checkpoint states: options of potentials that are rebuilt from hyperparameters.

Such options travel in :class:`openmm_nequip.models.execution.Execution` by the names of the hyperparameters; a format
says which of them it knows (:attr:`openmm_nequip.models.format.Format.settings`).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ModelFileError
from ..units import NM_PER_ANGSTROM

#: Values by hyperparameter, in the order of the names: hashable.
Settings = tuple[tuple[str, "bool | int | float"], ...]

REFERENCE, LIMIT, COULOMB = "remove_ref_energy", "max_num_neighbors", "coulomb_cutoff"
#: The option of each hyperparameter.
OPTIONS = {REFERENCE: "removeReferenceEnergy", LIMIT: "maxNeighbors", COULOMB: "coulombCutoff"}


def make_settings(
    removeReferenceEnergy: bool | None = None, maxNeighbors: int | None = None, coulombCutoff: Any = None
) -> Settings:
    """Settings from the options of a potential.

    Parameters
    ----------
    removeReferenceEnergy : bool, optional
        For models trained on energies less those of the free atoms: True gives these, False adds the atoms' again;
        None leaves it to the file.
    maxNeighbors : int, optional
        Neighbours of an atom for which there is room, in place of the file's number.
    coulombCutoff : float or openmm.unit.Quantity, optional
        Cutoff of the model's own Coulomb term, nm if a plain number.

    Returns
    -------
    tuple of (str, value)
        Those that are given, by hyperparameter; lengths in Å.

    Raises
    ------
    TypeError, ValueError
        If a value is of the wrong kind or out of range.
    """
    values: dict[str, bool | int | float] = {}
    if removeReferenceEnergy is not None:
        if not isinstance(removeReferenceEnergy, bool):
            raise TypeError(f"removeReferenceEnergy={removeReferenceEnergy!r} is neither True nor False nor None")
        values[REFERENCE] = removeReferenceEnergy
    if maxNeighbors is not None:
        if isinstance(maxNeighbors, bool) or not isinstance(maxNeighbors, numbers.Integral):
            raise TypeError(f"maxNeighbors={maxNeighbors!r} is no whole number; give the neighbours of an atom")
        if not 1 <= maxNeighbors <= 10**6:
            raise ValueError(f"maxNeighbors={maxNeighbors!r}: give a number from 1 to a million")
        values[LIMIT] = int(maxNeighbors)
    if coulombCutoff is not None:
        values[COULOMB] = round(_nanometers("coulombCutoff", coulombCutoff) / NM_PER_ANGSTROM, 9)  # 12, not 11.9...
    return tuple(sorted(values.items()))


def _nanometers(name: str, value: Any) -> float:
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        if hasattr(value, "value_in_unit_system"):
            import openmm.unit as unit

            value = value.value_in_unit(unit.nanometer)
        length = float(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise TypeError(f"{name}={value!r} is not a length; give nm as a number or a quantity of length") from error
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"{name}={value!r} must be a finite length > 0 (nm if a plain number)")
    return length


def parse_settings(given: Mapping[str, Any] | Iterable[Sequence[Any]] | None) -> Settings:
    """Settings as they stand in a file.

    Parameters
    ----------
    given : mapping or pairs, optional
        Values by hyperparameter.

    Returns
    -------
    tuple of (str, value)

    Raises
    ------
    TypeError
        If a hyperparameter is not one of those that may be set.
    """
    values: dict[str, Any] = dict(given or ())  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(OPTIONS))
    if unknown:
        raise TypeError(f"the setting {unknown[0]!r} is unknown to this release, which knows {', '.join(OPTIONS)}")
    return tuple(sorted(values.items()))


def check_settings(given: Settings, known: Sequence[str], path: str, kind: str) -> None:
    """Refuse settings that a format does not have.

    Parameters
    ----------
    given : tuple of (str, value)
        What is set.
    known : sequence of str
        Hyperparameters that the format lets be set.
    path, kind : str
        The file and its format, for the message.

    Raises
    ------
    ModelFileError
        With the option that the format does not have.
    """
    for name, value in given:
        if name not in known:
            raise ModelFileError(
                f"{OPTIONS[name]}={value!r} is for TorchMD-Net checkpoints, and {path} is a {kind} file; leave it out",
                path,
            )
