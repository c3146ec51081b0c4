"""The native force beyond its step: outputs on request, exact networks, several models and devices, the first use."""

import numpy as np
import openmm
import pytest
from conftest import DATA
from native_process import NativeProcess
from pocl import needs_pocl

from openmm_nequip.errors import KernelsError, SavedSystemError, UpstreamError
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import choose_backend, make_force, native
from openmm_nequip.forces.native.gpu_place import GpuPlace
from openmm_nequip.forces.spec import PotentialSpec
from openmm_nequip.model_outputs import OutputCalculator
from openmm_nequip.models import locate
from openmm_nequip.models.execution import Execution
from openmm_nequip.units import Units
from openmm_nequip.upstream.openmm_addresses import address_of

#: eV, eV/Å and GPa in double precision, and single: differences from the CPU's kernels.
EXACT, ROUNDED = 1e-8, 1e-6
#: Energy per atom and forces, relative to the largest: the same kernels in another order, or another precision of sums.
SAME = 1e-10


@pytest.fixture(scope="module")
def ask():
    """A case of native_feature_cases.py in a process with pocl."""
    process = NativeProcess()
    yield process
    process.close()


@needs_pocl
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [({}, EXACT), ({"precision": "single", "periodic": False, "tables": False}, ROUNDED)],
    ids=["double", "single, exact networks"],
)
def test_what_the_device_tells_is_what_the_cpu_kernels_give(ask, arguments, allowed):
    """Atomic energies, forces and stress of a selection with link caps in two regions; asking changes nothing."""
    found = ask("outputs", **arguments)
    assert found["same"] and found["atoms"]
    assert found["largest"] > 1e-2 and max(found[name] for name in ("energies", "forces", "sum", "step")) < allowed
    if found["stress"] is not None:
        assert found["stress"] < allowed < 1e-3 < found["largest stress"]


@needs_pocl
@pytest.mark.slow
def test_several_models_in_one_force_in_two_and_as_a_committee(ask):
    found = ask("several")
    assert found.pop("apart") > 1e-3
    assert max(max(each) for each in found.values()) < SAME
    energy, forces, atoms = ask("several_outputs")
    assert energy < EXACT and forces < EXACT and atoms == [20, 38]
    deviations, native_forces = ask("two_regions")
    assert max(deviations) < EXACT and native_forces == 1


@needs_pocl
@pytest.mark.slow
def test_contexts_on_two_devices_and_one_on_both(ask):
    found = ask("devices")
    assert found["indices"] == ["0", "1", "0,1"] and found["moved"] > 1e-2
    assert all(max(each) < SAME for each in found["deviations"])
    assert all(max(each) < SAME for k, each in enumerate(found["turns"]))
    assert "device='cuda:1' was given, and the Context runs on device 0" in found["said"]


@needs_pocl
@pytest.mark.slow
def test_kernels_are_compared_with_the_model_before_their_first_use(ask):
    right, wrong = ask("first_use")
    assert right == "" and "differ by" in wrong and "OpenCL in double precision" in wrong


@needs_pocl
@pytest.mark.slow
def test_files_of_all_ages_and_packages_that_carry_a_program(ask):
    for deviations in ask("model_files", names=["early05-nequip.pth"]).values():
        assert max(deviations) < SAME
    assert max(ask("carried")) < SAME


def spec(n=1, **execution):
    source = locate(str(DATA / "tiny-nequip.nequip.zip"))
    placement = Placement(n, np.zeros(n, dtype=np.int64))
    return PotentialSpec(source, Units(0.1, 96.485), placement, False, 0.05, Execution(**execution))


def test_auto_falls_back_where_the_first_use_fails(monkeypatch, caplog):
    import openmm_nequip.forces as forces

    monkeypatch.setattr(forces, "platforms_with_gpu", lambda: ["CUDA"])
    monkeypatch.setattr(forces, "native_obstacle", lambda spec: "")
    monkeypatch.setattr(forces, "first_use_obstacle", lambda spec: "it differs by 1 eV")
    assert choose_backend("auto", spec()) == "PythonForce" and "it differs by 1 eV" in caplog.text
    monkeypatch.setattr(forces, "first_use_obstacle", lambda spec: "")
    assert choose_backend("auto", spec()) == "Native"
    assert choose_backend("auto", spec(device="cuda:1")) == "PythonForce" and "device='cuda:1'" in caplog.text


def test_without_a_gpu_the_first_use_says_so(monkeypatch):
    monkeypatch.setattr(native, "fastest_platform", lambda: (_ for _ in ()).throw(KernelsError("there is no GPU")))
    monkeypatch.setattr(native, "load_plugin", lambda: None)
    monkeypatch.setattr(native, "describe_potential", lambda spec: [])
    assert native.first_use_obstacle(spec()) == "there is no GPU"


def test_where_a_context_runs():
    place = GpuPlace.of("Platform=CUDA\nPrecision=mixed\nDeviceIndex=1\nDeviceName=a=b")
    assert place.platform == "CUDA" and place.precision == "mixed" and place.properties["DeviceName"] == "a=b"
    place.check_device(spec())
    place.check_device(spec(device="cuda"))
    place.check_device(spec(device="cuda:1"))
    with pytest.raises(KernelsError, match="DeviceIndex '0'"):
        place.check_device(spec(device="cuda:0"))


def context_of(force, n):
    system = openmm.System()
    for _ in range(n):
        system.addParticle(1.0)
    system.addForce(force)
    integrator = openmm.VerletIntegrator(0.001)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["Native", "PythonForce"])
def test_outputs_on_a_platform_of_the_cpu(backend):
    """There Python evaluates the model, whatever the force is: a selection in another order than the System's."""
    context = context_of(make_force(spec(3), [3, 0, 1], 4, backend), 4)
    context.setPositions(np.array([[0, 0, 0], [0.1, 0, 0], [9, 9, 9], [0, 0.1, 0]]))
    (found,) = OutputCalculator(context).compute()
    state = context.getState(energy=True, forces=True)
    assert found.energy == pytest.approx(state.getPotentialEnergy()._value, abs=1e-6)
    assert np.abs(found.forces - state.getForces(asNumpy=True)._value).max() < 1e-4
    assert found.atomicEnergies.sum() == pytest.approx(found.energy, abs=1e-6) and len(found.capEnergies) == 0
    assert found.atoms.tolist() == [3, 0, 1] and found.stress is None and found.path.endswith("tiny-nequip.nequip.zip")


def test_what_cannot_be_asked():
    with pytest.raises(SavedSystemError, match="no force whose model"):
        OutputCalculator(context_of(openmm.HarmonicBondForce(), 1))


def test_addresses_of_openmms_objects():
    force = openmm.HarmonicBondForce()
    system = openmm.System()
    system.addForce(force)
    assert address_of(system.getForce(0)) == address_of(force) != address_of(system)
    with pytest.raises(UpstreamError, match="SWIG"):
        address_of("a Context")
