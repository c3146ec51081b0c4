"""Systems in OpenMM: the same numbers from every backend, model and unit system; subsets, molecules, bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as unit
import pytest
import torch
from conftest import BACKENDS, DATA, EXPECTED, PYTHON_BACKENDS
from openmmml import MLPotential
from toy import UNIT_SYSTEMS, evaluate, lattice, make_topology, reference_energy, write_toy

from openmm_nequip import load_model
from openmm_nequip.choices import MOLECULES_NAME
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import choose_backend
from openmm_nequip.forces.probe import PluginState
from openmm_nequip.models import Execution, ModelSource
from openmm_nequip.potential import NequIPPotentialImpl
from openmm_nequip.topology import check_box
from openmm_nequip.units import Units

pytestmark = pytest.mark.torchforce_stack

#: kJ/mol per atom and kJ/mol/nm, between two ways of the same float64 arithmetic.
ENERGY_PER_ATOM = 1e-8
FORCE = 1e-6
#: Central differences: step in nm, error in kJ/mol/nm.
STEP_NM = 1e-5
DIFFERENCE = 2e-3


def small_system():
    """27 atoms of four elements: symbols, positions (27, 3) nm, box (3, 3) nm."""
    positions, box = lattice(3, 0.22, 0.012)
    return ["H", "C", "N", "O"] * 6 + ["H", "C", "N"], positions, box


def test_this_environment_has_the_backends_it_should():
    """CI names what its stack must have; without that, PythonForce at least."""
    assert set(EXPECTED.split(",") if EXPECTED else ["PythonForce"]) <= set(BACKENDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-nequip", "tiny-allegro"])
def test_every_artefact_on_every_backend(request, name, platform):
    """.ckpt, .nequip.zip, .nequip.pth and .nequip.pt2 on each backend: one energy, one set of forces."""
    symbols, positions, box = small_system()
    topology = make_topology(symbols, box)
    runs = [(DATA / f"{name}.nequip.pth", backend, {}) for backend in BACKENDS]
    for backend in PYTHON_BACKENDS:
        runs += [
            (DATA / f"{name}.ckpt", backend, {"compile": False}),
            (DATA / f"{name}.nequip.zip", backend, {}),
        ]
    if "TorchForce" not in BACKENDS:  # with torch 2.9 packages are tested in test_artefacts.py
        runs.append((request.getfixturevalue("compiled") / f"{name}.nequip.pt2", "PythonForce", {}))
    results = []
    for path, backend, options in runs:
        system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, backend=backend, **options)
        results.append(evaluate(system, positions, platform.getName()))
    energies = np.array([energy for energy, _ in results])
    assert np.abs(energies - energies[0]).max() < ENERGY_PER_ATOM * len(symbols)
    assert max(np.abs(forces - results[0][1]).max() for _, forces in results) < FORCE


@pytest.mark.parametrize("periodic", [True, False])
def test_toy_model_gives_one_answer_in_three_unit_systems(tmp_path, backend, periodic):
    positions, box = lattice(3, 0.40, 0.02)
    box = box if periodic else None
    topology = make_topology(["Ar"] * 27, box)
    expected = reference_energy(positions, box)
    forces = []
    for name, (length, energy, options) in UNIT_SYSTEMS.items():
        path = write_toy(tmp_path / f"{name.replace('/', '-')}.nequip.pth", length, energy)
        scales = {"lengthScale": length, "energyScale": energy}
        for keywords in (options, scales):
            system = MLPotential("nequip", modelPath=str(path), **keywords).createSystem(topology, backend=backend)
            found = evaluate(system, positions)
            assert found[0] == pytest.approx(expected, abs=ENERGY_PER_ATOM * 27)
            forces.append(found[1])
    assert max(np.abs(f - forces[0]).max() for f in forces) < FORCE


def test_forces_are_the_gradient_of_the_energy(backend):
    symbols, positions, box = small_system()
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))
    system = potential.createSystem(make_topology(symbols, box), backend=backend)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))

    def energy(points):
        context.setPositions(points)
        return context.getState(getEnergy=True).getPotentialEnergy()._value

    context.setPositions(positions)
    forces = context.getState(getForces=True).getForces(asNumpy=True)._value
    for atom, axis in ((0, 0), (5, 1), (13, 2), (26, 0)):
        shifted = positions.copy()
        shifted[atom, axis] += STEP_NM
        up = energy(shifted)
        shifted[atom, axis] -= 2 * STEP_NM
        assert -(up - energy(shifted)) / (2 * STEP_NM) == pytest.approx(forces[atom, axis], abs=DIFFERENCE)


@pytest.mark.parametrize("periodic", [True, False])
def test_subset_of_atoms(tmp_path, backend, platform, periodic):
    """The model acts on every third atom only, with numbers as if the others did not exist."""
    positions, box = lattice(3, 0.40, 0.02)
    box = box if periodic else None
    chosen = [25, 1, 4, 7, 10, 13]
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = openmm.System()
    if periodic:
        system.setDefaultPeriodicBoxVectors(*box)
    for _ in positions:
        system.addParticle(39.9)
    impl = NequIPPotentialImpl("nequip", str(path))
    impl.addForces(make_topology(["Ar"] * 27, box), system, chosen, 3, backend=backend)
    energy, forces = evaluate(system, positions, platform.getName(), groups={3})
    assert energy == pytest.approx(reference_energy(positions[chosen], box), abs=ENERGY_PER_ATOM * 27)
    assert not np.delete(forces, chosen, axis=0).any()
    assert np.abs(forces[chosen]).max() > 1
    alone = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(["Ar"] * 6, box), backend=backend)
    assert np.abs(forces[chosen] - evaluate(alone, positions[chosen])[1]).max() < FORCE


@pytest.mark.parametrize("count", [1, 2])
def test_isolated_atoms_and_dimers(backend, count):
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))
    system = potential.createSystem(make_topology(["O"] * count), backend=backend)
    apart, _ = evaluate(system, np.array([[0.0, 0, 0], [3.0, 0, 0]])[:count])
    single = load_model(DATA / "tiny-nequip.nequip.pth")
    one = Evaluator(single, Units(), Placement(1, np.array([3])), False, 0.1)(np.zeros((1, 3)), None)[0]
    assert apart == pytest.approx(count * one, abs=ENERGY_PER_ATOM)
    if count == 2:
        close, forces = evaluate(system, np.array([[0.0, 0, 0], [0.2, 0, 0]]))
        assert close != pytest.approx(apart, abs=1e-3)
        assert np.abs(forces.sum(axis=0)).max() < FORCE


def test_atom_types_by_index_and_name(backend):
    symbols, positions, box = small_system()
    topology, path = make_topology(symbols, box), str(DATA / "tiny-nequip.nequip.pth")
    indices = ["HCNO".index(symbol) for symbol in symbols]
    expected = evaluate(MLPotential("nequip", modelPath=path).createSystem(topology, backend=backend), positions)[0]
    argon = make_topology(["Ar"] * 27, box)
    for types in (indices, symbols):
        system = MLPotential("nequip", modelPath=path).createSystem(argon, backend=backend, atomTypes=types)
        assert evaluate(system, positions)[0] == pytest.approx(expected, abs=ENERGY_PER_ATOM)
    swapped = list(reversed(indices))
    system = MLPotential("nequip", modelPath=path, atomTypes=swapped).createSystem(topology, backend=backend)
    assert evaluate(system, positions)[0] != pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_moves_that_change_nothing(backend):
    """Permutation, rotation and splitting across the box leave the energy; a 2x2x2 replica has eight times it."""
    symbols, positions, box = small_system()
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))

    def energy(names, points, cell):
        return evaluate(potential.createSystem(make_topology(names, cell), backend=backend), points)[0]

    expected = energy(symbols, positions, box)
    order = np.random.default_rng(1).permutation(27)
    permuted = energy([symbols[i] for i in order], positions[order], box)
    split = energy(symbols, positions + np.random.default_rng(2).integers(-2, 3, (27, 3)) @ box, box)
    assert permuted == pytest.approx(expected, abs=ENERGY_PER_ATOM * 27)
    assert split == pytest.approx(expected, abs=ENERGY_PER_ATOM * 27)
    shifts = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)]) @ box
    replica = np.concatenate([positions + shift for shift in shifts])
    assert energy(symbols * 8, replica, 2 * box) == pytest.approx(8 * expected, abs=ENERGY_PER_ATOM * 216)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    free = energy(symbols, positions, None)
    assert energy(symbols, positions @ rotation, None) == pytest.approx(free, abs=ENERGY_PER_ATOM * 27)


def test_triclinic_box_smaller_than_the_cutoff(tmp_path, backend):
    box = np.array([[0.5, 0, 0], [0.2, 0.45, 0], [-0.15, 0.1, 0.6]])
    positions = np.array([[0.05, 0.1, 0.0], [0.3, 0.25, 0.35]])
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(["Ar"] * 2, box), backend=backend)
    assert evaluate(system, positions)[0] == pytest.approx(reference_energy(positions, box, 4), abs=1e-6)


def test_nve_conserves_energy_with_and_without_a_skin(tmp_path, backend):
    """The same trajectory whether the list is kept or built at every step, and no drift."""
    positions, box = lattice(3, 0.62, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    ends = []
    for skin in (0.0, 0.1 * unit.nanometer, 0.3):
        system = MLPotential("nequip", modelPath=str(path)).createSystem(
            make_topology(["Ar"] * 27, box), backend=backend, skin=skin
        )
        integrator = openmm.VerletIntegrator(0.002)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions)
        context.setVelocitiesToTemperature(120, 1)
        totals = []
        for _ in range(10):
            integrator.step(20)
            state = context.getState(getEnergy=True, getPositions=True)
            totals.append(state.getPotentialEnergy()._value + state.getKineticEnergy()._value)
        # 0.4 ps of 27 atoms at 120 K: fluctuations of a Verlet step of 2 fs stay far below this.
        assert np.ptp(totals) / 27 < 2e-3
        ends.append(state.getPositions(asNumpy=True)._value)
    assert max(np.abs(end - ends[0]).max() for end in ends) < 1e-7


def water_box():
    """Eight waters with bonds: symbols, bonds, positions (24, 3) nm, box (3, 3) nm, residue sizes."""
    ticks = np.arange(2) * 0.5
    centres = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    shape = np.array([[0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0927, 0]])
    positions = (centres[:, None] + shape[None]).reshape(-1, 3)
    bonds = [(3 * i, 3 * i + k) for i in range(8) for k in (1, 2)]
    return ["O", "H", "H"] * 8, bonds, positions, np.eye(3) * 1.2, [3] * 8


@pytest.mark.slow
def test_volume_moves_keep_molecules_whole(backend):
    """A barostat moves the molecules of the topology; with declareMolecules=False it moves atoms."""
    symbols, bonds, positions, box, sizes = water_box()
    topology = make_topology(symbols, box, bonds, sizes)
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))

    def strain_of_bonds(**options):
        system = potential.createSystem(topology, backend=backend, **options)
        barostat = openmm.MonteCarloBarostat(1e4, 300, 1)
        barostat.setRandomNumberSeed(7)
        system.addForce(barostat)
        # No time passes: only volume moves change positions.
        context = openmm.Context(system, openmm.VerletIntegrator(1e-9), openmm.Platform.getPlatformByName("Reference"))
        context.setPositions(positions)
        molecules = context.getMolecules()
        context.getIntegrator().step(12)
        state = context.getState(getPositions=True)
        after = state.getPositions(asNumpy=True)._value
        assert state.getPeriodicBoxVolume()._value != pytest.approx(1.2**3, rel=1e-4)
        lengths = [np.linalg.norm(after[j] - after[i]) - np.linalg.norm(positions[j] - positions[i]) for i, j in bonds]
        return np.abs(lengths).max(), len(molecules), system

    moved, molecules, system = strain_of_bonds()
    assert molecules == 8 and moved < 1e-5
    assert MOLECULES_NAME in [force.getName() for force in system.getForces()]
    moved, molecules, system = strain_of_bonds(declareMolecules=False)
    assert molecules == 24 and moved > 1e-4


def run_fresh(program, *arguments):
    """Run Python code in a new process and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = """
import sys
import openmm_nequip
import openmm
system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())
from toy import evaluate, lattice
print(repr(evaluate(system, lattice(3, 0.40, 0.02)[0])[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("embed", [False, True])
def test_xml_is_read_by_another_process(tmp_path, backend, embed):
    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    potential = MLPotential("nequip", modelPath=str(path))
    system = potential.createSystem(make_topology(["Ar"] * 27, box), backend=backend, embedModel=embed)
    expected = evaluate(system, positions)[0]
    xml = tmp_path / "system.xml"
    xml.write_text(openmm.XmlSerializer.serialize(system))
    if embed or backend == "TorchForce":
        path.unlink()
    assert float(run_fresh(READ, xml)) == pytest.approx(expected, abs=ENERGY_PER_ATOM)


@pytest.mark.parametrize("change", ["missing", "changed"])
def test_a_model_that_is_not_the_one_it_was_is_refused(tmp_path, change):
    """By path and SHA-256; the error keeps its type and says what to do."""
    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    potential = MLPotential("nequip", modelPath=str(path))
    system = potential.createSystem(make_topology(["Ar"] * 27, box), backend="PythonForce")
    if change == "missing":
        path.unlink()
    else:
        write_toy(path, length=0.2)
    with pytest.raises(openmm.OpenMMException, match="ModelFileError: model file .*(does not exist|has changed)"):
        evaluate(system, positions)


def test_copies_and_collective_variables(tmp_path, backend, platform):
    import copy

    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    potential = MLPotential("nequip", modelPath=str(path))
    system = potential.createSystem(make_topology(["Ar"] * 27, box), backend=backend, removeCMMotion=False)
    energy, forces = evaluate(system, positions, platform.getName())
    copied = evaluate(copy.deepcopy(system), positions, platform.getName())
    assert copied[0] == pytest.approx(energy, abs=ENERGY_PER_ATOM) and np.abs(copied[1] - forces).max() < FORCE
    outer = openmm.System()
    outer.setDefaultPeriodicBoxVectors(*box)
    for _ in positions:
        outer.addParticle(39.9)
    variable = openmm.CustomCVForce("0.5*scale*model")
    variable.addGlobalParameter("scale", 1.0)
    variable.addEnergyParameterDerivative("scale")
    variable.addCollectiveVariable("model", copy.deepcopy(system.getForce(0)))
    outer.addForce(variable)
    half = evaluate(outer, positions, platform.getName())
    assert half[0] == pytest.approx(energy / 2, abs=ENERGY_PER_ATOM * 27)
    assert np.abs(half[1] - forces / 2).max() < FORCE


def test_mixed_system_by_openmm_ml(tmp_path, backend):
    """OpenMM-ML's own embedding on our potential: E_tot = E_model(Q) + E_MM(all) - E_MM(Q)."""
    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    charges = np.random.default_rng(1).normal(0, 0.2, 27)
    charges[:9] -= charges[:9].mean()  # a region with a charge that is no whole number would warn

    def mm(indices):
        system = openmm.System()
        force = openmm.NonbondedForce()
        for i in indices:
            system.addParticle(39.9)
            force.addParticle(charges[i], 0.3, 0.5)
        system.addForce(force)
        return system

    chosen = list(range(9))
    mixed = MLPotential("nequip", modelPath=str(path)).createMixedSystem(
        make_topology(["Ar"] * 27), mm(range(27)), chosen, backend=backend
    )
    expected = reference_energy(positions[chosen])
    expected += evaluate(mm(range(27)), positions)[0] - evaluate(mm(chosen), positions[chosen])[0]
    assert evaluate(mixed, positions)[0] == pytest.approx(expected, abs=1e-4)


