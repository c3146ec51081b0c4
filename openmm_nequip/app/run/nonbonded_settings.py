"""Non-bonded settings of a force field: those of the run, or what suits the box."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from .run_config import RunConfig

#: Largest non-bonded cutoff where none is asked for; smaller boxes get half their width, less what a barostat may take.
CUTOFF_NM = 0.9
_HALF_WIDTH = 0.45
_CONSTRAINTS = {"none": None, "h-bonds": app.HBonds, "all-bonds": app.AllBonds, "h-angles": app.HAngles}
#: Relative permittivity that stands for an infinite one.
_CONDUCTOR = 1e12
#: Sizes of meshes have no other prime factors.
_PRIMES = (2, 3, 5, 7)


def creation_settings(config: RunConfig, box_nm: np.ndarray | None) -> dict[str, Any]:
    """Keywords that OpenMM's readers of force fields have for ``createSystem``.

    Parameters
    ----------
    config : RunConfig
        Settings.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the cutoff is more than half the width of the box, or the method needs a box and there is none.
    """
    constraints = {"constraints": _CONSTRAINTS[config.constraints], "rigidWater": config.rigid_water}
    method, cutoff = config.nonbonded, config.cutoff
    if method == "auto":
        method = "no-cutoff" if box_nm is None else "pme"
    if method == "no-cutoff":
        if box_nm is not None:
            raise ValueError("nonbonded = no-cutoff: the structure is periodic; choose pme or reaction-field, or give "
                             "--no-periodic")  # fmt: skip
        return {"nonbondedMethod": app.NoCutoff, **constraints}
    if box_nm is None:
        if method == "pme":
            raise ValueError("nonbonded = pme: the structure has no box; choose no-cutoff, or give --box")
        kind = app.CutoffNonPeriodic
        cutoff = CUTOFF_NM if cutoff is None else cutoff
    else:
        kind = app.PME if method == "pme" else app.CutoffPeriodic
        narrow = float(np.diag(box_nm).min())
        cutoff = min(CUTOFF_NM, _HALF_WIDTH * narrow) if cutoff is None else cutoff
        if cutoff > 0.5 * narrow:
            raise ValueError(
                f"cutoff = {cutoff:g} nm is more than half the width of the box, {0.5 * narrow:.4g} nm: atoms would "
                "see several images of each other; give a smaller --cutoff or a larger box"
            )
    return {"nonbondedMethod": kind, "nonbondedCutoff": cutoff * unit.nanometer, **constraints}


def finish_system(config: RunConfig, system: openmm.System, box_nm: np.ndarray | None) -> None:
    """Set what ``createSystem`` of the readers has no keywords for, in place.

    Parameters
    ----------
    config : RunConfig
        Settings.
    system : openmm.System
        As the reader made it.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Raises
    ------
    ValueError
        If the switching distance is not below the cutoff, or the dispersion correction does not know the switch.
    """
    for force in system.getForces():
        if isinstance(force, (openmm.NonbondedForce, openmm.CustomNonbondedForce)):
            _set_lennard_jones(config, force)
        if isinstance(force, openmm.NonbondedForce):
            _set_electrostatics(config, force, box_nm)
    if config.switch is not None and config.switch_function == "force":
        if config.dispersion_correction:
            raise ValueError(
                "dispersion-correction = true with switch-function = force: OpenMM's correction knows the potential "
                "switch only; choose switch-function = potential, or no correction"
            )
        switch_forces(system, config.switch)
    if config.com_interval is not None:
        for index in reversed(range(system.getNumForces())):
            if isinstance(system.getForce(index), openmm.CMMotionRemover):
                system.removeForce(index)
        if config.com_interval:
            system.addForce(openmm.CMMotionRemover(config.com_interval))


def _set_lennard_jones(config: RunConfig, force: Any) -> None:
    if config.switch is not None and force.getNonbondedMethod() != force.NoCutoff:
        cutoff = force.getCutoffDistance().value_in_unit(unit.nanometer)
        if config.switch >= cutoff:
            raise ValueError(f"switch = {config.switch:g} nm is not below the cutoff of {cutoff:g} nm")
        if config.switch_function == "potential":
            force.setUseSwitchingFunction(True)
            force.setSwitchingDistance(config.switch)
    if config.dispersion_correction is not None:
        if isinstance(force, openmm.NonbondedForce):
            force.setUseDispersionCorrection(config.dispersion_correction)
        else:
            force.setUseLongRangeCorrection(config.dispersion_correction)


def _set_electrostatics(config: RunConfig, force: openmm.NonbondedForce, box_nm: np.ndarray | None) -> None:
    if config.dielectric is not None:
        force.setReactionFieldDielectric(config.dielectric or _CONDUCTOR)
    if config.ewald_alpha is not None and config.pme_spacing is not None and box_nm is not None:
        edges = np.linalg.norm(box_nm, axis=1)
        force.setPMEParameters(config.ewald_alpha, *(_mesh(edge / config.pme_spacing) for edge in edges))


def _mesh(least: float) -> int:
    """The smallest number of mesh points, not below this, that has small prime factors only."""
    count = max(6, math.ceil(least - 1e-9))
    while True:
        rest = count
        for prime in _PRIMES:
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return count
        count += 1


def switch_forces(system: openmm.System, start_nm: float) -> None:
    """Let Lennard-Jones forces go to zero smoothly between a distance and the cutoff, as GROMACS' force-switch does.

    Each power of the distance gets a polynomial of its own (GROMACS' reference manual, modified non-bonded
    interactions). 1-4 pairs stay as they are.

    Parameters
    ----------
    system : openmm.System
        Changed in place: the Lennard-Jones part of a NonbondedForce moves into a CustomNonbondedForce.
    start_nm : float
        Where the switching begins, nm.

    Raises
    ------
    ValueError
        For a CustomNonbondedForce that is no sum of r^-12 and r^-6.
    """
    for force in list(system.getForces()):
        if isinstance(force, openmm.CustomNonbondedForce):
            _switch_custom(force, start_nm)
        elif isinstance(force, openmm.NonbondedForce) and any(
            force.getParticleParameters(i)[2]._value for i in range(force.getNumParticles())
        ):
            system.addForce(_without_lennard_jones(force, start_nm))


#: Lennard-Jones expressions of OpenMM's reader of GROMACS topologies, and the same with powers that can be replaced.
_KNOWN = {
    "A1*A2/r^12-C1*C2/r^6": "A1*A2*p12-C1*C2*p6",
    "(a/r6)^2-b/r6; r6=r^6; a=acoef(type1, type2); b=bcoef(type1, type2)":
        "a^2*p12-b*p6; a=acoef(type1, type2); b=bcoef(type1, type2)",
}  # fmt: skip


def _switch_custom(force: openmm.CustomNonbondedForce, start: float) -> None:
    written = _KNOWN.get(force.getEnergyFunction())
    if written is None:
        raise ValueError(
            f"switch-function = force: the energy {force.getEnergyFunction()!r} of {force.getName()} is not known to "
            "be a Lennard-Jones one; choose potential"
        )
    cutoff = force.getCutoffDistance().value_in_unit(unit.nanometer)
    force.setUseLongRangeCorrection(False)
    force.setEnergyFunction(f"{written}; {_power(12, start, cutoff)}; {_power(6, start, cutoff)}")


def _without_lennard_jones(force: openmm.NonbondedForce, start: float) -> openmm.CustomNonbondedForce:
    """Take the Lennard-Jones part of all pairs without an exception out of a force."""
    cutoff = force.getCutoffDistance().value_in_unit(unit.nanometer)
    new = openmm.CustomNonbondedForce(
        "4*epsilon*(sigma^12*p12-sigma^6*p6); sigma=0.5*(sigma1+sigma2); epsilon=sqrt(epsilon1*epsilon2); "
        f"{_power(12, start, cutoff)}; {_power(6, start, cutoff)}"
    )
    new.setName("LennardJonesForce")
    for name in ("sigma", "epsilon"):
        new.addPerParticleParameter(name)
    for i in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(i)
        new.addParticle([sigma, epsilon])
        force.setParticleParameters(i, charge, sigma, 0.0)
    for index in range(force.getNumExceptions()):
        i, j, *_ = force.getExceptionParameters(index)
        new.addExclusion(i, j)
    periodic = force.usesPeriodicBoundaryConditions()
    new.setNonbondedMethod(new.CutoffPeriodic if periodic else new.CutoffNonPeriodic)
    new.setCutoffDistance(cutoff)
    force.setUseDispersionCorrection(False)
    return new


def _power(power: int, start: float, cutoff: float) -> str:
    """The definition of ``p6`` or ``p12``: r^-power with its force switched off between two distances."""
    width = cutoff - start
    scale = power / cutoff ** (power + 2)
    a = -scale * ((power + 4) * cutoff - (power + 1) * start) / width**2
    b = scale * ((power + 3) * cutoff - (power + 1) * start) / width**3
    c = cutoff**-power - a / 3 * width**3 - b / 4 * width**4
    d = f"step(r-{start!r})*(r-{start!r})"
    return f"p{power}=1/r^{power}-({a / 3!r})*d{power}^3-({b / 4!r})*d{power}^4-({c!r}); d{power}={d}"
