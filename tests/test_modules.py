"""Potentials that are modules: the same numbers as the module itself, by whatever it takes and gives."""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from pathlib import Path

import module_potentials as potentials
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
import torch
from conftest import BACKENDS
from openmmml import MLPotential

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.single_point import evaluate
from openmm_nequip.app.structures.structure_files import Structure
from openmm_nequip.models.modules.module_interface import parse_interface
from openmm_nequip.stress import StressCalculator
from openmm_nequip.units import Units

GROMACS = Path(__file__).resolve().parents[2] / "shared" / "data" / "gromacs"
REFERENCE = openmm.Platform.getPlatformByName("Reference")
HALF = "atom-numbers,atom-pairs,pair-shifts,atom-positions,cutoff=1.4,dtype=float64"
FULL = "box,edge-index,positions,cell-shifts,numbers,cutoff=14,outputs=energy+atomic-energies"
NNPOT = "atom-positions,atom-numbers,box,pbc"
OWN = "positions,outputs=energy+forces"
UNITS = {"lengthUnit": "nm", "energyUnit": "kJ/mol"}

DOUBLE_TOLERANCE = 1e-9  # kJ/mol and kJ/mol/nm, sums of a hundred terms in float64
SINGLE_TOLERANCE = 2e-4  # kJ/mol and kJ/mol/nm, energies of 100 kJ/mol in float32
DIFFERENCE_TOLERANCE = 2e-4  # kJ/mol/nm, central differences of 1e-5 nm of such energies
STRESS_TOLERANCE = 0.5  # bar, of some thousand


def context_of(system, positions, parameters=()):
    """Energy (kJ/mol) and forces (n, 3) of a System after a way through XML."""
    system = openmm_nequip.read_system(openmm.XmlSerializer.serialize(system))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    for name, value in parameters:
        context.setParameter(name, value)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def model_answer(path, inputs, structure, **more):
    """What a module says of a structure, without OpenMM."""
    model = openmm_nequip.load_model(path, moduleInputs=inputs, **more)
    return evaluate(model, structure, model.info.units_given(Units(1.0, 1.0)))


def atoms_in_box(triclinic=True):
    topology, positions, box = potentials.box_of_atoms(triclinic)
    return Structure("here", topology, positions, box)


def atomic_numbers(topology):
    return np.array([atom.element.atomic_number for atom in topology.atoms()])


@pytest.mark.parametrize("check", ["yes", "no"])
def test_gromacs_own_module(tmp_path, check):
    """Energy and forces of GROMACS' reference data; its forces are no derivative, which is told unless switched off."""
    if not GROMACS.is_dir():
        pytest.fail(f"{GROMACS} is not there: the file of GROMACS' tests is read from it")
    inputs = [*NNPOT.split(","), f"check={check}"]
    forces = tmp_path / "forces.npy"
    arguments = [str(GROMACS / "model.pt"), str(GROMACS / "spc2.gro"), "--module-inputs", *inputs]
    code = main(["energy", *arguments, "--forces", str(forces), "--json"])
    assert code == (0 if check == "no" else 1)
    if check == "no":
        gro = app.GromacsGroFile(str(GROMACS / "spc2.gro"))
        positions = np.array(gro.positions.value_in_unit(unit.nanometer))
        np.testing.assert_allclose(np.load(forces), positions, atol=1e-6)


def test_energy_of_gromacs_own_module(capsys):
    """3.3333335 as in GROMACS' reference file, by the command."""
    inputs = [*NNPOT.split(","), "check=no"]
    assert main(["energy", str(GROMACS / "model.pt"), str(GROMACS / "spc2.gro"), "--module-inputs", *inputs]) == 0
    assert "3.333333 kJ/mol" in capsys.readouterr().out


