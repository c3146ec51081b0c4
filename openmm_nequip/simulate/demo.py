"""The demonstration: the shipped model on the shipped molecule, from file to picture in under three minutes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import openmm.unit as unit

from ..models import load_model
from ..units import Units
from . import pictures
from .analysis import read_log
from .config import RunConfig, make_config
from .folder import RunFolder
from .run import Outcome, start_run
from .single_point import evaluate
from .structures import Structure, read_structure

DEFAULT_OUTPUT = "demo-output"
DEFAULT_STEPS = 10000
MODEL = "alanine-dipeptide.nequip.zip"
STRUCTURE = "alanine-dipeptide.pdb"
RAMACHANDRAN = "ramachandran.png"


def shipped(name: str) -> Path:
    """Path of a file that comes with the package."""
    with as_file(files("openmm_nequip.data") / name) as path:
        return path


def free_folder(output: str | None) -> str:
    """The folder to write to: the one named, else the first of demo-output, demo-output-2, ... that holds no run."""
    if output is not None:
        return output
    names = itertools.chain([DEFAULT_OUTPUT], (f"{DEFAULT_OUTPUT}-{i}" for i in itertools.count(2)))
    return next(name for name in names if not RunFolder(name).holds_run)


def run_demo(output: str, steps: int = DEFAULT_STEPS, seed: int = 1) -> Outcome:
    """Simulate alanine dipeptide at 300 K in vacuum and compare two ways to its energy.

    Parameters
    ----------
    output : str
        Folder to write to.
    steps : int
        Steps of 1 fs.
    seed : int
        Seed of velocities and thermostat.

    Returns
    -------
    Outcome
        The run's, with the keys ``openmm_energy_kj_per_mol``, ``direct_energy_kj_per_mol`` and
        ``largest_force_difference_kj_per_mol_nm`` added.
    """
    config = make_config(
        {
            "model": str(shipped(MODEL)),
            "structure": str(shipped(STRUCTURE)),
            "output": output,
            "ensemble": "nvt",
            "temperature": 300.0,
            "timestep": 1.0,
            "steps": steps,
            "equilibrate": min(500, steps),
            "report_interval": 10,
            "seed": seed,
            "threads": 1,  # a second gains nothing on 22 atoms and loses much on a busy machine
        }
    )
    outcome = start_run(config)
    if outcome.signal is not None:
        return outcome
    folder = RunFolder(output)
    structure, _ = read_structure(config.structure or "").for_dynamics()
    summary = outcome.summary | _compare(config, structure, folder)
    log = read_log(folder.log)
    if len(log.get("time_ps", ())):
        _draw_map(structure, config, folder, log["time_ps"])
        summary["pictures"] = [*summary["pictures"], RAMACHANDRAN]
    folder.write_json(folder.summary, summary)
    return Outcome(summary, None)


def _compare(config: RunConfig, structure: Structure, folder: RunFolder) -> dict[str, Any]:
    """The last frame through OpenMM, from the files of the run, and straight through nequip, uncompiled."""
    system = openmm.XmlSerializer.deserialize(folder.system.read_text(encoding="utf-8"))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001))
    context.setState(openmm.XmlSerializer.deserialize(folder.final_state.read_text(encoding="utf-8")))
    state = context.getState(energy=True, forces=True, positions=True)
    positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    model = load_model(config.model or "", compile=False)
    direct = evaluate(model, replace(structure, positions_nm=positions), Units())
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return {
        "openmm_energy_kj_per_mol": state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        "direct_energy_kj_per_mol": direct.energy,
        "largest_force_difference_kj_per_mol_nm": float(np.abs(forces - direct.forces).max()),
    }


def _draw_map(structure: Structure, config: RunConfig, folder: RunFolder, time_ps: np.ndarray) -> None:
    """Draw φ and ψ of all frames."""
    import mdtraj

    frames = pictures.load_trajectory(folder.trajectory(config.trajectory), structure.topology)
    phi = mdtraj.compute_phi(frames)[1][:, 0]
    psi = mdtraj.compute_psi(frames)[1][:, 0]
    title = f"alanine dipeptide in vacuum, {config.temperature:g} K"
    pictures.draw_ramachandran(phi, psi, time_ps, folder.path / RAMACHANDRAN, title)
