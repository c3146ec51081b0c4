"""Model metadata as nequip writes it: strings, turned into values."""

from __future__ import annotations

from collections.abc import Mapping

from .source import ModelFileError


def parse_cutoffs(text: str | None, type_names: tuple[str, ...]) -> tuple[tuple[float, ...], ...] | None:
    """Cutoffs per pair of types from nequip's ``per_edge_type_cutoff``: numbers in row-major order.

    Parameters
    ----------
    text : str or None
        Numbers separated by spaces, centre type by neighbour type; empty or None where the model has one cutoff.
    type_names : tuple of str
        The model's types.

    Returns
    -------
    tuple of tuple of float or None

    Raises
    ------
    ModelFileError
        If the count does not fit the number of types.
    """
    if not text or not text.strip():
        return None
    values = [float(word) for word in text.split()]
    n = len(type_names)
    if len(values) != n * n:
        raise ModelFileError(
            f"the model's per_edge_type_cutoff has {len(values)} numbers; expected {n * n} for the types {type_names}"
        )
    return tuple(tuple(values[i * n : (i + 1) * n]) for i in range(n))


def parse_versions(facts: Mapping[str, str]) -> dict[str, str]:
    """Pick the ``*_version`` entries and drop the suffix."""
    return {key.removesuffix("_version"): value for key, value in facts.items() if key.endswith("_version") and value}
