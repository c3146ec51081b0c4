"""Which particles of a System a model's force acts on."""

from __future__ import annotations

import numpy as np
import openmm

from ..upstream.openmm_python_force import pickled_function
from .saved import load_computation
from .spec import PotentialSpec, SumSpec


def potential_of(force: openmm.Force, count: int) -> tuple[PotentialSpec | SumSpec, np.ndarray] | None:
    """The potential that a force of this package holds.

    Parameters
    ----------
    force : openmm.Force
        A force as a System returns it.
    count : int
        Number of particles of the System.

    Returns
    -------
    tuple of PotentialSpec or SumSpec and numpy.ndarray, or None
        With the System index of each particle that it is given, (n_particles,) int64; None where it cannot be read, as
        :func:`model_particles`.
    """
    try:
        pickled = pickled_function(force)
        if not pickled:
            return None
        spec = load_computation(pickled).spec
    except Exception:  # any content at all: a foreign function may need modules that are not here
        return None
    chosen = force.getParticles() if hasattr(force, "getParticles") else ()
    return spec, np.array(chosen or range(count), dtype=np.int64)


def model_particles(force: openmm.Force, count: int) -> list[int] | None:
    """Particles that a force of this package describes by its model.

    Parameters
    ----------
    force : openmm.Force
        A force as a System returns it.
    count : int
        Number of particles of the System.

    Returns
    -------
    list of int or None
        Indices of the atoms of all regions, link caps and the atoms behind cut bonds left out; None where they cannot
        be read: from another function, or from a TorchForce, which holds a scripted module.
    """
    known = potential_of(force, count)
    if known is None:
        return None
    spec, particles = known
    found: set[int] = set()
    for part in spec.parts:
        atoms = part.placement.atoms
        places = np.arange(part.placement.n_particles) if atoms is None else atoms
        found.update(particles[places].tolist())
    return sorted(found)
