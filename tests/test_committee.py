"""Committees: the mean of their models, its derivatives, how far they are from each other, on every road."""

import copy
import logging
import shutil

import numpy as np
import openmm
import openmm.unit as unit
import pytest
import torch
from committees import write_four, write_member
from conftest import DATA
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from toy import evaluate, lattice, make_topology

import openmm_nequip
from openmm_nequip import ModelInfo
from openmm_nequip.data import __file__ as shipped
from openmm_nequip.errors import CommitteeError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces.computation import Computation
from openmm_nequip.forces.saved import load_computation
from openmm_nequip.models.committee import committee_info
from openmm_nequip.units import Units
from openmm_nequip.upstream.openmm_python_force import pickled_function

#: kJ/mol and kJ/mol/nm: sums of a few doubles in another order.
EXACT = 1e-8
#: kJ/mol/nm, of central differences with a step of 1e-5 nm.
DIFFERENCES, STEP = 1e-4, 1e-5
REGION = list(range(6, 16))  # the alanine of the dipeptide: two cut bonds
SHEAR = np.array([[0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [-0.1, 0.2, 0.0]])


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return write_four(tmp_path_factory.mktemp("committee"))


def evaluator(model, n_atoms, periodic):
    types = np.arange(n_atoms) % len(model.info.type_names)
    return Evaluator(model, Units(), Placement(n_atoms, types), periodic, 0.05)


@pytest.mark.parametrize("kind", ["box", "open", "pair", "atom"])
def test_the_mean_and_its_derivatives(four, kind):
    positions, box = lattice(3, seed=2)
    positions = positions[: {"pair": 2, "atom": 1}.get(kind)]
    box = box + SHEAR if kind == "box" else None
    committee = openmm_nequip.load_model(None, committee=four)
    assert committee.info.cutoff == pytest.approx(9.0)
    ask = evaluator(committee, len(positions), kind == "box")
    found = ask.evaluate(positions, box)
    alone = [evaluator(openmm_nequip.load_model(path), len(positions), kind == "box").evaluate(positions, box)
             for path in four]  # fmt: skip
    energies, forces = (np.array([each[name] for each in alone]) for name in ("energy", "forces"))
    assert abs(found["energy"] - energies.mean()) < EXACT
    assert np.abs(found["forces"] - forces.mean(axis=0)).max() < EXACT
    assert found["energy_spread"] == pytest.approx(energies.std(), abs=EXACT)
    spread = np.sqrt(np.square(forces - forces.mean(axis=0)).sum(axis=2).mean(axis=0))
    assert np.abs(found["forces_spread"] - spread).max() < EXACT
    atomic = np.array([each["atomic_energies"] for each in alone])
    assert np.abs(found["atomic_energies_spread"] - atomic.std(axis=0)).max() < EXACT
    if kind == "box":
        assert np.abs(found["stress"] - np.mean([each["stress"] for each in alone], axis=0)).max() < 1e-6
    energy, _ = ask(positions, box)
    assert energy == found["energy"]
    for atom, axis in ((0, 0), (len(positions) - 1, 2)):
        moved = [positions.copy(), positions.copy()]
        moved[0][atom, axis] += STEP
        moved[1][atom, axis] -= STEP
        slope = (ask(moved[0], box)[0] - ask(moved[1], box)[0]) / (2 * STEP)
        assert abs(found["forces"][atom, axis] + slope) < DIFFERENCES


@pytest.mark.slow
def test_models_of_all_kinds_share_one_list():
    """NequIP with cutoffs by pairs of types, Allegro and Lennard-Jones: each gets the edges of its own cutoffs."""
    paths = [DATA / "tiny-nequip.nequip.pth", DATA / "tiny-allegro.nequip.pth"]
    committee = openmm_nequip.load_model(paths[0], kernels="none", committee=paths[1:])
    positions, box = lattice(3, 0.22, 0.01)
    found = evaluator(committee, 27, True).evaluate(positions, box)
    alone = [evaluator(openmm_nequip.load_model(path, kernels="none"), 27, True).evaluate(positions, box)
             for path in paths]  # fmt: skip
    assert abs(found["energy"] - np.mean([each["energy"] for each in alone])) < EXACT
    assert np.abs(found["forces"] - np.mean([each["forces"] for each in alone], axis=0)).max() < EXACT


def test_the_first_drives_and_all_are_asked(four):
    positions, box = lattice(3)
    committee = openmm_nequip.load_model(four[0], committee=four, drive=0)
    found = evaluator(committee, 27, True).evaluate(positions, box)
    first = evaluator(openmm_nequip.load_model(four[0]), 27, True).evaluate(positions, box)
    mean = evaluator(openmm_nequip.load_model(four), 27, True).evaluate(positions, box)
    # Not bit for bit: TorchScript optimises a model at its second call.
    assert abs(found["energy"] - first["energy"]) < EXACT
    assert np.abs(found["forces"] - first["forces"]).max() < EXACT < abs(found["energy"] - mean["energy"])
    assert np.abs(found["forces_spread"] - mean["forces_spread"]).max() < EXACT and found["energy_spread"] > 0


def test_tensors_get_the_spread(four):
    positions, box = (torch.as_tensor(each * 10) for each in lattice(3))
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    out = openmm_nequip.load_model(four)(positions, torch.arange(27) % 5, edges, torch.zeros(4, 3).double(), box)
    assert out["spread"].shape == (27,) and out["spread"][0] > 0 and out["spread"][9] == 0 < out["energy_spread"]


def trajectory(system, positions, steps=40):
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
    integrator.setRandomNumberSeed(5)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300, 3)
    integrator.step(steps)
    state = context.getState(positions=True, velocities=True)
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


