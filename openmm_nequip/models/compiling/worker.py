"""Compile one checkpoint or package with AOTInductor: run as ``python -m``, by :mod:`.aot`.

Only the outputs that a simulation uses are compiled: atomic and total energy, forces and virial. The virial stands in
for nequip's stress, which is not defined without a cell. ``--target``: those of a target of nequip-compile instead.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ...errors import NotFusableError
from ...graph.fields import INPUT_FIELDS
from ...kernels.program import Program
from ...kernels.read import read_model
from ...upstream.nequip_compile import CompileTarget, compile_target
from ...upstream.nequip_state import default_dtype
from ..carried_program import add_program
from ..eager import load_module
from ..formats import identify
from ..graph_inputs import InputValues, parse_inputs
from ..own_answers import References, make_references
from ..source import ModelSource, check_trusted
from .example import example_graph
from .modifiers import apply_modifiers
from .targets import MODIFIERS_KEY, OUTPUT_FIELDS, dynamic_shapes, stated_versions


class Wish(NamedTuple):
    """What a compiled file is to be.

    Parameters
    ----------
    modifiers, optional
        As in :func:`openmm_nequip.models.compiling.modifiers.apply_modifiers`.
    target : str
        A target of nequip-compile, which decides what the file takes and gives; empty for ours.
    carry : bool
        Whether the file carries the program of the model, if it has one, see :mod:`..carried_program`.
    """

    modifiers: Sequence[str] = ()
    optional: bool = False
    target: str = ""
    carry: bool = False


NOTHING_MORE = Wish()


def compile_model(
    source: ModelSource,
    output: str,
    device: str,
    inputs: InputValues = (),
    wish: Wish = NOTHING_MORE,
) -> None:
    """Write the compiled form of a model to ``output`` after nequip's own check against the eager model.

    Parameters
    ----------
    source : ModelSource
        Checkpoint or package.
    output : str
        File to write, ending in ``.nequip.pt2``.
    device : str
        ``"cpu"`` or ``"cuda"``.
    inputs : tuple of (str, number)
        Values of the model's inputs beside the structure.
    wish : Wish
        What the file is to be.
    """
    from nequip.utils.aot import aot_export_model
    from nequip.utils.aoti_metadata import NEQUIP_AOTI_INPUTS_KEY, NEQUIP_AOTI_OUTPUTS_KEY

    model: Any = load_module(source, inputs)
    carried = _program(model) if wish.carry else None
    applied = apply_modifiers(model, wish.modifiers, torch.device(device), "aotinductor", wish.optional)
    how = CompileTarget(list(INPUT_FIELDS), OUTPUT_FIELDS) if not wish.target else compile_target(wish.target)
    facts = dict(model.metadata)
    metadata = {key: str(int(value)) if isinstance(value, bool) else str(value) for key, value in facts.items()}
    metadata |= stated_versions() | {
        "allow_tf32": "0",
        NEQUIP_AOTI_INPUTS_KEY: " ".join(how.inputs),
        NEQUIP_AOTI_OUTPUTS_KEY: " ".join(how.outputs),
    }
    if applied:
        metadata[MODIFIERS_KEY] = " ".join(applied)
    data = how.example(example_graph(len(facts["type_names"].split()), float(facts["r_max"])))
    aot_export_model(
        model=model,
        device=torch.device(device),
        input_fields=how.inputs,
        output_fields=how.outputs,
        data={key: value.to(device) for key, value in data.items()},
        batch_map=how.dimensions(dynamic_shapes()),
        output_path=output,
        # Otherwise the number of threads of this process is written into the code, whatever its user sets later.
        inductor_configs={"aot_inductor.metadata": metadata, "cpp.dynamic_threads": True},
    )
    if carried is not None:
        add_program(output, *carried)


def _program(model: Any) -> tuple[Program, References] | None:
    """A model as plain numbers, and its own answers; None where the fused kernels do not know it."""
    try:
        with default_dtype(torch.float64):
            program = read_model(model)
    except NotFusableError:
        return None
    return program, make_references(model, {key: str(value) for key, value in model.metadata.items()})


def main() -> None:
    """Parse the command line and compile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("output")
    parser.add_argument("--device", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--modifiers", nargs="*", default=[])
    parser.add_argument("--optional", action="store_true")
    parser.add_argument("--carry", action="store_true")
    parser.add_argument("--inputs", type=json.loads, default={})
    parser.add_argument("--target", default="")
    given = parser.parse_args()
    source = identify(given.path)
    check_trusted(source, given.sha256)
    inputs = parse_inputs(given.inputs)
    wish = Wish(given.modifiers, given.optional, given.target, given.carry)
    compile_model(source, given.output, given.device, inputs, wish)


if __name__ == "__main__":
    main()
