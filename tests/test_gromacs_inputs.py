"""GROMACS set-ups: which settings they become, what is listed and why, and what is refused with file and line."""

import warnings

import pytest
from gromacs_folders import MODEL, SHARED, alanine, mdp, waters

from openmm_nequip.app.cli import main
from openmm_nequip.errors import EngineInputError
from openmm_nequip.inputs import read_gromacs

BATH = {"tc_grps": "System", "tau_t": 0.2, "ref_t": 310}
PRESS = {"pcoupl": "C-rescale", "tau_p": 2, "ref_p": 1.5, "compressibility": 4.5e-5}
ALPHA_1E5, ALPHA_TOLERANCE = 3.1234132, 1e-6


def translation(folder, **options):
    return read_gromacs(*waters(folder, **options), output=folder / "out")


def settings(folder, **options):
    return translation(folder, **{"nsteps": 50, "dt": 0.002, **options}).settings


def rows(found, name):
    return [entry for entry in found.entries if entry.name == name]


def test_names_are_read_as_grompp_reads_them(tmp_path):
    paths = waters(tmp_path)
    with open(paths[0], "a") as file:
        file.write("; a comment\n\nNsteps= 7 ; steps\nD-T = \\\n 0.001\nTAU_T = 0.5\nref-T=300\n")
        file.write("tcGrps = sYsTeM\nTcoupl=V_Rescale\n")
    found = read_gromacs(*paths).settings
    assert (found["steps"], found["timestep"], found["thermostat_time"]) == (7, 1.0, 500.0)


def test_the_model_and_its_region(tmp_path):
    found = settings(tmp_path, nnpot_link_type="F", nnpot_link_distance=0.13, nnpot_model_input1="atom-positions",
                     nnpot_model_input2="nnp-charge", nnpot_nnp_charge=-1, nnpot_embedding="mechanical")  # fmt: skip
    assert (found["model"], found["ml_atoms"], found["rule"]) == (str(MODEL), "index 0 to 2", "gromacs")
    assert (found["link_element"], found["link_distance"], found["input"]) == ("F", 0.13, ("charge=-1",))
    assert settings(tmp_path, region="5 1 3 4 3")["ml_atoms"] == "index 0 or index 2 to 4"
    assert settings(tmp_path, nnpot_input_group="system")["ml_atoms"] == "all"


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {"ensemble": "nve", "timestep": 2.0, "steps": 50, "minimize": False, "equilibrate": 0}),
        ({"tcoupl": "v-rescale", **BATH}, {"ensemble": "nvt", "thermostat": "csvr", "thermostat_time": 200.0}),
        ({"tcoupl": "v-rescale", "tc_grps": "Region Rest", "tau_t": "0.5 0.1", "ref_t": "310 310"},
         {"thermostat": "csvr", "thermostat_time": 100.0, "temperature": 310.0}),
        ({"tcoupl": "nose-hoover", **BATH},
         {"thermostat": "nose-hoover", "thermostat_time": 200.0, "thermostat_chain": 1}),
        ({"integrator": "md-vv", "tcoupl": "nose-hoover", **BATH},
         {"thermostat": "nose-hoover", "thermostat_chain": 10}),
        ({"integrator": "sd", **BATH}, {"ensemble": "nvt", "thermostat": "langevin", "friction": 5.0}),
        ({"integrator": "steep", "emtol": 100}, {"task": "minimize", "force_tolerance": 100.0, "iterations": 50}),
        ({"integrator": "cg"}, {"task": "minimize", "force_tolerance": 10.0}),
        ({"nsteps": 0}, {"task": "energy"}),
        ({"tcoupl": "v-rescale", **BATH, **PRESS}, {"ensemble": "npt", "barostat": "isotropic", "pressure": 1.5}),
        ({"tcoupl": "v-rescale", **BATH, **PRESS, "pcoupl": "Parrinello-Rahman", "pcoupltype": "semiisotropic",
          "ref_p": "1 1", "compressibility": "4.5e-5 0"}, {"barostat": "xy", "pressure": 1.0}),
        ({"tcoupl": "v-rescale", **BATH, **PRESS, "pcoupltype": "semiisotropic", "ref_p": "1 1",
          "compressibility": "1e-5 1e-5"}, {"barostat": "semiisotropic"}),
        ({"tcoupl": "v-rescale", **BATH, **PRESS, "pcoupltype": "anisotropic", "ref_p": "1 1 1 0 0 0",
          "compressibility": "1e-5 1e-5 1e-5 0 0 0"}, {"barostat": "anisotropic"}),
        ({"gen_vel": "yes", "gen_temp": 150, "gen_seed": 17, **BATH, "tcoupl": "v-rescale"},
         {"start_temperature": 150.0, "seed": 17, "temperature": 310.0}),
        ({"gen_vel": "yes", "gen_temp": 150}, {"temperature": 150.0, "ensemble": "nve"}),
        ({"nstxout_compressed": 20, "nstenergy": 5}, {"trajectory": "xtc", "report_interval": 20, "log_interval": 5}),
        ({"nstxout": 10, "nstenergy": 0, "nstlog": 25},
         {"trajectory": "dcd", "report_interval": 10, "log_interval": 25}),
        ({"comm_mode": "none"}, {"com_interval": 0}),
        ({"nstcomm": 10}, {"com_interval": 10}),
        ({"constraints": "h-bonds"}, {"constraints": "h-bonds", "rigid_water": False}),
        ({"rcoulomb": 1.0}, {"nonbonded": "pme", "cutoff": 1.0, "pme_spacing": 0.12, "dispersion_correction": False}),
        ({"coulombtype": "reaction-field", "epsilon_rf": 0}, {"nonbonded": "reaction-field", "dielectric": 0.0}),
        ({"coulombtype": None}, {"nonbonded": "reaction-field", "dielectric": 1.0}),
        ({"coulombtype": "cut-off", "pbc": "no", "rvdw": 0, "rcoulomb": 0},
         {"nonbonded": "no-cutoff", "periodic": False}),
        ({"vdw_modifier": "Force-switch", "rvdw_switch": 0.8}, {"switch": 0.8, "switch_function": "force"}),
        ({"vdwtype": "switch", "rvdw_switch": 0.8}, {"switch": 0.8, "switch_function": "potential"}),
        ({"DispCorr": "EnerPres"}, {"dispersion_correction": True}),
    ],
)  # fmt: skip
def test_options_become_settings(tmp_path, options, expected):
    found = settings(tmp_path, **options)
    assert {name: found[name] for name in expected} == expected


