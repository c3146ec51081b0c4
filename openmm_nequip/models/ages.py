"""Changes of nequip that give a checkpoint of an older version other energies, and what is done about them.

A checkpoint holds weights and a configuration; the code that computes with them is that of the installed nequip. Where
a change between the two versions alters the numbers of this model, the file is refused; where the versions differ
otherwise, that is said. Packages hold their own code and are not concerned.

References
----------
nequip's release notes: 0.16 reorders the hidden irreps of models with parity and l_max >= 2; 0.17 gives the ZBL
potential a cutoff exponent of its own (6), where it had that of the model before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Exponent of nequip's polynomial cutoff where a configuration names none.
DEFAULT_EXPONENT = 6
_EXPONENT = "polynomial_cutoff_p"


@dataclass(frozen=True)
class Change:
    """A change of nequip that alters the numbers of some checkpoints.

    Parameters
    ----------
    version : tuple of int
        Major and minor number of the first nequip with it.
    what : str
        What changed, for the message.
    affects : callable
        Configuration of a model -> whether its numbers change.
    """

    version: tuple[int, int]
    what: str
    affects: Callable[[Mapping[str, Any]], bool]


def _reordered(config: Mapping[str, Any]) -> bool:
    return bool(config.get("parity", True)) and int(config.get("l_max", 1)) >= 2 and "Allegro" not in _target(config)


def _own_exponent(config: Mapping[str, Any]) -> bool:
    pair = config.get("pair_potential")
    zbl = isinstance(pair, Mapping) and str(pair.get("_target_", "")).endswith("ZBL")
    own = pair.get(_EXPONENT) if isinstance(pair, Mapping) else None
    # Allegro's configurations name the exponent of the model where they describe the embedding of lengths.
    places = (config, *(config.get(name) for name in ("radial_chemical_embed", "scalar_embed")))
    named = [place[_EXPONENT] for place in places if isinstance(place, Mapping) and _EXPONENT in place]
    return zbl and own is None and any(float(exponent) != DEFAULT_EXPONENT for exponent in named)


def _target(config: Mapping[str, Any]) -> str:
    return str(config.get("_target_", ""))


#: In the order in which they came.
CHANGES = (
    Change((0, 16), "nequip 0.16 orders the hidden irreps of models with parity and l_max >= 2 otherwise", _reordered),
    Change((0, 17), "nequip 0.17 gives the ZBL potential a cutoff exponent of its own", _own_exponent),
)


def parse_version(text: str | None) -> tuple[int, int] | None:
    """Major and minor number of a version; None for what is none."""
    found = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None


def altered_by(config: Mapping[str, Any], made_with: str | None, installed: str | None) -> list[str]:
    """Changes between two versions of nequip that alter the numbers of a model.

    Parameters
    ----------
    config : mapping
        Configuration of the model, as the checkpoint has it.
    made_with : str or None
        nequip of the training.
    installed : str or None
        nequip that would compute.

    Returns
    -------
    list of str
        What changed; empty if nothing that matters, or if a version is not known.
    """
    before, now = parse_version(made_with), parse_version(installed)
    if before is None or now is None:
        return []
    low, high = min(before, now), max(before, now)
    return [change.what for change in CHANGES if low < change.version <= high and change.affects(config)]


def differs(made_with: str | None, installed: str | None) -> bool:
    """Whether two versions differ by more than a patch; False where one is not known."""
    before, now = parse_version(made_with), parse_version(installed)
    return before is not None and now is not None and before != now
