"""A user's biases on atoms of the region stay, whatever their class; terms of a force field go. Doubt is said."""

import re
import warnings

import openmm
import pytest
from openmm import app
from test_mixed_standin import DIPEPTIDE, build, charmm_like_system, dipeptide, evaluate, solution, vacuum_system

ENERGY_TOLERANCE = 1e-6  # kJ/mol
#: Atoms of the φ torsion of ACE-ALA-NME.
PHI = (4, 6, 8, 14)


def custom_bond(i, j):
    force = openmm.CustomBondForce("k*max(0,r-0.2)^2")
    force.addGlobalParameter("k", 1000.0)
    force.addBond(i, j, [])
    return force


def harmonic_bond(i, j):
    force = openmm.HarmonicBondForce()
    force.addBond(i, j, 0.2, 1000.0)
    return force


def compound(expression, *atoms):
    force = openmm.CustomCompoundBondForce(len(atoms), expression)
    force.addBond(atoms, [])
    return force


def torsion(kind, atoms, *values):
    force = kind("100*(theta-1)^2") if kind is openmm.CustomTorsionForce else kind()
    force.addTorsion(*atoms, *(values or ([],)))
    return force


def angle(atoms):
    force = openmm.HarmonicAngleForce()
    force.addAngle(*atoms, 1.5, 200.0)
    return force


def custom_angle(atoms):
    force = openmm.CustomAngleForce("1000*(theta-1.5)^2")
    force.addAngle(*atoms, [])
    return force


def cmap(*chain):
    force = openmm.CMAPTorsionForce()
    force.addMap(4, [float(k) for k in range(16)])
    force.addTorsion(0, *chain)
    return force


#: name -> force; whether nothing but their number tells these terms from a force field's.
BIASES = {
    "compound torsion": (lambda: compound("50*(dihedral(p1,p2,p3,p4)-1)^2", *PHI), False),
    "compound of two distances": (lambda: compound("500*(distance(p1,p2)-distance(p2,p3)-0.05)^2", 6, 8, 14), False),
    "compound angle": (lambda: compound("500*(angle(p1,p2,p3)-1.5)^2", 6, 8, 14), False),
    "compound, middle atom last": (lambda: compound("500*(angle(p1,p3,p2)-1.5)^2", 6, 14, 8), False),
    "compound of five": (lambda: compound("1000*(distance(p1,p5)-0.3)^2", 4, 6, 8, 14, 16), True),
    "compound of a bond": (lambda: compound("1000*(distance(p1,p2)-0.2)^2", 6, 8), False),
    "compound of a 1-3 pair": (lambda: compound("1000*(distance(p1,p2)-0.2)^2", 4, 8), True),
    "wall 1-3": (lambda: custom_bond(4, 8), True),
    "wall 1-4": (lambda: custom_bond(4, 14), False),
    "wall 1-5": (lambda: custom_bond(1, 14), False),
    "custom on a bond": (lambda: compound("1000*(distance(p1,p2)-0.2)^2", 8, 14), False),
    "harmonic 1-3": (lambda: harmonic_bond(4, 8), True),
    "harmonic 1-4": (lambda: harmonic_bond(4, 14), False),
    "second harmonic bond": (lambda: harmonic_bond(6, 8), False),
    "second harmonic angle": (lambda: angle((6, 8, 14)), False),
    "custom angle": (lambda: custom_angle((14, 8, 6)), False),
    "periodic torsion": (lambda: torsion(openmm.PeriodicTorsionForce, PHI, 1, 0.5, 50.0), False),
    "Ryckaert-Bellemans": (lambda: torsion(openmm.RBTorsionForce, PHI, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0), False),
    "custom torsion": (lambda: torsion(openmm.CustomTorsionForce, PHI), False),
    "custom torsion backwards": (lambda: torsion(openmm.CustomTorsionForce, PHI[::-1]), False),
    "chirality": (lambda: torsion(openmm.CustomTorsionForce, (8, 6, 14, 10)), True),
    "planarity": (lambda: torsion(openmm.CustomTorsionForce, (6, 8, 7, 4)), False),
}


def with_bias(system, name):
    force = BIASES[name][0]()
    force.setName("Bias")
    system.addForce(force)
    return system


