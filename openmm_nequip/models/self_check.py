"""Whether a compiled model agrees with itself: for files that nothing else can be compared with.

A package with operators of another library holds neither the model nor answers of it. What can be asked is whether its
forces are the gradient of its energy, and whether a rotation changes only what it should.
"""

from __future__ import annotations

import numpy as np
import torch

from ..errors import ModelFileError
from ..graph.fields import CELL, EDGE_INDEX, POSITIONS, SHIFTS, TYPES
from .base import Model
from .compiling.example import example_graph

#: Half the way along which atoms are moved, in cutoffs: long enough for the energy of a model in float32 to tell.
_STEP = 1e-2
#: Largest difference that rounding and the difference formula explain, as a share of the largest force.
AGREEMENT = 2e-2
_DIRECTIONS = 3


def check_gradient(model: Model, path: str) -> None:
    """Compare a model's forces with differences of its energy, and with those of a rotated structure.

    Parameters
    ----------
    model : Model
        Just loaded; of a kind that states a cutoff.
    path : str
        Its file, for messages.

    Raises
    ------
    ModelFileError
        If they differ by more than rounding.
    """
    info = model.info
    if info.cutoff is None:
        return
    data = example_graph(len(info.type_names), info.cutoff)
    positions, cell = data[POSITIONS], data[CELL][0]
    random = np.random.default_rng(3)

    def answer(points: torch.Tensor, box: torch.Tensor) -> tuple[float, torch.Tensor]:
        given = points, data[TYPES], data[EDGE_INDEX], data[SHIFTS], box
        out = model(*[tensor.to(model.device) for tensor in given])
        return float(out["energy"].detach()), out["forces"].detach().double().cpu()

    energy, forces = answer(positions, cell)
    scale = max(float(forces.abs().max()), 1e-3)
    drawn = [torch.from_numpy(random.normal(size=tuple(positions.shape))) for _ in range(_DIRECTIONS)]
    for direction in (forces.to(positions.dtype), *drawn):  # along the forces the energy changes most
        direction = direction / torch.linalg.vector_norm(direction).clamp(min=1e-12)
        step = _STEP * info.cutoff
        ends = [answer(positions + sign * step * direction, cell) for sign in (1.0, -1.0)]
        found = -(ends[0][0] - ends[1][0]) / (2 * step)
        # Simpson's rule: the work of the forces on the way.
        expected = float(((ends[0][1] + 4 * forces + ends[1][1]) / 6 * direction.double()).sum())
        rounding = 2e-7 * abs(energy) / step if info.dtype == "float32" else 0.0
        if not abs(found - expected) <= AGREEMENT * scale + rounding:
            raise _disagreement(path, f"its forces give {expected:.6g} where its energy changes by {found:.6g}")
    rotation = torch.from_numpy(np.linalg.qr(random.normal(size=(3, 3)))[0]).to(positions.dtype)
    turned_energy, turned = answer(positions @ rotation, cell @ rotation)
    off = float((turned - forces @ rotation.double()).abs().max())
    rounding = 1e-5 * abs(energy) if info.dtype == "float32" else 1e-9 * abs(energy)
    if not (off <= AGREEMENT * scale and abs(turned_energy - energy) <= rounding + AGREEMENT * scale * _STEP):
        raise _disagreement(path, f"a rotation changes energy by {turned_energy - energy:.3g}, forces by {off:.3g}")


def _disagreement(path: str, what: str) -> ModelFileError:
    return ModelFileError(
        f"{path} disagrees with itself: {what}. Its operators are another library's; compile the .ckpt or .nequip.zip "
        "again with the versions that are installed here, or without that modifier",
        path,
    )
