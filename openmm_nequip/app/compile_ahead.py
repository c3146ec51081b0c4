"""The command ``compile``."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import KERNELS
from ..errors import UsageError
from .answer import Answer
from .model_options import add_model_options

DESCRIPTION = """Compile a model now, so that no Context, and no other process with the same cache, has to wait for it.
The options are those that the model will be run with. A file that is compiled already needs nothing. With --mode
torchscript a file is written instead, and compared with the model it came from: energy, forces and virial. With --mode
aotinductor a .nequip.pt2 file is, which for CPUs carries what is needed to be run by the fused kernels."""


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
        "compile", parents=[common], help="compile a model ahead of its first use", description=DESCRIPTION
    )
    add_model_options(parser, ("model",), model="checkpoint, package or nequip.net: id")
    parser.add_argument(
        "--mode", choices=("cache", "torchscript", "aotinductor"), default="cache",
        help="cache: what OpenMM needs here, kept in the cache folder (default); torchscript: a .nequip.pth file, for "
        "TorchForce and other engines; aotinductor: a .nequip.pt2 file, for machines of this kind with this torch",
    )  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="of the other modes (default: the model's name, here)")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it is there")
    add_model_options(parser, ("device",), device="torch device that the model will run on (default: cpu)")
    parser.add_argument(
        "--kernels", choices=KERNELS, default="auto",
        help="fused: the fused CPU kernels; none: nequip's own compiled model (auto: fused where they can be had)",
    )  # fmt: skip
    parser.add_argument(
        "--tables", action=argparse.BooleanOptionalAction, default=True,
        help="tabulate radial networks in fused kernels, to rounding noise (default: true)",
    )  # fmt: skip
    parser.add_argument(
        "--modifiers", nargs="*", metavar="NAME",
        help="nequip's modifiers for CUDA, e.g. enable_OpenEquivariance (default: those installed)",
    )  # fmt: skip
    add_model_options(parser, ("input", "trusted"))
    parser.set_defaults(command=compile_ahead)


def compile_ahead(arguments: argparse.Namespace) -> Answer:
    """Compile a model now, or write it as a compiled file.

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
    CompileError, KernelsError, ModelFileError, ModifierError, ImportError, ValueError
        If the model cannot be compiled.
    """
    if arguments.mode != "cache":
        return _written(arguments)
    if arguments.output is not None or arguments.overwrite:
        raise UsageError(
            "--output and --overwrite belong to --mode torchscript and aotinductor; without one the cache folder is "
            "filled"
        )
    from ..models import Execution
    from .compiling_facts import compile_and_describe
    from .typed_inputs import read_inputs

    inputs: Any = read_inputs(arguments.input)
    how = Execution(
        arguments.device, None, arguments.kernels, arguments.tables, arguments.modifiers, inputs=inputs
    )
    facts = compile_and_describe(arguments.model, how, arguments.trusted)
    made = facts["made"]
    lines = [
        ("file", facts["path"]),
        ("kind", facts["kind"]),
        ("device", facts["device"]),
        ("kernels", facts["kernels"]),
        ("target", facts["compile_target"] or "none"),
        ("cache", facts["cache"]),
        *(("made", f"{item['name']} ({item['size_bytes']} bytes)") for item in made),
        ("seconds", f"{facts['seconds']:.1f}"),
    ]
    if not made:
        lines.insert(-1, ("made", "nothing: it was compiled already"))
    return Answer(facts, "\n".join(f"{name:9} {value}" for name, value in lines))


def _written(arguments: argparse.Namespace) -> Answer:
    """Write a TorchScript file or a package."""
    if arguments.mode == "torchscript" and arguments.modifiers is not None:
        raise UsageError("--modifiers belongs to the other modes; TorchScript files are written as the model is")
    if arguments.kernels != "auto" or not arguments.tables:
        raise UsageError("--kernels and --no-tables belong to --mode cache; give them to what runs the file")
    from ..models import Execution
    from ..models.graph_inputs import parse_inputs
    from .compiling_facts import write_and_describe
    from .typed_inputs import read_inputs

    modifiers = None if arguments.modifiers is None else tuple(arguments.modifiers)
    inputs = parse_inputs(read_inputs(arguments.input))
    execution = Execution(device=arguments.device, compile=False, modifiers=modifiers, inputs=inputs)
    facts = write_and_describe(
        arguments.mode, arguments.model, arguments.output, execution, arguments.trusted, arguments.overwrite
    )
    found = facts.get("differences", {})
    lines = [
        ("file", facts["path"]),
        ("made", f"{facts['output']} ({facts['size_bytes']} bytes)"),
        ("SHA-256", facts["sha256"]),
        *(("kernels", facts[name]) for name in ("kernels",) if name in facts),
        ("seconds", f"{facts['seconds']:.1f}"),
    ]
    if found:
        told = ", ".join(f"{k} {v:.1e}" for k, v in found.items())
        lines.insert(3, ("checked", f"against its model, largest differences: {told}"))
    return Answer(facts, "\n".join(f"{name:9} {value}" for name, value in lines))
