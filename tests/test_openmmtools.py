"""Systems of this package in openmmtools' samplers: states in λ, temperature and restraints, and restarts."""

import copy
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import openmmml
import pytest

import openmm_nequip
from openmm_nequip import free_energy
from openmm_nequip.forces.pool import EvaluatorPool
from openmm_nequip.units import GAS_CONSTANT

pytestmark = pytest.mark.slow
openmmtools = pytest.importorskip("openmmtools", reason="the extra openmmtools is not installed")
from openmmtools import cache, forces, mcmc, states  # noqa: E402
from openmmtools.multistate import MultiStateReporter, MultiStateSampler, ReplicaExchangeSampler  # noqa: E402

from openmm_nequip.lambda_state import LambdaState  # noqa: E402

DATA = files("openmm_nequip") / "data"
MODEL = str(DATA / "alanine-dipeptide.nequip.zip")
#: Reduced potentials; of the order of 3e4, stored in double precision.
REDUCED = 1e-6
#: The same of positions that the storage keeps in single precision.
REDUCED_SINGLE = 1e-3
STEPS = 4
#: Atoms that the restraint binds, and its strength in kJ/mol/nm².
ENDS, SPRING = (1, 18), 500.0
#: λ, temperature in K, and how much of the restraint counts, of each state.
STATES = [(0.0, 300.0, 0.0), (0.3, 300.0, 0.0), (1.0, 300.0, 0.0), (1.0, 330.0, 0.0), (1.0, 330.0, 1.0)]


class Restraint(states.GlobalParameterState):
    """How much of a restraint counts."""

    lambda_restraints = states.GlobalParameterState.GlobalParameter("lambda_restraints", standard_value=1.0)


@pytest.fixture(autouse=True)
def on_reference():
    """openmmtools' Contexts on the platform that is fastest for so few atoms."""
    cache.global_context_cache.platform = openmm.Platform.getPlatformByName("Reference")
    yield
    cache.global_context_cache.empty()
    cache.global_context_cache.platform = None


@pytest.fixture(scope="module")
def pdb():
    return app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))


@pytest.fixture(scope="module")
def mixed(pdb):
    """The peptide between amber14 and the model, with a restraint between its ends."""
    mm = app.ForceField("amber14-all.xml").createSystem(pdb.topology)
    system = openmm_nequip.create_mixed_system(pdb.topology, mm, "all", MODEL, interpolate=True).system
    strength = SPRING * unit.kilojoule_per_mole / unit.nanometer**2
    system.addForce(forces.HarmonicRestraintBondForce(strength, *ENDS))
    return system


def states_of(system):
    """A thermodynamic state for each row of :data:`STATES`."""
    base = states.ThermodynamicState(system, STATES[0][1] * unit.kelvin)
    compound = states.CompoundThermodynamicState(base, [LambdaState.from_system(system), Restraint.from_system(system)])
    found = []
    for value, kelvin, restrained in STATES:
        state = copy.deepcopy(compound)
        state.lambda_interpolate, state.lambda_restraints = value, restrained
        state.temperature = kelvin * unit.kelvin
        found.append(state)
    return found


def sampler_of(kind, thermodynamic, positions, path):
    """A sampler that has done one iteration."""
    move = mcmc.LangevinDynamicsMove(0.5 * unit.femtosecond, 5.0 / unit.picosecond, n_steps=STEPS)
    sampler = kind(mcmc_moves=move, number_of_iterations=10, online_analysis_interval=None)
    reporter = MultiStateReporter(str(path), checkpoint_interval=1)
    sampler.create(thermodynamic, states.SamplerState(positions), reporter)
    sampler.run(1)
    reporter.close()
    return sampler


def by_hand(system, sampler_states):
    """Reduced potentials (n_states, n_replicas) of this package."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setParameter("lambda_restraints", 0.0)
    frames = [state.positions for state in sampler_states]
    ends = free_energy.end_states(context, frames)
    points = np.array([frame.value_in_unit(unit.nanometer) for frame in frames])
    apart = np.linalg.norm(points[:, ENDS[0]] - points[:, ENDS[1]], axis=1)
    lambdas, kelvins, restrained = zip(*STATES, strict=True)
    bias = np.outer(restrained, 0.5 * SPRING * apart**2)
    return free_energy.reduced_potentials(ends, lambdas, kelvins, biases=bias)


REST = """
import sys
import openmm
from openmmtools import cache
from openmmtools.multistate import MultiStateReporter, ReplicaExchangeSampler
cache.global_context_cache.platform = openmm.Platform.getPlatformByName("Reference")
sampler = ReplicaExchangeSampler.from_storage(MultiStateReporter(sys.argv[1], open_mode="r+", checkpoint_interval=1))
sampler.run(1)
print("iteration", sampler.iteration)
"""


def test_replica_exchange_in_lambda_temperature_and_restraints(mixed, pdb, tmp_path):
    """Energies are ours, also of what another process, which knows the file alone, went on with."""
    path = tmp_path / "exchange.nc"
    sampler = sampler_of(ReplicaExchangeSampler, states_of(mixed), pdb.positions, path)
    expected = by_hand(mixed, sampler.sampler_states)
    first = MultiStateReporter(str(path), open_mode="r")
    assert first.read_energies(1)[0].T == pytest.approx(expected, abs=REDUCED)
    first.close()
    here = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    words = [sys.executable, "-c", REST, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | here, check=False)
    assert "iteration 2" in done.stdout, done.stderr[-2000:]
    second = MultiStateReporter(str(path), open_mode="r", checkpoint_interval=1)
    went_on = by_hand(mixed, second.read_sampler_states(2))
    assert second.read_energies(2)[0].T == pytest.approx(went_on, abs=REDUCED_SINGLE)
    assert not np.allclose(went_on, expected, rtol=0, atol=0.1), "it moved"
    read = second.read_thermodynamic_states()[0]
    assert [(s.lambda_interpolate, s.temperature._value, s.lambda_restraints) for s in read] == STATES
    second.close()


def test_a_replica_in_all_states_is_one_evaluation(mixed, pdb, monkeypatch):
    counted, plain = [], EvaluatorPool.__call__

    def counting(self, positions, box):
        counted.append(1)
        return plain(self, positions, box)

    monkeypatch.setattr(EvaluatorPool, "__call__", counting)
    group = states_of(mixed)
    context, _ = cache.global_context_cache.get_context(group[0])
    context.setPositions(pdb.getPositions(asNumpy=True) * 1.0001)
    counted.clear()
    found = states.ThermodynamicState.reduced_potential_at_states(context, group)
    assert len(found) == len(STATES) and len(counted) == 1


def test_temperatures_of_a_pure_system(pdb, tmp_path):
    """MultiStateSampler over temperatures, where the potential energy is the model's at each."""
    system = openmmml.MLPotential("nequip", modelPath=MODEL).createSystem(pdb.topology)
    kelvins = [300.0, 400.0]
    thermodynamic = [states.ThermodynamicState(system, kelvin * unit.kelvin) for kelvin in kelvins]
    sampler = sampler_of(MultiStateSampler, thermodynamic, pdb.positions, tmp_path / "pure.nc")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    reporter = MultiStateReporter(str(tmp_path / "pure.nc"), open_mode="r")
    energies = reporter.read_energies(1)[0]
    reporter.close()
    for replica, state in enumerate(sampler.sampler_states):
        context.setPositions(state.positions)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        for column, kelvin in enumerate(kelvins):
            assert energies[replica, column] == pytest.approx(energy / (GAS_CONSTANT * kelvin), abs=REDUCED)
