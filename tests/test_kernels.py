"""Fused kernels: the model's own numbers, exact gradients, the symmetries of physics, and clear refusals."""

import gc
import os
import shutil
from dataclasses import replace

import kernel_checks as checks
import numpy as np
import pytest
import torch
from conftest import DATA
from kernel_checks import ENERGY, EXACT, FORCE, Family, edges_of, fused, open_fused
from nequip_models import CUTOFF, eager, make_model, structure

from openmm_nequip import load_model
from openmm_nequip.errors import BuildError, NotFusableError
from openmm_nequip.kernels import read as readers
from openmm_nequip.kernels.cpu import CPU
from openmm_nequip.kernels.cpu.build import build
from openmm_nequip.kernels.cpu.library import Step
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.tables import TOLERANCES, evaluate, radial_function, tabulate
from openmm_nequip.models import KernelsError
from openmm_nequip.models.own_answers import check_library, make_references
from openmm_nequip.upstream.nequip_state import default_dtype

MODELS = {
    "l1": {"num_features": 32, "model_dtype": "float32", "num_layers": 4},
    "l1 parity": {"parity": True, "num_layers": 5, "noise": 0.05},
    "l2 everything": {
        "l_max": 2, "parity": True, "num_features": [12, 7, 3], "zbl": True, "type_embed_num_features": 5,
        "per_edge_type_cutoff": {"H": 3.0, "C": {"H": 3.5, "C": 4.0, "O": 3.2}}, "radial_mlp_depth": 2,
        "avg_num_neighbors": {"H": 4.0, "C": 20.0, "O": 9.0}, "bessel_trainable": True, "polynomial_cutoff_p": 5,
        "readout_mlp_hidden_layers_depth": 2, "readout_mlp_hidden_layers_width": 10,
        "readout_mlp_nonlinearity": "mish", "noise": 0.05,
    },
    "l2": {"l_max": 2, "num_features": [24, 12, 6], "model_dtype": "float32", "radial_mlp_depth": 0},
    "l3": {
        "l_max": 3, "num_layers": 2, "num_features": [8, 8, 4, 4], "noise": 0.05, "readout_mlp_hidden_layers_depth": 1,
        "readout_mlp_nonlinearity": "gelu", "radial_mlp_depth": 3,
    },
    "l3 parity": {"l_max": 3, "parity": True, "num_layers": 2, "num_features": 4, "model_dtype": "float32"},
}  # fmt: skip


NEQUIP = Family(make_model, MODELS)


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("periodic", [True, False])
def test_numbers_are_those_of_the_model(name, tables, periodic):
    checks.check_numbers(NEQUIP, name, tables, periodic)


def test_a_library_has_numbers_of_its_own():
    """Those of a compiled package are gone with it, and the next package of the same content asks the same library."""
    made = fused(NEQUIP.model("l1"), True)
    given = replace(made, weights=made.weights.copy(), constants=made.constants.copy())
    step = Step(open_fused(given))
    given.weights[:], given.constants[:] = np.nan, np.nan
    positions, types, cell = structure()
    edges = edges_of(positions, cell)
    found, expected = (each(positions, types, *edges, cell, 1) for each in (step, NEQUIP.step("l1")))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_odd_scalars_that_a_gate_makes_even():
    """|x| of odd scalars is a block of even ones, which the next layer couples as such."""
    model = make_model(parity=True, num_features=3, convnet_nonlinearity_scalars={"e": "silu", "o": "abs"}, noise=0.05)
    positions, types, cell = structure()
    edges = edges_of(positions, cell)
    expected = eager(model, positions, types, *edges, cell)
    found = Step(open_fused(fused(model, False)))(positions, types, *edges, cell, 1)
    assert all(np.abs(a - b).max() < EXACT * len(types) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].get("model_dtype") != "float32"])
def test_forces_and_virial_are_the_gradient_of_the_fused_energy(name, tables):
    checks.check_gradient(NEQUIP, name, tables)


@pytest.mark.parametrize("name", MODELS)
def test_symmetries(name):
    checks.check_symmetries(NEQUIP, name)


@pytest.mark.parametrize("name", MODELS)
def test_isolated_atoms_and_empty_graphs(name):
    no_edges = np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3))
    positions = np.random.default_rng(0).normal(size=(3, 3))
    checks.check_isolated(
        NEQUIP, name, eager(NEQUIP.model(name), positions, np.array([0, 1, 2]), *no_edges, np.eye(3))[0]
    )


