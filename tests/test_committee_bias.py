"""A bias that keeps a simulation where a committee agrees: its energy and derivatives, on every road."""

import copy
import csv
import json

import ase.io
import numpy as np
import openmm
import openmm.unit as unit
import pytest
import torch
from committees import KJ_PER_MOL_PER_EV, write_four
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from toy import UNIT_SYSTEMS, evaluate, lattice, make_topology

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.committee_bias import CommitteeBias, parse_bias
from openmm_nequip.deviation import DeviationCalculator
from openmm_nequip.errors import CommitteeError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.graph.graph import Outputs
from openmm_nequip.graph.staging import Staging
from openmm_nequip.models.committee import _MeanStep
from openmm_nequip.models.source import MEAN
from openmm_nequip.units import Units, resolve_units

#: kJ/mol: sums of a few doubles in another order.
EXACT = 1e-8
#: kJ/mol/nm and bar, of central differences with steps of 1e-5 nm and 1e-6 of a strain.
DIFFERENCES, STEP = 2e-4, 1e-5
STRESS, STRAIN = 1e-2, 1e-6
#: kJ/mol: scatter of a total energy of which the bias is up to ten.
CONSERVED = 2e-3
SHEAR = np.array([[0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [-0.1, 0.2, 0.0]])
REGION = list(range(6, 16))  # the alanine of the dipeptide: two cut bonds


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return write_four(tmp_path_factory.mktemp("biased"))


def asked(model, units, n_atoms, periodic, bias=None):
    types = np.full(n_atoms, model.info.type_names.index("Ar"))
    return Evaluator(model, units, Placement(n_atoms, types), periodic, 0.05, bias)


def by_hand(energies, above, strength):
    """Energy of the bias in kJ/mol, all in kJ/mol."""
    return 0.5 * strength * max(0.0, np.std(energies) - above) ** 2


@pytest.mark.parametrize("name", ["angstrom-eV", "nm-kJ/mol"])
@pytest.mark.parametrize("above", [0.0, 0.4], ids=["from the start", "from a spread on"])
def test_energy_and_derivatives(tmp_path, name, above):
    """In a sheared box, at a frame where it acts: central differences of the whole energy by positions and strain."""
    length, energy, options = UNIT_SYSTEMS[name]
    paths = write_four(tmp_path, per_nm=1 / length, per_kj=1 / energy)
    units = resolve_units(options["lengthUnit"], options["energyUnit"])
    positions, box = lattice(3, seed=2)
    box = box + SHEAR
    committee = openmm_nequip.load_model(paths)
    mean = asked(committee, units, 27, True).evaluate(positions, box)
    alone = [asked(openmm_nequip.load_model(path), units, 27, True)(positions, box)[0] for path in paths]
    bias = CommitteeBias(above * np.std(alone), 2.0 / np.std(alone))
    ask = asked(committee, units, 27, True, bias)
    found = ask.evaluate(positions, box)
    expected = by_hand(alone, bias.above, bias.strength)
    assert expected > 1.0 and found["bias"] == pytest.approx(expected, abs=EXACT)
    assert found["energy"] == pytest.approx(mean["energy"] + expected, abs=EXACT)
    assert found["energy_spread"] == pytest.approx(np.std(alone), abs=EXACT)
    assert np.abs(found["forces"] - mean["forces"]).max() > 100 * DIFFERENCES
    assert np.abs(found["forces_spread"] - mean["forces_spread"]).max() < EXACT

    def slope(at, step):
        return (ask(*at(step))[0] - ask(*at(-step))[0]) / (2 * step)

    for atom, axis in ((0, 0), (13, 1), (26, 2)):
        def moved(by, atom=atom, axis=axis):
            places = positions.copy()
            places[atom, axis] += by
            return places, box

        assert abs(found["forces"][atom, axis] + slope(moved, STEP)) < DIFFERENCES
    volume = np.linalg.det(box)
    for i, j in ((0, 0), (1, 2)):
        def strained(by, i=i, j=j):
            shape = np.eye(3)
            shape[i, j] += 0.5 * by
            shape[j, i] += 0.5 * by
            return positions @ shape, box @ shape

        assert found["stress"][i, j] == pytest.approx(slope(strained, STRAIN) / volume * 16.6053906717, abs=STRESS)


def test_nothing_changes_where_the_models_agree(four):
    """Bit for bit, also in what a step of the models' own does; equal models have no spread at all."""
    positions, box = lattice(3)
    spread = asked(openmm_nequip.load_model(four), Units(), 27, True).evaluate(positions, box)["energy_spread"]
    for paths, bias in ((four, CommitteeBias(1.0001 * spread, 9.0)), ([four[0]] * 3, CommitteeBias(0.0, 9.0))):
        committee = openmm_nequip.load_model(paths)
        for _ in range(4):  # TorchScript optimises a model at its second call
            asked(committee, Units(), 27, True)(positions, box)
        mean = asked(committee, Units(), 27, True).evaluate(positions, box)
        found = asked(committee, Units(), 27, True, bias).evaluate(positions, box)
        assert found.pop("bias") == 0.0
        assert all(np.array_equal(found[name], mean[name]) for name in mean)
    assert bias.acting(np.array([3.0, 3.0, 3.0])) is None is bias.acting(np.array([3.0, np.nan, 3.0]))


def test_the_models_of_a_device_come_back_with_the_answer():
    """In one copy, since the bias needs them."""
    random = torch.Generator().manual_seed(1)
    first, second, mean = (
        Outputs(torch.randn((), generator=random).double(), torch.randn((3, 3), generator=random).double())
        for _ in range(3)
    )
    mean.members = first, second
    staging = Staging(torch.device("cpu"))
    fetched = staging.fetch(mean)
    assert staging.downloads == 1 and len(fetched.members) == 2
    for one, other in zip((fetched, *fetched.members), (mean, first, second), strict=True):
        assert torch.equal(one.energy, other.energy) and torch.equal(one.forces, other.forces)


def harmonic(k, centre, offset):
    """A step of a model: positions and box to energy and forces."""
    return lambda positions, box: (
        float(0.5 * k * np.square(positions - centre).sum() + offset), -k * (positions - centre)
    )


def test_steps_of_the_models_own():
    """What fused kernels do between Python and C++: the same formula, and the mean's bits in the flat part."""
    springs = [harmonic(k, c, o) for k, c, o in ((10.0, 0.0, 1e4), (14.0, 0.1, 1e4 + 0.1), (8.0, -0.2, 1e4 - 0.2))]
    positions = np.random.default_rng(1).normal(size=(5, 3))
    energies = np.array([spring(positions, None)[0] for spring in springs])
    bias = CommitteeBias(0.3 * energies.std(), 0.7)
    step, plain = _MeanStep(springs, MEAN, bias), _MeanStep(springs, MEAN, None)
    energy, forces = step(positions, None)
    assert energy == pytest.approx(energies.mean() + by_hand(energies, bias.above, bias.strength), abs=EXACT)
    for atom, axis in ((0, 1), (4, 2)):
        ends = []
        for by in (STEP, -STEP):
            places = positions.copy()
            places[atom, axis] += by
            ends.append(step(places, None)[0])
        assert abs(forces[atom, axis] + (ends[0] - ends[1]) / (2 * STEP)) < DIFFERENCES
    quiet = _MeanStep(springs, MEAN, CommitteeBias(1.01 * energies.std(), 0.7))(positions, None)
    assert quiet[0] == plain(positions, None)[0] and np.array_equal(quiet[1], plain(positions, None)[1])


#: eV and 1/eV: the four models differ by 0.26 eV on 64 atoms.
ABOVE, STRENGTH = 0.2, 20.0


def test_systems_on_every_backend(four, backend):
    positions, box = lattice(4)
    topology = make_topology(["Ar"] * 64, box)
    singles = [MLPotential("nequip", modelPath=path, backend="PythonForce").createSystem(topology) for path in four]
    energies = [evaluate(single, positions)[0] for single in singles]
    added = by_hand(energies, ABOVE * KJ_PER_MOL_PER_EV, STRENGTH / KJ_PER_MOL_PER_EV)
    assert added > 1.0
    kilojoule = unit.kilojoule_per_mole
    quantities = ABOVE * KJ_PER_MOL_PER_EV * kilojoule, STRENGTH / KJ_PER_MOL_PER_EV / kilojoule
    system = MLPotential("nequip", committee=four, backend=backend, committeeBias=(ABOVE, STRENGTH)).createSystem(
        topology)  # fmt: skip
    same = MLPotential("nequip", committee=four, backend=backend).createSystem(topology, committeeBias=quantities)
    for made in (system, same, copy.deepcopy(system), openmm.XmlSerializer.clone(system)):
        energy, forces = evaluate(made, positions)
        assert energy == pytest.approx(np.mean(energies) + added, abs=1e-6)
    moved = [positions.copy(), positions.copy()]
    moved[0][5, 1] += STEP
    moved[1][5, 1] -= STEP
    slope = (evaluate(system, moved[0])[0] - evaluate(system, moved[1])[0]) / (2 * STEP)
    assert abs(forces[5, 1] + slope) < 10 * DIFFERENCES


@pytest.mark.parametrize("regions", [[REGION], [list(range(6)), list(range(16, 22))]], ids=["one", "two"])
def test_hybrid_systems_with_links_regions_and_lambda(tmp_path, regions):
    """Lambda scales the bias with the model, of whose energy it is a part; the deviation tells it unscaled."""
    topology, positions = dipeptide()
    four = write_four(tmp_path, per_nm=3.0)  # atoms of a third of argon's size, which molecules can be of

    def mixed(**committee):
        return openmm_nequip.create_mixed_system(
            topology, vacuum_system(), regions, interpolate=True, backend="PythonForce", committee=four, **committee
        ).system

    strength = 1e4  # 1/eV: the models differ by six or seven meV on this frame
    biased, plain = mixed(committeeBias=(0.003, strength)), mixed()
    found = DeviationCalculator(biased).compute(positions)
    above = 0.003 * KJ_PER_MOL_PER_EV
    added = 0.5 * strength / KJ_PER_MOL_PER_EV * (found.energy - above) ** 2
    assert found.energy > above and found.bias == pytest.approx(added, rel=1e-9) and added > 1.0
    for value in (1.0, 0.3, 0.0):
        with_bias, without = (_energy_and_forces(system, positions, value) for system in (biased, plain))
        assert with_bias[0] - without[0] == pytest.approx(value * added, rel=1e-6, abs=1e-6)
        assert bool(np.abs(with_bias[1] - without[1]).max() > 1e-3) is (value > 0)
        if value == 0.3:
            moved = [positions.copy(), positions.copy()]
            moved[0][regions[0][-1], 0] += STEP
            moved[1][regions[0][-1], 0] -= STEP
            ends = [_energy_and_forces(biased, places, value)[0] for places in moved]
            slope = (ends[0] - ends[1]) / (2 * STEP)
            assert abs(with_bias[1][regions[0][-1], 0] + slope) < 10 * DIFFERENCES


def _energy_and_forces(system, positions, value):
    context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setParameter("lambda_interpolate", value)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


@pytest.mark.parametrize(
    ("bias", "acts"), [(None, [0]), ((0.0, 3.0), [16]), ((0.25, 100.0), range(2, 8))],
    ids=["without", "always", "on and off"],
)  # fmt: skip
def test_the_energy_is_conserved(four, bias, acts):
    """Of 64 argon atoms at 80 K, in 80 steps; it scatters by 4e-4 kJ/mol with and without a bias."""
    positions, box = lattice(4)
    topology = make_topology(["Ar"] * 64, box)
    system = MLPotential("nequip", committee=four, committeeBias=bias, backend="PythonForce").createSystem(topology)
    integrator = openmm.VerletIntegrator(0.002)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(80, 1)
    ask = DeviationCalculator(system)
    totals, added = [], []
    for _ in range(16):
        integrator.step(5)
        state = context.getState(energy=True, positions=True)
        totals.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
        added.append(ask.compute(state.getPositions(asNumpy=True)._value, box).bias)
    assert np.std(totals) < CONSERVED
    assert sum(value > 0 for value in added) in acts


@pytest.mark.parametrize(
    "given", [5, "0.1 5", (0.1,), (0.1, 5, 6), (-0.1, 5), (0.1, 0), (0.1, -5), (float("nan"), 5), (0.1, float("nan")),
              (0.1, float("inf")), (True, 5), ("0.1", "5"), (0.1 * unit.nanometer, 5), (None, None), ()],
    ids=str,
)  # fmt: skip
def test_words_for_a_bias_that_cannot_be(four, given):
    with pytest.raises(ValueError, match="committeeBias=.*: give two numbers, the spread of the energy"):
        MLPotential("nequip", committee=four, committeeBias=given)
    with pytest.raises(ValueError, match="committee-bias ?=.*: give "):
        make_config({"model": "m", "structure": "s", "output": "o", "committee": ["c"], "committee-bias": given})
    assert parse_bias(None) is None


def test_where_there_can_be_no_bias(four):
    topology = make_topology(["Ar"] * 2)
    with pytest.raises(CommitteeError, match=r"committeeBias .* and drive=0 exclude each other.*at every step"):
        MLPotential("nequip", committee=four, drive=0, committeeBias=(0.1, 5)).createSystem(topology)
    with pytest.raises(CommitteeError, match=r"committeeBias .*a.nequip.pth is no committee"):
        MLPotential("nequip", modelPath=four[0]).createSystem(topology, committeeBias=(0.1, 5))
    with pytest.raises(CommitteeError, match="a.nequip.pth is no committee"):
        openmm_nequip.create_mixed_system(
            dipeptide()[0], vacuum_system(), [[*range(6)], [*range(16, 22)]], [four, four[0]], committeeBias=(0.1, 5)
        )


def test_a_run_that_cannot_be_biased_is_not_begun(four, tmp_path, capsys):
    structure = tmp_path / "argon.xyz"
    structure.write_text("2\n\nAr 0 0 0\nAr 3.8 0 0\n")
    run = ["run", "--structure", str(structure), "--output", str(tmp_path / "run"), "--committee-bias", "0.1"]
    for more, words in (
        (["5", "--committee", *four, "--drive", "0"], "and drive=0 exclude each other"),
        (["5", "--model", four[0]], "is no committee whose models answer one by one"),
        (["-5", "--committee", *four], "committee-bias=(0.1, -5.0): give two numbers"),
        (["nan", "--committee", *four], "committee-bias=(0.1, nan): give two numbers"),
        (["5", "--committee", *four, "--engine", "lammps"], "is a torchscript file"),
    ):
        assert main([*run, *more]) == 1
        assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_tells_what_the_bias_does(four, tmp_path, capsys):
    """By a TOML file that names all models as the committee; with a restart, which repeats the whole run."""
    positions, box = lattice(3)
    ase.io.write(tmp_path / "argon.extxyz", ase.Atoms("Ar27", positions * 10, cell=box * 10, pbc=True))
    (tmp_path / "settings.toml").write_text(
        "\n".join([
            f"committee = {json.dumps(four)}", f"structure = {json.dumps(str(tmp_path / 'argon.extxyz'))}",
            "committee-bias = [0.05, 20]", "minimize = false", "equilibrate = 0", "report-interval = 5", "seed = 3",
            'platform = "Reference"', "timestep = 2.0", "reactive = true", "checkpoint-interval = 10",
        ])
    )  # fmt: skip

    def run(name, steps, *more):
        code = main(["run", "--output", str(tmp_path / name), "--steps", str(steps), *more])
        assert code == 0, capsys.readouterr().err
        return capsys.readouterr().out

    first = ["--config", str(tmp_path / "settings.toml")]
    assert "the bias acts in " in run("whole", 20, *first)
    run("parts", 10, *first)
    run("parts", 20, "--restart")
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    with open(tmp_path / "whole" / "deviation.csv") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 4 and max(row["bias_ev"] for row in rows) > 0
    for row in rows:
        expected = 0.5 * 20 * max(0.0, row["energy_spread_ev"] - 0.05) ** 2
        assert row["bias_ev"] == pytest.approx(expected, rel=1e-6)
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())["committee"]
    assert summary["models"] == four and 0 < summary["bias"]["acting"] <= 1
    assert summary["bias"]["largest_ev"] == max(row["bias_ev"] for row in rows)
    assert main(["run", "--restart", "--output", str(tmp_path / "parts"), "--committee-bias", "0.1", "5"]) == 1
    assert "committee-bias was (0.05, 20.0) and cannot become (0.1, 5.0)" in capsys.readouterr().err
