"""``openmm-nequip test`` and ``energy --frames``: errors against reference values, counted right."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import ase.build
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from conftest import DATA
from toy import write_toy

import openmm_nequip
from openmm_nequip import progress
from openmm_nequip.app.accuracy.error_figures import FrameErrors, compare_all
from openmm_nequip.app.accuracy.labelled_frames import LabelledFrame
from openmm_nequip.app.cli import main
from openmm_nequip.app.single_point import SinglePoint
from openmm_nequip.models.fused import fused_model
from openmm_nequip.units import KJ_PER_MOL_PER_EV

SHIPPED = Path(openmm_nequip.__file__).parent / "data"
MODEL = SHIPPED / "alanine-dipeptide.nequip.zip"
TEST_SET = Path(__file__).parents[1] / "examples" / "train_demo_model" / "test.xyz.gz"
#: Digits of the model card, meV/atom and meV/Å.
CARD = 2e-3
#: The same sums in another order, relative.
ROUNDING = 1e-9


def answer(capsys, *words) -> dict:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *words) -> str:
    assert main([*map(str, words)]) == 1
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["none", "auto"])
def test_the_shipped_test_set_gives_the_model_card(capsys, tmp_path, kernels):
    card = json.loads((SHIPPED / "alanine-dipeptide.json").read_text())
    found = answer(capsys, "test", MODEL, TEST_SET, "--output", tmp_path / "out", "--kernels", kernels)
    assert found["frames"] == found["energies"] == card["test_frames"] and found["atoms"] == [22]
    for ours, theirs in (
        ("force_mae_mev_per_angstrom", "test_force_mae_mev_per_angstrom"),
        ("force_rmse_mev_per_angstrom", "test_force_rmse_mev_per_angstrom"),
        ("energy_mae_mev_per_atom", "test_energy_mae_mev_per_atom"),
        ("energy_rmse_mev_per_atom", "test_energy_rmse_mev_per_atom"),
    ):
        assert abs(found[ours] - card[theirs]) < CARD, ours
    for origin, value in card["test_force_mae_by_origin_mev_per_angstrom"].items():
        assert abs(found["by_group"][origin]["force_mae_mev_per_angstrom"] - value) < CARD, origin
    assert json.loads((tmp_path / "out" / "test.json").read_text()) == found
    assert (tmp_path / "out" / "parity.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "out" / "frames.csv").open()))
    errors = np.array([abs(float(row["energy_error_mev_per_atom"])) for row in rows])
    assert len(rows) == 278 and np.isclose(errors.mean(), found["energy_mae_mev_per_atom"], rtol=ROUNDING)
    assert found["worst_energies"][0]["frame"] == int(errors.argmax())


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A model in Å and eV."""
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.pth")


def frames_of(toy, tmp_path, capsys) -> list[Atoms]:
    """Three frames, one periodic, with the model's own values as references."""
    argon = ase.build.bulk("Ar", cubic=True, a=5.3) * (3, 3, 3)
    argon.rattle(0.1, seed=1)
    cluster = Atoms("ArOAr", [[0, 0, 0], [3.5, 0, 0], [0, 3.9, 0.2]])
    pair = Atoms("ArO", [[0, 0, 0], [3.6, 0, 0]])
    ase.io.write(tmp_path / "bare.extxyz", [argon, cluster, pair])
    table, forces = tmp_path / "table.csv", tmp_path / "labelled.extxyz"
    found = answer(
        capsys, "energy", toy, tmp_path / "bare.extxyz", "--frames", "all", "--csv", table, "--forces", forces
    )
    assert [row["atoms"] for row in found["frames"]] == [108, 3, 2]
    assert [row["periodic"] for row in found["frames"]] == [True, False, False]
    assert "reference_energy_ev" not in table.read_text() and len(table.read_text().splitlines()) == 4
    single = answer(capsys, "energy", toy, tmp_path / "bare.extxyz", "--frame", "1")
    assert single["atoms"] == 3 and single["periodic"] is False and single["units_of_model"] == "angstrom, eV"
    assert np.isclose(single["energy_kj_per_mol"], found["frames"][1]["energy_kj_per_mol"], rtol=ROUNDING)
    return ase.io.read(forces, ":")


