"""A stand-in for the model, the systems that the mixed tests share, and tests of the stand-in itself."""

import functools
import itertools
import warnings

import numpy as np
import openmm
import torch
from openmm import app, unit

from openmm_nequip.evaluate.links import minimum_image, place_caps, spread_cap_forces
from openmm_nequip.hybrid import build_mixed_system

STRENGTH = 20.0  # kJ/mol, of the stand-in's pair terms
WIDTH = 0.2  # nm, their range
GRADIENT_TOLERANCE = 1e-6  # relative, central differences of the stand-in

REFERENCE = openmm.Platform.getPlatformByName("Reference")
SIDE_CHAIN = [8, 9, 10, 11, 12, 13]  # CA HA CB HB1 HB2 HB3 of ACE-ALA-NME, counted from 0
DIPEPTIDE = list(range(22))
#: Whether PythonForce acts on chosen particles.
SUBSETS = hasattr(openmm.PythonForce, "setParticles")


class PairModel:
    """Gaussian pair terms between the atoms and caps of every region, with weights that tell the atoms apart."""

    evaluations = 0

    def __init__(self, regions, periodic, lambda_name):
        self.periodic = periodic
        self.particles = list(dict.fromkeys(i for region in regions for i in region.modelParticles))
        self.lambda_name = lambda_name
        place = {particle: row for row, particle in enumerate(self.particles)}
        self.regions = [
            {
                "atoms": [place[i] for i in region.atoms],
                "q": [place[link.q] for link in region.links],
                "m": [place[link.m] for link in region.links],
                "d": [link.distance_nm for link in region.links],
            }
            for region in regions
        ]

    def energy_and_forces(self, positions, box):
        """Energy in kJ/mol and forces in kJ/mol/nm, from positions and box rows in nm."""
        points = torch.tensor(positions, dtype=torch.float64)
        cell = None if box is None else torch.tensor(box, dtype=torch.float64)
        forces, energy = torch.zeros_like(points), 0.0
        for region in self.regions:
            part, spread = self._region(points, region, cell)
            energy += part
            forces += spread
        return energy, np.ascontiguousarray(forces.numpy())

    @staticmethod
    def _region(points, region, cell):
        q, m = (torch.tensor(region[key], dtype=torch.int64) for key in "qm")
        d = torch.tensor(region["d"], dtype=torch.float64)
        sites = torch.cat([points[region["atoms"]], place_caps(points, q, m, d, cell)]).requires_grad_()
        weight = 1.0 + 0.1 * (torch.arange(len(sites)) % 5)
        i, j = torch.triu_indices(len(sites), len(sites), 1)
        squares = (minimum_image(sites[j] - sites[i], cell) ** 2).sum(1)
        energy = (STRENGTH * weight[i] * weight[j] * torch.exp(-squares / WIDTH**2)).sum() + 3.0 * len(sites)
        (gradient,) = torch.autograd.grad(energy, sites)
        count = len(region["atoms"])
        spread = spread_cap_forces(-gradient[count:], points, q, m, d, cell)
        spread[region["atoms"]] -= gradient[:count]
        return float(energy.detach()), spread

    def __call__(self, state):
        """Answer OpenMM's PythonForce, which before OpenMM 8.6 hands over all particles."""
        everything = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        if self.lambda_name is not None and state.getParameters()[self.lambda_name] == 0.0:
            return 0.0, np.zeros_like(everything)
        positions = everything if SUBSETS else everything[self.particles]
        PairModel.evaluations += 1
        box = None
        if self.periodic:
            box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        energy, forces = self.energy_and_forces(positions, box)
        if SUBSETS:
            return energy, forces
        spread = np.zeros_like(everything)
        spread[self.particles] = forces
        return energy, spread


def add_stand_in(*, system, regions, periodic, forceGroup, lambdaName):
    """The builder's addModelForces for the stand-in."""
    model = PairModel(regions, periodic, lambdaName)
    force = openmm.PythonForce(model, {} if lambdaName is None else {lambdaName: 1.0})
    if SUBSETS:
        force.setParticles(model.particles)
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setName("StandIn")
    return [force]


def build(topology, system, atoms, **options):
    """Build a mixed System with the stand-in, without the warning that a cut residue's charge is no whole number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The force-field charges of region")
        return build_mixed_system(topology, system, atoms, add_stand_in, **options)


def evaluate(system, positions, parameters=None, platform=REFERENCE, groups=-1, derivatives=False):
    """Energy in kJ/mol and forces (n, 3) in kJ/mol/nm; with `derivatives` also ∂E/∂parameter."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    context.computeVirtualSites()
    for name, value in (parameters or {}).items():
        context.setParameter(name, value)
    state = context.getState(getEnergy=True, getForces=True, getParameterDerivatives=derivatives, groups=groups)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    return (energy, forces, dict(state.getEnergyParameterDerivatives())) if derivatives else (energy, forces)


