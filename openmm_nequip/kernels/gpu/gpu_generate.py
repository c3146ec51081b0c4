"""The text of a model's GPU kernels, in OpenMM's common dialect, and its weights.

The ``.cc`` files beside this one are the same for all models; :mod:`.layer_kernels` writes what belongs to the model
at hand. The first line of the text has, in a comment, what the caller must know to launch the kernels: a
:class:`KernelFacts`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import NotFusableError
from ..backend import Generated
from ..program import NequIPProgram, Program
from ..tables import Table
from .dialect import harmonics_macros
from .gpu_layers import GROUP_BYTES, MOST_TEAMS, GpuModel, place_model
from .layer_kernels import backward_kernel, forward_kernel

#: Threads that sort atoms into cells.
CELL_THREADS = 256
_HEADER = "// kernels: "
#: Exponents of the cutoff up to here are made by multiplication.
_MOST_WHOLE_POWER = 16


@dataclass(frozen=True)
class KernelFacts:
    """What a caller of the kernels needs to know.

    Parameters
    ----------
    dtype : str
        Of the model: type of ``number``.
    n_types : int
        Types of atoms.
    cutoff : float
        Largest cutoff, in the model's unit.
    symmetric : bool
        Whether the cutoffs of both directions of an edge are the same.
    warps : int
        Warps of a team, which takes an atom through a layer.
    atoms : int
        Teams of a group where barriers of a single warp are known, which is so on CUDA; elsewhere one.
    basis : int
        Functions of the radial basis where radial networks are evaluated: layers then get the basis of edges and its
        slope in place of fractions. 0 with tables.
    room : int
        Numbers of global memory for each atom, for what a group's own memory does not hold.
    inputs, middle, gate : list of int
        Width of the rows of each layer.
    """

    dtype: str
    n_types: int
    cutoff: float
    symmetric: bool
    warps: int
    atoms: int
    basis: int
    room: int
    inputs: list[int]
    middle: list[int]
    gate: list[int]

    @classmethod
    def of(cls, source: str) -> KernelFacts:
        """Those of a text.

        Raises
        ------
        ValueError
            If it does not begin with them.
        """
        line = source.partition("\n")[0]
        if not line.startswith(_HEADER):
            raise ValueError(f"got a text that begins with {line[:40]!r}, expected {_HEADER!r} and facts")
        return cls(**json.loads(line[len(_HEADER) :]))


def generate_gpu(program: Program, tables: list[Table] | None, warps: int = 1) -> Generated:
    """Write the kernels and pack the weights.

    Parameters
    ----------
    program : Program
        The model.
    tables : list of Table, optional
        One for each layer; without them radial networks are evaluated.
    warps : int
        Warps that share an atom.

    Returns
    -------
    Generated
        Constants: reciprocal cutoffs (n_types, n_types), scales, shifts and charges (n_types,), behind one another.

    Raises
    ------
    NotFusableError
        If the model has something that the GPU kernels do not know.
    """
    if not isinstance(program, NequIPProgram):
        raise NotFusableError("the GPU kernels know NequIP models alone")
    if program.readout[-1].shape[1] != 1:
        raise NotFusableError(f"its readout has {program.readout[-1].shape[1]} outputs instead of an energy")
    model, weights = place_model(program, tables, warps)
    kernels = [kernel(model, own) for own in model.layers for kernel in (forward_kernel, backward_kernel)]
    most = max(used for _, _, used in kernels) * model.number_bytes
    facts = KernelFacts(
        dtype=program.dtype,
        n_types=program.n_types,
        cutoff=float(1 / program.reciprocal_cutoffs.min()),
        symmetric=bool(np.array_equal(program.reciprocal_cutoffs, program.reciprocal_cutoffs.T)),
        warps=warps,
        atoms=max(1, min(MOST_TEAMS, GROUP_BYTES // most)) if warps == 1 else 1,
        basis=model.basis,
        room=max(room for _, room, _ in kernels),
        inputs=[own.rows.inputs.width for own in model.layers],
        middle=[own.rows.middle.width for own in model.layers],
        gate=[own.rows.gate.width for own in model.layers],
    )
    source = "\n".join(
        [
            _HEADER + json.dumps(asdict(facts)),
            f"typedef {'float' if program.dtype == 'float32' else 'double'} number;",
            *(f"#define {name} {value}" for name, value in _macros(program, model, facts).items()),
            _file("prelude.cc"),
            _file("neighbors.cc"),
            _file("radial_basis.cc") if model.basis else "",
            _file("activations.cc"),
            *harmonics_macros(program.harmonics, model.numbers),
            *(text for text, _, _ in kernels),
            _file("forces.cc"),
        ]
    )
    charges = program.repulsion.numbers if program.repulsion is not None else np.zeros(program.n_types)
    constants = [program.reciprocal_cutoffs.ravel(), program.scales, program.shifts, charges]
    return Generated(source, weights, np.concatenate(constants).astype(np.float64))


def _macros(program: NequIPProgram, model: GpuModel, facts: KernelFacts) -> dict[str, object]:
    repulsion = program.repulsion
    macros: dict[str, object] = {
        "TYPES": program.n_types,
        "KNOTS": model.knots,
        "WARPS": facts.warps,
        "ROOM": facts.room,
        "CELL_THREADS": CELL_THREADS,
        "SYMMETRIC_CUTOFFS": int(facts.symmetric),
        "REPULSION": int(repulsion is not None),
    }
    if repulsion is not None:
        macros |= {"REPULSION_FACTOR": repr(repulsion.factor), "REPULSION_POWER": repr(repulsion.power)}
    if model.basis:
        basis = program.basis
        whole = basis.power == int(basis.power) and 0 < basis.power <= _MOST_WHOLE_POWER
        macros |= {
            "BASIS": basis.size,
            "BASIS_ROOTS": ", ".join(repr(float(root)) for root in basis.roots),
            "BASIS_FACTOR": repr(float(basis.factor)),
            "CUTOFF_POWER": repr(float(basis.power)),
            "WHOLE_POWER": int(basis.power) if whole else 0,
        }
    return macros


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
