"""Frames without copies, and those of them that lie farthest apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UnavailableError


def need_skmatter() -> None:
    """Raise UnavailableError, with the cure, if scikit-matter is not installed."""
    try:
        import skmatter  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            f"frames are chosen by scikit-matter ({error}): pip install 'openmm-nequip[select]'"
        ) from error


def without_copies(points: np.ndarray, order: Sequence[int], alike: float) -> tuple[list[int], dict[int, int]]:
    """Points that differ from all that were taken before them.

    Parameters
    ----------
    points : numpy.ndarray, (n_frames, n_columns) float64
        Sorted distances, Å.
    order : sequence of int
        Which come first; of copies the first is kept.
    alike : float
        Two frames are copies where no sorted distance differs by more, Å.

    Returns
    -------
    kept : list of int
        In the same order.
    copies : dict of int to int
        Of each point that is left out, the one that it is a copy of.
    """
    from scipy.spatial import cKDTree

    near = cKDTree(points).query_ball_point(points, alike, p=np.inf)
    kept: list[int] = []
    taken: set[int] = set()
    copies: dict[int, int] = {}
    for i in order:
        original = next((j for j in near[i] if j in taken), None)
        if original is None:
            kept.append(i)
            taken.add(i)
        else:
            copies[i] = original
    return kept, copies


def farthest(points: np.ndarray, count: int, start: Sequence[int]) -> tuple[list[int], np.ndarray]:
    """Points that lie far from each other and from those that are there.

    Parameters
    ----------
    points : numpy.ndarray, (n_frames, n_columns) float64
        Sorted distances, Å; no two the same.
    count : int
        How many to choose beside the start, at most as many as there are.
    start : sequence of int
        Points that are chosen already, at least one.

    Returns
    -------
    chosen : list of int
        Without the start, in the order in which they were chosen.
    distances : numpy.ndarray, (n_chosen,) float64
        Of each from the nearest that was there before, Å, root mean square over the columns.

    References
    ----------
    Farthest point sampling by scikit-matter: A. Goscinski et al., Open Res. Europe 3, 81 (2023).
    """
    count = min(count, len(points) - len(start))
    if count < 1:
        return [], np.zeros(0)
    from skmatter.sample_selection import FPS

    # About the mean, so that squares lose no digits; two columns at least, as the library wants them.
    centred = points - points.mean(axis=0)
    if centred.shape[1] < 2:
        centred = np.pad(centred, ((0, 0), (0, 2 - centred.shape[1])))
    scaled = centred / np.sqrt(max(points.shape[1], 1))
    selector = FPS(initialize=list(start), n_to_select=len(start) + count).fit(scaled)
    squares = selector.hausdorff_at_select_
    chosen = [int(i) for i in selector.selected_idx_[len(start) :]]
    return chosen, np.sqrt(np.maximum(squares[chosen], 0.0))


def plane(points: np.ndarray) -> np.ndarray:
    """The two directions in which points differ most, for a picture.

    Parameters
    ----------
    points : numpy.ndarray, (n_frames, n_columns) float64
        Sorted distances, Å.

    Returns
    -------
    numpy.ndarray, (n_frames, 2) float64
        Å; zeros where there are fewer directions.
    """
    from sklearn.decomposition import PCA

    wide = min(2, *points.shape)
    found = np.zeros((len(points), 2))
    if len(points) > 1 and wide:
        found[:, :wide] = PCA(wide, random_state=0).fit_transform(points)
    return found / np.sqrt(max(points.shape[1], 1))
