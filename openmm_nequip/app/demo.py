"""The command ``demo``."""

from __future__ import annotations

import argparse
from typing import Any

from .answer import Answer
from .run.run_command import run_answer


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
        "demo", parents=[common], help="the shipped model on a peptide in water", description=demo.__doc__
    )
    parser.add_argument("--output", metavar="DIR", help="folder to write to (default: demo-output)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of 1 fs")
    parser.set_defaults(command=demo)


def demo(arguments: argparse.Namespace) -> Answer:
    """Simulate alanine dipeptide in water, the peptide by the shipped model, and once more by the force field alone.
    About a minute on two cores."""
    from .run.peptide_demo import DEFAULT_STEPS, free_folder, run_demo

    output = free_folder(arguments.output)
    outcome = run_demo(output, DEFAULT_STEPS if arguments.steps is None else arguments.steps)
    answer = run_answer(outcome.summary, outcome.signal, output)
    if outcome.signal is not None or outcome.summary["stopped"]:
        return answer
    summary = outcome.summary
    text = (
        f"{answer.text}\n"
        f"energy of the peptide in the last frame: {summary['openmm_energy_kj_per_mol']:.4f} kJ/mol through OpenMM, "
        f"{summary['direct_energy_kj_per_mol']:.4f} straight from the model\n"
        f"Look at {output}/ramachandran.png (φ/ψ by the model and by the force field), {output}/energy.png and "
        f"{output}/rdf.png; {output}/trajectory.dcd with {output}/start.pdb opens in any viewer."
    )
    return Answer(summary, text, answer.code)
