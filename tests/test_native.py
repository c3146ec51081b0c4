"""The force of our own on a GPU's platform: OpenMM's OpenCL on pocl, in a process of its own, against eager nequip.

What runs here is the whole force, its lists of neighbours included, on a CPU; no GPU is needed, and none has run it.
"""

from dataclasses import replace

import numpy as np
import openmm
import pytest
from conftest import DATA
from native_process import NativeProcess
from pocl import needs_pocl

from openmm_nequip.errors import BuildError, KernelsError
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import choose_backend, make_force, native
from openmm_nequip.forces.acting import model_particles
from openmm_nequip.forces.native import gpu_devices, plugin_build
from openmm_nequip.forces.spec import PotentialSpec, SumSpec
from openmm_nequip.models import locate
from openmm_nequip.models.execution import Execution
from openmm_nequip.stress import StressCalculator
from openmm_nequip.units import Units

#: Energy per atom (eV) and forces (eV/Å), for models whose forces are of the order of 1 eV/Å: as of the CPU kernels.
ENERGY = {"float64": 1e-10, "float32": 5e-7}
FORCE = {"float64": 1e-8, "float32": 5e-6}
#: Forces of float64 models in mixed precision, where positions are pairs of floats.
MIXED_FORCE = 2e-7
#: Central differences with a step of 1e-4 Å, relative to the largest force.
DIFFERENCE = 1e-8
#: Forces of a hybrid System: OpenMM's own force field is single precision in part of PME.
SYSTEM = (1e-8, 1e-6)


@pytest.fixture(scope="module")
def ask():
    """A case of native_cases.py in a process with pocl."""
    process = NativeProcess()
    yield process
    process.close()


def close(found, kind):
    return found[0] < ENERGY[kind] and found[1] < FORCE[kind]


@needs_pocl
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("float32", {"model": "l1", "precision": "single"}),
        ("float32", {"model": "l1", "n_atoms": 4, "side": 2.6}),
        ("float64", {"model": "l1 parity", "periodic": False}),
        ("float64", {"model": "l2 everything"}),
        ("float64", {"model": "l2 everything", "warps": 4}),
        ("float64", {"model": "l3", "side": 12.0, "n_atoms": 60}),
    ],
)
def test_numbers_are_those_of_the_model(ask, kind, arguments):
    """l_max 1 to 3, ZBL, cutoffs by pair, a readout network; single and double; atoms in any image of the box."""
    assert close(ask("numbers", **arguments), kind)


@needs_pocl
@pytest.mark.slow
@pytest.mark.parametrize("periodic", [True, False])
def test_selections_caps_and_regions(ask, periodic):
    """16 of 60 particles, three caps, two of them for one particle, in two regions that do not see each other."""
    assert close(ask("hybrid", links=3, regions=2, periodic=periodic), "float64")


@needs_pocl
@pytest.mark.slow
def test_forces_are_the_gradient_with_caps(ask):
    worst, largest = ask("differences")
    assert worst < DIFFERENCE * max(1.0, largest)


@needs_pocl
@pytest.mark.slow
def test_a_parameter_switches_the_model_off(ask):
    found = ask("switching")
    assert found["energies"][0] == found["energies"][1] != 0.0 == found["energies"][2]
    assert found["largest force at 0"] == 0.0
    assert "expected a number from 0" in found["said"]


@needs_pocl
@pytest.mark.slow
def test_no_edge_is_dropped_where_lists_grow(ask):
    """A box that shrinks: the room for neighbours has to grow three times, and each time one step is computed again."""
    found = ask("overflow")
    assert found["grown"] == found["repeated"] >= 3
    assert all(close(each, "float32") for each in found["deviations"])


@needs_pocl
@pytest.mark.slow
def test_dynamics_at_changing_volume_with_reordering(ask):
    found = ask("dynamics", steps=60)
    assert found["worst"][0] < ENERGY["float64"] and found["worst"][1] < MIXED_FORCE
    assert found["volumes"][0] < found["volumes"][1]


@needs_pocl
@pytest.mark.slow
def test_files_copies_and_products(ask):
    """XML with the model in it, deepcopy, a CustomCVForce, and the same System on a CPU's platform."""
    found = ask("in_files")
    assert all(close(found[name], "float64") for name in ("half", "copy", "CPU"))
    assert "NequIP" in found["names"] and found["same text"]


@needs_pocl
@pytest.mark.slow
def test_contexts_restarts_and_hybrid_systems(ask):
    assert close(ask("several_contexts"), "float64")
    assert ask("restart", steps=10) is True
    found = ask("mixed_system")
    assert found[0] < SYSTEM[0] and found[1] < SYSTEM[1]


