"""The command ``energy``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..choices import KERNELS
from ..errors import UsageError
from ..files import output_obstacle
from .accuracy.accuracy_command import add_frame_options, aligned, evaluate_frames, reference_keys, table_of
from .answer import Answer
from .committee_option import add_committee_option, model_of
from .model_options import REBUILDING, add_model_options

#: Options that mean something with ``--frames`` alone, and what they are if nobody gives them.
_OF_FRAMES = {
    "csv": None, "reference_units": None, "energy_key": "energy", "forces_key": "forces", "stress_key": "stress",
}  # fmt: skip

DESCRIPTION = """Evaluate a model on a structure, in any cell, or with --frames on all those of a file, beside the
energies and forces that the file states. Nothing is compiled unless --compile or --kernels fused is given, or eager
evaluation would take much memory; fused kernels that lie in the cache are used. The stress is dE/d(strain)/V in the
frame of the file, positive under tension; the pressure is minus a third of its trace, without the kinetic part that
moving atoms add."""


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
        "energy", parents=[common], help="energy and forces of a structure", description=DESCRIPTION
    )
    add_model_options(parser, ("model", "structure", "box", "frame"))
    add_frame_options(parser, None)
    parser.add_argument("--csv", metavar="FILE", help="with --frames: write a row for each frame")
    add_model_options(parser, ("units",))
    parser.add_argument("--length-unit", metavar="UNIT", help="the model's unit of length: angstrom, nm or bohr")
    parser.add_argument("--energy-unit", metavar="UNIT", help="and of energy: eV, kJ/mol, kcal/mol or hartree")
    add_model_options(parser, ("types",))
    parser.add_argument(
        "--forces", metavar="FILE", help="write forces: .npy or .csv in kJ/mol/nm, .extxyz in eV/Å (all --frames)"
    )
    add_model_options(parser, ("device",))
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=None,
        help="compile a checkpoint or package first; minutes the first time, not worth it for one structure "
        "(default: by the memory that it needs uncompiled)",
    )  # fmt: skip
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto",
        help="fused: run a checkpoint or package by the fused CPU kernels (auto: with --compile, from the cache, or to "
        "save much memory)",
    )  # fmt: skip
    add_model_options(parser, ("input", *REBUILDING, "module-inputs"))
    add_committee_option(parser)
    add_model_options(parser, ("trusted",))
    parser.set_defaults(command=energy)


def energy(arguments: argparse.Namespace) -> Answer:
    """Evaluate a model on a structure, or on the frames of a file.

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
        If units are given in two ways, or options do not go together.
    ModelFileError, ValueError, RuntimeError, ImportError, OSError
        If the model or the structure cannot be used, or the forces not be written.
    """
    from ..models.units_in_force import log_units, units_of
    from ..units import resolve_units
    from . import single_point
    from .accuracy.frame_answers import load_for_frames
    from .structures.structure_files import read_structure
    from .typed_inputs import read_inputs, read_settings

    length_unit, energy_unit = arguments.length_unit, arguments.energy_unit
    if arguments.units is not None:
        if length_unit is not None or energy_unit is not None:
            raise UsageError("give --units or --length-unit and --energy-unit, not both")
        length_unit, energy_unit = arguments.units
    typed = resolve_units(length_unit, energy_unit)  # a slip in them is told before the model is read
    _check_files(arguments)
    arguments.model = model_of(arguments)
    given = (
        arguments.model, arguments.device, arguments.compile, arguments.trusted, arguments.kernels,
        read_inputs(arguments.input), read_settings(arguments),
    )  # fmt: skip
    types = single_point.read_types(arguments.types)
    if arguments.frames is not None:
        return _all_frames(arguments, given, (length_unit, energy_unit), types)
    structure = read_structure(arguments.structure, arguments.box, arguments.frame, slabs=True)
    model = load_for_frames(*given, largest=structure, units=typed)
    units = units_of(model.info, length_unit, energy_unit)
    log_units(arguments.model, units, model.info)
    cutoff = model.info.cutoff
    structure = structure.filled(None if cutoff is None else cutoff * units.length)
    result = single_point.evaluate(model, structure, units, types)
    document = result.as_json() | {
        "atoms": len(result.forces),
        "periodic": structure.box_nm is not None,
        "units_of_model": units.describe(),
        "kernels": model.info.kernels,
    }
    text = [f"{'structure':14} {_what(document)}", *_lines(result)]
    if arguments.forces is not None:
        written = single_point.write_forces(arguments.forces, structure, result)
        text.append(f"{'forces':14} {arguments.forces} ({written})")
    return Answer(document, "\n".join(text))


def _what(document: dict[str, Any]) -> str:
    periodic = "periodic" if document["periodic"] else "not periodic"
    return f"{document['atoms']} atoms, {periodic}; units of the model {document['units_of_model']}"


def _check_files(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, and names that cannot be written to, before any time is spent."""
    from . import single_point

    if arguments.forces is not None:
        single_point.check_forces_path(arguments.forces)
    if arguments.frames is None:
        for name, unset in _OF_FRAMES.items():
            if getattr(arguments, name) != unset:
                raise UsageError(f"--{name.replace('_', '-')} belongs to --frames; give --frames all")
        return
    if arguments.frame != -1:
        raise UsageError("give --frame N for one frame or --frames for several, not both")
    if arguments.forces is not None and not arguments.forces.endswith(".extxyz"):
        raise UsageError(f"--forces {arguments.forces}: several frames go into an .extxyz file")
    reason = "" if arguments.csv is None else output_obstacle(arguments.csv)
    if reason:
        raise UsageError(f"--csv {arguments.csv!r} {reason}")