@pytest.mark.slow
def test_a_module_that_scales_its_box_in_every_order(tmp_path):
    """All 24 orders of the documentation's inputs give what the module gives when it is called directly."""
    structure = atoms_in_box(triclinic=False)
    numbers = torch.as_tensor(atomic_numbers(structure.topology))
    module = potentials.InPlace()
    whole = np.floor(structure.positions_nm / np.diag(structure.box_nm))
    points = torch.tensor(structure.positions_nm - whole * np.diag(structure.box_nm), dtype=torch.float32)
    points.requires_grad_(True)
    box = torch.tensor(structure.box_nm, dtype=torch.float32)
    direct = module(points, numbers, box.clone(), torch.ones(3, dtype=torch.bool))
    gradient = torch.autograd.grad(direct, points)[0].numpy()
    arguments = {"atom-positions": "positions", "atom-numbers": "atomic_numbers", "box": "box", "pbc": "pbc"}
    for number, order in enumerate(itertools.permutations(arguments)):
        caller = torch.jit.script(Holder(module, number))
        given = ", ".join(arguments[name] for name in order)
        caller.define(f"def forward(self, {given}):\n    return self.module(positions, atomic_numbers, box, pbc)\n")
        path = str(tmp_path / f"{number}.pt")
        caller.save(path)
        for _ in range(2):  # also at the second step
            answer = model_answer(path, order, structure)
            assert abs(answer.energy - direct.item()) < SINGLE_TOLERANCE, order
            np.testing.assert_allclose(answer.forces, -gradient, atol=SINGLE_TOLERANCE)
    assert answer.stress is not None


class Holder(torch.nn.Module):
    """A module that gets its forward later; the number makes it a type of its own."""

    __constants__ = ["number"]

    def __init__(self, module, number):
        super().__init__()
        self.module, self.number = module, number


@pytest.mark.parametrize("triclinic", [False, True])
def test_half_and_full_lists(tmp_path, triclinic):
    """Both lists, signs and kinds of shifts give the sum over images; forces and stress are its derivatives."""
    structure = atoms_in_box(triclinic)
    numbers = atomic_numbers(structure.topology)
    exact = potentials.exact_energy(structure.positions_nm, structure.box_nm, numbers)
    half = model_answer(potentials.save(potentials.HalfList(), tmp_path / "half.pt"), HALF, structure)
    assert abs(half.energy - exact) < DOUBLE_TOLERANCE
    full_path = potentials.save(potentials.FullList(), tmp_path / "full.pt")
    model = openmm_nequip.load_model(full_path, moduleInputs=FULL)
    full = evaluate(model, structure, Units(0.1, 1.0))
    assert abs(full.energy - exact) < DOUBLE_TOLERANCE
    np.testing.assert_allclose(full.forces, half.forces, atol=DOUBLE_TOLERANCE)
    np.testing.assert_allclose(full.stress, half.stress, atol=1e-6)
    assert abs(full.atomic_energies.sum() - exact) < DOUBLE_TOLERANCE
    for atom, axis in ((0, 0), (1, 2), (5, 1)):
        energies = []
        for sign in (1, -1):
            moved = structure.positions_nm.copy()
            moved[atom, axis] += sign * 1e-5
            energies.append(potentials.exact_energy(moved, structure.box_nm, numbers))
        assert abs((energies[0] - energies[1]) / 2e-5 + half.forces[atom, axis]) < DIFFERENCE_TOLERANCE
    strain = 1e-5
    energies = [
        potentials.exact_energy(structure.positions_nm * (1 + s), structure.box_nm * (1 + s), numbers)
        for s in (strain, -strain)
    ]
    pressure = -(energies[0] - energies[1]) / (2 * strain) / 3 / abs(np.linalg.det(structure.box_nm))
    assert abs(-np.trace(half.stress) / 3 - pressure * 16.6053906717) < STRESS_TOLERANCE


def test_float32_inputs_by_default_and_float64_where_declared(tmp_path):
    """GROMACS hands over single precision; a module that computes in what it is given can have double."""
    structure = atoms_in_box()
    path = potentials.save(potentials.HalfList(), tmp_path / "half.pt")
    exact = potentials.exact_energy(
        structure.positions_nm, structure.box_nm, atomic_numbers(structure.topology)
    )
    single = model_answer(path, HALF.replace(",dtype=float64", ""), structure).energy
    double = model_answer(path, HALF, structure).energy
    assert DOUBLE_TOLERANCE < abs(single - exact) < SINGLE_TOLERANCE and abs(double - exact) < DOUBLE_TOLERANCE


