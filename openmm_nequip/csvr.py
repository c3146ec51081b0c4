"""Canonical sampling through velocity rescaling, exactly: what CP2K calls CSVR and GROMACS v-rescale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import openmm
import openmm.unit as unit

from .reporters import degrees_of_freedom
from .units import GAS_CONSTANT

#: A kinetic energy below this, in kJ/mol, is none: nothing can be rescaled.
_NO_ENERGY = 1e-30


def csvr_integrator(
    system: openmm.System, temperature: Any, time_constant: Any, step: Any, seed: int = 0
) -> openmm.CustomIntegrator:
    """Velocity Verlet whose kinetic energy is a canonical one: stochastic velocity rescaling, exact for any step.

    After each step all velocities are multiplied by one random factor, drawn so that the kinetic energy follows its
    stochastic differential equation without a discretisation error. Constraints are kept, and the degrees of freedom
    are those that carry kinetic energy: without constraints, massless particles, and the centre of mass where the
    System has a CMMotionRemover. The integrator is plain OpenMM: it can be serialised, and a checkpoint holds all of
    its state. The step may be changed by ``setStepSize``, temperature (as ``kT`` in kJ/mol) and time constant (``tau``
    in ps) by ``setGlobalVariableByName``.

    Parameters
    ----------
    system : openmm.System
        What will be simulated; constraints, and a CMMotionRemover, must be in it already.
    temperature : float or openmm.unit.Quantity
        K if a plain number.
    time_constant : float or openmm.unit.Quantity
        Of the relaxation of the kinetic energy; ps if a plain number. CP2K's TIMECON, GROMACS' tau-t.
    step : float or openmm.unit.Quantity
        ps if a plain number.
    seed : int
        Of the random numbers; 0 for a random one.

    Returns
    -------
    openmm.CustomIntegrator

    Raises
    ------
    ValueError
        If nothing can move, or a number is not positive and finite.

    References
    ----------
    G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), https://doi.org/10.1063/1.2408420,
    equations A7 and A8.
    """
    kelvin = _positive("temperature", temperature, unit.kelvin)
    tau = _positive("time_constant", time_constant, unit.picosecond)
    dt = _positive("step", step, unit.picosecond)
    degrees = degrees_of_freedom(system)
    if degrees == 0:
        raise ValueError("no particle of the System can move: there is no kinetic energy to rescale")
    integrator = openmm.CustomIntegrator(dt)
    integrator.setRandomNumberSeed(seed)
    for name, value in (("kT", GAS_CONSTANT * kelvin), ("tau", tau), ("kept", 0.0), ("share", 0.0), ("first", 0.0)):
        integrator.addGlobalVariable(name, value)
    for name in ("others", "kinetic", "factor"):
        integrator.addGlobalVariable(name, 0.0)
    integrator.addPerDofVariable("drawn", 0)
    integrator.addPerDofVariable("before", 0)
    integrator.setPerDofVariableByName("drawn", _drawn(system, degrees - 1))
    _add_verlet(integrator)
    _add_rescaling(integrator)
    return integrator


def _add_verlet(integrator: openmm.CustomIntegrator) -> None:
    """Velocity Verlet with constraints."""
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("before", "x")
    integrator.addConstrainPositions()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m+(x-before)/dt")
    integrator.addConstrainVelocities()


def _add_rescaling(integrator: openmm.CustomIntegrator) -> None:
    """Multiply velocities by the factor of Bussi, Donadio and Parrinello, its sign included."""
    integrator.addComputeGlobal("kept", "exp(-dt/tau)")
    integrator.addComputeGlobal("first", "gaussian")
    # The sum of squares of all other degrees of freedom is drawn as what it is: exact for any number of them.
    integrator.addComputeSum("others", "drawn*gaussian^2")
    integrator.addComputeSum("kinetic", "0.5*m*v*v")
    integrator.addComputeGlobal("share", f"(1-kept)*kT/(2*max(kinetic, {_NO_ENERGY}))")
    integrator.addComputeGlobal(
        "factor",
        "sqrt(kept+share*(first^2+others)+2*first*sqrt(kept*share))*(2*step(first+sqrt(kept/share))-1)",
    )
    integrator.addComputePerDof("v", "v*factor")


def _drawn(system: openmm.System, count: int) -> list[openmm.Vec3]:
    """A mask with so many ones, on particles with mass: there a sum draws its gaussians."""
    massive = [i for i in range(system.getNumParticles()) if system.getParticleMass(i)._value > 0]
    mask = np.zeros((system.getNumParticles(), 3))
    ones = np.zeros(3 * len(massive))
    ones[:count] = 1
    mask[massive] = ones.reshape(-1, 3)
    return [openmm.Vec3(*row) for row in mask.tolist()]


def _positive(name: str, value: Any, base: Any) -> float:
    try:
        number = float(value.value_in_unit(base) if unit.is_quantity(value) else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} is no number in {base} and no quantity of that kind: {error}") from error
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name}={value!r}: give a positive, finite number of {base}")
    return number
