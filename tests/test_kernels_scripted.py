"""Fused kernels of TorchScript files: the script's own numbers, and what is not known is named."""

import numpy as np
import pytest
import torch
from conftest import DATA
from nequip_models import CUTOFF, eager, make_model, structure
from toy import write_toy

from openmm_nequip import load_model
from openmm_nequip.errors import KernelsError
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.read import read_model
from openmm_nequip.models import locate
from openmm_nequip.models.formats.torchscript import TorchScriptModel, load_to_fuse
from openmm_nequip.upstream.nequip_script import save_script
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

#: eV and eV/Å of float64 models whose forces are of the order of 1 eV/Å: radial functions in tables, and exact.
TABLES, EXACT = 5e-9, 1e-11
#: eV/Å and eV of float32 models, whose scripts round energies of hundreds of eV per atom.
SINGLE, ENERGY_SINGLE = 2e-5, 1e-4
#: 1 Ha in eV as CP2K has it (CODATA 2006).
HARTREE = 27.211383856556


def tensors(positions, types, cell, cutoff, periodic=True):
    arrays = positions, types, *NeighborList(cutoff, 0.0, periodic)(positions, cell), cell
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@pytest.mark.parametrize("name", ["tiny-nequip.nequip.pth", "tiny-allegro.nequip.pth", "early-nequip.pth"])
@pytest.mark.parametrize(("tables", "limit"), [(True, TABLES), pytest.param(False, EXACT, marks=pytest.mark.slow)])
def test_numbers_are_those_of_the_script(name, tables, limit):
    path = DATA / name
    script = load_model(path, kernels="none")
    fused = load_model(path, kernels="fused", tables=tables)
    assert isinstance(script, TorchScriptModel) and script.info.kernels == "none"
    assert fused.info.kernels.startswith("fused") and fused.info.target == "torchscript (fused at first use)"
    assert fused.info.type_names == script.info.type_names and fused.info.cutoff == script.info.cutoff
    for periodic in (True, False):
        positions, types, cell = structure(24, len(script.info.type_names), periodic=periodic)
        graph = tensors(positions, types, cell, script.info.cutoff, periodic)
        expected, found = script(*graph), fused(*graph)
        scale = max(1.0, float(expected["forces"].abs().max()))
        assert abs(float(found["energy"] - expected["energy"])) < limit * scale * len(types)
        assert (found["forces"] - expected["forces"]).abs().max() < limit * scale


def test_a_script_runs_fused_where_nobody_chose():
    assert load_model(DATA / "tiny-nequip.nequip.pth").info.kernels.startswith("fused, radial networks in tables of")
    assert isinstance(load_model(DATA / "tiny-nequip.nequip.pth", compile=False), TorchScriptModel)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["none", "fused"])
def test_a_script_of_energies_alone_gives_forces(tmp_path, kernels):
    model, path = make_model(do_derivatives=False, num_layers=1), str(tmp_path / "energies.nequip.pth")
    facts = {key: str(value) for key, value in model.metadata.items()}
    with preserved_global_state():
        save_script(model, facts | {"allow_tf32": "0"}, path, torch.device("cpu"))
    positions, types, cell = structure()
    found = load_model(path, kernels=kernels)(*tensors(positions, types, cell, CUTOFF))
    edges = NeighborList(CUTOFF, 0.0, True)(positions, cell)
    expected = eager(make_model(num_layers=1), positions, types, *edges, cell)[1]
    assert np.abs(found["forces"].numpy() - expected).max() < TABLES


def test_a_script_of_something_else_runs_as_it_is(tmp_path):
    toy = write_toy(tmp_path / "toy.nequip.pth")
    model = load_model(toy)
    assert isinstance(model, TorchScriptModel) and model.info.kernels.startswith("none: its modules")
    with pytest.raises(KernelsError, match="fused kernels cannot run this model.*belong to no model of a family"):
        load_model(toy, kernels="fused")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "structure", "energy"), [
    ("waterscan-neq0.16.nequip.pth", "water-bulk.xyz", -550.635061584740356),
    ("inputs/seed/NequIP/water-double.pth", "inputs/seed/H2O-32.xyz", -550.638647597308932),
])  # fmt: skip
def test_published_energies_of_cp2k(cp2k, name, structure, energy):
    """In Ha; the second file is of nequip 0.5, whose radial networks and one-hot types are e3nn's."""
    from ase.io import read

    atoms = read(cp2k / structure, format="xyz")
    model = load_model(cp2k / name, kernels="fused")
    types = np.array([model.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    found = model(*tensors(atoms.positions, types, np.eye(3) * 9.8528, model.info.cutoff))
    assert abs(float(found["energy"]) / HARTREE - energy) < 1e-8


@pytest.mark.parametrize("name", ["early05-nequip.pth", "water-deployed-neq060sp.pth"])
def test_deployed_files_in_single_precision(request, name):
    """Of nequip 0.5.6, without stress and self-connections, and CP2K's of 0.6.0."""
    path = DATA / name if name.startswith("early") else request.getfixturevalue("cp2k") / name
    script, fused = load_model(path, kernels="none"), load_model(path)
    assert fused.info.kernels.startswith("fused, radial networks in tables") and "virial" in fused.info.outputs
    positions, types, cell = structure(24, len(script.info.type_names))
    graph = tensors(positions, types, cell, script.info.cutoff)
    expected, found = script(*graph), fused(*graph)
    scale = max(1.0, float(expected["forces"].abs().max()))
    assert (found["forces"] - expected["forces"]).abs().max() < SINGLE * scale
    assert (found["atomic_energies"] - expected["atomic_energies"]).abs().max() < ENERGY_SINGLE


def test_what_nothing_reads_is_left_out():
    """The last layer has features of all orders in these files, of which the energy needs scalars alone."""
    with preserved_global_state(), default_dtype(torch.float64):
        module, _ = load_to_fuse(locate(DATA / "early-nequip.pth"))
        program = read_model(module)
    assert [(block.l, block.p) for block in program.layers[-1].gate.outputs] == [(0, 1)]
    first, last = program.layers
    assert {path.l3 for path in last.paths} == {0} and {path.l3 for path in first.paths} == {0, 1}
    for layer in program.layers:
        assert layer.radial.activation == "ssp"
        assert layer.radial.weights[-1].shape[1] == layer.paths[-1].weights.stop
