"""Compile targets and model modifiers added to nequip from outside."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UpstreamError
from .import_hooks import after_import

_TARGETS_MODULE = "nequip.scripts._compile_utils"
_MODIFY_MODULE = "nequip.model.modify_utils"
_KNOWN = "nequip 0.19"


def add_compile_targets(targets: Mapping[str, Mapping[str, Any]]) -> None:
    """Make targets known to ``nequip-compile``, when its module is imported.

    Borrowed: ``register_compile_targets`` of the module ``nequip.scripts._compile_utils``. Known to work: nequip 0.19.
    Extensions are meant to call it and its module is private all the same. Where it is gone there is a warning in the
    log and no target. Test: ``tests/test_compile_target.py``.

    Parameters
    ----------
    targets : mapping of str to mapping
        By name: ``input``, ``output``, ``batch_map_settings`` and ``data_settings`` of each.
    """

    def register(module: Any) -> None:
        if hasattr(module, "register_compile_targets"):
            module.register_compile_targets(dict(targets))
        else:
            _warn(f"{_TARGETS_MODULE}.register_compile_targets", f"the compile targets {', '.join(targets)}")

    after_import(_TARGETS_MODULE, register)


def _same(given: Any) -> Any:
    return given


@dataclass(frozen=True)
class CompileTarget:
    """What a compiled file takes and gives.

    Parameters
    ----------
    inputs, outputs : list of str
        nequip's names, in order.
    example : callable
        Makes of nequip's fields of a structure those to trace the model with.
    dimensions : callable
        Makes of the dynamic dimensions of graphs, nodes and edges those of the file.
    """

    inputs: list[str]
    outputs: list[str]
    example: Callable[[dict[str, Any]], dict[str, Any]] = _same
    dimensions: Callable[[dict[str, Any]], dict[str, Any]] = _same


def compile_target(name: str) -> CompileTarget:
    """A target of ``nequip-compile`` for another program.

    Borrowed: ``COMPILE_TARGET_DICT`` of the module ``nequip.scripts._compile_utils``, in which extensions register
    theirs when they are imported. Known to work: nequip 0.19 with nequip-allegro 0.8. Test: ``tests/test_export.py``.

    Parameters
    ----------
    name : str
        Such as ``"pair_nequip"``, or ``"pair_allegro"`` of nequip-allegro.

    Returns
    -------
    CompileTarget

    Raises
    ------
    UpstreamError
        If nequip has none of that name.
    """
    try:
        table = importlib.import_module(_TARGETS_MODULE).COMPILE_TARGET_DICT
        if name == "pair_allegro":
            importlib.import_module("allegro")
        rules = table[name]
        inputs, outputs = list(rules["input"]), list(rules["output"])
        return CompileTarget(inputs, outputs, rules["data_settings"], rules["batch_map_settings"])
    except (ImportError, AttributeError, KeyError) as error:
        raise UpstreamError(
            f"the installed nequip has no compile target {name} ({type(error).__name__}: {error}); known to work: "
            f"{_KNOWN} with nequip-allegro 0.8", "nequip",
        ) from error


def add_modifiers(names: Sequence[str], apply: Callable[[Any, str], Any]) -> None:
    """Make model modifiers known to nequip's ``modify``, when its module is imported.

    nequip looks for modifiers among the methods of a model's classes, and those of a packaged model come with the
    package: what is registered with the installed nequip does not reach them. So ``modify`` is replaced by one that
    applies these itself, by name, unless only modifiers that stay in packages are wanted.

    Borrowed: ``modify`` and ``_ONLY_APPLY_PERSISTENT`` of ``nequip.model.modify_utils``. Known to work: nequip 0.19.
    Where they are gone there is a warning in the log and no modifier. Test: ``tests/test_artefacts.py``.

    Parameters
    ----------
    names : sequence of str
        The modifiers.
    apply : callable
        Gets a model and a name, gives the modified model.
    """

    def replace(module: Any) -> None:
        if hasattr(module, "modify") and hasattr(module, "_ONLY_APPLY_PERSISTENT"):
            module.modify = _with(names, apply, module.modify, module._ONLY_APPLY_PERSISTENT)
        else:
            _warn(f"{_MODIFY_MODULE}.modify", f"the modifiers {', '.join(names)}")

    after_import(_MODIFY_MODULE, replace)


def _with(names: Sequence[str], apply: Callable[[Any, str], Any], original: Any, persistent_only: Any) -> Any:
    """nequip's ``modify``, with modifiers of these names."""

    @functools.wraps(original)
    def modify(model: Any, modifiers: Any) -> Any:
        if not isinstance(modifiers, list) or not any(entry.get("modifier") in names for entry in modifiers):
            return original(model, modifiers)
        model = original(model, [])
        for entry in modifiers:
            if entry.get("modifier") not in names:
                model = original(model, [entry])
            elif not persistent_only.get():
                model = apply(model, entry["modifier"])
        return model

    return modify


def _warn(borrowed: str, lost: str) -> None:
    import logging

    logging.getLogger(__name__).warning(
        "%s is not there in the installed nequip (known to work: %s): nequip does without %s", borrowed, _KNOWN, lost
    )
