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
from openmm_nequip.kernels.gpu import GPU, gpu_generate
from openmm_nequip.models import locate
from openmm_nequip.models.execution import Execution
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
def kernels_of(name, warps):
    generate = gpu_generate.generate_gpu
    target = type(GPU)("gpu", GPU.target, lambda program, tables: generate(program, tables, warps=warps))
    with default_dtype(torch.float64):
        return fuse(model_of(name), True, target)


def spec_of(placement, periodic, skin=0.05, **more):
    """A potential whose kernels are whatever :func:`use_kernels` has put there."""
    source = locate(os.path.join(DATA, "tiny-nequip.nequip.zip"))
    return PotentialSpec(source, Units(LENGTH, ENERGY), placement, periodic, skin, Execution(), **more)


def use_kernels(name, warps=1, first_slots=0):
    """Kernels of a model in memory in place of those of a file, and room for so few neighbours to begin with."""
    gpu_description.gpu_kernels = lambda source, inputs=(): kernels_of(name, warps)
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


def numbers(model, n_atoms=24, side=6.5, periodic=True, precision="double", warps=1, skin=0.05, first_slots=0):
    """Against eager nequip; positions scattered over images of the box."""
    use_kernels(model, warps, first_slots)
    positions, types, cell = structure(n_atoms, side=side, periodic=periodic)
    force = force_of(Placement(n_atoms, types), periodic, n_atoms, skin=skin)
    system = system_of(n_atoms, cell if periodic else None)
    system.addForce(force)
    scattered = positions.copy()
    if periodic:
        scattered += np.random.default_rng(3).integers(-2, 3, positions.shape) @ cell
    return deviation(answer(context_of(system, precision), scattered), expected(model, positions, types, cell, periodic))
