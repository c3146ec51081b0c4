"""The benchmark: contenders compute the same, figures add up, systems are what they say, bad input is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from toy import UNIT_SYSTEMS, reference_energy, write_toy

from openmm_nequip import load_model, resolve_units
from openmm_nequip.app.bench import limits as limits_module
from openmm_nequip.app.bench.agreement import compare
from openmm_nequip.app.bench.bench_run import run_bench
from openmm_nequip.app.bench.bench_settings import BenchSettings
from openmm_nequip.app.bench.bench_systems import build_system
from openmm_nequip.app.bench.contenders import PEER, Contender, Subject
from openmm_nequip.app.bench.figures import FEWEST_SAMPLES, Figure, measure
from openmm_nequip.app.bench.limits import Limits, Usage, free_bytes, watched
from openmm_nequip.app.bench.one_size import measure_size
from openmm_nequip.app.bench.runners import FixedGraph, ListRunner, MDRunner, Result, Runner, types_of
from openmm_nequip.app.cli import main
from openmm_nequip.graph.neighbors import DEFAULT_SKIN_NM, NeighborList
from openmm_nequip.models import locate
from openmm_nequip.units import NM_PER_ANGSTROM, Units

DATA = Path(__file__).parent / "data"
MODEL = str(DATA / "tiny-nequip.nequip.zip")
SCRIPTED = str(DATA / "tiny-nequip.nequip.pth")
STEP_NS = 0.5e-6
#: The tiny model is float64: kJ/mol per atom and kJ/mol/nm between contenders.
ENERGY_PER_ATOM = 1e-6
FORCE = 1e-4
#: Parts of a step add up to it, ms.
ROUNDING_MS = 1e-9
#: Water: g/cm3, nm.
DENSITY = 0.997
DENSITY_ERROR = 1e-3
SHORTEST_BOND_NM, LONGEST_BOND_NM = 0.092, 0.102
NEAREST_MOLECULES_NM = 0.14


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The command on the tiny model: its exit code, the folder and the document, and the process before and after."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    torch.manual_seed(5)
    before = _process_state()
    arguments = ["--model", MODEL, "--sizes", "22", "24", "--kernels", "fused", "eager", "--repeats", "3"]
    code = main(["bench", *arguments, "--budget", "30", "--threads", "1", "--output", str(folder), "--quiet"])
    return code, folder, json.loads((folder / "bench.json").read_text()), (before, _process_state())


def _process_state():
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_rng_state().sum().item(),
        random.getstate()[1][0],
    )


def _rows(document, role=None):
    return [row for system in document["systems"] for row in system["rows"] if role in (None, row["role"])]


def test_files_and_facts(measured):
    code, folder, document, _ = measured
    assert code == 0 and sorted(path.name for path in folder.iterdir()) == ["bench.json", "bench.png"]
    assert (folder / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert [system["atoms"] for system in document["systems"]] == [22, 24]
    assert document["environment"]["threads"] == 1 and document["environment"]["versions"]["torch"] == torch.__version__
    assert document["model"]["dtype"] == "float64" and len(document["model"]["sha256"]) == 64
    assert document["precision"][0]["tf32"] == "not applicable on a CPU" and document["stopped"] is None
    assert str(DATA) not in json.dumps(document)


def test_everyone_is_there_and_agrees(measured):
    document = measured[2]
    for system in document["systems"]:
        names = [row["contender"] for row in system["rows"]]
        assert system["left_out"] == [] and len(names) == 2 + 2 * 2 + 2  # bare, ours on two platforms, peers
        assert {row["role"] for row in system["rows"]} == {"limit", "openmm-nequip", "peer"}
        agreement = system["agreement"]
        assert agreement["reference"].startswith("openmm-ml") and agreement["disagreements"] == []
        assert {agreement["reference"], *(row["contender"] for row in agreement["comparisons"])} == set(names)
        for row in agreement["comparisons"]:
            assert row["agrees"] and row["energy_difference_kj_per_mol_per_atom"] < ENERGY_PER_ATOM
            assert row["force_difference_kj_per_mol_nm"] < FORCE and row["largest_force_kj_per_mol_nm"] > 1.0


def test_figures_are_positive_and_add_up(measured):
    document = measured[2]
    for system in document["systems"]:
        for row in system["rows"]:
            step = row["step"]
            assert 0 < step["min_ms"] <= step["quartile_1_ms"] <= step["median_ms"] <= step["quartile_3_ms"]
            assert step["quartile_3_ms"] <= step["max_ms"] and step["n"] == 3 and step["steps_per_sample"] >= 1
            assert row["us_per_atom"] * system["atoms"] == pytest.approx(step["median_ms"] * 1e3)
            if row["role"] != "limit":
                assert row["ns_per_day"] == pytest.approx(STEP_NS * 86400e3 / step["median_ms"])
        for row in (row for row in system["rows"] if row["role"] == "openmm-nequip"):
            split = row["split"]
            assert sum(split.values()) == pytest.approx(row["step"]["median_ms"], abs=ROUNDING_MS)
            assert min(split["mm_ms"], split["list_ms"], split["model_ms"]) > 0 and row["ratio_to_limit"] > 0
            bare = next(r for r in system["rows"] if r["role"] == "limit" and r["kernels"] == row["kernels"])
            assert split["model_ms"] == bare["step"]["median_ms"]
        assert system["edges"] > 0
    assert min(row["ratio_to_fastest"] for row in _rows(document, "openmm-nequip")) == 1.0
    assert all(row["ratio_to_fastest"] > 0 for row in _rows(document, "peer"))


def test_the_process_is_left_as_it_was(measured):
    before, after = measured[3]
    assert before == after


def test_wrong_forces_are_not_timed():
    """A contender off by a thousandth of the largest force is named and left out; the others are timed."""
    subject = Subject(locate(MODEL), Units(), 1)
    model = subject.model("eager", "cpu")
    bench = build_system(model.info.type_names, 24)

    class Wrong(FixedGraph):
        def evaluate(self):
            energy, forces = super().evaluate()
            return Result(energy, forces + 1e-3 * np.abs(forces).max())

    right, wrong = FixedGraph(bench, model, Units()), Wrong(bench, model, Units())
    contenders = [Contender("right", PEER, "", lambda _: right), Contender("wrong", "limit", "", lambda _: wrong)]
    settings = BenchSettings(repeats=2, budget=20.0)
    system = measure_size(subject, model.info, contenders, bench, Limits(20.0), settings, lambda: False)
    assert [row["contender"] for row in system["rows"]] == ["right"]
    assert system["agreement"]["disagreements"] == ["wrong"]
    assert "disagrees with right" in system["left_out"][0]["reason"]


def test_comparison_knows_nan_and_energy():
    info = Subject(locate(MODEL), Units(), 1).model("eager", "cpu").info
    forces = np.full((4, 3), 100.0)
    results = {
        "first": Result(1.0, forces),
        "same": Result(1.0, forces + 1e-6),
        "energy": Result(1.0 + 1e-2, forces),
        "nan": Result(1.0, forces * np.nan),
    }
    assert [row.agrees for row in compare(results, info, Units())] == [True, False, False]
    assert compare({}, info, Units()) == []


@pytest.mark.parametrize("size, molecules", [(24, 8), (97, 32), (500, 167)])
def test_water(size, molecules):
    bench = build_system(["H", "O"], size)
    assert bench.n_atoms == 3 * molecules and bench.topology.getNumAtoms() == bench.n_atoms
    volume = np.linalg.det(bench.box_nm)
    density = bench.masses.sum() / 602.214076 / volume
    assert abs(density - DENSITY) < DENSITY_ERROR
    assert "0.997 g/cm3" in bench.title and bench.symbols[:3] == ["O", "H", "H"]
    vectors = bench.positions_nm[None] - bench.positions_nm[:, None]
    edge = bench.box_nm[0, 0]
    distances = np.linalg.norm(vectors - edge * np.round(vectors / edge), axis=-1)
    molecule = np.arange(bench.n_atoms) // 3
    for first in range(0, bench.n_atoms, 3):
        bonds = distances[first, first + 1 : first + 3]
        assert SHORTEST_BOND_NM < bonds.min() and bonds.max() < LONGEST_BOND_NM
    assert distances[molecule[:, None] != molecule[None]].min() > NEAREST_MOLECULES_NM


def test_few_waters_are_a_cluster_and_other_elements_a_lattice():
    cluster = build_system(["O", "H"], 6)
    assert cluster.box_nm is None and cluster.topology.getPeriodicBoxVectors() is None and cluster.n_atoms == 6
    silicon = build_system(["Si", "C"], 96)
    assert silicon.n_atoms == 96 and silicon.symbols.count("Si") == 48 and "4 x 4 x 6" in silicon.title
    assert silicon.topology.getPeriodicBoxVectors() is not None
    assert build_system(["H", "C", "N", "O"], 22).title == "alanine dipeptide in vacuum"
    assert build_system(["Cu"], 1).n_atoms == 1


def test_velocities_are_thermal():
    """Mean temperature of 6,000 degrees of freedom: 300 K within five standard deviations."""
    bench = build_system(["Cu"], 2000)
    assert abs(bench.temperature(bench.velocities) - 300.0) < 5 * 300 * np.sqrt(2 / 6000)


class _Clock(Runner):
    """Counts what is asked of it; fails where told to."""

    def __init__(self, fails=False, lost=0):
        self.steps, self.restarted, self.fails, self.lost = 0, 0, fails, lost

    def advance(self, count):
        if self.fails:
            raise openmm.OpenMMException("Particle coordinate is NaN")
        self.steps += count

    def is_lost(self):
        self.lost -= 1
        return self.lost >= 0

    def restart(self):
        self.restarted += 1


def test_slow_ones_get_fewer_samples_and_broken_ones_are_given_up():
    quick, slow, broken = _Clock(lost=2), _Clock(lost=1), _Clock(fails=True)
    runners = {"quick": quick, "slow": slow, "broken": broken}
    figures, given_up = measure(runners, {"quick": 0.01, "slow": 5.0, "broken": 0.01}, 10, 30.0, lambda: False)
    assert len(figures["quick"].samples_ms) == 10 and figures["quick"].restarts == quick.restarted == 2
    # One step a sample and no lead-in, but one after the restart.
    assert len(figures["slow"].samples_ms) == FEWEST_SAMPLES == slow.steps - 1 and slow.restarted == 1
    assert list(given_up) == ["broken"] and "Particle coordinate is NaN" in given_up["broken"]
    assert measure({"quick": quick}, {"quick": 0.01}, 10, 30.0, lambda: True) == ({}, {})


def test_ratios_are_of_the_same_rounds():
    slow_machine = np.array([1.0, 10.0, 1.0, 5.0])
    base = Figure(tuple(slow_machine), (0, 1, 2, 3), 1)
    double = Figure(tuple(2 * slow_machine[1:]), (1, 2, 3), 1)
    assert double.ratio_to(base) == 2.0
    assert Figure((4.0,), (7,), 1).ratio_to(base) == pytest.approx(4.0 / base.median_ms)


def test_limits(monkeypatch):
    known = Limits(100.0)
    assert known.refusal("x", 10**9, "cpu") == ""
    known.learn("x", Usage(96, 0.1, 300 * 2**20))
    known.learn("x", Usage(192, 0.2, 400 * 2**20))
    monkeypatch.setattr(limits_module, "free_bytes", lambda device: 2 * 2**30)
    assert known.refusal("x", 768, "cpu") == ""
    assert "1536 atoms would need about" in known.refusal("x", 1536, "cpu")
    monkeypatch.setattr(limits_module, "free_bytes", lambda device: None)
    assert known.refusal("x", 1536, "cpu") == ""
    assert "a step would take about 12.8 s" in known.refusal("x", 12288, "cpu")
    assert not Limits(known.needed(12.8)).too_slow(12.8)


def test_memory_is_seen():
    if free_bytes() is None:
        pytest.skip("this system does not tell how much memory is free")
    with watched("cpu") as growth:
        np.ones(8 * 2**20).sum()
    assert growth.bytes is None or 60 * 2**20 < growth.bytes < 200 * 2**20


def test_step_runner_moves_and_comes_back():
    bench = build_system(["Cu"], 27)
    system = openmm.System()
    for mass in bench.masses:
        system.addParticle(mass)
    runner = MDRunner(bench, system, "Reference", 1)
    runner.advance(3)
    moved = np.abs(runner.positions_nm - bench.positions_nm).max()
    assert 1e-5 < moved < 1e-2 and not runner.is_lost()
    runner.restart()
    assert np.array_equal(runner.positions_nm, bench.positions_nm)


@pytest.mark.parametrize("variant", ["eager", "fused"])
def test_the_list_is_used_up_as_at_300_k(variant):
    """Along the frames edges come and go, atoms move beyond the skin, and no list misses an edge."""
    model = Subject(locate(MODEL), Units(), 1).model(variant, "cpu")
    bench = build_system(["H", "O"], 96)
    runner = ListRunner(bench, model, Units())
    cell = bench.box_nm / NM_PER_ANGSTROM
    exact = NeighborList(model.info.cutoff, 0.0, True, types_of(bench, model), model.info.per_edge_type_cutoff)
    counts = []
    for frame in runner.frames:
        found = _edges(*[tensor.numpy() for tensor in runner.find(frame, cell)])
        near = _edges(*exact(frame, cell))
        assert near <= found and (variant == "fused" or near == found)
        counts.append(len(near))
    assert len(set(counts)) > 5 and max(counts) < 1.2 * min(counts)
    farthest = np.linalg.norm(runner.frames[-1] - runner.frames[0], axis=1).max() * NM_PER_ANGSTROM
    assert farthest > DEFAULT_SKIN_NM / 2


def _edges(edge_index, shifts):
    return set(map(tuple, np.vstack([edge_index, shifts.T]).T.astype(int).tolist()))


@pytest.mark.slow
def test_what_cannot_run_is_named(tmp_path, backend):
    """A scripted file: openmm-ml cannot read it, and there is nothing to run eagerly."""
    settings = BenchSettings(
        model=SCRIPTED, sizes=(22,), kernels=("none", "eager"), platforms=("CPU",), backends=(backend,),
        repeats=2, budget=20.0, output=str(tmp_path),
    )  # fmt: skip
    document = run_bench(settings).document
    reasons = {item["name"]: item["reason"] for item in document["left_out"]}
    assert "compiled already" in reasons["kernels=eager on cpu"]
    system = document["systems"][0]
    (missing,) = system["left_out"]
    assert missing["name"].startswith("openmm-ml") and ".nequip.zip files only" in missing["reason"]
    names = [row["contender"] for row in system["rows"]]
    assert names[0] == "bare model, TorchScript" and names[-1] == "NequIPCalculator (TorchScript), ASE"
    assert [row["backend"] for row in system["rows"]] == [None, backend, None]


@pytest.mark.slow
def test_other_units(tmp_path):
    """A model in bohr and hartree: the bare model and the package agree, ASE's calculator knows only angstrom."""
    length, energy, _ = UNIT_SYSTEMS["bohr-hartree"]
    model = write_toy(tmp_path / "toy.pth", length, energy, types="Ar")
    settings = BenchSettings(
        model=str(model), sizes=(27,), platforms=("CPU",), backends=("PythonForce",), repeats=2, budget=20.0,
        units=("bohr", "hartree"), output=str(tmp_path),
    )  # fmt: skip
    (system,) = run_bench(settings).document["systems"]
    assert [row["role"] for row in system["rows"]] == ["limit", "openmm-nequip"]
    (comparison,) = system["agreement"]["comparisons"]
    assert comparison["agrees"] and comparison["force_difference_kj_per_mol_nm"] < FORCE
    bench = build_system(["Ar"], 27)
    expected = reference_energy(bench.positions_nm, bench.box_nm)
    found = FixedGraph(bench, load_model(model), resolve_units("bohr", "hartree")).evaluate().energy
    assert abs(found - expected) < ENERGY_PER_ATOM * 27
    assert any("ASE hands positions in angstrom" in item["reason"] for item in system["left_out"])


