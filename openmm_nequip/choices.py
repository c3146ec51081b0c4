"""Names that users choose from and names that mark the forces of this package; imports nothing.

The command line lists choices before anything heavy is loaded, and the files that look for a force by its name need
not import the file that makes it.
"""

from __future__ import annotations

#: Name of the model's force.  The names of all other forces that this package adds start with it.
FORCE_NAME = "NequIP"
#: Name of the force whose bonds of zero strength tell OpenMM which atoms make a molecule.
MOLECULES_NAME = "NequIPMolecules"

#: Rules for the bonded terms that the model of a hybrid System replaces, see :mod:`openmm_nequip.hybrid.bonded`.
BONDED_RULES = ("openmm-ml", "gromacs", "all-in-set")
#: Schemes for the charge behind a cut bond, see :mod:`openmm_nequip.hybrid.charges`.
LINK_CHARGES = ("keep", "zero", "redistribute")
