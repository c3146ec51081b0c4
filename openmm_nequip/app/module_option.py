"""The option that says what a foreign module takes."""

from __future__ import annotations

import argparse


def add_module_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--module-inputs``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command that takes a model.
    """
    parser.add_argument(
        "--module-inputs", nargs="+", metavar="NAME",
        help="what a TorchScript module of no known format takes, in order: atom-positions atom-numbers box pbc, with "
        "settings such as cutoff=5.0 or outputs=energy+forces",
    )  # fmt: skip