def build_aside(system, atoms=DIPEPTIDE, **options):
    """The mixed System, and the warnings as text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mixed = build(dipeptide()[0], system, atoms, **options)
    return mixed, [str(item.message) for item in caught if item.category is UserWarning]


@pytest.mark.parametrize("name", BIASES)
def test_biases_are_kept(name):
    _, points = dipeptide()
    expected = evaluate(with_bias(vacuum_system(), name), points)[0] - evaluate(vacuum_system(), points)[0]
    mixed, caught = build_aside(with_bias(vacuum_system(), name))
    plain, _ = build_aside(vacuum_system())
    found = evaluate(mixed.system, points)[0] - evaluate(plain.system, points)[0]
    assert abs(found - expected) < ENERGY_TOLERANCE and abs(expected) > 1e-3
    entry = mixed.report.forces[-1]
    assert len(entry.restraints) == 1 and not entry.removed
    doubt = BIASES[name][1]
    assert bool(entry.doubtful) is bool(caught) is doubt
    assert all(text in mixed.report.notes and re.search("'Bias'.*restraints and kept", text) for text in caught)


@pytest.mark.parametrize("name", [name for name, (_, doubt) in BIASES.items() if doubt])
def test_doubt_ends_by_naming_the_force(name):
    system = with_bias(vacuum_system(), name)
    kept, caught = build_aside(system, keepForces=["Bias"])
    assert not caught and not kept.report.forces[-1].removed
    gone, caught = build_aside(system, forceFieldForces=["Bias"])
    assert not caught and len(gone.report.forces[-1].removed) == 1


def test_restraint_inside_the_force_field_s_own_bonds():
    """A pair across an angle among the bonds, of which there are no others."""
    system = vacuum_system()
    bonds = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce))
    count = bonds.getNumBonds()
    bonds.addBond(4, 8, 0.2, 1000.0)
    mixed, caught = build_aside(system)
    entry = mixed.report.forces[0]
    assert (entry.restraints, len(entry.removed), len(caught)) == ([(4, 8)], count, 1)


# ---- force fields of which nothing may stay


def charmm():
    return app.ForceField("charmm36_2024.xml").createSystem(dipeptide()[0])


def urey_bradley_apart():
    """Urey-Bradley terms in a force of their own, as CHARMM's PSF files give them."""
    system = charmm()
    bonds = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce))
    topology = {tuple(sorted((b.atom1.index, b.atom2.index))) for b in dipeptide()[0].bonds()}
    apart, rest = openmm.HarmonicBondForce(), openmm.HarmonicBondForce()
    for index in range(bonds.getNumBonds()):
        i, j, *values = bonds.getBondParameters(index)
        (rest if tuple(sorted((i, j))) in topology else apart).addBond(i, j, *values)
    system.removeForce([type(f).__name__ for f in system.getForces()].index("HarmonicBondForce"))
    system.addForce(rest)
    system.addForce(apart)
    return system


def torsions_in_two(harmonic=False):
    """Proper torsions as Ryckaert-Bellemans terms, impropers as periodic ones (OPLS) or harmonic ones (CHARMM)."""
    system = vacuum_system()
    old = next(force for force in system.getForces() if isinstance(force, openmm.PeriodicTorsionForce))
    bonded = {tuple(sorted((b.atom1.index, b.atom2.index))) for b in dipeptide()[0].bonds()}
    proper, seen = openmm.RBTorsionForce(), set()
    improper = openmm.CustomTorsionForce("theta^2") if harmonic else openmm.PeriodicTorsionForce()
    for index in range(old.getNumTorsions()):
        *atoms, n, phase, k = old.getTorsionParameters(index)
        chain = all(tuple(sorted(pair)) in bonded for pair in zip(atoms[:-1], atoms[1:], strict=True))
        if not chain:
            improper.addTorsion(*atoms, *(([],) if harmonic else (n, phase, k)))
        elif tuple(atoms) not in seen:
            proper.addTorsion(*atoms, 1.0, 2.0, 3.0, 0.0, 0.0, 0.0)
            seen.add(tuple(atoms))
    system.removeForce([type(f).__name__ for f in system.getForces()].index("PeriodicTorsionForce"))
    system.addForce(improper)
    system.addForce(proper)
    return system


FORCE_FIELDS = {
    "Amber": vacuum_system,
    "CHARMM": charmm,
    "CHARMM from a PSF": urey_bradley_apart,
    "CHARMM-like": charmm_like_system,
    "OPLS in GROMACS": torsions_in_two,
    "harmonic impropers": lambda: torsions_in_two(harmonic=True),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith("CHARMM")) for name in FORCE_FIELDS]
)
def test_terms_of_force_fields_go_without_doubt(name):
    mixed, caught = build_aside(FORCE_FIELDS[name]())
    assert not caught and not mixed.report.restraints
    assert all(entry.kept == 0 for entry in mixed.report.forces)


def test_a_bias_on_one_of_many_molecules_is_a_bias():
    """Among equal molecules a force field treats all alike."""
    topology, points = solution()
    system = app.ForceField("amber99sbildn.xml", "tip3p.xml").createSystem(
        topology, constraints=None, rigidWater=False, nonbondedMethod=app.PME, nonbondedCutoff=0.5
    )
    plain = build(topology, system, [22, 23, 24])
    system.addForce(custom_bond(23, 24))
    with pytest.warns(UserWarning, match="23-24 are taken for restraints and kept, since there are few"):
        mixed = build(topology, system, [22, 23, 24])
    assert mixed.report.restraints == [("CustomBondForce", (23, 24))]
    assert len(mixed.system.getForces()) == len(plain.system.getForces()) + 1 and len(points)


def test_the_only_place_of_its_kind_is_in_doubt():
    """One water alone: a term across its angle may be the force field's; one that has a switch is a bias."""
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    atoms = [topology.addAtom(n, app.Element.getBySymbol(n[0]), residue) for n in ("O", "H1", "H2")]
    topology.addBond(atoms[0], atoms[1])
    topology.addBond(atoms[0], atoms[2])
    for switch in (True, False):
        system = app.ForceField("tip3p.xml").createSystem(topology, rigidWater=False, constraints=None)
        system.addForce(custom_bond(1, 2) if switch else harmonic_bond(1, 2))
        with pytest.warns(UserWarning, match="1 of 1 places of the kind 1-3 pair"):
            report = build(topology, system, [0, 1, 2]).report
        assert bool(report.restraints) is switch and report.forces[-1].doubtful == [(1, 2)]
