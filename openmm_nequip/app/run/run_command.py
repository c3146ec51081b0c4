"""The command ``run``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..answer import FAILED, OK, PROGRAM, SUSPICIOUS, Answer
from ..committee_option import lacking
from ..inputs.engines import add_engine_options, read_engine_input
from ..inputs.translation import Translation, python_of
from .config_file import read_toml
from .run_config import RunConfig, check_settings, make_config, option_name

logger = logging.getLogger(__name__)

DESCRIPTION = "Minimise, equilibrate and run dynamics. Everything is written to --output; Ctrl-C saves and ends."
_TYPES: dict[str, Any] = {"float": float, "floats": float, "int": int, "count": int}


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command, with an option for each setting of a run.

    Parameters
    ----------
    commands : argparse action
        From ``add_subparsers``.
    common : argparse.ArgumentParser
        The options of every command.
    """
    parser = commands.add_parser("run", parents=[common], help="molecular dynamics", description=DESCRIPTION)
    parser.add_argument("--config", metavar="FILE.toml", help="settings by the same names; the command line wins")
    parser.add_argument("--restart", action="store_true", help="go on from the last checkpoint in --output")
    parser.add_argument("--check", action="store_true", help="check model and structure first, and stop on a stop")
    add_settings(parser)
    add_engine_options(parser)
    parser.set_defaults(command=run)


