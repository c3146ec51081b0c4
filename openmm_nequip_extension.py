"""What nequip imports of openmm-nequip whenever it is imported itself: the entry point ``nequip.extension``.

A module outside the package, so that ``import nequip`` needs neither OpenMM nor the time to import it, and works where
OpenMM does not. The package is imported only when something of it is asked for by name.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import sys
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

#: Model modifiers of ours, see :mod:`openmm_nequip.models.fused_op`.
_MODIFIERS = ("enable_FusedKernels", "enable_FusedKernelsExact")
_PATCHED = "nequip.model.modify_utils"


def _with_ours(original: Any, persistent_only: Any) -> Any:
    """nequip's ``modify``, with our modifiers.

    nequip looks for modifiers among the methods of a model's classes, and those of a packaged model come with the
    package: what is registered with the installed nequip does not reach them. So ours are applied here, by name.
    """

    @functools.wraps(original)
    def modify(model: Any, modifiers: Any) -> Any:
        if not isinstance(modifiers, list) or not any(entry.get("modifier") in _MODIFIERS for entry in modifiers):
            return original(model, modifiers)
        model = original(model, [])
        for entry in modifiers:
            if entry.get("modifier") not in _MODIFIERS:
                model = original(model, [entry])
            elif not persistent_only.get():
                from openmm_nequip.models.fused_op import MODIFIERS, enable

                model = enable(model, MODIFIERS[entry["modifier"]])
        return model

    return modify


class _Hook(importlib.abc.MetaPathFinder):
    """Replaces ``modify`` when its module is imported: that cannot be done now, in the middle of nequip's import."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != _PATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                module.modify = _with_ours(module.modify, module._ONLY_APPLY_PERSISTENT)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Hook())
