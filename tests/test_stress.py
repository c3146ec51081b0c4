"""Stress and pressure: strain differences, CP2K's number, hybrid Systems, OpenMM's barostats, the reporter."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import BACKENDS, DATA
from crystals import awkward_cells, random_rotation, rattled, rotated
from openmmml import MLPotential
from toy import lattice, make_topology, reference_energy, write_toy

import openmm_nequip
from openmm_nequip import create_mixed_system, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.crystal import fromAse, reduce_cell
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.reporters import StressReporter
from openmm_nequip.stress import StressCalculator
from openmm_nequip.units import BAR_PER_KJ_PER_MOL_PER_NM3, Units

pytestmark = pytest.mark.torchforce_stack

#: Stress against central differences, relative to its largest component, float64.
STRAIN_RELATIVE = 1e-5
#: Two ways to one pressure where one of them takes differences of a smooth energy, bar.
SMOOTH_BAR = 0.1
#: Against OpenMM's own pressure of one System on one platform: it takes its kinetic energy in single precision.
OPENMM_BAR = 0.05
#: Central differences of second order on a network of random weights under some 1e5 bar.
DIFFERENCES_BAR = 1.0
CP2K_PRESSURE_BAR = 34101.5358
CP2K_BAR = 0.01
ZIP = DATA / "tiny-nequip.nequip.zip"
SCRIPTED = DATA / "tiny-nequip.nequip.pth"
PEPTIDE = Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb"


def five_points(energy, step):
    """Derivative at 0 to fourth order in the step."""
    return (8 * (energy(step) - energy(-step)) - (energy(2 * step) - energy(-2 * step))) / (12 * step)


def stress_by_strain(evaluator, positions, box, step=1e-4):
    """dE/d(strain)/V in bar by differences, for symmetric strains of a box of any form."""
    stress = np.zeros((3, 3))
    for a in range(3):
        for b in range(a + 1):
            strain = np.zeros((3, 3))
            strain[a, b] += 0.5
            strain[b, a] += 0.5

            def energy(size, strain=strain):
                deform = np.eye(3) + size * strain
                return evaluator(positions @ deform, box @ deform)[0]

            stress[a, b] = stress[b, a] = five_points(energy, step)
    return stress / abs(np.linalg.det(box)) * BAR_PER_KJ_PER_MOL_PER_NM3


def whole(model, n_atoms):
    """The evaluator of a model on so many atoms of its first type, in a periodic box."""
    return Evaluator(model, Units(), Placement(n_atoms, np.zeros(n_atoms, dtype=np.int64)), True, 0.0)


ARGON = lattice(2, 0.38)
STRAINED_ARGON = {
    "orthorhombic": np.diag([1.0, 1.1, 0.95]),
    "triclinic": np.array([[1.0, 0, 0], [0.3, 1.05, 0], [-0.2, 0.25, 0.9]]),
    "left-handed and turned": np.diag([1.0, 1.1, -0.95]) @ random_rotation(1).T,
}


@pytest.mark.parametrize("shape", STRAINED_ARGON)
def test_stress_of_lennard_jones_is_the_strain_derivative(shape, tmp_path):
    positions, box = (array @ STRAINED_ARGON[shape] for array in ARGON)
    model = load_model(write_toy(tmp_path / "toy.pth", types="Ar"))
    evaluator = whole(model, len(positions))
    out = evaluator.evaluate(positions, box)
    expected = stress_by_strain(evaluator, positions, box)
    assert np.abs(out["stress"] - expected).max() < STRAIN_RELATIVE * np.abs(expected).max()
    assert np.abs(expected - np.diag(np.diag(expected))).max() > 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("path", [ZIP, DATA / "tiny-allegro.nequip.zip", SCRIPTED], ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["mp-47", "mp-66", "mp-169", "skewed far"])
def test_stress_of_networks_is_the_strain_derivative(path, name):
    """Orthorhombic (mp-66) and triclinic cells, in a frame of their own."""
    atoms = rattled(name) if name.startswith("mp") else awkward_cells()[name]
    atoms = rotated(atoms, random_rotation(6))
    model = load_model(path, compile=False)
    types = np.array([model.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    evaluator = Evaluator(model, Units(), Placement(len(types), types), True, 0.0)
    positions, box = atoms.positions / 10, atoms.cell[:] / 10
    expected = stress_by_strain(evaluator, positions, box)
    assert (
        np.abs(evaluator.evaluate(positions, box)["stress"] - expected).max() < STRAIN_RELATIVE * np.abs(expected).max()
    )


def state_of(system, positions, velocities=None, platform="Reference"):
    """Context and State."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    if velocities is not None:
        context.setVelocities(velocities)
    return context, context.getState(positions=True, velocities=True)


