"""Small potentials in the form of modules, as users write them, and structures to put them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openmm.app as app
import torch


def pair_energies(vectors: torch.Tensor, cutoff: float, range_: float) -> torch.Tensor:
    """Energies of pairs from their vectors, smooth at the cutoff."""
    r = torch.linalg.vector_norm(vectors, dim=1)
    x = (r / cutoff).clamp(max=1.0)
    return 2.0 * torch.exp(-r / range_) * (1 - x) ** 3


class HalfList(torch.nn.Module):
    """GROMACS' inputs with the positions last: half list, vector = x[first] - x[second] + shift."""

    def forward(
        self, numbers: torch.Tensor, pairs: torch.Tensor, shifts: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Energy () in kJ/mol."""
        first, second = pairs[:, 0].long(), pairs[:, 1].long()
        weights = numbers[first] * numbers[second]
        vectors = positions[first] - positions[second] + shifts
        return (weights.to(positions.dtype) * pair_energies(vectors, 1.4, 0.25)).sum()


class FullList(torch.nn.Module):
    """nequip's and ASE's list in Å: rows of indices, whole cell vectors, r = x[second] - x[first] + shifts @ cell."""

    def forward(
        self, cell: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, shifts: torch.Tensor,
        numbers: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () and energies of atoms (n, 1)."""
        vectors = positions[rows[1]] - positions[rows[0]] + shifts @ cell
        weights = (numbers[rows[0]] * numbers[rows[1]]).to(positions.dtype)
        pair = 0.5 * weights * pair_energies(vectors, 14.0, 2.5)
        atomic = torch.zeros(positions.size(0), dtype=positions.dtype).index_add(0, rows[0], pair)
        return atomic.sum(), atomic.unsqueeze(1)


class InPlace(torch.nn.Module):
    """As the documentation of NNPot does it: Å inside, the box scaled in place; nearest images of a diagonal box."""

    def forward(
        self, positions: torch.Tensor, atomic_numbers: torch.Tensor, box: torch.Tensor | None = None,
        pbc: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Energy () in kJ/mol."""
        positions = positions * 10.0
        vectors = positions.unsqueeze(0) - positions.unsqueeze(1)
        if box is not None:
            box *= 10.0
            if pbc is not None and bool(pbc.all()):
                edges = torch.diagonal(box)
                vectors = vectors - torch.round(vectors / edges) * edges
        weights = (atomic_numbers.unsqueeze(0) * atomic_numbers.unsqueeze(1)).to(positions.dtype)
        squares = (vectors**2).sum(-1)
        envelope = (1 - squares / 36.0).clamp(min=0.0) ** 3
        return 0.5 * (weights * torch.exp(-0.2 * squares) * envelope).sum()


class Charged(torch.nn.Module):
    """Takes a total charge and a spin."""

    def forward(self, positions: torch.Tensor, charge: torch.Tensor, spin: torch.Tensor) -> torch.Tensor:
        """Energy ()."""
        return (positions - positions.mean(0)).pow(2).sum() * charge.sum() + 10 * spin.sum()


class AtomCharges(torch.nn.Module):
    """Takes a charge for each atom."""

    def forward(self, positions: torch.Tensor, charges: torch.Tensor) -> torch.Tensor:
        """Energy ()."""
        apart = torch.eye(len(positions))[:, :, None]
        r = torch.linalg.vector_norm(positions[:, None] - positions[None] + apart, dim=2)
        return (torch.triu(charges[:, None] * charges[None] / r, 1)).sum()


class OwnForces(torch.nn.Module):
    """Gives energy and forces, as a tuple or with something wrong about them."""

    def __init__(self, how: str = "right") -> None:
        super().__init__()
        self.how = how

    def forward(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy () and forces (n, 3)."""
        moved = positions - positions.mean(0)
        energy, forces = (moved**2).sum(), -2 * moved
        if self.how == "gradients":
            forces = -forces
        if self.how == "units":
            forces = forces * 10.0
        if self.how == "shape":
            forces = forces[1:]
        if self.how == "flat":
            forces = forces.reshape(-1)
        if self.how == "vector":
            energy = (moved**2).sum(1)
        if self.how == "nan":
            energy = energy * float("nan")
        if self.how == "directions":
            energy, forces = (moved[:, 0] ** 2).sum(), -2 * moved * torch.tensor([1.0, 0.0, 0.0], dtype=moved.dtype)
        if self.how == "raises":
            raise ValueError("no such structure was ever seen")
        return energy, forces


class Unscriptable(torch.nn.Module):
    """What TorchScript does not know."""

    def forward(self, positions, **others):
        """Energy ()."""
        return sum(value for value in {"a": ((positions - positions.mean(0)) ** 2).sum(), **others}.values())


def springs(positions: torch.Tensor) -> torch.Tensor:
    """A plain function: springs between all atoms."""
    return ((positions.unsqueeze(0) - positions.unsqueeze(1)) ** 2).sum() / 4


class Springs(torch.nn.Module):
    """A class without arguments, for ``python:module_potentials:Springs``."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energy ()."""
        return springs(positions)


def save(module: torch.nn.Module, path: Path, **extra: str) -> str:
    """A scripted module as a file."""
    torch.jit.save(torch.jit.script(module.eval()), str(path), _extra_files={k: v.encode() for k, v in extra.items()})
    return str(path)


def box_of_atoms(triclinic: bool = True, n: int = 8) -> tuple[app.Topology, np.ndarray, np.ndarray]:
    """Topology, positions (n, 3) and box (3, 3) in nm: atoms that are not near each other, some far outside the box."""
    box = np.array([[1.3, 0, 0], [0.4, 1.25, 0], [-0.5, 0.3, 1.35]]) if triclinic else np.diag([1.3, 1.25, 1.35])
    corners = np.array([[i, j, k] for i in (0.1, 0.6) for j in (0.1, 0.55) for k in (0.1, 0.6)])[:n]
    shake = np.sin(np.arange(3 * n) * 7.1).reshape(n, 3) * 0.06
    positions = (corners + shake) @ box
    positions[1:2] += 3 * box[0] - 2 * box[2]
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for number, symbol in enumerate(("O", "H", "H", "C", "N", "H", "H", "H")[:n]):
        topology.addAtom(f"{symbol}{number}", app.Element.getBySymbol(symbol), residue)
    topology.setPeriodicBoxVectors(box)
    return topology, positions, box


def exact_energy(positions: np.ndarray, box: np.ndarray | None, numbers: np.ndarray) -> float:
    """Energy of :class:`HalfList`, summed over images in float64."""
    reach = (-3, -2, -1, 0, 1, 2, 3) if box is not None else (0,)
    images = np.array([[i, j, k] for i in reach for j in reach for k in reach], dtype=float)
    if box is not None:
        whole = np.floor(positions @ np.linalg.inv(box))
        positions = positions - whole @ box
        images = images @ box
    total = 0.0
    for i, p in enumerate(positions):
        for j, q in enumerate(positions):
            r = np.linalg.norm(q - p + images, axis=1)
            r = r[(r > 1e-9) & (r < 1.4)]
            total += 0.5 * numbers[i] * numbers[j] * float((2.0 * np.exp(-r / 0.25) * (1 - r / 1.4) ** 3).sum())
    return total