def test_the_splitting_of_pme(tmp_path):
    found = settings(tmp_path, rcoulomb=0.8)
    assert found["ewald_alpha"] == pytest.approx(ALPHA_1E5, abs=ALPHA_TOLERANCE)
    assert found["pme_spacing"] == pytest.approx(0.12 / 0.8)


def module_inputs(*names):
    return {f"nnpot_model_input{k}": name for k, name in enumerate(names, 1)}


def test_modules_are_given_what_is_declared_in_this_order(tmp_path):
    """GROMACS' own test module takes positions, numbers, box and pbc, of which the last two may be left out."""
    if not SHARED.exists():
        pytest.skip(f"GROMACS' own files are not at {SHARED}")
    names = ("atom-positions", "atom-numbers", "box", "pbc")
    found = settings(tmp_path, nnpot_modelfile=SHARED / "model.pt", **module_inputs(*names))
    assert found["module_inputs"] == names
    # A file of nequip's says itself what it takes.
    assert "module_inputs" not in settings(tmp_path, **module_inputs(*names))


@pytest.mark.parametrize(
    "names, option, words",
    [
        (("atom-numbers", "atom-positions", "box", "pbc"), "nnpot-model-input1", "in this order"),
        (("atom-positions",), "nnpot-model-input1", "in this order"),
        (("atom-positions", "atom-numbers", "atom-pairs"), "nnpot-model-input3", "nnpot-pair-cutoff"),
        ((), "nnpot-modelfile", "cannot be used"),
    ],
)
def test_modules_with_other_inputs(tmp_path, names, option, words):
    if not SHARED.exists():
        pytest.skip(f"GROMACS' own files are not at {SHARED}")
    paths = waters(tmp_path, nnpot_modelfile=SHARED / "model.pt", **module_inputs(*names))
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    assert (caught.value.path, caught.value.line) == (paths[0], mdp_line(tmp_path, option))


