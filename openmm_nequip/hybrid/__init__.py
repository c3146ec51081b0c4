"""Hybrid Systems: a model for some atoms, a force field for the rest.

:func:`build_mixed_system` is the entry (OpenMM-ML's word for such a System is "mixed"); the other modules hold one
idea each.  What there is to know of a class of Force stands in one row of `force_table`.  `model_forces` makes the
force of this package's models; no other module knows what the model is: it comes in as the callable
``addModelForces``.
"""

from .build_options import HybridOptions
from .builder import AddModelForces, MixedSystem, build_mixed_system
from .force_classes import ForceClass, ForceClasses, Role
from .force_table import FORCE_CLASSES
from .hybrid_report import MixedReport
from .regions import Link, Region, select_atoms, select_regions

#: Their names in release 0.1, in OpenMM's convention.
selectAtoms, selectRegions = select_atoms, select_regions

__all__ = [
    "FORCE_CLASSES",
    "AddModelForces",
    "ForceClass",
    "ForceClasses",
    "HybridOptions",
    "Link",
    "MixedReport",
    "MixedSystem",
    "Region",
    "Role",
    "build_mixed_system",
    "selectAtoms",
    "selectRegions",
    "select_atoms",
    "select_regions",
]
