"""Fused kernels of Allegro models: the model's own numbers, exact gradients, the symmetries of physics."""

import kernel_checks as checks
import numpy as np
import pytest
import torch
from kernel_checks import ENERGY, EXACT, FORCE, Family, edges_of, fused, open_fused
from nequip_models import eager, make_allegro, structure

from openmm_nequip.kernels import pair_functions
from openmm_nequip.kernels.cpu.library import Step
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.kernels.pair_functions import PairFunctions, interpolants, tabulate_pairs
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.tables import TOLERANCES, evaluate
from openmm_nequip.upstream.nequip_state import default_dtype

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


ALLEGRO = Family(make_allegro, MODELS)


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("periodic", [True, False])
def test_numbers_are_those_of_the_model(name, tables, periodic):
    checks.check_numbers(ALLEGRO, name, tables, periodic)


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", ["l1, linear", pytest.param("l2, everything", marks=pytest.mark.slow)])
def test_forces_and_virial_are_the_gradient_of_the_fused_energy(name, tables):
    checks.check_gradient(ALLEGRO, name, tables)


@pytest.mark.parametrize("name", NAMES)
def test_symmetries(name):
    checks.check_symmetries(ALLEGRO, name)


@pytest.mark.parametrize("name", NAMES)
def test_isolated_atoms_and_empty_graphs(name):
    checks.check_isolated(ALLEGRO, name, np.array([-1.5 * i for i in range(3)]))


@pytest.mark.parametrize("name", NAMES)
def test_one_atom_alone_among_others(name):
    """An atom without neighbours beside some that have them: as the model has it."""
    positions = np.array([[0.0, 0, 0], [1.1, 0, 0], [20.0, 0, 0], [0.3, 1.3, 0.2], [0.0, 30.0, 0]])
    types, cell = np.array([0, 1, 2, 2, 1]), np.eye(3) * 100
    edges = edges_of(positions, cell, False)
    expected = eager(ALLEGRO.model(name), positions, types, *edges, cell)
    found = ALLEGRO.step(name)(positions, types, *edges, cell, 3)
    assert np.abs(found[0] - expected[0]).max() < 5 * ENERGY[ALLEGRO.dtype(name)] * max(1.0, np.abs(expected[0]).max())
    assert np.abs(found[1] - expected[1]).max() < 5 * FORCE[ALLEGRO.dtype(name)] * max(1.0, np.abs(expected[1]).max())


@pytest.mark.parametrize("name", NAMES)
def test_atoms_close_together(name):
    checks.check_close_atoms(ALLEGRO, name)


@pytest.mark.parametrize("name", NAMES)
def test_edges_at_the_cutoff_come_and_go_without_a_trace(name):
    checks.check_cutoff(ALLEGRO, name, np.array([1, 1]))


def test_far_edges_and_kept_lists_change_no_bit():
    checks.check_far_edges(ALLEGRO, "l1, one layer")


def test_every_number_of_rows():
    """Clusters of 1 to 26 atoms: products of the rows of a tile with matrices take from one to twelve rows at once."""
    positions, types, _ = structure(26, side=5.0, closest=0.8)
    cell = np.eye(3) * 100
    model, step = ALLEGRO.model("l1, linear"), ALLEGRO.step("l1, linear", False)
    for count in range(1, len(types) + 1):
        graph = positions[:count], types[:count], *edges_of(positions[:count], cell, False), cell
        energy, forces = eager(model, *graph)[:2]
        found = step(*graph, 1)
        assert np.abs(found[0] - energy).max() < EXACT * max(1.0, np.abs(energy).max())
        assert np.abs(found[1] - forces).max() < EXACT * max(1.0, np.abs(forces).max()) * 10


def test_many_edges_of_one_atom():
    """More than the tiles of other atoms have: a dense ball."""
    positions, types, cell = structure(160, side=5.5, closest=0.5)
    edges = edges_of(positions, cell)
    assert edges.count / len(types) > 200
    expected = eager(ALLEGRO.model("l1, linear"), positions, types, *edges, cell)
    found = ALLEGRO.step("l1, linear", False)(positions, types, *edges, cell, 2)
    assert np.abs(found[1] - expected[1]).max() < EXACT * max(1.0, np.abs(expected[1]).max()) * 10


