"""The watch of a run: what it calls suspicious, what it stops, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest

from openmm_nequip.app.cli import main
from openmm_nequip.app.run.watch.energy_checks import DriftCheck, TemperatureCheck, mean_temperature
from openmm_nequip.app.run.watch.finding import CERTAINTY, NOTE, SUSPICION, Finding, Record
from openmm_nequip.app.run.watch.structure_checks import Atoms, BondCheck, ContactCheck, LostAtomsCheck
from openmm_nequip.app.run.watch.vibration import check_time_step, fastest_vibration
from openmm_nequip.units import GAS_CONSTANT

DATA = Path(__file__).parents[1] / "openmm_nequip" / "data"
PEPTIDE, SHIPPED = DATA / "alanine-dipeptide.pdb", DATA / "alanine-dipeptide.nequip.zip"
TOY = Path(__file__).parent / "data" / "tiny-nequip.nequip.pth"
#: A frequency from few forces, as a part of the exact one.
FREQUENCY_PART = 0.02


def topology(symbols: str, bonds: list[tuple[int, int]] = ()) -> app.Topology:
    made = app.Topology()
    residue = made.addResidue("UNK", made.addChain())
    atoms = [made.addAtom(f"{symbol}{k}", app.Element.getBySymbol(symbol), residue) for k, symbol in
             enumerate(symbols.split())]  # fmt: skip
    for i, j in bonds:
        made.addBond(atoms[i], atoms[j])
    return made


WATER = topology("O H H", [(0, 1), (0, 2)])
WATER_NM = np.array([[0.0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]])


@pytest.mark.parametrize(("stretch", "level"), [(1.2, None), (1.4, None), (1.7, SUSPICION), (3.0, CERTAINTY)])
def test_bonds_against_covalent_lengths(stretch, level):
    check = BondCheck(Atoms.of(WATER), WATER_NM, None)
    now = WATER_NM * [[1, 1, 1], [stretch, 1, 1], [1, 1, 1]]
    found = check.look(now, None)
    assert (None if found is None else found.level) == level
    if found is not None:
        assert found.atoms == (0, 1) and "0 (O0 of UNK 1), 1 (H1 of UNK 1)" in found.text
        assert found.value == pytest.approx(0.96 * stretch, abs=0.01)


def test_a_bond_over_a_face_is_as_long_as_it_is():
    box = np.array([[0.7, 0, 0], [0.1, 0.75, 0], [-0.1, 0.2, 0.8]])
    check = BondCheck(Atoms.of(WATER), WATER_NM, box)
    assert check.look(WATER_NM + np.array([[0, 0, 0], [0, 0, 0], [1, -1, 2]]) @ box, box) is None


def test_long_bonds_of_the_start_are_measured_by_it():
    """A metal's bond of 1.25 times its radii may vibrate; one that the start has torn is no measure."""
    made = topology("Zn S", [(0, 1)])
    usual = (1.22 + 1.05) * 0.1
    at = np.array([[0, 0, 0], [1, 0, 0]])
    assert BondCheck(Atoms.of(made), at * 1.25 * usual, None).look(at * 1.7 * usual, None) is None
    assert BondCheck(Atoms.of(made), at * 3 * usual, None).look(at * 3 * usual, None).level == SUSPICION


def far_waters(gap: float) -> tuple[app.Topology, np.ndarray]:
    """Two waters, hydrogen to oxygen at this distance in nm."""
    made = topology("O H H O H H", [(0, 1), (0, 2), (3, 4), (3, 5)])
    other = WATER_NM * [-1, -1, 1] + [0.096 + gap + 0.0, 0, 0]
    other = np.array([[0.096 + gap, 0, 0], [0.096 + gap + 0.06, 0.075, 0], [0.096 + gap + 0.06, -0.075, 0]])
    return made, np.concatenate([WATER_NM, other])


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(
    ("gap", "reactive", "level"),
    [(0.18, False, None), (0.12, False, None), (0.08, False, SUSPICION), (0.08, True, None), (0.05, True, SUSPICION),
     (0.02, True, CERTAINTY), (0.02, False, CERTAINTY)],
)  # fmt: skip
def test_contacts(gap, reactive, level, periodic):
    made, positions = far_waters(gap)
    box = np.diag([1.5, 1.6, 1.7]) if periodic else None
    if periodic:
        positions = positions + [1.4, 0, 0]  # over the face
    found = ContactCheck(Atoms.of(made), reactive, periodic).look(positions, box)
    assert (None if found is None else found.level) == level
    if found is not None:
        assert found.value == pytest.approx(10 * gap, abs=1e-6) and found.atoms == (1, 3)


