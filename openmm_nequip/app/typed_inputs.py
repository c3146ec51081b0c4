"""Inputs and settings of a model as a user types them: ``charge=1``, ``--max-neighbors 100``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import ModelInputError
from ..units import NM_PER_ANGSTROM


def read_inputs(given: Sequence[str] | None) -> dict[str, Any]:
    """Values by name.

    Parameters
    ----------
    given : sequence of str, optional
        ``NAME=VALUE`` each; several values, one for each atom, with commas between them.

    Returns
    -------
    dict of str to int or float
        Whole numbers as int; several as a list.

    Raises
    ------
    ModelInputError
        If one is no name and number, or a name is given twice.
    """
    values: dict[str, Any] = {}
    for text in given or ():
        name, equals, number = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise ModelInputError(f"--input {text}: give NAME=VALUE, such as charge=1")
        if name in values:
            raise ModelInputError(f"--input gives {name!r} twice; give it once", name)
        several = [_number(text, name, part.strip()) for part in number.split(",")]
        values[name] = several if len(several) > 1 else several[0]
    return values


def _number(text: str, name: str, number: str) -> int | float:
    try:
        return int(number)
    except ValueError:
        try:
            return float(number)
        except ValueError:
            raise ModelInputError(f"--input {text}: {number!r} is no number; give one, such as {name}=1") from None


def read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options :data:`.model_options.REBUILDING` were told, as :func:`openmm_nequip.load_model` takes it.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    dict of str to value
    """
    cutoff = arguments.coulomb_cutoff
    given = {
        "removeReferenceEnergy": arguments.remove_reference_energy,
        "maxNeighbors": arguments.max_neighbors,
        "coulombCutoff": None if cutoff is None else cutoff * NM_PER_ANGSTROM,
    }
    return {name: value for name, value in given.items() if value is not None}
