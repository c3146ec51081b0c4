"""The command ``select``."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from ...choices import KERNELS
from ...errors import StructureError, UsageError
from ...files import folder_obstacle
from ...units import NM_PER_ANGSTROM
from ..answer import Answer

DESCRIPTION = """Frames of trajectories that are worth a label: those on which a committee's models disagree, of these
the ones that lie farthest apart (scikit-matter), no two alike. Deviations are read (deviation_ev_per_angstrom of
extended XYZ files, deviation.csv of run folders) or evaluated here with --committee. Of hybrid runs a frame is what
the model saw, with its link caps, or whole molecules. Written: selected.extxyz, which nequip-train reads once it has
labels, select.json, select.png."""
FRAMES, DOCUMENT, PICTURE = "selected.extxyz", "select.json", "select.png"


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
        "select", parents=[common], help="frames of trajectories that are worth a label", description=DESCRIPTION
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="run folder, DCD, XTC, extended XYZ, PDB, ...")
    parser.add_argument("--number", type=int, default=100, metavar="N", help="frames at most (default: 100)")
    parser.add_argument("--topology", metavar="FILE", help="structure with the atoms of DCD and XTC files")
    parser.add_argument("--frames", default="all", metavar="WHICH", help="all, a number, or 10:100:5 (default: all)")
    parser.add_argument(
        "--committee", nargs="+", metavar="MODEL",
        help="evaluate the deviation by these models, in place of what is known",
    )  # fmt: skip
    parser.add_argument("--above", type=float, metavar="X", help="smallest deviation that is worth a label, eV/Å")
    parser.add_argument("--below", type=float, metavar="X", help="from this deviation on a frame is unphysical, eV/Å")
    parser.add_argument("--known", nargs="+", default=[], metavar="FILE", help="frames that have labels: choose others")
    parser.add_argument(
        "--fragments", choices=("capped", "molecules"), default="capped",
        help="of hybrid runs: the model's atoms with their link caps, or the whole molecules that they belong to",
    )  # fmt: skip
    parser.add_argument(
        "--reach", type=float, default=6.0, metavar="Å", help="distances that tell frames apart, at most (default: 6)"
    )
    parser.add_argument(
        "--alike", type=float, default=0.05, metavar="Å",
        help="frames are copies where no sorted distance differs by more (default: 0.05)",
    )  # fmt: skip
    parser.add_argument("--units", nargs=2, metavar=("LENGTH", "ENERGY"), help="the committee's units (angstrom eV)")
    parser.add_argument("--types", nargs="+", metavar="TYPE", help="model type of each atom, or one file with them")
    parser.add_argument("--device", help="torch device of the committee (default: cpu)")
    parser.add_argument("--kernels", choices=KERNELS, default="auto", help="fused CPU kernels (auto: from the cache)")
    parser.add_argument("--output", default="select-output", metavar="DIR", help="folder to write to (select-output)")
    parser.add_argument("--overwrite", action="store_true", help="replace a selection that is there")
    parser.set_defaults(command=select)


def select(arguments: argparse.Namespace) -> Answer:
    """Choose frames and write them.

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
        For numbers that cannot be, or an output that is taken.
    StructureError, RunFolderError, ModelFileError, ValueError
        If frames or models cannot be used, or nothing is left to choose.
    UnavailableError
        If scikit-matter is not installed.
    """
    from .farthest_points import need_skmatter
    from .frame_choice import choose
    from .frame_sources import Reading, read_source

    rule = _rule(arguments)
    _check_output(arguments.output)
    need_skmatter()
    paths = _paths(arguments.output)
    from ..new_files import check_new

    check_new(paths, arguments.overwrite)
    reading = Reading(arguments.frames, arguments.topology, arguments.fragments, rule.reach_nm)
    if len(set(map(_place, arguments.sources))) < len(arguments.sources):
        raise UsageError("a source is named twice; name each once")
    sources = [read_source(name, reading) for name in arguments.sources]
    known = [each for name in arguments.known for each in read_source(name, Reading()).candidates]
    candidates = [each for source in sources for each in source.candidates]
    if not candidates:
        raise StructureError(f"{', '.join(arguments.sources)}: no frames to choose from")
    if arguments.committee:
        from ..single_point import read_types
        from .committee_deviation import with_deviations

        how = arguments.device, arguments.kernels
        types = read_types(arguments.types)
        candidates = with_deviations(candidates, arguments.committee, arguments.units, types, how)
    choice = choose(candidates, known, rule)
    return _written(arguments, choice, rule, sources, len(known))


def _written(arguments: argparse.Namespace, choice: Any, rule: Any, sources: Any, known: int) -> Answer:
    """Files and answer."""
    import ase.io

    from ..new_files import made_whole
    from .candidate import to_frame
    from .selection_picture import draw_selection
    from .selection_report import as_document, in_words

    kinds = [source.kind for source in sources for _ in source.candidates]
    document = as_document(choice, rule, sources, arguments.committee or ())
    frames = [to_frame(choice.candidates[i], kinds[i]) for i in choice.chosen]
    title = f"{len(frames)} of {len(choice.candidates)} frames"
    text = in_words(document, rule, known)
    paths = _paths(arguments.output)
    with made_whole(paths, arguments.overwrite) as scratch:
        ase.io.write(scratch / FRAMES, frames, format="extxyz")
        (scratch / DOCUMENT).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        draw_selection(scratch / PICTURE, choice, rule, title)
    text.append(f"written, without labels: {paths[0]}; {paths[1]}, {paths[2]}")
    return Answer(document | {"output": arguments.output}, "\n".join(text))


def _paths(output: str) -> list[Path]:
    return [Path(output) / name for name in (FRAMES, DOCUMENT, PICTURE)]


def _place(name: str) -> Path:
    return Path(name).expanduser().resolve()


def _check_output(output: str) -> None:
    if not output.strip():
        raise UsageError("--output is empty; give a folder")
    reason = folder_obstacle(output)
    if reason:
        raise UsageError(f"--output {output} {reason}")


def _rule(arguments: argparse.Namespace) -> Any:
    """What is wanted, checked before anything is read."""
    from .frame_choice import Rule

    if arguments.number < 1:
        raise UsageError(f"--number {arguments.number}: give a number >= 1")
    for name in ("above", "below"):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(f"--{name} {value}: give a deviation >= 0, in eV/Å")
    above, below = arguments.above, arguments.below
    if above is not None and below is not None and above >= below:
        raise UsageError(f"--above {above:g} is not below --below {below:g}: no frame can be between the two")
    if not (math.isfinite(arguments.alike) and arguments.alike >= 0):
        raise UsageError(f"--alike {arguments.alike}: give a distance >= 0, in Å")
    if not 1.0 <= arguments.reach <= 100.0:
        raise UsageError(f"--reach {arguments.reach}: give a distance from 1 to 100 Å")
    return Rule(arguments.number, above, below, arguments.alike, arguments.reach * NM_PER_ANGSTROM)