@pytest.mark.parametrize("shape", ["orthorhombic", "triclinic"])
def test_system_of_the_model_alone_on_every_backend(shape, backend, tmp_path):
    """By the virial, or where the backend hides it by differences: the same stress, and that of brute force."""
    positions, box = (array @ STRAINED_ARGON[shape] for array in ARGON)
    positions, box = reduce_cell(positions, box)
    path = write_toy(tmp_path / "toy.pth", types="Ar")
    topology = make_topology(["Ar"] * len(positions), box)
    system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, backend=backend)
    stress = StressCalculator(system).compute(state_of(system, positions)[1])
    assert not stress.kinetic.any() and stress.pressure == stress.potentialPressure

    def energy(size):
        return reference_energy(positions * (1 + size), box * (1 + size))

    pressure = -five_points(energy, 1e-4) / (3 * np.linalg.det(box)) * BAR_PER_KJ_PER_MOL_PER_NM3
    assert stress.pressure == pytest.approx(pressure, abs=SMOOTH_BAR)
    model = load_model(path)
    evaluator = whole(model, len(positions))
    assert np.abs(stress.total - stress_by_strain(evaluator, positions, box)).max() < SMOOTH_BAR


def test_differences_at_the_edge_of_the_reduced_form(tmp_path):
    """mp-47 has b_x = -a_x/2 and leaves the form under every second shear; a user's own force is no NequIP force."""
    crystal = fromAse(rattled("mp-47"))
    potential = MLPotential("nequip", modelPath=str(ZIP), compile=False)
    system = potential.createSystem(crystal.topology, backend="PythonForce")
    by_virial = StressCalculator(system)
    positions, box = crystal.positions._value, crystal.box._value
    expected = by_virial.potential(positions, box)
    hidden = openmm.CustomCVForce("model")
    hidden.addCollectiveVariable("model", openmm.XmlSerializer.clone(system.getForce(0)))
    wrapped = openmm.System()
    for _ in range(4):
        wrapped.addParticle(12.0)
    wrapped.setDefaultPeriodicBoxVectors(*crystal.box)
    wrapped.addForce(hidden)
    by_differences = StressCalculator(wrapped, platform="Reference")
    assert by_differences.usesDifferences and not by_virial.usesDifferences
    assert np.abs(by_differences.potential(positions, box) - expected).max() < DIFFERENCES_BAR
    assert np.abs(expected).max() > 1e4


@pytest.mark.slow
def test_cp2k_water_box(cp2k, backend):
    atoms = ase.io.read(cp2k / "water-bulk.xyz")
    topology = make_topology(atoms.get_chemical_symbols(), np.eye(3) * 0.98528)
    potential = MLPotential("nequip", modelPath=str(cp2k / "waterscan-neq0.16.nequip.pth"))
    system = potential.createSystem(topology, backend=backend)
    stress = StressCalculator(system).compute(state_of(system, atoms.positions / 10)[1])
    tolerance = CP2K_BAR if backend == "PythonForce" else 1.0
    assert stress.pressure == pytest.approx(CP2K_PRESSURE_BAR, abs=tolerance)


def test_kinetic_part_is_that_of_an_ideal_gas(tmp_path):
    positions, box = ARGON
    system = MLPotential("nequip", modelPath=str(write_toy(tmp_path / "toy.pth", types="Ar"))).createSystem(
        make_topology(["Ar"] * 8, box)
    )
    velocities = np.random.default_rng(1).normal(0, 0.3, (8, 3))
    _, state = state_of(system, positions, velocities)
    stress = StressCalculator(system).compute(state)
    mass = system.getParticleMass(0)
    kinetic = mass._value / 2 * (velocities**2).sum() * unit.kilojoule_per_mole
    volume = state.getPeriodicBoxVolume() * unit.AVOGADRO_CONSTANT_NA
    assert stress.pressure - stress.potentialPressure == pytest.approx(
        (2 * kinetic / 3 / volume).value_in_unit(unit.bar), rel=1e-6
    )
    tensor = -mass._value * velocities.T @ velocities / np.linalg.det(box) * BAR_PER_KJ_PER_MOL_PER_NM3
    assert np.allclose(stress.kinetic, tensor, rtol=1e-9)
    assert np.allclose(stress.total, stress.kinetic + stress.potential)


# ---- hybrid Systems


def smooth_force_field(forcefield, topology, **options):
    """A System without steps or kinks at the cutoff: a switching function, a reaction field of infinite dielectric."""
    system = forcefield.createSystem(
        topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=0.9, switchDistance=0.7, **options
    )
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    nonbonded.setReactionFieldDielectric(1e12)
    return system


