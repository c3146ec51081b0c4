"""The command ``check``."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..answer import FAILED, OK, Answer
from ..committee_option import lacking
from ..model_options import add_model_options
from ..run.run_command import add_settings, stated_settings

DESCRIPTION = """Before a week is spent: whether a model is safe on a system. Units, types, elements, distances, box,
cut bonds, hydrogens, forces against energies, symmetries, noise, energy conservation, the largest time step and the
cost, each with a verdict: ok, look (a person should), stop. All options of run that decide what is simulated are
taken. Exit code 1 on stop."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command.

    Parameters
    ----------
    commands : argparse action
        From ``add_subparsers``.
    common : argparse.ArgumentParser
        The options of every command.
    """
    parser = commands.add_parser(
        "check", parents=[common], help="is this model safe on this system", description=DESCRIPTION
    )
    both = ("model", "structure")
    add_model_options(parser, both, both, structure="starting structure")
    parser.add_argument("--config", metavar="FILE.toml", help="settings of the run that is planned")
    parser.add_argument("--picture", metavar="FILE", help="draw the report (.png, .pdf, .svg)")
    parser.add_argument(
        "--dynamics", action=argparse.BooleanOptionalAction, default=True, help="make short runs (default: true)"
    )
    add_settings(parser, without=("model", "structure", "output"))
    parser.set_defaults(command=check)


def check(arguments: argparse.Namespace) -> Answer:
    """Check a model on a system.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Answer
        Code 1 if a check says stop.

    Raises
    ------
    UsageError
        If model or structure are not named, or the picture cannot be written.
    ValueError
        For settings that cannot be.
    """
    from ..run.run_config import make_config
    from .checking import check_run

    given = stated_settings(arguments)
    if len(given.get("committee", ())) > 1 and "structure" not in given and "model" in given:
        given["structure"] = given.pop("model")  # the committee names all models
    missing = lacking(given, ("model", "structure"))
    if missing:
        raise UsageError(f"check needs {' and '.join(missing)} (as arguments, or in the --config file)")
    picture = arguments.picture
    if picture is not None:
        if Path(picture).suffix.lower() not in (".png", ".pdf", ".svg"):
            raise UsageError(f"--picture {picture!r}: the suffix must be .png, .pdf or .svg")
        if not Path(picture).resolve().parent.is_dir():
            raise UsageError(f"--picture {picture!r}: give a file in a folder that exists")
    given = {"output": os.path.join(tempfile.gettempdir(), "unused")} | given
    report = check_run(make_config(given), arguments.dynamics)
    text = [str(report)]
    if picture is not None:
        from .check_picture import write_picture

        models = [given.get("model"), *given.get("committee", ())]
        write_picture(report, picture, f"{' + '.join(filter(None, models))} on {given['structure']}")
        text.append(f"picture: {picture}")
    return Answer(report.as_json(), "\n".join(text), FAILED if report.level == "stop" else OK)
