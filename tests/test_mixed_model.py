"""Hybrid Systems with a real network: caps, regions, λ and storage through the model's own force on every backend."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import DATA
from openmmml import MLPotential
from toy import evaluate, write_toy

import openmm_nequip
from openmm_nequip import create_mixed_system, load_model
from openmm_nequip.choices import MOLECULES_NAME
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import Units

pytestmark = pytest.mark.torchforce_stack

MODEL = DATA / "tiny-nequip.nequip.pth"
ALLEGRO = DATA / "tiny-allegro.nequip.pth"
#: kJ/mol and kJ/mol/nm between two ways to the same float64 numbers.
ENERGY = 1e-4
FORCE = 1e-3
#: λ ends, kJ/mol.
LAMBDA_END = 1e-5
#: Central differences, relative to the root mean square force.
DIFFERENCE = 5e-4
STEP_NM = 2e-5
SIDE_CHAIN = "resname ALA and (name CA HA CB HB1 HB2 HB3)"
PEPTIDE = Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb"


@pytest.fixture(scope="module")
def solvated():
    """Alanine dipeptide in a small box of water: topology, System (PME, no constraints), positions (n, 3) nm."""
    pdb = app.PDBFile(str(PEPTIDE))
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.9, 1.9, 1.9) * unit.nanometer)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8, constraints=None, rigidWater=False
    )
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return modeller.topology, system, positions


def box_of(system):
    """Box vectors (3, 3) in nm."""
    return np.array([vector.value_in_unit(unit.nanometer) for vector in system.getDefaultPeriodicBoxVectors()])


def build(*arguments, **keywords):
    """create_mixed_system without the warning that a cut residue's charge is no whole number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_mixed_system(*arguments, **keywords)


def parts(topology, system, positions, atoms, **keywords):
    """Energy of the mixed System, and of the same System without the model's force."""
    mixed = build(topology, system, atoms, MODEL, forceGroup=7, **keywords)
    whole, forces = evaluate(mixed.system, positions)
    rest = evaluate(mixed.system, positions, groups=set(range(32)) - {7})[0]
    return mixed, whole, rest, forces


@pytest.mark.slow
def test_caps_are_where_they_belong_on_every_backend(solvated, backend):
    """The model's part equals the network on the region and its caps, placed by hand."""
    topology, system, positions = solvated
    mixed, whole, rest, _ = parts(topology, system, positions, SIDE_CHAIN, backend=backend)
    region = mixed.regions[0]
    assert len(region.atoms) == 6 and len(region.links) == 2
    caps = []
    for link in region.links:
        direction = positions[link.m] - positions[link.q]
        caps.append(positions[link.q] + link.distance_nm * direction / np.linalg.norm(direction))
    names = [list(topology.atoms())[i].element.symbol for i in region.atoms] + ["H"] * len(caps)
    types = np.array(["HCNO".index(name) for name in names])
    box = box_of(system)
    nodes = np.concatenate([positions[list(region.atoms)], caps])
    alone = Evaluator(load_model(MODEL), Units(), Placement(len(nodes), types), True, 0.1)(nodes, box)[0]
    assert whole - rest == pytest.approx(alone, abs=ENERGY)


