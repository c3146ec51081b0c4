"""All checks of a model on a system, one after the other."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import openmm

from ...errors import NonFiniteError
from ..run.run_config import RunConfig, make_config
from .checked_system import CheckedSystem
from .chemistry_checks import check_isolated, check_neighbours, check_types, check_units
from .committee_checks import check_committee
from .dynamics_checks import check_dynamics
from .force_checks import check_forces, check_symmetries
from .setup_checks import check_box, check_structure, set_up
from .valence_checks import check_region
from .verdict import OK, STOP, CheckVerdict, Report

logger = logging.getLogger(__name__)


def check(
    model: str | os.PathLike[str] | None, structure: str | os.PathLike[str], *, dynamics: bool = True, **settings: Any
) -> Report:
    """Whether a model is safe on a system, in a minute or two.

    Parameters
    ----------
    model : str or os.PathLike or None
        Model file; None where ``committee=`` names all models.
    structure : str or os.PathLike
        Structure file.
    dynamics : bool
        Whether short runs are made: energy conservation, largest time step, speed.
    **settings
        Of the run that is planned: the options of ``openmm-nequip run``, with ``_`` for ``-``.

    Returns
    -------
    Report
        A verdict for each check; ``str(report)`` is a table, ``report.level`` the worst.

    Raises
    ------
    ValueError
        If a setting is unknown or has a value that it cannot have. What is wrong with model and structure is a
        verdict, not an error.
    """
    given = {"output": os.path.join(tempfile.gettempdir(), "unused"), "seed": 1} | settings
    named = {"model": None if model is None else os.fspath(model), "structure": os.fspath(structure)}
    return check_run(make_config(given, named), dynamics)


def check_run(config: RunConfig, dynamics: bool = True) -> Report:
    """As :func:`check`, for the settings of a run.

    Parameters
    ----------
    config : RunConfig
        Settings.
    dynamics : bool
        Whether short runs are made.

    Returns
    -------
    Report
    """
    report = Report()
    # A barostat takes no part: what it would add is not the model's.
    setup, report.verdicts = set_up(replace(config, ensemble="nvt"))
    if setup is None:
        return report
    try:
        subject = CheckedSystem(config, setup)
    except (ValueError, RuntimeError, ImportError, OSError, openmm.OpenMMException) as error:
        report.verdicts.append(CheckVerdict("model", STOP, str(error).splitlines()[0]))
        return report
    report.facts["atoms"] = len(subject.atoms)
    checks: list[Callable[[], Iterable[CheckVerdict]]] = [
        lambda: check_structure(subject),
        lambda: check_box(subject),
        lambda: check_region(subject),
        lambda: check_neighbours(subject),
        lambda: check_units(subject),
        lambda: check_types(subject),
        lambda: check_isolated(subject),
        lambda: check_forces(subject),
        lambda: check_symmetries(subject),
        lambda: check_committee(subject, report.facts),
    ]
    for make in checks:
        _made(report, make)
    if dynamics and all(verdict.level != STOP for verdict in report.verdicts):
        _made(report, lambda: check_dynamics(subject, report.facts))
    elif dynamics:
        report.facts["dynamics"] = "not run, for something has to be mended before"
    return report


def _made(report: Report, make: Callable[[], Iterable[CheckVerdict]]) -> None:
    """Make some checks; an answer that is not finite is a verdict as well."""
    try:
        for verdict in make():
            report.verdicts.append(verdict)
            logger.log(logging.INFO if verdict.level == OK else logging.WARNING, "%s: %s", verdict.name, verdict.text)
    except (NonFiniteError, ValueError, RuntimeError, openmm.OpenMMException) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        report.verdicts.append(CheckVerdict("model", STOP, f"it gives no answer for this structure: {text}"))
