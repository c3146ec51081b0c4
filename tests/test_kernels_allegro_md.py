"""Fused Allegro models along a simulation and in OpenMM: pure and mixed Systems, against the uncompiled model."""

import functools

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import DATA
from nequip_models import CUTOFF, structure
from openmmml import MLPotential
from test_kernels_allegro import edges_of, open_step

from openmm_nequip import load_model
from openmm_nequip.graph.neighbors import CandidateList
from openmm_nequip.kernels.backend import StepperSetup
from openmm_nequip.kernels.cpu.stepper import FusedStepper

SKIN = 0.8
#: eV and eV/Å in float32 where only the order of sums differs.
ROUNDING = 1e-5
#: kJ/mol and kJ/mol/nm of a float64 model against its uncompiled evaluation, tables included.
ENERGY, FORCE = 1e-5, 1e-4
MODEL = DATA / "tiny-allegro.nequip.zip"


@pytest.mark.parametrize("periodic", [True, False])
def test_steps_give_what_the_model_gives(periodic):
    positions, types, cell = structure(60, side=9.0, periodic=periodic)
    step = open_step("l1, one layer")
    candidates = CandidateList(CUTOFF, SKIN, periodic)
    lists = []

    def find(where, box):
        lists.append(len(lists))
        return candidates.find(where, box)

    setup = StepperSetup(candidates.reach(len(types)), 0.1, 96.485, None if periodic else cell)
    follow = FusedStepper(step._library, types, find, setup, edges_per_thread=64)
    rng = np.random.default_rng(4)
    for _ in range(12):
        positions = positions + rng.normal(0, 0.06, positions.shape)
        energy, forces = follow(positions * 0.1, cell * 0.1 if periodic else None, 2)
        expected = step(positions, types, *edges_of(positions, cell, periodic), cell, 1)
        scale = max(1.0, np.abs(expected[1]).max())
        assert abs(energy / 96.485 - expected[0].sum()) < ROUNDING * scale * len(types)
        assert np.abs(forces * 0.1 / 96.485 - expected[1]).max() < ROUNDING * scale
    assert 1 < len(lists) < 12


@pytest.mark.slow
def test_the_package_runs_fused():
    model = load_model(MODEL)
    assert model.info.kernels.startswith("fused, radial networks in tables of")
    assert load_model(MODEL, tables=False).info.kernels == "fused, radial networks exact"


@functools.cache
def molecules():
    """Positions (nm) and a topology of two types of atoms, some near each other."""
    names = load_model(MODEL, compile=False).info.type_names
    positions, types, _ = structure(12, len(names), closest=1.0)
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    for i, t in enumerate(types):
        topology.addAtom(f"{names[t]}{i}", app.Element.getBySymbol(names[t]), residue)
    return topology, positions * 0.1


def evaluate(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    state = context.getState(getEnergy=True, getForces=True)
    return (
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole),
        state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer),
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_openmm_has_the_numbers_of_the_model(mixed):
    topology, positions = molecules()
    results = []
    for options in ({"kernels": "fused"}, {"kernels": "none", "compile": False}):
        potential = MLPotential("nequip", modelPath=str(MODEL))
        if mixed:
            base = openmm.System()
            for atom in topology.atoms():
                base.addParticle(atom.element.mass)
            base.addForce(openmm.HarmonicBondForce())
            system = potential.createMixedSystem(topology, base, list(range(len(positions))), **options)
        else:
            system = potential.createSystem(topology, **options)
        results.append(evaluate(system, positions))
    assert abs(results[0][0] - results[1][0]) < ENERGY
    assert np.abs(results[0][1] - results[1][1]).max() < FORCE


def test_energy_is_conserved():
    """A droplet in vacuum for 200 steps: what the integrator loses, and nothing that the kernels add."""
    topology, positions = molecules()
    potential = MLPotential("nequip", modelPath=str(MODEL))
    system = potential.createSystem(topology, kernels="fused")
    for i in range(system.getNumParticles()):
        system.setParticleMass(i, 40.0)
    integrator = openmm.VerletIntegrator(0.0001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    totals = []
    for _ in range(20):
        integrator.step(10)
        state = context.getState(getEnergy=True)
        energy = state.getPotentialEnergy() + state.getKineticEnergy()
        totals.append(energy.value_in_unit(unit.kilojoule_per_mole))
    assert np.ptp(totals) < 0.05, "kJ/mol"
