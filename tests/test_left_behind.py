"""Damage is seen and kills leave nothing: shipped files, what AOTInductor unpacks, operators, Systems, findings."""

import os
import tempfile
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from toy import evaluate, make_topology, write_toy

import openmm_nequip
from openmm_nequip import ModelFileError
from openmm_nequip.app.run.run_analysis import read_log, truncate_log
from openmm_nequip.app.run.watch.finding import Finding, Record
from openmm_nequip.data import SHIPPED
from openmm_nequip.errors import SavedSystemError
from openmm_nequip.graph.graph import Outputs
from openmm_nequip.models import fused_op, load_model, locate
from openmm_nequip.models.operator_errors import take_operator_error
from openmm_nequip.models.self_check import check_gradient
from openmm_nequip.upstream.inductor import load_package

#: kJ/mol: the same System, written and read.
SAME = 0.0


def test_shipped_files_are_those_that_are_pinned():
    folder = Path(openmm_nequip.__file__).parent / "data"
    assert {path.name for path in folder.glob("*.nequip.zip")} <= set(SHIPPED)
    assert locate(folder / "alanine-dipeptide.nequip.zip").sha256 == SHIPPED["alanine-dipeptide.nequip.zip"]


def test_what_a_package_unpacks_to_goes_with_the_loading(monkeypatch, tmp_path):
    """A process that is killed later leaves nothing of it among the temporary files."""
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    seen = []

    def unpack(path, *_):
        seen.append(Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"])))
        return path

    monkeypatch.setattr("torch._inductor.aoti_load_package", unpack)
    with locate(DATA / "tiny-nequip.ckpt").private_file(".nequip.pt2") as path:
        load_package(path, torch.device("cpu"), False)
        assert seen[0].parent == Path(path).parent
    assert os.environ["TMPDIR"] == str(tmp_path) and not seen[0].exists()
    assert [each.name for each in tmp_path.iterdir()] == ["cache"]
    assert [each for each in (tmp_path / "cache").rglob("*") if each.is_file()] == []


def test_files_are_opened_elsewhere_where_there_is_no_cache(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "file"))
    with locate(DATA / "tiny-nequip.ckpt").private_file(".ckpt") as path:
        assert Path(path).read_bytes() == (DATA / "tiny-nequip.ckpt").read_bytes()
    assert not Path(path).parent.exists()


@pytest.mark.parametrize("change", ["damaged", "without answers"])
def test_kernels_in_a_package_are_those_of_their_digest(change):
    parts = [torch.arange(4, dtype=torch.uint8), torch.ones(3), torch.ones(2), torch.zeros(5, dtype=torch.uint8)]
    parts = parts[:3] if change == "without answers" else parts
    key = fused_op._digest([part.numpy() for part in parts])
    if change == "damaged":
        parts[1][1] = 1.25
    structure = [torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, 1), torch.zeros(1, 3), torch.eye(3)]
    operator = torch.ops.openmm_nequip.fused if change == "without answers" else torch.ops.openmm_nequip.fused_checked
    words = "of an earlier release" if change == "without answers" else "are damaged: their content is not that of"
    with pytest.raises(ModelFileError, match=words):
        operator(*structure, *parts, key)
    error = take_operator_error()  # AOTInductor's runtime passes no words on
    assert isinstance(error, ModelFileError) and take_operator_error() is None


@pytest.mark.parametrize("spoil", ["", "forces", "one force", "turned"])
def test_a_compiled_model_is_asked_whether_it_agrees_with_itself(spoil, tmp_path):
    model = load_model(write_toy(tmp_path / "toy.nequip.pth"))
    right = model.evaluate

    def wrong(graph):
        out = right(graph)
        forces, energy = out.forces.clone(), out.energy
        if spoil == "forces":
            forces *= 1.05
        elif spoil == "one force":
            forces[3] = 0
        elif spoil == "turned":
            energy = energy + graph.positions[:, 0].square().sum()
            forces[:, 0] -= 2 * graph.positions[:, 0]
        return Outputs(energy, forces, out.atomic_energies, out.virial)

    model.evaluate = wrong
    if not spoil:
        check_gradient(model, "toy")
        return
    with pytest.raises(ModelFileError, match="toy disagrees with itself: .*compile the .ckpt or .nequip.zip again"):
        check_gradient(model, "toy")


def test_a_system_in_a_file_of_ours(tmp_path):
    """Any changed number of it is seen, a mass too; OpenMM reads it as it is."""
    potential = MLPotential("nequip", modelPath=write_toy(tmp_path / "toy.nequip.pth"), backend="PythonForce")
    system = potential.createSystem(make_topology(["H", "C", "Ar"]))
    path, positions = tmp_path / "system.xml", np.array([[0, 0, 0], [0.38, 0, 0], [0, 0.4, 0]])
    openmm_nequip.write_system(system, path)
    expected = evaluate(system, positions)[0]
    for found in (openmm_nequip.read_system(path), openmm.XmlSerializer.deserialize(path.read_text())):
        assert abs(evaluate(found, positions)[0] - expected) <= SAME
    text = path.read_text()
    assert 'mass="12' in text
    for old, new in (('mass="12', 'mass="13'), ("openmm-nequip sealed 0", "openmm-nequip sealed 1")):
        changed = text.replace(old, new)
        path.write_text(changed)
        with pytest.raises(SavedSystemError, match="damaged: .*; copy the file again"):
            openmm_nequip.read_system(path)


def test_findings_that_were_changed_are_not_believed(tmp_path, caplog):
    path = tmp_path / "findings.json"
    Record(path).add(Finding("bonds", "the bond is 2.5 A long", 2.5, 1.5), "production", 10)
    assert len(Record(path).findings) == 1
    path.write_text(path.read_text().replace("2.5 A", "1.5 A"))
    assert not Record(path).findings and "findings.json is damaged" in caplog.text


def test_a_log_that_is_damaged_behind_the_checkpoint_goes_on(tmp_path):
    """What lies there is cut off, whatever it is; a damaged row before it is left out of the means."""
    path = tmp_path / "log.csv"
    path.write_bytes(b"step,energy\n10,1.5\n20,x.5\n30,2.5\n40,\xb2.5\n50,\r\x00")
    assert truncate_log(path, 3) == 3 and path.read_bytes().endswith(b"30,2.5\n")
    assert read_log(path)["energy"].tolist() == [1.5, 2.5]