@pytest.mark.parametrize("name", ["diamond", "salt", "copper"])
def test_crystals_have_no_wrong_contacts_and_can_lose_atoms(name):
    crystal = {
        "diamond": lambda: ase.build.bulk("C", cubic=True),
        "salt": lambda: ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        "copper": lambda: ase.build.bulk("Cu", cubic=True),
    }[name]() * (2, 2, 2)
    made = topology(" ".join(crystal.get_chemical_symbols()))
    rng = np.random.default_rng(2)
    box, start = crystal.cell.array / 10, crystal.positions / 10
    shaken = start + rng.normal(scale=0.012, size=start.shape)
    atoms = Atoms.of(made)
    assert ContactCheck(atoms, False, True).look(shaken, box) is None
    check = LostAtomsCheck(atoms, start, box)
    assert check.look(shaken, box) is None
    wide = 4 * box  # everything flies apart
    found = LostAtomsCheck(atoms, start, box).look(4 * start, wide)
    assert found.level == CERTAINTY and found.value == len(start)


def test_temperature_against_its_fluctuation():
    degrees, asked = 63, 300.0

    def at(kelvin: float, time: float = 10.0, **more) -> int | None:
        check = TemperatureCheck(asked, degrees, **{"thermostat": True, "relaxed_at": 3.0, **more})
        found = check.look(0.5 * degrees * GAS_CONSTANT * kelvin, time)
        return None if found is None else found.level

    spread = asked * np.sqrt(2 / degrees)
    assert at(asked) is at(asked + 4 * spread) is at(asked - 3.5 * spread) is None
    assert at(asked + 9 * spread) == SUSPICION and at(20.0) == SUSPICION
    assert at(1560.0) == at(2472.0) == CERTAINTY
    assert at(700.0, time=0.1) is None and at(20.0, time=0.1) is None  # the start gives off heat, or takes it
    assert at(5000.0, time=0.1) == CERTAINTY
    assert at(500.0, thermostat=False, relaxed_at=0.0) is None and at(3000.0, thermostat=False) == SUSPICION


def test_temperatures_of_a_thermostat_are_never_suspicious():
    degrees, asked = 63, 300.0
    kinetic = np.random.default_rng(3).chisquare(degrees, 20000) * 0.5 * GAS_CONSTANT * asked
    check = TemperatureCheck(asked, degrees, True, 0.0)
    assert not any(check.look(value, 1.0) for value in kinetic)


def test_drift_of_the_total_energy():
    thermal = 0.5 * 63 * GAS_CONSTANT * 300
    rng = np.random.default_rng(4)

    def drift(part: float, noise: float) -> int | None:
        check, found = DriftCheck(300.0, 63), None
        for time in np.linspace(0, 10, 200):
            found = check.look(time, -1e5 + part * thermal * time / 10 + noise * rng.normal()) or found
        return None if found is None else found.level

    assert drift(0.0, 0.5) is None and drift(0.02, 0.5) is None and drift(0.0, 0.2 * thermal) is None
    assert drift(0.2, 0.5) == drift(-0.2, 0.5) == SUSPICION and drift(3.0, 0.5) == CERTAINTY