def _all_frames(arguments: argparse.Namespace, given: tuple[Any, ...], typed: tuple[Any, Any], types: Any) -> Answer:
    """Several frames as a table."""
    from ..models.units_in_force import log_units, units_of
    from ..units import resolve_units
    from .accuracy.frame_answers import load_for_frames
    from .accuracy.labelled_frames import read_frames
    from .single_point import to_ase

    keys = reference_keys(arguments)
    frames = read_frames(arguments.structure, arguments.frames, arguments.box, keys)
    largest = max((frame.structure for frame in frames), key=lambda each: len(each.positions_nm))
    model = load_for_frames(*given, largest=largest, units=resolve_units(*typed))
    units = units_of(model.info, *typed)
    log_units(arguments.model, units, model.info)
    found = evaluate_frames(model, units, types, frames)
    rows = [each.as_row() for each in found]
    document = {
        "structure": arguments.structure,
        "units_of_model": units.describe(),
        "units_of_references": keys.units.describe(),
        "kernels": model.info.kernels,
        "frames": rows,
    }
    text = [f"{len(rows)} frames; units of the model {units.describe()}", *aligned(_columns(rows))]
    if any(frame.is_labelled for frame in frames):
        text.append(f"reference values are those of the file, in {keys.units.describe()}; `test` sums up the errors")
    if arguments.csv is not None:
        Path(arguments.csv).write_text(table_of(found), encoding="utf-8")
        text.append(f"table: {arguments.csv}")
    if arguments.forces is not None:
        import ase.io

        ase.io.write(arguments.forces, [to_ase(each.frame.structure, each.answer) for each in found], format="extxyz")
        text.append(f"forces: {arguments.forces} (eV/Å)")
    return Answer(document, "\n".join(text))


#: Headings of the table of frames, keys of a row and how its numbers are written.
_TABLE = (
    ("frame", "frame", "d"), ("atoms", "atoms", "d"), ("periodic", "periodic", ""),
    ("energy (kJ/mol)", "energy_kj_per_mol", ".4f"), ("energy (eV)", "energy_ev", ".6f"),
    ("largest force (kJ/mol/nm)", "max_force_kj_per_mol_nm", ".2f"), ("pressure (bar)", "pressure_bar", ".1f"),
    ("spread (kJ/mol)", "energy_spread_kj_per_mol", ".4f"),
    ("of forces (kJ/mol/nm)", "max_forces_spread_kj_per_mol_nm", ".2f"),
    ("reference (eV)", "reference_energy_ev", ".6f"), ("error (meV/atom)", "energy_error_mev_per_atom", ".3f"),
    ("forces MAE (meV/Å)", "force_mae_mev_per_angstrom", ".2f"),
    ("stress MAE (meV/Å³)", "stress_mae_mev_per_angstrom3", ".4f"),
)  # fmt: skip


def _columns(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The table of frames, without columns that have no value."""
    shown = [column for column in _TABLE if any(row.get(column[1]) is not None for row in rows)]
    table = [[heading for heading, _, _ in shown]]
    for row in rows:
        cells = []
        for _, key, form in shown:
            value = row.get(key)
            written = "-" if value is None else ("yes" if value else "no") if form == "" else format(value, form)
            cells.append(written)
        table.append(cells)
    return table


def _lines(result: Any) -> list[str]:
    """A :class:`openmm_nequip.app.single_point.SinglePoint` as text."""
    document = result.as_json()
    text = [
        f"{'energy':14} {document['energy_kj_per_mol']:.6f} kJ/mol = {document['energy_ev']:.8f} eV",
        f"{'largest force':14} {document['max_force_kj_per_mol_nm']:.4f} kJ/mol/nm",
    ]
    if result.forces_spread is not None:
        largest, atom = result.forces_spread.max(), result.forces_spread.argmax()
        text.append(
            f"{'spread':14} {result.energy_spread:.6f} kJ/mol of the energy; of the forces at most {largest:.4f} "
            f"kJ/mol/nm (atom {atom}), standard deviations of the models"
        )
    if result.stress is not None:
        text.append(f"{'pressure':14} {document['pressure_bar']:.3f} bar (potential part: atoms at rest)")
        rows = ["  ".join(f"{value:14.3f}" for value in row) for row in result.stress]
        text.append(f"{'stress (bar)':14} " + ("\n" + " " * 15).join(rows))
        text.append(f"{'':14} dE/d(strain)/V in the frame of the file, positive under tension")
    return text
