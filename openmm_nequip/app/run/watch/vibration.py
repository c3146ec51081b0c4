"""The fastest vibration of a structure: the largest eigenvalue of the mass-weighted Hessian, from a few forces."""

from __future__ import annotations

import math

import numpy as np
import openmm
import openmm.unit as unit

from ....units import LIGHT_SPEED_CM_PER_PS
from . import plausible
from .finding import Finding, graded

#: Steps of the Lanczos method: the largest eigenvalue comes out first, to a few per cent in so many.
_LANCZOS_STEPS = 14
#: Largest displacement of an atom, nm: small against any vibration, large against the rounding of float32 forces.
_DISPLACEMENT_NM = 2e-4
_FS_PER_PS = 1000.0


def fastest_vibration(context: openmm.Context, masses: np.ndarray, seed: int = 0) -> float:
    """Angular frequency of the stiffest vibration about the present positions, constraints aside.

    Parameters
    ----------
    context : openmm.Context
        With positions, which are put back.
    masses : numpy.ndarray, (n_atoms,) float64
        Da; particles with mass 0 do not move.
    seed : int
        Of the vector that the method starts from.

    Returns
    -------
    float
        1/ps; 0 where nothing is stiff.

    References
    ----------
    C. Lanczos, J. Res. Natl. Bur. Stand. 45, 255 (1950).
    """
    state = context.getState(positions=True, velocities=True)
    positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    moving = masses > 0
    roots = np.zeros((len(masses), 1))
    roots[moving, 0] = 1.0 / np.sqrt(masses[moving])

    def forces(at: np.ndarray) -> np.ndarray:
        context.setPositions(at)
        found = context.getState(forces=True).getForces(asNumpy=True)
        return np.asarray(found.value_in_unit(unit.kilojoule_per_mole / unit.nanometer))

    def product(vector: np.ndarray) -> np.ndarray:
        """Mass-weighted Hessian times a vector, by forward differences."""
        step = roots * vector
        size = _DISPLACEMENT_NM / max(float(np.abs(step).max()), 1e-300)
        return -roots * (forces(positions + size * step) - at_rest) / size

    try:
        at_rest = forces(positions)
        return math.sqrt(max(_largest_eigenvalue(product, moving, seed), 0.0))
    finally:
        context.setState(state)


def _largest_eigenvalue(product, moving: np.ndarray, seed: int) -> float:
    """By Lanczos' method with full orthogonalisation; ``product`` maps arrays (n_atoms, 3)."""
    vector = np.random.default_rng(seed).normal(size=(len(moving), 3)) * moving[:, None]
    norm = float(np.linalg.norm(vector))
    if norm == 0.0:
        return 0.0
    basis = [vector / norm]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(_LANCZOS_STEPS, 3 * int(moving.sum()))):
        new = product(basis[-1])
        diagonal.append(float(np.vdot(basis[-1], new)))
        for known in basis:
            new = new - np.vdot(known, new) * known
        rest = float(np.linalg.norm(new))
        if not math.isfinite(rest) or rest <= 1e-8 * max(map(abs, diagonal)):
            break
        beside.append(rest)
        basis.append(new / rest)
    size = len(diagonal)
    matrix = np.diag(diagonal) + np.diag(beside[: size - 1], 1) + np.diag(beside[: size - 1], -1)
    return float(np.linalg.eigvalsh(matrix)[-1]) if np.isfinite(matrix).all() else 0.0


def check_time_step(frequency: float, timestep_fs: float) -> Finding | None:
    """A time step that is too large for a vibration.

    Parameters
    ----------
    frequency : float
        Angular frequency in 1/ps.
    timestep_fs : float
        fs.

    Returns
    -------
    Finding or None
    """
    phase = frequency * timestep_fs / _FS_PER_PS
    if phase < plausible.TIME_STEP_SUSPICIOUS:
        return None
    period = 2 * math.pi / frequency * _FS_PER_PS
    wavenumber = frequency / (2 * math.pi) / LIGHT_SPEED_CM_PER_PS
    certain = phase >= plausible.TIME_STEP_CERTAIN
    largest = plausible.TIME_STEP_SUSPICIOUS / frequency * _FS_PER_PS
    text = (
        f"{timestep_fs:g} fs for a fastest vibration of {wavenumber:.0f} cm-1, whose period is {period:.1f} fs: "
        f"{'the integrator is unstable' if certain else 'energy will not be conserved'}; at most {largest:.2g} fs, "
        "half of that is usual, or hydrogens made heavier"
    )
    return Finding("time step", text, timestep_fs, largest, graded(certain))
