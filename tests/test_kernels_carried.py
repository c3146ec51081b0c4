"""Packages that carry the program of their model: run by the fused kernels, with nothing of nequip's."""

import io
import json
import shutil
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import DATA
from kernel_checks import edges_of
from nequip_models import structure
from test_kernels import NEQUIP
from test_kernels_allegro import ALLEGRO

from openmm_nequip import load_model
from openmm_nequip.app import model_facts
from openmm_nequip.app.cli import main
from openmm_nequip.errors import KernelsError, NotFusableError
from openmm_nequip.kernels.fuse import fuse_program
from openmm_nequip.kernels.program_file import pack_program, unpack_program
from openmm_nequip.kernels.read import read_model
from openmm_nequip.models import can_fuse, locate, read_info
from openmm_nequip.models.carried_program import ENTRY, add_program, carries_program, read_program
from openmm_nequip.models.eager import load_module
from openmm_nequip.models.own_answers import make_references
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

#: eV/Å of a float64 model with tables.
FORCE = 1e-8


def program_of(model):
    with default_dtype(torch.float64):
        return read_model(model)


@pytest.fixture
def carrying(tmp_path):
    """What a package that carries tiny-allegro looks like from outside; it has no machine code in it."""
    path = tmp_path / "model.nequip.pt2"
    with preserved_global_state():
        model = load_module(locate(DATA / "tiny-allegro.ckpt"))
        facts = {key: str(value) for key, value in model.metadata.items()}
        program, references = program_of(model), make_references(model, facts)
    stated = facts | {"AOTI_DEVICE_KEY": "cpu", "nequip_aoti_inputs": "pos edge_index atom_types cell edge_cell_shift",
                      "nequip_aoti_outputs": "atomic_energy total_energy forces virial"}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/_metadata.json", json.dumps(stated))
    add_program(str(path), program, references)
    return path


@pytest.mark.parametrize(("family", "name"), [(NEQUIP, "l2 everything"), (ALLEGRO, "l3 parity, splines")])
def test_programs_come_back_as_they_were(family, name):
    program = program_of(family.model(name))
    again = unpack_program(pack_program(program))
    one, other = (fuse_program(each, False) for each in (program, again))
    assert one.source == other.source
    assert np.array_equal(one.weights, other.weights) and np.array_equal(one.constants, other.constants)


def test_what_is_no_program_is_refused():
    with pytest.raises(NotFusableError, match="cannot be read"):
        unpack_program(b"PK")
    content = io.BytesIO()
    np.savez(content, program=np.frombuffer(json.dumps({"format": 0, "program": []}).encode(), dtype=np.uint8))
    with pytest.raises(NotFusableError, match="its format is 0, this release reads 1"):
        unpack_program(content.getvalue())


def test_a_damaged_program_is_no_program(carrying, tmp_path):
    """Inside an archive whose own checksums are right."""
    other = tmp_path / "other.nequip.pt2"
    with zipfile.ZipFile(carrying) as archive, zipfile.ZipFile(other, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            changed.writestr(name, content[:5000] + b"AAAA" + content[5004:] if name.endswith(ENTRY) else content)
    with pytest.raises(NotFusableError, match="the program in it cannot be read .*compile the model again"):
        read_program(locate(other))


def test_info_says_that_it_is_fused(carrying, monkeypatch):
    """Also where it is loaded as it is, which tells of the machine code alone."""
    as_it_is = SimpleNamespace(info=read_info(locate(carrying)))
    monkeypatch.setattr(model_facts, "open_model", lambda *_: as_it_is)
    monkeypatch.setattr(model_facts, "describe_graphs", lambda _: "")
    assert as_it_is.info.kernels == "none"
    assert model_facts.describe_model(carrying, load=True)["kernels"].startswith("fused, radial networks in tables")


def test_it_runs_fused_without_nequip(carrying, monkeypatch):
    source = locate(carrying)
    assert carries_program(source) and can_fuse(source) and read_info(source).kernels == "none"
    expected = load_model(DATA / "tiny-allegro.ckpt", compile=False)
    for name in [name for name in sys.modules if name.split(".")[0] in ("nequip", "allegro")]:
        monkeypatch.setitem(sys.modules, name, None)
    model = load_model(carrying)
    assert model.info.kernels.startswith("fused, radial networks in tables of")
    assert model.info.type_names == expected.info.type_names and model.info.cutoff == expected.info.cutoff
    positions, types, cell = structure(20, 4)
    arrays = positions, types, *edges_of(positions, cell, cutoff=model.info.cutoff), cell
    found = model(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])
    monkeypatch.undo()
    right = expected(*[torch.from_numpy(np.ascontiguousarray(array)) for array in arrays])
    assert (found["forces"] - right["forces"]).abs().max() < FORCE
    assert (found["virial"] - right["virial"]).abs().max() < FORCE * len(types)


def test_a_program_that_is_not_that_of_the_answers_is_refused(carrying, tmp_path):
    """The answers of the model itself decide, also where the library is that of a model which agreed."""
    load_model(carrying, kernels="fused")
    program, references = read_program(locate(carrying))
    other = tmp_path / "other.nequip.pt2"
    with zipfile.ZipFile(carrying) as archive, zipfile.ZipFile(other, "w") as changed:
        for name in archive.namelist():
            if not name.endswith(ENTRY):
                changed.writestr(name, archive.read(name))
    program.scales[:] *= 1.01
    add_program(str(other), program, references)
    with pytest.raises(KernelsError, match="fused and original model differ"):
        load_model(other, kernels="fused")


@pytest.mark.slow
def test_the_command_makes_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "tiny-allegro.ckpt", tmp_path / "water.ckpt")
    assert main(["compile", "water.ckpt", "--mode", "aotinductor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"] == "water.nequip.pt2" and document["kernels"].startswith("fused")
    compiled, fused = load_model("water.nequip.pt2", kernels="none"), load_model("water.nequip.pt2")
    assert fused.info.kernels.startswith("fused") and not compiled.info.kernels.startswith("fused")
    positions, types, cell = structure(20, 4)
    arrays = positions, types, *edges_of(positions, cell, cutoff=fused.info.cutoff), cell
    graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    assert (fused(*graph)["forces"] - compiled(*graph)["forces"]).abs().max() < FORCE
