"""Which particles of a System a model's force acts on."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import openmm

from .saved import load_computation


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
    try:
        root = ElementTree.fromstring(openmm.XmlSerializer.serialize(force))
        pickled = root.get("function")
        if pickled is None:
            return None
        parts = load_computation(bytes.fromhex(pickled)).spec.parts
    except Exception:  # any content at all: a foreign function may need modules that are not here
        return None
    particles = [int(node.get("index", "-1")) for node in root.iterfind("Particles/Particle")] or list(range(count))
    found: set[int] = set()
    for part in parts:
        atoms = part.placement.atoms
        places = np.arange(part.placement.n_particles) if atoms is None else atoms
        found.update(particles[k] for k in places.tolist())
    return sorted(found)