@pytest.fixture(scope="module")
def solvated():
    """Alanine dipeptide in water: topology, a smooth force field with rigid water, positions (n, 3) nm, velocities."""
    pdb = app.PDBFile(str(PEPTIDE))
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.9, 1.9, 1.9) * unit.nanometer)
    system = smooth_force_field(forcefield, modeller.topology, constraints=app.HBonds, rigidWater=True)
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context, 100.0, 50)
    context.setVelocitiesToTemperature(300, 1)
    state = context.getState(positions=True, velocities=True)
    velocities = state.getVelocities(asNumpy=True)._value.copy()
    return modeller.topology, system, state.getPositions(asNumpy=True)._value.copy(), velocities


def hybrid(solvated, atoms="resname ALA ACE NME", backend="PythonForce", **options):
    topology, system, *_ = solvated
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return create_mixed_system(topology, system, atoms, SCRIPTED, backend=backend, **options).system


def volume_derivative(system, positions, rigid_residues, parameters=None, step=1e-4):
    """-dE/dV in bar: waters, and atoms that constraints join outside them, move by their centre of mass."""
    context, state = state_of(system, positions)
    for name, value in (parameters or {}).items():
        context.setParameter(name, value)
    masses = np.array([system.getParticleMass(i)._value for i in range(len(positions))])[:, None]
    centres = positions.copy()
    for members in rigid_residues:
        centres[members] = (masses[members] * positions[members]).sum(0) / masses[members].sum()
    box = np.array(state.getPeriodicBoxVectors()._value)

    def energy(size):
        context.setPeriodicBoxVectors(*(box * (1 + size)))
        context.setPositions(positions + size * centres)
        return context.getState(energy=True).getPotentialEnergy()._value

    return -five_points(energy, step) / (3 * np.linalg.det(box)) * BAR_PER_KJ_PER_MOL_PER_NM3


def waters(topology):
    return [[atom.index for atom in residue.atoms()] for residue in topology.residues() if residue.name == "HOH"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"interpolate": True}], ids=["plain", "lambda"])
def test_hybrid_pressure_is_the_volume_derivative(solvated, backend, options):
    topology, _, positions, velocities = solvated
    system = hybrid(solvated, backend="PythonForce" if options else backend, **options)
    parameters = {"lambda_interpolate": 0.4} if options else {}
    _, state = state_of(system, positions, velocities)
    calculator = StressCalculator(system, platform="Reference", strain=1e-4)
    stress = calculator.compute(state, parameters)
    expected = volume_derivative(system, positions, waters(topology), parameters)
    assert stress.potentialPressure == pytest.approx(expected, abs=SMOOTH_BAR)
    alone = calculator.compute(state, parameters, tensor=False)
    assert alone.pressure == pytest.approx(stress.pressure, abs=SMOOTH_BAR)
    # Rigid waters and the free atoms of the peptide, whose constraints the mixed System has removed.
    masses = np.array([system.getParticleMass(i)._value for i in range(len(positions))])[:, None]
    rigid, free = waters(topology), range(22)
    twice_kinetic = sum((masses[i] * velocities[i] ** 2).sum() for i in free)
    twice_kinetic += sum(
        (masses[m] * velocities[m]).sum(0) @ (masses[m] * velocities[m]).sum(0) / masses[m].sum() for m in rigid
    )
    volume = np.linalg.det(state.getPeriodicBoxVectors(asNumpy=True)._value)
    kinetic = twice_kinetic / 3 / volume * BAR_PER_KJ_PER_MOL_PER_NM3
    assert stress.pressure - stress.potentialPressure == pytest.approx(kinetic, rel=1e-9)


def test_hybrid_pressure_with_cut_bonds(solvated):
    """Caps do not follow a strain, so the model's part comes from differences as well."""
    topology, _, positions, _ = solvated
    system = hybrid(solvated, "resname ALA and (name CA HA CB HB1 HB2 HB3)", removeConstraints=True)
    calculator = StressCalculator(system, platform="Reference", strain=1e-4)
    assert not calculator.usesVirial
    pressure = (
        -np.trace(calculator.potential(positions, state_of(system, positions)[1].getPeriodicBoxVectors()._value)) / 3
    )
    bonds = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
    groups: list[set[int]] = [set(members) for members in waters(topology)]
    peptide = {i: {i} for i in range(22)}
    for i, j in bonds:
        if i < 22 and j < 22:
            joined = peptide[i] | peptide[j]
            for k in joined:
                peptide[k] = joined
    groups += [set(g) for g in {tuple(sorted(g)) for g in peptide.values()} if len(g) > 1]
    assert len(groups) > len(waters(topology)), "methyl groups and N-H outside the region are constrained"
    assert pressure == pytest.approx(volume_derivative(system, positions, [sorted(g) for g in groups]), abs=SMOOTH_BAR)


