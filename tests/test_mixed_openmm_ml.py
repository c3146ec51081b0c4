"""What OpenMM-ML's own tests of its mechanical embedding ask, asked of this package through MLPotential.

The hybrid energy is that of the force field, minus the region's alone, plus the model's; with interpolation it lies on
the straight line from the force field. Where all images belong to the model, the region alone is periodic, too.
"""

import functools
import warnings
from pathlib import Path

import openmm
import pytest
from conftest import DATA
from openmm import app, unit
from openmmml import MLPotential

import openmm_nequip

MODEL = str(DATA / "tiny-nequip.nequip.pth")
PEPTIDE = str(Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb")
REGION = list(range(22))
TOLERANCE = 0.01  # kJ/mol, as there
FORCE_FIELD = ("amber19-all.xml", "amber19/tip3pfb.xml")


@functools.cache
def solvated():
    """Topology and positions of the dipeptide in water, and of the dipeptide alone in the same box."""
    pdb = app.PDBFile(PEPTIDE)
    whole = app.Modeller(pdb.topology, pdb.positions)
    whole.addSolvent(app.ForceField(*FORCE_FIELD), boxSize=openmm.Vec3(2.4, 2.4, 2.4) * unit.nanometer)
    alone = app.Modeller(whole.topology, whole.positions)
    alone.delete([atom for atom in whole.topology.atoms() if atom.index not in REGION])
    return whole, alone


def force_field(modeller, periodic, **options):
    method = app.PME if periodic else app.NoCutoff
    return app.ForceField(*FORCE_FIELD).createSystem(
        modeller.topology, nonbondedMethod=method, nonbondedCutoff=1.0 * unit.nanometer, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("interpolate", [False, True])
@pytest.mark.parametrize(
    ("periodic", "long_range"), [(False, False), (True, True), (True, None)], ids=["vacuum", "long", "short"]
)
def test_energies_of_the_embedding(platform, periodic, long_range, interpolate):
    whole, alone = solvated()
    potential = MLPotential("nequip", modelPath=MODEL)
    everything = force_field(whole, periodic)
    region = force_field(alone, periodic and bool(long_range))
    for force in region.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setUseDispersionCorrection(False)
    mixed = potential.createMixedSystem(
        whole.topology, everything, REGION, embedding="mechanical", interpolate=interpolate, mlLongRange=long_range
    )

    def context(system, positions):
        made = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        made.setPositions(positions)
        return made

    def energy(made):
        return made.getState(energy=True).getPotentialEnergy()._value

    of_everything = energy(context(everything, whole.positions))
    of_model = energy(context(potential.createSystem(alone.topology), alone.positions))
    expected = of_everything - energy(context(region, alone.positions)) + of_model
    made = context(mixed, whole.positions)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0) if interpolate else (1.0,):
        if interpolate:
            made.setParameter("lambda_interpolate", value)
        assert abs(energy(made) - value * expected - (1 - value) * of_everything) < TOLERANCE


@pytest.mark.parametrize("long_range", [False, True, None])
@pytest.mark.parametrize("periodic", [False, True])
def test_the_reach_of_the_model_need_not_be_told(periodic, long_range):
    """OpenMM-ML refuses None for models that do not say how far they reach; these are local."""
    whole, _ = solvated()
    MLPotential("nequip", modelPath=MODEL).createMixedSystem(
        whole.topology, force_field(whole, periodic), REGION, mlLongRange=long_range
    )


@pytest.mark.parametrize("remove", [False, True])
def test_constraints_of_the_region(remove):
    whole, _ = solvated()
    before = force_field(whole, False, constraints=app.AllBonds)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        after = MLPotential("nequip", modelPath=MODEL).createMixedSystem(
            whole.topology, before, REGION, removeConstraints=remove, embedding="mechanical"
        )

    def constraints(system):
        rows = (system.getConstraintParameters(index) for index in range(system.getNumConstraints()))
        return {frozenset((i, j)) for i, j, _ in rows}

    inside = {frozenset((a.index, b.index)) for a, b in whole.topology.bonds() if a.index in REGION}
    gone = constraints(before) - constraints(after)
    assert gone == (inside if remove else set()) and constraints(after) <= constraints(before)