def test_velocities(tmp_path):
    found = translation(tmp_path)
    assert found.settings["velocities"] == str(tmp_path / "conf.gro")
    rest = translation(tmp_path, velocities=False)
    assert rest.settings["start_temperature"] == 0.0 and "velocities" not in rest.settings
    assert "at rest" in rest.warnings[0]


def test_what_is_listed(tmp_path):
    found = translation(tmp_path, tcoupl="v-rescale", **BATH, **PRESS, nstlist=20, pme_order=4, lincs_iter=2)
    (order,) = rows(found, "pme-order")
    assert (order.fate, order.place.line) == ("replaced", mdp_line(tmp_path, "pme-order"))
    assert [entry.fate for entry in rows(found, "nstlist") + rows(found, "lincs-iter")] == ["ignored", "ignored"]
    assert [entry.why for entry in rows(found, "pcoupl")] == [
        "a Monte Carlo barostat: the same ensemble, other volume dynamics"
    ]
    assert [entry.value for entry in rows(found, "vdw-modifier")] == ["potential-shift (GROMACS' default)"]


def mdp_line(folder, name):
    lines = (folder / "md.mdp").read_text().splitlines()
    return 1 + next(k for k, line in enumerate(lines) if line.startswith(name + " "))


@pytest.mark.parametrize(
    "option, value, words",
    [
        ("nonsense-option", 1, "is no option"),
        ("tcoupl", "berendsen", "use v-rescale"),
        ("tcoupl", "andersen", "use v-rescale"),
        ("integrator", "bd", "no counterpart"),
        ("nsteps", -1, "without end"),
        ("dt", "fast", "in place of a number"),
        ("dt", -0.001, "timestep = -1.0: it must be more than 0"),
        ("rvdw", 0, "expected a cutoff above 0 nm"),
        ("nstxout", -1, "report-interval = -1: it must be 1 or more"),
        ("cutoff-scheme", "group", "no other than Verlet"),
        ("nnpot-input-group", "Absent", "names the group 'Absent'"),
        ("nnpot-input-group", "None", "is empty"),
        ("nnpot-active", "no", "no model"),
        ("nnpot-modelfile", "absent.pt", "is not there"),
        ("nnpot-model-input1", "atom-velocities", "is no input"),
        ("nnpot-model-input1", "box", "leave out atom-positions"),
        ("nnpot-model-input10", "box", "one more"),
        ("nnpot-embedding", "electrostatic-model", "does not take atom-positions-mm"),
        ("nnpot-link-type", "Q", "is no element"),
        ("comm-grps", "Absent", "names the group 'Absent'"),
        ("pcoupl", "berendsen", "use C-rescale"),
        ("pcoupl", "C-rescale", "without a thermostat"),
        ("free-energy", "yes", "is not done here"),
        ("pull", "yes", "is not done here"),
        ("freezegrps", "Rest", "is not done here"),
        ("annealing", "single", "annealing is not done"),
        ("vdwtype", "PME", "is not done here"),
        ("coulombtype", "Ewald", "is not done here"),
        ("constraints", "all-angles", "is not done here"),
        ("pbc", "xy", "is not done here"),
        ("epsilon-r", 2, "is not done here"),
        ("define", "POSRES", "expected -DNAME"),
        ("include", "-Iabsent", "names no folder"),
    ],
)
def test_refused_with_file_and_line(tmp_path, option, value, words):
    paths = waters(tmp_path, **{option.replace("-", "_"): value})
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    assert (caught.value.path, caught.value.line) == (paths[0], mdp_line(tmp_path, option))


