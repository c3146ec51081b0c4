"""The table of OpenMM's force classes, one row each; what the columns mean: :class:`ForceClass`.

To add a class, add a row: with the role ``TERMS`` how many terms a force has, which particles each binds, where they
stand in its XML and when one is a restraint (:mod:`openmm_nequip.hybrid.restraints`); with the role ``PAIRS`` a
function that divides it (as in :mod:`openmm_nequip.hybrid.nonbonded`); with the role ``REFUSED`` the reason.  Who
cannot wait for a release gives ``forceClasses=FORCE_CLASSES.adding(row)`` to the builder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import openmm

from .charges import particle_charges
from .force_classes import Atoms, BondEvidence, ForceClass, ForceClasses, Role
from .force_copies import class_name, describe_force
from .nonbonded import (
    divide_custom_nonbonded,
    divide_nonbonded,
    exception_pairs,
    excluded_custom_pairs,
    excluded_pairs,
    is_lattice_sum,
)
from .restraints import always, bent_over_no_bonds, farther_than, never, not_joined_by_bonds


def _bonds(force: Any) -> int:
    return force.getNumBonds()


def _angles(force: Any) -> int:
    return force.getNumAngles()


def _torsions(force: Any) -> int:
    return force.getNumTorsions()


def _particles(force: Any) -> int:
    return force.getNumParticles()


def _leading(getter: str, count: int, start: int = 0) -> Callable[[Any, int], Atoms]:
    """Read the particles from the place `start` on among the parameters that a method of the force returns."""
    return lambda force, index: tuple(getattr(force, getter)(index)[start : start + count])


def _compound_atoms(force: openmm.CustomCompoundBondForce, index: int) -> Atoms:
    return tuple(force.getBondParameters(index)[0])


def _centroid_atoms(force: openmm.CustomCentroidBondForce, index: int) -> Atoms:
    groups, _ = force.getBondParameters(index)
    return tuple(dict.fromkeys(i for group in groups for i in force.getGroupParameters(group)[0]))


def _check_variables(force: openmm.CustomCVForce, particles: Collection[int], classes: ForceClasses) -> None:
    """Refuse interactions that a collective variable hides: they would be counted twice."""
    hidden = {row.name for row in classes if row.role in (Role.PAIRS, Role.REFUSED)}
    for index in range(force.getNumCollectiveVariables()):
        variable = force.getCollectiveVariable(index)
        if class_name(variable) in hidden:
            raise ValueError(
                f"{describe_force(force)} contains a {class_name(variable)} as collective variable, which may act "
                "inside the region on top of the model. Build the hybrid System from the plain force field and add "
                "this force afterwards, or name it in keepForces if it leaves the region alone."
            )


def _check_drude(force: openmm.DrudeForce, particles: Collection[int], classes: ForceClasses) -> None:
    """Polarisable particles elsewhere are harmless: their springs and screened pairs join them to each other only."""
    inside = set(particles)
    for index in range(force.getNumParticles()):
        touched = inside.intersection(force.getParticleParameters(index)[:5])
        if touched:
            raise ValueError(
                f"{describe_force(force)} binds atom {min(touched)} of the region to a Drude particle. The model has "
                "no such particle and the induced energy is no sum over pairs. Use a force field without polarisation "
                "for the region."
            )


_INDUCED = "its energy is not a sum over pairs (induced dipoles depend on all atoms), so no part of it is the region's"
_SOLVENT = (
    "its energy is not a sum over pairs: the effective radius of every atom depends on all others, and whether the "
    "model already contains the solvation of the region only its training data can tell"
)

#: Every class of Force of OpenMM 8.6 and of the plugins for torch and PLUMED.
FORCE_CLASSES = ForceClasses((
    # terms over few particles
    ForceClass(
        "HarmonicBondForce", Role.TERMS, count=_bonds, atoms=_leading("getBondParameters", 2), xml_container="Bonds",
        restraint_rule=farther_than(2), bond_evidence=BondEvidence.BONDS, holds_ends=True,
    ),
    ForceClass(
        "CustomBondForce", Role.TERMS, count=_bonds, atoms=_leading("getBondParameters", 2), xml_container="Bonds",
        restraint_rule=farther_than(3), covered_by=("HarmonicBondForce",), bond_evidence=BondEvidence.BONDS,
        holds_ends=True,
    ),
    ForceClass(
        "HarmonicAngleForce", Role.TERMS, count=_angles, atoms=_leading("getAngleParameters", 3),
        xml_container="Angles", restraint_rule=bent_over_no_bonds, bond_evidence=BondEvidence.ANGLES, holds_ends=True,
    ),
    ForceClass(
        "CustomAngleForce", Role.TERMS, count=_angles, atoms=_leading("getAngleParameters", 3),
        xml_container="Angles", restraint_rule=bent_over_no_bonds, covered_by=("HarmonicAngleForce",),
        bond_evidence=BondEvidence.ANGLES, holds_ends=True,
    ),
    ForceClass(
        "PeriodicTorsionForce", Role.TERMS, count=_torsions, atoms=_leading("getTorsionParameters", 4),
        xml_container="Torsions", restraint_rule=not_joined_by_bonds,
    ),
    ForceClass(
        "RBTorsionForce", Role.TERMS, count=_torsions, atoms=_leading("getTorsionParameters", 4),
        xml_container="Torsions", restraint_rule=not_joined_by_bonds,
    ),
    ForceClass(
        "CustomTorsionForce", Role.TERMS, count=_torsions, atoms=_leading("getTorsionParameters", 4),
        xml_container="Torsions", restraint_rule=not_joined_by_bonds,
        covered_by=("PeriodicTorsionForce", "RBTorsionForce"),
    ),
    ForceClass(
        "CMAPTorsionForce", Role.TERMS, count=_torsions, atoms=_leading("getTorsionParameters", 8, start=1),
        xml_container="Torsions", restraint_rule=never,
    ),
    ForceClass(
        "CustomCompoundBondForce", Role.TERMS, count=_bonds, atoms=_compound_atoms, xml_container="Bonds",
        restraint_rule=not_joined_by_bonds,
    ),
    ForceClass(
        "CustomCentroidBondForce", Role.TERMS, count=_bonds, atoms=_centroid_atoms, xml_container="Bonds",
        restraint_rule=always,
    ),
    ForceClass(
        "CustomExternalForce", Role.TERMS, count=_particles, atoms=_leading("getParticleParameters", 1),
        xml_container="Particles", restraint_rule=always,
    ),
    # interactions between pairs
    ForceClass(
        "NonbondedForce", Role.PAIRS, divide=divide_nonbonded, pairs_are="non-zero 1-4 exceptions replaced",
        excluded_pairs=excluded_pairs, listed_pairs=exception_pairs, charges=particle_charges,
        lattice_sum=is_lattice_sum,
    ),
    ForceClass(
        "CustomNonbondedForce", Role.PAIRS, action="region pairs excluded, custom interaction",
        divide=divide_custom_nonbonded, pairs_are="exclusions added", excluded_pairs=excluded_custom_pairs,
        listed_pairs=excluded_custom_pairs,
    ),
    # thermostats, barostats and what else acts on no particle
    ForceClass("AndersenThermostat", Role.NEUTRAL),
    ForceClass("CMMotionRemover", Role.NEUTRAL),
    ForceClass("CustomVolumeForce", Role.NEUTRAL),
    ForceClass("MonteCarloAnisotropicBarostat", Role.NEUTRAL),
    ForceClass("MonteCarloBarostat", Role.NEUTRAL),
    ForceClass("MonteCarloFlexibleBarostat", Role.NEUTRAL),
    ForceClass("MonteCarloMembraneBarostat", Role.NEUTRAL),
    ForceClass("RPMDMonteCarloBarostat", Role.NEUTRAL),
    # biases on the whole System
    ForceClass("CustomCVForce", Role.BIAS, check=_check_variables),
    ForceClass("OrientationRestraintForce", Role.BIAS),
    ForceClass("RGForce", Role.BIAS),
    ForceClass("RMSDForce", Role.BIAS),
    # what cannot be read, or need not be
    ForceClass("DrudeForce", Role.OPAQUE, check=_check_drude),
    ForceClass("PlumedForce", Role.OPAQUE),
    ForceClass("PythonForce", Role.OPAQUE),
    ForceClass("PythonTorchForce", Role.OPAQUE),
    ForceClass("TorchForce", Role.OPAQUE),
    # what cannot be divided
    ForceClass("AmoebaMultipoleForce", Role.REFUSED, _INDUCED),
    ForceClass("HippoNonbondedForce", Role.REFUSED, _INDUCED),
    ForceClass("AmoebaGeneralizedKirkwoodForce", Role.REFUSED, _SOLVENT),
    ForceClass("AmoebaWcaDispersionForce", Role.REFUSED, _SOLVENT),
    ForceClass(
        "AmoebaVdwForce", Role.REFUSED, "its pair exclusions belong to the AMOEBA multipoles, which cannot be divided"
    ),
    ForceClass(
        "AmoebaTorsionTorsionForce", Role.REFUSED, "it comes with AMOEBA multipoles, which cannot be divided"
    ),
    ForceClass("GBSAOBCForce", Role.REFUSED, _SOLVENT),
    ForceClass("CustomGBForce", Role.REFUSED, _SOLVENT),
    ForceClass("LCPOForce", Role.REFUSED, "the exposed surface of an atom depends on all others"),
    ForceClass(
        "CustomManyParticleForce", Role.REFUSED,
        "its terms over three and more particles cannot be switched off inside a region alone",
    ),
    ForceClass(
        "CustomHbondForce", Role.REFUSED,
        "donors and acceptors couple as groups of several atoms, not through pairs",
    ),
    ForceClass(
        "GayBerneForce", Role.REFUSED,
        "ellipsoids stand for several atoms, so the model and the force field count different particles",
    ),
    ForceClass("ConstantPotentialForce", Role.REFUSED, "electrode charges depend on all atoms"),
    ForceClass(
        "ATMForce", Role.REFUSED,
        "it holds forces of its own at two sets of positions; build the hybrid System first, then add it",
    ),
))  # fmt: skip
