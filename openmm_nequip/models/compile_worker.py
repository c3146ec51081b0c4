"""Compile one checkpoint or package with AOTInductor: run as ``python -m``, by :mod:`openmm_nequip.models.compiler`.

Only the outputs that a simulation uses are compiled: atomic and total energy, forces and virial. The virial stands in
for nequip's stress, which is not defined without a cell.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch

from .nequip import load_module
from .source import identify

INPUT_FIELDS = ["pos", "edge_index", "atom_types", "cell", "edge_cell_shift"]
OUTPUT_FIELDS = ["atomic_energy", "total_energy", "forces", "virial"]
#: Spacing of the example's lattice in cutoffs: some twenty neighbours an atom, no close contacts.
_SPACING = 0.6
_MIN_EDGE = 3


def example_graph(n_types: int, cutoff: float) -> dict[str, torch.Tensor]:
    """A small periodic structure with every type in it, to trace the model with and to check the result on.

    Parameters
    ----------
    n_types : int
        Number of atom types.
    cutoff : float
        In model lengths.

    Returns
    -------
    dict of str to torch.Tensor
        nequip's input fields; a rattled cubic lattice.
    """
    from vesin import NeighborList

    side = max(_MIN_EDGE, math.ceil(n_types ** (1 / 3)))
    spacing = _SPACING * cutoff
    generator = torch.Generator().manual_seed(1)
    ticks = torch.arange(side, dtype=torch.float64) * spacing
    positions = torch.cartesian_prod(ticks, ticks, ticks)
    positions += 0.1 * spacing * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    cell = torch.eye(3, dtype=torch.float64) * side * spacing
    pairs, shifts = NeighborList(cutoff=cutoff, full_list=True).compute(positions.numpy(), cell.numpy(), True, "PS")
    return {
        "pos": positions,
        "edge_index": torch.from_numpy(pairs.astype("int64").T.copy()),
        "atom_types": torch.arange(side**3) % n_types,
        "cell": cell.view(1, 3, 3),
        "edge_cell_shift": torch.from_numpy(shifts.astype("float64")),
    }


def compile_model(path: str, output: str, device: str) -> None:
    """Write the compiled form of ``path`` to ``output`` after nequip's own check against the eager model.

    Parameters
    ----------
    path : str
        Checkpoint or package.
    output : str
        File to write, ending in ``.nequip.pt2``.
    device : str
        ``"cpu"`` or ``"cuda"``.
    """
    from nequip.utils.aot import aot_export_model
    from nequip.utils.aoti_metadata import NEQUIP_AOTI_INPUTS_KEY, NEQUIP_AOTI_OUTPUTS_KEY

    model: Any = load_module(identify(path))
    facts = dict(model.metadata)
    dim: Any = torch.export.dynamic_shapes.Dim
    metadata = {key: str(int(value)) if isinstance(value, bool) else str(value) for key, value in facts.items()}
    metadata |= {
        "allow_tf32": "0",
        NEQUIP_AOTI_INPUTS_KEY: " ".join(INPUT_FIELDS),
        NEQUIP_AOTI_OUTPUTS_KEY: " ".join(OUTPUT_FIELDS),
    }
    data = example_graph(len(facts["type_names"].split()), float(facts["r_max"]))
    aot_export_model(
        model=model,
        device=torch.device(device),
        input_fields=INPUT_FIELDS,
        output_fields=OUTPUT_FIELDS,
        data={key: value.to(device) for key, value in data.items()},
        batch_map={
            "graph": torch.export.Dim.STATIC,
            "node": dim("num_nodes", min=2, max=torch.inf),
            "edge": dim("num_edges", min=2, max=torch.inf),
        },
        output_path=output,
        # Otherwise the number of threads of this process is written into the code, whatever its user sets later.
        inductor_configs={"aot_inductor.metadata": metadata, "cpp.dynamic_threads": True},
    )


def main() -> None:
    """Parse the command line and compile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("output")
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    compile_model(arguments.path, arguments.output, arguments.device)


if __name__ == "__main__":
    main()
