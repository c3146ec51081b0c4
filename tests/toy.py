"""A Lennard-Jones model as a scripted NequIP-like file, and structures to put it on."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch

#: Parameters in OpenMM's units: argon-like, nm and kJ/mol.
SIGMA_NM = 0.34
EPSILON_KJ_PER_MOL = 0.996
CUTOFF_NM = 0.9
#: One model length in nm and one model energy in kJ/mol.
UNIT_SYSTEMS = {
    "angstrom-eV": (0.1, 96.48533212331002, {"lengthUnit": "angstrom", "energyUnit": "eV"}),
    "nm-kJ/mol": (1.0, 1.0, {"lengthUnit": "nm", "energyUnit": "kJ/mol"}),
    "bohr-hartree": (0.0529177210903, 2625.4996394798254, {"lengthUnit": "bohr", "energyUnit": "hartree"}),
}


class LennardJones(torch.nn.Module):
    """Pair energies with a smooth cutoff, in the dictionary dialect of nequip's TorchScript files."""

    def __init__(self, sigma: float, epsilon: float, cutoff: float) -> None:
        super().__init__()
        self.sigma, self.epsilon, self.cutoff = sigma, epsilon, cutoff

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Energies and forces of one structure."""
        positions = data["pos"].detach().requires_grad_(True)
        strain = torch.zeros((3, 3), dtype=positions.dtype, device=positions.device).requires_grad_(True)
        deform = torch.eye(3, dtype=positions.dtype, device=positions.device) + 0.5 * (strain + strain.t())
        centre, neighbor = data["edge_index"][0], data["edge_index"][1]
        vectors = positions[neighbor] - positions[centre] + data["edge_cell_shift"] @ data["cell"].view(3, 3)
        vectors = vectors @ deform
        r = torch.linalg.vector_norm(vectors, dim=1).clamp(min=1e-60)
        x = (r / self.cutoff).clamp(max=1.0)
        envelope = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
        s6 = (self.sigma / r) ** 6
        pair = 2 * self.epsilon * (s6 * s6 - s6) * envelope
        atomic = torch.zeros(positions.size(0), dtype=positions.dtype, device=positions.device)
        atomic = atomic.index_add(0, centre, pair)
        energy = atomic.sum()
        gradients = torch.autograd.grad([energy], [positions, strain])
        position_gradient, strain_gradient = gradients[0], gradients[1]
        assert position_gradient is not None and strain_gradient is not None
        return {
            "total_energy": energy.view(1, 1),
            "atomic_energy": atomic.view(-1, 1),
            "forces": -position_gradient,
            "virial": -strain_gradient.view(1, 3, 3),
        }


def write_toy(path: Path, length: float = 0.1, energy: float = 96.48533212331002, types: str = "H C N O Ar") -> Path:
    """Write the toy model for one unit system.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    length, energy : float
        One model length in nm, one model energy in kJ/mol.
    types : str
        Type names.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls scripting deprecated; the files it makes are supported
        module = torch.jit.script(LennardJones(SIGMA_NM / length, EPSILON_KJ_PER_MOL / energy, CUTOFF_NM / length))
        extra = {"r_max": str(CUTOFF_NM / length), "type_names": types, "model_dtype": "float64", "allow_tf32": "0"}
        torch.jit.save(module, str(path), _extra_files=extra)
    return path


def reference_energy(positions: np.ndarray, box: np.ndarray | None = None, images: int = 2) -> float:
    """The toy model's energy in kJ/mol by brute force over images, for positions (n, 3) and box (3, 3) in nm."""
    span = range(-images, images + 1) if box is not None else [0]
    shifts = [np.zeros(3) if box is None else np.array([i, j, k]) @ box for i in span for j in span for k in span]
    total = 0.0
    for shift in shifts:
        vectors = positions[None] - positions[:, None] + shift
        r = np.linalg.norm(vectors, axis=-1)
        r = r[(r > 1e-9) & (r < CUTOFF_NM)]
        x = r / CUTOFF_NM
        s6 = (SIGMA_NM / r) ** 6
        total += np.sum(2 * EPSILON_KJ_PER_MOL * (s6 * s6 - s6) * (1 - 10 * x**3 + 15 * x**4 - 6 * x**5))
    return float(total)


def make_topology(symbols: list[str], box: np.ndarray | None = None, bonds=(), residue_sizes=None) -> app.Topology:
    """A topology of the given elements; ``residue_sizes`` splits it into residues."""
    topology = app.Topology()
    chain = topology.addChain()
    sizes = residue_sizes or [len(symbols)]
    atoms, names = [], iter(symbols)
    for size in sizes:
        residue = topology.addResidue("MOL", chain)
        for _ in range(size):
            symbol = next(names)
            atoms.append(topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue))
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    if box is not None:
        topology.setPeriodicBoxVectors([openmm.Vec3(*row) for row in np.asarray(box)] * unit.nanometer)
    return topology


def lattice(n: int = 3, spacing: float = 0.38, jitter: float = 0.02, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A rattled cubic lattice: positions (n^3, 3) and box (3, 3) in nm."""
    ticks = np.arange(n) * spacing
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    return grid + np.random.default_rng(seed).normal(0, jitter, grid.shape), np.eye(3) * n * spacing


def evaluate(system: openmm.System, positions: np.ndarray, platform: str = "Reference", groups: int = -1):
    """Energy (kJ/mol) and forces (n, 3) (kJ/mol/nm) of a System at positions (n, 3) in nm."""
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform)
    )
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True, groups=groups)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value
