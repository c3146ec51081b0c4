"""What a topology says and does not say: boxes that are none, periodic restraints, frameworks, extra particles."""

import io
from pathlib import Path

import numpy as np
import openmm
import pytest
from conftest import DATA
from openmm import app, unit
from openmmml import MLPotential
from toy import evaluate

import openmm_nequip
from openmm_nequip import create_mixed_system
from openmm_nequip.choices import FORCE_NAME, MOLECULES_NAME
from openmm_nequip.networks import endless_bonds

MODEL = str(DATA / "tiny-nequip.nequip.pth")
PEPTIDE = (Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb").read_text()
DUMMY_CELL = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n"
ENERGY_TOLERANCE = 1e-6  # kJ/mol
CARBON = app.Element.getBySymbol("C")


def peptide(head=""):
    return app.PDBFile(io.StringIO(head + PEPTIDE))


def points(file):
    return np.array(file.positions.value_in_unit(unit.nanometer))


# ---- boxes


def test_the_cell_of_one_angstrom_is_no_box():
    plain, dummy = peptide(), peptide(DUMMY_CELL)
    assert dummy.topology.getPeriodicBoxVectors() is not None
    systems = [MLPotential("nequip", modelPath=MODEL).createSystem(file.topology) for file in (plain, dummy)]
    energies = [evaluate(system, points(plain))[0] for system in systems]
    assert abs(energies[1] - energies[0]) < ENERGY_TOLERANCE
    assert not systems[1].usesPeriodicBoundaryConditions()


def test_the_cell_of_one_angstrom_in_a_hybrid_system():
    energies = []
    for file in (peptide(), peptide(DUMMY_CELL)):
        system = app.ForceField("amber14-all.xml").createSystem(file.topology)
        energies.append(evaluate(create_mixed_system(file.topology, system, range(22), MODEL).system, points(file))[0])
    assert abs(energies[1] - energies[0]) < ENERGY_TOLERANCE


def tether():
    force = openmm.CustomExternalForce("1000*periodicdistance(x,y,z,0,0,0)^2")
    force.addParticle(0, [])
    force.setName("Tether")
    return force


def mixed(file, system):
    return create_mixed_system(file.topology, system, range(22), MODEL).system


def test_a_periodic_restraint_does_not_make_vacuum_periodic():
    file = peptide()
    system = app.ForceField("amber14-all.xml").createSystem(file.topology)
    without = evaluate(mixed(file, system), points(file))[0]
    alone = evaluate(system, points(file))[0]
    system.addForce(tether())
    assert system.usesPeriodicBoundaryConditions()
    far = points(file) + 5.0  # in the default box of 2 nm nothing else would change
    restrained = mixed(file, system)
    model = next(force for force in restrained.getForces() if force.getName() == FORCE_NAME)
    assert not model.usesPeriodicBoundaryConditions()
    bias = evaluate(system, points(file))[0] - alone
    assert abs(evaluate(restrained, points(file))[0] - without - bias) < ENERGY_TOLERANCE
    stretched = points(file) * 1.0
    stretched[:, 0] *= 4.0  # longer than half the default box: images would be nearer than the atoms themselves
    assert np.isfinite(evaluate(restrained, far)[0]) and np.isfinite(evaluate(restrained, stretched)[0])


def test_doubtful_periodicity_is_an_error():
    file = peptide()
    system = app.ForceField("amber14-all.xml").createSystem(file.topology)
    system.addForce(tether())
    boxed = peptide("CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1           1\n")
    with pytest.raises(ValueError, match="topology has a box and Tether use periodic.*non-bonded forces do not"):
        mixed(boxed, system)
    bare = openmm.System()
    for _ in range(22):
        bare.addParticle(12.0)
    bare.addForce(tether())
    with pytest.raises(ValueError, match="Tether use periodic.*OpenMM's default box of 2 nm"):
        mixed(file, bare)


def test_a_periodic_system_stays_periodic():
    boxed = peptide("CRYST1   30.000   30.000   30.000  90.00  90.00  90.00 P 1           1\n")
    system = app.ForceField("amber14-all.xml").createSystem(boxed.topology, nonbondedMethod=app.PME)
    for restrained in (False, True):
        if restrained:
            system.addForce(tether())
        found = mixed(boxed, system)
        assert next(f for f in found.getForces() if f.getName() == FORCE_NAME).usesPeriodicBoundaryConditions()


# ---- frameworks


def cubic(n, spacing=0.16, across=True, box=None):
    """A primitive cubic framework of carbon: topology and positions in nm."""
    def index(i, j, k):
        return (i % n) * n * n + (j % n) * n + k % n

    topology = app.Topology()
    residue = topology.addResidue("FRM", topology.addChain())
    atoms = [topology.addAtom(f"C{i}", CARBON, residue) for i in range(n**3)]
    for i, j, k in np.ndindex(n, n, n):
        for axis in range(3):
            step = [i, j, k]
            step[axis] += 1
            if across or step[axis] < n:
                topology.addBond(atoms[index(i, j, k)], atoms[index(*step)])
    edge = box or n * spacing
    topology.setPeriodicBoxVectors(np.eye(3) * edge * unit.nanometer)
    positions = np.array(list(np.ndindex(n, n, n))) * spacing
    return topology, positions + np.random.default_rng(0).normal(0, 0.002, positions.shape)


def declared(system):
    return [force for force in system.getForces() if force.getName() == MOLECULES_NAME]


def test_a_framework_without_end_is_no_molecule():
    """A barostat scales it, as it does without bonds."""
    topology, positions = cubic(4)
    with pytest.warns(UserWarning, match="192 bonds of the topology.*make a network that fills the box"):
        system = MLPotential("nequip", modelPath=MODEL).createSystem(topology)
    assert not declared(system)
    system.addForce(openmm.MonteCarloBarostat(20000, 300, 1))
    for i in range(len(positions)):
        system.setParticleMass(i, 1e6)  # only the barostat moves anything
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 1, 1e-6), reference)
    context.setPositions(positions)
    assert len(context.getMolecules()) == 64
    context.getIntegrator().step(100)
    state = context.getState(positions=True)
    edge = state.getPeriodicBoxVectors()[0][0]._value
    moved = state.getPositions(asNumpy=True)._value
    assert abs(edge - 0.64) > 1e-4
    inside, across = moved[16, 0] - moved[0, 0], edge - (moved[48, 0] - moved[0, 0])
    start = positions[16, 0] - positions[0, 0], 0.64 - (positions[48, 0] - positions[0, 0])
    assert abs(inside / start[0] - across / start[1]) < 0.02


