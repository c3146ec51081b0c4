"""Energies of frames at both ends of λ, and the reduced potentials of every state between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import openmm
import openmm.unit as unit

from ..units import BAR_PER_KJ_PER_MOL_PER_NM3, GAS_CONSTANT

#: Name of the parameter that ``interpolate=True`` adds.
LAMBDA_NAME = "lambda_interpolate"


class EndStates(NamedTuple):
    """Potential energies of frames by the force field and by the hybrid System: two numbers a frame.

    The energy is linear in λ (:mod:`openmm_nequip.hybrid.interpolation`), so they give it at every λ.
    """

    force_field: np.ndarray  #: (n_frames,) kJ/mol, at λ = 0
    model: np.ndarray  #: (n_frames,) kJ/mol, at λ = 1
    volumes: np.ndarray | None  #: (n_frames,) nm³, None without a box


def end_states(
    context: openmm.Context,
    frames: Sequence[Any],
    boxes: Sequence[Any] | None = None,
    name: str = LAMBDA_NAME,
) -> EndStates:
    """The energies of frames at λ = 0 and λ = 1; the model is evaluated once for each.

    Parameters
    ----------
    context : openmm.Context
        Of a System made with ``interpolate=True``. Positions, box, velocities and λ are put back afterwards.
    frames : sequence of Quantity or numpy.ndarray, (n_frames, n_particles, 3)
        Positions in nm, or with their unit.
    boxes : sequence of Quantity or numpy.ndarray, (n_frames, 3, 3), optional
        Box vectors in nm, or with their unit, of each frame; the Context's own by default.
    name : str
        The global parameter, where the System was made with another ``lambdaName``.

    Returns
    -------
    EndStates

    Raises
    ------
    ValueError
        If the System has no such parameter, frames and boxes do not fit together or to it, or an energy is not finite.
    """
    if name not in context.getParameters():
        raise ValueError(
            f"the System has no global parameter {name!r}; make it with interpolate=True, or name the one it has"
        )
    system = context.getSystem()
    if boxes is not None and len(boxes) != len(frames):
        raise ValueError(f"{len(boxes)} boxes were given for {len(frames)} frames; give one for each")
    if boxes is not None and not system.usesPeriodicBoundaryConditions():
        raise ValueError("boxes were given for a System without a box; leave them out")
    n = system.getNumParticles()
    energies, volumes = np.empty((2, len(frames))), np.empty(len(frames))
    with _put_back(context, name):
        for number, frame in enumerate(frames):
            points = _in_nm(frame)
            if points.shape != (n, 3):
                raise ValueError(f"frame {number} has the shape {points.shape}; expected {(n, 3)}, one row a particle")
            if boxes is not None:
                context.setPeriodicBoxVectors(*_in_nm(boxes[number]))
            context.setPositions(points)
            context.computeVirtualSites()
            for row, value in enumerate((0.0, 1.0)):
                context.setParameter(name, value)
                energies[row, number] = context.getState(energy=True).getPotentialEnergy()._value
            volumes[number] = context.getState().getPeriodicBoxVolume()._value
            if not np.isfinite(energies[:, number]).all():
                raise ValueError(
                    f"frame {number} has the energies {energies[0, number]:g} and {energies[1, number]:g} kJ/mol at "
                    "λ = 0 and 1; look at it, or leave it out"
                )
    return EndStates(energies[0], energies[1], volumes if system.usesPeriodicBoundaryConditions() else None)


def _in_nm(values: Any) -> np.ndarray:
    if unit.is_quantity(values):
        values = values.value_in_unit(unit.nanometer)
    return np.asarray(values, dtype=np.float64)


@contextlib.contextmanager
def _put_back(context: openmm.Context, name: str) -> Iterator[None]:
    """Leave a Context as it was found."""
    value = context.getParameter(name)
    try:
        before = context.getState(positions=True, velocities=True)
    except openmm.OpenMMException:  # no positions were ever set
        before = None
    try:
        yield
    finally:
        context.setParameter(name, value)
        if before is not None:
            context.setPeriodicBoxVectors(*before.getPeriodicBoxVectors())
            context.setPositions(before.getPositions(asNumpy=True))
            context.setVelocities(before.getVelocities(asNumpy=True))


def reduced_potentials(
    ends: EndStates,
    lambdas: Sequence[float],
    temperatures: Any,
    pressures: Any = None,
    biases: np.ndarray | None = None,
) -> np.ndarray:
    """Reduced potentials of frames in every state: (U(λ) + bias + pV) / RT, the table that BAR and MBAR take.

    Parameters
    ----------
    ends : EndStates
        Of the frames.
    lambdas : sequence of float, (n_states,)
        From 0 (force field) to 1 (model).
    temperatures : Quantity, float or sequence of them
        Of all states or of each, in K.
    pressures : Quantity, float or sequence of them, optional
        Of all states or of each, in bar.
    biases : numpy.ndarray, (n_states, n_frames) float64, optional
        Energies of restraints in each state that are not in `ends`, kJ/mol.

    Returns
    -------
    numpy.ndarray, (n_states, n_frames) float64

    Raises
    ------
    ValueError
        If a λ is outside 0 to 1, numbers do not fit together, a temperature is not above 0, or there is a pressure and
        no volume.
    """
    values = np.atleast_1d(np.asarray(lambdas, dtype=np.float64))
    if values.ndim != 1 or not len(values):
        raise ValueError(f"lambdas={lambdas!r}; give a list of numbers from 0 to 1")
    outside = values[~((values >= 0.0) & (values <= 1.0))]
    if len(outside):
        raise ValueError(
            f"λ = {outside[0]:g} lies outside 0 (the force field) to 1 (the model), where the energy is not defined"
        )
    kelvin = _of_states(temperatures, unit.kelvin, "temperatures", len(values))
    if not (kelvin > 0).all():
        raise ValueError(f"temperatures={temperatures!r}; give numbers above 0 K")
    base, far = np.asarray(ends.force_field, np.float64), np.asarray(ends.model, np.float64)
    energies = base + values[:, None] * (far - base)
    if biases is not None:
        given = np.asarray(biases, dtype=np.float64)
        if given.shape != energies.shape:
            raise ValueError(f"biases has the shape {given.shape}; expected {energies.shape}, a row for each state")
        energies = energies + given
    if pressures is not None:
        if ends.volumes is None:
            raise ValueError("pressures were given for frames without a box; leave them out")
        pressure = _of_states(pressures, unit.bar, "pressures", len(values)) / BAR_PER_KJ_PER_MOL_PER_NM3
        energies = energies + pressure[:, None] * ends.volumes
    return energies / (GAS_CONSTANT * kelvin[:, None])


def _of_states(given: Any, base: unit.Unit, what: str, count: int) -> np.ndarray:
    """One number for each state, without units."""
    items = given if isinstance(given, (list, tuple)) else [given]
    plain = [item.value_in_unit(base) if unit.is_quantity(item) else item for item in items]
    values = np.concatenate([np.atleast_1d(np.asarray(item, dtype=np.float64)) for item in plain])
    if len(values) not in (1, count) or not np.isfinite(values).all():
        raise ValueError(f"{what}={given!r}; give one finite number for all states or one for each of the {count}")
    return np.broadcast_to(values, count)
