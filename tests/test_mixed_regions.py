"""Regions that count something twice or lose something: second models, several molecules, whole boxes."""

import warnings

import numpy as np
import openmm
import pytest
from conftest import BACKENDS, DATA
from openmm import app, unit
from openmmml import MLPotential
from test_mixed_standin import (
    DIPEPTIDE,
    SIDE_CHAIN,
    build,
    dipeptide,
    evaluate,
    solution,
    solution_system,
    vacuum_system,
)

from openmm_nequip import create_mixed_system

MODEL = str(DATA / "tiny-nequip.nequip.pth")
ENERGY_TOLERANCE = 1e-6  # kJ/mol
APART_NM = 3.0
COULOMB = 138.93545764438198  # kJ mol⁻¹ nm e⁻²


def mix(topology, system, atoms, **options):
    """The package's own entry, without the warning that a cut residue's charge is no whole number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        return create_mixed_system(topology, system, atoms, MODEL, **options)


# ---- a second model


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("again", [SIDE_CHAIN, DIPEPTIDE, [10, 11], [8]], ids=["same", "larger", "part", "one atom"])
def test_a_second_build_over_the_same_atoms_is_refused(backend, again):
    topology, _ = dipeptide()
    first = mix(topology, vacuum_system(), SIDE_CHAIN, backend=backend).system
    if backend == "TorchForce" and again == [8]:
        pytest.skip("the atoms of a TorchForce cannot be read, and a part of one atom leaves no other trace")
    for system in (first, openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(first))):
        with pytest.raises(ValueError, match="already holds a model's force.*count these atoms twice"):
            mix(topology, system, again, allowSharedCaps=True)


@pytest.mark.parametrize("options", [{"interpolate": True}, {"declareMolecules": False}])
def test_a_second_build_is_refused_whatever_the_first(options):
    topology, _ = dipeptide()
    first = mix(topology, vacuum_system(), DIPEPTIDE, **options).system
    with pytest.raises(ValueError, match="count these atoms twice"):
        mix(topology, first, DIPEPTIDE)


def test_a_pure_system_is_no_force_field():
    topology, _ = dipeptide()
    potential = MLPotential("nequip", modelPath=MODEL)
    for options in ({}, {"declareMolecules": False}):
        pure = potential.createSystem(topology, **options)
        with pytest.raises(ValueError, match="already holds a model's force"):
            potential.createMixedSystem(topology, pure, DIPEPTIDE)


def test_a_second_region_elsewhere_may_follow():
    topology, points = solution()
    both = mix(topology, solution_system(), [DIPEPTIDE, [22, 23, 24]]).system
    first = mix(topology, solution_system(), DIPEPTIDE).system
    after = mix(topology, first, [22, 23, 24]).system
    assert abs(evaluate(after, points)[0] - evaluate(both, points)[0]) < 1e-3  # two sums in another order


# ---- several molecules in one region


def two_copies(apart=APART_NM):
    """Two dipeptides in vacuum: topology, System and positions in nm."""
    topology, points = dipeptide()
    modeller = app.Modeller(topology, points * unit.nanometer)
    modeller.add(topology, (points + [apart, 0.0, 0.0]) * unit.nanometer)
    system = app.ForceField("amber99sbildn.xml").createSystem(modeller.topology, constraints=None)
    return modeller.topology, system, np.vstack([points, points + [apart, 0.0, 0.0]])


BOTH = range(44)
LOST = r"Region 0 holds 2 molecules\. The force field's interactions between them are gone, and the model has none"


def mutual_energy(system, points):
    """Coulomb and Lennard-Jones energy between the two copies in kJ/mol, pair by pair."""
    force = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    rows = [[value._value for value in force.getParticleParameters(i)] for i in BOTH]
    energy = 0.0
    for i in DIPEPTIDE:
        for j in range(22, 44):
            r = np.linalg.norm(points[i] - points[j])
            s6 = ((rows[i][1] + rows[j][1]) / 2 / r) ** 6
            energy += COULOMB * rows[i][0] * rows[j][0] / r + 4 * np.sqrt(rows[i][2] * rows[j][2]) * (s6 * s6 - s6)
    return energy


def test_split_regions_keep_what_molecules_feel_of_each_other():
    topology, system, points = two_copies()
    with pytest.warns(UserWarning, match=LOST + r".*nm apart.*splitRegions=True"):
        one = mix(topology, system, BOTH, positions=points)
    split = mix(topology, system, BOTH, positions=points, splitRegions=True)
    two = mix(topology, system, [DIPEPTIDE, list(range(22, 44))], positions=points)
    assert [region.atoms for region in split.regions] == [region.atoms for region in two.regions]
    energies = [evaluate(mixed.system, points)[0] for mixed in (one, split, two)]
    assert abs(energies[1] - energies[2]) < ENERGY_TOLERANCE
    assert abs(energies[1] - energies[0] - mutual_energy(system, points)) < 1e-4


def test_molecules_within_the_cutoff_are_no_warning():
    topology, system, points = two_copies(apart=0.35)
    report = mix(topology, system, BOTH, positions=points).report
    assert any("holds 2 molecules" in note for note in report.notes)


def test_copies_without_positions_are_warned_about_and_waters_noted():
    topology, system, _ = two_copies()
    with pytest.warns(UserWarning, match=LOST):
        mix(topology, system, BOTH)
    assert "holds 2 molecules" in str(mix(topology, system, BOTH, splitRegions=False).report)
    topology, _ = solution()
    report = mix(topology, solution_system(), range(22, 28)).report
    assert any("holds 2 molecules" in note for note in report.notes)


def test_split_regions_with_models_and_types_for_each():
    """The types follow their atoms, in whatever order these were selected."""
    topology, system, points = two_copies()
    order = [i for pair in zip(DIPEPTIDE, range(22, 44), strict=True) for i in pair]  # from one and the other in turn
    symbols = [atom.element.symbol for atom in topology.atoms()]
    split = mix(topology, system, order, splitRegions=True, atomTypes=[symbols[i] for i in order])
    plain = mix(topology, system, BOTH, splitRegions=True)
    assert abs(evaluate(split.system, points)[0] - evaluate(plain.system, points)[0]) < ENERGY_TOLERANCE
    first, second = str(DATA / "tiny-nequip.nequip.pth"), str(DATA / "tiny-nequip.nequip.zip")
    several = create_mixed_system(topology, system, [list(range(22)), list(range(22, 44))], [first, second],
                                  splitRegions=True)  # fmt: skip
    assert len(several.regions) == 2


def test_split_sites_follow_their_molecules():
    topology, _ = solution("tip4pew")
    split = build(topology, solution_system("tip4pew"), range(22, 30), splitRegions=True)
    assert [(region.atoms, region.sites) for region in split.regions] == [((22, 23, 24), (25,)), ((26, 27, 28), (29,))]


# ---- everything in the region


def test_what_a_whole_box_keeps_is_said():
    """Dispersion correction and lattice sums are not the model's: the difference from the pure System is named."""
    topology, _ = solution()
    everything = range(topology.getNumAtoms())
    report = build(topology, solution_system(), everything, splitRegions=False).report
    (note,) = [note for note in report.notes if "this is not the pure System" in note]
    assert "dispersion correction of NonbondedForce" in note and "between the periodic images" in note
    report = build(topology, solution_system(), range(22)).report
    assert not any("pure System" in note for note in report.notes)
    report = build(dipeptide()[0], vacuum_system(), DIPEPTIDE).report
    assert not any("pure System" in note for note in report.notes)
    system = solution_system(method=app.CutoffPeriodic)
    force = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    force.setUseDispersionCorrection(False)
    report = build(topology, system, everything, splitRegions=False).report
    assert not any("pure System" in note for note in report.notes)


