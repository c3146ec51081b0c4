"""Layers of NequIP files of nequip <= 0.6 that add their input to their output (resnet)."""

import dataclasses

import kernel_checks as checks
import numpy as np
import pytest
import torch
from conftest import DATA
from kernel_checks import EXACT, Family
from nequip_models import structure

from openmm_nequip import load_model
from openmm_nequip.errors import NotFusableError
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.residual import without_residuals
from openmm_nequip.models import locate
from openmm_nequip.models.formats.torchscript import load_to_fuse
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

NAME = "early06-residual.pth"


def read_file(name):
    with preserved_global_state(), default_dtype(torch.float64):
        return load_to_fuse(locate(DATA / name))[0]


FILES = Family(read_file, {NAME: {"name": NAME}})


@pytest.fixture(scope="module")
def program():
    with default_dtype(torch.float64):
        return read_model(FILES.model(NAME))


@pytest.mark.slow
def test_numbers_are_those_of_the_script():
    """Energies and forces to rounding, and forces by central differences."""
    positions, types, cell = structure(24)
    script = load_model(DATA / NAME, kernels="none")
    edges = NeighborList(script.info.cutoff, 0.0, True)(positions, cell)
    graph = [torch.from_numpy(np.ascontiguousarray(array)) for array in (positions, types, *edges, cell)]
    expected, found = script(*graph), FILES.step(NAME, False)(positions, types, *edges, cell, 2)
    assert np.abs(found[0] - expected["atomic_energies"].numpy()).max() < EXACT
    assert np.abs(found[1] - expected["forces"].numpy()).max() < EXACT
    checks.check_gradient(FILES, NAME, False)


def test_inputs_go_beside_outputs(program):
    """The second and third of four layers have twice the blocks; in the last two channels carry the inputs' energy."""
    widths = [[block.mul for block in layer.gate.outputs] for layer in program.layers]
    assert widths == [[2, 2], [2, 2, 2, 2], [2, 2, 2, 2], [4]]
    second = program.layers[1].gate
    assert second.n_scalars == 2 and second.activations[1::2] == [("identity", 1.0), ("sigmoid", 2.0)]
    assert {mix.source for mix in program.layers[2].connection} == {0, 1, 2, 3}
    own = program.readout[0].ravel()
    assert own[2] == -own[3] and abs(own[2] * program.layers[3].gate.activations[0][1] - 1) < 1e-12


def test_what_cannot_be_written_so_is_named(program):
    layer = dataclasses.replace(program.layers[0], inputs=program.layers[0].gate.outputs)
    tanh = dataclasses.replace(layer.gate, activations=[("tanh", 1.0)] * 2)
    with pytest.raises(NotFusableError, match="resnet.* behind the nonlinearity tanh"):
        without_residuals([dataclasses.replace(layer, gate=tanh)], [True], 0, np.ones((2, 1)))
    with pytest.raises(NotFusableError, match="resnet.* to output of other blocks"):
        without_residuals(program.layers[:1], [True], 0, np.ones((2, 1)))
