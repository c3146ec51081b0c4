"""Fused kernels of Allegro files of nequip <= 0.6: the script's numbers, gradients, symmetries, and what is refused."""

import dataclasses

import ase.io
import kernel_checks as checks
import numpy as np
import pytest
import torch
from conftest import DATA
from kernel_checks import EXACT, FORCE, Family, edges_of
from nequip_models import structure

from openmm_nequip import load_model
from openmm_nequip.errors import NotFusableError
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.fuse import fuse_program
from openmm_nequip.kernels.pair_functions import PairFunctions
from openmm_nequip.kernels.program_file import pack_program, unpack_program
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.read.early_networks import read_network
from openmm_nequip.kernels.read.early_products import ProductReader
from openmm_nequip.kernels.read.scripted import show
from openmm_nequip.models import locate
from openmm_nequip.models.formats.torchscript import load_to_fuse
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

#: Of 2022, where edges see themselves and the cutoff is a factor of latents, with ZBL; and of 2023, where they do not.
FIRST, SECOND = "early-allegro.pth", "early03-allegro.pth"
#: With settings that few models have: two of the first kind, and two of the second.
PADDED, LINEAR, PAIRS, PATHS = "early02-padded.pth", "early02-linear.pth", "early03-pairs.pth", "early03-paths.pth"
NAMES = (FIRST, SECOND, PADDED, LINEAR, PAIRS, PATHS)
#: eV and eV/Å of float32 models with forces of the order of 10 eV/Å; the script itself rounds that much.
SINGLE = 2e-5
#: What CP2K publishes for its film of water on graphene, in the model's unit, and the edges of the box, Å.
PUBLISHED, FILM = -2073.192819118499756, np.diag([12.8160, 12.3322, 55.0])
#: Energies of atoms without neighbours, eV: shifts of the types, which the global factor leaves as they are.
SHIFTS = np.array([-1.0, -2.0, -3.0])


def read_file(name):
    with preserved_global_state(), default_dtype(torch.float64):
        return load_to_fuse(locate(DATA / name))[0]


FILES = Family(lambda name: read_file(name), {name: {"name": name} for name in NAMES})


def script_of(name):
    return load_model(DATA / name if (DATA / name).exists() else name, kernels="none")


def compare(script, step, periodic, limit):
    """Energies, forces and virial of some atoms by the script and by the kernels."""
    positions, types, cell = structure(24, len(script.info.type_names), periodic=periodic)
    edges = NeighborList(script.info.cutoff, 0.0, periodic)(positions, cell)
    graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in (positions, types, *edges, cell)]
    expected, found = script(*graph), step(positions, types, *edges, cell, 2)
    scale = max(1.0, float(expected["forces"].abs().max()))
    assert np.abs(found[1] - expected["forces"].numpy()).max() < limit * scale
    assert abs(found[0].sum() - float(expected["energy"])) < limit * scale * len(types)
    if "virial" in expected and periodic:
        assert np.abs(found[2] - expected["virial"].numpy().reshape(3, 3)).max() < limit * scale * len(types)


