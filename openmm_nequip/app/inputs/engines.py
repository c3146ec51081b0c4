"""The engines whose input ``run`` reads: their options, and which reader each has."""

from __future__ import annotations

import argparse
from typing import Any

from ...errors import UsageError
from .translation import Translation

#: Options that name an engine's input.
ENGINES = ("cp2k", "gromacs")


def add_engine_options(parser: Any) -> None:
    """Declare the options of ``run`` that read another engine's input.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of the command.
    """
    group = parser.add_argument_group("from another engine")
    group.add_argument(
        "--cp2k", metavar="FILE.inp", help="run what this CP2K input with &NEQUIP, &ALLEGRO or &MACE says"
    )
    group.add_argument(
        "--gromacs", nargs="+", metavar="FILE",
        help="run what grompp would read: md.mdp with nnpot- options, conf.gro, topol.top, and index.ndx where there "
        "is one",
    )  # fmt: skip
    group.add_argument(
        "--cp2k-forces", choices=("stated", "energy"), default="stated",
        help="energy: UNIT_FORCES is taken to be what follows from the units of energy and length, whatever it says "
        "(stated: a contradiction is refused)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="print what would be run, also as TOML and as Python, and what became of an engine's input; write nothing",
    )  # fmt: skip


def read_engine_input(arguments: argparse.Namespace) -> Translation | None:
    """What the engine's input named on the command line says.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Translation or None
        None where none is named.

    Raises
    ------
    UsageError
        If several are named, or one together with a restart.
    EngineInputError
        If the input cannot be read or done.
    """
    named = [name for name in ENGINES if getattr(arguments, name, None) is not None]
    if len(named) > 1:
        raise UsageError(f"--{named[0]} and --{named[1]}: give the input of one engine")
    if not named:
        return None
    if arguments.restart:
        raise UsageError(f"--restart goes on with what is in --output; leave --{named[0]} out")
    if named == ["gromacs"]:
        from .gromacs import engine_input

        return engine_input(arguments.gromacs)
    from .cp2k import read_cp2k

    return read_cp2k(arguments.cp2k, arguments.cp2k_forces)
