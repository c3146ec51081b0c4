"""One path in three forms: the evaluator, the scripted module of a TorchForce and the fused stepper give one number.

They share the functions of ``graph/`` and ``evaluate/links.py``; here the whole way through each is compared, on
placements of every kind.
"""

import numpy as np
import pytest
import torch
from conftest import DATA

from openmm_nequip import load_model
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import torch_force
from openmm_nequip.forces.spec import PotentialSpec
from openmm_nequip.graph.geometry import minimum_image, minimum_image_reduced
from openmm_nequip.hybrid.images import nearest_image
from openmm_nequip.models import Execution, locate
from openmm_nequip.units import Units

pytestmark = pytest.mark.torchforce_stack

#: kJ/mol per atom and kJ/mol/nm between two orders of summation in float64; fused kernels tabulate radial networks.
ENERGY, FORCE = 1e-8, 1e-6
FUSED_ENERGY, FUSED_FORCE = 1e-6, 1e-4
SKIN_NM = 0.05
ANGSTROM = Units()
NM = Units(0.1, 96.48533212331002 * 2)

PLACEMENTS = {
    "all": Placement(27, np.arange(27) % 4),
    "some": Placement(27, np.array([0, 1, 2, 3, 3, 1]), np.array([20, 3, 4, 5, 9, 1])),
    "caps": Placement(
        27, np.array([0, 1, 2, 3, 0, 0]), np.array([0, 1, 2, 4]), np.array([2, 4]), np.array([11, 7]),
        np.array([0.1, 0.12]),
    ),
    "two atoms": Placement(27, np.array([2, 0]), np.array([4, 5])),
    "one atom": Placement(27, np.array([2]), np.array([4])),
}  # fmt: skip


def particles(periodic, seed=3):
    """27 particles (nm), and a triclinic box of OpenMM's reduced form."""
    ticks = np.arange(3) * 0.24
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    box = np.array([[0.9, 0, 0], [0.2, 0.95, 0], [-0.3, 0.25, 1.0]])
    # Any image of each particle: nobody wraps positions for us.
    images = rng.integers(-2, 3, (27, 3)) @ box if periodic else 0.0
    return grid + rng.normal(0, 0.01, grid.shape) + images, box if periodic else None


def scripted(source, units, placement, periodic, static):
    spec = PotentialSpec(source, units, placement, periodic, SKIN_NM, Execution("cpu"))
    return torch_force.script(load_model(source.path, kernels="none"), spec, static)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "units"), [("tiny-nequip", ANGSTROM), ("tiny-nequip", NM), ("tiny-allegro", NM)])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", PLACEMENTS)
def test_evaluator_and_scripted_modules(model, name, periodic, units):
    source, placement = locate(DATA / f"{model}.nequip.pth"), PLACEMENTS[name]
    positions, box = particles(periodic)
    model = load_model(source.path, kernels="none")  # the script itself
    energy, forces = Evaluator(model, units, placement, periodic, SKIN_NM)(positions, box)
    given = [torch.from_numpy(positions)] + ([] if box is None else [torch.from_numpy(box)])
    # Constant shapes are for two and more atoms in boxes of two cutoffs.
    forms = [True] if not periodic and name != "one atom" else []
    if pytest.importorskip("vesin_torch"):
        forms.append(False)
    for static in forms:
        found = scripted(source, units, placement, periodic, static)(*given)
        assert float(found[0].detach()) == pytest.approx(energy, abs=ENERGY * len(placement.types)), static
        assert np.abs(found[1].detach().numpy() - forces).max() < FORCE, static


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("tables", [True, False])
def test_evaluator_and_fused_stepper(periodic, tables, monkeypatch):
    """The fused model takes its own steps, and once more the common way; the same model evaluated by nequip."""
    path, placement = DATA / "tiny-nequip.nequip.zip", PLACEMENTS["all"]
    fused = load_model(path, kernels="fused", tables=tables)
    stepping = Evaluator(fused, ANGSTROM, placement, periodic, SKIN_NM)
    monkeypatch.setattr(fused, "stepper", lambda request: None)
    common = Evaluator(fused, ANGSTROM, placement, periodic, SKIN_NM)
    eager = Evaluator(load_model(path, compile=False), ANGSTROM, placement, periodic, SKIN_NM)
    positions, box = particles(periodic)
    rng = np.random.default_rng(1)
    for _ in range(4):
        energy, forces = stepping(positions, box)
        other_energy, other_forces = common(positions, box)
        assert energy == pytest.approx(other_energy, abs=ENERGY * 27) and np.abs(forces - other_forces).max() < FORCE
        expected_energy, expected = eager(positions, box)
        assert energy == pytest.approx(expected_energy, abs=FUSED_ENERGY * 27)
        assert np.abs(forces - expected).max() < FUSED_FORCE
        positions = positions + rng.normal(0, 0.01, positions.shape)


def test_images_are_the_same_by_every_function():
    """Of vectors shorter than half a reduced box: rounding fractions, subtracting rows, and the builder's own."""
    _, box = particles(True)
    rng = np.random.default_rng(5)
    short = rng.normal(0, 1, (200, 3))
    short *= (rng.uniform(0, 0.2, 200) / np.linalg.norm(short, axis=1))[:, None]
    moved = short + rng.integers(-3, 4, (200, 3)) @ box
    cell = torch.from_numpy(box)
    for found in (
        minimum_image(torch.from_numpy(moved), cell).numpy(),
        minimum_image_reduced(torch.from_numpy(moved), cell).numpy(),
        nearest_image(moved, box),
    ):
        assert np.abs(found - short).max() < 1e-12