@pytest.mark.parametrize(
    "options, option, words",
    [
        ({"tc_grps": "Region", "tau_t": 1, "ref_t": 300}, "tc-grps", "leaves out 3 atoms"),
        ({"tc_grps": "System Rest", "tau_t": "1 1", "ref_t": "300 300"}, "tc-grps", "into one only"),
        ({"tc_grps": "System", "tau_t": "1 1", "ref_t": 300}, "tau-t", "2 values for 1 groups"),
        ({"tc_grps": "Region Rest", "tau_t": "1 1", "ref_t": "300 310"}, "ref-t", "one temperature"),
        ({"tc_grps": "Region Rest", "tau_t": "1 -1", "ref_t": "300 300"}, "tau-t", "leaves group Rest"),
        ({**BATH, "nnpot_model_input1": "box", "nnpot_model_input2": "box"}, "nnpot-model-input2", "there already"),
        ({**BATH, **PRESS, "ref_p": "1 2", "pcoupltype": "semiisotropic", "compressibility": "1 1"}, "ref-p",
         "one pressure"),
        ({**BATH, **PRESS, "pcoupltype": "surface-tension"}, "pcoupltype", "not done"),
    ],
)  # fmt: skip
def test_groups_and_values_that_do_not_fit(tmp_path, options, option, words):
    paths = waters(tmp_path, tcoupl="v-rescale", **options)
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    assert caught.value.line == mdp_line(tmp_path, option)


@pytest.mark.parametrize("text, line, words", [("a line\n", 1, "no option"), ("dt=1\nd_t = 2\n", 2, "a second time")])
def test_malformed_parameters(tmp_path, text, line, words):
    paths = waters(tmp_path)
    (tmp_path / "md.mdp").write_text(text)
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    assert (caught.value.path, caught.value.line) == (paths[0], line)


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("1 2\n", 1, "before the first group"), ("[ A ]\n1 x\n", 2, "no number of an atom"), ("[ A\n1\n", 1, "no name"),
        ("[ Region ]\n1\n[ B ]\n99\n", 3, "has atom 99"), ("", None, "no groups"),
    ],
)  # fmt: skip
def test_malformed_index(tmp_path, text, line, words):
    paths = waters(tmp_path)
    (tmp_path / "index.ndx").write_text(text)
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    assert (caught.value.path, caught.value.line) == (paths[3], line)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("[ system ]", "[ intermolecular_interactions ]\n[ bonds ]\n1 4 6 0.3 10\n[ system ]", "intermolecular"),
        ("[ system ]", "[ nonsense ]\n1\n[ system ]", "nonsense"),
        ("[ system ]", "[ dihedral_restraints ]\n1 2 3 1 1 0 0 1\n[ system ]", "dihedral_restraints"),
        ("[ system ]", "[ bonds ]\n1 2 6 0.1 100\n[ system ]", "function type 6"),
        ("[ system ]", "[ position_restraints ]\n1 1 KX 1 1\n[ system ]", "in place of three force constants"),
        ("[ system ]", "[ position_restraints ]\n9 1 1 1 1\n[ system ]", "the atoms 1 to 3"),
        ('#include "oplsaa.ff/tip3p.itp"', '#include "absent.itp"', "absent.itp"),
        ('#include "oplsaa.ff/tip3p.itp"', '#include "topol.top"', "circle"),
        ('#include "oplsaa.ff/tip3p.itp"', "#ifdef A", "never closed"),
        ('#include "oplsaa.ff/tip3p.itp"', "#else", "without an #ifdef"),
        ('#include "oplsaa.ff/tip3p.itp"', "#if A", "is unknown"),
        ("SOL 2", "SOL two", "how many"),
        ("1 3 yes 0.5 0.5", "1 3", "has 2 fields; give nbfunc"),
        ("1 3 yes 0.5 0.5", "3 3 yes 0.5 0.5", "nbfunc 3; only Lennard-Jones"),
        ("1 3 yes 0.5 0.5", "1 9 yes 0.5 0.5", "comb-rule 9; there are 1, 2, 3"),
        ("1 3 yes 0.5 0.5", "1 3 yes half 0.5", "'half' in place of a number"),
        ("1.0080  0.417 A", "heavy  0.417 A", "'heavy' in place of a number"),
        ("opls_112 HW 1  1.0080  0.417 A 0.0 0.0", "opls_112", "needs a name, mass, charge, particle type"),
        ("[ system ]", "[ bonds ]\n1 2 1 short 100\n[ system ]", "'short' in place of a number; if this is a macro"),
        ("SOL 2", "ETH 2", "not defined"),
    ],
)
def test_topologies_that_would_lose_something(tmp_path, old, new, words):
    paths = waters(tmp_path)
    text = (tmp_path / "topol.top").read_text()
    assert text.count(old) == 1
    (tmp_path / "topol.top").write_text(text.replace(old, new))
    with pytest.raises(EngineInputError, match=words) as caught:
        read_gromacs(*paths)
    first = 1 + text[: text.index(old)].count("\n")
    assert caught.value.path == paths[2] and first <= caught.value.line <= first + new.count("\n")


