"""Modules of release 0.1 under their new addresses, so that scripts which import them go on for one more release.

Borrowed: a finder on ``sys.meta_path``, which Python documents; here it finds modules of this package alone. Each first
use warns with the new address. Test: ``tests/test_upstream_imports.py``.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any

PACKAGE = __name__.split(".")[0]
#: Old -> new address, both below the package; a package stands for all modules in it that have no row of their own.
MOVED: Mapping[str, str] = {
    "bench": "app.bench",
    "bench.command": "app.bench.bench_command",
    "bench.environment": "app.bench.bench_environment",
    "bench.picture": "app.bench.bench_picture",
    "bench.report": "app.bench.bench_report",
    "bench.run": "app.bench.bench_run",
    "bench.settings": "app.bench.bench_settings",
    "bench.size": "app.bench.one_size",
    "bench.systems": "app.bench.bench_systems",
    "cli": "app.cli",
    "crystal.reading": "crystal.crystal_files",
    "cudagraphs": "evaluate.cuda_graphs",
    "devicelists": "graph.neighbors_cuda",
    "forces.particles": "upstream.openmm_state",
    "forces.plugin": "upstream.openmm_plugins",
    "links": "evaluate.links",
    "mixed": "hybrid",
    "mixed.options": "hybrid.build_options",
    "mixed.report": "hybrid.hybrid_report",
    "mixed.supported": "hybrid.force_classes",
    "models.aotinductor": "models.formats.aotinductor",
    "models.cache": "cache",
    "models.compiler": "models.compiling.aot",
    "models.example": "models.compiling.example",
    "models.modifiers": "models.compiling.modifiers",
    "models.nequip": "models.eager",
    "models.state": "upstream.nequip_state",
    "models.target": "models.compiling.targets",
    "models.torchscript": "models.formats.torchscript",
    "models.vectors": "models.edge_vectors",
    "neighbors": "graph.neighbors",
    "padding": "graph.padding",
    "pressure": "stress",
    "recording": "evaluate.recording",
    "simulate": "app.run",
    "simulate.analysis": "app.run.run_analysis",
    "simulate.bonds": "app.structures.bonds",
    "simulate.cells": "app.structures.typed_box",
    "simulate.config": "app.run.run_config",
    "simulate.demo": "app.run.peptide_demo",
    "simulate.describe": "app.model_facts",
    "simulate.folder": "app.run.run_folder",
    "simulate.hybrid": "app.run.hybrid_system",
    "simulate.pictures": "app.run.run_pictures",
    "simulate.run": "app.run.md_run",
    "simulate.single_point": "app.single_point",
    "simulate.structures": "app.structures.structure_files",
    "simulate.systems": "app.run.md_system",
    "simulate.trajectory": "app.run.trajectory_files",
    "wrapper": "evaluate.evaluator",
}


def new_address(old: str) -> str | None:
    """Where a module of release 0.1 is now, or None if it has not moved.

    Parameters
    ----------
    old : str
        Its address below the package.

    Returns
    -------
    str or None
    """
    if old in MOVED:
        return MOVED[old]
    parent, _, name = old.rpartition(".")
    return f"{MOVED[parent]}.{name}" if parent in MOVED and name else None


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The module at its new address, for an old one."""
        package, _, old = name.partition(".")
        new = new_address(old) if package == PACKAGE and old else None
        if new is None:
            return None
        has_modules = any(each.startswith(f"{old}.") for each in MOVED)
        return importlib.machinery.ModuleSpec(name, _Alias(f"{PACKAGE}.{new}"), is_package=has_modules)


class _Alias(importlib.abc.Loader):
    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """A module that hands on what the new one has."""
        warnings.warn(f"{spec.name} is {self._new} now", DeprecationWarning, stacklevel=2)
        new = importlib.import_module(self._new)
        module = ModuleType(spec.name, new.__doc__)
        module.__dict__.update({key: value for key, value in vars(new).items() if not key.startswith("__")})
        module.__getattr__ = lambda name: getattr(new, name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def keep_old_addresses() -> None:
    """Find modules of release 0.1 from now on; they are looked for last."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
