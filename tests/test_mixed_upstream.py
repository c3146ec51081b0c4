"""What hybrid Systems borrow from OpenMM-ML, and how it fails where OpenMM-ML has changed."""

import openmmml
import pytest
from openmmml import MLPotential

from openmm_nequip.errors import OpenMMNequIPError, UpstreamError
from openmm_nequip.upstream.openmm_ml import asked_to_remove_constraints

pytestmark = pytest.mark.torchforce_stack


class _Answer:
    """In place of a potential: notes what it is told."""

    def __init__(self):
        self.heard = []

    def getSupportedEmbeddings(self):
        return ["mechanical"]

    def createMixedSystem(self, topology, system, *arguments, **keywords):
        self.heard.append(asked_to_remove_constraints())
        return system


class _NoConstraints:
    @staticmethod
    def getNumConstraints():
        return 0


class _Watched(MLPotential):
    """OpenMM-ML's own method around a potential of ours; the name of the potential is not looked up."""

    def __init__(self, inside):
        self._impl = inside


class _Renamed(_Watched):
    """An OpenMM-ML whose keyword has another name."""

    def createMixedSystem(self, topology, system, dropConstraints=True):
        return self._impl.createMixedSystem(topology, system)


def test_the_keyword_is_read_from_the_installed_openmm_ml():
    inside = _Answer()
    potential = _Watched(inside)
    potential.createMixedSystem(None, _NoConstraints(), [])
    potential.createMixedSystem(None, _NoConstraints(), [], removeConstraints=False)
    potential.createMixedSystem(None, _NoConstraints(), [], False)
    potential.createMixedSystem(None, _NoConstraints(), [], True)
    assert inside.heard == [True, False, False, True], openmmml.__file__


def test_called_directly_the_default_holds():
    assert asked_to_remove_constraints() is True
    inside = _Answer()
    inside.createMixedSystem(None, None)
    assert inside.heard == [True]


def test_another_openmm_ml_is_refused_by_name():
    with pytest.raises(UpstreamError, match="no argument removeConstraints.*openmmml 1.8") as caught:
        _Renamed(_Answer()).createMixedSystem(None, None)
    assert caught.value.package == "openmmml" and isinstance(caught.value, OpenMMNequIPError)
