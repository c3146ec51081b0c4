"""TorchScript files by nequip's own function on today's torch: compared on writing, and run in OpenMM."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from toy import evaluate, make_topology

from openmm_nequip import load_model
from openmm_nequip.app.cli import main
from openmm_nequip.app.compiling_facts import script_name
from openmm_nequip.models import CompileError, locate, read_info
from openmm_nequip.models.compiling.scripting import TOLERANCES, compare, sample_graph, write_script
from openmm_nequip.units import KJ_PER_MOL_PER_EV

#: Relative to the largest value; the modules are the same, in Python or not.
FLOAT64_NOISE = 1e-12
ENERGY_KJ_PER_MOL = 1e-6
POSITIONS_NM = np.array([[0.0, 0.0, 0.0], [0.096, 0.0, 0.0], [-0.024, 0.093, 0.0]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-nequip.ckpt", "tiny-allegro.nequip.zip"])
def test_files_agree_with_their_models(tmp_path, name):
    source = locate(DATA / name)
    path = tmp_path / "model.nequip.pth"
    assert write_script(source, str(path)).worst <= FLOAT64_NOISE
    info, origin = read_info(locate(path)), read_info(source) or load_model(DATA / name, compile=False).info
    for fact in ("type_names", "cutoff", "dtype", "per_edge_type_cutoff", "inputs"):
        assert getattr(info, fact) == getattr(origin, fact), fact
    assert info.target == "torchscript" and set(info.outputs) == {"energy", "forces", "atomic_energies", "virial"}
    assert info.versions["torch"] == torch.__version__ and info.versions["nequip"]
    model, eager = load_model(path, kernels="none"), load_model(DATA / name, compile=False)
    graph = sample_graph(eager)
    assert model.input_dtype == torch.float64
    for key, value in model.evaluate(graph).as_dict().items():
        right = eager.evaluate(graph).as_dict()[key]
        assert float((value - right).abs().max()) <= FLOAT64_NOISE * float(right.abs().max()), key


@pytest.mark.slow
def test_the_shipped_model_in_float32(tmp_path):
    """A packaged model whose weights are float32."""
    from openmm_nequip import data

    package = next(path for path in data.__path__) + "/alanine-dipeptide.nequip.zip"
    found = write_script(locate(package), str(tmp_path / "demo.nequip.pth"))
    assert found.worst <= TOLERANCES["float32"]
    assert read_info(locate(tmp_path / "demo.nequip.pth")).dtype == "float32"


@pytest.mark.slow
def test_differences_are_found():
    """The comparison sees another model, and a file that does not agree is not given out."""
    model, other = (load_model(DATA / f"tiny-{kind}.nequip.pth", kernels="none") for kind in ("nequip", "allegro"))
    assert compare(model, model).worst <= FLOAT64_NOISE
    assert compare(other, model).worst > TOLERANCES["float32"]


def test_compiled_files_are_refused(tmp_path, capsys):
    path = DATA / "tiny-nequip.nequip.pth"
    with pytest.raises(CompileError, match=r"compiled already; TorchScript is made of the \.ckpt"):
        write_script(locate(path), str(tmp_path / "x.nequip.pth"))
    target = tmp_path / "x.nequip.pth"
    assert main(["compile", str(path), "--mode", "torchscript", "--output", str(target)]) == 1
    assert "compiled already" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["--mode", "torchscript", "--output", "model.pth"], "has to end in .nequip.pth"),
    (["--mode", "torchscript", "--output", "there.nequip.pth"], "--overwrite"),
    (["--mode", "torchscript", "--output", "there.nequip.pth/x.nequip.pth"], "is no folder"),
    (["--output", "model.nequip.pth"], "belong to --mode torchscript"),
    (["--mode", "torchscript", "--kernels", "fused"], "belong to --mode cache"),
])  # fmt: skip
def test_wrong_options(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.nequip.pth").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        main(["compile", str(DATA / "tiny-nequip.ckpt"), *arguments])
    assert stopped.value.code == 2 and words in capsys.readouterr().err
    assert (tmp_path / "there.nequip.pth").read_text() == "mine"


@pytest.mark.slow
def test_the_command_writes_into_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "tiny-nequip.ckpt", tmp_path / "water.ckpt")
    assert main(["compile", "water.ckpt", "--mode", "torchscript", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["output"] == "water.nequip.pth" and document["differences"]["forces"] <= FLOAT64_NOISE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["water.ckpt", "water.nequip.pth"]


@pytest.mark.parametrize(("path", "name"), [
    ("/a/b.nequip.zip", "b.nequip.pth"), ("b.ckpt", "b.nequip.pth"), ("b.c", "b.c.nequip.pth"),
    ("nequip.net:group/model:0.1", "model.nequip.pth"),
])  # fmt: skip
def test_names(path, name):
    assert script_name(path) == name


@pytest.mark.slow
@pytest.mark.torchforce_stack
def test_a_file_of_torch_213_runs_in_a_system(backend):
    """Written with torch 2.13 from tiny-nequip.ckpt; the file beside it is of an older torch."""
    energies = []
    for name in ("torch213-nequip.nequip.pth", "tiny-nequip.nequip.pth"):
        system = MLPotential("nequip", modelPath=str(DATA / name), kernels="none").createSystem(
            make_topology(["O", "H", "H"]), backend=backend
        )
        energies.append(evaluate(system, POSITIONS_NM)[0])
    assert energies[0] == pytest.approx(energies[1], abs=ENERGY_KJ_PER_MOL)
    assert abs(energies[1]) > KJ_PER_MOL_PER_EV * 1e-3
