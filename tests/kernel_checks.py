"""What fused kernels of every family of models have to do: the model's numbers, gradients, symmetries, limits.

A :class:`Family` has models by name; the checks are called by the tests of the families.
"""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nequip_models import CUTOFF, eager, structure
from scipy.spatial.transform import Rotation

from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.cpu.library import Step, open_library
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.upstream.nequip_state import default_dtype

#: Energy per atom (eV) and forces (eV/Å) against eager evaluation, for models whose forces are of the order of 1 eV/Å.
ENERGY = {"float64": 2e-10, "float32": 2e-6}
FORCE = {"float64": 5e-9, "float32": 1e-5}
#: The same with exact radial functions in float64: rounding alone.
EXACT = 1e-11
#: Central differences with a step of 1e-4 Å, against forces of the order of 1 eV/Å.
DIFFERENCE = 2e-7
#: Another order of summation in float32.
REORDERED = 1e-6


class Family:
    """Models of one family by name, and their kernels; each is made once.

    Parameters
    ----------
    make : callable
        Options -> nequip's GraphModel.
    options : dict of str to dict
        Of each model.
    """

    def __init__(self, make, options):
        self._make, self._options = make, options
        self.model = functools.cache(self._model)
        self.library = functools.cache(self._library)

    def _model(self, name):
        return self._make(**self._options[name])

    def _library(self, name, tables):
        return open_fused(fused(self.model(name), tables))

    def step(self, name, tables=True):
        return Step(self.library(name, tables))

    def dtype(self, name):
        return str(self.model(name).model_dtype).removeprefix("torch.")


def fused(model, tables):
    with default_dtype(torch.float64):
        return fuse(model, tables)


def open_fused(made):
    return open_library(made, Path(os.environ["OPENMM_NEQUIP_CACHE"]) / "kernels")


def edges_of(positions, cell, periodic=True, cutoff=CUTOFF):
    return NeighborList(cutoff, 0.0, periodic)(positions, cell)


def total(step, positions, types, cell):
    return step(positions, types, *edges_of(positions, cell), cell, 1)[0].sum()


def check_numbers(family, name, tables, periodic):
    positions, types, cell = structure(periodic=periodic)
    edges = edges_of(positions, cell, periodic)
    expected = eager(family.model(name), positions, types, *edges, cell)
    found = family.step(name, tables)(positions, types, *edges, cell, 2)
    scale = max(1.0, np.abs(expected[1]).max())
    kind = family.dtype(name)
    energy, force = (ENERGY[kind], FORCE[kind]) if tables or kind == "float32" else (EXACT, EXACT)
    assert np.abs(found[0] - expected[0]).max() < energy * scale
    assert np.abs(found[1] - expected[1]).max() < force * scale
    assert np.abs(found[2] - expected[2]).max() < force * scale * len(positions)


def check_gradient(family, name, tables):
    """Forces and virial against central differences of the fused energy."""
    positions, types, cell = structure(12)
    step = family.step(name, tables)
    _, forces, virial = step(positions, types, *edges_of(positions, cell), cell, 1)
    scale, h = max(1.0, np.abs(forces).max()), 1e-4
    for atom, axis in [(0, 0), (3, 1), (7, 2), (11, 0)]:
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * h
            energies.append(total(step, moved, types, cell))
        assert abs(-(energies[0] - energies[1]) / (2 * h) - forces[atom, axis]) < DIFFERENCE * scale
    for a, b in [(0, 0), (1, 2), (2, 2)]:
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            energies.append(total(step, positions @ strain, types, cell @ strain))
        assert abs(-(energies[0] - energies[1]) / (2 * h) - virial[a, b]) < 20 * DIFFERENCE * scale


