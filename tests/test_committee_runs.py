"""How far a committee's models are from each other along a simulation: table, frames, limits; in runs and commands."""

import csv
import json

import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from committees import KJ_PER_MOL_PER_EV, write_four, write_member
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from test_run_folders import frames as trajectory_of
from toy import lattice, make_topology

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.deviation import DeviationCalculator
from openmm_nequip.distinct_frames import ALIKE_NM, DistinctFrames, keep_until
from openmm_nequip.errors import CommitteeError, DeviationError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.reporters import DeviationReporter
from openmm_nequip.units import Units

#: kJ/mol/nm and eV/Å: sums of a few doubles in another order.
EXACT = 1e-8
EV_PER_ANGSTROM = 10 * KJ_PER_MOL_PER_EV


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models a to d, and 27 atoms of argon in a box."""
    made = tmp_path_factory.mktemp("committee")
    write_four(made)
    positions, box = lattice(3)
    ase.io.write(made / "argon.extxyz", ase.Atoms("Ar27", positions * 10, cell=box * 10, pbc=True))
    return made


def paths(folder, names="abcd"):
    return [str(folder / f"{name}.nequip.pth") for name in names]


def simulation(folder, temperature=300, **options):
    positions, box = lattice(3)
    topology = make_topology(["Ar"] * 27, box)
    system = MLPotential("nequip", committee=paths(folder), backend="PythonForce", **options).createSystem(topology)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1, 0.002)
    integrator.setRandomNumberSeed(1)
    made = app.Simulation(topology, system, integrator, openmm.Platform.getPlatformByName("Reference"))
    made.context.setPositions(positions)
    made.context.setVelocitiesToTemperature(temperature, 1)
    return made


def rows_of(path):
    with open(path) as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_table_and_frames(folder, tmp_path):
    table, frames = tmp_path / "deviation.csv", tmp_path / "selected.extxyz"
    frames.write_text("of an earlier simulation")
    made = simulation(folder, 4000, drive=0)  # hot, so that no two frames are alike
    made.reporters.append(DeviationReporter(table, 5, selectAbove=1e-4, frames=frames))
    made.step(10)
    made.reporters[0].close()
    more = DeviationReporter(table, 5, 1e-4 * EV_PER_ANGSTROM * unit.kilojoule_per_mole / unit.nanometer,
                             frames=frames, append=True)  # fmt: skip
    made.reporters[0] = more
    made.step(10)
    rows, kept = rows_of(table), ase.io.read(frames, ":")
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert rows[3]["time_ps"] == pytest.approx(0.04)
    # By hand, from the last frame.
    last = kept[-1]
    answers = []
    for path in paths(folder):
        model = openmm_nequip.load_model(path)
        types = np.full(27, model.info.type_names.index("Ar"))
        ask = Evaluator(model, Units(), Placement(27, types), True, 0.0)
        answers.append(ask.evaluate(last.positions / 10, np.array(last.cell) / 10))
    forces = np.array([each["forces"] for each in answers])
    spread = np.sqrt(np.square(forces - forces.mean(axis=0)).sum(axis=2).mean(axis=0)) / EV_PER_ANGSTROM
    row = rows[-1]
    assert last.info["step"] == 20 and last.info["deviation_ev_per_angstrom"] == row["deviation_ev_per_angstrom"]
    assert np.abs(last.arrays["atom_deviation_ev_per_angstrom"] - spread).max() < 1e-6  # eight digits in the file
    assert abs(row["deviation_ev_per_angstrom"] - spread.max()) < 1e-6
    assert row["deviation_atom"] == spread.argmax() == last.info["deviation_atom"]
    assert abs(row["mean_deviation_ev_per_angstrom"] - spread.mean()) < 1e-6
    energies = np.array([each["energy"] for each in answers]) / KJ_PER_MOL_PER_EV
    assert abs(row["energy_spread_ev"] - energies.std()) < 1e-6
    assert last.arrays["model_atom"].all() and last.pbc.all() and set(last.symbols) == {"Ar"}


def test_no_two_frames_are_alike(tmp_path):
    positions, box = lattice(3)
    rng = np.random.default_rng(0)
    angle = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    angle *= np.sign(np.linalg.det(angle))
    topology = make_topology(["Ar"] * 27)
    for cell, same, other in (
        (box, positions + [1.0, 0.2, 0.3] + rng.integers(-2, 3, (27, 3)) @ box, positions + ALIKE_NM * 2),
        (None, positions @ angle.T + 3.0, positions),
    ):
        other = other.copy()
        other[4] += 0.5 * ALIKE_NM * np.sqrt(27 * 10) * np.array([0.6, 0.0, 0.8])
        path = tmp_path / f"{cell is None}.extxyz"
        frames = DistinctFrames(path, topology, np.arange(27))
        written = [frames.add(each, cell, {"step": k}, {}) for k, each in enumerate((positions, same, other, other))]
        assert written == [True, False, True, False]
        again = DistinctFrames(path, topology, np.arange(27), append=True)
        assert len(again) == 2 and not again.add(same, cell, {"step": 9}, {})
        with open(path, "a") as file:
            file.write("27\nstep=5 half a frame\nAr 0 0")
        assert keep_until(path, 0) == 1 and len(ase.io.read(path, ":")) == 1


def test_limits(folder, tmp_path):
    table, frames = tmp_path / "deviation.csv", tmp_path / "selected.extxyz"
    with pytest.raises(ValueError, match="selectAbove=0.2 and stopAbove=0.1 .* stand in the wrong order"):
        DeviationReporter(table, 5, 0.2, 0.1, frames)
    for wrong in (0.0, -1, float("nan"), "much", True, 3 * unit.nanometer):
        with pytest.raises(ValueError, match="give a positive force, eV/Å if a plain number"):
            DeviationReporter(table, 5, wrong, frames=frames)
    with pytest.raises(ValueError, match="expected a number of steps of at least 1"):
        DeviationReporter(table, 0)
    assert not table.exists() and not frames.exists()
    made = simulation(folder)
    made.reporters.append(DeviationReporter(table, 2, stopAbove=1e-4, frames=frames))
    with pytest.raises(DeviationError, match="the models of the committee disagree.* at step 2, more than.*0.0001"):
        made.step(10)
    assert made.currentStep == 2 and len(rows_of(table)) == 1 and ase.io.read(frames).info["step"] == 2
    single = MLPotential("nequip", modelPath=paths(folder)[0]).createSystem(make_topology(["Ar"] * 2))
    with pytest.raises(CommitteeError, match="has no committee whose models can be asked"):
        DeviationCalculator(single)


def test_forces_on_caps_count_for_the_atoms_behind(folder):
    """The spread of a hybrid System is that of its singles' forces: the force field's are the same and drop out."""
    topology, positions = dipeptide()

    def forces(path):
        system = openmm_nequip.create_mixed_system(
            topology, vacuum_system(), list(range(6, 16)), path, backend="PythonForce"
        ).system
        context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions)
        return system, context.getState(forces=True).getForces(asNumpy=True)._value

    system, _ = forces([paths(folder)])
    found = DeviationCalculator(system).compute(positions)
    every = np.array([forces(path)[1] for path in paths(folder)])
    spread = np.sqrt(np.square(every - every.mean(axis=0)).sum(axis=2).mean(axis=0))
    assert np.abs(found.forces - spread).max() < 1e-6
    assert list(found.atoms) == list(range(6, 16)) and (found.forces[[4, 16]] > 0).all() and not found.forces[:4].any()
    assert found.largest == pytest.approx(spread.max() / EV_PER_ANGSTROM)


@pytest.mark.slow
def test_run_stops_and_goes_on(folder, tmp_path, capsys):
    """A whole run, its restarts, the second of them with every file moved into the run's folder only."""
    out = tmp_path / "run"
    (tmp_path / "settings.toml").write_text(
        "\n".join([
            f"model = {json.dumps(paths(folder)[0])}", f"committee = {json.dumps(paths(folder)[1:])}", "drive = 0",
            f"structure = {json.dumps(str(folder / 'argon.extxyz'))}", "steps = 20", "minimize = false",
            "equilibrate = 0", "report-interval = 10", "deviation-interval = 5", "deviation-select = 1e-4",
            "seed = 3", 'platform = "Reference"', "timestep = 2.0", "reactive = true",
        ])
    )  # fmt: skip
    settings = ["--config", str(tmp_path / "settings.toml"), "--output", str(out)]
    assert main(["run", *settings, "--deviation-stop", "1e-5"]) != 0
    assert "stand in the wrong order" in capsys.readouterr().err and not out.exists()
    assert main(["run", *settings]) == 0
    assert "committee (a.nequip.pth, b.nequip.pth, " in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["committee"]["looks"] == 4 and summary["committee"]["models"] == paths(folder)
    assert summary["committee"]["frames_selected"] == len(ase.io.read(out / "selected.extxyz", ":")) > 1
    assert (out / "deviation.png").stat().st_size > 1000 and "deviation.png" in summary["pictures"]
    # Only the copies in the run's folder are left.
    moved = tmp_path / "moved"
    out.rename(moved)
    text = (moved / "config.toml").read_text()
    assert "committee" in text
    assert main(["run", "--restart", "--output", str(moved), "--steps", "30", "--deviation-stop", "2e-4"]) == 3
    printed = capsys.readouterr()
    assert "the models differ by" in printed.out and "the limit is 0.0002" in printed.out
    assert [row["step"] for row in rows_of(moved / "deviation.csv")] == [5, 10, 15, 20, 25]
    assert json.loads((moved / "summary.json").read_text())["suspicions"][0]["kind"] == "committee"
    assert (moved / "failed-current.cif").exists()
    assert main(["run", "--restart", "--output", str(moved), "--deviation-stop", "9"]) == 0
    assert [row["step"] for row in rows_of(moved / "deviation.csv")] == [5, 10, 15, 20, 25, 30]
    steps = [frame.info["step"] for frame in ase.io.read(moved / "selected.extxyz", ":")]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_restarts_repeat_a_run(folder, tmp_path):
    """The trajectory bit for bit, the frames for relabelling with it."""
    def run(name, steps, *more):
        assert main(["run", "--output", str(tmp_path / name), "--steps", str(steps), *more]) == 0

    first = ["--model", paths(folder)[0], "--committee", *paths(folder)[1:], "--structure",
             str(folder / "argon.extxyz"), "--no-minimize", "--equilibrate", "0", "--report-interval", "10",
             "--deviation-select", "1e-4", "--seed", "3", "--platform", "Reference", "--timestep", "2",
             "--checkpoint-interval", "20", "--reactive"]  # fmt: skip
    run("whole", 40, *first)
    run("parts", 20, *first)
    run("parts", 40, "--restart")
    assert np.array_equal(*(trajectory_of(tmp_path / name) for name in ("whole", "parts")))
    assert (tmp_path / "whole" / "log.csv").read_bytes() == (tmp_path / "parts" / "log.csv").read_bytes()
    whole, parts = (ase.io.read(tmp_path / name / "selected.extxyz", ":") for name in ("whole", "parts"))
    assert [frame.info["step"] for frame in whole] == [frame.info["step"] for frame in parts]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(whole, parts, strict=True))
    # TorchScript optimises a model at its second call: the last digits depend on how often it was called.
    for one, two in zip(*(rows_of(tmp_path / name / "deviation.csv") for name in ("whole", "parts")), strict=True):
        assert one == pytest.approx(two, rel=1e-9)


