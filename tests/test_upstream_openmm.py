"""What is borrowed from the inside of OpenMM gives what its public ways give; errors come through it as they were."""

import gc
import pickle
import threading
import weakref

import numpy as np
import openmm
import pytest
from conftest import DATA
from openmmml import MLPotential
from toy import make_topology

from openmm_nequip.app.error_text import describe_error, one_line
from openmm_nequip.errors import ModelFileError, NonFiniteError
from openmm_nequip.kept_error import error_behind, keep_error
from openmm_nequip.models.base import Model
from openmm_nequip.upstream import openmm_state
from openmm_nequip.upstream.openmm_messages import first_line, says_not_finite
from openmm_nequip.upstream.openmm_python_force import pickled_function

pytestmark = pytest.mark.torchforce_stack

BOX = np.array([[2.0, 0.0, 0.0], [0.3, 2.1, 0.0], [-0.4, 0.5, 2.2]])
POSITIONS = np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture
def state():
    """State of five free particles in a triclinic box."""
    system = openmm.System()
    for _ in POSITIONS:
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*map(openmm.Vec3, *BOX.T))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPeriodicBoxVectors(*(openmm.Vec3(*row) for row in BOX))
    context.setPositions(POSITIONS)
    return context.getState(positions=True)


def test_positions_and_box_are_those_of_the_public_accessors(state):
    assert np.array_equal(openmm_state.positions_of(state), state.getPositions(asNumpy=True)._value)
    assert np.array_equal(openmm_state.box_of(state), np.array(state.getPeriodicBoxVectors()._value))


class Wrapped:
    """A State that has the public accessors alone."""

    def __init__(self, state):
        self.getPositions, self.getPeriodicBoxVectors = state.getPositions, state.getPeriodicBoxVectors


def test_without_the_private_accessors_the_public_ones_are_called(state):
    assert np.array_equal(openmm_state.positions_of(Wrapped(state)), POSITIONS)
    assert np.array_equal(openmm_state.box_of(Wrapped(state)), BOX)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("Particle coordinate is NaN.  For more, see ...", "Particle coordinate is NaN.  For more, see ..."),
        ("ComputationError: ValueError: no such box\n\nTraceback ...", "ValueError: no such box"),
        (
            "The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: a, b\n",
            "TorchScript: RuntimeError: a, b",
        ),
    ],
)  # fmt: skip
def test_first_line(text, line):
    assert first_line(text) == line


def test_words_of_openmm():
    system, force = openmm.System(), openmm.NonbondedForce()
    for _ in range(2):
        system.addParticle(1.0)
        force.addParticle(0.1, 0.1, 0.1)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
    context.setPositions([openmm.Vec3(np.nan, 0, 0), openmm.Vec3(1, 0, 0)])
    with pytest.raises(openmm.OpenMMException) as caught:
        context.getState(energy=True)
    assert says_not_finite(str(caught.value))
    assert not says_not_finite("no banana here") and not says_not_finite("infinitely many")


MODEL = str(DATA / "tiny-nequip.nequip.pth")


def failing_context(monkeypatch, error):
    """A Context with one of our forces, whose model raises an error."""

    def fail(self, graph):
        raise error

    monkeypatch.setattr(Model, "evaluate", fail)
    options = {"backend": "PythonForce", "kernels": "none"}
    system = MLPotential("nequip", modelPath=MODEL).createSystem(make_topology(["H"] * 5), **options)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(POSITIONS)
    return context


@pytest.mark.parametrize(
    "error", [NonFiniteError("positions", [3, 4], 5), ModelFileError("it is gone", "/x"), KeyError(3)]
)
def test_the_error_behind_an_exception_of_openmm(monkeypatch, error):
    context = failing_context(monkeypatch, error)
    with pytest.raises(openmm.OpenMMException) as caught:
        context.getState(energy=True)
    assert error_behind(caught.value) is error
    assert describe_error(caught.value) == f"{type(error).__name__}: {error}"
    # Another exception has another text.
    for other in (openmm.OpenMMException("Particle coordinate is NaN"), ValueError(""), error):
        assert error_behind(other) is other


def test_an_error_of_another_thread(monkeypatch):
    """The Context may be asked in a thread of its own."""
    context = failing_context(monkeypatch, NonFiniteError("positions", [2], 5))
    caught = []

    def ask():
        try:
            context.getState(energy=True)
        except openmm.OpenMMException as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert error_behind(caught[0]).indices == (2,)


def test_a_kept_error_keeps_nothing_else_alive():
    class Model:
        pass

    def fail():
        model = Model()
        seen.append(weakref.ref(model))
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise RuntimeError("outer") from error

    seen = []
    try:
        fail()
    except RuntimeError as error:
        keep_error(error, "text")
    gc.collect()
    assert seen[0]() is None
    assert str(error_behind(openmm.OpenMMException("Error: text"))) == "outer"


def test_one_line_names_the_type_of_what_nobody_expects():
    assert one_line(ModelFileError("no file\nmore")) == "no file"
    assert one_line(ZeroDivisionError("division by zero")) == (
        "ZeroDivisionError: division by zero (--debug shows where)"
    )
    assert one_line(ValueError()) == "ValueError"


def test_the_function_of_a_python_force():
    if not hasattr(openmm, "PythonForce"):
        pytest.skip("this OpenMM has no PythonForce")
    force = openmm.PythonForce(print)
    assert pickle.loads(pickled_function(force)) is print
    assert pickled_function(openmm.HarmonicBondForce()) == b""