def check_symmetries(family, name):
    """Rotation, inversion, permutation, other images, and translation."""
    positions, types, cell = structure()
    step = family.step(name)
    energies, forces, _ = step(positions, types, *edges_of(positions, cell), cell, 1)
    limit = FORCE[family.dtype(name)] * max(1.0, np.abs(forces).max())
    rotation = Rotation.random(random_state=5).as_matrix()
    for matrix in (rotation, -np.eye(3), -rotation):
        turned = np.ascontiguousarray(positions @ matrix.T)
        axes = np.ascontiguousarray(cell @ matrix.T)
        found = step(turned, types, *edges_of(turned, axes), axes, 1)
        assert np.abs(found[0] - energies).max() < limit
        assert np.abs(found[1] - forces @ matrix.T).max() < limit
    order = np.random.default_rng(1).permutation(len(positions))
    found = step(positions[order], types[order], *edges_of(positions[order], cell), cell, 1)
    assert np.abs(found[1] - forces[order]).max() < limit
    moved = positions + np.random.default_rng(2).integers(-2, 3, (len(positions), 3)) @ cell + 0.3
    assert np.abs(step(moved, types, *edges_of(moved, cell), cell, 1)[1] - forces).max() < limit


def check_isolated(family, name, expected):
    """Atoms without any edge have the energies ``expected`` (3,), eV, and no forces."""
    step, no_edges = family.step(name), (np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3)))
    positions, types = np.random.default_rng(0).normal(size=(3, 3)), np.array([0, 1, 2])
    energies, forces, virial = step(positions, types, *no_edges, np.eye(3), 1)
    assert np.abs(energies - expected).max() < ENERGY[family.dtype(name)] and not forces.any() and not virial.any()
    assert step(positions[:1], types[:1], *no_edges, np.eye(3), 2)[0] == pytest.approx(energies[:1], abs=1e-12)


def check_close_atoms(family, name):
    """At 0.3 Å as the model itself: rare, but a minimiser starts there."""
    positions, types = np.array([[0.0, 0, 0], [0.3, 0, 0], [0.2, 1.1, 0.4]]), np.array([1, 0, 2])
    edges = edges_of(positions, np.eye(3) * 50, False)
    expected = eager(family.model(name), positions, types, *edges, np.eye(3) * 50)
    found = family.step(name)(positions, types, *edges, np.eye(3) * 50, 1)
    limit = 5 * FORCE[family.dtype(name)] * max(1.0, np.abs(expected[1]).max())
    assert np.abs(found[1] - expected[1]).max() < limit


def check_cutoff(family, name, types):
    """Energy and force are continuous at the cutoff of two atoms, and an edge beyond changes no bit."""
    step, cell = family.step(name), np.eye(3) * 50
    both = np.array([[0, 1], [1, 0]])
    results = []
    for r in (CUTOFF * (1 - 1e-7), CUTOFF, CUTOFF * 1.5):
        positions = np.array([[0.0, 0, 0], [0, 0, r]])
        results.append(step(positions, types, both, np.zeros((2, 3)), cell, 1))
    alone = step(positions, types, both[:, :0].copy(), np.zeros((0, 3)), cell, 1)
    assert np.abs(results[0][1]).max() < 1e-7
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result, alone, strict=True))


def check_far_edges(family, name):
    """Edges beyond the cutoff, in a list that is kept, count for nothing."""
    positions, types, cell = structure(30)
    step = family.step(name)
    near, far = edges_of(positions, cell), edges_of(positions, cell, cutoff=CUTOFF + 1.5)
    expected = step(positions, types, *near, cell, 1)
    step(positions + 0.01, types, *far, cell, 1)
    kept = step(positions, types, *far, cell, 1, keep=True)
    assert far.count > near.count
    assert np.abs(kept[1] - expected[1]).max() < REORDERED


def check_threads(family, name):
    """The same bits for one number of threads."""
    positions, types, cell = structure(60, side=9.0)
    edges = edges_of(positions, cell)
    for threads in (1, 2, 3):
        runs = [family.step(name)(positions, types, *edges, cell, threads) for _ in range(3)]
        for other in runs[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


def check_no_numbers(family, name):
    """Positions that are no numbers give an energy that is none."""
    positions, types, cell = structure(5)
    edges = edges_of(positions, cell)
    positions[2, 1] = np.nan
    energies, _, _ = family.step(name)(positions, types, *edges, cell, 1)
    assert not np.isfinite(energies.sum())