@pytest.mark.slow
def test_forces_around_a_cut_bond_on_every_backend(solvated, backend):
    """Central differences on Q1, M1 and a neighbour, with the cut bond across the box's face."""
    topology, system, positions = solvated
    mixed, _, _, forces = parts(topology, system, positions, SIDE_CHAIN, backend=backend)
    link = mixed.regions[0].links[0]
    positions = positions.copy()
    positions[link.m] += box_of(system)[0]
    context = openmm.Context(
        mixed.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )

    def model_energy(points):
        context.setPositions(points)
        return context.getState(getEnergy=True, groups={7}).getPotentialEnergy()._value

    context.setPositions(positions)
    forces = context.getState(getForces=True, groups={7}).getForces(asNumpy=True)._value
    scale = np.sqrt((forces[np.abs(forces).sum(axis=1) > 0] ** 2).mean())
    for atom in (link.q, link.m, mixed.regions[0].atoms[2]):
        for axis in range(3):
            shifted = positions.copy()
            shifted[atom, axis] += STEP_NM
            up = model_energy(shifted)
            shifted[atom, axis] -= 2 * STEP_NM
            numerical = -(up - model_energy(shifted)) / (2 * STEP_NM)
            assert numerical == pytest.approx(forces[atom, axis], abs=DIFFERENCE * scale)
    assert np.abs(forces.sum(axis=0)).max() < 1e-6 * scale


@pytest.mark.slow
def test_several_regions_are_the_sum_of_each(solvated):
    """Three regions, two of one model and one of another: one force, and the energies of each alone."""
    topology, system, positions = solvated
    waters = [[a.index for a in r.atoms()] for r in topology.residues() if r.name == "HOH"][:2]
    regions = [SIDE_CHAIN, *waters]
    mixed = build(topology, system, regions, [MODEL, ALLEGRO, MODEL], forceGroup=7)
    together, forces = evaluate(mixed.system, positions, groups={7})
    assert sum(force.getForceGroup() == 7 for force in mixed.system.getForces()) == 1
    energies, singles = [], np.zeros_like(forces)
    for region, model in zip(regions, [MODEL, ALLEGRO, MODEL], strict=True):
        alone = build(topology, system, region, model, forceGroup=7)
        energy, force = evaluate(alone.system, positions, groups={7})
        energies.append(energy)
        singles += force
    assert together == pytest.approx(sum(energies), abs=ENERGY)
    assert np.abs(forces - singles).max() < FORCE


@pytest.mark.parametrize("atoms", [SIDE_CHAIN, "water and resid 3 to 5"])
def test_lambda_ends(solvated, atoms):
    topology, system, positions = solvated
    mixed = build(topology, system, atoms, MODEL, interpolate=True)
    plain = build(topology, system, atoms, MODEL)
    context = openmm.Context(
        mixed.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)

    def at(value):
        context.setParameter("lambda_interpolate", value)
        state = context.getState(getEnergy=True, getForces=True, getParameterDerivatives=True)
        derivative = state.getEnergyParameterDerivatives()["lambda_interpolate"]
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value, derivative

    mm, ml = evaluate(system, positions), evaluate(plain.system, positions)
    for value, (energy, forces) in ((0.0, mm), (1.0, ml)):
        found = at(value)
        assert found[0] == pytest.approx(energy, abs=LAMBDA_END)
        assert np.abs(found[1] - forces).max() < FORCE
    middle = at(0.3)
    assert middle[0] == pytest.approx(0.7 * mm[0] + 0.3 * ml[0], abs=LAMBDA_END)
    assert middle[2] == pytest.approx(ml[0] - mm[0], abs=ENERGY)