@pytest.mark.parametrize("make", [lambda: cubic(4, across=False, box=3.0), lambda: cubic(2, across=False, box=2.0)])
def test_a_cluster_in_a_large_box_is_a_molecule(make):
    system = MLPotential("nequip", modelPath=MODEL).createSystem(make()[0])
    (force,) = declared(system)
    assert force.getNumBonds() == make()[0].getNumBonds()


def test_declaring_nothing_ends_the_warning():
    MLPotential("nequip", modelPath=MODEL).createSystem(cubic(4)[0], declareMolecules=False)


def test_networks_by_number():
    """Diamond and a chain with rings at melt density, without positions."""
    ring = [(i, i + 1) for i in range(5)] + [(5, 0)]
    chain = [(i + 6 * k, j + 6 * k) for k in range(40) for i, j in ring] + [(6 * k, 6 * k + 9) for k in range(39)]
    assert endless_bonds(240, chain, 2.5) == []  # bridges join its rings
    water = [(3 * k, 3 * k + j) for k in range(100) for j in (1, 2)]
    assert endless_bonds(300, water, 3.0) == []
    bonds = [(b.atom1.index, b.atom2.index) for b in cubic(4)[0].bonds()]
    assert endless_bonds(64, bonds, 0.262) == bonds and endless_bonds(64, bonds, 27.0) == []
    both = [*bonds, *[(i + 64, j + 64) for i, j in water]]
    assert endless_bonds(364, both, 4.0) == bonds


# ---- particles that are no atoms


@pytest.mark.parametrize("names", [["C1", "LP1"], ["CL1", "LP"], ["O1", "EP"], ["C1", "DC1"]])
def test_extra_particles_with_an_element_are_refused(names):
    """OpenMM's PSF reader gives lone pairs and Drude particles the element of the atom before."""
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    for name in names:
        topology.addAtom(name, CARBON, residue)
    with pytest.raises(ValueError, match=f"atom 1 \\({names[1]} of LIG\\) is a lone pair or another extra particle"):
        MLPotential("nequip", modelPath=MODEL).createSystem(topology)
    MLPotential("nequip", modelPath=MODEL).createSystem(topology, atomTypes=["C", "C"])
