"""The option that names the further models of a committee."""

from __future__ import annotations

import argparse
from typing import Any


def add_committee_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--committee``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command that takes a model.
    """
    parser.add_argument(
        "--committee", nargs="+", metavar="FILE",
        help="further models of the same types: the answer is the mean, with the standard deviations",
    )  # fmt: skip


def model_of(arguments: argparse.Namespace) -> Any:
    """The model of a command, with what it takes where that is declared, or the committee.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``model``, ``module_inputs`` and ``committee``.

    Returns
    -------
    str or path-like

    Raises
    ------
    CommitteeError
        If there are too few models.
    ModuleError
        If what a module takes is declared wrongly.
    """
    from ..models.committee_path import with_committee
    from ..models.modules.declared_path import declared

    return with_committee(declared(arguments.model, arguments.module_inputs), arguments.committee)
