"""Caps of cut bonds: where they are, and where their forces go."""

import numpy as np
import pytest
import torch

from openmm_nequip.evaluate.links import minimum_image, place_caps, spread_cap_forces

EXACT = 1e-12  # nm or relative, double precision
CUBE = torch.eye(3, dtype=torch.float64) * 2.0
TRICLINIC = torch.tensor([[2.0, 0.0, 0.0], [0.7, 1.9, 0.0], [-0.6, 0.5, 1.8]], dtype=torch.float64)

# Rows 0 and 1 carry two links each way: Q1 = 0 twice, and M1 = 3 twice.
Q = torch.tensor([0, 0, 1, 5])
M = torch.tensor([2, 3, 3, 4])
D = torch.tensor([0.107, 0.103, 0.095, 0.11], dtype=torch.float64)


@pytest.fixture
def positions():
    generator = torch.Generator().manual_seed(3)
    return torch.rand((6, 3), generator=generator, dtype=torch.float64) * 0.3


def wrapped(positions, cell):
    """The same atoms, each moved by cell vectors of its own."""
    whole = torch.tensor([[0, 0, 0], [1, -1, 0], [0, 2, 1], [-1, 0, 0], [0, 0, -3], [1, 1, 1]], dtype=torch.float64)
    return positions + whole @ cell


def test_cap_is_on_the_bond_at_its_distance(positions):
    caps = place_caps(positions, Q, M, D)
    bond, arm = positions[M] - positions[Q], caps - positions[Q]
    torch.testing.assert_close(torch.linalg.vector_norm(arm, dim=1), D, atol=EXACT, rtol=0)
    torch.testing.assert_close(torch.linalg.cross(arm, bond), torch.zeros_like(bond), atol=EXACT, rtol=0)
    assert ((arm * bond).sum(1) > 0).all()


@pytest.mark.parametrize("cell", [CUBE, TRICLINIC], ids=["cubic", "triclinic"])
def test_wrapping_atoms_moves_caps_with_their_inner_atom(positions, cell):
    moved = wrapped(positions, cell)
    expected = place_caps(positions, Q, M, D) + (moved - positions)[Q]
    torch.testing.assert_close(place_caps(moved, Q, M, D, cell), expected, atol=EXACT, rtol=0)


def test_minimum_image_is_the_shortest_of_all_images_of_a_bond():
    generator = torch.Generator().manual_seed(5)
    short = (torch.rand((50, 3), generator=generator, dtype=torch.float64) - 0.5) * 0.8
    whole = torch.randint(-3, 4, (50, 3), generator=generator).to(torch.float64)
    torch.testing.assert_close(minimum_image(short + whole @ TRICLINIC, TRICLINIC), short, atol=EXACT, rtol=0)


@pytest.mark.parametrize("cell", [None, CUBE, TRICLINIC], ids=["free", "cubic", "triclinic"])
def test_spread_forces_are_the_chain_rule(positions, cell):
    positions = positions if cell is None else wrapped(positions, cell)
    positions.requires_grad_()
    force = torch.linspace(-1.0, 2.0, 12, dtype=torch.float64).reshape(4, 3)
    (expected,) = torch.autograd.grad((place_caps(positions, Q, M, D, cell) * force).sum(), positions)
    spread = spread_cap_forces(force, positions.detach(), Q, M, D, cell)
    torch.testing.assert_close(spread, expected, atol=EXACT, rtol=0)


def test_spread_forces_keep_total_force_and_torque(positions):
    force = torch.linspace(-1.0, 2.0, 12, dtype=torch.float64).reshape(4, 3)
    spread = spread_cap_forces(force, positions, Q, M, D)
    caps = place_caps(positions, Q, M, D)
    torch.testing.assert_close(spread.sum(0), force.sum(0), atol=EXACT, rtol=0)
    torque = torch.linalg.cross(caps, force).sum(0)
    torch.testing.assert_close(torch.linalg.cross(positions, spread).sum(0), torque, atol=EXACT, rtol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_functions_can_be_scripted(positions):
    force = torch.ones((4, 3), dtype=torch.float64)
    place, spread = torch.jit.script(place_caps), torch.jit.script(spread_cap_forces)
    for cell in (None, TRICLINIC):
        torch.testing.assert_close(place(positions, Q, M, D, cell), place_caps(positions, Q, M, D, cell))
        expected = spread_cap_forces(force, positions, Q, M, D, cell)
        torch.testing.assert_close(spread(force, positions, Q, M, D, cell), expected)


def test_no_links_is_no_force(positions):
    none = torch.zeros(0, dtype=torch.int64)
    caps = place_caps(positions, none, none, torch.zeros(0, dtype=torch.float64), CUBE)
    assert caps.shape == (0, 3)
    spread = spread_cap_forces(caps, positions, none, none, torch.zeros(0, dtype=torch.float64), CUBE)
    np.testing.assert_array_equal(spread.numpy(), 0.0)
