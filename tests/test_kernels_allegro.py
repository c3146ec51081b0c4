"""Fused kernels of Allegro models: the model's own numbers, exact gradients, the symmetries of physics."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nequip_models import CUTOFF, eager, make_allegro, structure
from scipy.spatial.transform import Rotation

from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.cpu.library import Step, open_library
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.kernels.pair_functions import PairFunctions, tabulate_pairs
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.tables import TOLERANCES, evaluate
from openmm_nequip.upstream.nequip_state import default_dtype

#: Energy per atom (eV) and forces (eV/Å) against eager evaluation, for models whose forces are of the order of 1 eV/Å.
ENERGY = {"float64": 2e-10, "float32": 2e-6}
FORCE = {"float64": 5e-9, "float32": 1e-5}
#: The same with exact two-body functions in float64: rounding alone.
EXACT = 1e-11
#: Central differences with a step of 1e-4 Å, against forces of the order of 1 eV/Å.
DIFFERENCE = 2e-7
CUTOFFS = {"H": 3.0, "C": {"H": 3.5, "C": 4.0, "O": 3.2}}
MODELS = {
    "l1, one layer": {"num_layers": 1, "model_dtype": "float32", "num_tensor_features": 16},
    "l1, linear": {
        "allegro_mlp_hidden_layers_depth": 0, "readout_mlp_hidden_layers_depth": 2, "readout_mlp_nonlinearity": None,
        "scalar_embed_mlp_hidden_layers_depth": 0, "tp_path_channel_coupling": False, "noise": 0.05,
    },
    "l2, everything": {
        "l_max": 2, "parity": True, "num_layers": 3, "zbl": True, "per_edge_type_cutoff": CUTOFFS, "noise": 0.05,
        "avg_num_neighbors": {"H": 4.0, "C": 20.0, "O": 9.0}, "num_tensor_features": 5,
        "bessel": {"bessel_trainable": True, "polynomial_cutoff_p": 5}, "allegro_mlp_hidden_layers_depth": 2,
        "allegro_mlp_nonlinearity": "mish", "readout_mlp_hidden_layers_depth": 2, "readout_mlp_nonlinearity": "gelu",
        "scalar_embed_mlp_hidden_layers_depth": 2, "scalar_embed_mlp_nonlinearity": "tanh",
    },
    "l3 parity, splines": {
        "l_max": 3, "parity": True, "splines": {}, "zbl": True, "num_tensor_features": 4, "model_dtype": "float32",
    },
    "l2, one weight for all orders": {
        "l_max": 2, "weight_individual_irreps": False, "readout_mlp_hidden_layers_depth": 0,
        "allegro_mlp_nonlinearity": "ssp", "splines": {"num_splines": 5, "spline_span": 3},
    },
}  # fmt: skip
#: Those whose libraries and tables take some seconds more belong to the full set.
SLOW = ("l2, everything", "l2, one weight for all orders")
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
NONLINEARITIES = ("silu", "mish", "gelu", "ssp", "tanh", "sigmoid", "softplus", None)


@functools.cache
def models(name):
    return make_allegro(**MODELS[name])


def open_model(model, tables):
    with default_dtype(torch.float64):
        made = fuse(model, tables)
    return Step(open_library(made, Path(os.environ["OPENMM_NEQUIP_CACHE"]) / "kernels"))


@functools.cache
def open_step(name, tables=True):
    return open_model(models(name), tables)


def edges_of(positions, cell, periodic=True, cutoff=CUTOFF):
    return NeighborList(cutoff, 0.0, periodic)(positions, cell)


def dtype_of(name):
    return str(models(name).model_dtype).removeprefix("torch.")


def total(step, positions, types, cell, periodic=True):
    return step(positions, types, *edges_of(positions, cell, periodic), cell, 1)[0].sum()


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("periodic", [True, False])
def test_numbers_are_those_of_the_model(name, tables, periodic):
    positions, types, cell = structure(periodic=periodic)
    edges = edges_of(positions, cell, periodic)
    expected = eager(models(name), positions, types, *edges, cell)
    found = open_step(name, tables)(positions, types, *edges, cell, 2)
    scale = max(1.0, np.abs(expected[1]).max())
    kind = dtype_of(name)
    energy, force = (ENERGY[kind], FORCE[kind]) if tables or kind == "float32" else (EXACT, EXACT)
    assert np.abs(found[0] - expected[0]).max() < energy * scale
    assert np.abs(found[1] - expected[1]).max() < force * scale
    assert np.abs(found[2] - expected[2]).max() < force * scale * len(positions)


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", ["l1, linear", pytest.param("l2, everything", marks=pytest.mark.slow)])
def test_forces_and_virial_are_the_gradient_of_the_fused_energy(name, tables):
    positions, types, cell = structure(12)
    step = open_step(name, tables)
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


@pytest.mark.parametrize("name", NAMES)
def test_symmetries(name):
    """Rotation, inversion, permutation, other images, and translation."""
    positions, types, cell = structure()
    step = open_step(name)
    energies, forces, _ = step(positions, types, *edges_of(positions, cell), cell, 1)
    limit = FORCE[dtype_of(name)] * max(1.0, np.abs(forces).max())
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


@pytest.mark.parametrize("name", NAMES)
def test_isolated_atoms_and_empty_graphs(name):
    step, no_edges = open_step(name), (np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3)))
    positions, types = np.random.default_rng(0).normal(size=(3, 3)), np.array([0, 1, 2])
    energies, forces, virial = step(positions, types, *no_edges, np.eye(3), 1)
    expected = np.array([-1.5 * i for i in range(3)])
    assert np.abs(energies - expected).max() < ENERGY[dtype_of(name)] and not forces.any() and not virial.any()
    assert step(positions[:1], types[:1], *no_edges, np.eye(3), 2)[0] == pytest.approx(energies[:1], abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_one_atom_alone_among_others(name):
    """An atom without neighbours beside some that have them: as the model has it."""
    positions = np.array([[0.0, 0, 0], [1.1, 0, 0], [20.0, 0, 0], [0.3, 1.3, 0.2], [0.0, 30.0, 0]])
    types, cell = np.array([0, 1, 2, 2, 1]), np.eye(3) * 100
    edges = edges_of(positions, cell, False)
    expected = eager(models(name), positions, types, *edges, cell)
    found = open_step(name)(positions, types, *edges, cell, 3)
    assert np.abs(found[0] - expected[0]).max() < 5 * ENERGY[dtype_of(name)] * max(1.0, np.abs(expected[0]).max())
    assert np.abs(found[1] - expected[1]).max() < 5 * FORCE[dtype_of(name)] * max(1.0, np.abs(expected[1]).max())


@pytest.mark.parametrize("name", NAMES)
def test_atoms_close_together(name):
    """At 0.3 Å as the model itself: rare, but a minimiser starts there."""
    positions, types = np.array([[0.0, 0, 0], [0.3, 0, 0], [0.2, 1.1, 0.4]]), np.array([1, 0, 2])
    edges = edges_of(positions, np.eye(3) * 50, False)
    expected = eager(models(name), positions, types, *edges, np.eye(3) * 50)
    found = open_step(name)(positions, types, *edges, np.eye(3) * 50, 1)
    assert np.abs(found[1] - expected[1]).max() < 5 * FORCE[dtype_of(name)] * max(1.0, np.abs(expected[1]).max())


@pytest.mark.parametrize("name", NAMES)
def test_edges_at_the_cutoff_come_and_go_without_a_trace(name):
    """Energy and force are continuous there, and an edge beyond changes no bit."""
    step, cell, types = open_step(name), np.eye(3) * 50, np.array([1, 1])
    both = np.array([[0, 1], [1, 0]])
    results = []
    for r in (CUTOFF * (1 - 1e-7), CUTOFF, CUTOFF * 1.5):
        positions = np.array([[0.0, 0, 0], [0, 0, r]])
        results.append(step(positions, types, both, np.zeros((2, 3)), cell, 1))
    alone = step(positions, types, both[:, :0].copy(), np.zeros((0, 3)), cell, 1)
    assert np.abs(results[0][1]).max() < 1e-7
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result, alone, strict=True))


def test_far_edges_and_kept_lists_change_no_bit():
    positions, types, cell = structure(30)
    step = open_step("l1, one layer")
    near, far = edges_of(positions, cell), edges_of(positions, cell, cutoff=CUTOFF + 1.5)
    expected = step(positions, types, *near, cell, 1)
    step(positions + 0.01, types, *far, cell, 1)
    kept = step(positions, types, *far, cell, 1, keep=True)
    assert far.count > near.count
    assert np.abs(kept[1] - expected[1]).max() < 1e-6  # other order of summation, float32


def test_many_edges_of_one_atom():
    """More than the tiles of other atoms have: a dense ball."""
    positions, types, cell = structure(160, side=5.5, closest=0.5)
    edges = edges_of(positions, cell)
    assert edges.count / len(types) > 200
    expected = eager(models("l1, linear"), positions, types, *edges, cell)
    found = open_step("l1, linear", False)(positions, types, *edges, cell, 2)
    assert np.abs(found[1] - expected[1]).max() < EXACT * max(1.0, np.abs(expected[1]).max()) * 10


def test_the_same_for_one_number_of_threads():
    positions, types, cell = structure(60, side=9.0)
    edges = edges_of(positions, cell)
    for threads in (1, 2, 3):
        runs = [open_step("l1, one layer")(positions, types, *edges, cell, threads) for _ in range(3)]
        for other in runs[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_nonlinearity(name):
    """In all networks; with sigmoid and softplus edges do not vanish at the cutoff, and neither does the model's."""
    names = ("allegro_mlp_nonlinearity", "readout_mlp_nonlinearity", "scalar_embed_mlp_nonlinearity")
    model = make_allegro(num_layers=2, num_tensor_features=4, **dict.fromkeys(names, name))
    positions, types, cell = structure()
    edges = edges_of(positions, cell)
    expected = eager(model, positions, types, *edges, cell)
    for tables, limit in ((True, FORCE["float64"]), (False, EXACT)):
        found = open_model(model, tables)(positions, types, *edges, cell, 1)
        assert np.abs(found[1] - expected[1]).max() < limit * max(1.0, np.abs(expected[1]).max())
        assert np.abs(found[0] - expected[0]).max() < limit * max(1.0, np.abs(expected[0]).max())


