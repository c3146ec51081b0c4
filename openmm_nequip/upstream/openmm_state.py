"""Positions and box of a State as plain arrays in nm, past OpenMM's unit wrappers.

OpenMM's public accessors wrap every answer in a Quantity and look through ``dir(state)`` on the way. Called once in a
step of a millisecond, when the caches hold other things, that takes as long as a neighbour list.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm

try:
    from openmm._openmm import State_getPeriodicBoxVectors as _box_vectors
except ImportError:
    _box_vectors = None


def positions_of(state: Any) -> np.ndarray:
    """Positions of a State.

    Borrowed: ``State._getNumParticles`` and ``State._getVectorAsNumpy`` of OpenMM 8.5 and 8.6. Where they are gone,
    the public ``getPositions`` is called. Test: ``tests/test_upstream_openmm.py``.

    Parameters
    ----------
    state : openmm.State
        With positions.

    Returns
    -------
    numpy.ndarray, (n_particles, 3) float64
        nm.
    """
    try:
        positions = np.empty((state._getNumParticles(), 3))
        state._getVectorAsNumpy(openmm.State.Positions, positions)
    except AttributeError:
        return state.getPositions(asNumpy=True)._value
    return positions


def box_of(state: Any) -> np.ndarray:
    """Box vectors of a State.

    Borrowed: ``openmm._openmm.State_getPeriodicBoxVectors`` of OpenMM 8.5 and 8.6. Where it is gone, the public
    ``getPeriodicBoxVectors`` is called. Test: ``tests/test_upstream_openmm.py``.

    Parameters
    ----------
    state : openmm.State
        Any State.

    Returns
    -------
    numpy.ndarray, (3, 3) float64
        nm, in rows.
    """
    if _box_vectors is not None and isinstance(state, openmm.State):
        return np.array(_box_vectors(state))
    return np.array(state.getPeriodicBoxVectors()._value)
