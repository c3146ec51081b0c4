"""The command ``test``: a model against the reference values of a file."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...choices import KERNELS
from ...errors import UsageError
from ...files import folder_obstacle
from ..answer import Answer
from ..committee_option import add_committee_option, model_of
from ..model_options import REBUILDING, add_model_options

if TYPE_CHECKING:
    from ...units import Units
    from .error_figures import FrameErrors
    from .labelled_frames import LabelledFrame, ReferenceKeys

DESCRIPTION = """Compare a model with the energies, forces and stresses that a file states for its frames (ASE's units,
eV and Å, unless --reference-units says others). Writes test.json, frames.csv and parity.png to --output."""
DEFAULT_OUTPUT = "test-output"
DOCUMENT, TABLE, PICTURE = "test.json", "frames.csv", "parity.png"
_WORST = 5
_GROUP = "config_type"


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
        "test", parents=[common], help="errors of a model against reference data", description=DESCRIPTION
    )
    add_model_options(parser, ("model",))
    parser.add_argument("data", metavar="DATA", help="extended XYZ with energies and forces, or what else ASE reads")
    parser.add_argument("--output", metavar="FOLDER", help=f"default: {DEFAULT_OUTPUT}, or the next that is free")
    add_model_options(parser, ("units", "types"))
    parser.add_argument("--worst", type=int, default=_WORST, metavar="N", help=f"worst frames to name ({_WORST})")
    parser.add_argument(
        "--group", default=_GROUP, metavar="KEY", help=f"value by which frames are told apart (default: {_GROUP})"
    )
    add_frame_options(parser, "all")
    add_model_options(parser, ("device",))
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False,
        help="compile a checkpoint or package first, worth it for thousands of frames",
    )  # fmt: skip
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto", help="fused CPU kernels (auto: where they are in the cache)"
    )
    add_model_options(parser, ("input", "module-inputs"))
    add_committee_option(parser)
    add_model_options(parser, ("trusted", *REBUILDING))
    parser.set_defaults(command=measure)


def add_frame_options(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Options that say which frames of a file are meant, and where its reference values are.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Gets them.
    default : str or None
        Frames without ``--frames``.
    """
    said = "" if default is None else f" (default: {default})"
    parser.add_argument("--frames", default=default, metavar="WHICH", help=f"all, a number, or 10:100:5{said}")
    parser.add_argument("--energy-key", default="energy", metavar="KEY", help="name of reference energies (energy)")
    parser.add_argument("--forces-key", default="forces", metavar="KEY", help="name of reference forces (forces)")
    parser.add_argument("--stress-key", default="stress", metavar="KEY", help="name of reference stresses (stress)")
    parser.add_argument(
        "--reference-units", nargs=2, metavar=("LENGTH", "ENERGY"), help="units of reference values (angstrom eV)"
    )


def reference_keys(arguments: argparse.Namespace) -> ReferenceKeys:
    """What :func:`add_frame_options` was told.

    Raises
    ------
    UsageError
        If a name is empty.
    ValueError
        If a unit is unknown.
    """
    from ...units import resolve_units
    from .labelled_frames import ReferenceKeys

    units = resolve_units(*(arguments.reference_units or (None, None)))
    for name in ("energy_key", "forces_key", "stress_key"):
        if not getattr(arguments, name).strip():
            raise UsageError(f"--{name.replace('_', '-')} {getattr(arguments, name)!r}: give the name of a value")
    return ReferenceKeys(arguments.energy_key, arguments.forces_key, arguments.stress_key, units)


def measure(arguments: argparse.Namespace) -> Answer:
    """Compare a model with a file.

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
        If a number is out of range.
    ValueError
        If the output folder is taken.
    StructureError
        If the file cannot be read or has no reference values.
    ModelFileError, ValueError, RuntimeError, ImportError
        If the model cannot be used on it.
    """
    from ...models.units_in_force import log_units, units_of
    from ...units import resolve_units
    from ..single_point import read_types
    from ..typed_inputs import read_inputs, read_settings
    from .error_figures import compare_all, values_of
    from .frame_answers import load_for_frames
    from .labelled_frames import no_references, read_frames
    from .parity_picture import draw_parity

    if arguments.worst < 0:
        raise UsageError(f"--worst {arguments.worst}: give a number >= 0")
    if not arguments.group.strip():
        raise UsageError(f"--group {arguments.group!r}: give the name of a value that the frames have")
    resolve_units(*(arguments.units or (None, None)))  # a slip in them is told before the frames are read
    keys = reference_keys(arguments)
    folder = free_folder(arguments.output)
    frames = read_frames(arguments.data, arguments.frames, keys=keys)
    if not any(frame.is_labelled for frame in frames):
        raise no_references(arguments.data, frames)
    arguments.model = model_of(arguments)
    given = arguments.model, arguments.device, arguments.compile, arguments.trusted, arguments.kernels
    model = load_for_frames(*given, inputs=read_inputs(arguments.input), settings=read_settings(arguments))
    units = units_of(model.info, *(arguments.units or (None, None)))
    log_units(arguments.model, units, model.info)
    found = evaluate_frames(model, units, read_types(arguments.types), frames)
    figures = compare_all(found, arguments.group, arguments.worst)
    document = {
        "model": str(arguments.model),
        "model_sha256": None if model.source is None else model.source.sha256,
        "data": str(arguments.data),
        "units_of_model": units.describe(),
        "units_of_references": keys.units.describe(),
        "atoms": sorted({len(each.answer.forces) for each in found}),
        "periodic_frames": sum(each.frame.structure.box_nm is not None for each in found),
        "kernels": model.info.kernels,
        **figures,
        "output": str(folder),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / TABLE).write_text(table_of(found), encoding="utf-8")
    files = [arguments.model] if model.source is None else [file.path for file in model.source.files]
    title = f"{' + '.join(Path(file).name for file in files)} on {Path(arguments.data).name}, {len(found)} frames"
    (folder / PICTURE).write_bytes(draw_parity(values_of(found), figures, title))
    return Answer(document, "\n".join(_lines(document)))


