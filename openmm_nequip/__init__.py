"""NequIP and Allegro machine-learned potentials in OpenMM."""

# OpenMM-ML must be imported first: it finds this package through entry points, and a factory of ours that is imported
# before it would import it half-made.
import openmmml  # noqa: F401, I001

import importlib.util

from ._version import __version__
from .models import CompileError, KernelsError, Model, ModelFileError, ModelInfo, ModifierError, load_model
from .hybrid import Link, MixedReport, MixedSystem, Region
from .potential import NequIPPotentialImpl, create_mixed_system, register
from .units import Units, resolve_units
from . import crystal, reporters

if importlib.util.find_spec("openmmtorch") and importlib.util.find_spec("vesin_torch"):
    # Systems read from XML may hold a TorchForce: its module uses vesin's operators, its kernels the plugin's.
    import vesin_torch  # noqa: F401

    from .forces.plugin import load_plugin_kernels

    load_plugin_kernels()

register()

__all__ = [
    "CompileError",
    "KernelsError",
    "Link",
    "MixedReport",
    "MixedSystem",
    "Model",
    "ModelFileError",
    "ModelInfo",
    "ModifierError",
    "NequIPPotentialImpl",
    "Region",
    "Units",
    "__version__",
    "create_mixed_system",
    "crystal",
    "load_model",
    "register",
    "reporters",
    "resolve_units",
]
