"""CP2K inputs: published numbers from the files as they are, what becomes of each entry, and what is refused where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import openmm
import openmm.unit as unit
import pytest
from cp2k_texts import WATER

from openmm_nequip.app.cli import main
from openmm_nequip.errors import EngineInputError
from openmm_nequip.inputs import make_simulation, read_cp2k, start_run
from openmm_nequip.units import EV_PER_HARTREE_2006, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM

MODEL = Path(__file__).parent / "data" / "tiny-nequip.nequip.pth"
#: Published by CP2K's regression tests: hartree, and bar where stress is asked for; relative agreement, which is what
#: the precision of the models allows.
PUBLISHED = {
    "seed/NequIP_water_double.inp": (-550.638647597308932, None, 1e-12),
    "head/water-bulk.inp": (-550.635061584740356, 34101.5357500, 1e-12),
    "old/water-sp.inp": (-17.195440909240052, None, 1e-6),
    "mid/water-gra-film-sp.inp": (-2073.192819118499756, None, 1e-6),
    "mace/mace_test.inp": (-1532.363300232407482, None, 1e-12),
}
PRESSURE_RELATIVE = 1e-9
LENGTH_ANGSTROM = 1e-12
MODELS = {
    "NequIP": ["waterscan-neq0.16.nequip.pth", "water-deployed-neq060sp.pth", "inputs/seed/NequIP/water-double.pth"],
    "Allegro": ["inputs/mid/Allegro/gra-water-deployed-neq060sp.pth"],
    "MACE": ["inputs/mace/MACE/MACE_scratch_run-3.model-cp2k.pth"],
}


@pytest.fixture
def published(cp2k, tmp_path, monkeypatch):
    """The published inputs in folders of their own, as CP2K has them, and its data folder."""
    if not (cp2k / "inputs").is_dir():
        pytest.skip(f"the published CP2K inputs are absent: {cp2k / 'inputs'}")
    for folder, names in MODELS.items():
        (tmp_path / "data" / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / "data" / folder / Path(name).name).symlink_to(cp2k / name)
    for path in (cp2k / "inputs").glob("*/*"):
        if path.is_file():
            (tmp_path / path.parent.name).mkdir(exist_ok=True)
            (tmp_path / path.parent.name / path.name).symlink_to(path)
    (tmp_path / "head" / "water-bulk.xyz").symlink_to(cp2k / "water-bulk.xyz")
    monkeypatch.setenv("CP2K_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(published, name, capfd):
    energy, pressure, relative = PUBLISHED[name]
    words = ["run", "--cp2k", str(published / name), "--output", str(published / "out"), "--threads", "1", "--json"]
    if name.startswith("mid/"):
        assert main(words) == 1
        error = capfd.readouterr().err
        assert "water-gra-film-sp.inp:31: " in error and "Reading 1" in error and "Reading 2" in error
        assert not (published / "out").exists()
        words += ["--cp2k-forces", "energy"]
    assert main(words) == 0
    summary = json.loads(capfd.readouterr().out)
    rows = {row["unit"]: row["value"] for row in summary["as_engine_prints"]}
    assert rows.pop("hartree") == pytest.approx(energy, rel=relative)
    assert rows == ({} if pressure is None else {"bar": pytest.approx(pressure, rel=PRESSURE_RELATIVE)})
    forces = ase.io.read(published / "out" / "forces.extxyz")
    # Energy in the file is that of the units of this program: the constants of 2006 decide CP2K's number alone.
    scale = 1.0 if name.startswith("mid/") else EV_PER_HARTREE_2006 / (forces.get_potential_energy() / energy)
    assert scale == pytest.approx(1.0, rel=max(relative, 1e-9))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the small input and its model; the current one is another."""
    shutil.copy(MODEL, tmp_path / "tiny.nequip.pth")
    monkeypatch.delenv("CP2K_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder, *changes, text=WATER, **options):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (folder / "water.inp").write_text(text)
    return read_cp2k(folder / "water.inp", **options)


def structure_of(translation, folder):
    translation.settings["output"] = str(folder / "out")
    translation.write_made()
    return ase.io.read(translation.all_settings()["structure"])


def test_each_entry_is_told_with_its_place(folder):
    translation = read(folder, ("&GLOBAL", "&GLOBAL\n  PRINT_LEVEL LOW"))
    told = {entry.name.rpartition("/")[2]: entry for entry in translation.entries}
    line = next(k for k, text in enumerate((folder / "water.inp").read_text().splitlines(), 1) if "TEMPERATURE" in text)
    assert told["TEMPERATURE"].became == "temperature = 310.0" and told["TEMPERATURE"].place.line == line
    assert told["PRINT_LEVEL"].fate == "ignored" and told["PRINT_LEVEL"].why
    assert told["ATOMS"].fate == "replaced" and "order does not matter" in told["ATOMS"].why
    settings = translation.config()
    assert (settings.ensemble, settings.thermostat, settings.thermostat_time) == ("nvt", "csvr", 50.0)
    assert (settings.minimize, settings.equilibrate, settings.units) == (False, 0, ("angstrom", "eV"))
    atoms = structure_of(translation, folder)
    assert atoms.get_chemical_symbols() == ["O", "H", "H"] and atoms.cell.lengths().tolist() == [9.0, 9.5, 10.0]
    report = (folder / "out" / "translated" / "report.txt").read_text()
    assert "mapped (" in report and "replaced by a counterpart (" in report and "ignored (" in report


@pytest.mark.slow
def test_a_run_and_its_toml_and_its_python_are_the_same_run(folder, capfd):
    (folder / "water.inp").write_text(WATER)
    words = ["run", "--cp2k", "water.inp", "--threads", "1", "--seed", "5", "--platform", "Reference"]
    assert main([*words, "--dry-run", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert not (folder / "water-run").exists()
    assert main([*words, "--quiet"]) == 0
    summaries = [json.loads((folder / "water-run" / "summary.json").read_text())]
    # The TOML names the structure that the run wrote.
    (folder / "water.toml").write_text(shown["toml"].replace('water-run"', 'again"'))
    assert main(["run", "--config", "water.toml", "--quiet"]) == 0
    summaries.append(json.loads((folder / "again" / "summary.json").read_text()))
    script = shown["python"].replace("water-run'", "third'")
    space = {"__name__": "__main__"}
    exec(compile(script, "shown", "exec"), space)  # what the user is shown is what is run
    summaries.append(json.loads((folder / "third" / "summary.json").read_text()))
    for summary in summaries:
        assert (summary["steps"], summary["frames"]) == (4, 4)
    logs = [(folder / name / "log.csv").read_text() for name in ("water-run", "again", "third")]
    assert logs[0] == logs[1] == logs[2] and logs[0].count("\n") == 5
    simulation = space["make_simulation"](space["settings"])
    assert isinstance(simulation.integrator, openmm.CustomIntegrator)
    kelvin = 2 * simulation.context.getState(energy=True).getKineticEnergy() / unit.kilojoule_per_mole
    assert kelvin > 0


def test_the_preprocessor(folder):
    (folder / "cell.inc").write_text("ABC [nm] ${EDGE} 0.95 1.0 ! in nm\n")
    text = WATER.replace("      ABC 9.0 9.5 10.0\n", "@INCLUDE 'cell.inc'\n")
    text = "@SET EDGE 0.9\n@SET HOT 1\n# a comment\n" + text.replace(
        "TEMPERATURE 310", "@IF ${HOT} == 1\n  TEMPERATURE ${T-320}\n@ENDIF\n@IF $HOT /= 1\n  TEMPERATURE 5\n@ENDIF"
    )
    translation = read(folder, ("TIMESTEP 0.5", "timestep [ps] \\\n 0.5E-3"), ("&END MD", "&End md"), text=text)
    settings = translation.settings
    assert settings["temperature"] == 320 and settings["timestep"] == pytest.approx(0.5, rel=1e-12)
    assert structure_of(translation, folder).cell.lengths() == pytest.approx([9.0, 9.5, 10.0], abs=LENGTH_ANGSTROM)


OLD = (
    ("          MODEL_TYPE NEQUIP\n", ""), ("POT_FILE_NAME", "PARMFILE"), ("UNIT_LENGTH", "UNIT_COORDS"),
    ("UNIT_FORCES eV*angstrom^-1", "UNIT_FORCES eV/Angstrom\n UNIT_CELL ANGSTROM"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "units"),
    [
        ((), ("angstrom", "eV")),
        (OLD, ("angstrom", "eV")),
        ((*OLD, ("&NEQUIP", "&ALLEGRO"), ("&END NEQUIP", "&END")), ("angstrom", "eV")),
        ((("POT_FILE_NAME", "MODEL_FILE_NAME"), ("MODEL_TYPE NEQUIP", "MODEL allegro")), ("angstrom", "eV")),
        ((("eV*angstrom^-1", "hartree/bohr"), ("eV\n", "Hartree\n"), ("LENGTH angstrom", "LENGTH Bohr")),
         ("bohr", "hartree")),
        ((("eV*angstrom^-1", "kcalmol*nm^-1"), ("eV\n", "KCALMOL\n"), ("LENGTH angstrom", "LENGTH nm")),
         ("nm", "kcal/mol")),
        ((("eV*angstrom^-1", "nm^-1*kjmol"), ("eV\n", "kjmol\n"), ("LENGTH angstrom", "LENGTH nm")), ("nm", "kJ/mol")),
    ],
)  # fmt: skip
def test_dialects_and_units_of_the_model(folder, changes, units):
    assert read(folder, *changes).config().units == units


def test_mace_has_units_of_its_own(folder):
    lines = "          MODEL_TYPE NEQUIP\n", "          UNIT_ENERGY eV\n", "          UNIT_LENGTH angstrom\n"
    gone = [(line, "") for line in (*lines, "          UNIT_FORCES eV*angstrom^-1\n")]
    translation = read(folder, *gone, ("&NEQUIP", "&MACE"), ("&END NEQUIP", "&END MACE"))
    assert translation.config().units is None  # angstrom and eV


def test_forces_by_the_energy(folder):
    change = ("UNIT_ENERGY eV", "UNIT_ENERGY hartree")
    with pytest.raises(EngineInputError, match=r"UNIT_FORCES.*its energy is in ev, and UNIT_ENERGY hartree"):
        read(folder, change)
    translation = read(folder, change, forces="energy")
    assert translation.config().units == ("angstrom", "hartree") and "UNIT_FORCES" in translation.warnings[0]


def test_cells(folder):
    cubic = read(folder, ("ABC 9.0 9.5 10.0", "A 9 0 0\n B [bohr] 0 9.5 0\n C 0 0 10"))
    lengths = structure_of(cubic, folder).cell.lengths()
    assert lengths == pytest.approx([9.0, 9.5 * 0.52917720859, 10.0], rel=1e-9)
    monoclinic = read(folder, ("ABC 9.0 9.5 10.0", "ABC 9.0 9.5 10.0\n ALPHA_BETA_GAMMA 80 95 100"))
    assert structure_of(monoclinic, folder).cell.cellpar() == pytest.approx([9.0, 9.5, 10.0, 80, 95, 100], abs=1e-9)
    assert not structure_of(read(folder, ("&CELL", "&CELL\n PERIODIC NONE")), folder).pbc.any()
    slab = structure_of(read(folder, ("&CELL", "&CELL\n PERIODIC XY")), folder)
    assert slab.pbc.tolist() == [True, True, False]
    (folder / "frame.xyz").write_text('1\nLattice="9 0 0 0 9 0 0 0 9"\nO 0 0 0\n')
    found = read(folder, ("ABC 9.0 9.5 10.0", "CELL_FILE_NAME frame.xyz\n CELL_FILE_FORMAT XYZ"))
    assert structure_of(found, folder).cell.lengths().tolist() == [9, 9, 9]
    (folder / "old.cell").write_text("# Step Time Ax ...\n 0 0.0 8 0 0 0 8 0 0 0 8 512\n 5 2.5 9 0 0 0 9 0 0 0 9 729\n")
    found = read(folder, ("ABC 9.0 9.5 10.0", "CELL_FILE_NAME old.cell"))
    assert structure_of(found, folder).cell.lengths().tolist() == [9, 9, 9]


def test_atoms_in_other_units_scaled_repeated_and_of_files(folder):
    plain = structure_of(read(folder), folder)
    bohr = structure_of(read(folder, ("&COORD\n", "&COORD\n UNIT bohr\n")), folder)
    assert bohr.positions == pytest.approx(plain.positions * 0.52917720859, abs=1e-9)
    scaled = structure_of(read(folder, ("&COORD\n", "&COORD\n SCALED\n")), folder)
    assert scaled.positions == pytest.approx(plain.positions * [9.0, 9.5, 10.0], abs=1e-9)
    several = " MULTIPLE_UNIT_CELL 1 2 3\n"
    many = read(folder, ("&CELL\n", "&CELL\n" + several), ("&COORD\n", "&TOPOLOGY\n" + several + "&END\n&COORD\n"))
    atoms = structure_of(many, folder)
    assert len(atoms) == 18 and atoms.cell.lengths().tolist() == [9.0, 19.0, 30.0]
    assert atoms.get_all_distances(mic=True)[0].min(initial=9, where=np.arange(18) > 0) == pytest.approx(0.96, abs=1e-9)
    ase.io.write(folder / "box.xyz", plain, format="xyz")
    coord = WATER[WATER.index("    &COORD") : WATER.index("    &END COORD")] + "    &END COORD\n"
    file = "&TOPOLOGY\n COORDINATE xyz\n COORD_FILE ./box.xyz\n&END\n"
    settings = read(folder, (coord, file)).all_settings()
    assert settings["structure"] == str(folder / "box.xyz") and settings["box"] == (9.0, 9.5, 10.0)


def test_kinds_have_elements_masses_and_types(folder):
    kinds = "&SUBSYS\n &KIND Ow\n  ELEMENT O\n &END\n &KIND Hw\n  ELEMENT H\n  MASS 2.014\n &END KIND\n"
    text = WATER.replace("&SUBSYS\n", kinds, 1).replace("      O 0.0", "      Ow 0.0").replace("      H ", "      Hw ")
    translation = read(folder, ("ATOMS O H", "ATOMS Hw Ow"), text=text)
    simulation = make_simulation(settings_of(translation, folder))
    masses = [simulation.system.getParticleMass(i)._value for i in range(3)]
    assert masses == pytest.approx([15.999, 2.014, 2.014], abs=1e-2)


def settings_of(translation, folder):
    structure_of(translation, folder)
    return {**translation.all_settings(), "platform": "Reference", "threads": 1}


def test_velocities_are_kept(folder):
    rows = "&VELOCITY\n 1e-4 0 0\n 0 2e-4 0\n 0 0 -3e-4\n&END\n"
    translation = read(folder, ("    &COORD", rows + "    &COORD"), ("NVT", "NVE"))
    simulation = make_simulation(settings_of(translation, folder))
    found = simulation.context.getState(velocities=True).getVelocities(asNumpy=True)._value
    assert found == pytest.approx(np.diag([1e-4, 2e-4, -3e-4]) * 2187.69125, rel=1e-6, abs=1e-12)  # bohr/au in nm/ps


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ((("NVT", "NVE"),), {"ensemble": "nve"}),
        ((("TYPE CSVR\n", ""), ("&CSVR", "&NOSE"), ("TIMECON 50", "TIMECON [ps] 0.08\n LENGTH 4")),
         {"thermostat": "nose-hoover", "thermostat_time": 80.0, "thermostat_chain": 4}),
        ((("NVT", "NPT_I\n&BAROSTAT\n PRESSURE [atm] 2\n TIMECON 5\n&END"),),
         {"ensemble": "npt", "pressure": 2.0265, "barostat": "isotropic"}),
        ((("NVT", "NPT_F\n&BAROSTAT\n&END"),), {"ensemble": "npt", "pressure": 0.0, "barostat": "flexible"}),
        ((("NVT", "LANGEVIN\n&LANGEVIN\n GAMMA 0.002\n&END"),), {"thermostat": "langevin", "friction": 2.0}),
        ((("RUN_TYPE MD", "RUN_TYPE ENERGY"),), {"task": "energy"}),
        ((("STEPS 4", "STEPS 0"),), {"task": "energy"}),
        ((("RUN_TYPE MD", "RUN_TYPE geo_opt"), ("&MOTION", "&MOTION\n &GEO_OPT\n  MAX_FORCE [eV*angstrom^-1] 0.01\n"
          "  MAX_ITER 30\n  OPTIMIZER BFGS\n &END GEO_OPT")),
         {"task": "minimize", "iterations": 30, "force_tolerance": 0.01 * KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM}),
        ((("&END MD\n", "&END MD\n&PRINT\n &TRAJECTORY\n  &EACH\n   MD 2\n  &END\n &END\n &RESTART\n  &EACH\n   MD 40\n"
          "  &END\n &END\n&END\n"),), {"report_interval": 2, "checkpoint_interval": 40}),
        ((("  METHOD FIST\n", "  METHOD FIST\n STRESS_TENSOR ANALYTICAL\n &PRINT\n  &STRESS_TENSOR ON\n   &EACH\n"
          "    MD 2\n   &END\n  &END\n &END\n"),), {"stress_interval": 2}),
        ((("RUN_TYPE MD", "RUN_TYPE MD\n SEED 2000"),), {"seed": 2000}),
    ],
)  # fmt: skip
def test_motion(folder, changes, expected):
    config = read(folder, *changes).config()
    for name, value in expected.items():
        found = getattr(config, name)
        assert found == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name


def test_csvr_without_type_is_cp2ks_default_and_told(folder):
    translation = read(folder, ("      TYPE CSVR\n", ""))
    assert translation.settings["thermostat"] == "nose-hoover"
    assert "CP2K's default is TYPE NOSE" in translation.warnings[0]


@pytest.mark.parametrize(
    ("old", "new", "mark", "words"),
    [
        ("STEPS 4", "STEPZ 4", "STEPZ", "&MD/STEPZ 4: this keyword is unknown"),
        ("STEPS 4", "STEPS 4\n STEPS 5", "STEPS 5", "given twice, first at .*water.inp:"),
        ("STEPS 4", "STEPS four", "STEPS", "'four' is no number"),
        ("STEPS 4", "STEPS 1.5", "STEPS", "whole number"),
        ("STEPS 4", "STEPS 99999999999999", "STEPS", "steps = 99999999999999: it must be 1e.12 or less"),
        ("TIMESTEP 0.5", "TIMESTEP -0.5", "TIMESTEP", "timestep = -0.5: it must be more than 0"),
        ("TEMPERATURE 310", "TEMPERATURE -3", "TEMPERATURE", "temperature = -3.0: it must be more than 0"),
        ("ABC 9.0", "ABC -9.0", "ABC", "lengths are above 0"),
        ("&GLOBAL\n", "&GLOBAL &PRINT\n", "&GLOBAL", "a line of its own"),
        ("STEPS 4", "STEPS ${N}", "STEPS", "variable N has no value"),
        ("STEPS 4", "STEPS ${N", "STEPS", r"a variable \$\{ is not closed"),
        ("TIMESTEP 0.5", "TIMESTEP [parsec] 0.5", "TIMESTEP", "'parsec' is no unit"),
        ("TIMESTEP 0.5", "TIMESTEP [K] 0.5", "TIMESTEP", "not the unit of a time"),
        ("UNIT_ENERGY eV", "UNIT_ENERGY eV*", "UNIT_ENERGY", "not the unit of an energy"),
        ("UNIT_ENERGY eV", "UNIT_ENERGY e^V", "UNIT_ENERGY", "is no unit"),
        ("UNIT_ENERGY eV", "UNIT_ENERGY Ry", None, "a model in Ry is not run here|does not follow"),
        ("UNIT_LENGTH angstrom", "UNIT_LENGTH eV", "UNIT_LENGTH", "not the unit of a length"),
        ("UNIT_FORCES eV*angstrom^-1", "UNIT_FORCES eV", "UNIT_FORCES", "not the unit of a force"),
        ("POT_FILE_NAME tiny", "POT_FILE_NAME other", "POT_FILE", "there is no file .*CP2K_DATA_DIR"),
        ("          MODEL_TYPE NEQUIP\n", "", "&NEQUIP", "MODEL_TYPE is missing"),
        ("MODEL_TYPE NEQUIP", "MODEL_TYPE", "MODEL_TYPE", "a value is missing"),
        ("&NEQUIP\n", "&NEQUIP\n PARMFILE x\n", "PARMFILE", "already named at"),
        ("ATOMS O H", "ATOMS O", "&NEQUIP", "leaves out H"),
        ("ATOMS O H", "ATOMS O H Cu", "&NEQUIP", "ATOMS has Cu, which the model does not know"),
        ("ATOMS O H", "ATOMS O H O", "ATOMS", "O is listed twice"),
        ("      O 0.0", "      Cu 0.0", "&COORD", "atoms 'Cu' .*have no type in the model"),
        ("      O 0.0", "      Xx 0.0", "&COORD", "atoms 'Xx' are of no element"),
        ("O 0.0 0.0 0.0", "O 0.0 0.0", "O 0.0 0.0", "a line of an atom"),
        ("ABC 9.0 9.5 10.0", "", "&CELL", "the cell is missing"),
        ("ABC 9.0 9.5 10.0", "A 9 0 0\n B 0 9 0", "&CELL", "of A, B and C one is missing"),
        ("ABC 9.0 9.5 10.0", "ABC 9 9 0", "ABC", "no volume"),
        ("&CELL\n", "&CELL\n MULTIPLE_UNIT_CELL 2 1 1\n", "ABC", "is .2, 1, 1. in &CELL and .1, 1, 1. in"),
        ("  &SUBSYS\n", "  &SUBSYZ\n", "&END SUBSYS", "the section that is open is &SUBSYZ of line"),
        ("&END FORCE_EVAL", "", "&FORCE_EVAL", "this section has no &END"),
        ("  &MM\n", "  &MM\n &DIPOLES\n &END\n", "&DIPOLES", "this section is unknown"),
        ("TYPE CSVR", "TYPE GLE", "TYPE GLE", "Use TYPE CSVR"),
        ("TYPE CSVR", "TYPE CSVR\n REGION MASSIVE", "REGION", "use REGION GLOBAL"),
        ("&THERMOSTAT\n", "&THERMOSTATS\n", "&MD", "needs a section &THERMOSTAT"),
        ("TIMESTEP 0.5", "TIMESTEP 0.5\n TEMP_TOL 50", "TEMP_TOL", "not done here; take it out"),
        ("ENSEMBLE NVT", "ENSEMBLE NPT_IA", "ENSEMBLE", "use one of NVE"),
        ("RUN_TYPE MD", "RUN_TYPE CELL_OPT", "RUN_TYPE", "done are ENERGY"),
        ("METHOD FIST", "METHOD QS", "METHOD", "METHOD FIST is what runs"),
        ("&MOTION", "&MOTION\n &CONSTRAINT\n &END", "&CONSTRAINT", "constraints and biases are not done"),
        ("&FORCEFIELD\n", "&FORCEFIELD\n &BOND\n &END\n", "&BOND", "would add to its energy"),
        ("&FORCEFIELD\n", "&FORCEFIELD\n&END\n&FORCEFIELD\n", None, "it is there twice, first at"),
        ("&GLOBAL\n", "@INCLUDE water.inp\n&GLOBAL\n", "@INCLUDE", "@INCLUDE goes round in a circle"),
        ("&GLOBAL\n", "@INCLUDE none.inc\n&GLOBAL\n", "@INCLUDE", "@INCLUDE: there is no file"),
        ("&GLOBAL\n", "@IF 0\n&GLOBAL\n", "@IF", "this @IF has no @ENDIF"),
        ("&GLOBAL\n", "@XCTYPE PBE\n&GLOBAL\n", "@XCTYPE", "is not done here; known are @SET"),
        ("&GLOBAL\n", "STEPS 4\n&GLOBAL\n", "STEPS 4", "a keyword outside all sections"),
        ("&GLOBAL", "&GLOBALS", "&END GLOBAL", "the section that is open is &GLOBALS of line 1"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(folder, old, new, mark, words):
    with pytest.raises(EngineInputError, match=words) as caught:
        read(folder, (old, new))
    lines = (folder / "water.inp").read_text().splitlines()
    assert caught.value.path == str(folder / "water.inp")
    if mark is not None:
        assert caught.value.line == next(k for k, line in enumerate(lines, 1) if mark in line)


def test_a_model_of_the_other_family_is_warned_about(folder):
    assert not read(folder).warnings
    (warning,) = read(folder, ("MODEL_TYPE NEQUIP", "MODEL_TYPE ALLEGRO")).warnings
    assert "MODEL_TYPE ALLEGRO" in warning and "is a model of NequIP" in warning


def test_marks_of_editors_are_no_part_of_the_text(folder):
    """A byte order mark is left out; text in two bytes a letter is told to be none."""
    path = folder / "water.inp"
    path.write_text(WATER, encoding="utf-8-sig")
    assert read_cp2k(path).settings["steps"] == 4
    path.write_text(WATER, encoding="utf-16")
    with pytest.raises(EngineInputError, match="is no text: it has zero bytes; save it as UTF-8"):
        read_cp2k(path)


def test_charges_beside_the_model_are_refused_unless_they_are_off(folder):
    charge = ("&FORCEFIELD\n", "&FORCEFIELD\n &CHARGE\n  ATOM O\n  CHARGE -0.8\n &END CHARGE\n")
    read(folder, charge)
    with pytest.raises(EngineInputError, match="charges beside the model"):
        read(folder, charge, ("EWALD_TYPE none", "EWALD_TYPE SPME"))


def test_exchanged_elements_are_told(folder):
    swapped = read(folder, ("      O 0.0", "      X 0.0"), ("      H ", "      O "), ("      X 0.0", "      H 0.0"))
    assert "H and O look exchanged" in swapped.warnings[0] and "H-O 0.96 Å (radii 0.97)" in swapped.warnings[0]
    assert not read(folder).warnings


def test_models_are_looked_for_in_the_data_folder(folder, monkeypatch):
    (folder / "data" / "NequIP").mkdir(parents=True)
    shutil.move(folder / "tiny.nequip.pth", folder / "data" / "NequIP" / "tiny.nequip.pth")
    monkeypatch.setenv("CP2K_DATA_DIR", str(folder / "data"))
    translation = read(folder, ("POT_FILE_NAME tiny", "POT_FILE_NAME NequIP/tiny"))
    assert translation.settings["model"] == str(folder / "data" / "NequIP" / "tiny.nequip.pth")


@pytest.mark.slow
def test_optimisation_ends_where_forces_are_small(folder):
    change = ("RUN_TYPE MD", "RUN_TYPE GEO_OPT"), ("&MOTION", "&MOTION\n &GEO_OPT\n  MAX_ITER 400\n &END GEO_OPT")
    settings = settings_of(read(folder, *change), folder)
    summary = start_run({**settings, "seed": 1})
    assert summary["converged"] and summary["energy_kj_per_mol"] < summary["energy_at_start_kj_per_mol"]
    # 4.5e-4 hartree/bohr, CP2K's default
    limit = 4.5e-4 * EV_PER_HARTREE_2006 / 0.52917720859 * KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM
    assert summary["largest_force_kj_per_mol_nm"] <= limit * (1 + 1e-9)
    final = ase.io.read(folder / "out" / "final.pdb")
    assert len(final) == 3


@pytest.mark.slow
def test_stress_is_written_and_goes_on_after_a_restart(folder, capfd):
    key = "&PRINT\n &STRESS_TENSOR\n  &EACH\n   MD 2\n  &END\n &END\n&END\n"
    text = WATER.replace("  METHOD FIST\n", "  METHOD FIST\n" + key)
    (folder / "water.inp").write_text(text)
    words = ["--output", "out", "--threads", "1", "--platform", "Reference", "--quiet"]
    assert main(["run", "--cp2k", "water.inp", *words]) == 0
    assert main(["run", "--restart", "--steps", "8", *words]) == 0
    rows = (folder / "out" / "stress.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4", "6", "8"]
