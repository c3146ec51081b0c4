"""The option that names the further models of a committee, and what settings say about one."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..committee_bias import parse_bias
from ..deviation_limits import check_limits


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


def lacking(settings: Mapping[str, Any], required: Sequence[str]) -> list[str]:
    """Settings that nobody gave; the model may be named by ``committee``.

    Parameters
    ----------
    settings : mapping of str to value
        Those that were given.
    required : sequence of str
        Those that are needed.

    Returns
    -------
    list of str
    """
    missing = [name for name in required if settings.get(name) is None]
    return [name for name in missing if name != "model" or settings.get("committee") is None]


def checked_committee(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run, after checking what they say about a committee.

    Parameters
    ----------
    settings : mapping of str to value
        By name, with ``_``.

    Returns
    -------
    dict
        Where all models are named by ``committee``, the first of them is ``model``.

    Raises
    ------
    ValueError
        For limits in the wrong order, or a bias that cannot be.
    """
    found = dict(settings)
    if found.get("model") is None and found.get("committee") is not None:
        found["model"], *others = found["committee"]
        if others and found["model"] not in others:  # else it has to be named among them again
            found["committee"] = tuple(others)
    check_limits(
        ("deviation-select", "deviation-stop"), found.get("deviation_select"), found.get("deviation_stop")
    )
    parse_bias(found.get("committee_bias"), "committee-bias")
    return found
