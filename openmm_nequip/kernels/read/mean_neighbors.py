"""How many neighbours an atom had in the data that a model was trained on, as its layers divide by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .probing import to_array


def mean_neighbors(model: Any) -> float | None:
    """The mean number of neighbours that a model's sums over edges are normalised by.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, or a scripted one as readers see it.

    Returns
    -------
    float or None
        None where no layer has such a number (``avg_num_neighbors: null``).

    Notes
    -----
    nequip has it as ``avg_num_neighbors_norm.norm_const`` (0.16 and later, one for each type), as the factor
    ``scatter_norm_factor`` or ``scatter_factor``, or as the number itself (0.7 and before).
    """
    found: list[float] = []
    for module in model.modules():
        norm = getattr(module, "avg_num_neighbors_norm", None)
        factors = [getattr(norm, "norm_const", None), getattr(module, "scatter_norm_factor", None)]
        factors.append(getattr(module, "scatter_factor", None))
        for factor in factors:
            if factor is not None:
                values = to_array(factor) if hasattr(factor, "detach") else np.array([float(factor)])
                found += [float((values[values > 0] ** -2.0).mean())] if (values > 0).any() else []
        own = getattr(module, "avg_num_neighbors", None)
        if isinstance(own, float):
            found.append(own)
    # Other sums have factors of that name as well, of the order of one.
    return max((value for value in found if value > 1.0), default=None)
