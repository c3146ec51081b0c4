"""The command ``info``."""

from __future__ import annotations

import argparse
from typing import Any

from .answer import Answer, pairs
from .model_options import add_model_options


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command.

    Parameters
    ----------
    commands : argparse action
        From ``add_subparsers``.
    common : argparse.ArgumentParser
        The options of every command.
    """
    parser = commands.add_parser("info", parents=[common], help="what a model file is", description=info.__doc__)
    told = {"device": "torch device to tell about (default: cpu)"}
    told |= {"trusted": "SHA-256 that the file must have; it is loaded then"}
    add_model_options(parser, ("model", "device", "trusted"), **told)
    parser.add_argument(
        "--load", action="store_true",
        help="load the model, which runs code stored in checkpoints and packages, to tell about kernels and graphs",
    )  # fmt: skip
    add_model_options(parser, ("module-inputs",))
    parser.set_defaults(command=info)


def info(arguments: argparse.Namespace) -> Answer:
    """Tell what a model file is. Nothing is compiled, no System is built, and without --load or --trusted no code that
    is stored in the file runs."""
    from ..models.graph_inputs import GraphInput
    from ..models.modules.declared_path import declared
    from .model_facts import describe_model

    path = declared(arguments.model, arguments.module_inputs)
    facts = describe_model(path, arguments.device, arguments.trusted, arguments.load)
    units = facts["units"] or "to be stated with --units"
    length = "of its unit of length" if facts["units"] is None else facts["units"].partition(",")[0]
    if facts["units_source"]:
        units += f" (by its {facts['units_source']})"
    later = ": compiled at first use" if facts["can_compile"] else ""
    lines = [
        ("file", facts["path"]),
        ("kind", facts["kind"]),
        ("compile target", facts["compile_target"] or f"none{later}"),
        ("CPU kernels", facts["kernels"]),
        ("CUDA graphs", facts["cuda_graphs"]),
        ("types", " ".join(facts["type_names"])),
        ("cutoff", "none" if facts["cutoff"] is None else f"{facts['cutoff']:g} {length}"),
        ("dtype", facts["dtype"] + " (TF32 allowed)" * facts["allow_tf32"]),
        ("units assumed", f"{units} (NequIP files state none)") if facts["units_assumed"] else ("units", units),
        ("device", facts["device"]),
        ("outputs", ", ".join(facts["outputs"])),
        ("size", f"{facts['size_bytes']} bytes"),
        ("SHA-256", facts["sha256"]),
        ("versions in file", pairs(facts["versions_in_file"])),
        ("installed", pairs(facts["versions_installed"])),
    ]
    if facts["module_inputs"]:
        lines.insert(-5, ("module inputs", facts["module_inputs"]))
    if facts["inputs"]:
        named = ", ".join(str(GraphInput(**each)) for each in facts["inputs"])
        lines.insert(-5, ("inputs", f"{named}: give each with --input NAME=VALUE or modelInputs="))
    if facts["per_edge_type_cutoff"]:
        rows = [f"{center}: {pairs(row)}" for center, row in facts["per_edge_type_cutoff"].items()]
        lines.insert(6, ("  by pair", "; ".join(rows)))
    return Answer(facts, "\n".join(f"{name:17} {value}" for name, value in lines))
