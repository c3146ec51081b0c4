"""What OpenMM needs of a model compiled ahead of time: the fields, the dynamic dimensions and the example to trace.

Used by the compile targets that ``nequip-compile`` finds under the names of :data:`TARGETS`, and by our own compilation
at first use.

References
----------
The form of a target follows the table of targets in nequip's ``scripts``, which ``nequip-compile`` reads.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..._version import __version__
from ...graph.fields import (
    ATOMIC_ENERGY,
    CELL,
    EDGE_INDEX,
    FORCES,
    INPUT_FIELDS,
    POSITIONS,
    SHIFTS,
    TOTAL_ENERGY,
    TYPES,
    VIRIAL,
    model_inputs,
)
from ...graph.padding import FEWEST
from ...upstream.frames import caller_variable
from ...upstream.inductor import with_dynamic_threads

#: nequip's names of what a simulation needs.
ENERGY_FIELDS = [TOTAL_ENERGY, FORCES]
#: All that this package can use. The virial stands in for nequip's stress, which is not defined without a cell.
OUTPUT_FIELDS = [ATOMIC_ENERGY, TOTAL_ENERGY, FORCES, VIRIAL]
#: Where a package says with which of nequip's modifiers it was compiled.
MODIFIERS_KEY = "openmm-nequip_modifiers"
#: Side of the cube given to an example without a cell, in model lengths.
_OPEN_CELL = 1e3


def dynamic_shapes() -> dict[str, Any]:
    """Any number of atoms and edges from two on, in a single structure.

    Returns
    -------
    dict
        nequip's ``batch_map``: a ``torch.export`` dimension for each of ``graph``, ``node`` and ``edge``.
    """
    dim: Any = torch.export.dynamic_shapes.Dim
    return {
        "graph": torch.export.Dim.STATIC,
        "node": dim("num_nodes", min=FEWEST, max=torch.inf),
        "edge": dim("num_edges", min=FEWEST, max=torch.inf),
    }


def stated_versions() -> dict[str, str]:
    """Metadata that says with what a file was compiled: ``torch_version`` and so on, of what is installed."""
    found = {"openmm-nequip_version": __version__, "torch_version": torch.__version__}
    for name in ("nequip", "nequip-allegro", "e3nn"):
        try:
            found[f"{name}_version"] = version(name)
        except PackageNotFoundError:
            continue
    return found


def single_structure(batch_map: dict[str, Any]) -> dict[str, Any]:
    """Adapt nequip-compile's dynamic dimensions to one structure, and its work to what OpenMM needs of the file.

    The code uses as many threads as its caller has, see :func:`openmm_nequip.upstream.inductor.with_dynamic_threads`,
    for as long as nequip-compile holds the returned dict: until it ends. The file's metadata get
    :func:`stated_versions`, which nequip-compile leaves out; they are a variable of the caller (nequip 0.17 to 0.19),
    and left alone if that is no dict.

    Parameters
    ----------
    batch_map : dict
        As nequip-compile made it from ``--num-frames``, ``--num-nodes`` and ``--num-edges``.

    Returns
    -------
    dict
        The same with one structure for good.
    """
    metadata = caller_variable("metadata", 1)
    if isinstance(metadata, dict):
        metadata.update(stated_versions())
    return with_dynamic_threads(batch_map | {"graph": torch.export.Dim.STATIC})


def example_structure(data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make a frame of the training data fit to trace a model with.

    Parameters
    ----------
    data : dict of str to torch.Tensor
        nequip's fields of one frame: positions (n_atoms, 3), edge_index (2, n_edges) and so on; with or without a cell.

    Returns
    -------
    dict of str to torch.Tensor
        The :data:`INPUT_FIELDS`, contiguous, float64 and int64; a frame without a cell gets one that no edge crosses.

    Raises
    ------
    ValueError
        If there is more than one frame, or fewer than two atoms or edges.
    """
    positions, edges = data[POSITIONS], data[EDGE_INDEX]
    cell = data.get(CELL)
    count = data["num_atoms"].numel() if "num_atoms" in data else 1
    if count != 1 or (cell is not None and cell.numel() != 9):
        raise ValueError(
            f"the example to compile with has {count} frames; one is needed: give --data-path with a single frame"
        )
    if positions.shape[0] < FEWEST or edges.shape[1] < FEWEST:
        raise ValueError(
            f"the example to compile with, a frame of the training data, has {positions.shape[0]} atoms and "
            f"{edges.shape[1]} edges; at least {FEWEST} of both are needed: give --data-path with a larger frame"
        )
    shifts = data.get(SHIFTS)
    if cell is None or shifts is None:
        cell = positions.new_ones(3).diag() * _OPEN_CELL
        shifts = positions.new_zeros((edges.shape[1], 3))
    example = model_inputs(positions, data[TYPES], edges, shifts, cell)
    # Precision and strides of the example are written into the code; simulations hand over contiguous float64.
    return {
        name: (tensor.double() if tensor.is_floating_point() else tensor.long()).contiguous()
        for name, tensor in example.items()
    }


def _target(outputs: list[str]) -> dict[str, Any]:
    return {
        "input": list(INPUT_FIELDS),
        "output": outputs,
        "batch_map_settings": single_structure,
        "data_settings": example_structure,
    }


#: Targets of nequip-compile by name.
TARGETS = {"openmm": _target(ENERGY_FIELDS), "openmm-full": _target(OUTPUT_FIELDS)}