@pytest.mark.parametrize("whole", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["whole", "hybrid"])
def test_equal_models_are_one_bit_for_bit(caplog, whole):
    """The shipped model by its fused kernels; three of them, since a mean of three rounds if it is taken carelessly."""
    model = shipped.replace("__init__.py", "alanine-dipeptide.nequip.zip")
    topology, positions = dipeptide()

    def system(**committee):
        potential = MLPotential("nequip", **committee)
        if whole:
            return potential.createSystem(topology)
        return potential.createMixedSystem(topology, vacuum_system(), REGION, linkElement="H")

    with caplog.at_level("WARNING", logger="openmm_nequip"):
        three = system(committee=[model] * 3)
    assert "it counts 3 times in the committee" in caplog.text
    alone = trajectory(system(modelPath=model), positions)
    for made in (three, system(modelPath=model, committee=[model, model], drive=0)):
        assert all(np.array_equal(a, b) for a, b in zip(alone, trajectory(made, positions), strict=True))
    spread = load_computation(pickled_function(three.getForce(three.getNumForces() - 1 if not whole else 0))).spec
    found = spread.open_whole().evaluate(positions[: spread.n_particles], None)
    assert found["energy_spread"] == 0.0 and not found["forces_spread"].any()
    assert not found["atomic_energies_spread"].any()


def test_systems_on_every_backend(four, backend):
    positions, box = lattice(4)
    topology = make_topology(["Ar"] * 64, box)
    system = MLPotential("nequip", modelPath=four[0], committee=four[1:], backend=backend).createSystem(topology)
    singles = [MLPotential("nequip", modelPath=path, backend="PythonForce").createSystem(topology) for path in four]
    for made in (system, copy.deepcopy(system), openmm.XmlSerializer.clone(system)):
        _same_as_mean(made, singles, positions)
    first = MLPotential("nequip", committee=four, drive=0, backend=backend).createSystem(topology)
    _same_as_mean(first, singles[:1], positions)


@pytest.mark.parametrize("regions", [[REGION], [list(range(6)), list(range(16, 22))]], ids=["one", "two"])
def test_hybrid_systems_with_links_regions_and_lambda(four, backend, regions):
    if backend == "TorchForce":
        regions, interpolate = regions[:1], False
    else:
        interpolate = True
    topology, positions = dipeptide()

    def mixed(paths, **committee):
        return openmm_nequip.create_mixed_system(
            topology, vacuum_system(), regions, paths, interpolate=interpolate, backend=backend, **committee
        ).system

    system = mixed(four[0], committee=four)
    singles = [mixed(path) for path in four]
    for value in (1.0, 0.3, 0.0) if interpolate else (1.0,):
        _same_as_mean(system, singles, positions, {"lambda_interpolate": value} if interpolate else {})


def _same_as_mean(system, singles, positions, parameters=None):
    def ask(each):
        context = openmm.Context(each, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions)
        for name, value in (parameters or {}).items():
            context.setParameter(name, value)
        state = context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    energy, forces = ask(system)
    alone = [ask(single) for single in singles]
    assert abs(energy - np.mean([each for each, _ in alone])) < EXACT
    assert np.abs(forces - np.mean([each for _, each in alone], axis=0)).max() < 1e-6