def test_errors_are_counted_by_hand(capsys, tmp_path, toy):
    frames = frames_of(toy, tmp_path, capsys)
    for k, atoms in enumerate(frames):
        results = dict(atoms.calc.results)
        results["energy"] += 0.002 * (-1) ** k * len(atoms)  # 2 meV an atom
        oxygen = np.array(atoms.get_chemical_symbols()) == "O"
        results["forces"] = results["forces"] - np.where(oxygen, 0.02, 0.01)[:, None]
        if "stress" in results:
            results["stress"] = results["stress"] - 0.003
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(tmp_path / "data.extxyz", frames)
    found = answer(capsys, "test", toy, tmp_path / "data.extxyz", "--output", tmp_path / "out")
    close = {"abs": 1e-4}  # extxyz keeps eight digits
    assert found["energy_mae_mev_per_atom"] == pytest.approx(2, **close)
    assert found["energy_rmse_mev_per_atom"] == pytest.approx(2, **close)
    assert found["energy_mean_error_mev_per_atom"] == pytest.approx(-2 / 3, **close)
    assert found["stress_mae_mev_per_angstrom3"] == pytest.approx(3, **close)
    assert found["force_by_element"]["O"]["force_mae_mev_per_angstrom"] == pytest.approx(20, **close)
    assert found["force_by_element"]["Ar"]["force_rmse_mev_per_angstrom"] == pytest.approx(10, **close)
    assert found["force_mae_mev_per_angstrom"] == pytest.approx((111 * 10 + 2 * 20) / 113, **close)
    assert found["worst_forces"][0]["frame"] == 2 and found["group"] is None and not found["energy_offset_likely"]
    assert found["periodic_frames"] == 1 and found["stress_components"] == 9
    assert main(["test", str(toy), str(tmp_path / "data.extxyz"), "--output", str(tmp_path / "two")]) == 0
    text = capsys.readouterr().out
    assert "3 frames, 2 to 108 atoms, 1 of them periodic; units of the model angstrom, eV" in text
    compared = answer(capsys, "energy", toy, tmp_path / "data.extxyz", "--frames", "1:")
    assert [row["energy_error_mev_per_atom"] for row in compared["frames"]] == pytest.approx([2, -2], **close)


def test_deviation_and_error_are_ranked_by_the_largest_the_mean_and_by_atom():
    """Spearman's correlation by hand: 1 - 6 Σ d² / n(n² - 1)."""
    frames = []
    for index, (spread, error) in enumerate([((1, 1), 1.0), ((3, 0.2), 1.5), ((2, 2), 2.0), ((2.5, 2.5), 2.5)]):
        structure = SimpleNamespace(symbols=["H", "H"], box_nm=None)
        labelled = LabelledFrame(index, structure, None, np.zeros((2, 3)), None, {})
        forces = np.array([[0.0, error, 0.0], [0.0, 0.0, -error]])
        point = SinglePoint(0.0, forces, None, None, 1.0, np.array(spread, dtype=float))
        frames.append(FrameErrors(labelled, point))
    found = compare_all(frames, "config_type", 1)
    assert found["deviation_rank_correlation"] == pytest.approx(1 - 6 * (0 + 4 + 1 + 1) / 60)
    assert found["deviation_rank_correlation_of_means"] == pytest.approx(1.0)
    assert 0.3 < found["deviation_rank_correlation_of_atoms"] < 0.6
    assert compare_all(frames[:2], "config_type", 1)["deviation_rank_correlation_of_means"] is None


def test_units_keys_and_virials(capsys, tmp_path, toy):
    """The same references under other names, in other units, and as a virial."""
    frames = frames_of(toy, tmp_path, capsys)
    for atoms in frames:
        results, atoms.calc = dict(atoms.calc.results), None
        atoms.info["REF_energy"] = results["energy"] * KJ_PER_MOL_PER_EV
        atoms.arrays["REF_forces"] = results["forces"] * KJ_PER_MOL_PER_EV
        if "stress" in results:
            xx, yy, zz, yz, xz, xy = results["stress"]
            atoms.info["virial"] = -np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * atoms.get_volume()
            atoms.info["virial"] *= KJ_PER_MOL_PER_EV
    ase.io.write(tmp_path / "data.extxyz", frames)
    words = ["test", toy, tmp_path / "data.extxyz", "--output", tmp_path / "out"]
    keys = ["--energy-key", "REF_energy", "--forces-key", "REF_forces", "--reference-units", "angstrom", "kJ/mol"]
    found = answer(capsys, *words, *keys)
    assert found["units_of_references"] == "angstrom, kJ/mol"
    for name in ("energy_mae_mev_per_atom", "force_mae_mev_per_angstrom", "stress_mae_mev_per_angstrom3"):
        assert found[name] == pytest.approx(0, abs=1e-3), name
    shifted = [atoms.copy() for atoms in frames]
    for atoms in shifted:
        atoms.info["REF_energy"] += 50.0 * len(atoms)
    ase.io.write(tmp_path / "shifted.extxyz", shifted)
    words[2:] = [tmp_path / "shifted.extxyz", "--output", tmp_path / "shifted"]
    assert answer(capsys, *words, *keys)["energy_offset_likely"]


def test_partial_references(capsys, tmp_path, toy):
    frames = frames_of(toy, tmp_path, capsys)
    frames[1].calc = None
    frames[2].calc.results.pop("energy")
    ase.io.write(tmp_path / "data.extxyz", frames)
    found = answer(capsys, "test", toy, tmp_path / "data.extxyz", "--output", tmp_path / "out")
    assert found["frames"] == 3 and found["energies"] == 1 and found["force_components"] == 330