def test_commands(folder, tmp_path, capsys):
    structure = str(folder / "argon.extxyz")
    assert main(["energy", paths(folder)[0], structure, "--committee", *paths(folder)[1:], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["energy_spread_kj_per_mol"] > 0 and len(document["forces_spread_kj_per_mol_nm"]) == 27
    assert main(["energy", paths(folder)[0], structure, "--committee", paths(folder)[0]]) == 1
    assert "a committee needs at least 2 models" in capsys.readouterr().err
    other = write_member(tmp_path / "other.nequip.pth", types="Ar H C N O")
    assert main(["energy", paths(folder)[0], structure, "--committee", other]) == 1
    assert "are no committee: they differ in types" in capsys.readouterr().err
    run = ["run", "--structure", structure, "--output", str(tmp_path / "run")]
    assert main([*run, "--model", paths(folder)[0], "--deviation-select", "0.1"]) == 1
    assert "is a single model, which deviates from no other" in capsys.readouterr().err
    assert main([*run, "--model", paths(folder)[0], "--committee", other]) == 1
    assert "are no committee" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.torchforce_stack
def test_a_torch_force_drives_and_a_twin_is_asked(folder, tmp_path, capsys):
    """Nobody can ask the models inside a TorchForce: the run has a System of its own for that."""
    pytest.importorskip("openmmtorch")
    settings = ["--model", paths(folder)[0], "--committee", *paths(folder)[1:], "--backend", "TorchForce"]
    run = ["run", *settings, "--structure", str(folder / "argon.extxyz"), "--no-minimize", "--equilibrate", "0"]
    more = ["--steps", "10", "--deviation-interval", "5", "--platform", "Reference", "--output", str(tmp_path / "run")]
    assert main([*run, *more]) == 0
    assert [row["step"] for row in rows_of(tmp_path / "run" / "deviation.csv")] == [5, 10]
    assert "TorchForce" in (tmp_path / "run" / "system.xml").read_text()
