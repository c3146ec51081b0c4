"""NequIP and Allegro machine-learned potentials in OpenMM.

Importing the package imports neither torch nor OpenMM: names are imported when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import nequip_extension, registration
from ._version import __version__
from .upstream import old_addresses, openmm_plugins

if TYPE_CHECKING:
    from . import crystal, free_energy, inputs, reporters
    from .app.check.checking import check
    from .csvr import csvr_integrator
    from .errors import CompileError, KernelsError, ModelFileError, ModelInputError, ModifierError, ModuleError
    from .hybrid import Link, MixedReport, MixedSystem, Region
    from .models import Model, ModelInfo, load_model, trust
    from .module_potential import potential_from
    from .potential import NequIPPotentialImpl, create_mixed_system
    from .reading import read_system, write_system
    from .registration import register
    from .units import Units, resolve_units

__all__ = [
    "CompileError",
    "KernelsError",
    "Link",
    "MixedReport",
    "MixedSystem",
    "Model",
    "ModelFileError",
    "ModelInfo",
    "ModelInputError",
    "ModifierError",
    "ModuleError",
    "NequIPPotentialImpl",
    "Region",
    "Units",
    "__version__",
    "check",
    "create_mixed_system",
    "crystal",
    "csvr_integrator",
    "free_energy",
    "inputs",
    "load_model",
    "potential_from",
    "read_system",
    "register",
    "reporters",
    "resolve_units",
    "trust",
    "write_system",
]

#: Module of each public name; None for modules.
_HOMES = {
    "CompileError": "errors",
    "KernelsError": "errors",
    "Link": "hybrid",
    "MixedReport": "hybrid",
    "MixedSystem": "hybrid",
    "Model": "models",
    "ModelFileError": "errors",
    "ModelInfo": "models",
    "ModelInputError": "errors",
    "ModifierError": "errors",
    "ModuleError": "errors",
    "NequIPPotentialImpl": "potential",
    "Region": "hybrid",
    "Units": "units",
    "check": "app.check.checking",
    "create_mixed_system": "potential",
    "crystal": None,
    "errors": None,
    "csvr_integrator": "csvr",
    "free_energy": None,
    "inputs": None,
    "load_model": "models",
    "models": None,
    "potential": None,
    "potential_from": "module_potential",
    "read_system": "reading",
    "register": "registration",
    "reporters": None,
    "resolve_units": "units",
    "stress": None,
    "trust": "models",
    "units": None,
    "write_system": "reading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = importlib.import_module(f".{home or name}", __name__)
    if home is not None:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


old_addresses.keep_old_addresses()
registration.register_when_imported()
nequip_extension.register_when_imported()
openmm_plugins.prepare_for_torch_forces()