def test_what_cannot_be_compared_says_why(capsys, tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair = Atoms("ArO", [[0, 0, 0], [3.6, 0, 0]], info={"config_type": "pair", "dft": 1.0})
    ase.io.write("bare.extxyz", [pair, pair])
    error = complaint(capsys, "test", toy, "bare.extxyz")
    assert "bare.extxyz has no reference energies, forces or stresses in its 2 frames" in error
    assert "--energy-key" in error and "config_type, dft" in error
    assert "no reference energies" in complaint(capsys, "test", toy, SHIPPED / "alanine-dipeptide.pdb")
    assert "does not exist" in complaint(capsys, "test", toy, "none.extxyz")
    frames = ["energy", toy, "bare.extxyz", "--frames"]
    assert "has 2 frames, and --frames 7 is none of them" in complaint(capsys, *frames, "7")
    for wanted in ("a:b", "", "1:2:3:4", "::0", "1.5"):
        assert "give all, a number, or a range" in complaint(capsys, *frames, wanted)
    pair.info["dft"] = float("nan")
    ase.io.write("nan.extxyz", [pair])
    assert "frame 0 of" in (error := complaint(capsys, "test", toy, "nan.extxyz", "--energy-key", "dft"))
    assert "dft is NaN or infinite" in error
    pair.info["dft"] = "text"
    ase.io.write("text.extxyz", [pair])
    assert "expected numbers" in complaint(capsys, "test", toy, "text.extxyz", "--energy-key", "dft")
    other = Atoms("XeO", [[0, 0, 0], [3.6, 0, 0]], info={"dft": 1.0})
    ase.io.write("other.extxyz", [other])
    assert "frame 0 of" in (error := complaint(capsys, "test", toy, "other.extxyz", "--energy-key", "dft"))
    assert "Xe" in error
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "test.json").write_text("")
    assert "holds another test" in complaint(capsys, "test", toy, "bare.extxyz", "--output", taken)
    assert "give a path" in complaint(capsys, "test", toy, "bare.extxyz", "--output", "")
    assert not list(tmp_path.glob("test-output*"))
    for words in (["--csv", "a.csv"], ["--frames", "all", "--frame", "1"], ["--frames", "all", "--forces", "f.npy"],
                  ["--frames", "all", "--csv", "nowhere/a.csv"]):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["energy", str(toy), "bare.extxyz", *words])


def test_models_of_a_pdb_and_frames_of_a_gro(capsys, tmp_path, toy):
    import mdtraj

    pdb = mdtraj.load(str(SHIPPED / "alanine-dipeptide.pdb"))
    both = mdtraj.join([pdb, pdb])
    both.xyz[1] *= 1.05
    model = DATA / "tiny-nequip.nequip.pth"
    both.save_pdb(str(tmp_path / "two.pdb"))
    found = answer(capsys, "energy", model, tmp_path / "two.pdb", "--frames", "all")["frames"]
    for k, row in enumerate(found):
        alone = answer(capsys, "energy", model, tmp_path / "two.pdb", "--frame", k)
        assert alone["energy_kj_per_mol"] == pytest.approx(row["energy_kj_per_mol"], rel=ROUNDING)
    assert len(found) == 2 and found[0]["energy_kj_per_mol"] != found[1]["energy_kj_per_mol"]


@pytest.mark.slow
def test_fused_kernels_are_used_where_the_cache_has_them(capsys, tmp_path, monkeypatch):
    """Nothing is compiled unasked."""
    import torch

    model, peptide = DATA / "tiny-nequip.ckpt", SHIPPED / "alanine-dipeptide.pdb"
    path = Path(shutil.copy(model, tmp_path))
    with monkeypatch.context() as patch:
        patch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
        plain = answer(capsys, "energy", path, peptide)
        assert plain["kernels"].startswith("none") and not list((tmp_path / "cache").rglob("*.so"))
    fused_model(openmm_nequip.models.locate(path), torch.device("cpu"))  # compiled here, or at some earlier time
    with monkeypatch.context() as patch:
        patch.setattr(progress.subprocess, "Popen", None)
        fused = answer(capsys, "energy", path, peptide)
    assert fused["kernels"].startswith("fused")
    assert fused["energy_kj_per_mol"] == pytest.approx(plain["energy_kj_per_mol"], abs=1e-2)
    assert answer(capsys, "energy", path, peptide, "--kernels", "none")["kernels"].startswith("none")


def test_no_program_is_started_where_none_may_be(tmp_path):
    with progress.no_programs(), open(tmp_path / "log", "wb") as log, pytest.raises(OSError, match="nobody asked"):
        progress.run_program(["true"], "a compilation", log)
    with open(tmp_path / "log", "wb") as log:
        assert progress.run_program(["true"], "a compilation", log) == 0
