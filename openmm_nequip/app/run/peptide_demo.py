"""The demonstration: the shipped model on a peptide in water, from files to a picture in under three minutes."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...choices import FORCE_NAME
from ...models import load_model
from ...progress import progress_bar
from ...units import Units
from ..single_point import evaluate
from ..structures.structure_files import Structure, read_structure
from . import run_pictures
from .hybrid_system import force_field_system
from .md_run import Outcome, start_run
from .md_system import make_integrator
from .run_analysis import read_log
from .run_config import RunConfig, make_config
from .run_folder import RunFolder
from .trajectory_reading import load_trajectory

logger = logging.getLogger(__name__)

DEFAULT_OUTPUT = "demo-output"
DEFAULT_STEPS = 6000
MODEL = "alanine-dipeptide.nequip.zip"
STRUCTURE = "alanine-dipeptide.pdb"
RAMACHANDRAN = "ramachandran.png"
MM_TRAJECTORY = "mm.dcd"
PEPTIDE = "resname ACE ALA NME"
FORCEFIELD = ["amber14-all.xml", "amber14/tip3p.xml"]
#: Water around the peptide: enough for a small box, little enough for a laptop.
PADDING_NM = 0.7
REPORT_INTERVAL = 10
#: Steps before the force field's own run is compared.
_FORCE_FIELD_EQUILIBRATION = 1000


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
    """Simulate alanine dipeptide in water, the peptide by the shipped model, and once more by the force field alone.

    Parameters
    ----------
    output : str
        Folder to write to.
    steps : int
        Steps of 1 fs of each run.
    seed : int
        Seed of velocities and thermostat.

    Returns
    -------
    Outcome
        The hybrid run's, with the keys ``openmm_energy_kj_per_mol`` and ``direct_energy_kj_per_mol`` (of the peptide in
        the last frame), ``largest_force_difference_kj_per_mol_nm`` and ``mm_trajectory`` added.
    """
    config = make_config(
        {
            "model": str(shipped(MODEL)),
            "structure": str(shipped(STRUCTURE)),
            "output": output,
            "ml_atoms": PEPTIDE,
            "forcefield": FORCEFIELD,
            "solvate": PADDING_NM,
            "ensemble": "nvt",
            "temperature": 300.0,
            "timestep": 1.0,
            "steps": steps,
            "report_interval": REPORT_INTERVAL,
            "seed": seed,
            # A molecule this small is fastest on one thread, and the run then shares a busy machine well.
            "threads": 1,
        }
    )
    outcome = start_run(config)
    if outcome.signal is not None or outcome.summary["stopped"]:
        return outcome
    folder = RunFolder(output)
    structure = read_structure(folder.start)
    summary = outcome.summary | _compare(config, structure, folder)
    times = read_log(folder.log).get("time_ps", ())
    if len(times):
        mm_frames = _run_force_field(config, structure, folder)
        hybrid = load_trajectory(folder.trajectory(config.trajectory), structure.topology)
        maps = {
            "peptide by the NequIP model, water TIP3P": _torsions(hybrid),
            "everything by the force field (amber14)": _torsions(mm_frames),
        }
        run_pictures.draw_ramachandran(maps, np.asarray(times), folder.path / RAMACHANDRAN)
        summary["pictures"] = [*summary["pictures"], RAMACHANDRAN]
        summary["mm_trajectory"] = MM_TRAJECTORY
    folder.write_json(folder.summary, summary)
    return Outcome(summary, None)


def _torsions(frames: Any) -> tuple[np.ndarray, np.ndarray]:
    """φ and ψ of the only residue that has both, radians."""
    import mdtraj

    return mdtraj.compute_phi(frames)[1][:, 0], mdtraj.compute_psi(frames)[1][:, 0]


def _energy(system: openmm.System, state: openmm.State) -> tuple[float, np.ndarray]:
    """Energy (kJ/mol) and forces (n, 3) (kJ/mol/nm) of a System in a State, in double precision."""
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
    context.setPositions(state.getPositions())
    found = context.getState(energy=True, forces=True)
    forces = found.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return found.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), np.asarray(forces)


def _model_force(system: openmm.System) -> int:
    """Index of the model's force; a TorchForce read from XML has lost its name, but is the only plugin's force."""
    forces = [system.getForce(i) for i in range(system.getNumForces())]
    return next(i for i, force in enumerate(forces) if force.getName() == FORCE_NAME or type(force) is openmm.Force)


def _compare(config: RunConfig, structure: Structure, folder: RunFolder) -> dict[str, Any]:
    """The peptide in the last frame: the run's System less the same without its model, and the model uncompiled."""
    state = openmm.XmlSerializer.deserialize(folder.final_state.read_text(encoding="utf-8"))
    system = openmm.XmlSerializer.deserialize(folder.system.read_text(encoding="utf-8"))
    energy, forces = _energy(system, state)
    system.removeForce(_model_force(system))
    rest, rest_forces = _energy(system, state)
    atoms = [atom.index for atom in structure.topology.atoms() if atom.residue.name in ("ACE", "ALA", "NME")]
    positions = np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))[atoms]
    peptide = read_structure(config.structure or "").topology
    box = np.array([vector.value_in_unit(unit.nanometer) for vector in state.getPeriodicBoxVectors()])
    alone = replace(structure, topology=peptide, positions_nm=positions, box_nm=box)
    direct = evaluate(load_model(config.model or "", compile=False), alone, Units())
    return {
        "openmm_energy_kj_per_mol": energy - rest,
        "direct_energy_kj_per_mol": direct.energy,
        "largest_force_difference_kj_per_mol_nm": float(np.abs((forces - rest_forces)[atoms] - direct.forces).max()),
    }


def _run_force_field(config: RunConfig, structure: Structure, folder: RunFolder) -> Any:
    """The same start, thermostat and length with the force field alone; its frames."""
    logger.info("the same with the force field alone: %d steps", config.steps)
    system = force_field_system(config, structure)
    integrator = make_integrator(config, thermostat=True)
    simulation = app.Simulation(structure.topology, system, integrator, openmm.Platform.getPlatformByName("CPU"))
    simulation.context.setPositions(structure.positions_nm * unit.nanometer)
    simulation.minimizeEnergy(maxIterations=500)
    simulation.context.setVelocitiesToTemperature(config.temperature * unit.kelvin, config.seed or 0)
    simulation.step(_FORCE_FIELD_EQUILIBRATION)
    path = folder.path / MM_TRAJECTORY
    simulation.reporters.append(app.DCDReporter(str(path), config.report_interval, enforcePeriodicBox=True))
    for _ in progress_bar(range(config.steps // config.report_interval), desc="force field", leave=False):
        simulation.step(config.report_interval)
    simulation.reporters.clear()  # closes the file
    return load_trajectory(path, structure.topology)
