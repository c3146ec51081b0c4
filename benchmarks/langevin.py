"""Steps of a System, to be timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openmm


def stepper(
    system: openmm.System, positions_nm: np.ndarray, platform: str = "Reference", threads: int | None = None
) -> Callable[[], None]:
    """One Langevin step of 0.5 fs at 300 K a call.

    Parameters
    ----------
    system : openmm.System
        What is simulated.
    positions_nm : numpy.ndarray, (n_particles, 3)
        Start, nm.
    platform : str
        Of OpenMM.
    threads : int, optional
        Of the CPU platform; OpenMM's default otherwise.
    """
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    properties = {} if threads is None else {"Threads": str(threads)}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(300, 1)
    integrator.step(5)

    def call():
        integrator.step(1)

    call.context = context  # an integrator works only while its Context lives
    return call
