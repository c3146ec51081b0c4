"""Dropping what is kept between steps, so that restarts repeat a run bit for bit."""

from __future__ import annotations

import contextlib

import openmm
import openmm.app as app

from ...forces.live import forget_lists

#: Evaluations after which TorchScript has optimised a model, its derivatives included, and rounds as it goes on to.
_SETTLED = 3
#: Classes of force that draw random numbers.
_RANDOM = ("Barostat", "AndersenThermostat")


def repeats_itself(context: openmm.Context) -> bool:
    """Whether sums of a Context have a fixed order, so that equal steps give equal bits.

    That is so on the Reference platform, and on the CPU platform with ``DeterministicForces``. Where barostats or other
    forces draw random numbers, no checkpoint holds them, and a Context made anew would draw the same ones again.
    """
    platform = context.getPlatform()
    if any(name.endswith(_RANDOM) for name in (type(force).__name__ for force in context.getSystem().getForces())):
        return False
    if platform.getName() == "CPU":
        return str(platform.getPropertyValue(context, "DeterministicForces")) == "true"
    return bool(platform.getName() == "Reference")


def drop_lists(simulation: app.Simulation) -> None:
    """Make neighbour lists, and with them the order of all sums, depend on the present positions alone.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        At a whole step, its state just written down.
    """
    forget_lists()
    if repeats_itself(simulation.context):
        simulation.context.reinitialize(preserveState=True)


def settle(simulation: app.Simulation) -> None:
    """Bring a model that was just loaded to where that of a running simulation is: TorchScript's first calls round
    differently.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        With the positions from which it goes on.
    """
    if repeats_itself(simulation.context):
        with contextlib.suppress(openmm.OpenMMException):  # told of at the first step
            for _ in range(_SETTLED):
                simulation.context.getState(energy=True, forces=True)
