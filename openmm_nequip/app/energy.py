"""The command ``energy``."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import KERNELS
from ..errors import UsageError
from .answer import Answer

DESCRIPTION = """Evaluate a model on one structure, in any cell. Checkpoints and packages are evaluated eagerly, or by
the fused CPU kernels where that would take much memory; --compile, --no-compile and --kernels choose otherwise. The
stress is dE/d(strain)/V in the frame of the file, positive under tension; the pressure is minus a third of its trace,
without the kinetic part that moving atoms add."""


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
        "energy", parents=[common], help="energy and forces of one structure", description=DESCRIPTION
    )
    parser.add_argument("model", metavar="MODEL", help="model file or nequip.net: id")
    parser.add_argument("structure", metavar="STRUCTURE", help="PDB, mmCIF, GRO, extxyz, CIF, POSCAR, ...")
    parser.add_argument("--box", nargs="+", type=float, metavar="Å", help="3 edges or 9 vector components")
    parser.add_argument("--frame", type=int, default=-1, metavar="N", help="frame of the file, from 0 (default: last)")
    parser.add_argument("--units", nargs=2, metavar=("LENGTH", "ENERGY"), help="the model's units (angstrom eV)")
    parser.add_argument("--length-unit", metavar="UNIT", help="the model's unit of length: angstrom, nm or bohr")
    parser.add_argument("--energy-unit", metavar="UNIT", help="and of energy: eV, kJ/mol, kcal/mol or hartree")
    parser.add_argument("--types", nargs="+", metavar="TYPE", help="model type of each atom, or one file with them")
    parser.add_argument("--forces", metavar="FILE", help="write forces: .npy or .csv in kJ/mol/nm, .extxyz in eV/Å")
    parser.add_argument("--device", help="torch device (default: cpu)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=None,
        help="compile a checkpoint or package first; minutes the first time, not worth it for one structure "
        "(default: by the memory that it needs uncompiled)",
    )  # fmt: skip
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto",
        help="fused: run a NequIP checkpoint or package by the fused CPU kernels (auto: with --compile, or to "
        "save much memory)",
    )  # fmt: skip
    parser.add_argument(
        "--input", nargs="+", action="extend", metavar="NAME=VALUE",
        help="what the model takes beside the structure: charge=1",
    )  # fmt: skip
    parser.add_argument("--trusted", metavar="SHA256", help="SHA-256 that the model file must have")
    parser.set_defaults(command=energy)


def energy(arguments: argparse.Namespace) -> Answer:
    """Evaluate a model on one structure.

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
        If units are given in two ways.
    ModelFileError, ValueError, RuntimeError, ImportError, OSError
        If the model or the structure cannot be used, or the forces not be written.
    """
    from ..models import Execution, locate, open_model
    from ..potential import log_units
    from ..units import resolve_units
    from . import single_point
    from .structures.structure_files import read_structure
    from .typed_inputs import read_inputs

    length_unit, energy_unit = arguments.length_unit, arguments.energy_unit
    if arguments.units is not None:
        if length_unit is not None or energy_unit is not None:
            raise UsageError("give --units or --length-unit and --energy-unit, not both")
        length_unit, energy_unit = arguments.units
    units = resolve_units(length_unit, energy_unit)
    if arguments.forces is not None:
        single_point.check_forces_path(arguments.forces)
    structure = read_structure(arguments.structure, arguments.box, arguments.frame, slabs=True)
    kernels = arguments.kernels
    source = locate(arguments.model, arguments.trusted)
    inputs: Any = read_inputs(arguments.input)
    how = Execution(arguments.device, bool(arguments.compile), kernels, inputs=inputs)
    if arguments.compile is None and kernels == "auto":
        how = single_point.choose_execution(source, how, structure, units)
    model = open_model(source, how)
    log_units(arguments.model, units)
    cutoff = model.info.cutoff
    structure = structure.filled(None if cutoff is None else cutoff * units.length)
    result = single_point.evaluate(model, structure, units, single_point.read_types(arguments.types))
    text = _lines(result)
    if arguments.forces is not None:
        written = single_point.write_forces(arguments.forces, structure, result)
        text.append(f"{'forces':14} {arguments.forces} ({written})")
    return Answer(result.as_json(), "\n".join(text))


def _lines(result: Any) -> list[str]:
    """A :class:`openmm_nequip.app.single_point.SinglePoint` as text."""
    document = result.as_json()
    text = [
        f"{'energy':14} {document['energy_kj_per_mol']:.6f} kJ/mol = {document['energy_ev']:.8f} eV",
        f"{'largest force':14} {document['max_force_kj_per_mol_nm']:.4f} kJ/mol/nm",
    ]
    if result.stress is not None:
        text.append(f"{'pressure':14} {document['pressure_bar']:.3f} bar (potential part: atoms at rest)")
        rows = ["  ".join(f"{value:14.3f}" for value in row) for row in result.stress]
        text.append(f"{'stress (bar)':14} " + ("\n" + " " * 15).join(rows))
        text.append(f"{'':14} dE/d(strain)/V in the frame of the file, positive under tension")
    return text
