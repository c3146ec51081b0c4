"""What is asked of the native force on OpenMM's OpenCL platform; run by native_worker.py in a process that has one.

Each function answers numbers, in the model's units where not said otherwise: Å, eV and eV/Å.
"""

import copy
import functools
import os

import numpy as np
import openmm
import torch
from nequip_models import eager, make_model, structure
from test_kernels import MODELS

from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import make_force
from openmm_nequip.forces.native import gpu_description
from openmm_nequip.forces.spec import PotentialSpec
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.kernels.gpu import gpu_target
from openmm_nequip.models import locate
from openmm_nequip.models.execution import Execution
from openmm_nequip.models.fused import Kept
from openmm_nequip.models.own_answers import References
from openmm_nequip.units import Units
from openmm_nequip.upstream.nequip_state import default_dtype

DATA = os.path.join(os.path.dirname(__file__), "data")
LENGTH, ENERGY = 0.1, 96.48533212331001
CUTOFF = 4.0
real_kernels = gpu_description.gpu_kernels


@functools.cache
def model_of(name):
    return make_model(**MODELS[name])


@functools.cache
def kernels_of(name, warps, tables=True):
    """Kernels of a model in memory; nothing to compare them with before they are used, which the tests do."""
    with default_dtype(torch.float64):
        fused = fuse(model_of(name), tables, gpu_target(warps))
    return Kept(fused, {}, References(CUTOFF, "float64", ()))


def spec_of(placement, periodic, skin=0.05, **more):
    """A potential whose kernels are whatever :func:`use_kernels` has put there."""
    source = locate(os.path.join(DATA, "tiny-nequip.nequip.zip"))
    return PotentialSpec(source, Units(LENGTH, ENERGY), placement, periodic, skin, Execution(), **more)


def use_kernels(name, warps=1, first_slots=0, tables=True):
    """Kernels of a model in memory in place of those of a file, and room for so few neighbours to begin with."""
    gpu_description.gpu_kernels = lambda *_: kernels_of(name, warps, tables)
    gpu_description.FIRST_SLOTS = first_slots


def force_of(placement, periodic, n_system, particles=None, skin=0.05, **more):
    return make_force(spec_of(placement, periodic, skin, **more), particles, n_system, "Native")


def system_of(n, cell=None, masses=None):
    system = openmm.System()
    for i in range(n):
        system.addParticle(12.0 if masses is None else masses[i])
    if cell is not None:
        system.setDefaultPeriodicBoxVectors(*(cell * LENGTH))
    return system


def context_of(system, precision="double", integrator=None, platform="OpenCL"):
    properties = {"Precision": precision} if platform == "OpenCL" else {}
    platform = openmm.Platform.getPlatformByName(platform)
    return openmm.Context(system, integrator or openmm.VerletIntegrator(0.0005), platform, properties)


def answer(context, positions=None):
    """Energy (eV) and forces (eV/Å) at positions (Å)."""
    if positions is not None:
        context.setPositions(positions * LENGTH)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value / ENERGY, state.getForces(asNumpy=True)._value * LENGTH / ENERGY


def expected(name, positions, types, cell, periodic, regions=None):
    edges, shifts = NeighborList(CUTOFF, 0.0, periodic)(positions, cell)
    if regions is not None:
        keep = regions[edges[0]] == regions[edges[1]]
        edges, shifts = edges[:, keep], shifts[keep]
    energies, forces, _ = eager(model_of(name), positions, types, edges, shifts, cell)
    return energies.sum(), forces


def deviation(found, wanted):
    """Largest differences of the energy per atom and of a force, relative to the largest force if that is above 1."""
    scale = max(1.0, np.abs(wanted[1]).max())
    n = len(wanted[1])
    return [float(abs(found[0] - wanted[0]) / n / scale), float(np.abs(found[1] - wanted[1]).max() / scale)]


def numbers(
    model, n_atoms=24, side=6.5, periodic=True, precision="double", warps=1, skin=0.05, first_slots=0, tables=True
):
    """Against eager nequip; positions scattered over images of the box."""
    use_kernels(model, warps, first_slots, tables)
    positions, types, cell = structure(n_atoms, side=side, periodic=periodic)
    force = force_of(Placement(n_atoms, types), periodic, n_atoms, skin=skin)
    system = system_of(n_atoms, cell if periodic else None)
    system.addForce(force)
    scattered = positions.copy()
    if periodic:
        scattered += np.random.default_rng(3).integers(-2, 3, positions.shape) @ cell
    found = answer(context_of(system, precision), scattered)
    return deviation(found, expected(model, positions, types, cell, periodic))


