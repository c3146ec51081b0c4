"""What the kernels of a GPU's platform are told of a potential: their text, weights, nodes and units."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...errors import KernelsError
from ...kernels.gpu import warps_for
from ...kernels.gpu.gpu_generate import CELL_THREADS, KernelFacts
from ...models.fused import gpu_kernels
from ..spec import PotentialSpec, SumSpec

#: Room for neighbours of an atom in a new Context; 0: by the density. A list that does not fit gets more, at any time.
FIRST_SLOTS = 0


@dataclass(frozen=True, eq=False)
class Description:
    """Texts, numbers and whole numbers by name, as ``native_force.hpp`` wants them."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    integers: dict[str, np.ndarray] = field(default_factory=dict)


def gpu_obstacle(spec: PotentialSpec | SumSpec) -> str:
    """Why a potential has no kernels on GPUs whatever the model is; empty if it may.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.

    Returns
    -------
    str
    """
    if isinstance(spec, SumSpec):
        return "several models in one force run through Python"
    execution = spec.execution
    if execution.kernels == "none":
        return "it runs by fused kernels, and kernels='none' was given"
    if not execution.tables:
        return "its radial networks are tables, and tables=False was given"
    if execution.device is not None:
        return f"it runs on the device of its Context, but device={execution.device!r} was given"
    if len(spec.placement.charged) or len(spec.placement.own_charges):
        return "models that feel charges run through Python"
    return ""


def describe_potential(spec: PotentialSpec | SumSpec) -> Description:
    """What a Context's kernels need.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.

    Returns
    -------
    Description

    Raises
    ------
    KernelsError
        If it cannot run on GPUs.
    """
    if reason := gpu_obstacle(spec):
        raise KernelsError(f"{spec.origin} cannot run in a native force: {reason}")
    part = spec.parts[0]
    placement = part.placement
    fused = gpu_kernels(part.present_source().driving, part.execution.inputs, warps_for(len(placement.types)))
    facts = KernelFacts.of(fused.source)
    squares, types = facts.n_types**2, facts.n_types
    reciprocal, rest = fused.constants[:squares], fused.constants[squares:]
    n_nodes = len(placement.types)
    region = np.zeros(n_nodes, dtype=np.int64)
    for number, members in enumerate(placement.regions):
        region[members] = number
    atoms = np.arange(placement.n_particles) if placement.atoms is None else placement.atoms
    units = part.units
    return Description(
        {"source": fused.source},
        {
            "weights": fused.weights,
            "reciprocal": reciprocal,
            "scales": rest[:types],
            "shifts": rest[types : 2 * types],
            "charges": rest[2 * types : 3 * types],
            "cap_distance": placement.cap_distances / units.length,
            "facts": np.array([facts.cutoff, part.skin_nm / units.length, units.length, units.energy]),
        },
        {
            "types": placement.types,
            "atoms": atoms,
            "region": region,
            "cap_q": placement.cap_q,
            "cap_m": placement.cap_m,
            "inputs": np.array(facts.inputs),
            "middle": np.array(facts.middle),
            "gate": np.array(facts.gate),
            "sizes": np.array(
                [
                    np.dtype(facts.dtype).itemsize,
                    facts.symmetric,
                    facts.warps,
                    facts.atoms,
                    facts.room,
                    CELL_THREADS,
                    FIRST_SLOTS,
                ]
            ),
        },
    )
