"""What nequip gets from this package whenever both are imported: compile targets and model modifiers.

nequip imports this package by the entry point ``nequip.extension``. That costs it next to nothing and works where
OpenMM does not: what is named here is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .upstream.nequip_compile import add_compile_targets, add_modifiers

#: Keys of :data:`openmm_nequip.models.compiling.targets.TARGETS`.
_TARGETS = ("openmm", "openmm-full")
_FIELDS = ("input", "output", "batch_map_settings", "data_settings")
#: Model modifiers of ours, see :mod:`openmm_nequip.models.fused_op`.
_MODIFIERS = ("enable_FusedKernels", "enable_FusedKernelsExact")


class _Target(Mapping):
    """A target of ``nequip-compile``, looked up in :mod:`openmm_nequip.models.compiling.targets` when it is used.

    Parameters
    ----------
    name : str
        Key in :data:`openmm_nequip.models.compiling.targets.TARGETS`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getitem__(self, key: str) -> Any:
        from .models.compiling.targets import TARGETS

        return TARGETS[self._name][key]

    def __iter__(self) -> Iterator[str]:
        return iter(_FIELDS)

    def __len__(self) -> int:
        return len(_FIELDS)


def _modify(model: Any, name: str) -> Any:
    """A model after one of :data:`_MODIFIERS`."""
    from .models.fused_op import MODIFIERS, enable

    return enable(model, MODIFIERS[name])


def register_when_imported() -> None:
    """Add targets and modifiers to nequip: now where it is imported, and else as soon as it is."""
    add_compile_targets({name: _Target(name) for name in _TARGETS})
    add_modifiers(_MODIFIERS, _modify)
