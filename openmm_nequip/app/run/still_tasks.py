"""Runs without dynamics: energy, forces and stress of the structure, or a geometry optimisation."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...choices import FORCE_NAME
from ...models import locate
from ...stress import StressCalculator
from ...units import resolve_units
from ..accuracy.frame_answers import load_for_frames
from ..model_facts import installed_versions
from ..single_point import SinglePoint, evaluate, read_types, write_forces
from ..structures.structure_files import Structure, read_structure
from ..typed_inputs import read_inputs
from .breakdown import broken_down
from .failures import is_not_finite
from .hybrid_system import is_hybrid
from .interrupt import StopRequest
from .md_system import Setup, has_plugin_force, make_simulation
from .run_config import RunConfig
from .run_folder import RunFolder

logger = logging.getLogger(__name__)

#: How often OpenMM's minimiser, which ends by the root mean square of the forces, is asked to go on.
_MOST_ROUNDS = 12
_TIGHTER = 0.5
#: Force group of the model where its energy is told apart.
_MODEL_GROUP = 31


class _Counter(openmm.MinimizationReporter):
    """Counts iterations, and ends a minimisation when a stop is asked for."""

    def __init__(self, stop: StopRequest) -> None:
        super().__init__()
        self._stop = stop
        self.iterations = 0

    def report(self, iteration: int, x: Any, grad: Any, args: Any) -> bool:
        """OpenMM's call after each iteration; True ends the minimisation."""
        self.iterations += 1
        return bool(self._stop)


def energy_of_structure(config: RunConfig, setup: Setup, folder: RunFolder) -> dict[str, Any]:
    """Task ``energy``: energy, forces and stress of the structure as it is, forces in ``forces.extxyz``.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is looked at.
    folder : RunFolder
        Where it is written.

    Returns
    -------
    dict
        What is in ``summary.json``.

    Raises
    ------
    ValueError, RuntimeError
        If the model cannot be used on the structure.
    """
    parts: dict[str, float] = {}
    if is_hybrid(config):
        structure, point, model = _of_hybrid(config, setup)
        parts = {"model_kj_per_mol": model, "force_field_kj_per_mol": point.energy - model}
    else:
        structure, point = _of_model(config)
    write_forces(folder.path / "forces.extxyz", structure, point)
    summary = _facts(config, setup) | point.as_json() | parts | {"forces": "forces.extxyz"}
    folder.write_json(folder.summary, summary)
    logger.info("energy %.6f kJ/mol", point.energy)
    return summary


def _of_model(config: RunConfig) -> tuple[Structure, SinglePoint]:
    """The model's own answer, in the frame of the file."""
    structure = read_structure(config.structure or "", config.box, config.frame, slabs=True)
    if not config.periodic:
        structure = replace(structure, box_nm=None, open_directions=())
    units = resolve_units(config.length_unit, config.energy_unit)
    # One evaluation is worth no compilation, and must not depend on what the cache happens to hold.
    kernels = "none" if config.kernels == "auto" else config.kernels
    source = str(locate(config.model or "", config.trusted).path)
    model = load_for_frames(source, config.device, config.compile, config.trusted, kernels, read_inputs(config.input),
                            largest=structure, units=units)  # fmt: skip
    cutoff = model.info.cutoff
    structure = structure.filled(None if cutoff is None else cutoff * units.length)
    return structure, evaluate(model, structure, units, read_types(config.types))


def _of_hybrid(config: RunConfig, setup: Setup) -> tuple[Structure, SinglePoint, float]:
    """Model and force field together, in OpenMM's frame, and the model's part of the energy in kJ/mol."""
    for force in setup.system.getForces():
        if force.getName().startswith(FORCE_NAME):
            force.setForceGroup(_MODEL_GROUP)
    simulation = make_simulation(config, setup, openmm.VerletIntegrator(config.timestep * unit.femtosecond))
    context = simulation.context
    context.setPositions(setup.structure.positions_nm * unit.nanometer)
    context.computeVirtualSites()
    alone = context.getState(energy=True, groups={_MODEL_GROUP}).getPotentialEnergy()
    model = float(alone.value_in_unit(unit.kilojoule_per_mole))
    state = context.getState(energy=True, forces=True, positions=True, velocities=True)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    stress = None
    if setup.structure.box_nm is not None:
        stress = StressCalculator(setup.system).compute(state, dict(context.getParameters()), True).potential
    return setup.structure, SinglePoint(float(energy), np.asarray(forces), None, stress), model