def evaluate_frames(
    model: Any, units: Units, types: Sequence[int | str] | None, frames: list[LabelledFrame]
) -> list[FrameErrors]:
    """A model's answers for frames, with a progress bar.

    Parameters
    ----------
    model : Model
        The model.
    units : Units
        Its units.
    types : sequence of int or str, optional
        As :class:`.frame_answers.FrameEvaluator`.
    frames : list of LabelledFrame
        The frames.

    Returns
    -------
    list of FrameErrors
    """
    from ...progress import progress_bar
    from .error_figures import FrameErrors
    from .frame_answers import FrameEvaluator

    evaluate = FrameEvaluator(model, units, types)
    return [FrameErrors(frame, evaluate(frame)) for frame in progress_bar(frames, desc="frames", leave=False)]


def table_of(found: Sequence[FrameErrors]) -> str:
    """Frames as CSV, one a line; columns without any value are left out."""
    rows = [each.as_row() for each in found]
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def free_folder(output: str | None) -> Path:
    """The folder to write to.

    Raises
    ------
    ValueError
        If the one that was named is taken or no folder's name.
    """
    if output is None:
        names = itertools.chain([DEFAULT_OUTPUT], (f"{DEFAULT_OUTPUT}-{i}" for i in itertools.count(2)))
        return next(Path(name) for name in names if not (Path(name) / DOCUMENT).exists())
    if not output.strip():
        raise ValueError(f"output = {output!r}: give a path ('.' is the current folder)")
    if (Path(output) / DOCUMENT).exists():
        raise ValueError(f"output folder {output} holds another test ({DOCUMENT}); give another --output")
    reason = folder_obstacle(output)
    if reason:
        raise ValueError(f"output folder {output} {reason}")
    return Path(output)


def _lines(document: dict[str, Any]) -> list[str]:
    atoms = document["atoms"]
    size = f"{atoms[0]} atoms each" if len(atoms) == 1 else f"{atoms[0]} to {atoms[-1]} atoms"
    periodic, frames = document["periodic_frames"], document["frames"]
    box = {0: "not periodic", frames: "periodic"}.get(periodic, f"{periodic} of them periodic")
    lines = [
        f"{frames} frames, {size}, {box}; units of the model {document['units_of_model']}, of the references "
        f"{document['units_of_references']}; kernels: {document['kernels']}",
    ]
    table: list[tuple[str, ...]] = [("", "MAE", "RMSE", "largest")]
    for name, unit, text, count in (
        ("energy", "mev_per_atom", "energy (meV/atom)", "energies"),
        ("force", "mev_per_angstrom", "forces (meV/Å)", "force_components"),
        ("stress", "mev_per_angstrom3", "stress (meV/Å³)", "stress_components"),
    ):
        if document[count]:
            table.append(_row(text, *(document[f"{name}_{kind}_{unit}"] for kind in ("mae", "rmse", "max"))))
        else:
            table.append((text, "-", "-", "-"))
    for heading, part in (("", "force_by_element"), (document["group"], "by_group")):
        for name, row in document[part].items():
            if row["force_mae_mev_per_angstrom"] is not None:
                text = f"  forces, {heading or ''}{' ' * bool(heading)}{name}"
                table.append(_row(text, *(row[f"force_{kind}_mev_per_angstrom"] for kind in ("mae", "rmse", "max"))))
    lines += aligned(table)
    if document["energies"] < frames and document["energies"]:
        lines.append(f"energies of {document['energies']} frames only: the others state none")
    if document["energy_offset_likely"]:
        lines.append(
            f"energies are off by {document['energy_mean_error_mev_per_atom']:.4g} meV/atom on average and scatter by "
            f"{document['energy_std_error_mev_per_atom']:.4g}: model and references may have another zero of energy"
        )
    for text, part, key, unit in (
        ("energy", "worst_energies", "energy_error_mev_per_atom", "meV/atom"),
        ("forces", "worst_forces", "force_rmse_mev_per_angstrom", "meV/Å"),
    ):
        named = ", ".join(f"{row['frame']} ({row[key]:.1f})" for row in document[part])
        if named:
            lines.append(f"worst frames, {text} ({unit}): {named}")
    ranks = [document[f"deviation_rank_correlation{end}"] for end in ("", "_of_means", "_of_atoms")]
    if None not in ranks:
        lines.append(
            "the spread of the models follows their error with a rank correlation of {:.2f} (largest of a frame), "
            "{:.2f} (mean of a frame) and {:.2f} (atoms)".format(*ranks)
        )
    return [*lines, f"{document['output']}/{PICTURE}, {TABLE}, {DOCUMENT}"]


def _row(text: str, *values: float) -> tuple[str, ...]:
    return text, *(f"{value:.3f}" for value in values)


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        numbers = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([f"{row[0]:{widths[0]}}", *numbers]))
    return lines