@pytest.mark.parametrize("name", [FIRST, SECOND])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("tables", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_numbers_are_those_of_the_script(name, tables, periodic):
    """To 5e-9 eV/Å with tables, and to rounding without."""
    compare(script_of(name), FILES.step(name, tables), periodic, FORCE["float64"] if tables else EXACT)


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_physics(name):
    """Gradients by central differences, rotation, permutation, the cutoff, threads, kept lists."""
    checks.check_gradient(FILES, name, True)
    checks.check_symmetries(FILES, name)
    checks.check_cutoff(FILES, name, np.array([1, 1]))
    checks.check_threads(FILES, name)
    checks.check_far_edges(FILES, name)
    checks.check_isolated(FILES, name, SHIFTS)
    checks.check_no_numbers(FILES, name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tables"), [(PADDED, False), (LINEAR, True), (PAIRS, False), (PATHS, False)])
def test_settings_that_few_models_have(name, tables):
    """Cutoffs of layers, environments, scales, mixing, roots of pairs, bases without end: the script's numbers."""
    compare(script_of(name), FILES.step(name, tables), True, FORCE["float64"] if tables else EXACT)
    checks.check_gradient(FILES, name, tables)


def test_many_edges_of_one_atom():
    """More than the tiles of other atoms have, and than a chunk: a dense ball."""
    positions, types, cell = structure(160, side=5.5, closest=0.5)
    edges = edges_of(positions, cell)
    graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in (positions, types, *edges, cell)]
    expected = script_of(SECOND)(*graph)["forces"].numpy()
    found = FILES.step(SECOND)(positions, types, *edges, cell, 2)[1]
    assert np.abs(found - expected).max() < FORCE["float64"] * max(1.0, np.abs(expected).max())


def test_a_file_runs_fused_where_nobody_chose():
    model = load_model(DATA / FIRST)
    assert model.info.kernels.startswith("fused, radial networks in tables of")


@pytest.mark.slow
def test_the_file_of_cp2k(cp2k):
    """float32, of nequip 0.6.0 and l_max 2: the published energy to its precision, and the script's forces."""
    path = cp2k / "inputs" / "mid" / "Allegro" / "gra-water-deployed-neq060sp.pth"
    fused = load_model(path)
    assert fused.info.kernels.startswith("fused, radial networks in tables of")
    with preserved_global_state(), default_dtype(torch.float64):
        program = read_model(load_to_fuse(locate(path))[0])
    assert [len(product.paths) for product in program.products] == [11, 3] and program.envelope and program.own_edge
    film = ase.io.read(cp2k / "inputs" / "mid" / "water-gra-film.xyz", format="xyz")
    types = np.array([fused.info.type_names.index(symbol) for symbol in film.get_chemical_symbols()])
    edges = NeighborList(fused.info.cutoff, 0.0, True)(film.positions, FILM)
    graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in (film.positions, types, *edges, FILM)]
    expected, found = script_of(path)(*graph), fused(*graph)
    assert (found["forces"] - expected["forces"]).abs().max() < SINGLE * max(1.0, float(expected["forces"].abs().max()))
    assert abs(float(found["energy"]) - PUBLISHED) < 1e-6 * abs(PUBLISHED)


@pytest.mark.parametrize("name", [FIRST, SECOND])
def test_programs_travel(name):
    with default_dtype(torch.float64):
        program = read_model(FILES.model(name))
        other = unpack_program(pack_program(program))
        made, again = (fuse_program(each, False) for each in (program, other))
    assert made.source == again.source and np.array_equal(made.weights, again.weights)


def test_what_the_files_are_made_of():
    """Shares of latents, factors and cutoffs are those that the models were built with (make_early_models.py)."""
    with default_dtype(torch.float64):
        first, second = (read_model(FILES.model(name)) for name in (FIRST, SECOND))
    assert first.envelope and first.own_edge and first.repulsion is not None and first.basis.power == 5
    assert not second.envelope and not second.own_edge and second.repulsion is None
    assert np.allclose(1 / second.reciprocal_cutoffs, [[3.0] * 3, [3.5, 4.0, 3.2], [3.7] * 3], atol=1e-6)
    assert np.allclose(first.norms, 1 / np.sqrt(12)) and np.allclose(second.norms, 1 / np.sqrt(11))
    assert np.allclose(first.shifts, SHIFTS) and first.dtype == "float64"
    # Residual updates: V_1 is in the readout's latents with b, V_0 with a; a^2 + b^2 = 1.
    for program in (first, second):
        blocks = np.split(program.readout.matrices[0], np.cumsum(program.features)[:-1])
        shares = np.array([np.linalg.norm(block) for block in blocks])
        assert np.allclose(np.square(shares / np.linalg.norm(shares)).sum(), 1) and (shares > 0).all()
        assert np.allclose(blocks[0] / shares[0], blocks[2] / shares[2])
    old, new = 1 / np.sqrt(1 + 0.6**2), 0.6 / np.sqrt(1 + 0.6**2)
    blocks = np.split(first.readout.matrices[0], np.cumsum(first.features)[:-1])
    assert np.allclose(np.linalg.norm(blocks[0]) / np.linalg.norm(blocks[2]), old / new / np.sqrt(1 + 0.3**2))