def test_saved_systems_name_or_carry_all_models(four, tmp_path):
    positions, box = lattice(3)
    topology = make_topology(["Ar"] * 27, box)
    paths = [shutil.copy(path, tmp_path) for path in four]
    named = MLPotential("nequip", committee=paths).createSystem(topology, backend="PythonForce")
    carried = MLPotential("nequip", committee=paths, embedModel=True).createSystem(topology, backend="PythonForce")
    texts = [openmm.XmlSerializer.serialize(system) for system in (named, carried)]
    energy = evaluate(named, positions)[0]
    for text in texts:
        assert abs(evaluate(openmm_nequip.read_system(text), positions)[0] - energy) < EXACT
    specs = [load_computation(pickled_function(system.getForce(0))) for system in (named, carried)]
    plain = specs[0].saved().data["parts"][0]["source"]
    assert [len(member["sha256"]) for member in plain["members"]] == [64] * 4 and plain["drive"] == "mean"
    (tmp_path / "b.nequip.pth").unlink()
    with pytest.raises(openmm_nequip.ModelFileError, match="b.nequip.pth does not exist"):
        specs[0].spec.present_source()
    found = specs[1].spec.present_source()
    assert [found.members[0].path, found.members[2].path] == [paths[0], paths[2]] != found.members[1].path
    assert openmm_nequip.load_model(found.members[1].path).source.sha256 == found.members[1].sha256


def test_what_is_no_committee(four, tmp_path):
    topology = make_topology(["Ar"] * 2)
    other = write_member(tmp_path / "other.nequip.pth", types="Ar H C N O")
    with pytest.raises(CommitteeError, match=r"a.nequip.pth and .*other.nequip.pth are no committee: .* in types"):
        MLPotential("nequip", committee=[four[0], other]).createSystem(topology)
    info = ModelInfo(("H",), 5.0, "float64")
    nano = ModelInfo(("H",), 5.0, "float64", units=Units(1.0, 1.0))
    stated = ModelInfo(("H",), 6.0, "float64", units=Units())
    with pytest.raises(CommitteeError, match=r"one.ckpt and two.ckpt are no committee: .* in units \(angstrom"):
        committee_info([info, nano], ["one.ckpt", "two.ckpt"])
    assert committee_info([info, stated], ["one.ckpt", "two.ckpt"]).cutoff == 6.0
    for given, words in (
        ({"committee": []}, "the committee is empty"),
        ({"committee": four[:1]}, "a committee needs at least 2 models"),
        ({"modelPath": four[0], "committee": four[:1]}, "a committee needs at least 2 models"),
        ({"committee": four, "drive": 1}, r"drive=1 is unknown; give one of 'mean', 0"),
        ({"modelPath": four[0], "drive": 0}, "give committee= as well"),
        ({"committee": [*four, str(tmp_path / "none.pth")]}, "none.pth does not exist"),
        ({"committee": four, "trusted": "a" * 64}, "a.nequip.pth is not the trusted one"),
    ):
        with pytest.raises(openmm_nequip.ModelFileError, match=words):
            MLPotential("nequip", **given)
    with pytest.raises(TypeError, match="is no list; give the model files in a list"):
        MLPotential("nequip", committee=four[0])
    with pytest.raises(TypeError, match="modelPath names a model for each"):
        openmm_nequip.create_mixed_system(*dipeptide()[:1], vacuum_system(), [[0, 1], [2, 3]], four[:2], committee=four)
    with pytest.raises(TypeError, match="or committee="):
        openmm_nequip.create_mixed_system(dipeptide()[0], vacuum_system(), REGION)


def test_all_models_are_pinned(four):
    digests = [openmm_nequip.load_model(path).source.sha256 for path in four]
    assert len(MLPotential("nequip", committee=four, trusted=digests)._impl.source.members) == 4
    assert openmm_nequip.load_model(four, trusted=",".join(digests)).source.drive == "mean"
    with pytest.raises(openmm_nequip.ModelFileError, match="b.nequip.pth is not the trusted one"):
        openmm_nequip.load_model(four, trusted=digests[:1])


def test_a_call_may_name_the_committee(four, caplog):
    topology = make_topology(["Ar"] * 27)
    potential = MLPotential("nequip", modelPath=four[0], backend="PythonForce")
    with caplog.at_level(logging.WARNING, logger="openmm_nequip"):
        system = potential.createSystem(topology, committee=four[1:], skin=0.1 * unit.nanometer)
    assert not caplog.text
    force = load_computation(pickled_function(system.getForce(0)))
    assert isinstance(force, Computation) and [m.path for m in force.spec.source.members] == four
