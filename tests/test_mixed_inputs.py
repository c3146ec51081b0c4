"""Selections, bad input and forces that cannot be divided: every message says what is wrong and what to do."""

import dataclasses
import sys
import warnings

import numpy as np
import openmm
import pytest
from openmm import app, unit
from test_mixed_standin import (
    DIPEPTIDE,
    SIDE_CHAIN,
    add_stand_in,
    build,
    charmm_like_system,
    dipeptide,
    solution,
    solution_system,
    vacuum_system,
)

from openmm_nequip.choices import MOLECULES_NAME
from openmm_nequip.hybrid import HybridOptions, build_mixed_system, select_atoms, select_regions
from openmm_nequip.hybrid.covalent import RADII_PM, element_by_symbol, link_distance
from openmm_nequip.hybrid.images import image_distance

IMAGE_TOLERANCE = 1e-9  # nm


# ---- selections


@pytest.mark.parametrize(
    "atoms",
    [
        SIDE_CHAIN,
        tuple(SIDE_CHAIN),
        range(8, 14),
        (i for i in SIDE_CHAIN),
        np.array(SIDE_CHAIN),
        np.array(SIDE_CHAIN, dtype=np.int32),
        "index 8 to 13",
        [atom for atom in dipeptide()[0].atoms() if atom.index in SIDE_CHAIN],
    ],
    ids=["list", "tuple", "range", "generator", "array", "int32", "text", "atoms"],
)
def test_any_iterable_of_atoms(atoms):
    mixed = build(dipeptide()[0], vacuum_system(constraints=app.HBonds), atoms)
    assert mixed.regions[0].atoms == tuple(SIDE_CHAIN)
    assert len(mixed.report.constraints.removed) == 4  # a generator is read once only


def test_order_is_the_callers():
    assert select_atoms(dipeptide()[0], [12, 8, 10]) == (12, 8, 10)


def test_lists_of_regions():
    topology, _ = dipeptide()
    expected = [(0, 1), tuple(SIDE_CHAIN)]
    assert select_regions(topology, [[0, 1], SIDE_CHAIN]) == expected
    assert select_regions(topology, [[0, 1], "index 8 to 13"]) == expected
    assert select_regions(topology, ((i for i in part) for part in expected)) == expected
    assert select_regions(topology, "resname ALA") == [tuple(range(6, 16))]