def test_charge_and_spin():
    """Values of inputs beside the structure reach the module, and are asked for."""
    topology, positions, _ = potentials.box_of_atoms()
    topology.setPeriodicBoxVectors(None)
    potential = openmm_nequip.potential_from(
        potentials.Charged(), "positions,charge,spin", ("nm", "kJ/mol"), modelInputs={"charge": 3, "spin": 2}
    )
    energy, _ = context_of(potential.createSystem(topology), positions)
    assert abs(energy - 3 * ((positions - positions.mean(0)) ** 2).sum() - 20) < 1e-9
    with pytest.raises(openmm_nequip.ModelInputError, match="charge"):
        openmm_nequip.potential_from(potentials.Charged(), "positions,charge,spin", ("nm", "kJ/mol")).createSystem(
            topology
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_charges_of_atoms(backend):
    """Charges go to their atoms, whatever the order of a region; caps have none; without them nothing is made."""
    topology, system, points = hybrid()
    potential = openmm_nequip.potential_from(potentials.AtomCharges(), "positions,charges", ("nm", "kJ/mol"))
    with pytest.raises(openmm_nequip.ModelInputError, match="atomCharges"):
        potential.createMixedSystem(topology, system, list(range(8)))
    charges = np.linspace(-1, 1, 8)
    mixed = potential.createMixedSystem(topology, system, list(range(8)), atomCharges=charges, backend=backend)
    bare = openmm_nequip.potential_from(potentials.Springs(), "positions", ("nm", "kJ/mol"))
    rest = context_of(bare.createMixedSystem(topology, system, list(range(8))), points)[0]
    r = np.linalg.norm(points[:8, None] - points[None, :8], axis=2)
    i, j = np.triu_indices(8, 1)
    expected = (charges[i] * charges[j] / r[i, j]).sum() - (r[i, j] ** 2).sum() / 2
    assert abs(context_of(mixed, points)[0] - rest - expected) < SINGLE_TOLERANCE
    with pytest.raises(openmm_nequip.ModelInputError, match="takes no charges"):
        bare.createMixedSystem(topology, system, list(range(8)), atomCharges=charges)


def test_one_atom_and_no_pairs(tmp_path):
    """A single atom, and atoms beyond the cutoff of each other: the module sees them as they are."""
    topology, positions, _ = potentials.box_of_atoms(n=1)
    topology.setPeriodicBoxVectors(None)
    path = potentials.save(potentials.HalfList(), tmp_path / "half.pt")
    system = MLPotential("nequip", modelPath=path, moduleInputs=HALF).createSystem(topology)
    assert context_of(system, positions)[0] == 0.0
    topology, positions, _ = potentials.box_of_atoms(n=2)
    topology.setPeriodicBoxVectors(None)
    system = MLPotential("nequip", modelPath=path, moduleInputs=HALF).createSystem(topology)
    assert context_of(system, [[0, 0, 0], [2, 0, 0]])[0] == 0.0
    expected = 8 * 2 * np.exp(-1.2) * (1 - 0.3 / 1.4) ** 3
    assert abs(context_of(system, [[0, 0, 0], [0.3, 0, 0]])[0] - expected) < DOUBLE_TOLERANCE


#: Of an ethane.
BONDS = ((0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (1, 6), (1, 7))


def hybrid():
    """Two ethanes with a simple force field: topology, System and positions (16, 3) in nm."""
    topology = app.Topology()
    chain = topology.addChain()
    system, bonds, points = openmm.System(), openmm.HarmonicBondForce(), []
    nonbonded = openmm.NonbondedForce()
    for copy_ in range(2):
        residue = topology.addResidue("ETH", chain)
        atoms = [topology.addAtom(f"{s}{i}", app.Element.getBySymbol(s), residue) for i, s in enumerate("CCHHHHHH")]
        shape = [[0, 0, 0], [0.153, 0, 0], [-0.04, 0.1, 0], [-0.04, -0.05, 0.09], [-0.04, -0.05, -0.09],
                 [0.19, -0.1, 0], [0.19, 0.05, 0.09], [0.19, 0.05, -0.09]]  # fmt: skip
        points += [[x, y + 0.45 * copy_, z] for x, y, z in shape]
        for i, j in BONDS:
            topology.addBond(atoms[i], atoms[j])
            bonds.addBond(8 * copy_ + i, 8 * copy_ + j, 0.153 if j == 1 else 0.11, 1e5)
        for symbol in "CCHHHHHH":
            system.addParticle(app.Element.getBySymbol(symbol).mass)
            nonbonded.addParticle(-0.18 if symbol == "C" else 0.06, 0.3, 0.2)
    joined = [(8 * c + i, 8 * c + j) for c in (0, 1) for i, j in BONDS]
    nonbonded.createExceptionsFromBonds(joined, 0.0, 0.0)
    system.addForce(bonds)
    system.addForce(nonbonded)
    return topology, system, np.array(points)


def test_hybrid_link_lambda_and_regions():
    """A cut bond gets its cap, lambda leads to the force field, and two regions do not see each other."""
    topology, system, points = hybrid()
    potential = openmm_nequip.potential_from(potentials.Springs(), "positions", ("nm", "kJ/mol"))
    region = [0, 2, 3, 4]
    mixed = potential.createMixedSystem(topology, system, region, interpolate=True)
    on, forces = context_of(mixed, points, [("lambda_interpolate", 1.0)])
    off, _ = context_of(mixed, points, [("lambda_interpolate", 0.0)])
    plain, _ = context_of(system, points)
    assert abs(off - plain) < 1e-6
    differences = []
    for sign in (1, -1):
        moved = points.copy()
        moved[1, 1] += sign * 1e-5  # the atom behind the cut bond feels the cap
        differences.append(context_of(mixed, moved, [("lambda_interpolate", 1.0)])[0])
    assert abs((differences[0] - differences[1]) / 2e-5 + forces[1, 1]) < 1e-3
    both = openmm_nequip.create_mixed_system(
        topology, system, [list(range(8)), list(range(8, 16))], potential_path(), **UNITS
    )
    apart = [
        openmm_nequip.create_mixed_system(topology, system, list(range(s, s + 8)), potential_path(), **UNITS)
        for s in (0, 8)
    ]
    energies = [context_of(each.system, points)[0] for each in (both, *apart)]
    assert abs(energies[0] - (energies[1] + energies[2] - plain)) < 1e-6
    one = openmm_nequip.create_mixed_system(
        topology, system, list(range(16)), potential_path(), splitRegions=False, **UNITS
    )
    assert abs(context_of(one.system, points)[0] - energies[0]) > 1.0  # springs are endless


def potential_path():
    """The springs by name, with what they take."""
    from openmm_nequip.models import DeclaredPath

    return DeclaredPath("python:module_potentials:springs", "positions")


def test_a_module_without_a_box_gets_molecules_in_one_piece():
    """Hybrid in a periodic System: atoms of the region in other images make no difference; alone it is refused."""
    topology, system, points = hybrid()
    box = np.diag([2.0, 2.0, 2.0])
    topology.setPeriodicBoxVectors(box)
    system.setDefaultPeriodicBoxVectors(*box)
    system.getForce(1).setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    system.getForce(0).setUsesPeriodicBoundaryConditions(True)
    system.getForce(1).setCutoffDistance(0.9)
    potential = openmm_nequip.potential_from(potentials.springs, "positions", ("nm", "kJ/mol"))
    mixed = potential.createMixedSystem(topology, system, list(range(8)))
    broken = points.copy()
    broken[1] += box[0]
    broken[4] -= 2 * box[1]
    (e0, f0), (e1, f1) = (context_of(mixed, each) for each in (points, broken))
    assert abs(e0 - e1) < 1e-9 and np.abs(f0 - f1).max() < 1e-9
    with pytest.raises(openmm_nequip.ModuleError, match="takes no box"):
        potential.createSystem(topology)


SAVED = """
import sys
import openmm, openmm_nequip
trusted = sys.argv[2:]
for what in trusted:
    openmm_nequip.trust(what)
system = openmm_nequip.read_system(sys.argv[1])
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions([[0, 0, 0], [0.1, 0.2, 0], [0.3, 0, 0.1]])
print(context.getState(getEnergy=True).getPotentialEnergy()._value)
"""


@pytest.mark.slow
def test_saved_systems_in_another_process(tmp_path):
    """Scripted modules are carried along; functions are found by name once they are trusted; lambdas are refused."""
    topology, _, _ = potentials.box_of_atoms(n=3)
    topology.setPeriodicBoxVectors(None)
    points = [[0, 0, 0], [0.1, 0.2, 0], [0.3, 0, 0.1]]
    name = "python:module_potentials:springs"
    made = {"module": potentials.Springs(), "function": potentials.springs, "lambda": lambda x: potentials.springs(x)}
    environment = dict(os.environ, PYTHONPATH=f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parent}")
    environment["OPENMM_NEQUIP_CACHE"] = str(tmp_path / "cache")
    results = {}
    for kind, module in made.items():
        system = openmm_nequip.potential_from(module, "positions", ("nm", "kJ/mol")).createSystem(topology)
        energy, _ = context_of(system, points)
        assert abs(context_of(copy.deepcopy(system), points)[0] - energy) < 1e-12
        path = tmp_path / f"{kind}.xml"
        path.write_text(openmm.XmlSerializer.serialize(system))
        for trusted in ([], [name]) if kind == "function" else ([],):
            command = [sys.executable, "-c", SAVED, str(path), *trusted]
            results[kind, len(trusted)] = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert results["module", 0].returncode == 0, results["module", 0].stderr
    assert abs(float(results["module", 0].stdout) - energy) < 1e-9
    assert abs(float(results["function", 1].stdout) - energy) < 1e-9
    assert f"openmm_nequip.trust({name!r})" in results["function", 0].stderr
    assert "Python object of the process that made the System" in results["lambda", 0].stderr
    assert all(done.returncode in (0, 1) for done in results.values())


def test_a_module_of_python_is_left_as_it_was():
    """Mode, device and parameters of the user's own module stay; what TorchScript does not know runs all the same."""
    module = potentials.Unscriptable().train()
    topology, positions, _ = potentials.box_of_atoms()
    topology.setPeriodicBoxVectors(None)
    state = torch.random.get_rng_state()
    system = openmm_nequip.potential_from(module, "positions", ("nm", "kJ/mol")).createSystem(topology)
    energy, forces = context_of(system, positions)
    moved = positions - positions.mean(0)
    assert abs(energy - (moved**2).sum()) < 1e-9 and np.abs(forces + 2 * moved).max() < 1e-9
    assert module.training and torch.equal(state, torch.random.get_rng_state())


def test_stress_of_a_system_is_the_virial(tmp_path):
    """The strain derivative and differences of the energy agree, in units of Å."""
    structure = atoms_in_box()
    path = potentials.save(potentials.FullList(), tmp_path / "full.pt")
    potential = MLPotential("nequip", modelPath=path, moduleInputs=FULL, lengthUnit="angstrom", energyUnit="kJ/mol")
    system = potential.createSystem(structure.topology)
    calculator = StressCalculator(system)
    assert calculator.usesVirial
    stress = calculator.potential(structure.positions_nm, structure.box_nm)
    direct = evaluate(openmm_nequip.load_model(path, moduleInputs=FULL), structure, Units(0.1, 1.0)).stress
    np.testing.assert_allclose(stress, direct, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["half", "full", "box", "own"])
def test_backends(tmp_path, backend, kind):
    """In the plugin's forces as in the module itself: lists, units, derivatives."""
    module, inputs, units = {
        "half": (potentials.HalfList(), HALF, {}),
        "full": (potentials.FullList(), FULL, {"lengthUnit": "angstrom", "energyUnit": "kJ/mol"}),
        "box": (potentials.InPlace(), NNPOT + ",dtype=float64", {}),
        "own": (potentials.OwnForces(), OWN, UNITS),
    }[kind]
    structure = atoms_in_box(triclinic=kind != "box")
    if kind == "own":
        structure.topology.setPeriodicBoxVectors(None)
    path = potentials.save(module, tmp_path / "module.pt")
    potential = MLPotential("nequip", modelPath=path, moduleInputs=inputs, **units)
    energy, forces = context_of(potential.createSystem(structure.topology, backend=backend), structure.positions_nm)
    model = openmm_nequip.load_model(path, moduleInputs=inputs)
    alone = Structure("here", structure.topology, structure.positions_nm, None if kind == "own" else structure.box_nm)
    direct = evaluate(model, alone, Units(0.1 if kind == "full" else 1.0, 1.0))
    assert abs(energy - direct.energy) < SINGLE_TOLERANCE and np.abs(forces - direct.forces).max() < SINGLE_TOLERANCE


@pytest.mark.parametrize("text", [HALF, FULL, NNPOT, OWN, "positions:float32,numbers:int32,elements=H+O,check=no"])
def test_the_text_of_an_interface_is_the_interface(text):
    """What is written into files reads back as the same, and lists and mappings say it as well."""
    interface = parse_interface(text)
    assert parse_interface(interface.text) == interface == parse_interface(text.split(","))
    names = [word for word in text.split(",") if "=" not in word]
    settings = dict(word.split("=") for word in text.split(",") if "=" in word)
    assert parse_interface({"inputs": names, **settings}) == interface
