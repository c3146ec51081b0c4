"""The commands `info` and `energy`, usage, and what every command does with bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from toy import write_toy

from openmm_nequip import __version__, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.run_config import RunConfig, make_config
from openmm_nequip.app.run.settings_file import read_toml
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import KJ_PER_MOL_PER_EV, Units

MODEL = str(Path(__file__).parent / "data" / "tiny-nequip.nequip.pth")
PEPTIDE = str(Path(__file__).parents[1] / "openmm_nequip" / "data" / "alanine-dipeptide.pdb")
ENERGY_KEYS = [
    "energy_kj_per_mol",
    "energy_ev",
    "max_force_kj_per_mol_nm",
    "atomic_energies_kj_per_mol",
    "stress_bar",
    "pressure_bar",
    "atoms",
    "periodic",
    "units_of_model",
    "kernels",
]


def answer(capsys, *arguments: str) -> dict:
    """The JSON document of a command that must succeed."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *arguments: str) -> str:
    """The one line that a command must fail with."""
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("openmm-nequip: error: ")]
    assert len(lines) == 1 and captured.out == "" and "Traceback" not in captured.err
    return lines[0]


def crystal(seed: int = 3) -> Atoms:
    """Sixteen atoms in a triclinic cell of OpenMM's form, no two of them close."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1, 2, 3], indexing="ij"), -1).reshape(-1, 3)
    atoms = Atoms(rng.choice(["H", "C", "N", "O"], 16), cell=[[5, 0, 0], [1.2, 5.5, 0], [-0.8, 1.4, 9.0]], pbc=True)
    atoms.set_scaled_positions((grid + rng.uniform(-0.15, 0.15, (16, 3))) / [2, 2, 4])
    return atoms


def write(path: Path, atoms: Atoms) -> str:
    ase.io.write(path, atoms)
    return str(path)


def test_version_and_usage(capsys):
    for arguments, code in (["--version"], 0), ([], 2), (["energy"], 2), (["run", "--ensemble", "nph"], 2):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == code
    assert __version__ in capsys.readouterr().out


def test_run_without_its_inputs_is_wrong_usage(capsys):
    for arguments, missing in (["--model", MODEL], "--structure, --output"), (["--restart"], "--output"):
        with pytest.raises(SystemExit) as ended:
            main(["run", *arguments])
        assert ended.value.code == 2 and f"run needs {missing}" in capsys.readouterr().err


def test_info(capsys):
    facts = answer(capsys, "info", MODEL)
    assert facts["kind"] == "torchscript" and facts["type_names"] == ["H", "C", "N", "O"]
    assert facts["cutoff"] == 4.0 and facts["per_edge_type_cutoff"]["O"]["N"] == 4.0
    assert facts["dtype"] == "float64" and facts["device"] == "cpu"
    assert facts["units_assumed"] == {"length": "angstrom", "energy": "eV"}
    assert facts["cuda_graphs"] == "off: the device is cpu, and only CUDA devices have them"
    assert facts["size_bytes"] == Path(MODEL).stat().st_size and len(facts["sha256"]) == 64
    assert facts["versions_installed"]["openmm-nequip"] == __version__
    assert main(["info", MODEL]) == 0
    text = capsys.readouterr().out
    assert "cutoff            4 angstrom" in text and facts["sha256"] in text


def test_info_of_a_package_compiles_nothing(capsys):
    facts = answer(capsys, "info", MODEL.replace(".nequip.pth", ".nequip.zip"))
    assert facts["kind"] == "package" and facts["compiled"] is False and facts["compile_target"] is None


def test_energy_of_a_molecule(capsys):
    found = answer(capsys, "energy", MODEL, PEPTIDE)
    assert list(found) == ENERGY_KEYS
    assert found["stress_bar"] is None and found["pressure_bar"] is None
    assert len(found["atomic_energies_kj_per_mol"]) == 22
    assert np.isclose(sum(found["atomic_energies_kj_per_mol"]), found["energy_kj_per_mol"], rtol=1e-12)
    assert np.isclose(found["energy_ev"] * KJ_PER_MOL_PER_EV, found["energy_kj_per_mol"], rtol=1e-15)


def test_energy_agrees_with_the_evaluator(capsys, tmp_path):
    atoms = crystal()
    found = answer(capsys, "energy", MODEL, write(tmp_path / "c.extxyz", atoms))
    types = np.array(["HCNO".index(symbol) for symbol in atoms.get_chemical_symbols()])
    evaluator = Evaluator(load_model(MODEL), Units(), Placement(16, types), True, 0.0)
    direct = evaluator.evaluate(atoms.positions * 0.1, np.array(atoms.cell) * 0.1)
    # The file has eight decimals.
    assert np.isclose(found["energy_kj_per_mol"], direct["energy"], rtol=1e-7)
    assert np.allclose(found["stress_bar"], direct["stress"], rtol=1e-5, atol=1e-2)
    assert np.isclose(found["pressure_bar"], -np.trace(direct["stress"]) / 3, rtol=1e-5)
    assert np.isclose(found["max_force_kj_per_mol_nm"], np.linalg.norm(direct["forces"], axis=1).max(), rtol=1e-6)


@pytest.mark.slow
def test_energy_is_the_same_in_every_cell_of_the_crystal(capsys, tmp_path):
    atoms = crystal()
    cells = {"reduced": atoms}
    rotated = atoms.copy()
    rotated.rotate(37.0, (1, 2, 3), rotate_cell=True)
    cells["rotated"] = rotated
    for name, steps in {
        "skewed": [[1, 0, 0], [2, 1, 0], [-1, 3, 1]],
        "left-handed": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        "left-handed and skewed": [[1, 1, 0], [0, 1, 0], [1, 0, -1]],
    }.items():
        cells[name] = rotated.copy()
        cells[name].set_cell(np.array(steps) @ np.array(rotated.cell))
    found = {name: answer(capsys, "energy", MODEL, write(tmp_path / "c.extxyz", a)) for name, a in cells.items()}
    energies = np.array([result["energy_kj_per_mol"] for result in found.values()])
    pressures = np.array([result["pressure_bar"] for result in found.values()])
    assert np.allclose(energies, energies[0], rtol=1e-6) and np.allclose(pressures, pressures[0], rtol=1e-4)
    broken = crystal()
    broken.positions += 3.0 * np.array(broken.cell)[0] * (np.arange(16) % 3)[:, None]
    moved = answer(capsys, "energy", MODEL, write(tmp_path / "c.extxyz", broken))
    assert np.isclose(moved["energy_kj_per_mol"], energies[0], rtol=1e-6)


def test_energy_box_argument(capsys, tmp_path):
    atoms = crystal()
    atoms.pbc = False
    path = write(tmp_path / "c.xyz", Atoms(atoms.get_chemical_symbols(), atoms.positions))
    box = [str(value) for value in np.array(atoms.cell).reshape(-1)]
    with_box = answer(capsys, "energy", MODEL, path, "--box", *box)
    expected = answer(capsys, "energy", MODEL, write(tmp_path / "c.extxyz", crystal()))
    assert np.isclose(with_box["energy_kj_per_mol"], expected["energy_kj_per_mol"], rtol=1e-6)
    assert answer(capsys, "energy", MODEL, path)["stress_bar"] is None


@pytest.mark.slow
def test_energy_units_and_types(capsys, tmp_path):
    plain = answer(capsys, "energy", MODEL, PEPTIDE)
    stated = answer(capsys, "energy", MODEL, PEPTIDE, "--length-unit", "angstrom", "--energy-unit", "kcal/mol")
    assert np.isclose(stated["energy_kj_per_mol"], plain["energy_ev"] * 4.184, rtol=1e-12)
    assert answer(capsys, "energy", MODEL, PEPTIDE, "--units", "angstrom", "kcal/mol") == stated
    symbols = [line[76:78].strip() for line in Path(PEPTIDE).read_text().splitlines() if line.startswith("ATOM")]
    (tmp_path / "types").write_text(" ".join(str("HCNO".index(symbol)) for symbol in symbols))
    assert answer(capsys, "energy", MODEL, PEPTIDE, "--types", *symbols) == plain
    assert answer(capsys, "energy", MODEL, PEPTIDE, "--types", str(tmp_path / "types")) == plain


@pytest.mark.parametrize("suffix", [".npy", ".csv", ".extxyz"])
def test_forces_file(capsys, tmp_path, suffix):
    path = tmp_path / f"forces{suffix}"
    assert main(["energy", MODEL, PEPTIDE, "--forces", str(path)]) == 0
    text = capsys.readouterr().out
    assert ("eV/Å" if suffix == ".extxyz" else "kJ/mol/nm") in text
    if suffix == ".npy":
        forces = np.load(path)
    elif suffix == ".csv":
        assert path.read_text().startswith("atom,element,fx_kJ_per_mol_nm")
        forces = np.genfromtxt(path, delimiter=",", skip_header=1)[:, 2:]
    else:
        forces = ase.io.read(path).get_forces() * KJ_PER_MOL_PER_EV * 10
    expected = answer(capsys, "energy", MODEL, PEPTIDE)["max_force_kj_per_mol_nm"]
    assert forces.shape == (22, 3)
    assert np.isclose(np.linalg.norm(forces, axis=1).max(), expected, rtol=1e-6)


def test_bad_input_is_one_line(capsys, tmp_path):
    def of(*arguments: str) -> str:
        return complaint(capsys, "energy", *arguments)

    foreign = tmp_path / "foreign.pth"
    foreign.write_text("no model")
    strange = write(tmp_path / "gold.xyz", Atoms("HHAu", [[0, 0, 0], [0, 0, 1], [0, 0, 4]]))
    (tmp_path / "nan.xyz").write_text("2\n\nH 0 0 0\nH nan 0 0\n")
    (tmp_path / "slab.xyz").write_text('1\nLattice="9 0 0 0 9 0 0 0 3" pbc="T T F"\nH 0 0 0\n')
    assert "does not exist" in of(str(tmp_path / "none.pth"), PEPTIDE)
    assert "not a model" in of(str(foreign), PEPTIDE)
    assert "does not exist" in of(MODEL, str(tmp_path / "none.pdb"))
    assert "cannot be read" in of(MODEL, str(foreign))
    line = of(MODEL, strange)
    assert "atom 2" in line and "Au" in line and "H, C, N, O" in line
    assert "lengthUnit='feet' is not a known unit" in of(MODEL, PEPTIDE, "--length-unit", "feet")
    assert "has 2 numbers" in of(MODEL, PEPTIDE, "--box", "1", "2")
    assert "no volume" in of(MODEL, PEPTIDE, "--box", *"1 0 0 1 0 0 0 0 1".split())
    assert "NaN or infinite, of the atoms 1" in of(MODEL, str(tmp_path / "nan.xyz"))
    assert "leaves 3.00 Å of vacuum" in of(MODEL, str(tmp_path / "slab.xyz"))
    assert "has 1 entries" in of(MODEL, PEPTIDE, "--types", "H")
    assert "is no type of the model" in of(MODEL, PEPTIDE, "--types", *["9"] * 22)
    assert "suffix must be one of" in of(MODEL, PEPTIDE, "--forces", str(tmp_path / "forces.doc"))
    assert "folder" in of(MODEL, PEPTIDE, "--forces", str(tmp_path / "none" / "f.npy"))
    assert "not the trusted one" in of(MODEL, PEPTIDE, "--trusted", "0" * 64)
    assert "is no torch device" in of(MODEL, PEPTIDE, "--device", "toaster")


def test_debug_shows_where(capsys, tmp_path):
    assert main(["energy", MODEL, str(tmp_path / "none.pdb"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.slow
def test_module_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "openmm_nequip", "energy", MODEL, PEPTIDE, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0 and list(json.loads(done.stdout)) == ENERGY_KEYS
    assert "assumed" in done.stderr


def test_config_file_and_command_line(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('model = "m.pth"\nstructure = "/s.pdb"\noutput = "out"\nsteps = 5\nreport-interval = 7\n')
    config = make_config(read_toml(path), {"steps": 9, "box": [1, 2, 3]})
    assert config.model == str(tmp_path / "m.pth") and config.structure == "/s.pdb"
    assert (config.steps, config.report_interval, config.box) == (9, 7, (1.0, 2.0, 3.0))
    assert config.seed is not None
    again = tmp_path / "again.toml"
    again.write_text(config.to_toml())
    assert make_config(read_toml(again)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temprature = 3", "unknown key 'temprature'"),
        ("[section]\nsteps = 3", "unknown key 'section'"),
        ("steps = 1.5", "steps = 1.5: give a whole number"),
        ("steps = true", "steps = True: give a whole number"),
        ("steps = -1", "steps = -1: it must be 0 or more"),
        ("timestep = 0", "timestep = 0.0: it must be more than 0"),
        ("timestep = inf", "timestep = inf: give a finite number"),
        ('temperature = "hot"', "temperature = 'hot': give a number"),
        ('ensemble = "nph"', "ensemble = 'nph': use one of nve, nvt, npt"),
        ("minimize = 1", "minimize = 1: give true or false"),
        ("report-interval = 0", "report-interval = 0: it must be 1 or more"),
        ('box = ["a"]', "give a list of numbers"),
        ('units = ["nm"]', "give two, length and energy"),
        ("model = 3", "model = 3: give a text"),
        ("steps = ", "is no TOML"),
    ],
)
def test_bad_config_files(tmp_path, capsys, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    line = complaint(
        capsys, "run", "--config", str(path), "--output", str(tmp_path / "out"),
        *(() if text.startswith("model") else ("--model", MODEL)), "--structure", PEPTIDE,
    )  # fmt: skip
    assert message in line and not (tmp_path / "out").exists()


def test_missing_config_file(capsys, tmp_path):
    assert "does not exist" in complaint(capsys, "run", "--config", str(tmp_path / "none.toml"))


def test_every_setting_is_an_option(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for name in RunConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.slow
def test_compile_ahead(capsys, tmp_path, monkeypatch):
    """What it makes is in the cache, and the second time there is nothing to make."""
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    checkpoint = MODEL.replace(".nequip.pth", ".ckpt")
    facts = answer(capsys, "compile", checkpoint, "--kernels", "fused", "--no-tables")
    assert facts["path"] == checkpoint and facts["kind"] == "checkpoint" and facts["device"] == "cpu"
    assert facts["made"] and facts["cache"] == str(tmp_path / "cache") and facts["seconds"] > 0
    for made in facts["made"]:
        assert (tmp_path / "cache" / made["name"]).stat().st_size == made["size_bytes"]
    again = answer(capsys, "compile", checkpoint, "--kernels", "fused", "--no-tables")
    assert again["made"] == []
    assert main(["compile", MODEL, "--kernels", "none"]) == 0
    text = capsys.readouterr().out
    assert "kind      torchscript" in text and "nothing: it was compiled already" in text


def test_compile_ahead_of_what_cannot_be_had(capsys, tmp_path):
    toy = str(write_toy(tmp_path / "toy.nequip.pth"))
    assert "the fused kernels cannot run this model" in complaint(capsys, "compile", toy, "--kernels", "fused")
    assert "does not exist" in complaint(capsys, "compile", str(tmp_path / "none.ckpt"))
