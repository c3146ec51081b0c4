"""TorchMD-Net files without TorchMD-Net: what they are, their units, and what is refused, in words."""

import json
import os
import zipfile

import pytest
import torch
from torchmdnet_files import SCALES, write_hollow

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.errors import ModuleError
from openmm_nequip.models import Execution, locate, read_info
from openmm_nequip.models.units_in_force import units_of
from openmm_nequip.options import Options
from openmm_nequip.upstream import torchmdnet_models


def info_of(path):
    return read_info(locate(path))


def test_info_tells_a_checkpoint_without_torchmdnet(tmp_path, capsys):
    path = write_hollow(tmp_path / "some.ckpt", "zbl", dataset="ANI1", remove_ref_energy=True)
    assert main(["info", path, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "torchmdnet" and facts["cutoff"] == 4.5 and facts["dtype"] == "float32"
    assert facts["type_names"][:9] == ["type0", "H", "He", "Li", "Be", "B", "C", "N", "O"]
    assert facts["units"] == "angstrom, eV" and facts["units_source"] == "data set ANI1"
    assert facts["compile_target"].startswith("TorchMD-Net: graph-network with ZBL, trained on energies less")
    assert main(["info", write_hollow(tmp_path / "other.ckpt")]) == 0
    text = capsys.readouterr().out
    assert "to be stated with --units" in text and "charge (one whole number; may be left out)" in text


def test_an_ensemble_is_told_from_a_package_by_content(tmp_path):
    members = [write_hollow(tmp_path / f"{i}.ckpt", cutoff_upper=4.0 + i) for i in range(2)]
    with zipfile.ZipFile(tmp_path / "some.nequip.zip", "w") as archive:
        for path in members:
            archive.write(path, os.path.basename(path))
    source = locate(tmp_path / "some.nequip.zip")
    assert source.kind == "torchmdnet-ensemble"
    info = read_info(source)
    assert info.cutoff == 5.0 and "spread" in info.outputs and info.target.startswith("ensemble of 2: ")
    listed = locate(members)
    assert listed.kind == source.kind and listed.sha256 == locate(members).sha256
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.write(members[0], "a.ckpt")
        archive.writestr("b.ckpt", b"no checkpoint")
    with pytest.raises(openmm_nequip.ModelFileError, match=r"bad.zip, b.ckpt is no TorchMD-Net checkpoint"):
        info_of(tmp_path / "bad.zip")
    package = os.path.join(os.path.dirname(__file__), "data/tiny-nequip.nequip.zip")
    with pytest.raises(openmm_nequip.ModelFileError, match="0.ckpt and .* are no committee: they differ in types"):
        read_info(locate([members[0], package]))


@pytest.mark.parametrize("found, words", [(None, "which is not installed"), ("2.4.14", ">= 3.1, and 2.4.14 is")])
def test_without_torchmdnet_the_extra_is_named(found, words, tmp_path, monkeypatch):
    path = write_hollow(tmp_path / "some.ckpt")
    monkeypatch.setattr(torchmdnet_models, "installed", lambda: found)
    if found is not None:
        monkeypatch.setattr(torchmdnet_models.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(openmm_nequip.ModelFileError, match=words + r'.*pip install "openmm-nequip\[torchmdnet\]"'):
        openmm_nequip.load_model(path)
    assert info_of(path).cutoff == 4.5


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"dataset": "SPICE"}, "angstrom, eV"),
        ({"dataset": "ANI2X"}, "angstrom, eV"),
        ({"dataset": "MD17"}, "angstrom, kcal/mol"),
        ({"dataset": "MDCATH"}, "angstrom, kcal/mol"),
        ({"dataset": "QM9", "dataset_arg": {"label": "energy_U0"}}, "angstrom, eV"),
        ({"prior_model": "ZBL", "prior_args": SCALES | {"energy_scale": 4.35974e-18}}, "angstrom, hartree"),
        ({"model": "tensornet2", "output_model": "ScalarPlusWeightedCoulomb"}, "angstrom, eV"),
    ],
)
def test_units_that_are_stated(changes, expected, tmp_path):
    info = info_of(write_hollow(tmp_path / "some.ckpt", **changes))
    assert units_of(info).describe() == expected
    assert units_of(info, energy_unit="kJ/mol").describe() == "angstrom, kJ/mol"


