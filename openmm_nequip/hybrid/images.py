"""Nearest images in a periodic box, and how close a cluster of points comes to its own images."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from ..graph.geometry import minimum_image

_Points = Sequence[Sequence[float]] | np.ndarray


def nearest_image(vectors: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Move vectors by whole box vectors to the image next to the origin.

    Parameters
    ----------
    vectors : ndarray, shape (..., 3)
        Difference vectors.
    box : ndarray, shape (3, 3)
        Box vectors as rows in the same unit, in OpenMM's reduced form.

    Returns
    -------
    ndarray, shape (..., 3)
        The images; the true nearest ones where shorter than half the smallest distance between opposite faces.
    """
    flat = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float64).reshape(-1, 3))
    return minimum_image(flat, torch.from_numpy(np.ascontiguousarray(box))).numpy().reshape(np.shape(vectors))


def gather(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Move points by box vectors so that they form one connected cluster.

    Every point is put next to its nearest neighbour among those placed before (a minimum spanning tree), so a region
    that is wrapped atom by atom, or made of several molecules, comes together.

    Parameters
    ----------
    points : ndarray, shape (k, 3)
        Positions in nm.
    box : ndarray, shape (3, 3)
        Box vectors as rows in nm.

    Returns
    -------
    ndarray, shape (k, 3)
        Images of the points.
    """
    placed = points.copy()
    count = len(points)
    waiting = np.ones(count, dtype=bool)
    waiting[0] = False
    nearest = np.zeros(count, dtype=int)
    distance = np.full(count, np.inf)
    last = 0
    for _ in range(count - 1):
        step = nearest_image(points - placed[last], box)
        length = np.einsum("ij,ij->i", step, step)
        closer = waiting & (length < distance)
        distance[closer], nearest[closer] = length[closer], last
        last = int(np.argmin(np.where(waiting, distance, np.inf)))
        start = placed[nearest[last]]
        placed[last] = start + nearest_image(points[last] - start, box)
        waiting[last] = False
    return placed


def box_share(points: _Points, box: np.ndarray) -> float:
    """Return the largest share of the box, between two opposite faces, that the gathered cluster takes up.

    Above one half, the nearest images of two of its points may not be the two points themselves.

    Parameters
    ----------
    points : array_like, shape (k, 3)
        Positions of a region in nm.
    box : ndarray, shape (3, 3)
        Box vectors as rows in nm, in OpenMM's reduced form.

    Returns
    -------
    float
        0 for a single point, 1 for a cluster as long as the box.
    """
    fractional = gather(np.asarray(points, dtype=float), box) @ np.linalg.inv(box)
    return float(np.ptp(fractional, axis=0).max())


def image_distance(points: _Points, box: np.ndarray) -> float:
    """Return the shortest distance between a point and a periodic image of the cluster.

    Parameters
    ----------
    points : array_like, shape (k, 3)
        Positions of a region in nm.
    box : ndarray, shape (3, 3)
        Box vectors as rows in nm, in OpenMM's reduced form.

    Returns
    -------
    float
        Distance in nm.
    """
    cluster = gather(np.asarray(points, dtype=float), box)
    cluster -= cluster.mean(axis=0)
    squares = np.einsum("ij,ij->i", cluster, cluster)
    shortest = np.inf
    for whole in itertools.product((-1, 0, 1), repeat=3):
        if whole <= (0, 0, 0):  # the opposite shift gives the same distances
            continue
        image = cluster + np.array(whole) @ box
        table = squares[:, None] + np.einsum("ij,ij->i", image, image) - 2.0 * (cluster @ image.T)
        shortest = min(shortest, float(table.min()))
    return float(np.sqrt(max(shortest, 0.0)))
