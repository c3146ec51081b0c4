"""A potential that is a module: called with what it declares, differentiated where it gives no forces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ...errors import ModuleError
from ...graph.graph import EXACT_EDGES, NO_EDGES, EdgeNeeds, Graph, Outputs
from ...upstream.openmm_messages import first_line
from ..base import Model, ModelInfo
from .arguments import ModuleArguments
from .first_use import check_first_use
from .module_interface import ATOMIC_ENERGIES, ENERGY, FORCES, MM_FORCES, MM_POSITIONS, VIRIAL, Interface
from .whole import whole_shifts

#: Inputs that mean nothing where there is no box.
OF_A_BOX = ("box", "pbc")


class ModuleModel(Model):
    """A module, scripted or not, or any function of tensors, with its declared inputs and outputs.

    Parameters
    ----------
    info : ModelInfo
        Facts; ``info.dtype`` is the precision of the module's own tensors.
    device : torch.device
        Where it is.
    interface : Interface
        What it takes and gives; with its outputs.
    function : callable
        The module.
    name : str
        What it is called in messages.
    values : dict of str to float
        ``charge`` and ``spin``, where it takes them.
    nullable : sequence of bool
        Which of its arguments may be None.
    """

    unrecordable = "a foreign module may wait for the device in its steps, which no graph can record"

    def __init__(
        self, info: ModelInfo, device: torch.device, interface: Interface, function: Callable[..., Any], name: str,
        **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(info, device)
        values: dict[str, float] = more.get("values", {})
        nullable: Sequence[bool] = more.get("nullable", ())
        self.interface = interface
        self.function = function
        self.name = name
        self.input_dtype = torch.float64 if info.dtype == "float64" else torch.float32
        self.arguments = ModuleArguments(interface, self.input_dtype, **values).to(device)
        self.needs = EdgeNeeds(EXACT_EDGES if interface.takes_pairs else NO_EDGES, separate=True)
        #: For each argument whether None takes its place where there is no box.
        self.without_box = [
            kind in OF_A_BOX and place < len(nullable) and nullable[place]
            for place, kind in enumerate(interface.kinds)
        ]
        self._first_use = threading.Lock()
        self._checked = False

    @property
    def module(self) -> Any:
        """The module itself, for use inside a scripted one."""
        return self.function

    @property
    def gives_virial(self) -> bool:  # type: ignore[override]
        """Whether stress follows: stated by the module, or as the derivative by a strain of atoms and box."""
        interface = self.interface
        derived = FORCES not in interface.outputs and interface.is_periodic and not interface.embeds
        return VIRIAL in interface.outputs or derived

    def evaluate(self, graph: Graph) -> Outputs:
        """Evaluate the module on one structure; at the first, see whether its answers hold together.

        Parameters
        ----------
        graph : Graph
            The structure; no edges are added to it.

        Returns
        -------
        Outputs

        Raises
        ------
        ModuleError
            If the module raises, or its answer has not the form that was declared, or fails a check.
        """
        if not self._checked:
            with self._first_use:
                if not self._checked:
                    out = self._evaluate(graph)
                    self._checked = check_first_use(self, self._evaluate, graph, out)
                    return out
        return self._evaluate(graph)

    def _evaluate(self, graph: Graph) -> Outputs:
        points, types, cell = graph.positions, graph.types, graph.cell
        periodic = graph.periodic and self.interface.is_periodic
        if graph.periodic and not periodic and graph.surroundings is None:
            moves = whole_shifts(points.cpu().numpy(), cell.cpu().numpy())
            points = points + torch.as_tensor(moves, device=points.device)
        # Inference mode or gradients switched off by the caller would leave nothing to differentiate.
        with torch.inference_mode(False), torch.enable_grad():
            points, index, shifts = self.arguments.settle(points, graph.edges.index, graph.edges.shifts, cell, periodic)
            leaf = points.to(self.input_dtype).clone().requires_grad_(True)
            box = cell.to(self.input_dtype)
            around = self._around(graph)
            strain = torch.zeros((3, 3), dtype=self.input_dtype, device=leaf.device, requires_grad=True)
            positions = leaf
            if periodic:
                tensor = (strain + strain.t()) / 2
                positions, box = leaf + leaf @ tensor, box + box @ tensor
                positions.retain_grad()  # for modules that read it there, as of a leaf
            made = self.arguments(positions, types, index, shifts, box, periodic, around)
            answer = self._call([None if none and not periodic else each for none, each in
                                 zip(self.without_box, made, strict=True)])  # fmt: skip
            variables = [leaf, around[0], *([strain] if periodic and not self.interface.embeds else [])]
            return self._outputs(answer, variables)

    def _around(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions and charges around the structure, and its own charges, in the precision of the module."""
        device, dtype = graph.positions.device, self.input_dtype
        own = torch.zeros(0, dtype=dtype, device=device) if graph.charges is None else graph.charges.to(dtype)
        points, charges = graph.surroundings or (torch.zeros((0, 3), device=device), torch.zeros(0, device=device))
        return points.to(dtype).clone().requires_grad_(True), charges.to(dtype).clone(), own

    def _call(self, given: list[Any]) -> dict[str, torch.Tensor]:
        """The module's answer by name, with the shapes that were declared."""
        try:
            answer = self.function(*given)
        except Exception as error:  # the module's own code can raise anything
            raise ModuleError(
                f"{self.name} failed when it was called with {', '.join(self._described(given))}: "
                f"{type(error).__name__}: {first_line(str(error))}",
                "call", self.name,
            ) from error  # fmt: skip
        return self._named(answer, given)

    def _described(self, given: list[Any]) -> list[str]:
        shown = []
        for each, value in zip(self.interface.inputs, given, strict=True):
            what = "None" if value is None else f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            shown.append(f"{each.name} {what}")
        return shown

    def _named(self, answer: Any, given: list[Any]) -> dict[str, torch.Tensor]:
        wanted = self.interface.outputs
        if isinstance(answer, dict):
            found = {str(key).replace("_", "-"): value for key, value in answer.items()}
            missing = [name for name in wanted if name not in found]
            if missing:
                raise self._wrong(missing[0], f"gave no {missing[0]}, but {', '.join(found) or 'nothing'}")
            values = [found[name] for name in wanted]
        else:
            values = list(answer) if isinstance(answer, (tuple, list)) else [answer]
        if len(values) != len(wanted):
            raise self._wrong(
                "outputs",
                f"gave {len(values)} outputs, and {len(wanted)} are declared ({', '.join(wanted)}); declare all of "
                "them in order, such as outputs=energy+forces",
            )
        n = len(given[self.interface.kinds.index("positions")])
        kinds = self.interface.kinds
        m = len(given[kinds.index(MM_POSITIONS)]) if MM_POSITIONS in kinds else 0
        return {name: self._shaped(name, value, n, m) for name, value in zip(wanted, values, strict=True)}

    def _shaped(self, name: str, value: Any, n: int, m: int) -> torch.Tensor:
        """An output after a look at its shape."""
        if not isinstance(value, torch.Tensor):
            if not isinstance(value, (int, float)):
                raise self._wrong(name, f"gave a {type(value).__name__} for the {name}, expected a tensor")
            value = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        shape = list(value.shape)
        if not (value.is_floating_point() or name == ENERGY):
            raise self._wrong(name, f"gave {name} as {value.dtype}, expected floating-point numbers")
        if name == ENERGY and value.numel() != 1:
            raise self._wrong(
                name,
                f"gave an energy of the shape {shape}, expected one number (if these are energies of atoms, declare "
                "outputs=atomic-energies)",
            )
        if name != ENERGY:
            expected = {FORCES: [n, 3], VIRIAL: [3, 3], ATOMIC_ENERGIES: [n], MM_FORCES: [m, 3]}[name]
            # Also with axes of length one, as of a batch of one structure.
            if [size for size in shape if size != 1] != [size for size in expected if size != 1]:
                raise self._wrong(name, f"gave {name} of the shape {shape}, expected {expected} for {n} atoms")
            value = value.reshape(expected)
        return value

    def _wrong(self, name: str, what: str) -> ModuleError:
        return ModuleError(f"{self.name} {what}", name, self.name)

    def _outputs(self, found: dict[str, torch.Tensor], variables: list[torch.Tensor]) -> Outputs:
        atomic = found.get(ATOMIC_ENERGIES)
        energy = found[ENERGY].reshape(()) if ENERGY in found else atomic.sum()  # type: ignore[union-attr]
        forces, virial, on_charges = found.get(FORCES), found.get(VIRIAL), found.get(MM_FORCES)
        if forces is not None and self.interface.embeds and on_charges is None:
            raise self._wrong(
                MM_FORCES,
                "takes charges around its atoms and gives forces, but none on those charges; declare the third output, "
                "outputs=energy+forces+mm-forces",
            )
        if forces is None:
            forces, on_charges, derived = self._differentiated(energy, variables)
            virial = derived if virial is None else virial
        plain = {
            "energy": energy, "forces": forces, "atomic_energies": atomic, "virial": virial,
            "surroundings_forces": on_charges if self.interface.embeds else None,
        }  # fmt: skip
        return Outputs(**{
            name: value.detach().to(torch.float64) for name, value in plain.items() if value is not None
        })  # fmt: skip

    def _differentiated(
        self, energy: torch.Tensor, variables: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Forces on atoms and charges, and the virial, from the energy."""
        if not energy.requires_grad:
            raise self._wrong(
                FORCES,
                "gave an energy that does not depend on the positions as torch sees it, and no forces: compute it from "
                "the tensors that it is given (no detach(), item() or numpy()), or declare outputs=energy+forces",
            )
        try:
            gradients = torch.autograd.grad(energy, variables, allow_unused=True)
        except RuntimeError as error:
            raise self._wrong(FORCES, f"cannot be differentiated: {first_line(str(error))}") from error
        if gradients[0] is None:
            raise self._wrong(FORCES, "gave an energy that does not depend on the positions, and no forces")
        on_charges = torch.zeros_like(variables[1]) if gradients[1] is None else -gradients[1]
        strained = gradients[2] if len(gradients) > 2 else None
        return -gradients[0], on_charges, None if strained is None else -strained
