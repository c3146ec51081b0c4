"""The table of force classes: complete for the installed OpenMM, consistent, and open to a further row."""

import numpy as np
import openmm
import pytest
from openmm import unit
from test_mixed_standin import DIPEPTIDE, SIDE_CHAIN, build, dipeptide, evaluate, vacuum_system

from openmm_nequip.hybrid import FORCE_CLASSES, ForceClass, ForceClasses, Role
from openmm_nequip.hybrid.restraints import not_joined_by_bonds

ENERGY_TOLERANCE = 1e-5  # kJ/mol
#: Classes that exist only where a plugin is installed.
PLUGINS = {"PlumedForce", "PythonTorchForce", "TorchForce"}
INSTALLED = sorted(
    name
    for name, item in vars(openmm).items()
    if isinstance(item, type) and issubclass(item, openmm.Force) and item is not openmm.Force
)


@pytest.mark.parametrize("name", INSTALLED)
def test_every_class_of_openmm_has_a_row(name):
    assert name in FORCE_CLASSES, f"OpenMM has a {name}: give it a row in openmm_nequip/hybrid/force_table.py"


def test_every_row_is_a_class():
    names = {row.name for row in FORCE_CLASSES}
    newer = {name for name in names - PLUGINS if not hasattr(openmm, name)}
    assert newer <= {"LCPOForce", "OrientationRestraintForce", "ConstantPotentialForce", "RPMDMonteCarloBarostat"}


# ---- terms: name -> a force with three terms on particles that tell them apart


def terms_of(kind, add, *size):
    """A force of three terms; `add` adds one on the particles from a first one on."""
    force = getattr(openmm, kind)(*size)
    for first in (0, 3, 7):
        add(force, first)
    return force


def cmap(force, first):
    if not force.getNumMaps():
        force.addMap(2, [0.0, 1.0, 2.0, 3.0])
    force.addTorsion(0, *range(first, first + 8))


def centroid(force, first):
    groups = [force.addGroup([first, first + 1]), force.addGroup([first + 2])]
    force.addBond(groups, [])


SAMPLES = {
    "HarmonicBondForce": (2, lambda f, i: f.addBond(i, i + 1, 0.1, 1.0)),
    "CustomBondForce": (2, lambda f, i: f.addBond(i, i + 1, []), "r"),
    "HarmonicAngleForce": (3, lambda f, i: f.addAngle(i, i + 1, i + 2, 1.9, 1.0)),
    "CustomAngleForce": (3, lambda f, i: f.addAngle(i, i + 1, i + 2, []), "theta"),
    "PeriodicTorsionForce": (4, lambda f, i: f.addTorsion(*range(i, i + 4), 1, 0.0, 1.0)),
    "RBTorsionForce": (4, lambda f, i: f.addTorsion(*range(i, i + 4), 1, 0, 0, 0, 0, 0)),
    "CustomTorsionForce": (4, lambda f, i: f.addTorsion(*range(i, i + 4), []), "theta"),
    "CMAPTorsionForce": (8, cmap),
    "CustomCompoundBondForce": (5, lambda f, i: f.addBond(range(i, i + 5), []), 5, "distance(p1,p5)"),
    "CustomCentroidBondForce": (3, centroid, 2, "distance(g1,g2)"),
    "CustomExternalForce": (1, lambda f, i: f.addParticle(i, []), "x"),
}


@pytest.mark.parametrize("row", [row for row in FORCE_CLASSES if row.role is Role.TERMS], ids=lambda row: row.name)
def test_terms_are_read_and_split(row):
    size, add, *arguments = SAMPLES[row.name]
    force = terms_of(row.name, add, *arguments)
    every = [tuple(range(first, first + size)) for first in (0, 3, 7)]
    assert row.term_atoms(force) == every
    kept, taken = row.split(force, [1])
    assert (row.term_atoms(kept), row.term_atoms(taken)) == ([every[0], every[2]], [every[1]])
    with pytest.raises(ValueError, match=f"No terms to take out of {row.name}"):
        row.split(force, [])


@pytest.mark.parametrize("row", [row for row in FORCE_CLASSES if row.role is Role.REFUSED], ids=lambda row: row.name)
def test_refused_classes_are_named_with_their_reason(row):
    if row.name in ("CustomManyParticleForce", "CustomHbondForce", "ATMForce"):
        force = {
            "CustomManyParticleForce": lambda: openmm.CustomManyParticleForce(3, "1"),
            "CustomHbondForce": lambda: openmm.CustomHbondForce("1"),
            "ATMForce": lambda: openmm.ATMForce("u0"),
        }[row.name]()
    elif hasattr(openmm, row.name):
        force = getattr(openmm, row.name)()
    else:
        pytest.skip(f"OpenMM {openmm.__version__} has no {row.name}")
    system = vacuum_system()
    system.addForce(force)
    with pytest.raises(ValueError) as caught:
        build(dipeptide()[0], system, SIDE_CHAIN)
    assert f"{row.name} cannot be part of a hybrid System: {row.reason}" in str(caught.value)


def test_a_class_without_a_row_is_refused_by_name():
    fewer = ForceClasses(tuple(row for row in FORCE_CLASSES if row.name != "RGForce"))
    system = vacuum_system()
    system.addForce(openmm.RGForce())
    build(dipeptide()[0], system, SIDE_CHAIN)
    with pytest.raises(ValueError, match="RGForce cannot be part of a hybrid System: this class is not known"):
        build(dipeptide()[0], system, SIDE_CHAIN, forceClasses=fewer)
    kept = build(dipeptide()[0], system, SIDE_CHAIN, forceClasses=fewer, keepForces=["RGForce"])
    assert kept.report.forces[-1].action == "kept as asked by keepForces"


