"""From OpenMM's numbers to a model's and back: nm -> model units -> neighbours -> model -> kJ/mol."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from .devicelists import DeviceCandidateList, DeviceNeighborList
from .errors import NonFiniteError
from .kernels.trajectory import NotFinite
from .layout import Layout
from .links import place_caps, spread_cap_forces
from .models.base import DUMMY_CELL, PAD_DISTANCE, Model
from .models.state import tf32_allowed
from .neighbors import CandidateList, NeighborList
from .padding import PaddedNeighborList
from .units import Units


def keeps_lists(device: torch.device) -> bool:
    """Whether neighbour lists are made and kept on that device rather than on the host."""
    return device.type == "cuda"


class Evaluator:
    """A model applied to the particles of a force.

    Safe to call from several threads, one at a time.

    Parameters
    ----------
    model : Model
        The potential.
    units : Units
        The model's units.
    layout : Layout
        Which particles are which nodes of the graph.
    periodic : bool
        Whether the box is used.
    skin_nm : float
        Verlet skin in nm, >= 0.
    """

    def __init__(self, model: Model, units: Units, layout: Layout, periodic: bool, skin_nm: float) -> None:
        self.model = model
        self.units = units
        self.layout = layout
        self.periodic = periodic
        regions = layout.regions if len(layout.regions) > 1 else (None,)
        self._regions = regions
        self._lists = self._make_lists(skin_nm / units.length)
        self._found: list[tuple[Any, Any]] = []
        self._edge_tensors: tuple[torch.Tensor, torch.Tensor]
        self._types = torch.as_tensor(layout.types, dtype=torch.int64, device=model.device)
        self._dummy_cell = np.eye(3) * (DUMMY_CELL * model.info.cutoff)
        self._atoms = None if layout.atoms is None else torch.as_tensor(layout.atoms)
        cap_distances = layout.cap_distances / units.length
        self._caps = tuple(torch.as_tensor(array) for array in (layout.cap_q, layout.cap_m, cap_distances))
        self._plain = layout.is_plain
        self._trajectory = self._follow()
        self._lock = threading.Lock()

    def __call__(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Energy and forces.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm, any image.
        box : numpy.ndarray, (3, 3) float64, or None
            Rows are the box vectors in nm; None where nothing is periodic.

        Returns
        -------
        energy : float
            kJ/mol.
        forces : numpy.ndarray, (n_particles, 3) float64, C-contiguous
            kJ/mol/nm.

        Raises
        ------
        NonFiniteError
            If a position, the energy or a force is NaN or infinite; the message names the atoms.
        """
        # Few, large calls: after a model of some milliseconds the interpreter's own code has left the caches.
        with self._lock:
            if self._trajectory is not None:
                try:
                    return self._trajectory(positions, box)
                except NotFinite as error:
                    raise _not_finite(error.what, error.values) from error
            out, forces, _ = self._compute(positions, box)
        return self._checked(out, forces)

    def _make_lists(self, skin: float) -> list[Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]]:
        """A list for each region, of the kind that the model wants; on its device where there is one for all atoms."""
        info, device, periodic, types = self.model.info, self.model.device, self.periodic, self.layout.types
        cutoff, cutoffs = info.cutoff, info.per_edge_type_cutoff
        on_device = keeps_lists(device) and self._regions[0] is None
        lists: list[Any]
        if self.model.skips_far_edges and on_device:
            lists = [DeviceCandidateList(cutoff, skin, periodic, device)]
        elif self.model.skips_far_edges:
            lists = [CandidateList(cutoff, skin, periodic) for _ in self._regions]
        elif on_device:
            lists = [DeviceNeighborList(cutoff, skin, periodic, types, cutoffs, device)]
        else:
            members = [types if nodes is None else types[nodes] for nodes in self._regions]
            lists = [NeighborList(cutoff, skin, periodic, each, cutoffs) for each in members]
        if self.model.static_shapes:
            lists = [PaddedNeighborList(each, PAD_DISTANCE * cutoff) for each in lists]
        return lists

    def _follow(self) -> Callable[[np.ndarray, np.ndarray | None], tuple[float, np.ndarray]] | None:
        """The model's own way through a simulation: where it has one, and all particles are one graph's nodes."""
        (first, *others), n_atoms = self._lists, len(self.layout.types)
        if not self._plain or others or not isinstance(first, CandidateList):
            return None
        units, cell = self.units, None if self.periodic else self._dummy_cell
        reach = first.reach(n_atoms)
        return self.model.trajectory(self.layout.types, first.find, reach, units.length, units.energy, cell)

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> dict:
        """Everything the model gives.

        Parameters
        ----------
        positions, box
            As in :meth:`__call__`.

        Returns
        -------
        dict
            ``energy`` float, kJ/mol; ``forces`` (n_particles, 3) float64, kJ/mol/nm; where the model gives them
            ``atomic_energies`` (n_nodes,), kJ/mol, and, in a periodic box, ``stress`` (3, 3) in bar with the sign of
            dE/d(strain)/V: positive under tension.

        Raises
        ------
        NonFiniteError
            As in :meth:`__call__`.
        """
        with self._lock:
            out, forces, cell = self._compute(positions, box)
        energy, forces = self._checked(out, forces)
        result: dict = {"energy": energy, "forces": forces}
        if "atomic_energies" in out:
            result["atomic_energies"] = out["atomic_energies"].cpu().numpy() * self.units.energy
        if "virial" in out and box is not None:
            result["stress"] = -out["virial"].cpu().numpy() / abs(np.linalg.det(cell)) * self.units.stress_bar
        return result

    def _checked(self, out: dict[str, torch.Tensor], forces: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (kJ/mol) and forces (kJ/mol/nm, in place), or an error that names the atoms without a finite force."""
        energy = float(out["energy"]) * self.units.energy
        forces *= self.units.force
        if not math.isfinite(energy + forces.sum()):
            raise _not_finite("the model's energy or forces", forces)
        return energy, forces

    def _compute(
        self, positions: np.ndarray, box: np.ndarray | None
    ) -> tuple[dict[str, torch.Tensor], np.ndarray, np.ndarray]:
        """The model's outputs, the forces on the particles (an array of its own), and the cell, in model units."""
        positions = np.divide(positions, self.units.length, dtype=np.float64)
        # The sum of squares is finite exactly if every coordinate is (up to 1e154).
        if not math.isfinite(np.vdot(positions, positions)):
            raise _not_finite("positions", positions)
        cell = self._dummy_cell if box is None else np.divide(box, self.units.length, dtype=np.float64)
        particles = torch.from_numpy(positions)
        cell_tensor = torch.from_numpy(cell)
        nodes = particles if self._plain else self._nodes(particles, cell_tensor)
        out = self._run(nodes, cell, cell_tensor)
        forces = out["forces"].cpu()
        if not self._plain:
            forces = self._particle_forces(forces, particles, cell_tensor)
        return out, np.array(forces.numpy(), order="C"), cell

    def _nodes(self, particles: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Positions of the graph's nodes: the selected atoms, then the caps."""
        atoms = particles if self._atoms is None else particles[self._atoms]
        if self.layout.n_caps == 0:
            return atoms
        q, m, distances = self._caps
        return torch.cat([atoms, place_caps(particles, q, m, distances, cell if self.periodic else None)])

    def _edges(self, nodes: np.ndarray, cell: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Edges of all regions in one graph; the same tensors again where every list gave the same arrays again."""
        if self._regions[0] is None:
            found = [self._lists[0](nodes, cell)]
        else:
            found = [
                neighbors(np.ascontiguousarray(nodes[members]), cell)
                for members, neighbors in zip(self._regions, self._lists, strict=True)
            ]
        if len(self._found) == len(found) and all(a is b for a, b in zip(self._found, found, strict=True)):
            return self._edge_tensors
        self._found = found
        edge_index, shifts = found[0]
        if self._regions[0] is not None:
            edges = [members[e] for members, (e, _) in zip(self._regions, found, strict=True)]
            edge_index, shifts = np.concatenate(edges, axis=1), np.concatenate([s for _, s in found])
        self._edge_tensors = torch.as_tensor(edge_index), torch.as_tensor(shifts)
        return self._edge_tensors

    def _run(self, nodes: torch.Tensor, cell: np.ndarray, cell_tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        device = self.model.device
        # The callback may run on a thread whose current CUDA device is not the model's.
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            inputs = nodes, self._types, *self._edges(nodes.numpy(), cell), cell_tensor
            if device.type == "cpu":
                return self.model(*inputs)
            with tf32_allowed(self.model.info.allow_tf32):
                return self.model(*(inputs if self.model.static_shapes else [tensor.to(device) for tensor in inputs]))

    def _particle_forces(self, forces: torch.Tensor, particles: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Forces on the particles from those on the nodes; a cap's force goes to Q1 and M1 by the chain rule."""
        n_atoms = len(forces) - self.layout.n_caps
        if self._atoms is None:
            result = forces[:n_atoms].clone()
        else:
            result = torch.zeros_like(particles)
            result.index_add_(0, self._atoms, forces[:n_atoms])
        if self.layout.n_caps:
            q, m, distances = self._caps
            periodic_cell = cell if self.periodic else None
            result += spread_cap_forces(forces[n_atoms:], particles, q, m, distances, periodic_cell)
        return result


def _not_finite(what: str, values: np.ndarray) -> NonFiniteError:
    """The error that names the rows of (n_atoms, 3) that are not finite."""
    return NonFiniteError(what, np.flatnonzero(~np.isfinite(values).all(axis=1)), len(values))