def add_settings(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """An option for each setting of a run.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Gets the options; none of them has a default.
    without : sequence of str
        Settings that get none.
    """
    for setting in fields(RunConfig):
        if setting.name in without:
            continue
        facts = setting.metadata
        shown = "" if setting.default is None else f" (default: {str(setting.default).lower()})"
        more: dict[str, Any] = {"default": argparse.SUPPRESS, "help": facts["help"] + shown}
        if facts["kind"] == "bool":
            more["action"] = argparse.BooleanOptionalAction
        else:
            more |= {"type": _TYPES.get(facts["kind"], str), "metavar": facts.get("metavar")}
            more |= {"choices": facts["choices"]} if "choices" in facts else {}
        if facts["kind"] in ("floats", "strings", "paths"):
            more["nargs"] = len(facts["metavar"]) if isinstance(facts["metavar"], tuple) else "+"
        if setting.name == "input":
            more["action"] = "extend"  # also one by one
        parser.add_argument(f"--{option_name(setting.name)}", **more)


def stated_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings of the command line and of its ``--config`` file, by name; the command line wins.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of a parser with :func:`add_settings` and ``--config``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file cannot be read, or a value in it is none of its setting.
    """
    stated = {setting.name: value for setting in fields(RunConfig) if (value := getattr(arguments, setting.name, None))
              is not None}  # fmt: skip
    layers = [] if arguments.config is None else [read_toml(arguments.config)]
    for layer in layers:
        check_settings(layer)  # also those that the command line overrides
    return {key.replace("-", "_"): value for layer in [*layers, stated] for key, value in layer.items()}


def run(arguments: argparse.Namespace) -> Answer:
    """Start a run or go on with one.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Answer

    Raises
    ------
    UsageError
        If neither the command line nor the file names model, structure and output.
    ValueError, RuntimeError, ImportError, OSError
        As :func:`openmm_nequip.app.run.md_run.start_run` and its ``restart_run``.
    """
    from .md_run import restart_run, start_run

    translation = read_engine_input(arguments)
    given = stated_settings(arguments)
    if translation is not None:
        translation.override(given)
        given = translation.all_settings()
    required = ("output",) if arguments.restart else ("model", "structure", "output")
    missing = lacking(given, required)
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise UsageError(f"run needs {options} (or {', '.join(missing)} in the --config file)")
    if arguments.dry_run:
        return _dry_run(given, translation, arguments.restart)
    if arguments.restart:
        outcome = restart_run(given["output"], given)
        return run_answer(outcome.summary, outcome.signal, str(given["output"]))
    config = make_config(given)
    if translation is not None:
        _begin(translation)
    if arguments.check:
        from ..check.checking import check_run

        report = check_run(config)
        if report.level == "stop":
            return Answer(report.as_json(), str(report), FAILED)
    outcome = start_run(config)
    if translation is not None:
        _add_published(translation, outcome.summary)
    return run_answer(outcome.summary, outcome.signal, str(given["output"]))


def _begin(translation: Translation) -> None:
    """Take the run folder, and tell what becomes of another engine's input, also in there."""
    from .run_folder import RunFolder

    RunFolder(translation.output).claim()
    for line in translation.report().splitlines():
        logger.log(logging.WARNING if line.startswith("warning:") else logging.INFO, "%s", line)
    translation.write_made()


def _add_published(translation: Translation, summary: dict[str, Any]) -> None:
    """Add what the other engine prints, in its units, to the summary and its file."""
    from .run_folder import RunFolder

    if translation.in_its_units is not None:
        summary["as_engine_prints"] = translation.in_its_units(summary, translation.settings)
        folder = RunFolder(translation.output)
        folder.write_json(folder.summary, summary)


def _dry_run(given: Mapping[str, Any], translation: Translation | None, restart: bool) -> Answer:
    """What would be run."""
    if restart:
        raise UsageError("--dry-run shows a run that is to be started; leave --restart out")
    config = make_config(given)
    document: dict[str, Any] = {"toml": config.to_toml(), "python": python_of(config, "A run of openmm-nequip.")}
    report = []
    if translation is not None:
        document = translation.as_json()
        report = [translation.report(), ""]
    text = [*report, "as TOML, for --config:", "", document["toml"], "as Python:", "", document["python"]]
    return Answer(document, "\n".join(text).rstrip())


def _words_for_committee(found: dict[str, Any]) -> list[str]:
    """How far its models were from each other."""
    if not found["looks"]:
        return []
    kept = f"; {found['frames_selected']} frames in selected.extxyz" if found["frames_selected"] else ""
    if (bias := found.get("bias")) is not None:
        kept += (
            f"; the bias acts in {bias['acting']:.0%} of the looks and adds {bias['mean_ev']:.4g} eV on average, at "
            f"most {bias['largest_ev']:.4g} eV"
        )
    names = ", ".join(Path(model).name for model in found["models"])
    return [
        f"committee ({names}): the force on an atom differs by at most "
        f"{found['largest_deviation_ev_per_angstrom']:.4g} eV/Å (step {found['at_step']}), "
        f"{found['mean_deviation_ev_per_angstrom']:.4g} on average of the frames{kept}"
    ]


def _words_for_ranks(ranks: list[dict[str, Any]]) -> str:
    """How a system was shared."""
    atoms, ghosts = ([rank[name] for rank in ranks] for name in ("atoms", "ghosts"))
    if "pair_style" in ranks[0]:
        return f"ranks: {len(ranks)}, with {min(atoms)} to {max(atoms)} atoms, by pair style {ranks[0]['pair_style']}"
    kinds = ("features", "gradients", "forces")
    received = [sum(rank[f"{kind}_bytes_per_step"] for kind in kinds) for rank in ranks]
    return (
        f"ranks: {len(ranks)}, with {min(atoms)} to {max(atoms)} atoms, at most {max(ghosts)} ghosts, and at most "
        f"{max(received) / 1e3:.0f} kB received in a step"
    )


def run_answer(summary: dict[str, Any], ended_by: int | None, output: str) -> Answer:
    """What the terminal gets of a run.

    Parameters
    ----------
    summary : dict
        What is in ``summary.json``.
    ended_by : int, optional
        The signal that ended the run early.
    output : str
        Folder of the run.

    Returns
    -------
    Answer
    """
    if summary.get("task", "md") != "md":
        return _still_answer(summary, ended_by, output)
    lines = [f"{summary['steps']} steps are in {output}"]
    if summary.get("ns_per_day"):
        lines[0] = f"{summary['steps']} steps, {summary['time_ps']:g} ps ({summary['ns_per_day']:.3g} ns/day)"
        lines.append(f"results: {output} (trajectory, log.csv, final.pdb, summary.json)")
    for name, value in summary.get("averages", {}).items():
        lines.append(
            f"{name}: {value['mean']:.6g} ± {value['error']:.2g} (fluctuates by {value['std']:.3g}; "
            f"{value['independent_samples']:.0f} independent samples from {value['from_ps']:.3g} ps on)"
        )
    if summary.get("drift_kj_per_mol_per_atom_per_ns") is not None:
        lines.append(f"total-energy drift: {summary['drift_kj_per_mol_per_atom_per_ns']:.3g} kJ/mol per atom and ns")
    if summary.get("committee"):
        lines += _words_for_committee(summary["committee"])
    if summary.get("ranks"):
        lines.append(_words_for_ranks(summary["ranks"]))
    if summary.get("pictures"):
        lines.append("pictures: " + ", ".join(f"{output}/{name}" for name in summary["pictures"]))
    lines += [f"note: {words.removeprefix('note: ')}" for words in summary.get("notes", ())]
    lines += [f"{found['line']}" for found in summary.get("suspicions", ())]
    if summary.get("stopped"):
        lines.append(f"{summary['stopped']}; the frame is in {output}/failed-current.cif")
    if ended_by is not None:
        lines.append(f"stopped early: `{PROGRAM} run --restart --output {output}` continues")
        return Answer(summary, "\n".join(lines), 128 + ended_by)
    return Answer(summary, "\n".join(lines), SUSPICIOUS if summary.get("suspicions") else OK)


def _still_answer(summary: dict[str, Any], ended_by: int | None, output: str) -> Answer:
    """What the terminal gets of a run without dynamics."""
    lines = [f"energy: {summary['energy_kj_per_mol']:.6f} kJ/mol"]
    if summary["task"] == "energy":
        if "model_kj_per_mol" in summary:
            lines.append(
                f"of this the model: {summary['model_kj_per_mol']:.6f}, the force field: "
                f"{summary['force_field_kj_per_mol']:.6f} kJ/mol"
            )
        lines.append(f"largest force: {summary['max_force_kj_per_mol_nm']:.4f} kJ/mol/nm")
        if summary["pressure_bar"] is not None:
            lines.append(f"pressure: {summary['pressure_bar']:.4f} bar (potential part: atoms at rest)")
        lines.append(f"results: {output} (forces.extxyz, summary.json)")
    else:
        lines[0] += f", from {summary['energy_at_start_kj_per_mol']:.6f}"
        lines.append(
            f"largest force: {summary['largest_force_kj_per_mol_nm']:.4g} kJ/mol/nm, from "
            f"{summary['largest_force_at_start_kj_per_mol_nm']:.4g}; {'' if summary['converged'] else 'not '}converged"
        )
        lines.append(f"results: {output} (final.pdb, final.cif, summary.json)")
    lines += [f"{row['name']}: {row['text']}" for row in summary.get("as_engine_prints", summary.get("engine", ()))]
    lines += [f"note: {words}" for words in summary["notes"]]
    if ended_by is not None:
        return Answer(summary, "\n".join(lines), 128 + ended_by)
    return Answer(summary, "\n".join(lines), OK if summary.get("converged", True) else SUSPICIOUS)