@pytest.mark.slow
def test_what_few_models_have_is_read():
    """As make_early_models.py set it."""
    with default_dtype(torch.float64):
        padded, linear, pairs, paths = (read_model(FILES.model(name)) for name in (PADDED, LINEAR, PAIRS, PATHS))
    assert [each.cutoff for each in padded.envelopes] == pytest.approx([3.9, 3.7, 3.4])
    assert {each[1:] for each in padded.envelopes} == {(True, 0.6)}
    assert {each[1:] for each in linear.envelopes} == {(False, 4.0)}
    assert [len(each.matrices) for each in padded.weighters] == [1, 1] and not linear.weighters and not pairs.weighters
    assert padded.pair_scales.shape == (3, 3) and np.ptp(padded.pair_scales) > 0.01 and linear.pair_scales is None
    assert [len(product.sources) for product in pairs.products] == [len(product.paths) for product in pairs.products]
    assert pairs.basis.roots.shape == (3, 3, 4) and np.abs(pairs.basis.roots - [1, 2, 3, 4]).max() < 0.3
    assert np.ptp(pairs.basis.roots, axis=(0, 1)).min() > 0.01
    assert not paths.basis.ends and pairs.basis.ends and {path.slot for path in paths.products[0].paths} == {0}


def test_tables_of_pairs_have_the_roots_of_the_pair():
    with default_dtype(torch.float64):
        program = read_model(FILES.model(PAIRS))
    x = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    wanted = [(0, 1), (2, 2)]
    together = PairFunctions(program, wanted).derivatives(x, 1)
    for k, pair in enumerate(wanted):
        own = dataclasses.replace(program, basis=dataclasses.replace(program.basis, roots=program.basis.roots[pair]))
        for found, expected in zip(together, PairFunctions(own, [pair]).derivatives(x, 1), strict=True):
            assert (found[:, k] - expected[:, 0]).abs().max() < 1e-12


def allegro_of(module):
    return next(each for each in module.modules() if each.original_name == "Allegro_Module")


@pytest.mark.parametrize(("values", "words"), [
    ({"embed_initial_edge": False}, "first tensors are plain harmonics"),
    ({"latent_resnet": False, "per_layer_cutoffs": torch.tensor([4.0, 4.0, 3.5])}, "cutoffs .*per_layer_cutoffs"),
    ({"_input_pad": 2}, "tps.0 .*components"),
])  # fmt: skip
def test_what_is_not_known_is_named(values, words):
    module = torch.jit.load(str(DATA / FIRST))
    for name, value in values.items():
        setattr(allegro_of(module), name, value)
    shown = show(module)
    shown.model_dtype = torch.float64
    with pytest.raises(NotFusableError, match=words):
        read_model(shown)


class _Mixed(torch.nn.Module):
    """A product whose channels are not those of its first tensors."""

    def forward(self, x1, x2):
        return x1.sum(1, keepdim=True) * x2


class _Plain(torch.nn.Module):
    """A product of components, which is none of irreducible tensors."""

    def forward(self, x1, x2):
        return x1 * x2


class _Batches(torch.nn.Module):
    """A network with batch normalisation, as far as it is read."""

    def __init__(self):
        super().__init__()
        self._forward = torch.nn.Module()
        self._forward._weight_0, self._forward._bn_0 = torch.ones((2, 3)), torch.nn.BatchNorm1d(3)


def test_batch_normalisation_is_named():
    with pytest.raises(NotFusableError, match="latents.0 normalises batches .mlp_batchnorm"):
        read_network("latents.0", _Batches(), torch.float32)


@pytest.mark.parametrize(("product", "linear", "words"), [
    (_Mixed, torch.nn.Identity, "no product of irred"), (_Plain, torch.nn.Identity, "no product of irred"),
    (_Mixed, torch.nn.Flatten, "mixes channels by itself, and has a linear map"),
])  # fmt: skip
def test_products_of_another_kind_are_named(product, linear, words):
    reader = ProductReader("tps.0", product(), linear(), [0, 1], 2, 3, torch.float64)
    with pytest.raises(NotFusableError, match=words):
        reader.read(1, False)