def optimize_structure(config: RunConfig, setup: Setup, folder: RunFolder, stop: StopRequest) -> dict[str, Any]:
    """Task ``minimize``: L-BFGS until no force on an atom is larger than ``force_tolerance``.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is optimised, its box fixed.
    folder : RunFolder
        Where final structures and the summary go.
    stop : StopRequest
        Ends it early.

    Returns
    -------
    dict
        What is in ``summary.json``.

    Raises
    ------
    SimulationError
        If the model does not bear the structure.
    """
    simulation = make_simulation(config, setup, openmm.VerletIntegrator(config.timestep * unit.femtosecond))
    context = simulation.context
    context.setPositions(setup.structure.positions_nm * unit.nanometer)
    before = context.getState(positions=True)
    try:
        start = _energy_and_force(context)
        iterations = _descend(simulation, config, stop)
        end = _energy_and_force(context)
    except openmm.OpenMMException as error:
        if not is_not_finite(error):
            raise
        raise broken_down(error, simulation.topology, folder, before, None) from error
    found = {
        "energy_at_start_kj_per_mol": start[0], "energy_kj_per_mol": end[0],
        "largest_force_at_start_kj_per_mol_nm": start[1], "largest_force_kj_per_mol_nm": end[1],
        "iterations": iterations, "converged": end[1] <= config.force_tolerance, "interrupted": bool(stop),
    }  # fmt: skip
    summary = _facts(config, setup) | found
    if not summary["converged"]:
        words = (
            f"not converged: the largest force is {end[1]:.3g} kJ/mol/nm after the iterations that were allowed "
            f"(iterations = {config.iterations}), and {config.force_tolerance:g} was asked for"
        )
        logger.warning("%s", words)
        summary["notes"].append(words)
    final = context.getState(positions=True, velocities=True, enforcePeriodicBox=setup.structure.box_nm is not None)
    for path in (folder.final_pdb, folder.final_cif):
        folder.write_structure(path, setup.structure.topology, final.getPositions(), final.getPeriodicBoxVectors())
    folder.write_text(folder.final_state, openmm.XmlSerializer.serialize(final))
    folder.write_json(folder.summary, summary)
    return summary


def _descend(simulation: app.Simulation, config: RunConfig, stop: StopRequest) -> int | None:
    """Minimise in rounds, each with a smaller mean force, until the largest one is small; iterations where known."""
    # A reporter in Python holds the interpreter's lock, which forces of plugins need.
    counter = None if has_plugin_force(simulation.system) else _Counter(stop)
    tolerance = config.force_tolerance / math.sqrt(3)
    for _ in range(_MOST_ROUNDS):
        done = counter.iterations if counter is not None else 0
        simulation.minimizeEnergy(tolerance, config.iterations - done, counter)
        if stop or _energy_and_force(simulation.context)[1] <= config.force_tolerance:
            break
        if counter is None or counter.iterations >= config.iterations:
            break
        tolerance *= _TIGHTER
    return None if counter is None else counter.iterations


def _energy_and_force(context: openmm.Context) -> tuple[float, float]:
    """Potential energy in kJ/mol and the largest force on an atom that can move, in kJ/mol/nm."""
    state = context.getState(energy=True, forces=True)
    forces = np.asarray(state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
    system = context.getSystem()
    moving = [i for i in range(system.getNumParticles()) if system.getParticleMass(i)._value > 0]
    largest = np.linalg.norm(forces[moving], axis=1).max() if moving else 0.0
    return float(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)), float(largest)


def _facts(config: RunConfig, setup: Setup) -> dict[str, Any]:
    return {
        "task": config.task,
        "steps": 0,
        "atoms": setup.structure.topology.getNumAtoms(),
        "molecules": setup.molecules.count,
        "periodic": setup.structure.box_nm is not None,
        "model": config.model,
        "structure": config.structure,
        "interrupted": False,
        "versions": installed_versions(),
        "notes": [],
    }
