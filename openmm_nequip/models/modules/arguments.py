"""What a module is called with, made from a graph: scriptable, so that a TorchForce does the very same.

Every tensor is made anew at each call: modules change their arguments in place.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import itertools

import torch

from .elements import ATOMIC_NUMBERS
from .module_interface import FIRST_SECOND, Interface


class ModuleArguments(torch.nn.Module):
    """Makes the arguments of a module from positions, types, edges and cell.

    Parameters
    ----------
    interface : Interface
        What the module takes.
    dtype : torch.dtype
        Precision of what has the module's own.
    charge, spin : float
        Values of inputs of these names.
    """

    numbers: torch.Tensor
    kinds: list[str]
    dtypes: list[str]

    def __init__(self, interface: Interface, dtype: torch.dtype, charge: float = 0.0, spin: float = 0.0) -> None:
        super().__init__()
        own = "float64" if dtype == torch.float64 else "float32"
        self.kinds = list(interface.kinds)
        self.dtypes = [own if each.dtype == "own" else each.dtype for each in interface.inputs]
        self.half_list = interface.half
        self.first_second = interface.vectors == FIRST_SECOND
        # In the field of charges the atoms stay in one piece, next to the images of the charges that were chosen.
        self.wraps = interface.is_periodic and not interface.embeds
        self.charge = float(charge)
        self.spin = float(spin)
        numbers = [ATOMIC_NUMBERS[name] for name in interface.type_names]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))

    @torch.jit.export
    def settle(
        self, positions: torch.Tensor, index: torch.Tensor, shifts: torch.Tensor, cell: torch.Tensor, periodic: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Atoms in the cell, as engines hand them over, and the pairs that the module wants.

        Parameters
        ----------
        positions : torch.Tensor, (n_atoms, 3) float64
            Any image.
        index : torch.Tensor, (2, n_edges) int64
            Both directions of each pair.
        shifts : torch.Tensor, (n_edges, 3) float64
            ``r_ij = r_j - r_i + shifts @ cell``.
        cell : torch.Tensor, (3, 3) float64
            Rows are the cell vectors.
        periodic : bool
            Whether there is a box.

        Returns
        -------
        positions : torch.Tensor, (n_atoms, 3)
        first_and_second : torch.Tensor, (2, n_pairs)
        shifts : torch.Tensor, (n_pairs, 3)
            Whole numbers of cell vectors, in the sign convention of the module.
        """
        if periodic and self.wraps:
            whole = torch.floor(torch.matmul(positions, torch.linalg.inv(cell)))
            positions = positions - torch.matmul(whole, cell)
            shifts = shifts + whole[index[1]] - whole[index[0]]
        if self.half_list:
            signs = torch.sign(shifts)
            # Of an atom and its own images the half whose first shift that is not zero is positive.
            upper = signs[:, 0] * 4 + signs[:, 1] * 2 + signs[:, 2] > 0
            kept = torch.logical_or(index[0] < index[1], torch.logical_and(index[0] == index[1], upper))
            index, shifts = index[:, kept], shifts[kept]
        if self.first_second:
            index = torch.flip(index, [0])
        return positions, index, shifts

    def forward(
        self,
        positions: torch.Tensor,
        types: torch.Tensor,
        index: torch.Tensor,
        shifts: torch.Tensor,
        cell: torch.Tensor,
        periodic: bool,
        charges: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> list[torch.Tensor]:
        """The arguments in their order.

        Parameters
        ----------
        positions : torch.Tensor, (n_atoms, 3) float32 or float64
            May require gradients.
        types : torch.Tensor, (n_atoms,) int64
            Indices into the elements that the module knows.
        index, shifts : torch.Tensor, (2, n_pairs) and (n_pairs, 3)
            As :meth:`settle` gives them.
        cell : torch.Tensor, (3, 3)
            As the positions.
        periodic : bool
            Whether there is a box.
        charges : tuple of torch.Tensor, (n_charges, 3), (n_charges,) and (n_atoms,)
            Positions and values of the charges around the atoms, and the charges of the atoms themselves.

        Returns
        -------
        list of torch.Tensor
        """
        made: list[torch.Tensor] = []
        n = positions.size(0)
        device = positions.device
        for place, kind in enumerate(self.kinds):
            if kind == "positions":
                value = positions
            elif kind == "numbers":
                value = self.numbers[types]
            elif kind == "types":
                value = types.clone()
            elif kind == "box":
                value = cell.clone()
            elif kind == "pbc":
                value = torch.full([3], 1 if periodic else 0, dtype=torch.int64, device=device)
            elif kind == "batch":
                value = torch.zeros([n], dtype=torch.int64, device=device)
            elif kind == "pairs":
                value = index.t().clone(memory_format=torch.contiguous_format)
            elif kind == "edge-index":
                value = index.clone(memory_format=torch.contiguous_format)
            elif kind == "shifts":
                value = torch.matmul(shifts.to(cell.dtype), cell)
            elif kind == "cell-shifts":
                value = shifts.clone()
            elif kind == "mm-positions":
                value = charges[0]
            elif kind == "mm-charges":
                value = charges[1]
            elif kind == "charges":
                value = charges[2].clone()
            elif kind == "charge":
                value = torch.full([1], self.charge, dtype=torch.float64, device=device)
            else:
                value = torch.full([1], self.spin, dtype=torch.float64, device=device)
            made.append(cast(value, self.dtypes[place]))
        return made


def cast(value: torch.Tensor, dtype: str) -> torch.Tensor:
    """A tensor (...) of any shape in the dtype of that name; scriptable."""
    if dtype == "float32":
        return value.to(torch.float32)
    if dtype == "float64":
        return value.to(torch.float64)
    if dtype == "int32":
        return value.to(torch.int32)
    if dtype == "int64":
        return value.to(torch.int64)
    return value.to(torch.bool)


class _Holder(torch.nn.Module):
    """Gets its ``forward`` later. Modules of one class and one set of constants share a type, hence the number."""

    __constants__ = ["number"]

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.number = next(_NUMBERS)


_NUMBERS = itertools.count()


def scripted_caller(module: torch.jit.ScriptModule, optional: list[bool], n_outputs: int) -> torch.jit.ScriptModule:
    """A scripted module that takes a list of tensors for the arguments of another, and gives a list of its answers.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        The module.
    optional : list of bool
        For each argument whether None is given in its place.
    n_outputs : int
        Number of tensors that it gives.

    Returns
    -------
    torch.jit.ScriptModule
    """
    caller: torch.jit.ScriptModule = torch.jit.script(_Holder(module))
    given = ", ".join("None" if none else f"given[{place}]" for place, none in enumerate(optional))
    answers = "answer" if n_outputs == 1 else ", ".join(f"answer[{place}]" for place in range(n_outputs))
    caller.define(
        f"def forward(self, given: List[Tensor]) -> List[Tensor]:\n    answer = self.module({given})\n"
        f"    return [{answers}]\n"
    )
    return caller