# ---- topologies of other Systems


def test_a_topology_in_another_order_is_refused():
    """Elements against masses; repartitioned and frozen masses are none of this."""
    topology, _ = dipeptide()
    other = app.Topology()
    residue = other.addResidue("MOL", other.addChain())
    order = list(topology.atoms())
    order[4], order[7] = order[7], order[4]
    for atom in order:
        other.addAtom(atom.name, atom.element, residue)
    with pytest.raises(ValueError, match="is a hydrogen in the topology and has a mass of 12.01.*same order"):
        build(other, vacuum_system(), DIPEPTIDE)
    build(topology, vacuum_system(hydrogenMass=4.0), DIPEPTIDE)
    frozen = vacuum_system()
    for i in range(8):
        frozen.setParticleMass(i, 0.0)
    build(topology, frozen, DIPEPTIDE)


def test_ions_under_a_wrong_element_are_refused():
    """Readers of topologies without atomic numbers take SOD for sulfur."""
    topology, system, _ = two_copies()
    ion = topology.addAtom("SOD", app.Element.getBySymbol("S"), topology.addResidue("SOD", topology.addChain()))
    system.addParticle(22.98977)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.addParticle(1.0, 0.25, 0.1)
    with pytest.raises(ValueError, match="Atom 44 .SOD of SOD. is S in the topology and has the mass of Na"):
        build(topology, system, [44])
    ion.element = app.Element.getBySymbol("Na")
    build(topology, system, [44])