def hybrid_placement(n_system, n_atoms, types, links, regions=None):
    """Atoms 2, 5, 8, ... of a System as the model's, and caps of type 0 on ``links`` (q, m, Å) between particles."""
    atoms = np.arange(n_atoms) * 3 + 2
    q, m, distances = (np.array(column) for column in zip(*links, strict=True)) if links else ([], [], [])
    empty = np.zeros(0, dtype=np.int64)
    caps = {} if not links else {"cap_q": q, "cap_m": m, "cap_distances": distances * LENGTH}
    kinds = np.concatenate([types[atoms], np.zeros(len(links), dtype=np.int64)]) if links else types[atoms]
    return Placement(n_system, kinds, atoms, regions=regions or (), **(caps or {"cap_q": empty, "cap_m": empty}))


def hybrid(model="l2 everything", periodic=True, links=2, regions=1, precision="double", seed=0):
    """A selection with link caps (one M1 shared by two) and regions that do not see each other."""
    from openmm_nequip.evaluate.evaluator import Evaluator

    use_kernels(model)
    positions, types, cell = structure(60, side=9.0, periodic=periodic, seed=seed, closest=1.1)
    n_atoms = 16
    # Of each link the site outside is the particle of no region that is nearest; two links share it.
    atoms = np.arange(n_atoms) * 3 + 2
    outside = [i for i in range(60) if i not in atoms]
    cut = [(int(atoms[0]), outside[1], 1.0), (int(atoms[9]), outside[1], 1.1), (int(atoms[0]), outside[7], 0.9)][:links]
    nodes = n_atoms + len(cut)
    half = (np.array([*range(8), *range(n_atoms, n_atoms + 1)][: 8 + bool(links)]),)
    parts = () if regions == 1 else (*half, np.array([i for i in range(nodes) if i not in half[0]]))
    placement = hybrid_placement(60, n_atoms, types, cut, parts)
    system = system_of(60, cell if periodic else None)
    system.addForce(make_force(spec_of(placement, periodic), None, 60, "Native"))
    found = answer(context_of(system, precision), positions)
    wrapped = _InMemory(model_of(model))
    evaluator = Evaluator(wrapped, Units(LENGTH, ENERGY), placement, periodic, 0.05)
    energy, forces = evaluator(positions * LENGTH, cell * LENGTH if periodic else None)
    return deviation(found, (energy / ENERGY, forces * LENGTH / ENERGY))


class _Info:
    cutoff, reach, per_edge_type_cutoff, allow_tf32 = CUTOFF, CUTOFF, None, False
    needs_periodic = None

    def check_periodic(self, *_):
        pass


class _InMemory:
    """nequip's own evaluation of a model in memory, as an Evaluator wants it."""

    def __init__(self, model):
        from openmm_nequip.graph.graph import CANDIDATE_EDGES, EdgeNeeds

        self.model, self.info, self.device, self.source = model, _Info(), torch.device("cpu"), None
        self.needs = EdgeNeeds(CANDIDATE_EDGES)

    def stepper(self, request):
        return None

    def evaluate(self, graph):
        from openmm_nequip.graph.graph import Outputs

        centre, neighbour = (graph.positions[atoms] for atoms in graph.edges.index)
        vectors = neighbour - centre + graph.edges.shifts @ graph.cell
        keep = vectors.norm(dim=1) < CUTOFF
        parts = [graph.positions, graph.types, graph.edges.index[:, keep], graph.edges.shifts[keep], graph.cell]
        energies, forces, _ = eager(self.model, *(part.numpy() for part in parts))
        return Outputs(torch.tensor(energies.sum()), torch.from_numpy(forces), torch.from_numpy(energies))


def differences(model="l2 everything", step=1e-4):
    """Central differences of the energy of a hybrid System, against its forces: the largest deviation in eV/Å."""
    use_kernels(model)
    positions, types, cell = structure(60, side=9.0, closest=1.1)
    placement = hybrid_placement(60, 16, types, [(2, 1, 1.0), (29, 1, 1.1)])
    system = system_of(60, cell)
    system.addForce(make_force(spec_of(placement, True), None, 60, "Native"))
    context = context_of(system)
    _, forces = answer(context, positions)
    worst = 0.0
    for atom, axis in [(1, 0), (1, 2), (2, 1), (29, 0), (8, 1)]:
        energies = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * step
            energies.append(answer(context, moved)[0])
        worst = max(worst, abs((energies[1] - energies[0]) / (2 * step) - forces[atom, axis]))
    return [float(worst), float(np.abs(forces).max())]