# ---- a further row


def coupled_torsions(*terms):
    """AMOEBA's map over five atoms in a chain: a class that the package refuses, and that is a list of terms."""
    angles = np.linspace(-180.0, 180.0, 25)
    grid = [[[a, b, float(np.cos(np.radians(a + b))), 0.0, 0.0, 0.0] for b in angles] for a in angles]
    force = openmm.AmoebaTorsionTorsionForce()
    force.setTorsionTorsionGrid(0, grid)
    for atoms in terms:
        force.addTorsionTorsion(*atoms, -1, 0)
    return force


TOY_ROW = ForceClass(
    "AmoebaTorsionTorsionForce", Role.TERMS,
    count=lambda force: force.getNumTorsionTorsions(),
    atoms=lambda force, index: tuple(force.getTorsionTorsionParameters(index)[:5]),
    xml_container="TorsionTorsion",
    restraint_rule=not_joined_by_bonds,
)  # fmt: skip


def test_one_row_makes_a_class_known():
    """A refused class gets a row; its terms are then divided, reported and put back at λ = 0 as those of any other."""
    topology, positions = dipeptide()
    system = vacuum_system()
    inside, across, outside = (12, 10, 8, 6, 4), (11, 10, 8, 14, 16), (0, 1, 4, 6, 8)
    system.addForce(coupled_torsions(inside, across, outside))
    with pytest.raises(ValueError, match="AmoebaTorsionTorsionForce cannot be part"):
        build(topology, system, SIDE_CHAIN)
    classes = FORCE_CLASSES.adding(TOY_ROW)
    assert "AmoebaTorsionTorsionForce" in classes and len(list(classes)) == len(list(FORCE_CLASSES))
    atoms = [*SIDE_CHAIN, 4, 6]
    hybrid = build(topology, system, atoms, forceClasses=classes, interpolate=True)
    entry = hybrid.report.forces[-1]
    assert (entry.removed, entry.kept, entry.action) == ([inside], 2, "divided by its terms")
    at_zero = evaluate(hybrid.system, positions, {"lambda_interpolate": 0.0})[0]
    assert abs(at_zero - evaluate(system, positions)[0]) < ENERGY_TOLERANCE


def test_a_splitter_takes_the_place_of_the_xml():
    called = []

    def split(force, removed):
        called.append(sorted(removed))
        return coupled_torsions((0, 1, 4, 6, 8)), coupled_torsions((12, 10, 8, 6, 4))

    row = ForceClass(
        "AmoebaTorsionTorsionForce", Role.TERMS, count=TOY_ROW.count, atoms=TOY_ROW.atoms, splitter=split,
        restraint_rule=not_joined_by_bonds,
    )  # fmt: skip
    system = vacuum_system()
    system.addForce(coupled_torsions((12, 10, 8, 6, 4), (0, 1, 4, 6, 8)))
    build(dipeptide()[0], system, DIPEPTIDE[4:], forceClasses=FORCE_CLASSES.adding(row))
    assert called == [[0]]


def test_rows_check_themselves():
    with pytest.raises(ValueError, match="The row of Toy has the role TERMS and lacks count, atoms, restraint_rule"):
        ForceClass("Toy", Role.TERMS)
    with pytest.raises(ValueError, match="role PAIRS and lacks divide, pairs_are"):
        ForceClass("Toy", Role.PAIRS)
    with pytest.raises(ValueError, match="role REFUSED and lacks reason"):
        ForceClass("Toy", Role.REFUSED)
    with pytest.raises(ValueError, match="several rows for Toy"):
        ForceClasses((ForceClass("Toy", Role.NEUTRAL), ForceClass("Toy", Role.OPAQUE)))
    with pytest.raises(ValueError, match=r"forceClasses is \['Toy'\].*FORCE_CLASSES.adding"):
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, forceClasses=["Toy"])
    wrong = ForceClass(
        "HarmonicBondForce", Role.TERMS, count=lambda f: f.getNumBonds(),
        atoms=lambda f, i: tuple(f.getBondParameters(i)[:2]), xml_container="Strings",
        restraint_rule=not_joined_by_bonds,
    )  # fmt: skip
    with pytest.raises(ValueError, match="HarmonicBondForce has no element 'Strings'; it has .*Bonds"):
        build(dipeptide()[0], vacuum_system(), SIDE_CHAIN, forceClasses=FORCE_CLASSES.adding(wrong))


def test_pair_classes_only_give_up_regions():
    force = openmm.HarmonicBondForce()
    with pytest.raises(ValueError, match="HarmonicBondForce has no interactions between pairs"):
        FORCE_CLASSES.of(force).take_regions_out(force, None)
    assert FORCE_CLASSES.of(openmm.RGForce()).term_atoms(openmm.RGForce()) == []


def test_a_barostat_that_openmm_cannot_copy_is_refused_by_name():
    """Its row says that it does no harm; it is OpenMM 8.6 that cannot store it."""
    system = vacuum_system()
    system.addForce(openmm.RPMDMonteCarloBarostat(1.0 * unit.bar, 25))
    with pytest.raises(ValueError, match="RPMDMonteCarloBarostat.*cannot be copied.*add it after mixing"):
        build(dipeptide()[0], system, SIDE_CHAIN)