def test_mean_temperature():
    assert mean_temperature(304.0, 0.1, 1000, 300.0) is None  # within 3 per cent, as large steps are
    assert mean_temperature(352.0, 4.0, 10, 300.0) is None  # too few samples to say
    assert mean_temperature(352.0, 4.0, 50, 300.0).level == SUSPICION


def oscillator(masses: list[float], stiffness: float) -> openmm.Context:
    system = openmm.System()
    for mass in masses:
        system.addParticle(mass)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 0.1, stiffness)
    weak = openmm.HarmonicBondForce()
    for i in range(1, len(masses) - 1):
        weak.addBond(i, i + 1, 0.15, 0.05 * stiffness)
    system.addForce(bond)
    system.addForce(weak)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[0, 0, 0], [0.1, 0, 0], *([0.1 + 0.15 * k, 0.01 * k, 0] for k in range(1, len(masses) - 1))])
    return context


@pytest.mark.parametrize("masses", [[1.008, 15.999], [1.008, 12.011, 12.011, 15.999], [2.014, 15.999, 0.0]])
def test_the_fastest_vibration_is_that_of_the_stiff_bond(masses):
    stiffness = 4e5
    context = oscillator(masses, stiffness)
    before = context.getState(positions=True).getPositions(asNumpy=True)
    exact = np.sqrt(stiffness / (masses[0] * masses[1] / (masses[0] + masses[1])))
    found = fastest_vibration(context, np.array(masses))
    assert found == pytest.approx(exact, rel=FREQUENCY_PART)
    assert np.array_equal(before, context.getState(positions=True).getPositions(asNumpy=True))
    period = 2000 * np.pi / found
    assert check_time_step(found, period / 10) is None
    assert check_time_step(found, period / 4.5).level == SUSPICION
    assert check_time_step(found, period / 3).level == CERTAINTY


def test_a_record_keeps_the_first_and_the_gravest(tmp_path):
    path = tmp_path / "findings.json"
    record = Record(path)
    assert not path.exists()
    assert record.add(Finding("bonds", "long", 2.0, 1.5), "production", 10)
    assert not record.add(Finding("bonds", "longer", 2.1, 1.5), "production", 20)
    assert record.add(Finding("bonds", "broken", 9.0, 2.5, CERTAINTY), "production", 30)
    record.add(Finding("equilibration", "short", 0, 0, NOTE), "equilibration", 5)
    record.save()
    again = Record(path)
    assert [found.level for found in again.findings] == [CERTAINTY, NOTE]
    assert again.findings[0].times == 3 and again.findings[0].first_step == 30
    again.forget_after("production", 25)  # a restart from before
    assert [found.kind for found in again.findings] == ["equilibration"] == [f.kind for f in Record(path).findings]


def run(folder: Path, *more: object) -> tuple[int, dict]:
    code = main(["run", "--output", str(folder), "--seed", "3", "--threads", "1", "--quiet", *map(str, more)])
    return code, json.loads((folder / "summary.json").read_text())


PURE = ("--model", SHIPPED, "--structure", PEPTIDE)


@pytest.mark.parametrize(("timestep", "word"), [(4, "time step"), (3, "bonds")])
def test_a_molecule_that_flies_apart_is_told(tmp_path, timestep, word, capsys):
    code, summary = run(tmp_path / "out", *PURE, "--timestep", timestep, "--steps", 1000)
    assert code == 3 and summary["stopped"] and word in [found["kind"] for found in summary["suspicions"]]
    assert summary["suspicions"][0]["line"] in capsys.readouterr().out
    assert "wrong: " in (tmp_path / "out" / "run.log").read_text()
    frame = app.PDBxFile(str(tmp_path / "out" / "failed-current.cif"))
    assert frame.topology.getNumAtoms() == 22
    if word == "bonds":
        worst = next(found for found in summary["suspicions"] if found["kind"] == "bonds")
        i, j = worst["atoms"]
        at = frame.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        assert np.linalg.norm(at[i] - at[j]) == pytest.approx(worst["value"], abs=0.01)


