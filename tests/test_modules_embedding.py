"""Modules in the field of the force field's charges: energies, forces on both sides, λ, and what is refused."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
import torch
from test_modules import hybrid

import openmm_nequip

REFERENCE = openmm.Platform.getPlatformByName("Reference")
TOLERANCE = 1e-6  # kJ/mol and kJ/mol/nm, float64
DIFFERENCE_TOLERANCE = 1e-3  # kJ/mol/nm, central differences of 1e-5 nm
COULOMB = 138.93545764438198  # kJ nm/mol/e^2
INPUTS = "atom-positions,atom-numbers,atom-positions-mm,atom-charges-mm,dtype=float64"
UNITS = ("nm", "kJ/mol")


class Polarless(torch.nn.Module):
    """Springs inside, and the charges of the force field (by element) in the field of those around."""

    def __init__(self, coulomb: float = COULOMB, own_forces: bool = False) -> None:
        super().__init__()
        self.coulomb, self.own_forces = coulomb, own_forces

    def forward(
        self, positions: torch.Tensor, numbers: torch.Tensor, outer: torch.Tensor, charges: torch.Tensor
    ) -> torch.Tensor:
        """Energy () in kJ/mol."""
        own = 0.06 - 0.24 * (numbers == 6).to(positions.dtype)
        r = torch.linalg.vector_norm(positions.unsqueeze(1) - outer.unsqueeze(0), dim=2)
        springs = ((positions.unsqueeze(0) - positions.unsqueeze(1)) ** 2).sum() / 4
        return springs + self.coulomb * (own.unsqueeze(1) * charges.unsqueeze(0) / r).sum()


class WithForces(torch.nn.Module):
    """The same with its forces, as GROMACS asks for them."""

    def __init__(self, how: str = "right") -> None:
        super().__init__()
        self.energy = Polarless()
        self.how = how

    def forward(
        self, positions: torch.Tensor, numbers: torch.Tensor, outer: torch.Tensor, charges: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Energy (), forces (n, 3) and forces on the charges (m, 3)."""
        energy = self.energy(positions, numbers, outer, charges)
        gradients = torch.autograd.grad([energy], [positions, outer])
        inner, outside = gradients[0], gradients[1]
        assert inner is not None and outside is not None
        if self.how == "sign":
            outside = -outside
        if self.how == "shape":
            outside = outside[1:]
        return energy, -inner, -outside


class Springs(torch.nn.Module):
    """The same without charges: mechanical embedding leaves them to the force field."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energy () in kJ/mol."""
        return ((positions.unsqueeze(0) - positions.unsqueeze(1)) ** 2).sum() / 4


def evaluated(system, points, **parameters):
    system = openmm_nequip.read_system(openmm.XmlSerializer.serialize(system))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(points)
    for name, value in parameters.items():
        context.setParameter(name, value)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def mixed(module, inputs, region=range(8), change=lambda topology, system: None, **options):
    topology, system, points = hybrid()
    change(topology, system)
    potential = openmm_nequip.potential_from(module, inputs, UNITS)
    return potential.createMixedSystem(topology, system, list(region), **options), points, system


@pytest.mark.parametrize("module", [Polarless(), WithForces()], ids=["energy alone", "with forces"])
def test_charges_felt_by_the_module_are_those_of_the_force_field(module):
    """A module with the force field's own charges gives what the force field gives, on every atom."""
    embedded, points, _ = mixed(module, INPUTS)
    mechanical, _, _ = mixed(Springs(), "positions")
    (e0, f0), (e1, f1) = evaluated(mechanical, points), evaluated(embedded, points)
    assert abs(e0 - e1) < TOLERANCE and np.abs(f0 - f1).max() < TOLERANCE
    assert np.abs(f1[8:]).max() > 1.0


def test_lambda_and_a_cut_bond():
    """At λ = 0 the force field with all its charges; between them forces are derivatives, also behind the cut."""
    embedded, points, system = mixed(Polarless(), INPUTS, region=[0, 2, 3, 4], interpolate=True)
    assert abs(evaluated(embedded, points, lambda_interpolate=0.0)[0] - evaluated(system, points)[0]) < TOLERANCE
    _, forces = evaluated(embedded, points, lambda_interpolate=0.7)
    for atom, axis in ((0, 0), (1, 1), (9, 2)):
        energies = []
        for sign in (1, -1):
            moved = points.copy()
            moved[atom, axis] += sign * 1e-5
            energies.append(evaluated(embedded, moved, lambda_interpolate=0.7)[0])
        assert abs((energies[0] - energies[1]) / 2e-5 + forces[atom, axis]) < DIFFERENCE_TOLERANCE


def periodic(method):
    def change(topology, system):
        box = np.diag([2.2, 2.2, 2.2])
        topology.setPeriodicBoxVectors(box)
        system.setDefaultPeriodicBoxVectors(*box)
        system.getForce(0).setUsesPeriodicBoundaryConditions(True)
        system.getForce(1).setNonbondedMethod(method)
        system.getForce(1).setCutoffDistance(0.9)

    return change


def test_nearest_images():
    """Atoms of either side in other images of the box make no difference."""
    embedded, points, _ = mixed(Polarless(), INPUTS, change=periodic(openmm.NonbondedForce.CutoffPeriodic))
    e0, f0 = evaluated(embedded, points)
    moved = points.copy()
    moved[3] += [2.2, 0, -4.4]
    moved[12] -= [0, 2.2, 0]
    e1, f1 = evaluated(embedded, moved)
    assert abs(e0 - e1) < TOLERANCE and np.abs(f0 - f1).max() < TOLERANCE


@pytest.mark.parametrize("method", ["Ewald", "PME", "LJPME"])
def test_lattice_sums_are_refused(method):
    with pytest.raises(ValueError, match="sums electrostatics over a lattice"):
        mixed(Polarless(), INPUTS, change=periodic(getattr(openmm.NonbondedForce, method)), mlLongRange=False)


def test_several_regions_are_refused():
    with pytest.raises(ValueError, match="would not feel each other"):
        mixed(Polarless(), INPUTS, region=[0, 2, 8, 9], splitRegions=True)


@pytest.mark.parametrize(
    ("how", "words"), [("sign", "forces that are not the derivative"), ("shape", "gave mm-forces of the shape")]
)
def test_wrong_forces_on_charges_are_named(how, words):
    embedded, points, _ = mixed(WithForces(how), INPUTS)
    with pytest.raises(openmm.OpenMMException, match=words):
        evaluated(embedded, points)


def test_a_charge_that_is_not_the_regions():
    """As in GROMACS: a warning."""
    topology, system, _ = hybrid()
    module = openmm_nequip.potential_from(Charged(), INPUTS + ",nnp-charge", UNITS, modelInputs={"charge": 1})
    with pytest.warns(UserWarning, match="the region had a charge of 0.00000 e"):
        module.createMixedSystem(topology, system, list(range(8)))


class Charged(torch.nn.Module):
    """With a total charge that it does nothing with."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = Polarless()

    def forward(
        self, positions: torch.Tensor, numbers: torch.Tensor, outer: torch.Tensor, charges: torch.Tensor,
        total: torch.Tensor,
    ) -> torch.Tensor:
        """Energy () in kJ/mol."""
        return self.energy(positions, numbers, outer, charges)