SELECTIONS = {
    "empty": ([], "no atoms"),
    "empty region": ([[0], []], "no atoms"),
    "twice": ([1, 2, 1], "index 1 is given more than once"),
    "too large": ([1, 22], "index 22 is out of range: the topology has 22 atoms"),
    "negative": ([-1], "index -1 is out of range"),
    "float": ([1.0], "1.0 of type float is not an atom index"),
    "mask": ([True, False], "True is not an atom index.*flatnonzero"),
    "numpy mask": (np.array([True, False]), "is not an atom index.*flatnonzero"),
    "one number": (3, r"atoms is 3\. Expected .*\[3\]"),
    "none": (None, "atoms is None"),
    "mixed": ([1, [2, 3]], "mixes single atoms"),
    "overlap": ([[1, 2], [2, 3]], "Atom 2 is in region 0 and in region 1"),
    "no match": ("resname XYZ", "'resname XYZ' matches none of the 22 atoms"),
    "no language": ("resname is not", "mdtraj cannot read the selection 'resname is not'"),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_bad_selections(name):
    atoms, message = SELECTIONS[name]
    with pytest.raises(ValueError, match=message):
        build(dipeptide()[0], vacuum_system(), atoms)


def test_text_without_mdtraj(monkeypatch):
    monkeypatch.setitem(sys.modules, "mdtraj", None)
    with pytest.raises(ImportError, match="needs mdtraj.*pip install mdtraj"):
        select_atoms(dipeptide()[0], "resname ALA")


# ---- options

OPTIONS = {
    "rule": ({"rule": "charmm"}, "rule is 'charmm'. Expected one of 'openmm-ml', 'gromacs', 'all-in-set'"),
    "charge scheme": ({"linkCharge": "shift"}, "linkCharge is 'shift'. Expected one of 'keep'"),
    "element": ({"linkElement": "Hydrogen"}, "linkElement is 'Hydrogen', which is no chemical symbol"),
    "group": ({"forceGroup": 32}, "forceGroup is 32. Expected a whole number from 0 to 31"),
    "lambda": ({"lambdaName": "1st"}, "lambdaName is '1st'. Expected a name"),
    "flag": ({"interpolate": "yes"}, "interpolate is 'yes'. Expected one of True, False"),
    "long range": ({"mlLongRange": "no"}, "mlLongRange is 'no'. Expected one of True, False, None"),
    "cutoff": ({"cutoff_nm": -0.5}, "cutoff_nm is -0.5"),
    "distance of no bond": ({"linkAtomDistances": [(8, 10, 0.1)]}, r"names atoms \(8, 10\), which no cut bond joins"),
    "distance twice": ({"linkAtomDistances": [(8, 6, 0.1), (6, 8, 0.1)]}, "twice"),
    "distance in angstrom": ({"linkAtomDistances": [(8, 6, 1.09)]}, "1.09 nm.*angstrom need their unit"),
    "distance of a charge": ({"linkAtomDistances": [(8, 6, 1 * unit.elementary_charge)]}, "quantity of length"),
    "distance malformed": ({"linkAtomDistances": [(8, 0.1)]}, r"holds \(8, 0.1\). Expected \(atom, atom"),
    "unknown force": ({"keepForces": ["Bonds"]}, "keepForces names the force 'Bonds'.*0 HarmonicBondForce"),
    "unknown index": ({"forceFieldForces": 9}, "forceFieldForces names the force 9"),
    "idle reference": ({"referenceSystem": openmm.System()}, "without interpolate=True"),
    "other reference": (
        {"referenceSystem": openmm.System(), "interpolate": True}, "0 particles, the System 22. Expected the same"
    ),
    "positions": ({"positions": np.zeros((3, 3))}, r"shape \(3, 3\).*Expected \(22, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_bad_options(name):
    options, message = OPTIONS[name]
    with pytest.raises(ValueError, match=message):
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, **options)


def test_unknown_option_is_not_swallowed():
    with pytest.raises(TypeError, match="removeConstraint"):
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, removeConstraint=True)
    with pytest.raises(TypeError, match="build_mixed_system does not know linkElements; .*cutoff_nm, .*linkElement, "):
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, linkElements="H")
    with pytest.raises(TypeError, match="options is {'rule': 'gromacs'}. Expected HybridOptions"):
        build_mixed_system(dipeptide()[0], vacuum_system(), SIDE_CHAIN, add_stand_in, {"rule": "gromacs"})


@pytest.mark.parametrize("name", [n for n in OPTIONS if n not in (
    "distance of no bond", "unknown force", "unknown index", "other reference", "positions",
)])  # fmt: skip
def test_options_check_themselves(name):
    """Without a System: what can be wrong in an option alone."""
    options, message = OPTIONS[name]
    with pytest.raises(ValueError, match=message):
        HybridOptions(**options)


def test_one_object_holds_the_options():
    """Keywords, an object, and an object with keywords on top build the same System; what was given is kept."""
    given = {"rule": "gromacs", "linkCharge": "zero", "keepForces": "HarmonicBondForce"}
    options = HybridOptions(linkAtomDistances=((i, j, 0.11 * unit.nanometer) for i, j in [(8, 6)]), **given)
    assert options.keepForces == ("HarmonicBondForce",) and options.linkAtomDistances == ((6, 8, 0.11),)
    keywords = {**given, "linkAtomDistances": [(6, 8, 0.11)]}
    changed = HybridOptions(**{**keywords, "rule": "all-in-set", "interpolate": True})
    texts = set()
    for arguments in (keywords, {"options": options}, {"options": changed, "rule": "gromacs", "interpolate": False}):
        mixed = build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, **arguments)
        texts.add(openmm.XmlSerializer.serialize(mixed.system))
    assert len(texts) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.rule = "openmm-ml"


