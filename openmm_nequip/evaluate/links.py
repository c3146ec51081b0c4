"""Link caps: the atoms that saturate bonds cut by the border of a model region.

A cut bond joins an atom Q1 inside the region to an atom M1 outside.  The model sees, in place of M1, a cap L at a
fixed distance ``d`` from Q1 on the line to M1,

.. math:: r_L = r_{Q1} + d\\,\\hat u, \\qquad \\hat u = v/|v|, \\qquad v = \\mathrm{min\\,image}(r_{M1} - r_{Q1}),

so a cap has no degree of freedom of its own and its force goes to Q1 and M1 by the chain rule.  The functions are
pure, know tensors only, can be compiled with ``torch.jit.script`` and work in any one unit of length.

References
----------
Field, Bash, Karplus, J. Comput. Chem. 11 (1990) 700 (link atoms); Eichinger, Tavan, Hutter, Parrinello, J. Chem.
Phys. 110 (1999) 10452 (a cap at a fixed distance and the force it hands on).
"""


import torch
from torch import Tensor

from ..graph.geometry import minimum_image


def place_caps(
    positions: Tensor, q: Tensor, m: Tensor, distances: Tensor, cell: Tensor | None = None
) -> Tensor:
    """Place the caps of cut bonds.

    Parameters
    ----------
    positions : Tensor, shape (n, 3)
        Positions of the atoms, float64 for full accuracy.
    q, m : Tensor of int64, shape (k,)
        Rows of `positions` of Q1 and M1 of every cut bond.  An atom may occur several times in either.
    distances : Tensor, shape (k,)
        Distance from Q1 to the cap, in the unit of `positions`.
    cell : Tensor, shape (3, 3), optional
        Cell vectors as rows in the same unit, None where there is no periodicity.

    Returns
    -------
    Tensor, shape (k, 3)
        Positions of the caps, each next to its own Q1, not wrapped into the cell.
    """
    start = positions.index_select(0, q)
    bond = minimum_image(positions.index_select(0, m) - start, cell)
    unit = bond / torch.linalg.vector_norm(bond, dim=1, keepdim=True)
    return start + distances.to(positions.dtype).unsqueeze(1) * unit


def spread_cap_forces(
    cap_forces: Tensor,
    positions: Tensor,
    q: Tensor,
    m: Tensor,
    distances: Tensor,
    cell: Tensor | None = None,
) -> Tensor:
    """Hand the forces on caps to the atoms that place them.

    With ``F`` the force on the cap, ``F_M1 = d/|v| (F - (F·û) û)`` and ``F_Q1 = F - F_M1``: total force and total
    torque are those of ``F`` at the cap.

    Parameters
    ----------
    cap_forces : Tensor, shape (k, 3)
        Forces on the caps.
    positions, q, m, distances, cell
        As given to :func:`place_caps`.

    Returns
    -------
    Tensor, shape (n, 3)
        What to add to the forces on the atoms, in the unit of `cap_forces`; zero for atoms in no cut bond.
    """
    bond = minimum_image(positions.index_select(0, m) - positions.index_select(0, q), cell)
    length = torch.linalg.vector_norm(bond, dim=1, keepdim=True)
    unit = bond / length
    along = torch.sum(cap_forces * unit, dim=1, keepdim=True) * unit
    on_m = distances.to(positions.dtype).unsqueeze(1) / length * (cap_forces - along)
    spread = torch.zeros_like(positions)
    # index_add sums repeated rows, which is what an M1 of two links or a Q1 of two links needs.
    spread = spread.index_add(0, m, on_m)
    return spread.index_add(0, q, cap_forces - on_m)
