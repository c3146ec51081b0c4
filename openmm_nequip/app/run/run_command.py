"""The command ``run``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ...errors import UsageError
from ..answer import FAILED, OK, PROGRAM, SUSPICIOUS, Answer
from .run_config import RunConfig, check_settings, make_config, option_name, read_toml

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
        if facts["kind"] in ("floats", "strings"):
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

    given = stated_settings(arguments)
    required = ("output",) if arguments.restart else ("model", "structure", "output")
    missing = [name for name in required if name not in given]
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise UsageError(f"run needs {options} (or {', '.join(missing)} in the --config file)")
    if arguments.check and not arguments.restart:
        from ..check.checking import check_run

        report = check_run(make_config(given))
        if report.level == "stop":
            return Answer(report.as_json(), str(report), FAILED)
    outcome = restart_run(given["output"], given) if arguments.restart else start_run(make_config(given))
    return run_answer(outcome.summary, outcome.signal, str(given["output"]))


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