def test_nan_positions_and_outputs_are_named(tmp_path):
    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    evaluator = Evaluator(load_model(path), Units(), Placement(27, np.full(27, 4)), True, 0.1)
    bad = positions.copy()
    bad[[3, 8], 1] = np.nan
    with pytest.raises(RuntimeError, match=r"positions are NaN or infinite for 2 of 27 atoms \(indices 3, 8\)"):
        evaluator(bad, box)
    same = positions.copy()
    same[4], same[5] = 0, 1e-30
    with pytest.raises(RuntimeError, match=r"NaN or infinite for 2 of 27 atoms \(indices 4, 5\)"):
        evaluator(same, box)
    system = MLPotential("nequip", modelPath=str(path)).createSystem(
        make_topology(["Ar"] * 27, box), backend="PythonForce"
    )
    with pytest.raises(openmm.OpenMMException, match="NonFiniteError: positions.*indices 3, 8") as caught:
        evaluate(system, bad)
    assert "Traceback" in str(caught.value) and "evaluator.py" in str(caught.value), "the traceback comes along"


def test_atoms_of_a_subset_are_named_by_their_place_in_the_system(tmp_path):
    """Not by that within the force, which is given the subset alone; the same in a copy from XML."""
    positions, box = lattice(3, 0.40, 0.02)
    positions[20], positions[3] = 0, 1e-30
    topology = make_topology(["Ar"] * 27, box)
    system = openmm.System()
    for _ in range(27):
        system.addParticle(40.0)
    system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*row) for row in box])
    potential = NequIPPotentialImpl("nequip", write_toy(tmp_path / "toy.nequip.pth"))
    potential.addForces(topology, system, [20, 7, 3, 9], 0, backend="PythonForce")
    words = r"NaN or infinite for 2 of \d+ atoms \(indices (20, 3|3, 20)\)"
    for each in (system, openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))):
        with pytest.raises(openmm.OpenMMException, match=words):
            evaluate(each, positions)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precison": "double"}, TypeError, "not know precison; its keywords are atomCharges, atomTypes, backend"),
        ({"backend": "torchforce"}, ValueError, "backend='torchforce' is unknown; use one of auto"),
        ({"precision": "single"}, ValueError, "the model computes in float64"),
        ({"precision": "half"}, ValueError, "precision='half' is unknown"),
        ({"atomTypes": [0] * 26}, ValueError, "atomTypes has 26 entries; expected one for each of the 27"),
        ({"atomTypes": [0] * 26 + [4]}, ValueError, r"atomTypes\[26\]=4 is no type of the model; use 0 to 3"),
        ({"atomTypes": [-1] + [0] * 26}, ValueError, r"atomTypes\[0\]=-1"),
        ({"atomTypes": ["Xe"] * 27}, ValueError, r"atomTypes\[0\]='Xe'"),
        ({"skin": -0.1}, ValueError, "must be a finite length >= 0"),
        ({"skin": 1 * unit.kelvin}, ValueError, "is not a length"),
        ({"lengthUnit": "furlong"}, ValueError, "not a known unit"),
        ({"device": "cuda:7"}, ValueError, "is not there"),
        ({"properties": {"useCUDAGraphs": "true"}, "backend": "PythonForce"}, ValueError, "belong to TorchForce"),
    ],
)
def test_bad_options(options, error, message):
    symbols, _, box = small_system()
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))
    with pytest.raises(error, match=message):
        potential.createSystem(make_topology(symbols, box), **options)


