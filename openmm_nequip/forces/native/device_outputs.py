"""What a native force's kernels know beside energy and forces, as a model's evaluator gives it."""

from __future__ import annotations

import numpy as np
import openmm
import torch

from ...evaluate.evaluator import not_finite
from ...evaluate.links import spread_cap_forces
from ..spec import PotentialSpec, SumSpec
from .gpu_description import driving_models
from .plugin import load_plugin

#: Where the six numbers of a virial stand.
_ROWS, _COLUMNS = np.tril_indices(3)


def runs_on_device(context: openmm.Context) -> bool:
    """Whether native forces of a Context have kernels on its platform."""
    return context.getPlatform().getName() in load_plugin().platforms


def device_outputs(
    force: openmm.Force, context: openmm.Context, spec: PotentialSpec | SumSpec
) -> list[dict[str, float | np.ndarray]]:
    """Everything that the models of a native force give, at the positions of a Context; nothing is added to its forces.

    Parameters
    ----------
    force : openmm.Force
        Of the Context's own System, ``context.getSystem()``.
    context : openmm.Context
        On a platform of GPUs, see :func:`runs_on_device`.
    spec : PotentialSpec or SumSpec
        The force's.

    Returns
    -------
    list of dict
        For each part of the potential what :meth:`openmm_nequip.evaluate.evaluator.Evaluator.evaluate` gives for it,
        but for spreads.

    Raises
    ------
    KernelsError
        If the force has no kernels there.
    NonFiniteError
        If the energy or a force is NaN or infinite; the message names the atoms.
    """
    shares = [(part, len(driving_models(part)), len(part.placement.types)) for part in spec.parts]
    told = load_plugin().tell(force, context, sum(models * n for _, models, n in shares))
    wanted = any(part.placement.n_caps for part in spec.parts)
    state = context.getState(positions=wanted)
    positions = state.getPositions(asNumpy=True)._value if wanted else np.zeros((spec.n_particles, 3))
    box = np.array(state.getPeriodicBoxVectors()._value)
    found, start = [], 0
    for part, models, n in shares:
        rows = told[start : start + models * n].reshape(models, n, -1).mean(axis=0)
        found.append(_outputs(part, rows, positions, box))
        start += models * n
    return found


def _outputs(
    part: PotentialSpec, rows: np.ndarray, positions: np.ndarray, box: np.ndarray
) -> dict[str, float | np.ndarray]:
    """From the numbers of a part's nodes (n_nodes, 10) in model units to OpenMM's."""
    units, placement = part.units, part.placement
    energies, pulls, virial = rows[:, 0] * units.energy, rows[:, 1:4] * units.force, np.zeros((3, 3))
    forces, n_atoms = np.zeros_like(positions), len(placement.types) - placement.n_caps
    atoms = np.arange(n_atoms) if placement.atoms is None else placement.atoms
    forces[atoms] = pulls[:n_atoms]
    if placement.n_caps:
        arrays = pulls[n_atoms:], positions, placement.cap_q, placement.cap_m, placement.cap_distances
        on_caps, places, q, m, distances = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
        cell = torch.from_numpy(box) if part.periodic else None
        forces += spread_cap_forces(on_caps, places, q, m, distances, cell).numpy()
    if not np.isfinite(energies.sum() + forces.sum()):
        raise not_finite("the model's energy or forces", forces)
    found: dict[str, float | np.ndarray] = {
        "energy": float(energies.sum()), "forces": forces, "atomic_energies": energies
    }  # fmt: skip
    if part.periodic:
        virial[_ROWS, _COLUMNS] = virial[_COLUMNS, _ROWS] = rows[:, 4:].sum(axis=0)
        volume = abs(np.linalg.det(box / units.length))
        found["stress"] = -virial / volume * units.stress_bar
    return found
