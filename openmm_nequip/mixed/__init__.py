"""Hybrid systems: a model for some atoms, a force field for the rest.

:func:`build_mixed_system` is the entry; the other modules hold one idea each (`regions`, `connectivity`, `bonded`,
`restraints`, `nonbonded`, `charges`, `constraints`, `interpolation`, `report`).  None of them knows what the model
is: it comes in as the callable ``addModelForces``.
"""

from .builder import AddModelForces, MixedSystem, build_mixed_system
from .regions import Link, Region, selectAtoms, selectRegions
from .report import MixedReport

__all__ = [
    "AddModelForces",
    "Link",
    "MixedReport",
    "MixedSystem",
    "Region",
    "build_mixed_system",
    "selectAtoms",
    "selectRegions",
]