def test_bad_constructor():
    with pytest.raises(TypeError, match="needs modelPath="):
        MLPotential("nequip")
    with pytest.raises(TypeError, match="does not know modlePath"):
        MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.ckpt"), modlePath="x")


def test_unknown_element_is_named():
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))
    with pytest.raises(ValueError, match=r"atom 2 \(Xe of MOL\) is Xe, which the model does not know; its types"):
        potential.createSystem(make_topology(["H", "C", "Xe"]))
    topology = make_topology(["H", "C"])
    topology.addAtom("M", None, next(topology.residues()))
    with pytest.raises(ValueError, match=r"atom 2 \(M of MOL\) has no element"):
        potential.createSystem(topology)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (np.zeros((3, 3)), "has no volume"),
        (np.diag([1.0, 1.0, 0.0]), "has no volume"),
        (np.array([[1.0, 0, 0], [0.9, 1, 0], [0, 0, 1]]), "is not in reduced form"),
        (np.array([[0, 1.0, 0], [1, 0, 0], [0, 0, 1]]), "is not in reduced form"),
    ],
)
def test_bad_boxes(box, message):
    with pytest.raises(ValueError, match=message):
        check_box([openmm.Vec3(*row) * unit.nanometer for row in box])


class _FakeSpec:
    """Just what the choice of a backend reads."""

    def __init__(self, kind="torchscript", device=None):
        self.source = ModelSource("model", kind, "0" * 64, 1)
        self.execution, self.lambda_name = Execution(device), None
        self.placement = Placement(1, np.zeros(1))


