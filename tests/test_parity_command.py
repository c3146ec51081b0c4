"""``parity``: one file, one structure, one number through every program that is here."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from conftest import BACKENDS, DATA

import openmm_nequip
from openmm_nequip.app.cli import main

pytestmark = pytest.mark.slow

MODEL = str(DATA / "tiny-nequip.nequip.zip")
SHIPPED = Path(openmm_nequip.__file__).parent / "data"
#: eV, published by CP2K, and kJ/mol an atom that 1e-8 of it is.
WATER_EV = -14983.542025661


@pytest.fixture
def triclinic(tmp_path):
    """A small triclinic crystal of H, C, N and O, extxyz."""
    random = np.random.default_rng(3)
    cell = np.array([[6.2, 0, 0], [1.4, 6.0, 0], [-0.9, 1.1, 5.8]])
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3) / 3
    atoms = ase.Atoms(random.choice(["H", "C", "N", "O"], 27), grid @ cell, cell=cell, pbc=True)
    atoms.rattle(0.1, seed=2)
    path = tmp_path / "crystal.extxyz"
    ase.io.write(path, atoms)
    return str(path)


def table(capsys, *arguments):
    code = main(["parity", *arguments, "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def test_published_numbers_of_cp2k(cp2k, capsys):
    code, document = table(
        capsys, str(cp2k / "waterscan-neq0.16.nequip.pth"), str(cp2k / "water-bulk.xyz"), "--box", *["9.8528"] * 3
    )
    assert code == 0
    published = next(row for row in document["rows"] if row["program"].startswith("CP2K"))
    assert published["agrees"] is True
    first = document["rows"][0]
    assert first["energy_kj_per_mol"] == pytest.approx(published["energy_kj_per_mol"], rel=1e-9)
    if "TorchForce" in BACKENDS:
        assert any("TorchForce" in row["program"] and row["agrees"] for row in document["rows"])


def test_a_program_that_disagrees_is_named(triclinic, capsys, monkeypatch):
    from openmm_nequip.app.parity import programs

    def another(*_):
        from openmm_nequip.app.parity.answers import ProgramAnswer

        return ProgramAnswer("somebody", 0.0)

    monkeypatch.setattr(programs, "published", another)
    code, document = table(capsys, MODEL, triclinic)
    assert code == 1
    assert document["disagreements"] == ["somebody"]


def test_the_table_as_text_and_markdown(tmp_path, capsys):
    target = tmp_path / "table.md"
    peptide = str(SHIPPED / "alanine-dipeptide.pdb")
    shipped = str(SHIPPED / "alanine-dipeptide.nequip.zip")
    assert main(["parity", shipped, peptide, "--markdown", str(target), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "measure: model alone, eager" in text and "that answer agree" in text
    assert "no answer: " in text
    lines = target.read_text().splitlines()
    assert lines[0].startswith("| program |") and lines[-1].startswith("| tolerance |")
    with pytest.raises(SystemExit):
        main(["parity", shipped, peptide, "--markdown", str(tmp_path / "no" / "x.md")])
    assert "does not exist" in capsys.readouterr().err