def test_the_model_is_not_even_loaded_at_lambda_zero(tmp_path, solvated):
    topology, system, positions = solvated
    path = write_toy(tmp_path / "toy.nequip.pth")
    mixed = build(topology, system, SIDE_CHAIN, path, interpolate=True)
    path.unlink()
    context = openmm.Context(
        mixed.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    context.setParameter("lambda_interpolate", 0.0)
    energy = context.getState(getEnergy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(evaluate(system, positions)[0], abs=LAMBDA_END)
    context.setParameter("lambda_interpolate", 0.5)
    with pytest.raises(openmm.OpenMMException, match="does not exist"):
        context.getState(getEnergy=True)


READ = """
import sys
import numpy as np
import openmm_nequip, openmm
from toy import evaluate
system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())
print(repr(evaluate(system, np.load(sys.argv[2]))[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("interpolate", [False, True])
def test_storage(tmp_path, solvated, interpolate):
    """deepcopy and XML read by another process, for mixed and interpolated Systems with cut bonds."""
    topology, system, positions = solvated
    mixed = build(topology, system, SIDE_CHAIN, MODEL, interpolate=interpolate)
    expected = evaluate(mixed.system, positions)[0]
    assert evaluate(copy.deepcopy(mixed.system), positions)[0] == pytest.approx(expected, abs=ENERGY)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(mixed.system))
    np.save(tmp_path / "positions.npy", positions)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "system.xml"), str(tmp_path / "positions.npy")],
        capture_output=True, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(expected, abs=ENERGY)


@pytest.mark.slow
def test_through_openmm_ml(solvated):
    """`MLPotential.createMixedSystem` is the same builder: text, generators, returnInfo and every keyword."""
    topology, system, positions = solvated
    potential = MLPotential("nequip", modelPath=str(MODEL))
    peptide = [a.index for a in topology.atoms() if a.residue.name in ("ACE", "ALA", "NME")]
    expected = evaluate(create_mixed_system(topology, system, peptide, MODEL).system, positions)[0]
    forms = ("resname ACE ALA NME", (i for i in peptide), np.array(peptide), tuple(peptide))
    for atoms in forms:
        mixed = potential.createMixedSystem(topology, system, atoms)
        assert evaluate(mixed, positions)[0] == pytest.approx(expected, abs=ENERGY)
    info = potential.createMixedSystem(topology, system, peptide, returnInfo=True, rule="all-in-set")
    assert info["topology"].getNumAtoms() == info["system"].getNumParticles() == len(positions)
    assert list(info["oldToNew"]) == list(range(len(positions)))
    with pytest.raises(TypeError, match="does not know rul; its keywords are"):
        potential.createMixedSystem(topology, system, peptide, rul="gromacs")


@pytest.mark.slow
def test_remove_constraints_is_heeded_through_openmm_ml():
    pdb = app.PDBFile(str(PEPTIDE))
    system = app.ForceField("amber14-all.xml").createSystem(pdb.topology, constraints=app.HBonds)
    potential = MLPotential("nequip", modelPath=str(MODEL))
    assert system.getNumConstraints() == 12
    for atoms in (lambda: range(22), lambda: (i for i in range(22)), lambda: "all"):
        assert potential.createMixedSystem(pdb.topology, system, atoms()).getNumConstraints() == 0
        kept = potential.createMixedSystem(pdb.topology, system, atoms(), removeConstraints=False)
        assert kept.getNumConstraints() == 12


@pytest.mark.slow
def test_molecules_stay_molecules(solvated):
    topology, system, positions = solvated
    for declare, expected in ((True, 1), (False, 22)):
        mixed = create_mixed_system(topology, system, range(22), MODEL, declareMolecules=declare)
        context = openmm.Context(
            mixed.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        )
        molecules = [molecule for molecule in context.getMolecules() if min(molecule) < 22]
        assert len(molecules) == expected
        assert (MOLECULES_NAME in [force.getName() for force in mixed.system.getForces()]) == declare


def test_bad_input(tmp_path, solvated):
    topology, system, _ = solvated
    with pytest.raises(ValueError, match="2 models were given for 1 regions"):
        create_mixed_system(topology, system, range(22), [MODEL, ALLEGRO])
    with pytest.raises(ValueError, match="atomTypes has 3 entries; expected one for each of the 22"):
        create_mixed_system(topology, system, range(22), MODEL, atomTypes=[0, 1, 2])
    no_hydrogen = write_toy(tmp_path / "toy.nequip.pth", types="C N O")
    with pytest.raises(ValueError, match="a link cap needs the model type 'H'.*linkType="):
        build(topology, system, "name CB", no_hydrogen)
    with pytest.raises(TypeError, match="create_mixed_system does not know typo"):
        create_mixed_system(topology, system, range(22), MODEL, typo=1)
