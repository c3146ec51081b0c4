"""The arguments of ``openmm-nequip bench``."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from ..forces import BACKENDS
from .settings import (
    DEFAULT_BUDGET_S,
    DEFAULT_OUTPUT,
    DEFAULT_REPEATS,
    DEFAULT_SIZES,
    PEERS,
    VARIANTS,
    BenchSettings,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; those not given stay away from the namespace."""

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
    add("--units", nargs=2, metavar=("LENGTH", "ENERGY"), help="the model's units (default: angstrom eV)")
    add("--output", metavar="FOLDER", help=f"folder to write to (default: {DEFAULT_OUTPUT}, or the next that is free)")
    add("--trusted", metavar="SHA256", help="SHA-256 that the model file must have")


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
