"""A small structure with every type in it, to trace a model with and to check results on."""

from __future__ import annotations

import math

import torch

from ...graph.fields import model_inputs

#: Spacing of the lattice in cutoffs: some twenty neighbours an atom, no close contacts.
_SPACING = 0.6
_MIN_EDGE = 3


def example_graph(n_types: int, cutoff: float, spacing: float = _SPACING) -> dict[str, torch.Tensor]:
    """A small periodic structure with every type in it, to trace the model with and to check the result on.

    Parameters
    ----------
    n_types : int
        Number of atom types.
    cutoff : float
        In model lengths.
    spacing : float, optional
        Distance of neighbouring atoms in cutoffs.

    Returns
    -------
    dict of str to torch.Tensor
        nequip's input fields; a rattled cubic lattice.
    """
    from vesin import NeighborList

    side = max(_MIN_EDGE, math.ceil(n_types ** (1 / 3)))
    spacing = spacing * cutoff
    generator = torch.Generator().manual_seed(1)
    ticks = torch.arange(side, dtype=torch.float64) * spacing
    positions = torch.cartesian_prod(ticks, ticks, ticks)
    positions += 0.1 * spacing * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
    cell = torch.eye(3, dtype=torch.float64) * side * spacing
    pairs, shifts = NeighborList(cutoff=cutoff, full_list=True).compute(positions.numpy(), cell.numpy(), True, "PS")
    return model_inputs(
        positions,
        torch.arange(side**3) % n_types,
        torch.from_numpy(pairs.astype("int64").T.copy()),
        torch.from_numpy(shifts.astype("float64")),
        cell,
    )