@pytest.mark.parametrize("name", MODELS)
def test_atoms_close_together(name):
    checks.check_close_atoms(NEQUIP, name)


@pytest.mark.parametrize("name", MODELS)
def test_edges_at_the_cutoff_come_and_go_without_a_trace(name):
    checks.check_cutoff(NEQUIP, name, np.array([0, 1]))


def test_far_edges_and_kept_lists_change_no_bit():
    checks.check_far_edges(NEQUIP, "l1")


def test_the_same_for_one_number_of_threads():
    checks.check_threads(NEQUIP, "l1")


def test_tables_keep_their_promise():
    for name in ("l1", "l2 everything"):
        with default_dtype(torch.float64):
            program = read_model(NEQUIP.model(name))
        x = np.random.default_rng(0).uniform(0, 1, 5000)
        for layer in program.layers:
            table = tabulate(program, layer.radial)
            network = radial_function(program, layer.radial)
            points = torch.from_numpy(x).requires_grad_(True)
            true = network(points).detach().numpy()
            _, true_slope = torch.func.jvp(network, (points.detach(),), (torch.ones(len(x), dtype=torch.float64),))
            value, slope = evaluate(table.coefficients, x)
            limits = TOLERANCES[program.dtype]
            assert np.abs(value - true).max() < 1.5 * limits[0] * np.abs(true).max()
            assert np.abs(slope - true_slope.numpy()).max() < 1.5 * limits[1] * np.abs(true_slope.numpy()).max()


def test_tables_cannot_promise_everything():
    with default_dtype(torch.float64):
        program = read_model(NEQUIP.model("l1"))
    with pytest.raises(ValueError, match="a table of 8192 knots is still off by .* in value and .* in slope"):
        tabulate(program, program.layers[0].radial, (1e-18, 1e-18))


