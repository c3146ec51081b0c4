"""What nequip imports of openmm-nequip whenever it is imported itself: the entry point ``nequip.extension``.

A module outside the package, so that ``import nequip`` needs neither OpenMM nor the time to import it, and works where
OpenMM does not. The package is imported only when something of it is asked for by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nequip.scripts._compile_utils import register_compile_targets

_FIELDS = ("input", "output", "batch_map_settings", "data_settings")


class _Target(Mapping):
    """A target of ``nequip-compile`` whose content is looked up in :mod:`openmm_nequip.models.target` when used.

    Parameters
    ----------
    name : str
        Key in :data:`openmm_nequip.models.target.TARGETS`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, key: str) -> Any:
        from openmm_nequip.models.target import TARGETS

        return TARGETS[self._name][key]

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


register_compile_targets({name: _Target(name) for name in ("openmm", "openmm-full")})

# ---- Model modifiers (nequip-compile --modifiers ...) are registered here ----