def test_the_same_for_one_number_of_threads():
    checks.check_threads(ALLEGRO, "l1, one layer")


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
        found = Step(open_fused(fused(model, tables)))(positions, types, *edges, cell, 1)
        assert np.abs(found[1] - expected[1]).max() < limit * max(1.0, np.abs(expected[1]).max())
        assert np.abs(found[0] - expected[0]).max() < limit * max(1.0, np.abs(expected[0]).max())


def test_tables_keep_their_promise():
    for name in ("l1, one layer", "l3 parity, splines"):
        with default_dtype(torch.float64):
            program = read_model(ALLEGRO.model(name))
        pairs = [(0, 0), (2, 1)]
        x = np.random.default_rng(0).uniform(0, 1, 3000)
        rows = PairFunctions(program, pairs).derivatives(torch.from_numpy(x), 1)
        for i, table in enumerate(tabulate_pairs(program, pairs)):
            true, true_slope = (d.numpy()[:, i] for d in rows)
            value, slope = evaluate(table.coefficients, x)
            limits = TOLERANCES[program.dtype]
            assert np.abs(value - true).max() < 1.5 * limits[0] * np.abs(true).max()
            assert np.abs(slope - true_slope).max() < 1.5 * limits[1] * np.abs(true_slope).max()


@pytest.mark.parametrize("degree", [3, 4, 7])
def test_polynomials_meet_at_the_knots(degree):
    """With the functions' values and as many derivatives as a degree promises; errors fall as it promises, too."""
    with default_dtype(torch.float64):
        functions = PairFunctions(read_model(ALLEGRO.model("l1, linear")), [(0, 0), (1, 2)])
        coarse, fine = (interpolants(functions, knots, degree) for knots in (12, 24))
        meeting = (degree + 1) // 2
        at_end, knots = coarse, torch.linspace(0, 1, 13, dtype=torch.float64)
        for derivative, values in enumerate(d.numpy() for d in functions.derivatives(knots, meeting - 1)):
            left = at_end[:, :, 0] * 12**derivative
            right = at_end.sum(axis=2) * 12**derivative
            scale = np.abs(values).max()
            assert np.abs(left.transpose(1, 0, 2) - values[:-1]).max() < EXACT * scale
            assert np.abs(right.transpose(1, 0, 2) - values[1:]).max() < 10 * EXACT * scale
            at_end = at_end[:, :, 1:] * np.arange(1, at_end.shape[2])[:, None]
        x = np.linspace(0.0, 0.999, 777)
        true, true_slope = (d.numpy()[:, 0] for d in functions.derivatives(torch.from_numpy(x), 1))
        off = []
        for table in (coarse, fine):
            value, slope = evaluate(table[0], x)
            off.append((np.abs(value - true).max(), np.abs(slope - true_slope).max()))
    assert off[0][0] / off[1][0] > 2**degree and off[0][1] / off[1][1] > 2 ** (degree - 1)


def test_tables_are_of_low_degree_where_they_are_small(monkeypatch):
    with default_dtype(torch.float64):
        program = read_model(ALLEGRO.model("l1, one layer"))
        assert tabulate_pairs(program)[0].coefficients.shape[1] == 5
        assert fuse(ALLEGRO.model("l1, one layer"), True).facts["degree"] == 4
        small = {"float32": ((4, 1e4), (7, 1e9)), "float64": ((7, 1e9),)}
        monkeypatch.setattr(pair_functions, "DEGREES", small)
        assert tabulate_pairs(program)[0].coefficients.shape[1] == 8
        monkeypatch.setattr(pair_functions, "MOST_KNOTS", 20)
        with pytest.raises(ValueError, match="tables of 20 knots are not enough"):
            tabulate_pairs(program)


def test_models_of_many_elements_have_no_tables():
    types = [f"T{i}" for i in range(40)]
    model = make_allegro(types, num_layers=1, num_tensor_features=128, num_scalar_features=128, l_max=3)
    with default_dtype(torch.float64):
        assert tabulate_pairs(read_model(model)) is None
        assert fuse(model, True).summary.endswith("exact (tables for all pairs of types would be too large)")


def test_functions_that_no_table_holds_are_evaluated():
    """A cutoff whose exponent is no whole number has infinite derivatives at 0."""
    made = fused(make_allegro(num_layers=1, bessel={"polynomial_cutoff_p": 2.3}), True)
    assert not made.facts["tables"]
    assert made.summary == "fused, radial networks exact (radial functions have derivatives that are not finite)"


def test_positions_that_are_no_numbers_give_no_number():
    checks.check_no_numbers(ALLEGRO, "l1, one layer")
