"""The command ``bench``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from ...choices import BACKENDS
from ...errors import UsageError
from ..answer import FAILED, OK, Answer
from ..model_options import add_model_options
from .bench_settings import (
    DEFAULT_BUDGET_S,
    DEFAULT_OUTPUT,
    DEFAULT_REPEATS,
    DEFAULT_SIZES,
    PEERS,
    VARIANTS,
    BenchSettings,
)

DESCRIPTION = """Time MD steps of growing systems, split into OpenMM, neighbour list, model and the rest, beside
OpenMM-ML's own nequip, NequIPCalculator and the bare model, all in turn in one process. Energies and forces are
compared first."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command; options not given stay away from the namespace.

    Parameters
    ----------
    commands : argparse action
        From ``add_subparsers``.
    common : argparse.ArgumentParser
        The options of every command.
    """
    parser = commands.add_parser("bench", parents=[common], help="how fast a model runs", description=DESCRIPTION)

    def add(option: str, **others: object) -> None:
        parser.add_argument(option, default=argparse.SUPPRESS, **others)  # type: ignore[arg-type]

    backends = [name for name in BACKENDS if name != "auto"]
    sizes = " ".join(map(str, DEFAULT_SIZES))
    add("--model", metavar="FILE", help="model file or nequip.net: id (default: the shipped model)")
    add("--sizes", nargs="+", type=int, metavar="N", help=f"numbers of atoms (default: {sizes})")
    add(
        "--kernels", nargs="+", choices=list(VARIANTS),
        help="fused: this package's CPU kernels; none: nequip's own compiled model; eager (default: fused none)",
    )  # fmt: skip
    add("--platforms", nargs="+", metavar="NAME", help="OpenMM platforms; peers run on the fastest (default: all here)")
    add(
        "--backends", nargs="+", choices=backends, metavar="NAME",
        help=f"{', '.join(backends)} (default: all that run this model here)",
    )  # fmt: skip
    add("--peers", nargs="*", choices=list(PEERS), help=f"other programs (default: {' '.join(PEERS)})")
    add("--threads", type=int, metavar="N", help="CPU threads (default: torch's own number)")
    add("--repeats", type=int, metavar="N", help=f"samples of each figure (default: {DEFAULT_REPEATS})")
    add(
        "--budget", type=float, metavar="SECONDS",
        help=f"time for the samples of one size; slow contenders get fewer or none (default: {DEFAULT_BUDGET_S:g})",
    )  # fmt: skip
    unset = {"default": argparse.SUPPRESS}
    add_model_options(parser, ("units",), units="the model's units (default: angstrom eV)", **unset)
    add("--output", metavar="FOLDER", help=f"folder to write to (default: {DEFAULT_OUTPUT}, or the next that is free)")
    add_model_options(parser, ("trusted",), **unset)
    parser.set_defaults(command=bench)


def bench(arguments: argparse.Namespace) -> Answer:
    """Run a benchmark.

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
        If an argument is out of range.
    ModelFileError, ValueError, RuntimeError
        As :func:`openmm_nequip.app.bench.bench_run.run_bench`.
    """
    from ..run.interrupt import StopRequest
    from .bench_run import run_bench

    try:
        settings = settings_of(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with StopRequest() as stop:
        outcome = run_bench(settings, lambda: bool(stop))
    text = f"{outcome.text}\n\n{outcome.folder}/bench.json, {outcome.folder}/bench.png"
    if outcome.disagreements:
        text += f"\nWRONG RESULTS, not timed: {', '.join(outcome.disagreements)}"
    code = 128 + stop.signal if stop.signal is not None else FAILED if outcome.disagreements else OK
    return Answer(outcome.document, text, code)


def settings_of(arguments: argparse.Namespace) -> BenchSettings:
    """The settings that arguments ask for.

    Raises
    ------
    ValueError
        As :class:`BenchSettings`.
    """
    given: dict[str, Any] = {
        field.name: getattr(arguments, field.name) for field in fields(BenchSettings) if field.name in arguments
    }
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return BenchSettings(**given)
