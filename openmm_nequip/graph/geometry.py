"""Images, edge vectors and forces from derivatives by edge vectors: pure functions of tensors, scriptable.

Everything works in any one unit of length, on any device, and waits for none, so that it can be recorded in a CUDA
graph.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import torch
from torch import Tensor


def minimum_image(vectors: Tensor, cell: Tensor | None = None) -> Tensor:
    """Move vectors by whole cell vectors to the image next to the origin.

    The whole numbers come from rounding fractional coordinates, which gives the true nearest image of every vector
    shorter than half the smallest distance between opposite faces of the cell; bonds always are.

    Parameters
    ----------
    vectors : Tensor, shape (k, 3)
        Difference vectors.
    cell : Tensor, shape (3, 3), optional
        Cell vectors as rows, in the unit of `vectors`; any handedness and any shape of non-zero volume.  None where
        there is no periodicity.

    Returns
    -------
    Tensor, shape (k, 3)
        The images, differentiable with respect to `vectors`.
    """
    if cell is None:
        return vectors
    rows = cell.to(vectors.dtype)
    a, b, c = rows[0], rows[1], rows[2]
    # Cross products rather than an inverse: no device synchronisation, so the function can be captured in a graph.
    faces = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)])
    volume = torch.dot(a, faces[0])
    whole = torch.round(torch.matmul(vectors.detach(), faces.t()) / volume)
    return vectors - torch.matmul(whole, rows)


def minimum_image_reduced(vectors: Tensor, cell: Tensor) -> Tensor:
    """Move vectors to their nearest image in a cell of OpenMM's reduced form.

    One subtraction per axis, last axis first: in a reduced cell at most one image is within half of the diagonal, and
    this finds it.  It is what OpenMM's own kernels do.

    Parameters
    ----------
    vectors : Tensor, shape (k, 3)
        Difference vectors.
    cell : Tensor, shape (3, 3)
        Rows are the cell vectors in OpenMM's reduced form, same unit.

    Returns
    -------
    Tensor, shape (k, 3)
    """
    for axis in (2, 1, 0):
        row = cell[axis]
        vectors = vectors - torch.round(vectors[:, axis] / row[axis]).unsqueeze(1) * row
    return vectors


def near_origin(positions: Tensor, edge_index: Tensor, shifts: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The same graph with every atom in the cell around the origin.

    OpenMM hands over positions of any image. Rounded to float32 they lose a digit for every ten cells; moved by whole
    cells first, with the shifts of the edges to match, they do not, and every edge vector stays what it was.

    Parameters
    ----------
    positions : Tensor, shape (n_atoms, 3)
        Positions, float64.
    edge_index : Tensor of int64, shape (2, n_edges)
        Centre and neighbour.
    shifts : Tensor, shape (n_edges, 3)
        Whole numbers of cell vectors.
    cell : Tensor, shape (3, 3)
        Cell vectors as rows; any regular cell where nothing is periodic.

    Returns
    -------
    positions : Tensor, shape (n_atoms, 3)
    shifts : Tensor, shape (n_edges, 3)
    """
    whole = torch.round(torch.matmul(positions, torch.linalg.inv(cell)))
    ends = whole.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
    return positions - torch.matmul(whole, cell), shifts + ends[1] - ends[0]


def edge_vectors(positions: Tensor, edge_index: Tensor, shifts: Tensor, cell: Tensor) -> Tensor:
    """Vectors r_ij = r_j - r_i + shifts @ cell of edges.

    Parameters
    ----------
    positions : Tensor, shape (n_atoms, 3)
        Positions.
    edge_index : Tensor of int64, shape (2, n_edges)
        Centre and neighbour.
    shifts : Tensor, shape (n_edges, 3)
        Whole numbers of cell vectors.
    cell : Tensor, shape (3, 3)
        Cell vectors as rows.

    Returns
    -------
    Tensor, shape (n_edges, 3)
    """
    ends = positions.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
    # A sum and not a matrix product: three terms need no library, and nequip computes it so.
    return ends[1] - ends[0] + torch.sum(shifts.view(-1, 3, 1) * cell, 1)


def forces_of_edges(gradients: Tensor, edge_index: Tensor, n_atoms: int) -> Tensor:
    """Forces from the derivatives of the energy by the edge vectors.

    Parameters
    ----------
    gradients : Tensor, shape (n_edges, 3)
        dE/dr_ij of each edge.
    edge_index : Tensor of int64, shape (2, n_edges)
        Centre and neighbour.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    Tensor, shape (n_atoms, 3)
    """
    forces = torch.zeros((n_atoms, 3), dtype=gradients.dtype, device=gradients.device)
    return forces.index_add(0, edge_index[0], gradients).index_add(0, edge_index[1], -gradients)
