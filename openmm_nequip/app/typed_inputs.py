"""Inputs of a model as a user types them: ``charge=1``."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ModelInputError


def read_inputs(given: Sequence[str] | None) -> dict[str, int | float]:
    """Values by name.

    Parameters
    ----------
    given : sequence of str, optional
        ``NAME=VALUE`` each.

    Returns
    -------
    dict of str to int or float
        Whole numbers as int.

    Raises
    ------
    ModelInputError
        If one is no name and number, or a name is given twice.
    """
    values: dict[str, int | float] = {}
    for text in given or ():
        name, equals, number = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise ModelInputError(f"--input {text}: give NAME=VALUE, such as charge=1")
        if name in values:
            raise ModelInputError(f"--input gives {name!r} twice; give it once", name)
        try:
            values[name] = int(number)
        except ValueError:
            try:
                values[name] = float(number)
            except ValueError:
                raise ModelInputError(f"--input {text}: {number!r} is no number; give one, such as {name}=1") from None
    return values
