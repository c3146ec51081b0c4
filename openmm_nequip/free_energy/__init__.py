"""Free energies between force field and model, and along a coordinate: reduced potentials, BAR and MBAR by pymbar."""

from ..series import independent_samples
from .difference_picture import draw
from .differences import FreeEnergies, estimate
from .end_states import EndStates, end_states, reduced_potentials
from .potential_of_mean_force import Profile, potential_of_mean_force
from .shared_samples import OVERLAP

__all__ = [
    "OVERLAP",
    "EndStates",
    "FreeEnergies",
    "Profile",
    "draw",
    "end_states",
    "estimate",
    "independent_samples",
    "potential_of_mean_force",
    "reduced_potentials",
]
