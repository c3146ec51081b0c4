"""Dropping what is kept between steps, so that restarts repeat a run bit for bit."""

from __future__ import annotations

import contextlib

import openmm
import openmm.app as app
import openmm.unit as unit

from ...forces.live import forget_lists

#: Evaluations after which TorchScript has optimised a model, its derivatives included, and rounds as it goes on to.
_SETTLED = 3
#: Farther than any skin.
_AWAY_NM = 20.0
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


def likeness(context: openmm.Context) -> str:
    """How alike a run that goes on and one that was never stopped are, for the run's log.

    Parameters
    ----------
    context : openmm.Context
        Of the run.

    Returns
    -------
    str
    """
    if repeats_itself(context):
        return "bit for bit as if it had not stopped"
    names = [type(force).__name__ for force in context.getSystem().getForces()]
    random = [name for name in names if name.endswith(_RANDOM)]
    if random:
        return f"as a run of the same kind, not the same steps: no checkpoint holds the random numbers of {random[0]}"
    return (
        "not bit for bit: sums on this platform have no fixed order, so that positions differ by some 1e-7 nm within "
        "0.15 ps and by more later (--platform Reference, or CPU with --threads 1, repeats itself)"
    )


def drop_lists(simulation: app.Simulation) -> None:
    """Make neighbour lists, and with them the order of all sums, depend on the present positions alone.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        At a whole step, its state just written down.
    """
    forget_lists()
    context = simulation.context
    if repeats_itself(context):
        context.reinitialize(preserveState=True)
        if any(type(force) is openmm.Force for force in context.getSystem().getForces()):
            _away_and_back(context)


def _away_and_back(context: openmm.Context) -> None:
    """Let a plugin's force, whose list nobody else can reach, make a new one: all atoms leave it and come back."""
    before = context.createCheckpoint()
    here = context.getState(positions=True).getPositions(asNumpy=True)
    for positions in (here + _AWAY_NM * unit.nanometer, here):
        context.setPositions(positions)
        context.getState(energy=True)
    # Velocities, and the random numbers that a CustomIntegrator draws for the question.
    context.loadCheckpoint(before)


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
