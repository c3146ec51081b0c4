"""What the kernels of a GPU's platform are told of a potential: their text, weights, nodes and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import KernelsError
from ...evaluate.placement import Placement
from ...kernels.gpu import warps_for
from ...kernels.gpu.gpu_generate import CELL_THREADS, KernelFacts
from ...models import ModelSource
from ...models.fused import Kept, gpu_kernels
from ...units import Units
from ..spec import PotentialSpec, SumSpec

#: Room for neighbours of an atom in a new Context; 0: by the density. A list that does not fit gets more, at any time.
FIRST_SLOTS = 0


@dataclass(frozen=True, eq=False)
class Description:
    """Texts, numbers and whole numbers of a model by name, as ``native_force.hpp`` wants them.

    Parameters
    ----------
    texts, numbers, integers : dict
        By name.
    kernels : Kept
        Whose they are, with the model's own answers.
    """

    texts: dict[str, str]
    numbers: dict[str, np.ndarray]
    integers: dict[str, np.ndarray]
    kernels: Kept


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
    for part in spec.parts:
        execution = part.execution
        if execution.kernels == "none":
            return "it runs by fused kernels, and kernels='none' was given"
        if execution.device is not None and execution.device.startswith("cpu"):
            return f"it runs on the GPU of its Context, but device={execution.device!r} was given"
        if len(part.placement.charged) or len(part.placement.own_charges):
            return "models that feel charges run through Python"
    return ""


def driving_models(part: PotentialSpec) -> tuple[ModelSource, ...]:
    """The files whose mean is a potential: one, or the members of a committee whose mean drives."""
    source = part.source.driving
    return source.members or (source,)


def describe_potential(spec: PotentialSpec | SumSpec) -> list[Description]:
    """What a Context's kernels need, for each model; those of a committee have one list of neighbours.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        The potential.

    Returns
    -------
    list of Description

    Raises
    ------
    KernelsError
        If it cannot run on GPUs.
    """
    if reason := gpu_obstacle(spec):
        raise KernelsError(f"{spec.origin} cannot run in a native force: {reason}")
    found: list[Description] = []
    for part in spec.parts:
        how, warps = part.execution, warps_for(len(part.placement.types))
        present = part.present_source().driving
        kept = [gpu_kernels(source, how.inputs, warps, how.tables) for source in present.members or (present,)]
        found += describe_kernels(kept, part.placement, part.units, part.skin_nm, len(found))
    return found


def describe_kernels(
    kernels: Sequence[Kept], placement: Placement, units: Units, skin_nm: float, number: int = 0
) -> list[Description]:
    """The mean of models on the same nodes.

    Parameters
    ----------
    kernels : sequence of Kept
        Of each model.
    placement : Placement
        Which particles are which nodes.
    units : Units
        Of the models.
    skin_nm : float
        Verlet skin in nm.
    number : int
        Models of the force that come before these.

    Returns
    -------
    list of Description
        Energies have the models' share of the mean in their unit.

    Raises
    ------
    ValueError
        If a node has a type that a model does not know.
    """
    facts = [KernelFacts.of(each.fused.source) for each in kernels]
    # The list is that of the first model of a type of numbers, in which directions are kept; it reaches as far as any.
    reach = max(each.cutoff for each in facts)
    owners: dict[str, int] = {}
    found = []
    for k, (own, each) in enumerate(zip(kernels, facts, strict=True)):
        owner = owners.setdefault(each.dtype, number + k)
        lists = -1 if owner == number + k else owner
        scale = np.array([reach, skin_nm / units.length, units.length, units.energy / len(kernels)])
        found.append(_describe(own, each, placement, scale, lists))
    return found


def _describe(kept: Kept, facts: KernelFacts, placement: Placement, scale: np.ndarray, lists: int) -> Description:
    fused = kept.fused
    squares, types = facts.n_types**2, facts.n_types
    unknown = placement.types[(placement.types < 0) | (placement.types >= types)]
    if len(unknown):
        raise ValueError(
            f"the force has atoms of type {int(unknown[0])}; expected 0 to {types - 1}, the types of its model: make "
            "the System again from this model"
        )
    reciprocal, rest = fused.constants[:squares], fused.constants[squares:]
    region = np.zeros(len(placement.types), dtype=np.int64)
    for number, members in enumerate(placement.regions):
        region[members] = number
    atoms = np.arange(placement.n_particles) if placement.atoms is None else placement.atoms
    sizes = (
        np.dtype(facts.dtype).itemsize, facts.symmetric, facts.warps, facts.atoms, facts.room, CELL_THREADS,
        FIRST_SLOTS, facts.basis,
    )  # fmt: skip
    return Description(
        {"source": fused.source},
        {
            "weights": fused.weights,
            "reciprocal": reciprocal,
            "scales": rest[:types],
            "shifts": rest[types : 2 * types],
            "charges": rest[2 * types : 3 * types],
            "cap_distance": placement.cap_distances / scale[2],
            "facts": scale,
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
            "sizes": np.array(sizes),
            "lists": np.array([lists]),
        },
        kept,
    )