ACE_ALA_NME = [
    ("ACE", "HH31", "H", 2.000, 1.000, 0.000), ("ACE", "CH3", "C", 2.000, 2.090, 0.000),
    ("ACE", "HH32", "H", 1.486, 2.454, 0.890), ("ACE", "HH33", "H", 1.486, 2.454, -0.890),
    ("ACE", "C", "C", 3.427, 2.641, 0.000), ("ACE", "O", "O", 4.391, 1.877, 0.000),
    ("ALA", "N", "N", 3.555, 3.970, 0.000), ("ALA", "H", "H", 2.733, 4.556, 0.000),
    ("ALA", "CA", "C", 4.853, 4.614, 0.000), ("ALA", "HA", "H", 5.408, 4.316, 0.890),
    ("ALA", "CB", "C", 5.661, 4.221, -1.232), ("ALA", "HB1", "H", 5.123, 4.521, -2.131),
    ("ALA", "HB2", "H", 6.630, 4.719, -1.206), ("ALA", "HB3", "H", 5.809, 3.141, -1.241),
    ("ALA", "C", "C", 4.713, 6.129, 0.000), ("ALA", "O", "O", 3.601, 6.653, 0.000),
    ("NME", "N", "N", 5.846, 6.835, 0.000), ("NME", "H", "H", 6.737, 6.359, 0.000),
    ("NME", "CH3", "C", 5.846, 8.284, 0.000), ("NME", "HH31", "H", 4.819, 8.648, 0.000),
    ("NME", "HH32", "H", 6.360, 8.648, 0.890), ("NME", "HH33", "H", 6.360, 8.648, -0.890),
]  # fmt: skip


@functools.cache
def dipeptide():
    """Topology and positions (22, 3) in nm of ACE-ALA-NME in GROMACS' order of atoms, slightly shaken."""
    topology = app.Topology()
    chain = topology.addChain()
    residues = {}
    for name, atom, symbol, *_ in ACE_ALA_NME:
        if name not in residues:
            residues[name] = topology.addResidue(name, chain)
        topology.addAtom(atom, app.Element.getBySymbol(symbol), residues[name])
    points = np.array([row[3:] for row in ACE_ALA_NME]) / 10.0
    atoms = list(topology.atoms())
    for first, second in itertools.combinations(atoms, 2):
        longest = 0.12 if "H" in (first.element.symbol, second.element.symbol) else 0.17
        if np.linalg.norm(points[first.index] - points[second.index]) < longest:
            topology.addBond(first, second)
    return topology, points + np.random.default_rng(1).normal(scale=0.003, size=points.shape)


@functools.cache
def force_field(water="tip3p"):
    """Amber99SB-ILDN with a water model."""
    return app.ForceField("amber99sbildn.xml", f"{water}.xml")


@functools.cache
def solution(water="tip3p", ions=False):
    """Topology and positions in nm of the dipeptide in a 1.8 nm box of water, with Na+ and Cl- if asked for."""
    topology, positions = dipeptide()
    modeller = app.Modeller(topology, [openmm.Vec3(*p) for p in positions] * unit.nanometer)
    modeller.addSolvent(
        force_field(water), model="tip4pew" if water == "tip4pew" else "tip3p",
        boxSize=openmm.Vec3(1.8, 1.8, 1.8) * unit.nanometer, ionicStrength=(0.6 if ions else 0.0) * unit.molar,
    )  # fmt: skip
    points = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return modeller.topology, points


def solution_system(water="tip3p", ions=False, method=app.PME, cutoff=0.5, **options):
    """The force field's System of :func:`solution`; constraints None and flexible water unless told otherwise."""
    topology, _ = solution(water, ions)
    settings = {"constraints": None, "rigidWater": False, "nonbondedCutoff": cutoff * unit.nanometer, **options}
    return force_field(water).createSystem(topology, nonbondedMethod=method, **settings)


def vacuum_system(**options):
    """The force field's System of the dipeptide alone."""
    return force_field().createSystem(dipeptide()[0], **{"constraints": None, **options})


def charmm_like_system():
    """The dipeptide with what CHARMM force fields have besides: Urey-Bradley terms and Lennard-Jones of its own."""
    system = vacuum_system()
    forces = {type(force).__name__: force for force in system.getForces()}
    angles = forces["HarmonicAngleForce"]
    for index in range(angles.getNumAngles()):
        i, _, k, *_ = angles.getAngleParameters(index)
        forces["HarmonicBondForce"].addBond(i, k, 0.25, 500.0)
    bonds = [(bond.atom1.index, bond.atom2.index) for bond in dipeptide()[0].bonds()]
    energy = "4*0.3*((0.3/r)^12-(0.3/r)^6)"
    pairs = openmm.CustomNonbondedForce(energy)
    for _ in DIPEPTIDE:
        pairs.addParticle([])
    pairs.createExclusionsFromBonds(bonds, 3)
    special = openmm.CustomBondForce(energy)
    nonbonded = forces["NonbondedForce"]
    for index in range(nonbonded.getNumExceptions()):
        i, j, _, sigma, epsilon = nonbonded.getExceptionParameters(index)
        nonbonded.setExceptionParameters(index, i, j, 0.0, sigma, 0.0)
        if epsilon._value:
            special.addBond(i, j, [])
    system.addForce(pairs)
    system.addForce(special)
    return system


def numerical_force(energy, positions, atom, step=1e-5):
    """Central-difference force on one atom."""
    force = np.zeros(3)
    for axis, sign in itertools.product(range(3), (1, -1)):
        moved = np.array(positions)
        moved[atom, axis] += sign * step
        force[axis] -= sign * energy(moved) / (2 * step)
    return force


def test_stand_in_forces_match_central_differences():
    topology, positions = dipeptide()
    regions = build(topology, vacuum_system(), SIDE_CHAIN).regions
    model = PairModel(regions, False, None)
    points = positions[model.particles]
    _, forces = model.energy_and_forces(points, None)
    for row in range(len(points)):
        numerical = numerical_force(lambda p: model.energy_and_forces(p, None)[0], points, row)
        np.testing.assert_allclose(forces[row], numerical, atol=GRADIENT_TOLERANCE * np.abs(forces).max())
