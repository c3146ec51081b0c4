"""Model metadata as nequip writes it: strings, turned into values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelFileError
from .archive import read_end
from .base import ModelInfo
from .source import ModelSource

#: Entry of a compiled file's metadata that says which fused kernels are in it.
KERNELS_KEY = "openmm_nequip_kernels"
_PACKAGE_METADATA = "/model/package_metadata.txt"


def make_info(facts: Mapping[str, str], **others: Any) -> ModelInfo:
    """Facts about a model from nequip's metadata.

    Parameters
    ----------
    facts : mapping of str to str
        With ``r_max`` and ``type_names``; ``model_dtype``, ``per_edge_type_cutoff`` and ``*_version`` where known.
    others
        Further fields of :class:`ModelInfo`; ``versions`` takes the place of those in ``facts``.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the cutoffs by type do not fit the types.
    """
    type_names = tuple(str(facts["type_names"]).split())
    return ModelInfo(
        type_names=type_names,
        cutoff=_number("r_max", facts["r_max"]),
        dtype=facts.get("model_dtype") or "float32",
        per_edge_type_cutoff=parse_cutoffs(facts.get("per_edge_type_cutoff"), type_names),
        **({"versions": parse_versions(facts)} | others),
    )


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ModelFileError(f"the model states {name} = {text!r}; expected a number") from None


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
    values = [_number("per_edge_type_cutoff", word) for word in text.split()]
    n = len(type_names)
    if len(values) != n * n:
        raise ModelFileError(
            f"the model's per_edge_type_cutoff has {len(values)} numbers; expected {n * n} for the types {type_names}"
        )
    return tuple(tuple(values[i * n : (i + 1) * n]) for i in range(n))


def parse_versions(facts: Mapping[str, str]) -> dict[str, str]:
    """Pick the ``*_version`` entries and drop the suffix."""
    return {key.removesuffix("_version"): value for key, value in facts.items() if key.endswith("_version") and value}


def package_versions(source: ModelSource) -> dict[str, str]:
    """Versions with which nequip-package made a file; empty where it does not say.

    Parameters
    ----------
    source : ModelSource
        A package.

    Returns
    -------
    dict of str to str
    """
    # A dependency of nequip, and without nequip no package is read.
    import yaml

    text = read_end(source, _PACKAGE_METADATA)
    try:
        stated = {} if text is None else yaml.safe_load(text)
        versions = stated.get("versions") or {}
        pairs = list(versions.items())
    except (yaml.YAMLError, AttributeError, RecursionError, ValueError):
        return {}
    # Only scalars: the text of nested aliases may be of any length.
    return {str(key): str(value) for key, value in pairs if isinstance(value, (str, int, float))}