def test_molecular_pressure_is_that_of_openmms_barostat(solvated):
    _, _, positions, velocities = solvated
    system = hybrid(solvated)
    barostat = openmm.MonteCarloBarostat(1.0, 300.0)
    system.addForce(barostat)
    context, state = state_of(system, positions, velocities)
    theirs = barostat.computeCurrentPressure(context)
    theirs = theirs.value_in_unit(unit.bar) if unit.is_quantity(theirs) else theirs
    ours = StressCalculator(system, scaled="molecules", platform="Reference")
    assert ours.compute(state, tensor=False).pressure == pytest.approx(theirs, abs=SMOOTH_BAR + OPENMM_BAR)
    # The model's part comes from its virial and its forces here, and yet molecules are what moves.
    assert ours.usesVirial and abs(theirs - StressCalculator(system).compute(state, tensor=False).pressure) > 10.0


def test_diagonal_is_that_of_openmms_anisotropic_barostat(solvated):
    _, _, positions, velocities = solvated
    system = hybrid(solvated)
    barostat = openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(1, 1, 1), 300.0)
    system.addForce(barostat)
    context, state = state_of(system, positions, velocities)
    theirs = barostat.computeCurrentPressure(context)
    theirs = theirs.value_in_unit(unit.bar) if unit.is_quantity(theirs) else theirs
    ours = StressCalculator(system, scaled="molecules", platform="Reference").compute(state)
    assert np.allclose(-np.diag(ours.total), list(theirs), rtol=0, atol=1.0)


def test_whole_tensor_of_moving_molecules_by_virial_and_by_differences(solvated):
    """The model's part from its virial and forces, and from differences where a CustomCVForce hides the model."""
    _, _, positions, _ = solvated
    system = hybrid(solvated)
    box = state_of(system, positions)[1].getPeriodicBoxVectors(asNumpy=True)._value
    first = StressCalculator(system, "molecules", "Reference", strain=1e-4)
    hidden = openmm.XmlSerializer.clone(system)
    index = [type(force).__name__ for force in hidden.getForces()].index("PythonForce")
    wrapper = openmm.CustomCVForce("model")
    wrapper.addCollectiveVariable("model", openmm.XmlSerializer.clone(hidden.getForce(index)))
    hidden.removeForce(index)
    hidden.addForce(wrapper)
    second = StressCalculator(hidden, "molecules", "Reference", strain=1e-4)
    assert first.usesVirial and not second.usesVirial
    tensor = first.potential(positions, box)
    assert np.abs(tensor - second.potential(positions, box)).max() < SMOOTH_BAR
    assert np.abs(tensor - np.diag(np.diag(tensor))).max() > 10.0


def test_virtual_sites_and_whole_tensor_of_a_force_field():
    """TIP4P: the massless site follows its molecule. All six components against strains of the box's own form."""
    modeller = app.Modeller(app.Topology(), [])
    forcefield = app.ForceField("amber14/tip4pew.xml")
    modeller.addSolvent(forcefield, model="tip4pew", boxSize=openmm.Vec3(1.9, 1.9, 1.9) * unit.nanometer)
    system = smooth_force_field(forcefield, modeller.topology)
    context, _ = state_of(system, modeller.positions, platform="CPU")
    openmm.LocalEnergyMinimizer.minimize(context, 100.0, 50)
    positions = context.getState(positions=True).getPositions(asNumpy=True)._value.copy()
    _, state = state_of(system, positions)
    stress = StressCalculator(system, platform="Reference", strain=1e-4).compute(state)
    expected = volume_derivative(system, positions, waters(modeller.topology))
    assert stress.pressure == pytest.approx(expected, abs=SMOOTH_BAR)
    assert np.allclose(stress.total, stress.total.T)


# ---- reporter and command line


