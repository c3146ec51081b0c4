"""GROMACS set-ups: what the model replaces, and energies against those of GROMACS 2022.5 for the same files."""

import warnings

import openmm
import pytest
from gromacs_folders import DATA, alanine, shared, waters

from openmm_nequip.errors import EngineInputError
from openmm_nequip.inputs import make_force_field, make_mixed_system, make_simulation, read_gromacs

#: gmx with PME, rc 1.2, no modifiers, ewald-rtol 1e-7, spacing 0.06, order 6; kJ/mol.
WHOLE, WHOLE_TOLERANCE = -44.1371, 1e-3
HYBRID, HYBRID_TOLERANCE = -62.3426, 2e-3
SPC2, SPC2_TOLERANCE = -0.312387, 1e-4
#: gmx with rc 0.6, ewald-rtol 1e-6, spacing 0.05, order 6, rvdw-switch 0.3.
NARROW = {"rcoulomb": 0.6, "rvdw": 0.6, "ewald_rtol": 1e-6, "fourierspacing": 0.05}
SWITCHED = {"none": -43.9672, "potential-switch": -41.7046, "force-switch": -40.8859}
#: Between meshes of fifth and sixth order at this cutoff; and for what a modifier changes.
MESH_TOLERANCE, SWITCHED_TOLERANCE = 2e-2, 2e-4
CHARGE, CHARGE_TOLERANCE = 0.1144, 1e-4
EXACT = 1e-6


def settings(paths, folder):
    return read_gromacs(*paths, output=folder / "out").all_settings() | {"platform": "Reference"}


