"""The command ``many``."""

from __future__ import annotations

import argparse
from typing import Any

from ..answer import Answer

DESCRIPTION = """A table of runs (windows, replicas, temperatures, models, seeds) on Dask: on the cores or GPUs of this
machine, on a SLURM or PBS cluster (dask-jobqueue), or on a scheduler that is there. Each run has a folder of its own
with its checkpoints; a run whose worker dies goes on elsewhere, one that fails is reported and takes no other down, and
the same command again goes on with what is not done. Exit code 1 if a run failed, 3 if one is not to be trusted."""


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
        "many", parents=[common], help="a table of runs on many workers", description=DESCRIPTION
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE.toml",
        help="output, workers, scheduler, [common] settings, [[run]] tables with a name, and a [grid] of lists",
    )  # fmt: skip
    parser.set_defaults(command=many)


def many(arguments: argparse.Namespace) -> Answer:
    """Run a table of runs.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Answer

    Raises
    ------
    ValueError
        If the table cannot be.
    UnavailableError
        If Dask is not installed, or no worker is to be had.
    """
    from ..accuracy.accuracy_command import aligned
    from .many_runs import code_of, row_of, run_many
    from .run_table import need_dask, read_table

    table = read_table(arguments.config)
    need_dask()
    results = run_many(table)
    rows = [row_of(result) for result in results]
    shown = ("name", "code", "attempts", "steps", "ns_per_day", "temperature_K", "suspicions")
    cells = [[_text(row[key]) for key in shown] for row in rows]
    text = [
        *aligned([list(shown), *cells]),
        *(f"failed: {row['name']}: {row['error']}" for row in rows if row["error"]),
        f"{sum(not row['error'] for row in rows)} of {len(rows)} runs are done; {table.output / 'many.csv'}",
    ]
    return Answer({"output": str(table.output), "runs": results}, "\n".join(text), code_of(results))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