def test_reporter_writes_the_stress_in_the_users_frame(tmp_path):
    atoms = rotated(rattled("mp-169"), random_rotation(4))
    crystal = fromAse(atoms)
    system = MLPotential("nequip", modelPath=str(ZIP), compile=False).createSystem(
        crystal.topology, backend="PythonForce"
    )
    simulation = app.Simulation(
        crystal.topology, system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatformByName("Reference")
    )
    simulation.context.setPositions(crystal.positions)
    simulation.context.setVelocitiesToTemperature(300, 3)
    simulation.reporters.append(reporter := StressReporter(tmp_path / "stress.csv", 2, crystal))
    simulation.reporters.append(short := StressReporter(tmp_path / "pressure.csv", 4, tensor=False))
    simulation.step(4)
    reporter.close()
    short.close()
    with open(tmp_path / "stress.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    last = {key: float(value) for key, value in rows[-1].items()}
    state = simulation.context.getState(positions=True, velocities=True)
    frame = crystal.toAse(state.getPositions(asNumpy=True), state.getPeriodicBoxVectors())
    model = load_model(ZIP, compile=False)
    types = np.full(4, model.info.type_names.index("C"))
    evaluator = Evaluator(model, Units(), Placement(4, types), True, 0.0)
    stress = evaluator.evaluate(frame.positions / 10, frame.cell[:] / 10)["stress"]
    velocities = crystal.vectorsToUser(state.getVelocities(asNumpy=True)._value)
    kinetic = 12.01078 * velocities.T @ velocities / (frame.get_volume() * 1e-3) * BAR_PER_KJ_PER_MOL_PER_NM3
    for name, (a, b) in {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}.items():
        assert last[f"stress_{name}_bar"] == pytest.approx((stress - kinetic)[a, b], abs=1e-6 * np.abs(stress).max())
    assert last["pressure_bar"] == pytest.approx(np.trace(kinetic - stress) / 3, rel=1e-6)
    assert last["pressure_bar"] == pytest.approx(last["pressure_potential_bar"] + last["pressure_kinetic_bar"])
    assert last["volume_nm3"] == pytest.approx(frame.get_volume() * 1e-3) and last["time_ps"] == pytest.approx(0.002)
    with open(tmp_path / "pressure.csv") as file:
        only = list(csv.DictReader(file))
    assert len(only) == 1 and list(only[0])[-1] == "pressure_kinetic_bar"
    assert float(only[0]["pressure_bar"]) == pytest.approx(last["pressure_bar"])


def test_energy_command_gives_the_stress_in_the_frame_of_the_file(tmp_path, capsys):
    import json

    atoms = rattled("mp-47")
    answers = []
    rotation = random_rotation(7)
    for name, given in (("a.extxyz", atoms), ("b.extxyz", rotated(atoms, rotation))):
        ase.io.write(tmp_path / name, given)
        forces = tmp_path / f"forces-{name}"
        assert main(["energy", str(SCRIPTED), str(tmp_path / name), "--json", "--quiet", "--forces", str(forces)]) == 0
        answers.append(json.loads(capsys.readouterr().out))
        written = ase.io.read(forces)
        stress = np.array(answers[-1]["stress_bar"])
        # 1 eV/Å^3 is 1602176.634 bar.
        assert np.allclose(written.get_stress(voigt=False) * 1602176.634, stress, rtol=1e-6)
        assert answers[-1]["pressure_bar"] == pytest.approx(-np.trace(stress) / 3)
    first, second = (np.array(answer["stress_bar"]) for answer in answers)
    assert np.abs(rotation @ first @ rotation.T - second).max() < 1e-6 * np.abs(first).max()
    assert main(["energy", str(SCRIPTED), str(tmp_path / "a.extxyz"), "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "bar (potential part: atoms at rest)" in text and "positive under tension" in text


# ---- bad input


def test_systems_without_pressure():
    system = openmm.System()
    system.addParticle(1.0)
    with pytest.raises(ValueError, match="no periodic force, so no box, no volume and no pressure"):
        StressCalculator(system)


def test_forces_that_cannot_be_copied():
    system = openmm.System()
    system.addParticle(1.0)
    force = openmm.PythonForce(lambda state: (0.0, np.zeros((1, 3))))
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    with pytest.raises(ValueError, match="cannot be copied, which its stress needs.*a function that pickle can store"):
        StressCalculator(system)


def test_bad_options(tmp_path):
    _, box = ARGON
    path = write_toy(tmp_path / "toy.pth", types="Ar")
    system = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(["Ar"] * 8, box))
    with pytest.raises(ValueError, match="scaled='residues' is unknown; use one of atoms, molecules"):
        StressCalculator(system, scaled="residues")
    with pytest.raises(ValueError, match="scaled='residues' is unknown"):
        StressReporter(tmp_path / "x.csv", 10, scaled="residues")
    with pytest.raises(ValueError, match="interval=0: expected"):
        StressReporter(tmp_path / "x.csv", 0)
    assert not (tmp_path / "x.csv").exists()


def test_backends_are_there():
    assert BACKENDS