def test_molecules_need_not_be_declared():
    told, silent = (
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, declareMolecules=flag) for flag in (True, False)
    )
    names = [[force.getName() for force in one.system.getForces()] for one in (told, silent)]
    assert MOLECULES_NAME in names[0] and [name for name in names[0] if name != MOLECULES_NAME] == names[1]
    assert (told.report.molecules, silent.report.molecules) == (5, 0)
    # A second build leaves what the first one declared.
    again = build(dipeptide()[0], told.system, [0, 1, 2, 3], declareMolecules=False)
    assert [force.getName() for force in again.system.getForces()].count(MOLECULES_NAME) == 1


def test_topology_and_system_must_match():
    with pytest.raises(ValueError, match="topology has 22 atoms, the System 514 particles"):
        build(dipeptide()[0], solution_system(), SIDE_CHAIN)


def test_long_range_needs_a_lattice_sum():
    topology, _ = solution()
    with pytest.raises(ValueError, match="no NonbondedForce of this periodic System uses Ewald"):
        build(topology, solution_system(method=app.CutoffPeriodic), SIDE_CHAIN, mlLongRange=True)
    build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, mlLongRange=True)  # nothing to subtract in vacuum


# ---- particles


def test_sites_follow_their_atoms():
    topology, _ = solution("tip4pew")
    system = solution_system("tip4pew")
    oxygen = next(r for r in topology.residues() if r.name == "HOH")
    atoms = [atom.index for atom in oxygen.atoms()]
    for chosen in (atoms, atoms[:3]):
        region = build(topology, system, chosen).regions[0]
        assert region.atoms == tuple(atoms[:3]) and region.sites == (atoms[3],)
        assert not region.links and region.modelParticles == region.atoms
    with pytest.raises(ValueError, match=f"Virtual site {atoms[3]} depends on atoms.*outside the region"):
        build(topology, system, atoms[:2])
    with pytest.raises(ValueError, match="virtual sites only|outside the region"):
        build(topology, system, atoms[3:])


def test_particles_without_element():
    topology, _ = dipeptide()
    bare = app.Topology()
    residue = bare.addResidue("X", bare.addChain())
    atoms = [bare.addAtom(a.name, None if a.index == 9 else a.element, residue) for a in topology.atoms()]
    for bond in topology.bonds():
        bare.addBond(atoms[bond.atom1.index], atoms[bond.atom2.index])
    with pytest.raises(ValueError, match="Particle 9 of the region has no element"):
        build(bare, vacuum_system(), SIDE_CHAIN)
    build(bare, vacuum_system(), [0, 1, 2, 3])  # outside the region it does not matter


# ---- forces


def amoeba():
    return openmm.AmoebaMultipoleForce()


def drude():
    force = openmm.DrudeForce()
    force.addParticle(10, 8, -1, -1, -1, -1.0, 0.001, 1.0, 1.0)
    return force


def hidden():
    force = openmm.CustomCVForce("a")
    force.addCollectiveVariable("a", openmm.NonbondedForce())
    return force


def bias():
    force = openmm.CustomCVForce("a")
    force.addCollectiveVariable("a", openmm.RMSDForce([openmm.Vec3(0, 0, 0)] * 22))
    return force


