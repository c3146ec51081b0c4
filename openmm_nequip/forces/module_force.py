"""A scripted module of any kind inside openmmtorch's TorchForce: its arguments are made as outside, step by step."""

# No `from __future__ import annotations` here: TorchScript reads the annotations of the class as types.

import torch

from ..errors import ModuleError
from ..graph.neighbors import GAP, WIDEST, close_gaps
from ..models.modules.arguments import scripted_caller
from ..models.modules.module_interface import ATOMIC_ENERGIES, ENERGY, FORCES
from ..models.modules.module_model import ModuleModel
from .spec import PotentialSpec
from .torch_parts import ScriptedParts


class ModulePotential(ScriptedParts):
    """A scripted module with vesin's neighbour list, where it wants pairs.

    Parameters
    ----------
    model : ModuleModel
        The module.
    spec : PotentialSpec
        Units, skin, and a placement of all particles of the System.

    Raises
    ------
    ModuleError
        If the module is not scripted.
    """

    own_charges: torch.Tensor

    def __init__(self, model: ModuleModel, spec: PotentialSpec) -> None:
        super().__init__(model.info, spec)
        from vesin_torch import NeighborList

        interface = model.interface
        if not isinstance(model.module, torch.jit.ScriptModule):
            raise ModuleError(f"{model.name} is not scripted, and a TorchForce runs TorchScript only", path=model.name)
        nullable = [none and not spec.periodic for none in model.without_box]
        self.caller = scripted_caller(model.module, nullable, len(interface.outputs))
        self.arguments = model.arguments
        self.register_buffer("own_charges", torch.as_tensor(spec.placement.own_charges))
        self.in_double = model.input_dtype == torch.float64
        self.takes_pairs = interface.takes_pairs
        self.at_energy = self._place(interface.outputs, ENERGY)
        self.at_atomic = self._place(interface.outputs, ATOMIC_ENERGIES)
        self.at_forces = self._place(interface.outputs, FORCES)
        cutoff, skin = model.info.reach, spec.skin_nm / spec.units.length
        self.widest = WIDEST * cutoff
        self.gap = GAP * (cutoff + skin)
        self.neighbors = NeighborList(cutoff=cutoff, full_list=True, skin=skin)

    @staticmethod
    def _place(outputs: tuple[str, ...], name: str) -> int:
        return outputs.index(name) if name in outputs else -1

    def evaluate(self, nodes: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Model energy () and forces (n_nodes, 3) in model units; Raises RuntimeError where torch finds none."""
        index = torch.zeros([2, 0], dtype=torch.int64, device=nodes.device)
        shifts = torch.zeros([0, 3], dtype=torch.float64, device=nodes.device)
        if self.takes_pairs:
            points = nodes
            if not self.periodic and float(nodes.max() - nodes.min()) > self.widest:
                points = close_gaps(nodes, self.gap)
            found = self.neighbors.compute(points, cell, self.periodic, "PS", True)
            index = found[0].to(torch.int64).t().contiguous()
            shifts = found[1].to(torch.float64)
        nodes, index, shifts = self.arguments.settle(nodes, index, shifts, cell, self.periodic)
        dtype = torch.float64 if self.in_double else torch.float32
        leaf = nodes.to(dtype).clone().requires_grad_(True)
        none = torch.zeros([0, 3], dtype=dtype, device=nodes.device)
        around = (none, none[:, 0], self.own_charges.to(dtype))
        answers = self.caller(self.arguments(leaf, self.types, index, shifts, cell.to(dtype), self.periodic, around))
        energy = answers[self.at_energy].reshape([]) if self.at_energy >= 0 else answers[self.at_atomic].sum()
        if self.at_forces >= 0:
            forces = answers[self.at_forces].reshape(leaf.size())
        else:
            gradient = torch.autograd.grad([energy], [leaf])[0]
            if gradient is None:
                raise RuntimeError("the energy of the module does not depend on the positions")
            forces = -gradient
        return energy.detach().to(torch.float64), forces.detach().to(torch.float64)
