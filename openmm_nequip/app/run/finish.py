"""What a run leaves behind when it ends: final structure, summary, pictures."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import openmm

from ..model_facts import installed_versions
from . import run_analysis, run_pictures, trajectory_files
from .md_system import Setup
from .run_config import RunConfig
from .run_folder import RunFolder

logger = logging.getLogger(__name__)


class Production(NamedTuple):
    """What production came to in this process."""

    steps: int  #: steps done now
    seconds: float  #: time they took
    final: openmm.State  #: positions, velocities and box at the end, molecules in the box


def finish(
    config: RunConfig, setup: Setup, folder: RunFolder, done: Production, interrupted: bool
) -> dict[str, Any]:
    """Write the final structure, the summary and the pictures.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What was simulated.
    folder : RunFolder
        Where the run wrote.
    done : Production
        What was done.
    interrupted : bool
        Whether a signal ended the run.

    Returns
    -------
    dict
        What is in ``summary.json``.
    """
    final = done.final
    topology = setup.structure.topology
    for path in (folder.final_pdb, folder.final_cif):
        folder.write_structure(path, topology, final.getPositions(), final.getPeriodicBoxVectors())
    folder.write_text(folder.final_state, openmm.XmlSerializer.serialize(final))
    log = run_analysis.read_log(folder.log) if folder.log.exists() else {}
    n_atoms = topology.getNumAtoms()
    total = final.getStepCount()
    drift = run_analysis.energy_drift(log, n_atoms) if config.ensemble == "nve" else None
    summary: dict[str, Any] = {
        "ensemble": config.ensemble,
        "steps": total,
        "time_ps": total * config.timestep * 1e-3,
        "interrupted": interrupted,
        "atoms": n_atoms,
        "molecules": setup.molecules.count,
        "model": config.model,
        "structure": config.structure,
        "frames": trajectory_files.count_frames(folder.trajectory(config.trajectory)),
        "seconds": done.seconds,
        "ns_per_day": done.steps * config.timestep * 1e-6 / done.seconds * 86400 if done.steps else None,
        "averages": run_analysis.averages(log),
        "drift_kj_per_mol_per_atom_per_ns": drift,
        "versions": installed_versions(),
    }
    summary["pictures"] = _draw(config, setup, folder, log)
    folder.write_json(folder.summary, summary)
    return summary


def _draw(config: RunConfig, setup: Setup, folder: RunFolder, log: dict) -> list[str]:
    """Names of the pictures drawn; a picture that fails costs a warning, not the run."""
    drawn = []
    try:
        if len(log.get("time_ps", ())) > 1:
            title = f"{config.ensemble.upper()}, {config.timestep:g} fs"
            target = None if config.ensemble == "nve" else config.temperature
            run_pictures.draw_energies(log, folder.energy_picture, title, target)
            drawn.append(folder.energy_picture.name)
        path = folder.trajectory(config.trajectory)
        if setup.structure.box_nm is not None and setup.molecules.count > 1 and trajectory_files.count_frames(path):
            frames = run_pictures.load_trajectory(path, setup.structure.topology)
            if run_pictures.draw_rdfs(frames, setup.molecules.labels, folder.rdf_picture):
                drawn.append(folder.rdf_picture.name)
    except Exception as error:
        logger.warning("a picture could not be drawn: %s: %s", type(error).__name__, error)
    return drawn
