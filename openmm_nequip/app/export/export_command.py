"""The command ``export``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UsageError
from ..answer import Answer
from ..model_options import add_model_options


class Target(NamedTuple):
    """An engine."""

    files: tuple[str, ...]  #: what is made in the folder
    needs_structure: bool
    options: tuple[str, ...]  #: of the command, that belong to it alone


#: By the names that users type.
TARGETS = {
    "gromacs": Target(("model.pt", "nnpot.mdp"), False, ("module_inputs",)),
    "cp2k": Target(("model.nequip.pth", "input.inp"), True, ("dialect",)),
    "lammps": Target(("model.nequip.pth", "structure.data", "in.lammps"), True, ("form", "device")),
    "ase": Target(("model.nequip.pth", "structure.extxyz", "run.py"), True, ()),
}

#: What LAMMPS takes a model as, with the name of the file.
FORMS = {"torchscript": "model.nequip.pth", "aotinductor": "model.nequip.pt2", "mliap": "model.nequip.lmp.pt"}

DESCRIPTION = """Write a model, and a structure, for another engine. gromacs: an NNPot module and the .mdp lines that
use it; cp2k: a TorchScript file and an input with &NEQUIP, cell and coordinates; lammps: a file for pair_nequip or
pair_allegro, or for ML-IAP (--form), a data file and an input script (units metal); ase: a file for nequip's
calculator, the structure and a script. What was written is loaded again and given the tensors that the engine hands
over; energy and forces have to be those of the model. NequIP and Allegro
models: checkpoints, packages and TorchScript files."""


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
        "export", parents=[common], help="a model and a structure for GROMACS, CP2K, LAMMPS or ASE",
        description=DESCRIPTION,
    )  # fmt: skip
    model = "checkpoint, package, TorchScript file or nequip.net: id"
    add_model_options(parser, ("model", "structure"), ("structure",), model=model)
    parser.add_argument("--format", required=True, choices=tuple(TARGETS), help="the engine")
    parser.add_argument("--output", metavar="FOLDER", help="where to write (default: MODEL's name-format, here)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--module-inputs", nargs="+", metavar="NAME",
        help="gromacs: what the module takes, in order (default: atom-positions atom-numbers box atom-pairs "
        "pair-shifts; also pbc; without atom-pairs it finds its pairs itself)",
    )  # fmt: skip
    parser.add_argument(
        "--form", choices=FORMS,
        help="lammps: the model as TorchScript (default) or compiled by AOTInductor, for pair_nequip or pair_allegro, "
        "or for ML-IAP",
    )  # fmt: skip
    add_model_options(parser, ("device",), device="lammps, --form aotinductor: what it is compiled for (default: cpu)")
    parser.add_argument("--dialect", choices=("new", "old"), help="cp2k: of CP2K since March 2026 (default) or before")
    fixed = "what the model takes beside the structure, fixed in what is written: charge=1"
    add_model_options(parser, ("box", "frame", "units", "types", "input", "trusted"), input=fixed)
    parser.set_defaults(command=export)


def export(arguments: argparse.Namespace) -> Answer:
    """Write a model and a structure for another engine.

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
        If options do not go together, or a file is there already.
    ExportError
        If the model cannot be given to that engine, or the files do not give its numbers there.
    ModelFileError, ModelInputError, StructureError, ValueError, ImportError
        If the model or the structure cannot be used.
    """
    target = TARGETS[arguments.format]
    _check_options(arguments, target)
    from ...models.units_in_force import log_units
    from ...units import resolve_units
    from ..compiling_facts import compiled_name
    from ..new_files import made_whole
    from ..single_point import read_types
    from ..typed_inputs import read_inputs
    from .exported_model import opened

    typed = arguments.units or (None, None)
    resolve_units(*typed)  # a slip in them is told before the model is read
    name = compiled_name(arguments.model, "")
    folder = Path(arguments.output if arguments.output is not None else f"{name}-{arguments.format}")
    types, inputs = read_types(arguments.types), read_inputs(arguments.input)
    given = arguments.model, arguments.structure, typed, types, inputs
    files = (FORMS[_form(arguments)], *target.files[1:]) if arguments.format == "lammps" else target.files
    more = {"trusted": arguments.trusted, "box": arguments.box, "frame": arguments.frame}
    with (
        made_whole([folder / file for file in files], arguments.overwrite) as scratch,
        opened(*given, **more) as model,
    ):
        log_units(arguments.model, model.units, model.script.info)
        units = model.units
        found = _writer(arguments)(model, scratch)
        family, source = model.family, model.source
        checked_on = "a made-up crystal with every type" if model.made_up else arguments.structure
    document = {
        "format": arguments.format, "folder": str(folder), "files": list(files), "family": family,
        "path": source.path, "sha256": source.sha256, "checked_on": checked_on, "units_of_model": units.describe(),
    } | found  # fmt: skip
    differences = ", ".join(f"{key} {value:.1e}" for key, value in found["differences"].items())
    lines = [
        ("folder", str(folder)),
        ("files", " ".join(files)),
        ("model", f"{family}, {source.path}; units {units.describe()}"),
        ("checked", f"as {arguments.format} evaluates it, on {checked_on}; relative differences: {differences}"),
        *(("note", note) for note in found["notes"]),
    ]
    return Answer(document, "\n".join(f"{name:9} {value}" for name, value in lines))


def _check_options(arguments: argparse.Namespace, target: Target) -> None:
    """Refuse options of another engine, and a missing structure, before any time is spent."""
    for name in {option for each in TARGETS.values() for option in each.options} - set(target.options):
        if getattr(arguments, name) is not None:
            owner = next(key for key, each in TARGETS.items() if name in each.options)
            raise UsageError(f"--{name.replace('_', '-')} belongs to --format {owner}, not to {arguments.format}")
    if arguments.device is not None and arguments.form != "aotinductor":
        raise UsageError("--device belongs to --form aotinductor: files of other forms run wherever LAMMPS runs them")
    if arguments.structure is None and target.needs_structure:
        raise UsageError(f"--format {arguments.format} writes the atoms as well: give STRUCTURE")
    if arguments.structure is None:
        for name in ("box", "types"):
            if getattr(arguments, name) is not None:
                raise UsageError(f"--{name} belongs to a structure: give STRUCTURE")
    if arguments.format == "gromacs":
        from .gromacs_export import check_module_inputs

        check_module_inputs(arguments.module_inputs)


def _form(arguments: argparse.Namespace) -> str:
    """What LAMMPS is to take the model as."""
    return arguments.form or next(iter(FORMS))


def _writer(arguments: argparse.Namespace) -> Callable[[Any, Path], dict[str, Any]]:
    """The function that writes the files of a format."""
    if arguments.format == "gromacs":
        from .gromacs_export import export_gromacs

        return lambda model, folder: export_gromacs(model, folder, arguments.module_inputs)
    if arguments.format == "cp2k":
        from .cp2k_export import NEW, export_cp2k

        return lambda model, folder: export_cp2k(model, folder, arguments.dialect or NEW)
    if arguments.format == "lammps":
        from .lammps_export import export_lammps

        return lambda model, folder: export_lammps(model, folder, _form(arguments), arguments.device)
    from .ase_export import export_ase

    return export_ase