@pytest.mark.parametrize("dataset", [None, "Custom", "HDF5", "WaterBox", "QM9"])
def test_units_are_never_guessed(dataset, tmp_path, capsys):
    path = write_hollow(tmp_path / "some.ckpt", dataset=dataset)
    with pytest.raises(ModuleError, match='lengthUnit="angstrom" and energyUnit=.*--units'):
        units_of(info_of(path))
    with pytest.raises(ModuleError, match="units of .* are not known"):
        units_of(info_of(path), energy_unit="eV")
    assert units_of(info_of(path), "nm", "kJ/mol").energy == 1.0


def test_units_that_contradict_each_other(tmp_path):
    path = write_hollow(tmp_path / "some.ckpt", "zbl", dataset="MD17")
    with pytest.raises(openmm_nequip.ModelFileError, match="data set MD17 is in angstrom, kcal/mol, its prior ZBL in"):
        info_of(path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"output_model": "DipoleMoment"}, "predicts no potential energy: its output_model is 'DipoleMoment'"),
        ({"cutoff_upper": -1.0}, "cutoff -1.0; expected a positive"),
        ({"cutoff_upper": "wide"}, "hyper_parameters that cannot be read: ValueError"),
        ({"max_z": 0}, "states no atom types"),
    ],
)
def test_files_that_are_no_potentials(changes, words, tmp_path):
    with pytest.raises(openmm_nequip.ModelFileError, match=f"some.ckpt.*{words}"):
        info_of(write_hollow(tmp_path / "some.ckpt", **changes))


class Planted:
    """Would be called by a loader that trusts what it reads."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_hollow(tmp_path / "some.ckpt")
    data = torch.load(path, weights_only=True)
    torch.save(data | {"callbacks": Planted()}, path)
    with pytest.raises(openmm_nequip.ModelFileError, match="neither tensors nor plain values.*hyper_parameters and"):
        info_of(path)
    assert not (tmp_path / "planted").exists()


def test_types_that_a_prior_names_otherwise(tmp_path):
    arguments = {"atomic_number": [8, 1, 1, 6], **SCALES}
    info = info_of(write_hollow(tmp_path / "some.ckpt", max_z=5, prior_model="ZBL", prior_args=arguments))
    assert info.type_names == ("O", "H:1", "H:2", "C", "type4")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"removeReferenceEnergy": "no"}, "removeReferenceEnergy='no' is neither True nor False"),
        ({"maxNeighbors": 0}, "maxNeighbors=0: give a number from 1"),
        ({"maxNeighbors": 1.5}, "maxNeighbors=1.5 is no whole number"),
        ({"coulombCutoff": "far"}, "coulombCutoff='far' is not a length"),
        ({"coulombCutoff": -1.0}, "coulombCutoff=-1.0 must be a finite length"),
    ],
)
def test_settings_are_checked(options, words, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        Options(**options)
    with pytest.raises((TypeError, ValueError), match=words):
        openmm_nequip.load_model(write_hollow(tmp_path / "some.ckpt"), **options)


def test_settings_travel_as_plain_data():
    execution = Options(removeReferenceEnergy=False, maxNeighbors=99, coulombCutoff=1.2).execution
    data = json.loads(json.dumps(execution.as_dict()))
    assert data["settings"] == {"coulomb_cutoff": 12.0, "max_num_neighbors": 99, "remove_ref_energy": False}
    assert Execution.from_dict(data) == execution and "settings" not in Execution().as_dict()
    charges = Options(modelInputs={"partial_charges": [0.5, -0.5]}).execution
    assert Execution.from_dict(json.loads(json.dumps(charges.as_dict()))) == charges