def test_what_was_measured_survives_an_interruption(tmp_path):
    """The wish to stop comes while the second size is set up."""
    asked = []

    def stop():
        asked.append((tmp_path / "bench.json").exists())
        return asked[-1]

    settings = BenchSettings(
        model=MODEL, sizes=(22, 24), kernels=("fused",), platforms=("Reference",), peers=(), repeats=2, threads=2,
        output=str(tmp_path),
    )  # fmt: skip
    threads = torch.get_num_threads()
    outcome = run_bench(settings, stop)
    assert torch.get_num_threads() == threads and outcome.document["environment"]["threads"] == 2
    stored = json.loads((tmp_path / "bench.json").read_text())
    assert stored == json.loads(json.dumps(outcome.document)) and (tmp_path / "bench.png").exists()
    assert [system["atoms"] for system in stored["systems"]] == [22] and "interrupted" in stored["stopped"]
    assert "stopped: interrupted" in outcome.text and "22 atoms" in outcome.text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--kernels", "quick"], "invalid choice: 'quick'"),
        (["--sizes", "0"], "size 0 is no number of atoms"),
        (["--sizes", "22", "-3"], "size -3 is no number of atoms"),
        (["--platforms", "Abacus"], "platforms: 'Abacus' is unknown or not present here; use of Reference"),
        (["--backends", "Force"], "invalid choice: 'Force'"),
        (["--threads", "0"], "threads=0 must be a whole number from 1"),
        (["--threads", "100000"], "threads=100000 must be a whole number from 1"),
        (["--sizes", "1000000000000"], "is no number of atoms"),
        (["--repeats", "1"], "repeats=1 must be a whole number from 2"),
        (["--budget", "nan"], "budget=nan must be a finite number"),
    ],
)
def test_bad_arguments_are_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_bad_input(tmp_path, capsys):
    foreign = write_toy(tmp_path / "toy.pth", types="heavy light")
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "bench.json").write_text("{}")
    blocked = tmp_path / "file"
    blocked.write_text("")
    for arguments, message in (
        (["--model", str(tmp_path / "none.pth")], "does not exist"),
        (["--model", str(foreign), "--output", str(tmp_path / "a")], "heavy, light are no element symbols"),
        (["--model", MODEL, "--output", str(taken)], "holds another benchmark"),
        (["--model", MODEL, "--output", str(blocked / "x")], "cannot be made"),
        (["--model", SCRIPTED, "--kernels", "eager", "--output", str(tmp_path / "b")], "in none of the ways asked for"),
        (["--model", MODEL, "--units", "parsec", "eV", "--output", str(tmp_path / "c")], "'parsec' is not a known"),
        (["--model", MODEL, "--trusted", "0" * 64, "--output", str(tmp_path / "d")], "SHA-256"),
    ):
        assert main(["bench", "--sizes", "22", "--quiet", *arguments]) == 1
        assert message in capsys.readouterr().err