def test_an_atom_of_a_type_that_is_not_there(tmp_path):
    paths = waters(tmp_path)
    text = (tmp_path / "topol.top").read_text()
    (tmp_path / "topol.top").write_text(text.replace("opls_112 HW 1  1.0080  0.417 A 0.0 0.0\n", ""))
    with pytest.raises(EngineInputError, match="an atom of type 'opls_112', which is not in") as caught:
        read_gromacs(*paths)
    with open(caught.value.path) as file:
        assert "opls_112" in file.read().splitlines()[caught.value.line - 1]
    assert caught.value.path.endswith("tip3p.itp")


def test_a_circle_of_two_files(tmp_path):
    paths = waters(tmp_path)
    (tmp_path / "a.itp").write_text('; one\n#include "b.itp"\n')
    (tmp_path / "b.itp").write_text('#include "a.itp"\n')
    (tmp_path / "topol.top").write_text('#include "a.itp"\n' + (tmp_path / "topol.top").read_text())
    with pytest.raises(EngineInputError, match="a.itp includes b.itp includes a.itp") as caught:
        read_gromacs(*paths)
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "b.itp"), 1)


def test_other_numbers_of_atoms(tmp_path):
    paths = waters(tmp_path)
    (tmp_path / "topol.top").write_text((tmp_path / "topol.top").read_text().replace("SOL 2", "SOL 3"))
    with pytest.raises(EngineInputError, match="6 atoms, and the topology has 9"):
        read_gromacs(*paths)


def test_without_an_index_file(tmp_path):
    paths = waters(tmp_path, nnpot_input_group="Water")
    assert read_gromacs(*paths[:3]).settings["ml_atoms"] == "all"
    (tmp_path / "md.mdp").write_text(mdp())
    with pytest.raises(EngineInputError, match="own groups here are System, SOL, Water"):
        read_gromacs(*paths[:3])


def test_dry_run_shows_the_same_run_as_toml(tmp_path, capsys):
    paths = waters(tmp_path, nsteps=50, tcoupl="v-rescale", **BATH)
    out = tmp_path / "out"
    # In any order: the suffixes tell the files apart.
    assert main(["run", "--gromacs", *reversed(paths), "--output", str(out), "--seed", "3", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "replaced by a counterpart" in shown and "thermostat = \"csvr\"" in shown and not out.exists()
    toml = shown.split("as TOML, for --config:")[1].split("as Python:")[0]
    (tmp_path / "run.toml").write_text(toml)
    assert main(["run", "--config", str(tmp_path / "run.toml"), "--dry-run"]) == 0
    again = capsys.readouterr().out.split("as TOML, for --config:")[1].split("as Python:")[0]
    plain = [line for line in toml.splitlines() if line.strip() and not line.startswith("#")]
    assert plain == [line for line in again.splitlines() if line.strip() and not line.startswith("#")]


def test_missing_files_are_named(tmp_path, capsys):
    paths = waters(tmp_path)
    assert main(["run", "--gromacs", *paths[:2], "--output", str(tmp_path / "out"), "--dry-run"]) == 1
    assert "missing: .top" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_everything(tmp_path):
    """NPT of a molecule that the model knows, velocities of the structure, a log of its own rhythm."""
    out = tmp_path / "out"
    paths = alanine(tmp_path, nsteps=20, dt=0.0005, tcoupl="v-rescale", **BATH, **PRESS, nnpot_input_group="System",
                    nstxout_compressed=10, nstenergy=5)  # fmt: skip
    assert main(["run", "--gromacs", *paths, "--output", str(out), "--platform", "Reference", "--quiet"]) == 0
    rows = (out / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["5", "10", "15", "20"]
    assert (out / "translated" / "report.txt").exists()


@pytest.mark.slow
def test_energy_of_the_structure(tmp_path, capsys):
    paths = alanine(tmp_path, nsteps=0)
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        assert main(["run", "--gromacs", *paths, "--output", str(out), "--platform", "Reference", "--quiet"]) == 0
    assert "the force field: -62.34" in capsys.readouterr().out
