"""A NequIP or Allegro model as a module for GROMACS' neural network potentials (NNPot).

References
----------
``torchmodel.cpp`` and ``nnpotoptions.cpp`` of GROMACS 2026: positions float32 (n, 3) nm, numbers int32 (n,), box
float32 (3, 3) nm, pbc bool (3,), pairs int32 (n_pairs, 2) as a half list whose vectors are
``x[first] - x[second] + shift``, shifts (n_pairs, 3) nm; the answer is the energy in kJ/mol and, beside it, the forces
in kJ/mol/nm.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import torch

from ...graph.fields import model_inputs
from ...graph.geometry import minimum_image
from ...graph.padding import complete

#: GROMACS' name of each input, and that of the argument of :meth:`NNPotModule.forward`.
ARGUMENTS = {
    "atom-positions": "positions",
    "atom-numbers": "numbers",
    "box": "box",
    "pbc": "pbc",
    "atom-pairs": "pairs",
    "pair-shifts": "pair_shifts",
}
HIGHEST_NUMBER = 118


def all_edges(
    positions: torch.Tensor, cell: torch.Tensor | None, pbc: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Directed edges within a cutoff by looking at all pairs, and the vectors to add to ``r_j - r_i``; scriptable.

    Parameters
    ----------
    positions : torch.Tensor, (n_atoms, 3) float64
        Positions.
    cell : torch.Tensor, (3, 3) float64, optional
        Rows are the cell vectors; None where nothing is periodic.
    pbc : torch.Tensor, (3,) bool
        Periodic directions.
    cutoff : float
        Largest distance.

    Returns
    -------
    edge_index : torch.Tensor, (2, n_edges) int64
    vectors : torch.Tensor, (n_edges, 3) float64
    """
    n = positions.size(0)
    wrapped = positions
    offsets = torch.zeros_like(positions)
    images = torch.zeros((1, 3), dtype=positions.dtype, device=positions.device)
    if cell is not None:
        inverse = torch.linalg.inv(cell)
        offsets = torch.floor(torch.matmul(positions, inverse)) * pbc.to(positions.dtype)
        offsets = torch.matmul(offsets, cell)
        wrapped = positions - offsets
        # Wrapped atoms are less than one cell apart, so one image more than the cutoff reaches over.
        reach = (torch.floor(cutoff * torch.linalg.vector_norm(inverse, dim=0)) + 1.0) * pbc.to(positions.dtype)
        ticks = [torch.arange(-int(reach[k].item()), int(reach[k].item()) + 1, device=cell.device) for k in range(3)]
        images = torch.cartesian_prod(ticks[0], ticks[1], ticks[2]).to(positions.dtype)
        images = torch.matmul(images, cell)
    index: list[torch.Tensor] = []
    vectors: list[torch.Tensor] = []
    own = torch.eye(n, dtype=torch.bool, device=positions.device)
    between = wrapped.unsqueeze(0) - wrapped.unsqueeze(1)
    for k in range(images.size(0)):
        near = (between + images[k]).square().sum(2) < cutoff * cutoff
        if bool((images[k] == 0).all().item()):
            near = torch.logical_and(near, torch.logical_not(own))
        pairs = near.nonzero().t()
        index.append(pairs)
        vectors.append(images[k] - offsets[pairs[1]] + offsets[pairs[0]])
    return torch.cat(index, 1).contiguous(), torch.cat(vectors)


class NNPotModule(torch.nn.Module):
    """nm in, kJ/mol and kJ/mol/nm out. To be scripted and put into a :class:`ChosenInputs`.

    Parameters
    ----------
    model : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors, in float64 and nm, kJ/mol.
    table : torch.Tensor, (119,) int64
        Model type of each atomic number, -1 where there is none.
    cutoffs : torch.Tensor, (n_types, n_types) float64
        Cutoff of each pair of types in nm.
    pad : float
        Length of padding edges in nm, beyond all cutoffs.
    """

    table: torch.Tensor
    cutoffs: torch.Tensor

    def __init__(self, model: torch.jit.ScriptModule, table: torch.Tensor, cutoffs: torch.Tensor, pad: float) -> None:
        super().__init__()
        self.model = model
        self.pad = pad
        self.cutoff = float(cutoffs.max())
        self.register_buffer("table", table)
        self.register_buffer("cutoffs", cutoffs)

    def forward(
        self,
        positions: torch.Tensor,
        numbers: torch.Tensor,
        box: torch.Tensor | None = None,
        pbc: torch.Tensor | None = None,
        pairs: torch.Tensor | None = None,
        pair_shifts: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () in kJ/mol and forces (n, 3) in kJ/mol/nm of positions (n, 3), as :mod:`.nnpot_module` says.

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        points = positions.detach().to(torch.float64)
        types = self.table[numbers.to(torch.int64)]
        if bool((types < 0).any().item()):
            raise ValueError("the model does not know an element of the NNP atoms; choose the input group by its types")
        cell: torch.Tensor | None = None
        if box is not None:
            cell = box.detach().to(torch.float64)
        if pairs is not None:
            first, second = pairs[:, 0].to(torch.int64), pairs[:, 1].to(torch.int64)
            if pair_shifts is not None:
                shifts = pair_shifts.detach().to(torch.float64)
            else:
                between = points[first] - points[second]
                shifts = minimum_image(between, cell) - between
            edge_index = torch.stack([torch.cat([second, first]), torch.cat([first, second])])
            vectors = torch.cat([shifts, -shifts])
        else:
            periodic = torch.ones(3, dtype=torch.bool, device=points.device)
            if pbc is not None:
                periodic = pbc.to(torch.bool)
            edge_index, vectors = all_edges(points, cell, periodic, self.cutoff)
        ends = points.index_select(0, edge_index.reshape(-1)).view(2, -1, 3)
        lengths = torch.linalg.vector_norm(ends[1] - ends[0] + vectors, dim=1)
        kept = lengths < self.cutoffs[types[edge_index[0]], types[edge_index[1]]]
        edge_index, vectors = edge_index[:, kept].contiguous(), vectors[kept]
        # Shifts are vectors already: in a cell of unit vectors their components are the numbers of cells.
        unit = torch.eye(3, dtype=torch.float64, device=points.device)
        n = points.size(0)
        points, types, edge_index, vectors = complete(points, types, edge_index, vectors, unit, self.pad)
        out = self.model(model_inputs(points, types, edge_index, vectors, unit))
        energy, forces = out["total_energy"].reshape([]), out["forces"]
        if n == 1:
            energy, forces = energy / 2, forces[:1]
        return energy.detach().to(torch.float32), forces.detach().to(torch.float32).contiguous()


class ChosenInputs(torch.nn.Module):
    """A place for a ``forward`` with the inputs of one's choice, which is defined once it is scripted.

    Parameters
    ----------
    core : torch.jit.ScriptModule
        A scripted :class:`NNPotModule`.
    """

    def __init__(self, core: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.core = core