def test_choice_of_backend():
    absent = PluginState(installed=False, reason="openmmtorch is not installed; install it")
    broken = PluginState(installed=True, reason="openmmtorch 1.5 does not work with torch 2.13.0")
    old = PluginState(installed=True, works=True)
    new = PluginState(installed=True, works=True, has_python_torch_force=True)
    script, package = _FakeSpec(), _FakeSpec("package")
    assert [choose_backend("auto", script, p) for p in (absent, broken, old, new)] == [
        "PythonForce", "PythonForce", "TorchForce", "TorchForce"
    ]  # fmt: skip
    assert [choose_backend("auto", package, p) for p in (absent, old, new)] == [
        "PythonForce", "PythonForce", "PythonTorchForce"
    ]  # fmt: skip
    assert choose_backend("auto", _FakeSpec(device="cpu"), old) == "PythonForce"
    for plugin in (absent, broken):
        with pytest.raises(RuntimeError, match="cannot be used: openmmtorch"):
            choose_backend("TorchForce", script, plugin)
    with pytest.raises(ValueError, match="runs TorchScript only"):
        choose_backend("TorchForce", package, old)
    with pytest.raises(ValueError, match="device='cpu' was given"):
        choose_backend("TorchForce", _FakeSpec(device="cpu"), old)
    with pytest.raises(RuntimeError, match="has no PythonTorchForce"):
        choose_backend("PythonTorchForce", script, old)