@pytest.mark.slow
def test_a_real_trained_model(cp2k):
    """CP2K's float64 water model: TorchScript keeps no source form, but its weights fit a model made anew."""
    path = cp2k / "waterscan-neq0.16.nequip.pth"
    script = torch.jit.load(path, map_location="cpu")
    reference = load_model(path)
    state = {key.removeprefix("model."): value for key, value in script.state_dict().items()}
    model = cp2k_twin(state, reference.info)
    from ase.io import read

    atoms = read(cp2k / "water-bulk.xyz")
    cell = np.eye(3) * 9.8528
    types = np.array([reference.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    edges = edges_of(atoms.positions, cell, cutoff=reference.info.cutoff)
    arrays = [atoms.positions, types, *edges, cell]
    published = reference(*[torch.from_numpy(np.ascontiguousarray(a)) for a in arrays])
    twin = eager(model, *arrays)
    assert np.abs(twin[1] - published["forces"].numpy()).max() < 1e-9, "the twin is not the published model"
    for tables, limit in ((True, FORCE["float64"]), (False, EXACT)):
        found = Step(open_fused(fused(model, tables)))(*arrays, 2)
        assert np.abs(found[1] - published["forces"].numpy()).max() < limit * 10
        assert abs(found[0].sum() - float(published["energy"])) < ENERGY["float64"] * len(types)


def cp2k_twin(state, info):
    """A model of today's nequip with the weights of a scripted one, whose shapes tell its options."""
    prefix = "func.layer1_convnet.conv."
    assert state[prefix + "tp_scatter.tp.output_mask"].shape == (352,), "32 features, l_max 1, both parities"
    norm = float(state[prefix + "avg_num_neighbors_norm.norm_const"])
    model = make_model(
        info.type_names, r_max=info.cutoff, num_layers=4, parity=True, num_features=32, radial_mlp_depth=2,
        radial_mlp_width=state[prefix + "edge_mlp.mlp.0.weight"].shape[1], avg_num_neighbors=1 / norm**2, zbl=True,
    )  # fmt: skip
    own = model.model.state_dict()
    for key, value in own.items():
        value.copy_(state[key])
    return model


@pytest.mark.slow
def test_shipped_model_and_artefacts_agree():
    path = DATA.parents[1] / "openmm_nequip" / "data" / "alanine-dipeptide.nequip.zip"
    rng = np.random.default_rng(1)
    from ase.io import read

    atoms = read(path.with_name("alanine-dipeptide.pdb"))
    positions = atoms.positions + rng.normal(0, 0.05, atoms.positions.shape)
    model = load_model(path, kernels="fused")
    types = np.array([model.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    edges = edges_of(positions, np.eye(3), False, model.info.cutoff)
    arrays = [torch.from_numpy(np.ascontiguousarray(a)) for a in (positions, types, *edges, np.eye(3) * 100)]
    expected = load_model(path, compile=False)(*arrays)
    for tables in (True, False):
        found = load_model(path, kernels="fused", tables=tables)(*arrays)
        assert (found["forces"] - expected["forces"]).abs().max() < FORCE["float32"]
        assert abs(found["energy"] - expected["energy"]) < ENERGY["float32"] * len(types)


def test_what_is_not_known_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path))
        changed.setattr(readers, "READERS", [each for each in readers.READERS if each.name != "nequip"])
        with pytest.raises(KernelsError, match="fused kernels cannot run this model.*ConvNetLayer"):
            load_model(unopened(tmp_path), kernels="fused")
    with pytest.raises(ValueError, match="kernels='quick' is unknown; use one of 'auto', 'none', 'fused'"):
        load_model(DATA / "tiny-nequip.ckpt", kernels="quick")
    with default_dtype(torch.float64), pytest.raises(NotFusableError, match="NormActivation"):
        read_model(make_model_with_norm())


def make_model_with_norm():
    model = make_model()
    layer = next(m for m in model.modules() if type(m).__name__ == "ConvNetLayer")
    layer.equivariant_nonlin = type("NormActivation", (torch.nn.Module,), {})()
    return model


@pytest.mark.slow
def test_a_model_that_computes_something_else_is_refused():
    """A change that no attribute shows is found by comparing numbers."""
    model = make_model()
    made = fused(model, True)
    layer = next(m for m in model.modules() if type(m).__name__ == "InteractionBlock")
    plain = layer.forward

    def altered(data):
        out = plain(data)
        out["node_features"] = out["node_features"] * 1.01
        return out

    layer.forward = altered
    with pytest.raises(NotFusableError, match="differ by .* in forces"):
        references = make_references(model, {"r_max": str(CUTOFF), "type_names": "H C O"})
        check_library(CPU, open_fused(made), references)


def test_auto_says_what_became_of_it(tmp_path, monkeypatch):
    assert load_model(DATA / "tiny-nequip.ckpt").info.kernels.startswith("fused, radial networks in tables of")
    assert load_model(DATA / "tiny-nequip.ckpt", compile=False).info.kernels == "none"
    assert load_model(DATA / "tiny-nequip.ckpt", kernels="none", compile=False).info.kernels == "none"


def unopened(folder):
    """A checkpoint that nobody in this process has open."""
    return shutil.copy(DATA / "tiny-nequip.ckpt", folder / "unopened.ckpt")


def test_without_a_compiler_the_model_still_runs(tmp_path, monkeypatch):
    model = unopened(tmp_path)
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(KernelsError, match="CXX='no-such-compiler' is not a program"):
        load_model(model, kernels="fused")
    with pytest.warns(RuntimeWarning, match="runs uncompiled"):
        loaded = load_model(model)
    assert "no-such-compiler" in loaded.info.kernels


def test_a_failing_compiler_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "g++")
    with pytest.raises(BuildError, match="g\\+\\+ ended with code 1: .*error"):
        build("int broken(", tmp_path, "broken")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_damaged_cache_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    model = unopened(tmp_path)
    load_model(model, kernels="fused")
    gc.collect()  # nobody has the model open any more
    (stored,) = (tmp_path / "cache" / "fused").iterdir()
    whole = stored.stat().st_size
    stored.write_bytes(stored.read_bytes()[:100])
    load_model(model, kernels="fused")
    (again,) = (tmp_path / "cache" / "fused").iterdir()
    assert again.stat().st_size > 0.9 * whole


def test_indices_out_of_range_are_refused():
    positions, types, cell = structure(5)
    edges, shifts = edges_of(positions, cell)
    step = NEQUIP.step("l1")
    with pytest.raises(ValueError, match="out of range"):
        step(positions, types + 3, edges, shifts, cell, 1)
    with pytest.raises(ValueError, match="out of range"):
        step(positions, types, edges + 5, shifts, cell, 1)


def test_positions_that_are_no_numbers_give_no_number():
    checks.check_no_numbers(NEQUIP, "l1")


@pytest.mark.slow
def test_no_trace(tmp_path, monkeypatch):
    """Denormal numbers, threads, dtype and random numbers are as they were."""
    tiny = np.float32(1e-40)
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().sum()
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    load_model(unopened(tmp_path), kernels="fused")
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.random.get_rng_state().sum()) == before
    assert tiny * np.float32(0.5) > 0, "the library switched the process to flushing denormal numbers"
