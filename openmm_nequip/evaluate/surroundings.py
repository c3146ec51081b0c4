"""Charges of the force field around a region, in the images that are nearest to it."""

from __future__ import annotations

import torch

from ..graph.geometry import minimum_image_reduced
from ..graph.graph import Surroundings
from ..models.modules.whole import whole_shifts


def place_charges(
    nodes: torch.Tensor, points: torch.Tensor, charges: torch.Tensor, cell: torch.Tensor | None
) -> tuple[torch.Tensor, Surroundings]:
    """A region in one piece, and charges around it.

    Each charge is in the image that is nearest to the centre of the region, as GROMACS hands it over; one that crosses
    the middle between two images jumps, and the energy with it.

    Parameters
    ----------
    nodes : torch.Tensor, (n_nodes, 3) float64
        The region's atoms and caps.
    points : torch.Tensor, (n_charges, 3) float64
        Positions of the charges, any image.
    charges : torch.Tensor, (n_charges,) float64
        Elementary charges.
    cell : torch.Tensor, (3, 3) float64, optional
        Rows are the cell vectors in OpenMM's reduced form; None where nothing is periodic.

    Returns
    -------
    nodes : torch.Tensor, (n_nodes, 3)
    surroundings : Surroundings
    """
    if cell is None:
        return nodes, Surroundings(points, charges)
    nodes = nodes + torch.as_tensor(whole_shifts(nodes.numpy(), cell.numpy()))
    centre = nodes.mean(dim=0)
    return nodes, Surroundings(centre + minimum_image_reduced(points - centre, cell), charges)
