"""Finding charges outside the NonbondedForce: bonds that are Coulomb terms, parameters that are charges."""

import copy
from collections.abc import Sequence

import numpy as np
import openmm

from .force_copies import split_by_xml

#: Distances in nm at which a term is measured; all else than 1/r has faded by then.
_FAR_NM = (50.0, 100.0)
#: Energy times distance, in kJ/mol nm, below which there is no Coulomb term: that of charges of 0.0005 e.
_NO_COULOMB = 3e-5
_RATIO_TOLERANCE = 0.05
_SAME_CHARGE = 1e-6
_CHARGE_NAMES = ("q", "charge", "charges")


def falls_like_coulomb(force: openmm.CustomBondForce, index: int) -> bool:
    """Tell whether a term decays with one over the distance, as the electrostatics of a 1-4 pair do.

    Parameters
    ----------
    force : openmm.CustomBondForce
        The force; left as it is.
    index : int
        Which of its terms.

    Returns
    -------
    bool
        By the energy of this term alone at 50 and 100 nm, on the Reference platform.
    """
    _, alone = split_by_xml(force, [index], "Bonds")
    i, j, parameters = alone.getBondParameters(0)
    alone.setBondParameters(0, 0, 1, parameters)
    alone.setUsesPeriodicBoundaryConditions(False)
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    system.addForce(copy.deepcopy(alone))
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    scaled = []
    for distance in _FAR_NM:
        context.setPositions(np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]]))
        scaled.append(context.getState(energy=True).getPotentialEnergy()._value * distance)
    near, far = scaled
    return abs(far) > _NO_COULOMB and abs(far - near) < _RATIO_TOLERANCE * abs(far)


def charge_parameter(force: openmm.CustomNonbondedForce, charges: Sequence[float]) -> str | None:
    """Find the per-particle parameter of a force that is a charge.

    Parameters
    ----------
    force : openmm.CustomNonbondedForce
        The force.
    charges : sequence of float
        The known charges of all particles in e, or none.

    Returns
    -------
    str or None
        The name of the first parameter that is called a charge, or whose values are the known charges times a factor.
    """
    count = force.getNumPerParticleParameters()
    names = [force.getPerParticleParameterName(k) for k in range(count)]
    for name in names:
        if name.lower() in _CHARGE_NAMES:
            return name
    known = np.array(charges)
    if not count or not known.any() or len(set(known)) < 3:
        return None
    values = np.array([force.getParticleParameters(i) for i in range(force.getNumParticles())])
    largest = int(np.abs(known).argmax())
    for name, column in zip(names, values.T, strict=True):
        factor = column[largest] / known[largest]
        if factor and np.abs(column - factor * known).max() < _SAME_CHARGE * max(1.0, abs(factor)):
            return name
    return None