def mixed_system(given):
    """The hybrid System; that the region's charge is no whole number is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        return make_mixed_system(given)


def energy(system, positions, without=()):
    """Potential energy in kJ/mol without the forces of some names."""
    for force in system.getForces():
        force.setForceGroup(1 if force.getName() in without else 0)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return context.getState(energy=True, groups={0}).getPotentialEnergy()._value


def test_the_force_field_alone(tmp_path):
    _, system, positions = make_force_field(settings(alanine(tmp_path), tmp_path))
    assert energy(system, positions) == pytest.approx(WHOLE, abs=WHOLE_TOLERANCE)


def test_what_the_model_replaces(tmp_path):
    given = settings(alanine(tmp_path), tmp_path)
    mixed = mixed_system(given)
    report = mixed.report
    assert report.removed("HarmonicBondForce") == 5
    assert [entry.pairs for entry in report.forces if entry.kind == "NonbondedForce"] == [3]
    assert report.removed("HarmonicAngleForce") == 11
    assert report.removed("PeriodicTorsionForce") == 9
    (region,) = report.regions
    assert region.charge == pytest.approx(CHARGE, abs=CHARGE_TOLERANCE)
    assert [(link.q, link.m, link.distance_nm, link.element) for link in region.region.links] == [
        (8, 6, 0.1, "H"), (8, 14, 0.1, "H"),
    ]  # fmt: skip
    _, _, positions = make_force_field(given)
    assert energy(mixed.system, positions, without=("NequIP",)) == pytest.approx(HYBRID, abs=HYBRID_TOLERANCE)


def test_constraints_inside_the_region_stay(tmp_path):
    with pytest.warns(UserWarning, match="5 constraints inside the region stay"):
        mixed = mixed_system(settings(alanine(tmp_path, constraints="all-bonds"), tmp_path))
    report = mixed.report
    found = report.constraints
    assert (len(found.inside), len(found.removed), len(found.across)) == (5, 0, 2)
    assert [entry.pairs for entry in report.forces if entry.kind == "NonbondedForce"] == [3]
    assert (report.removed("HarmonicAngleForce"), report.removed("PeriodicTorsionForce")) == (11, 9)
    assert len(report.regions[0].region.links) == 2


def test_cuts_without_caps(tmp_path):
    given = settings(alanine(tmp_path), tmp_path) | {"link_element": "none", "link_distance": None}
    mixed = mixed_system(given)
    (region,) = mixed.regions
    assert region.links == () and region.cuts == ((8, 6), (8, 14))
    assert region.modelParticles == region.atoms
    assert "cut and not capped" in str(mixed.report)


def test_lennard_jones_modifiers(tmp_path):
    found = {}
    for modifier in SWITCHED:
        start = None if modifier == "none" else 0.3
        paths = alanine(tmp_path, **NARROW, vdw_modifier=modifier, rvdw_switch=start)
        _, system, positions = make_force_field(settings(paths, tmp_path))
        found[modifier] = energy(system, positions)
    assert found["none"] == pytest.approx(SWITCHED["none"], abs=MESH_TOLERANCE)
    for modifier in ("potential-switch", "force-switch"):
        expected = SWITCHED[modifier] - SWITCHED["none"]
        assert found[modifier] - found["none"] == pytest.approx(expected, abs=SWITCHED_TOLERANCE)


def test_two_waters_of_the_third_combination_rule(tmp_path):
    paths = shared(tmp_path, "spc2", "1 2 3", coulombtype="PME", rcoulomb=1.2, rvdw=1.2, fourierspacing=0.06,
                   ewald_rtol=1e-7, vdw_modifier="none")  # fmt: skip
    topology, system, positions = make_force_field(settings(paths, tmp_path))
    assert energy(system, positions) == pytest.approx(SPC2, abs=SPC2_TOLERANCE)
    assert (system.getNumConstraints(), topology.getNumBonds()) == (6, 4)


def test_flexible_water(tmp_path):
    _, system, _ = make_force_field(settings(waters(tmp_path, define="-DFLEXIBLE"), tmp_path))
    assert system.getNumConstraints() == 0
    assert sum(f.getNumBonds() for f in system.getForces() if isinstance(f, openmm.HarmonicBondForce)) == 4


@pytest.mark.parametrize("region, removed, loose", [("1 2 3", 3, ()), ("1 2", 3, (2,)), ("1", 0, None)])
def test_rigid_waters_of_the_region(tmp_path, region, removed, loose):
    from openmm_nequip.hybrid import HybridOptions
    from openmm_nequip.hybrid.constraints import remove_constraints
    from openmm_nequip.hybrid.regions import Region

    assert HybridOptions().removeConstraints is None
    _, system, _ = make_force_field(settings(waters(tmp_path), tmp_path))
    atoms = tuple(int(word) - 1 for word in region.split())
    found = remove_constraints(system, [Region(atoms)], None, "gromacs")
    assert len(found.removed) == removed and system.getNumConstraints() == 6 - removed
    assert [out for _, out in found.settles] == ([] if loose is None else [loose])
    assert len(found.across) == (2 if loose is None else 0)


def test_position_restraints_act(tmp_path):
    given = settings(waters(tmp_path, define="-DPOSRES_WATER"), tmp_path)
    _, system, positions = make_force_field(given)
    held = [force for force in system.getForces() if force.getName() == "PositionRestraints"]
    assert [force.getNumParticles() for force in held] == [2]
    for other in system.getForces():
        other.setForceGroup(0 if other in held else 1)
    moved = positions.copy()
    moved[3] += (0.01, 0.02, 2.5 - 0.03)  # through the box: the nearest image counts
    kept = [f.getName() for f in system.getForces() if f.getName() != "PositionRestraints"]
    expected = 0.5 * (1000 * 0.01**2 + 2000 * 0.02**2 + 3000 * 0.03**2)
    assert energy(system, moved, without=kept) == pytest.approx(expected, abs=EXACT)
    assert energy(system, positions, without=kept) == pytest.approx(0.0, abs=EXACT)


def test_velocities_of_the_structure_are_kept(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        simulation = make_simulation(settings(alanine(tmp_path), tmp_path))
    found = simulation.context.getState(velocities=True).getVelocities(asNumpy=True)._value
    assert found[0] == pytest.approx([-0.7039, 0.4613, 0.0257], abs=EXACT)
    assert found[21] == pytest.approx([-0.0292, -0.4463, -0.2141], abs=EXACT)


def test_exclusions_are_those_of_gromacs(tmp_path):
    """A 1-4 pair that [ pairs ] leaves out is excluded by nrexcl 3; OpenMM's reader would scale it."""
    paths = alanine(tmp_path)
    text = open(paths[2]).read()
    assert text.count("   16    19     1 \n") == 1
    (tmp_path / "topol.top").write_text(text.replace("   16    19     1 \n", "", 1))
    paths[2] = str(tmp_path / "topol.top")
    _, system, _ = make_force_field(settings(paths, tmp_path))
    force = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    rows = [force.getExceptionParameters(index) for index in range(force.getNumExceptions())]
    pairs = {tuple(sorted(row[:2])): row[2]._value for row in rows}
    assert pairs[(15, 18)] == 0.0 and pairs[(15, 17)] != 0.0


def test_what_no_system_can_exclude_is_refused(tmp_path):
    """With nrexcl 1 the hydrogens of a flexible water interact; OpenMM's reader would exclude them."""
    paths = waters(tmp_path, define="-DFLEXIBLE")
    own = tmp_path / "oplsaa.ff" / "tip3p.itp"
    own.parent.mkdir()
    own.write_text((DATA / "oplsaa.ff" / "tip3p.itp").read_text().replace("SOL  2", "SOL  1"))
    with pytest.raises(EngineInputError, match="nrexcl 1 of SOL lets atoms 2 and 3 interact") as caught:
        make_force_field(settings(paths, tmp_path))
    assert (caught.value.path, caught.value.line) == (str(own), 3)


def test_other_reference_positions(tmp_path):
    given = settings(waters(tmp_path, define="-DPOSRES_WATER"), tmp_path)
    (tmp_path / "reference.gro").write_text((tmp_path / "conf.gro").read_text().replace("   0.800", "   0.900"))
    _, system, positions = make_force_field(given | {"restraint_reference": str(tmp_path / "reference.gro")})
    kept = [force.getName() for force in system.getForces() if force.getName() != "PositionRestraints"]
    assert energy(system, positions, without=kept) == pytest.approx(0.5 * 3000 * 0.1**2, abs=EXACT)
