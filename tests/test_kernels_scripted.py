"""Fused kernels of TorchScript files: the script's own numbers, and what is not known is named."""

import numpy as np
import pytest
import torch
from conftest import DATA
from nequip_models import structure
from toy import write_toy

from openmm_nequip import load_model
from openmm_nequip.errors import KernelsError
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.models.formats.torchscript import TorchScriptModel

#: eV and eV/Å of float64 models whose forces are of the order of 1 eV/Å: radial functions in tables, and exact.
TABLES, EXACT = 5e-9, 1e-11
#: CP2K's published energy in Ha, relative as published; 1 Ha in eV as CP2K has it (CODATA 2006).
PUBLISHED, HARTREE = -550.635061584740356, 27.211383856556


def tensors(positions, types, cell, cutoff, periodic=True):
    arrays = positions, types, *NeighborList(cutoff, 0.0, periodic)(positions, cell), cell
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@pytest.mark.parametrize("name", ["tiny-nequip", "tiny-allegro"])
@pytest.mark.parametrize(("tables", "limit"), [(True, TABLES), pytest.param(False, EXACT, marks=pytest.mark.slow)])
def test_numbers_are_those_of_the_script(name, tables, limit):
    path = DATA / f"{name}.nequip.pth"
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


def test_a_script_of_something_else_runs_as_it_is(tmp_path):
    toy = write_toy(tmp_path / "toy.nequip.pth")
    model = load_model(toy)
    assert isinstance(model, TorchScriptModel) and model.info.kernels.startswith("none: its modules")
    with pytest.raises(KernelsError, match="fused kernels cannot run this model.*belong to no model of a family"):
        load_model(toy, kernels="fused")


@pytest.mark.slow
def test_the_published_energy_of_cp2k(cp2k):
    from ase.io import read

    atoms = read(cp2k / "water-bulk.xyz")
    model = load_model(cp2k / "waterscan-neq0.16.nequip.pth", kernels="fused")
    types = np.array([model.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    found = model(*tensors(atoms.positions, types, np.eye(3) * 9.8528, model.info.cutoff))
    assert abs(float(found["energy"]) / HARTREE - PUBLISHED) < 1e-8


def test_deployed_files_are_named(cp2k):
    model = load_model(cp2k / "water-deployed-neq060sp.pth")
    assert isinstance(model, TorchScriptModel)
    assert model.info.kernels.startswith("none: it was deployed by nequip <= 0.6")