def spec(**execution):
    source = locate(str(DATA / "tiny-nequip.nequip.zip"))
    return PotentialSpec(source, Units(0.1, 96.485), Placement(1, np.array([0])), False, 0.05, Execution(**execution))


def test_what_it_cannot_run_is_refused_by_name():
    for given, words in (({"device": "cpu"}, "device='cpu'"), ({"kernels": "none"}, "kernels='none'")):
        with pytest.raises(ValueError, match=words):
            choose_backend("Native", spec(**given))
        with pytest.raises(ValueError, match=words):
            choose_backend("Native", SumSpec((spec(), spec(**given))))


def test_allegro_has_no_kernels_on_gpus():
    allegro = PotentialSpec(
        locate(str(DATA / "tiny-allegro.nequip.zip")), Units(0.1, 96.485), Placement(1, np.array([0])), False, 0.05
    )
    with pytest.raises(KernelsError, match="NequIP models alone"):
        native.describe_potential(allegro)


def test_atoms_of_a_type_that_the_model_does_not_know_are_named():
    strangers = replace(spec(), placement=Placement(2, np.array([0, 7])))
    with pytest.raises(ValueError, match="atoms of type 7; expected 0 to 3, the types of its model"):
        native.describe_potential(strangers)


def test_auto_takes_it_where_there_is_a_gpu_alone(monkeypatch, caplog):
    import openmm_nequip.forces as forces

    monkeypatch.setattr(forces, "platforms_with_gpu", lambda: ["CUDA"])
    monkeypatch.setattr(forces, "native_obstacle", lambda spec: "")
    monkeypatch.setattr(forces, "first_use_obstacle", lambda spec: "")
    assert choose_backend("auto", spec()) == "Native"
    monkeypatch.setattr(forces, "native_obstacle", lambda spec: "there is no compiler")
    assert choose_backend("auto", spec()) != "Native" and "there is no compiler" in caplog.text
    monkeypatch.setattr(forces, "platforms_with_gpu", lambda: [])
    assert choose_backend("auto", spec()) != "Native"


class FakeOpenCL:
    """A loader of OpenCL with one platform that has so many GPUs, and any number of other devices."""

    def __init__(self, gpus):
        self._gpus = gpus

    def clGetPlatformIDs(self, room, platforms, count):
        if count is not None:
            count._obj.value = 1
        return 0

    def clGetDeviceIDs(self, platform, kind, room, devices, count):
        assert kind.value == 4
        count._obj.value = self._gpus
        return 0 if self._gpus else -1


def test_an_opencl_device_that_is_a_cpu_is_no_gpu():
    assert gpu_devices.count_opencl_gpus(FakeOpenCL(0)) == 0
    assert gpu_devices.count_opencl_gpus(FakeOpenCL(2)) == 2


def test_without_headers_or_compiler_the_reason_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in plugin_build.build_obstacle()
    monkeypatch.setattr(plugin_build, "headers_folder", lambda: None)
    assert "headers" in plugin_build.build_obstacle()
    with pytest.raises(BuildError, match="headers"):
        plugin_build.build_force()


@pytest.mark.slow
def test_on_a_platform_of_the_cpu_python_evaluates():
    """The force is compiled and loaded; its energy is that of a PythonForce, and errors have their text."""
    energies = []
    for backend in ("Native", "PythonForce"):
        system = openmm.System()
        system.addParticle(1.0)
        system.addForce(make_force(spec(), None, 1, backend))
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions([[0, 0, 0]])
        energies.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
        context.setPositions([[float("nan"), 0, 0]])
        with pytest.raises(openmm.OpenMMException, match="positions"):
            context.getState(getEnergy=True)
    assert energies[0] == energies[1]


@pytest.mark.slow
def test_stress_and_particles_are_those_of_a_python_force():
    """The model's virial, and which particles it describes, are read from the force as from a PythonForce."""
    positions, cell = np.array([[0.0, 0, 0], [0.12, 0, 0], [0, 0.13, 0.02]]), np.eye(3)
    found = []
    for backend in ("Native", "PythonForce"):
        system = openmm.System()
        for _ in range(4):
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*cell)
        several = replace(spec(), placement=Placement(3, np.array([0, 1, 2])), periodic=True)
        system.addForce(make_force(several, [3, 0, 1], 4, backend))
        calculator = StressCalculator(system)
        assert calculator.usesVirial and not calculator.usesDifferences
        places = np.vstack([positions[1:], np.full((1, 3), 0.5), positions[:1]])
        found.append((calculator.potential(places, cell), model_particles(system.getForce(0), 4)))
    assert np.abs(found[0][0] - found[1][0]).max() < 1e-6 and np.abs(found[0][0]).max() > 1.0
    assert found[0][1] == found[1][1] == [0, 1, 3]