def test_probe_reports_a_crash_of_the_plugin(tmp_path, monkeypatch):
    """A plugin that kills its process is reported with versions and the cure, not suffered."""
    from openmm_nequip.forces import probe

    crash = tmp_path / "crash.py"
    crash.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(probe, "_WORKER", crash)
    state = probe._run_probe({"openmmtorch": "1.5", "torch": "2.13.0", "openmm": "8.6.1"})
    assert not state.works
    assert "openmmtorch 1.5 does not work with torch 2.13.0 and openmm 8.6.1" in state.reason
    assert "pip install torch==2.9.1 openmm==8.5.2" in state.reason


def test_properties_of_a_torch_force(tmp_path):
    if "TorchForce" not in BACKENDS:
        pytest.skip("no working openmmtorch in this environment; the other stack runs this")
    import openmmtorch

    path = write_toy(tmp_path / "toy.nequip.pth")
    properties = {"useCUDAGraphs": "false", "CUDAGraphWarmupSteps": "12"}
    system = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(["Ar"] * 3), properties=properties)
    force = openmmtorch.TorchForce.cast(system.getForce(0))
    assert dict(force.getProperties()) == properties
    assert force.getOutputsForces()


class FakePythonTorchForce:
    """The documented contract of openmmtorch's PythonTorchForce: what is stored, and how the function is called."""

    def __init__(self, computation, globalParameters=None, particles=()):
        self.computation, self.particles, self.periodic = computation, list(particles), False
        self.parameters = dict(globalParameters or {})

    def setUsesPeriodicBoundaryConditions(self, periodic):
        self.periodic = periodic

    def setName(self, name):
        self.name = name

    def run(self, positions, box, dtype):
        """Call the function as the plugin does and check what the plugin would read unchecked."""
        import pickle

        state = type("State", (), {
            "getParameters": lambda _: self.parameters,
            "getPeriodicBoxVectors": lambda _: [openmm.Vec3(*row) for row in box] * unit.nanometer,
        })()  # fmt: skip
        chosen = positions[self.particles] if self.particles else positions
        tensor = torch.tensor(chosen, dtype=dtype, requires_grad=True)
        energy, forces = pickle.loads(pickle.dumps(self.computation))(state, tensor)
        assert energy.numel() == 1 and forces.is_contiguous() and forces.dtype == dtype
        assert forces.shape == tensor.shape and forces.device == tensor.device and not forces.requires_grad
        return energy.item(), forces.numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_python_torch_force_by_its_contract(tmp_path, monkeypatch, dtype):
    """No release has PythonTorchForce yet: the code path runs against a stand-in with upstream's contract."""
    import openmm_nequip.forces as forces_module

    fake = type(sys)("openmmtorch")
    fake.PythonTorchForce = FakePythonTorchForce
    monkeypatch.setitem(sys.modules, "openmmtorch", fake)
    monkeypatch.setattr(
        forces_module, "probe_plugin", lambda: PluginState(installed=True, works=True, has_python_torch_force=True)
    )
    positions, box = lattice(3, 0.40, 0.02)
    impl = NequIPPotentialImpl("nequip", str(write_toy(tmp_path / "toy.nequip.pth")))
    chosen = [20, 3, 4, 5]
    spec = impl.spec(impl.options({}), Placement(4, np.full(4, 4)), True)
    force = forces_module.make_force(spec, chosen, 27, "PythonTorchForce")
    energy, forces = force.run(positions, box, dtype)
    tolerance = 1e-3 if dtype == torch.float32 else ENERGY_PER_ATOM
    assert energy == pytest.approx(reference_energy(positions[chosen], box), abs=tolerance)
    assert force.periodic and force.particles == chosen
    with pytest.raises(RuntimeError, match="NonFiniteError: positions"):
        force.run(np.full((27, 3), np.nan), box, dtype)
