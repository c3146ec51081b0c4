"""The command ``parity``."""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import output_obstacle
from ..answer import FAILED, OK, Answer
from ..model_options import add_model_options

DESCRIPTION = """One model file on one structure through everything that is installed: the model alone in every way it
can run, OpenMM with every force and platform, nequip's calculator for ASE, OpenMM-ML's own nequip, torch-sim, numbers
that CP2K has published. Energies, and the largest differences of forces and stress from the first row, with the
tolerance that each should keep. Exit code 1 if a program disagrees."""

logger = logging.getLogger(__name__)


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
        "parity", parents=[common], help="one model through every program here", description=DESCRIPTION
    )
    add_model_options(parser, ("model", "structure", "box", "frame", "units"))
    parser.add_argument(
        "--compile", action="store_true",
        help="compile a checkpoint or package with AOTInductor for the programs that run it so; minutes the first time",
    )  # fmt: skip
    parser.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    add_model_options(parser, ("trusted",))
    parser.set_defaults(command=parity)


def parity(arguments: argparse.Namespace) -> Answer:
    """Ask every program.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Answer
        Code 1 if a program that answers disagrees with the first.

    Raises
    ------
    UsageError
        If the table cannot be written.
    ModelFileError, ValueError, RuntimeError
        If the model or the structure cannot be used, or nobody answers.
    """
    import torch

    from ...models import locate, read_info
    from ...models.units_in_force import units_of
    from ..bench.contenders import Subject
    from ..structures.structure_files import read_structure
    from .answers import HEADINGS, Difference, Tolerance, markdown
    from .programs import ask, programs

    target = arguments.markdown
    reason = "" if target is None else output_obstacle(target)
    if reason:
        raise UsageError(f"--markdown {target!r} {reason}")
    source = locate(arguments.model, arguments.trusted)
    info = read_info(source)
    units = units_of(info, *(arguments.units or (None, None)))
    structure = read_structure(arguments.structure, arguments.box, arguments.frame, slabs=True)
    structure = structure.filled(None if info.cutoff is None else info.cutoff * units.length)
    structure = structure.for_dynamics("none")[0]
    subject = Subject(source, units, torch.get_num_threads())
    answers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what other programs warn of is not the user's doing
        for name, evaluation in programs(subject, structure, None, arguments.compile):
            logger.info("asking %s", name)
            answers.append(ask(name, evaluation))
    first = next((answer for answer in answers if answer.energy is not None), None)
    if first is None:
        raise RuntimeError(f"no program gave an answer: {answers[0].name}: {answers[0].reason}")
    allowed = Tolerance.of(info, units, first)
    n_atoms = len(structure.positions_nm)
    rows = [Difference.between(answer, first, allowed, n_atoms) for answer in answers]
    table = markdown(rows, allowed)
    wrong = [row.name for row in rows if row.agrees is False]
    document = {
        "model": arguments.model, "sha256": source.sha256, "structure": arguments.structure, "atoms": n_atoms,
        "measure": first.name, "rows": [row.as_json() for row in rows], "disagreements": wrong,
        "tolerance": {"energy_kj_per_mol_per_atom": allowed.energy, "force_kj_per_mol_nm": allowed.force,
                      "stress_bar": allowed.stress},
    }  # fmt: skip
    from ..accuracy.accuracy_command import aligned

    answered = [row for row in rows if row.agrees is not None]
    text = [
        f"{n_atoms} atoms, {'periodic' if structure.box_nm is not None else 'not periodic'}; measure: {first.name}",
        *aligned([list(HEADINGS), *(row.cells() for row in answered), allowed.cells()]),
        *(f"no answer: {row.name}: {row.reason}" for row in rows if row.agrees is None),
        f"disagree: {', '.join(wrong)}" if wrong else f"all {len(answered)} that answer agree",
    ]
    if target is not None:
        Path(target).write_text(table + "\n", encoding="utf-8")
        text.append(f"table: {target}")
    return Answer(document, "\n".join(text), FAILED if wrong else OK)