REFUSED = {
    "AmoebaMultipoleForce": (amoeba, "induced dipoles"),
    "AmoebaVdwForce": (openmm.AmoebaVdwForce, "AMOEBA"),
    "DrudeForce": (drude, "binds atom 8 of the region to a Drude particle"),
    "GBSAOBCForce": (openmm.GBSAOBCForce, "effective radius.*keepForces"),
    "CustomGBForce": (openmm.CustomGBForce, "effective radius"),
    "CustomManyParticleForce": (lambda: openmm.CustomManyParticleForce(3, "1"), "three and more particles"),
    "CustomHbondForce": (lambda: openmm.CustomHbondForce("1"), "donors and acceptors"),
    "GayBerneForce": (openmm.GayBerneForce, "ellipsoids"),
    "CustomCVForce": (hidden, "contains a NonbondedForce"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forces_that_cannot_be_divided(name):
    make, reason = REFUSED[name]
    system = vacuum_system()
    system.addForce(make())
    with pytest.raises(ValueError, match=f"{name}.*{reason}"):
        build(dipeptide()[0], system, SIDE_CHAIN)
    if name not in ("DrudeForce",):
        entry = build(dipeptide()[0], system, SIDE_CHAIN, keepForces=[name]).report.forces[-1]
        assert entry.kind == name and "keepForces" in entry.action


def test_forces_on_the_whole_system_are_kept():
    system = vacuum_system()
    for force in (bias(), openmm.RGForce(), openmm.AndersenThermostat(300, 1)):
        system.addForce(force)
    mixed = build(dipeptide()[0], system, SIDE_CHAIN)
    assert [entry.action.split(":")[0] for entry in mixed.report.forces[-3:]] == ["kept"] * 3
    build(dipeptide()[0], mixed.system, [0, 1, 2, 3])  # the stand-in and our own forces are kept by a second build


def test_polarisable_surroundings_are_fine():
    system = vacuum_system()
    system.addForce(drude())
    build(dipeptide()[0], system, [0, 1, 2, 3])


def test_force_that_cannot_be_copied():
    system = vacuum_system()
    force = openmm.PythonForce(lambda state: (0.0, np.zeros((22, 3))))
    system.addForce(force)
    with pytest.raises(ValueError, match="cannot be copied"):
        build(dipeptide()[0], system, SIDE_CHAIN)


# ---- boundary charges


def test_charge_that_has_nowhere_to_go():
    with pytest.raises(ValueError, match="no atom to take the charge of M1 atom 9"):
        build(dipeptide()[0], vacuum_system(), [8], linkCharge="redistribute")


def test_charge_of_another_region():
    with pytest.raises(ValueError, match="would change atom 6, which another region holds"):
        build(dipeptide()[0], vacuum_system(), [SIDE_CHAIN, [6, 7]], linkCharge="zero")


def test_charges_of_several_forces():
    system = vacuum_system()
    second = openmm.NonbondedForce()
    for _ in DIPEPTIDE:
        second.addParticle(0.1, 0.3, 0.0)
    system.addForce(second)
    with pytest.raises(ValueError, match="2 forces have charges"):
        build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero")
    build(dipeptide()[0], system, SIDE_CHAIN)


def test_second_build_on_moved_charges():
    first = build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, linkCharge="zero", interpolate=True)
    with pytest.raises(ValueError, match="Give all regions to one build"):
        build(dipeptide()[0], first.system, [0, 1, 2, 3])


def test_charges_of_custom_forces():
    system = charmm_like_system()
    force = openmm.CustomNonbondedForce("q1*q2/r")
    force.addPerParticleParameter("q")
    for _ in DIPEPTIDE:
        force.addParticle([0.1])
    system.addForce(force)
    with pytest.raises(ValueError, match="charges of its own"):
        build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero")


def test_offsets():
    system = vacuum_system()
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force.addGlobalParameter("grow", 0.0)
    force.addParticleParameterOffset("grow", 6, 0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="changes the charge of atom 6 with a parameter offset"):
        build(dipeptide()[0], system, SIDE_CHAIN, linkCharge="zero")
    system = solution_system()
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    force.addGlobalParameter("grow", 0.0)
    force.addParticleParameterOffset("grow", 8, 0.1, 0.0, 0.0)
    with pytest.raises(ValueError, match="lattice sum cannot be subtracted"):
        build(solution()[0], system, SIDE_CHAIN, mlLongRange=True)


# ---- the model's door


def test_model_must_return_forces():
    for answer in (None, [], openmm.HarmonicBondForce(), ["force"]):
        with pytest.raises(ValueError, match="addModelForces returned"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            build_mixed_system(dipeptide()[0], vacuum_system(), SIDE_CHAIN, lambda answer=answer, **_: answer)


def test_model_must_be_periodic_where_the_system_is():
    with pytest.raises(ValueError, match="does not use periodic boundary conditions"):
        build_mixed_system(
            solution()[0], solution_system(), DIPEPTIDE, lambda **seen: add_stand_in(**{**seen, "periodic": False})
        )


def test_model_sees_what_the_contract_says():
    seen = {}

    def look(**given):
        seen.update(given)
        return add_stand_in(**given)

    build_mixed_system(solution()[0], solution_system(), [DIPEPTIDE, [22, 23, 24]], look, forceGroup=5)
    assert set(seen) == {"system", "regions", "periodic", "forceGroup", "lambdaName"}
    assert (len(seen["regions"]), seen["periodic"], seen["forceGroup"], seen["lambdaName"]) == (2, True, 5, None)


# ---- report


def test_charge_that_is_no_whole_number_warns():
    with pytest.warns(UserWarning, match=r"region 0 sum to \+0.1144 e, which is no whole number"):
        report = build_mixed_system(dipeptide()[0], vacuum_system(), SIDE_CHAIN, add_stand_in).report
    assert report.regions[0].charge == pytest.approx(0.1144)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_mixed_system(dipeptide()[0], vacuum_system(), DIPEPTIDE, add_stand_in)


def test_images_closer_than_the_cutoff_warn():
    topology, points = solution()
    system = solution_system()
    distance = build(topology, system, DIPEPTIDE, positions=points).report.regions[0].nearestImage_nm
    shifts = [np.array(w) * 1.8 for w in np.ndindex(3, 3, 3) if w != (1, 1, 1)]
    shifts = [shift - 1.8 for shift in shifts]
    every = min(np.linalg.norm(points[:22, None] + s - points[None, :22], axis=2).min() for s in shifts)
    assert abs(distance - every) < IMAGE_TOLERANCE
    quantity = [openmm.Vec3(*p) for p in np.mod(points, 1.8)] * unit.nanometer
    with pytest.warns(UserWarning, match="closer than the model's cutoff of 1.500 nm"):
        report = build(topology, system, DIPEPTIDE, positions=quantity, cutoff_nm=1.5).report
    assert abs(report.regions[0].nearestImage_nm - every) < IMAGE_TOLERANCE
    assert "nearest periodic image" in str(report) and "1.500" in str(report)
    assert any("Region 0 takes up" in note for note in report.notes) == (np.ptp(points[:22], axis=0).max() > 0.9)


def test_nearest_image_in_a_skewed_box():
    box = np.array([[3.0, 0, 0], [1.4, 2.0, 0], [-1.0, 0.9, 2.5]])
    points = np.random.default_rng(4).random((30, 3))
    everywhere = [np.array(w) - 2 for w in np.ndindex(5, 5, 5)]
    expected = min(
        np.linalg.norm(points[:, None] + w @ box - points[None], axis=2).min() for w in everywhere if np.any(w)
    )
    scattered = points + np.random.default_rng(5).integers(-2, 3, size=points.shape) @ box
    assert abs(image_distance(scattered, box) - expected) < IMAGE_TOLERANCE


def test_report_counts_and_text():
    mixed = build(dipeptide()[0], vacuum_system(), SIDE_CHAIN)
    text = str(mixed.report)
    for part in ("'openmm-ml'", "6 atoms", "2 cut bonds", "H at 0.1070 nm", "12 terms", "16 kept", "zero strength"):
        assert part in text
    assert mixed.report.removed() == 5 + 12 + 9


def test_covalent_radii():
    assert len(RADII_PM) == 119
    carbon, hydrogen = (element_by_symbol(symbol) for symbol in ("C", "H"))
    assert link_distance(carbon, hydrogen) == pytest.approx(0.107)
    assert [RADII_PM[z] for z in (1, 7, 8, 16, 30, 53, 92, 118)] == [32, 71, 63, 103, 118, 133, 170, 157]