def switching(model="l1"):
    """A global parameter: energies at 1, 0.5 and 0, whether the model was described at all for 0, and what 1.5 says."""
    use_kernels(model)
    positions, types, cell = structure()
    system = system_of(24, cell)
    force = make_force(spec_of(Placement(24, types), True, lambda_name="lambda"), None, 24, "Native")
    system.addForce(force)
    context = context_of(system)
    energies = []
    for value in (1.0, 0.5, 0.0):
        context.setParameter("lambda", value)
        energy, forces = answer(context, positions)
        energies.append(energy)
    context.setParameter("lambda", 1.5)
    try:
        answer(context)
        said = ""
    except openmm.OpenMMException as error:
        said = str(error)
    return {"energies": energies, "largest force at 0": float(np.abs(forces).max()), "said": said}


def overflow(model="l1", shrinks=(1.0, 0.75, 0.6, 0.5)):
    """Room for 8 neighbours at first, and a box that shrinks.

    Deviations, how often the room had to grow, and how often OpenMM computed a step again, by a force that counts.
    """
    use_kernels(model, first_slots=8)
    positions, types, cell = structure(24, side=14.0)
    system = system_of(24, cell)
    system.addForce(force_of(Placement(24, types), True, 24))
    calls = []

    def count(state):
        calls.append(state.getTime())
        return 0.0, np.zeros((24, 3))

    system.addForce(openmm.PythonForce(count))
    context = context_of(system)
    worst, room, grown = [], 8, 0
    for shrink in shrinks:
        context.setPeriodicBoxVectors(*(cell * shrink * LENGTH))
        found = answer(context, positions * shrink)
        worst.append(deviation(found, expected(model, positions * shrink, types, cell * shrink, True)))
        most = np.bincount(NeighborList(CUTOFF + 0.5, 0.0, True)(positions * shrink, cell * shrink)[0][0]).max()
        if most > room:
            room, grown = -(-max(int(most), room + room // 4) // 8) * 8, grown + 1
    return {"deviations": worst, "grown": grown, "repeated": len(calls) - len(worst)}


def dynamics(model="l1 parity", steps=200, barostat=True, neighbors=True, temperature=1500.0, periodic=True, seed=1):
    """Langevin dynamics with reordering, compared with eager nequip every 20 steps: largest deviations, the box."""
    use_kernels(model)
    positions, types, cell = structure(24, periodic=True, side=8.5, closest=1.4)
    system = system_of(24, cell)
    system.addForce(force_of(Placement(24, types), periodic, 24))
    if neighbors:
        wrap = openmm.NonbondedForce()
        wrap.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        wrap.setCutoffDistance(0.36)
        for _ in range(24):
            wrap.addParticle(0.0, 0.1, 0.0)
        system.addForce(wrap)
    # keeps the atoms apart: a random model has no repulsion
    apart = openmm.CustomNonbondedForce("1000*step(0.14-r)*(0.14-r)^2*100")
    apart.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    apart.setCutoffDistance(0.36)
    apart.setForceGroup(5)
    for _ in range(24):
        apart.addParticle([])
    system.addForce(apart)
    if barostat:
        pressure = openmm.MonteCarloBarostat(2000.0, temperature, 5)
        pressure.setRandomNumberSeed(seed)
        system.addForce(pressure)
    integrator = openmm.LangevinMiddleIntegrator(temperature, 1.0, 0.0005)
    integrator.setRandomNumberSeed(seed)
    context = context_of(system, "mixed", integrator)
    context.setPositions(positions * LENGTH)
    context.setVelocitiesToTemperature(temperature, seed)
    worst, volumes = [0.0, 0.0], []
    for _ in range(steps // 20):
        integrator.step(20)
        state = context.getState(getPositions=True, getEnergy=True, getForces=True, groups={0})
        places = state.getPositions(asNumpy=True)._value / LENGTH
        box = np.array(state.getPeriodicBoxVectors()._value) / LENGTH
        found = state.getPotentialEnergy()._value / ENERGY, state.getForces(asNumpy=True)._value * LENGTH / ENERGY
        wanted = expected(model, places, types, box if periodic else np.eye(3) * 300, periodic)
        worst = [max(a, b) for a, b in zip(worst, deviation(found, wanted), strict=True)]
        volumes.append(float(np.linalg.det(box)))
    farthest = float(np.abs(places - positions).max())
    return {"worst": worst, "volumes": [min(volumes), max(volumes)], "farthest": farthest}


def tiny_system(backend="Native", embed=False, cell=None):
    """The tiny model of the test data, from its file, on a random structure: positions (Å) and a System."""
    from openmmml import MLPotential

    from openmm_nequip.topology import atom_types  # noqa: F401  what createSystem uses

    gpu_description.gpu_kernels, gpu_description.FIRST_SLOTS = real_kernels, 0
    positions, types, cell = structure(24, side=8.5, closest=1.2)
    topology = openmm.app.Topology()
    chain = topology.addChain()
    for kind in types:
        element = openmm.app.Element.getBySymbol("HCO"[kind])
        topology.addAtom(element.symbol, element, topology.addResidue("X", chain))
    topology.setPeriodicBoxVectors(cell * LENGTH * openmm.unit.nanometer)
    path = os.path.join(DATA, "tiny-nequip.nequip.zip")
    potential = MLPotential("nequip", modelPath=path)
    return positions, potential.createSystem(topology, backend=backend, embedModel=embed), topology, potential


def in_files(embed=True):
    """XML, deepcopy and a CustomCVForce: largest deviations from PythonForce, and what the force is after it all."""
    from openmm_nequip import read_system

    positions, system, _, _ = tiny_system(embed=embed)
    _, reference, _, _ = tiny_system("PythonForce")
    wanted = answer(context_of(reference, platform="Reference"), positions)
    text = openmm.XmlSerializer.serialize(system)
    again = read_system(text)
    copied = copy.deepcopy(again)
    product = openmm.CustomCVForce("0.5*model")
    product.addCollectiveVariable("model", copy.deepcopy(copied.getForce(0)))
    half = openmm.System()
    for i in range(24):
        half.addParticle(again.getParticleMass(i))
    half.setDefaultPeriodicBoxVectors(*again.getDefaultPeriodicBoxVectors())
    half.addForce(product)
    energy, forces = answer(context_of(half), positions)
    found = {"half": deviation((2 * energy, 2 * forces), wanted)}
    found["copy"] = deviation(answer(context_of(copied), positions), wanted)
    found["CPU"] = deviation(answer(context_of(again, platform="CPU"), positions), wanted)
    found["names"] = [force.getName() for force in copied.getForces()]
    found["same text"] = text == openmm.XmlSerializer.serialize(copied)
    return found


def several_contexts():
    """Two Contexts of one System that take turns, far apart: largest deviation from PythonForce."""
    positions, system, _, _ = tiny_system()
    _, reference, _, _ = tiny_system("PythonForce")
    moved = positions + np.random.default_rng(5).normal(0, 0.05, positions.shape)
    judge = context_of(reference, platform="Reference")
    wanted = [answer(judge, places) for places in (positions, moved)]
    contexts = [context_of(system) for _ in range(2)]
    worst = [0.0, 0.0]
    for _ in range(2):
        for context, places, right in zip(contexts, (positions, moved), wanted, strict=True):
            worst = [max(a, b) for a, b in zip(worst, deviation(answer(context, places), right), strict=True)]
    return worst


def restart(steps=20):
    """Whether a run goes on from a checkpoint bit for bit where both make their lists anew at it."""
    from openmm_nequip.forces.live import forget_lists

    positions, system, _, _ = tiny_system()
    ends = []
    checkpoint = None
    for _ in range(2):
        integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.0005)
        integrator.setRandomNumberSeed(4)
        context = context_of(system, "mixed", integrator)
        if checkpoint is None:
            context.setPositions(positions * LENGTH)
            context.setVelocitiesToTemperature(300, 4)
            integrator.step(steps)
            checkpoint = context.createCheckpoint()
        else:
            context.loadCheckpoint(checkpoint)
        forget_lists()
        integrator.step(steps)
        ends.append(context.getState(getPositions=True).getPositions(asNumpy=True)._value)
    return bool(np.array_equal(*ends))


def mixed_system(interpolate=True, value=0.5):
    """A hybrid System by createMixedSystem, one molecule of two in the model: deviation from PythonForce at a λ."""
    from openmmml import MLPotential

    gpu_description.gpu_kernels, gpu_description.FIRST_SLOTS = real_kernels, 0
    data = os.path.join(os.path.dirname(openmm.app.__file__), "data")
    pdb = openmm.app.PDBFile(os.path.join(data, "tip3p.pdb"))
    modeller = openmm.app.Modeller(pdb.topology, pdb.positions)
    residues = list(modeller.topology.residues())
    modeller.delete(residues[216:])
    field = openmm.app.ForceField("tip3p.xml")
    plain = field.createSystem(
        modeller.topology, nonbondedMethod=openmm.app.PME, nonbondedCutoff=0.6 * openmm.unit.nanometer, rigidWater=False
    )
    potential = MLPotential("nequip", modelPath=os.path.join(DATA, "tiny-nequip.nequip.zip"))
    atoms = list(range(30, 45))
    answers = []
    for backend, platform in (("Native", "OpenCL"), ("PythonForce", "OpenCL")):
        system = potential.createMixedSystem(
            modeller.topology, plain, atoms, interpolate=interpolate, backend=backend
        )
        context = context_of(system, "double", platform=platform)
        if interpolate:
            context.setParameter("lambda_interpolate", value)
        answers.append(answer(context, np.array(modeller.positions.value_in_unit(openmm.unit.angstrom))))
    return deviation(*answers)
