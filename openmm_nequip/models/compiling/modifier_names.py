"""Names of a model's modifiers, read from source text without loading or running anything."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from ...errors import ModifierError
from ..archive import entries, read_entry
from ..format import PACKAGE
from ..source import ModelSource

#: A modifier in nequip's code: a method with this decorator.
_MODIFIER = re.compile(r"@model_modifier\b[^@]*?(?:@classmethod\s+)?def\s+(\w+)", re.DOTALL)
_PACKAGES = ("nequip", "allegro")


def names_in(texts: Iterable[str]) -> set[str]:
    """Names of the modifiers that source code defines.

    Parameters
    ----------
    texts : iterable of str
        Python.

    Returns
    -------
    set of str
    """
    return {name for text in texts for name in _MODIFIER.findall(text)}


@cache
def _installed() -> frozenset[str]:
    """Those of the installed nequip and nequip-allegro, with which checkpoints are opened."""
    found: set[str] = set()
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            files = Path(folder).rglob("*.py")
            found |= names_in(path.read_text(encoding="utf-8", errors="replace") for path in files)
    return frozenset(found)


def check_names(source: ModelSource, wanted: Sequence[str]) -> None:
    """Refuse a modifier that the code of a model does not have, before the model is loaded.

    Parameters
    ----------
    source : ModelSource
        A checkpoint, whose code is the installed one, or a package, which has its own.
    wanted : sequence of str
        The modifiers that were asked for.

    Raises
    ------
    ModifierError
        With the name and those that are there.
    """
    if source.kind == PACKAGE:
        files = [name for name in entries(source) if name.endswith(".py")]
        known: Iterable[str] = names_in(read_entry(source, name).decode(errors="replace") for name in files)
    else:
        known = _installed()
    missing = [name for name in wanted if name not in known]
    if missing and known:
        raise ModifierError(
            f"modifiers: the code of {source.path} has no {missing[0]!r}; it has {', '.join(sorted(known))} (which of "
            "them the model can take is told when it is loaded)"
        )