def test_breakdown_in_production_keeps_what_was_written_and_restarts_where_it_was_right(tmp_path):
    """At 3 fs the peptide breaks after some hundred steps; frames up to there are kept, marked in the picture."""
    output = tmp_path / "out"
    some = ("--equilibrate", 0, "--no-minimize", "--temperature", 50, "--report-interval", 2)
    some += ("--checkpoint-interval", 10)
    code, summary = run(output, *PURE, "--timestep", 3, "--steps", 2000, *some)
    assert code == 3 and 0 < summary["steps"] < 2000 and summary["frames"] == summary["steps"] // 2 > 2
    assert summary["pictures"] == ["energy.png"]
    assert main(["run", "--restart", "--output", str(output), "--quiet"]) == 3


@pytest.mark.slow
def test_a_toy_water_at_constant_pressure(tmp_path):
    box = ase.build.molecule("H2O") * (1, 1, 1)
    box.set_cell([3.1] * 3)
    box.center()
    box = box.repeat((3, 3, 3))
    box.pbc = True
    ase.io.write(tmp_path / "water.extxyz", box)
    toy = ("--model", TOY, "--structure", tmp_path / "water.extxyz")
    code, summary = run(tmp_path / "out", *toy, "--ensemble", "npt", "--steps", 2000, "--equilibrate", 0)
    assert code == 3 and {found["kind"] for found in summary["suspicions"]} & {"bonds", "contacts"}


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_water_described_by_a_model_of_a_peptide(tmp_path, ensemble):
    box = ase.build.molecule("H2O")
    box.set_cell([3.1] * 3)
    box.center()
    box = box.repeat((6, 6, 6))
    box.pbc = True
    ase.io.write(tmp_path / "water.pdb", box)
    text = (tmp_path / "water.pdb").read_text().splitlines()
    rows, k = [], 0
    for line in text:
        if line.startswith("ATOM"):
            name = ("O", "H1", "H2")[k % 3]
            line = f"HETATM{k + 1:5d}  {name:<3s} HOH A{k // 3 + 1:4d}{line[26:]}"
            k += 1
        rows.append(line)
    (tmp_path / "water.pdb").write_text("\n".join(rows) + "\n")
    hybrid = ("--model", SHIPPED, "--structure", tmp_path / "water.pdb", "--ml-atoms", "resid 0")
    hybrid += ("--forcefield", "amber14/tip3p.xml", "--ensemble", ensemble, "--steps", 4000)
    code, summary = run(tmp_path / "out", *hybrid)
    assert code == 3, summary["averages"]


@pytest.mark.parametrize(
    "more",
    [("--ensemble", "nve"), ("--ensemble", "nvt", "--timestep", 1), ("--reactive",),
     ("--no-minimize", "--equilibrate", 0), ("--temperature", 500)],
    ids=str,
)  # fmt: skip
def test_healthy_runs_are_left_alone(tmp_path, more):
    code, summary = run(tmp_path / "out", *PURE, "--steps", 1500, *more)
    assert code == 0 and summary["suspicions"] == [] and summary["stopped"] is None
    assert not (tmp_path / "out" / "failed-current.cif").exists()


@pytest.mark.slow
def test_healthy_hybrid_runs_are_left_alone(tmp_path):
    links = ("--ml-atoms", "resname ALA", "--forcefield", "amber14-all.xml", "amber14/tip3p.xml")
    for number, more in enumerate([(), ("--solvate", 0.7, "--ensemble", "npt")]):
        code, summary = run(tmp_path / str(number), *PURE, *links, *more, "--steps", 500)
        assert code == 0 and summary["suspicions"] == []


def test_a_run_that_was_hardly_equilibrated_may_still_warm_up(tmp_path):
    """40 steps of a thermostat after a minimisation leave a third of the heat missing: no fault of the run's."""
    code, summary = run(tmp_path / "out", *PURE, "--equilibrate", 40, "--steps", 120, "--report-interval", 6)
    assert code == 0 and summary["suspicions"] == []
