"""What is seen to before the answers of a foreign module are believed: once, on the first structure it is given.

A module may be declared wrongly (inputs in another order, units, gradients for forces) or be wrong. The structure at
hand is moved, turned and shifted, and what the module says of it must hold together. No random numbers are drawn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...errors import ModuleError
from ...graph.graph import Edges, Graph, Outputs
from .whole import whole_shifts

logger = logging.getLogger(__name__)

#: Displacements of the difference, as shares of the shortest distance between atoms.
_STEPS = (2e-2, 4e-3, 1e-3)
#: A difference whose noise is more than this share of the forces tells nothing about them.
_COARSE = 0.2
#: Largest deviation of the derivative from the forces, as a share of the norms of force and displacement.
FORCE_TOLERANCE = 0.02
#: Forces times the shortest distance, as a share of the energy, that are those of atoms at rest, as in an ideal
#: crystal: what is left of their sums tells nothing.
_AT_REST = 1e-8
#: Rounding steps of the energy that are taken for noise.
_NOISE = 8.0
#: Change of the energy by a rotation or a move through the box, as a share of it, beyond the noise.
_INVARIANCE = 1e-6
#: Parts of the box by which all atoms are moved through its faces.
_ACROSS = (0.37, 0.41, 0.29)

Evaluate = Callable[[Graph], Outputs]


def check_first_use(model: Any, evaluate: Evaluate, graph: Graph, out: Outputs) -> bool:
    """Check a module on the first structure.

    Parameters
    ----------
    model : ModuleModel
        Its interface, name and precision.
    evaluate : callable
        Graph -> Outputs, unchecked.
    graph : Graph
        The structure.
    out : Outputs
        The module's answer for it.

    Returns
    -------
    bool
        Whether it was checked: an answer that is not finite tells nothing, and the evaluator names its atoms.

    Raises
    ------
    ModuleError
        With the check that failed.
    """
    check = _FirstUse(model, evaluate, graph, out)
    finite = torch.isfinite(out.energy) & torch.isfinite(out.forces).all()
    if not bool(finite):
        return False
    if not model.interface.check:
        return True
    check.forces()
    embeds = model.interface.embeds
    if not (embeds and check.periodic):
        check.rotation()
    if check.periodic and not embeds:
        check.images()
    logger.info("%s: forces and invariances agree on the first structure", model.name)
    return True


class _FirstUse:
    def __init__(self, model: Any, evaluate: Evaluate, graph: Graph, out: Outputs) -> None:
        self.name, self.evaluate, self.graph, self.out = model.name, evaluate, graph, out
        self.periodic = graph.periodic and model.interface.is_periodic
        self.epsilon = float(np.finfo(model.info.dtype).eps)
        self.positions = graph.positions.cpu().numpy()
        self.cell = graph.cell.cpu().numpy()
        self.energy = float(out.energy)
        # GROMACS' modules give energies of single precision, whatever they compute in.
        if float(np.float32(self.energy)) == self.energy:
            self.epsilon = float(np.finfo(np.float32).eps)
        # Rounded positions change the energy by the forces on them.
        extent = float(np.abs(self.positions).max(initial=0.0)) + (float(np.abs(self.cell).max()) * self.periodic)
        rounded = self.epsilon * extent * float(torch.linalg.norm(out.forces)) * 4
        self.noise = _NOISE * self.epsilon * max(abs(self.energy), 1e-12) + rounded

    def at(self, move: np.ndarray) -> float:
        """Energy with atoms and charges moved (n_atoms + n_charges, 3), the pairs as they were."""
        n = len(self.positions)
        graph = self.graph._replace(positions=self.graph.positions + self._tensor(move[:n]))
        around = graph.surroundings
        if around is not None:
            graph = graph._replace(surroundings=around._replace(positions=around.positions + self._tensor(move[n:])))
        return float(self.evaluate(graph).energy)

    def forces(self) -> None:
        """The derivative along one direction against the forces."""
        forces = self.out.forces.cpu().numpy()
        if self.graph.surroundings is not None and self.out.surroundings_forces is not None:
            forces = np.concatenate([forces, self.out.surroundings_forces.cpu().numpy()])
        n = len(forces)
        spread = np.sin(np.arange(3 * n) * 12.9898 + 0.5).reshape(n, 3)
        norm = float(np.linalg.norm(forces))
        direction = spread / np.linalg.norm(spread) + (forces / norm if norm > 0 else 0.0)
        direction /= np.linalg.norm(direction)
        stated = -float(np.vdot(forces, direction))
        found = None
        for share in _STEPS:
            step = share * self._shortest() / max(float(np.abs(direction).max()), 1e-12)
            near, far = (self.at(k * step * direction) - self.at(-k * step * direction) for k in (1.0, 2.0))
            # Of fourth order: stiff bonds near their minimum have small forces and large third derivatives.
            slope, noise = (8.0 * near - far) / (12.0 * step), 1.5 * self.noise / step
            scale = max(norm, abs(slope))
            if scale * self._shortest() <= _AT_REST * abs(self.energy):
                logger.info("%s: no forces on the first structure, none to compare", self.name)
                return
            agrees = abs(slope - stated) <= FORCE_TOLERANCE * scale + noise
            # A longer step saw more than the derivative, such as neighbours that come in, and this one resolves it.
            seen = found is not None and noise <= _COARSE * abs(found - stated)
            if noise > _COARSE * scale and not seen:
                continue
            if agrees:
                return
            found = slope
        if found is None:
            logger.info("%s: its energy is too coarse to compare the forces with its derivative", self.name)
            return
        raise self._failed(
            "forces",
            f"gives forces that are not the derivative of its energy: along one direction the energy changes by "
            f"{found:.6g} per length, the forces say {stated:.6g} (units of the module). Are the outputs forces "
            "and not gradients, the units of length and energy the same in both, the inputs in this order?",
        )

    def rotation(self) -> None:
        """The energy of the turned structure: any rotation without a box, else other cell vectors for the lattice."""
        graph = self._turned_lattice() if self.periodic else self._turned()
        self._same(
            "rotation", graph,
            "gives another energy for the turned structure: it takes other tensors than were declared, or depends on "
            "the directions of space",
        )  # fmt: skip

    def images(self) -> None:
        """The energy after all atoms went some way along the box, so that some of them come in at the other side."""
        move = np.array(_ACROSS) @ self.cell
        moved = self.graph._replace(positions=self.graph.positions + self._tensor(move))
        self._same(
            "periodicity", moved,
            "gives another energy when atoms leave the box and come in at the opposite face: it does not follow the "
            "periodic box that it takes (is it read in the right unit and order?)",
        )  # fmt: skip

    def _same(self, name: str, graph: Graph, what: str) -> None:
        other = float(self.evaluate(graph).energy)
        allowed = _INVARIANCE * max(abs(self.energy), 1.0) + 4 * self.noise
        if not abs(other - self.energy) <= allowed:
            raise self._failed(name, f"{what} ({self.energy:.10g} becomes {other:.10g}).")

    def _failed(self, name: str, what: str) -> ModuleError:
        return ModuleError(
            f"{self.name} {what} It is not used; if it is meant to be so, declare check=no with its inputs", name,
            self.name,
        )  # fmt: skip

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float64, device=self.graph.positions.device)

    def _shortest(self) -> float:
        """The shortest distance of an atom from the first ones; 1 where there is but one atom."""
        first = self.positions[:200]
        if len(first) < 2:
            return 1.0
        if self.graph.periodic:
            first = first + whole_shifts(first, self.cell)
        distances = np.linalg.norm(first[:, None] - first[None], axis=2)
        found = float(distances[np.triu_indices(len(first), 1)].min())
        return found if found > 0 else 1.0

    def _turned(self) -> Graph:
        positions = self.positions
        if self.graph.periodic and self.graph.surroundings is None:
            positions = positions + whole_shifts(positions, self.cell)
        turned, around = positions @ _rotation(), self.graph.surroundings
        if around is not None:
            around = around._replace(positions=around.positions @ self._tensor(_rotation()))
        return self.graph._replace(positions=self._tensor(turned), periodic=False, surroundings=around)

    def _turned_lattice(self) -> Graph:
        """The same crystal with its cell vectors in another order, turned so that the first lies along x again."""
        from ...crystal import reduce_box  # loads OpenMM's units

        order = [1, 2, 0]
        reduced, turn, change = reduce_box(self.cell[order])
        shifts = self.graph.edges.shifts.cpu().numpy()[:, order] @ change
        edges = Edges(self.graph.edges.index, self._tensor(np.rint(shifts)))
        positions = self._tensor(self.positions @ turn.T)
        return self.graph._replace(positions=positions, edges=edges, cell=self._tensor(reduced))


def _rotation() -> np.ndarray:
    """A rotation about no special axis."""
    angle, axis = 1.234, np.array([0.36, 0.48, 0.80])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