def test_tables_keep_their_promise():
    for name in ("l1, one layer", "l3 parity, splines"):
        with default_dtype(torch.float64):
            program = read_model(models(name))
        pairs = [(0, 0), (2, 1)]
        x = np.random.default_rng(0).uniform(0, 1, 3000)
        rows = PairFunctions(program, pairs).derivatives(torch.from_numpy(x), 1)
        for i, table in enumerate(tabulate_pairs(program, pairs)):
            true, true_slope = (d.numpy()[:, i] for d in rows)
            value, slope = evaluate(table.coefficients, x)
            limits = TOLERANCES[program.dtype]
            assert np.abs(value - true).max() < 1.5 * limits[0] * np.abs(true).max()
            assert np.abs(slope - true_slope).max() < 1.5 * limits[1] * np.abs(true_slope).max()


def test_models_of_many_elements_have_no_tables():
    types = [f"T{i}" for i in range(40)]
    model = make_allegro(types, num_layers=1, num_tensor_features=128, num_scalar_features=128, l_max=3)
    with default_dtype(torch.float64):
        assert tabulate_pairs(read_model(model)) is None
        assert fuse(model, True).summary.endswith("exact (tables for all pairs of types would be too large)")


def test_positions_that_are_no_numbers_give_no_number():
    positions, types, cell = structure(5)
    edges = edges_of(positions, cell)
    positions[2, 1] = np.nan
    energies, _, _ = open_step("l1, one layer")(positions, types, *edges, cell, 1)
    assert not np.isfinite(energies.sum())
