"""``check`` of a committee: how far its models are from each other, on the structure and on a short run."""

import json

import ase.build
import ase.io
import numpy as np
import pytest
from committees import write_four, write_member

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.deviation_limits import USUAL_SELECT, USUAL_STOP, limits_in_force
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, KJ_PER_MOL_PER_EV, Units

#: eV/Å and eV: sums of a few doubles in another order.
EXACT = 1e-9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four models of short reach, and a crystal of argon of two cutoffs."""
    place = tmp_path_factory.mktemp("checked")
    write_four(place, reach=0.58)
    atoms = ase.build.bulk("Ar", "fcc", 5.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    ase.io.write(place / "argon.extxyz", atoms)
    return place


def named(folder):
    return [str(folder / f"{name}.nequip.pth") for name in "abcd"]


def by_hand(folder):
    """Largest spread of a force in eV/Å and spread of the energy in eV."""
    atoms = ase.io.read(folder / "argon.extxyz")
    answers = []
    for path in named(folder):
        model = openmm_nequip.load_model(path)
        placement = Placement(len(atoms), np.full(len(atoms), model.info.type_names.index("Ar")))
        ask = Evaluator(model, Units(), placement, True, 0.0)
        answers.append(ask(atoms.positions / 10, np.array(atoms.cell) / 10))
    forces = np.array([forces for _, forces in answers])
    spread = np.sqrt(np.square(forces - forces.mean(axis=0)).sum(axis=2).mean(axis=0))
    energies = [energy for energy, _ in answers]
    return spread.max() / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, np.std(energies) / KJ_PER_MOL_PER_EV


def test_the_structure_is_judged_by_the_deviation(folder):
    largest, spread = by_hand(folder)
    assert 0.002 < largest < USUAL_SELECT

    def checked(**more):
        first, *others = named(folder)
        return openmm_nequip.check(first, folder / "argon.extxyz", committee=others, dynamics=False, **more)

    report = checked(committee_bias=(0.5 * spread, 10.0))
    verdict = report.of("committee")
    assert (verdict.level, verdict.limit) == ("ok", USUAL_SELECT), str(report)
    assert verdict.value == pytest.approx(largest, abs=EXACT)
    assert report.facts["committee"]["energy_spread_ev"] == pytest.approx(spread, abs=EXACT)
    assert report.facts["committee"]["bias_ev"] == pytest.approx(0.5 * 10.0 * (0.5 * spread) ** 2, abs=EXACT)
    assert "the bias adds" in verdict.text and f"differs by {largest:.3g} eV/Å" in verdict.text
    look = checked(deviation_select=0.5 * largest)
    assert look.of("committee").level == "look" and "label such frames" in look.of("committee").text
    stop = checked(deviation_stop=0.5 * largest, drive=0)
    assert stop.of("committee").level == "stop" == stop.level


@pytest.mark.slow
def test_the_short_run_is_judged_too(folder, tmp_path, capsys):
    """From the command line, where the committee names all models; a copy of one model says that nothing differs."""
    command = [str(folder / "argon.extxyz"), "--committee", *named(folder)[:2], "--platform", "Reference",
               "--temperature", "40", "--timestep", "2", "--reactive", "--json", "--quiet"]  # fmt: skip
    assert main(["check", *command]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in document["verdicts"]}
    assert rows["committee in the run"]["level"] == "ok" and "at most" in rows["committee in the run"]["text"]
    run = document["committee"]["run"]
    assert len(run["time_fs"]) == 8 == len(run["deviation_ev_per_angstrom"])
    assert run["time_fs"][-1] == document["nve"]["2"]["time_fs"][-1]
    assert rows["committee in the run"]["value"] == max(run["deviation_ev_per_angstrom"]) > 0.001
    output = ["--output", str(tmp_path / "run"), "--structure", *command[:1], "--steps", "1", "--no-minimize"]
    limit = ["--deviation-stop", "0.001", "--equilibrate", "0"]
    assert main(["run", "--check", *command[1:], *output, *limit]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["level"] for row in printed["verdicts"]}["committee"] == "stop"
    assert "not run, for something has to be mended" in printed["dynamics"] and not (tmp_path / "run").exists()


def test_what_is_no_committee_is_said(folder, tmp_path, capsys):
    structure = str(folder / "argon.extxyz")
    other = write_member(tmp_path / "other.nequip.pth", types="Ar H C N O")
    for committee, words in (
        ([named(folder)[0], other], r"are no committee: they differ in types"),
        (named(folder)[:1], "a committee needs at least 2 models"),
        ([*named(folder), str(tmp_path / "none.pth")], "none.pth does not exist"),
    ):
        report = openmm_nequip.check(None, structure, committee=committee, dynamics=False)
        assert report.level == "stop" == report.of("set-up").level
        assert words in report.of("set-up").text, report.of("set-up").text
    with pytest.raises(ValueError, match="committee = .*: give a list of paths"):
        openmm_nequip.check(None, structure, committee=[])
    with pytest.raises(ValueError, match="deviation-select=0.2 and deviation-stop=0.1 .* wrong order"):
        openmm_nequip.check(None, structure, committee=named(folder), deviation_select=0.2, deviation_stop=0.1)
    with pytest.raises(ValueError, match="a run needs --model"):
        openmm_nequip.check(None, structure)
    with pytest.raises(SystemExit):
        main(["check", named(folder)[0], "--committee", named(folder)[1]])
    assert "check needs structure" in capsys.readouterr().err


def test_limits_that_nobody_gave():
    assert limits_in_force(None, None) == (USUAL_SELECT, USUAL_STOP)
    assert limits_in_force(0.7, None) == (0.7, 0.7) and limits_in_force(None, 0.1) == (0.1, 0.1)
    assert limits_in_force(0.01, 2.0) == (0.01, 2.0)
