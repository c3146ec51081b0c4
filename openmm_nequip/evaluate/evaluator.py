"""From OpenMM's numbers to a model's and back: nm -> model units -> neighbours -> model -> kJ/mol."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from ..committee_bias import CommitteeBias
from ..cuda_driver import on_device
from ..errors import NonFiniteError, SamePlaceError
from ..graph.graph import CANDIDATE_EDGES, EXACT_EDGES, Edges, Graph, Outputs, Surroundings
from ..graph.neighbors import CandidateList, NeighborList
from ..graph.neighbors_cuda import DeviceCandidateList, DeviceNeighborList
from ..graph.padding import PAD_DISTANCE, PaddedNeighborList
from ..graph.staging import Staging
from ..models.base import Model, StepFunction, StepRequest, open_cell
from ..models.committee import biased
from ..units import Units
from ..upstream.nequip_state import tf32_allowed
from .links import place_caps, spread_cap_forces
from .placement import Placement
from .spread import force_spread, spread_of
from .surroundings import place_charges

#: Atoms that are nearer than this, in model lengths or in cell vectors, are at one place.
SAME_PLACE = 1e-6
#: Makes the edges of a structure: positions (n, 3) and cell (3, 3) in model lengths -> Edges.
EdgeList = Callable[[np.ndarray, np.ndarray], Edges]


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
    placement : Placement
        Which particles are which nodes of the graph.
    periodic : bool
        Whether the box is used.
    skin_nm : float
        Verlet skin in nm, >= 0.
    bias : CommitteeBias, optional
        Of a committee whose mean drives: what is added where its models disagree.
    """

    def __init__(
        self, model: Model, units: Units, placement: Placement, periodic: bool, skin_nm: float,
        bias: CommitteeBias | None = None,
    ) -> None:  # fmt: skip
        model.info.check_periodic(periodic, "the model" if model.source is None else model.source.path)
        self.model = model
        self.units = units
        self.placement = placement
        self.periodic = periodic
        self._bias = bias
        self._regions = placement.regions if len(placement.regions) > 1 else (None,)
        self._skin = skin_nm / units.length
        self.staging = Staging(model.device)
        self._lists = self._make_lists(self._skin)
        self._found: list[Edges] = []
        self._edges: Edges
        self._types = torch.as_tensor(placement.types, dtype=torch.int64, device=model.device)
        self._open_cell = open_cell(model.info)
        self._atoms = None if placement.atoms is None else torch.as_tensor(placement.atoms)
        cap_distances = placement.cap_distances / units.length
        self._caps = tuple(torch.as_tensor(array) for array in (placement.cap_q, placement.cap_m, cap_distances))
        self._charged = torch.as_tensor(placement.charged) if len(placement.charged) else None
        self._charges = torch.as_tensor(placement.charges)
        self._own_charges = torch.as_tensor(placement.own_charges) if len(placement.own_charges) else None
        self._plain = placement.is_plain
        self._step = self._make_step()
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
            try:
                if self._step is not None:
                    return self._step(positions, box)
                out, forces, _ = self._compute(positions, box)
                return self._checked(out, forces)
            except NonFiniteError as error:
                raise self._explained(error, positions, box) from error

    def forget_lists(self) -> None:
        """Drop the neighbour lists: the next call makes new ones, as the first call of a new evaluator does."""
        with self._lock:
            self._lists = self._make_lists(self._skin)
            self._found = []
            self._step = self._make_step()

    def _make_lists(self, skin: float) -> list[EdgeList]:
        """A list for each region, of the kind that the model wants; on its device where there is one for all atoms."""
        info, device, needs = self.model.info, self.model.device, self.model.needs
        if needs.list not in (EXACT_EDGES, CANDIDATE_EDGES) or info.cutoff is None:
            return [_no_edges for _ in self._regions]
        types, cutoffs = self.placement.types, info.per_edge_type_cutoff
        kept_there = keeps_lists(device) and self._regions[0] is None
        radii = info.cutoff, skin, self.periodic
        lists: list[Any]
        if needs.list == CANDIDATE_EDGES:
            lists = [CandidateList(*radii) for _ in self._regions]
            if kept_there:
                lists = [DeviceCandidateList(*radii, self.staging)]
        elif kept_there:
            lists = [DeviceNeighborList(*radii, types, cutoffs, self.staging)]
        else:
            members = [types if nodes is None else types[nodes] for nodes in self._regions]
            lists = [NeighborList(*radii, each, cutoffs) for each in members]
        if needs.fixed_length:
            lists = [PaddedNeighborList(each, PAD_DISTANCE * info.cutoff) for each in lists]
        return lists

    def _make_step(self) -> StepFunction | None:
        """The model's own way through a simulation: where it has one, and all particles are one graph's nodes."""
        (first, *others), n_atoms = self._lists, len(self.placement.types)
        if not self._plain or others or not isinstance(first, CandidateList):
            return None
        cell = None if self.periodic else self._open_cell
        request = StepRequest(self.placement.types, first.find, first.reach(n_atoms), self.units, cell, self._bias)
        return self.model.stepper(request)

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
            ``atomic_energies`` (n_nodes,), kJ/mol; of several models, their standard deviations ``energy_spread``
            float, kJ/mol, ``forces_spread`` (n_particles,), kJ/mol/nm, and of a committee ``atomic_energies_spread``
            (n_nodes,), kJ/mol, see :mod:`.spread`; of a biased committee ``bias`` float, kJ/mol, which is a part of
            the energy; and, in a periodic box, ``stress`` (3, 3) in bar with the sign of dE/d(strain)/V: positive under
            tension.

        Raises
        ------
        NonFiniteError
            As in :meth:`__call__`.
        """
        with self._lock:
            try:
                out, forces, cell = self._compute(positions, box)
                energy, forces = self._checked(out, forces)
                spreads = self._spreads(out, positions, cell)
            except NonFiniteError as error:
                raise self._explained(error, positions, box) from error
        result: dict = {"energy": energy, "forces": forces} | spreads
        if self._bias is not None:
            result["bias"] = out.bias * self.units.energy
        if out.atomic_energies is not None:
            result["atomic_energies"] = out.atomic_energies.cpu().numpy() * self.units.energy
        if out.virial is not None and box is not None:
            result["stress"] = -out.virial.cpu().numpy() / abs(np.linalg.det(cell)) * self.units.stress_bar
        return result

    def _spreads(self, out: Outputs, positions: np.ndarray, cell: np.ndarray) -> dict:
        """Standard deviations among several models, where there are such; in the units of :meth:`evaluate`."""
        found: dict = {}
        if out.energy_spread is not None:
            found["energy_spread"] = float(out.energy_spread) * self.units.energy
        if out.spread is not None:
            spread = out.spread.cpu().numpy() * self.units.force
            found["forces_spread"] = np.zeros(len(positions))
            atoms = slice(None) if self._atoms is None else self._atoms.numpy()
            found["forces_spread"][atoms] = spread[: len(spread) - self.placement.n_caps]
        if not out.members:
            return found
        particles = torch.from_numpy(np.divide(positions, self.units.length, dtype=np.float64))
        answers = [self._checked(each, self._on_particles(each, particles, torch.from_numpy(cell)))
                   for each in out.members]  # fmt: skip
        found["energy_spread"] = float(spread_of(np.array([energy for energy, _ in answers])))
        found["forces_spread"] = force_spread(np.array([forces for _, forces in answers]))
        atomic = [each.atomic_energies for each in out.members if each.atomic_energies is not None]
        if len(atomic) == len(out.members):
            values = np.array([each.cpu().numpy() for each in atomic])
            found["atomic_energies_spread"] = spread_of(values) * self.units.energy
        return found

    def _checked(self, out: Outputs, forces: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy (kJ/mol) and forces (kJ/mol/nm, in place), or an error that names the atoms without a finite force."""
        energy = float(out.energy) * self.units.energy
        forces *= self.units.force
        if not math.isfinite(energy + forces.sum()):
            raise not_finite("the model's energy or forces", forces)
        return energy, forces

    def _explained(self, error: NonFiniteError, positions: np.ndarray, box: np.ndarray | None) -> NonFiniteError:
        """An answer that is not finite, with the two atoms at one place where that is the reason."""
        points = np.asarray(positions, dtype=np.float64) / self.units.length
        if not np.isfinite(points).all():
            return error
        cell = self._open_cell if box is None else np.asarray(box, dtype=np.float64) / self.units.length
        cell_tensor, particles = torch.from_numpy(cell), torch.from_numpy(points)
        nodes = (particles if self._plain else self._nodes(particles, cell_tensor)).numpy()
        nodes = nodes[: len(nodes) - self.placement.n_caps]
        places = np.rint(nodes / SAME_PLACE)
        if self.periodic:
            places = np.rint(nodes @ np.linalg.inv(cell) / SAME_PLACE) % round(1 / SAME_PLACE)
        _, inverse, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(counts[inverse.ravel()] > 1)
        if not len(shared):
            return error
        pair = [i for i in shared if inverse.ravel()[i] == inverse.ravel()[shared[0]]][:2]
        atoms = np.arange(len(nodes)) if self._atoms is None else self._atoms.numpy()
        return SamePlaceError(error.what, atoms[pair], len(points))

    def _compute(
        self, positions: np.ndarray, box: np.ndarray | None
    ) -> tuple[Outputs, np.ndarray, np.ndarray]:
        """The model's outputs, the forces on the particles (an array of its own), and the cell, in model units."""
        positions = np.divide(positions, self.units.length, dtype=np.float64)
        # The sum of squares is finite exactly if every coordinate is (up to 1e154).
        if not math.isfinite(np.vdot(positions, positions)):
            raise not_finite("positions", positions)
        cell = self._open_cell if box is None else np.divide(box, self.units.length, dtype=np.float64)
        particles = torch.from_numpy(positions)
        cell_tensor = torch.from_numpy(cell)
        nodes = particles if self._plain else self._nodes(particles, cell_tensor)
        surroundings = None
        if self._charged is not None:
            box_cell = cell_tensor if self.periodic else None
            nodes, surroundings = place_charges(nodes, particles[self._charged], self._charges, box_cell)
        out = self._run(nodes, cell, cell_tensor, surroundings)
        if self._bias is not None:
            out = biased(out, self._bias, self.units.energy)
        return out, self._on_particles(out, particles, cell_tensor), cell

    def _on_particles(self, out: Outputs, particles: torch.Tensor, cell: torch.Tensor) -> np.ndarray:
        """Forces on the particles, an array of its own, in model units."""
        forces = out.forces.cpu()
        if not self._plain:
            forces = self._particle_forces(forces, particles, cell)
        if self._charged is not None and out.surroundings_forces is not None:
            forces.index_add_(0, self._charged, out.surroundings_forces.cpu())
        return np.array(forces.numpy(), order="C")

    def _nodes(self, particles: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Positions of the graph's nodes: the selected atoms, then the caps."""
        atoms = particles if self._atoms is None else particles[self._atoms]
        if self.placement.n_caps == 0:
            return atoms
        q, m, distances = self._caps
        return torch.cat([atoms, place_caps(particles, q, m, distances, cell if self.periodic else None)])

    def find_edges(self, nodes: np.ndarray, cell: np.ndarray) -> Edges:
        """Edges of all regions in one graph; the same object again where every list gave the same again.

        Parameters
        ----------
        nodes : numpy.ndarray, (n_nodes, 3) float64
            Positions of atoms and caps in model lengths.
        cell : numpy.ndarray, (3, 3) float64
            Rows are the cell vectors in model lengths.

        Returns
        -------
        Edges
        """
        if self._regions[0] is None:
            found = [self._lists[0](nodes, cell)]
        else:
            found = [
                neighbors(np.ascontiguousarray(nodes[members]), cell)
                for members, neighbors in zip(self._regions, self._lists, strict=True)
            ]
        if len(self._found) == len(found) and all(a is b for a, b in zip(self._found, found, strict=True)):
            return self._edges
        self._found = found
        edges = found[0]
        if self._regions[0] is not None:
            index = [members[e.index] for members, e in zip(self._regions, found, strict=True)]
            edges = Edges(np.concatenate(index, axis=1), np.concatenate([e.shifts for e in found]))
        self._edges = edges.tensors()
        return self._edges

    def _run(
        self,
        nodes: torch.Tensor,
        cell: np.ndarray,
        cell_tensor: torch.Tensor,
        surroundings: Surroundings | None = None,
    ) -> Outputs:
        device = self.model.device
        # The callback may run on a thread whose current CUDA device, or context, is not the model's.
        with on_device(device) if device.type == "cuda" else nullcontext():
            if self.model.needs.separate and len(self._regions) > 1:
                return self._run_each(nodes, cell, cell_tensor)
            points = nodes.numpy()
            edges = self.find_edges(points, cell)
            graph = Graph(nodes, self._types, edges, cell_tensor, self.periodic, surroundings, self._own_charges)
            return self._evaluate(graph, points, cell)

    def _evaluate(self, graph: Graph, points: np.ndarray, cell: np.ndarray) -> Outputs:
        """The model's answer on the host; points (n_nodes, 3) and cell (3, 3) are those of the graph."""
        device = self.model.device
        if not keeps_lists(device):
            return self.model.evaluate(graph)
        with tf32_allowed(self.model.info.allow_tf32):
            if self.model.needs.fixed_length:
                return self.model.evaluate(graph)
            positions, box = self.staging(points, cell)
            return self.staging.fetch(self.model.evaluate(graph._replace(positions=positions, cell=box).to(device)))

    def _run_each(self, nodes: torch.Tensor, cell: np.ndarray, cell_tensor: torch.Tensor) -> Outputs:
        """The regions one by one, for a model that would see atoms of another region in one graph."""
        total = _nothing(nodes)
        for members, neighbors in zip(self._regions, self._lists, strict=True):
            own = nodes[members].contiguous()
            points = own.numpy()
            edges = neighbors(points, cell).tensors()
            types = self._types[torch.as_tensor(members, device=self._types.device)]
            charges = None if self._own_charges is None else self._own_charges[members]
            out = self._evaluate(Graph(own, types, edges, cell_tensor, self.periodic, None, charges), points, cell)
            if out.members and not total.members:
                total.members = tuple(_nothing(nodes) for _ in out.members)
            for whole, part in zip((total, *total.members), (out, *out.members), strict=True):
                whole.energy += part.energy.cpu()
                whole.forces[members] = part.forces.cpu()
        return total

    def _particle_forces(self, forces: torch.Tensor, particles: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Forces on the particles from those on the nodes; a cap's force goes to Q1 and M1 by the chain rule."""
        n_atoms = len(forces) - self.placement.n_caps
        if self._atoms is None:
            result = forces[:n_atoms].clone()
        else:
            result = torch.zeros_like(particles)
            result.index_add_(0, self._atoms, forces[:n_atoms])
        if self.placement.n_caps:
            q, m, distances = self._caps
            periodic_cell = cell if self.periodic else None
            result += spread_cap_forces(forces[n_atoms:], particles, q, m, distances, periodic_cell)
        return result


def _nothing(nodes: torch.Tensor) -> Outputs:
    """Outputs to add to, for nodes (n_nodes, 3)."""
    return Outputs(torch.zeros((), dtype=torch.float64), torch.zeros_like(nodes))


def _no_edges(positions: np.ndarray, cell: np.ndarray) -> Edges:
    """For models that find their own pairs."""
    return Edges(np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3)))


def not_finite(what: str, values: np.ndarray) -> NonFiniteError:
    """The error that names atoms at fault.

    Parameters
    ----------
    what : str
        What the values are.
    values : numpy.ndarray, (n_atoms, 3)
        Some of them not finite.
    """
    return NonFiniteError(what, np.flatnonzero(~np.isfinite(values).all(axis=1)), len(values))
