"""What a run leaves behind when it ends: final structure, summary, tables, pictures."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import openmm

from ...choices import DRIVES
from ...distinct_frames import frame_count
from ...models import locate
from ...units import NS_PER_FS, SECONDS_PER_DAY
from ..model_facts import installed_versions
from . import run_analysis, trajectory_files
from .integrators import thermostat_rate
from .md_system import Setup
from .run_config import RunConfig
from .run_folder import PRODUCTION, RunFolder
from .watch.energy_checks import mean_temperature
from .watch.finding import CERTAINTY, NOTE, SUSPICION, Record

logger = logging.getLogger(__name__)

#: Without a thermostat the mean temperature is called another one from this part on.
_OTHER_TEMPERATURE = 0.1


class Finished(NamedTuple):
    """How far a run came in this process."""

    final: openmm.State  #: positions, velocities and box at the end, molecules in the box
    steps: int = 0  #: production steps done now
    seconds: float = 0.0  #: time they took
    stopped: str | None = None  #: why the watch ended it
    produced: bool = True  #: whether production had begun


def finish(
    config: RunConfig, setup: Setup, folder: RunFolder, done: Finished, record: Record, interrupted: bool
) -> dict[str, Any]:
    """Write the final structure, the summary, and then tables and pictures.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What was simulated.
    folder : RunFolder
        Where the run wrote.
    done : Finished
        What was done.
    record : Record
        What the watch found.
    interrupted : bool
        Whether a signal ended the run.

    Returns
    -------
    dict
        What is in ``summary.json``.
    """
    topology = setup.structure.topology
    for path in (folder.final_pdb, folder.final_cif):
        folder.write_structure(path, topology, done.final.getPositions(), done.final.getPeriodicBoxVectors())
    folder.write_text(folder.final_state, openmm.XmlSerializer.serialize(done.final))
    log = run_analysis.read_log(folder.log) if folder.log.exists() else {}
    summary = _summary(config, setup, folder, done, log)
    summary["interrupted"] = interrupted
    if setup.ranks is not None:
        summary["ranks"] = setup.ranks.summary()
    if setup.asked is not None:
        summary["committee"] = _of_committee(config, folder)
    _judge_temperature(config, summary, record)
    record.save()
    summary["suspicions"] = record.of_level(SUSPICION, CERTAINTY)
    summary["notes"] = [found["line"] for found in record.of_level(NOTE)] + summary["notes"]
    # Before whatever may fail.
    folder.write_json(folder.summary, summary)
    summary["pictures"] = _draw(config, setup, folder, log, record)
    folder.write_json(folder.summary, summary)
    return summary


def _summary(config: RunConfig, setup: Setup, folder: RunFolder, done: Finished, log: dict[str, Any]) -> dict[str, Any]:
    n_atoms = setup.structure.topology.getNumAtoms()
    total = done.final.getStepCount() if done.produced else 0
    time_ps = total * config.timestep * 1e-3
    means = run_analysis.averages(log, thermostat_rate(config))
    drift = run_analysis.energy_drift(log, n_atoms) if config.ensemble == "nve" else None
    return {
        "ensemble": config.ensemble,
        "steps": total,
        "time_ps": time_ps,
        "interrupted": False,
        "stopped": done.stopped,
        "atoms": n_atoms,
        "molecules": setup.molecules.count,
        "model": config.model,
        "structure": config.structure,
        "frames": trajectory_files.count_frames(folder.trajectory(config.trajectory)),
        "wrap": config.wrap if setup.structure.box_nm is not None else "not periodic",
        "seconds": done.seconds,
        "ns_per_day": (
            done.steps * config.timestep * NS_PER_FS / done.seconds * SECONDS_PER_DAY if done.steps else None
        ),
        "averages": means,
        "drift_kj_per_mol_per_atom_per_ns": drift,
        "versions": installed_versions(),
        "notes": run_analysis.too_short(means, time_ps),
        "pictures": [],
    }


def _of_committee(config: RunConfig, folder: RunFolder) -> dict[str, Any]:
    """How far the models of a committee were from each other."""
    table = run_analysis.read_log(folder.deviation) if folder.deviation.exists() else {}
    deviations = table.get("deviation_ev_per_angstrom", ())
    largest = int(np.argmax(deviations)) if len(deviations) else None
    bias = {}
    if config.committee_bias is not None and len(deviations):
        added = np.asarray(table["bias_ev"])
        bias["bias"] = {
            "acting": float((added > 0).mean()), "mean_ev": float(added.mean()), "largest_ev": float(added.max())
        }  # fmt: skip
    return {
        "models": [file.path for file in locate(config.declared_model, config.trusted).files],
        "drive": config.drive or DRIVES[0],
        "looks": len(deviations),
        "largest_deviation_ev_per_angstrom": None if largest is None else float(deviations[largest]),
        "at_step": None if largest is None else int(table["step"][largest]),
        "mean_deviation_ev_per_angstrom": float(np.mean(deviations)) if len(deviations) else None,
        "frames_selected": frame_count(folder.selected),
        **bias,
    }


def _judge_temperature(config: RunConfig, summary: dict[str, Any], record: Record) -> None:
    """The mean temperature against the one asked for."""
    found = summary["averages"].get("temperature_k")
    if found is None:
        return
    mean, asked = found["mean"], config.temperature
    if config.ensemble == "nve":
        if abs(mean - asked) > max(_OTHER_TEMPERATURE * asked, 3 * found["error"]):
            summary["notes"].append(
                f"the run went at {mean:.0f} K, and {asked:g} K was asked for: without a thermostat the temperature "
                "follows from the start, so equilibrate longer"
            )
        return
    wrong = mean_temperature(mean, found["error"], found["independent_samples"], asked)
    if wrong is not None and record.add(wrong, PRODUCTION, summary["steps"]):
        logger.warning("%s", record.line_of(wrong.kind))


def _draw(config: RunConfig, setup: Setup, folder: RunFolder, log: dict, record: Record) -> list[str]:
    """Names of the pictures drawn; one that fails costs a warning, not the run."""
    drawn = []
    for draw in (_draw_energies, _draw_rdfs, _draw_deviation):
        try:
            drawn += draw(config, setup, folder, log, record)
        except Exception as error:
            logger.warning("a picture could not be drawn: %s: %s", type(error).__name__, error)
    return drawn


def _draw_energies(config: RunConfig, setup: Setup, folder: RunFolder, log: dict, record: Record) -> list[str]:
    from . import run_pictures

    if len(log.get("time_ps", ())) < 2:
        return []
    title = f"{config.ensemble.upper()}, {config.timestep:g} fs"
    target = None if config.ensemble == "nve" else config.temperature
    step_ps = config.timestep * 1e-3
    marks = [
        (found["first_step"] * step_ps if found["stage"] == PRODUCTION else 0.0, found["kind"])
        for found in record.of_level(SUSPICION, CERTAINTY)
    ]
    run_pictures.draw_energies(log, folder.energy_picture, title, target, marks)
    return [folder.energy_picture.name]


def _draw_rdfs(config: RunConfig, setup: Setup, folder: RunFolder, log: dict, record: Record) -> list[str]:
    from . import run_pictures
    from .rdf import compute_rdfs

    if setup.structure.box_nm is None or setup.molecules.count < 2:
        return []
    table = compute_rdfs(folder.trajectory(config.trajectory), setup.structure.topology, setup.molecules.labels)
    if table is None:
        return []
    folder.write_text(folder.rdf_table, table.as_csv())
    run_pictures.draw_rdfs(table, folder.rdf_picture)
    return [folder.rdf_picture.name]


def _draw_deviation(config: RunConfig, setup: Setup, folder: RunFolder, log: dict, record: Record) -> list[str]:
    from . import run_pictures

    table = run_analysis.read_log(folder.deviation) if setup.asked is not None and folder.deviation.exists() else {}
    if len(table.get("time_ps", ())) < 2:
        return []
    limits = config.deviation_select, config.deviation_stop, (config.committee_bias or (None,))[0]
    run_pictures.draw_deviation(table, folder.deviation_picture, *limits)
    return [folder.deviation_picture.name]
