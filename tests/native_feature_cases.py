"""More of what is asked of the native force on OpenCL: outputs, several models, devices, the first use.

As native_cases.py, whose models and units these have.
"""

import os
from dataclasses import replace

import native_cases as cases
import numpy as np
import openmm
from nequip_models import structure

from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import make_force
from openmm_nequip.forces.native import gpu_description
from openmm_nequip.forces.native.first_use import compare_kernels
from openmm_nequip.forces.native.gpu_place import GpuPlace
from openmm_nequip.forces.native.plugin import load_plugin
from openmm_nequip.forces.spec import SumSpec
from openmm_nequip.model_outputs import OutputCalculator
from openmm_nequip.models import locate
from openmm_nequip.models.execution import Execution


def use_files():
    """The kernels of model files again, where another case has put some in their place."""
    gpu_description.gpu_kernels, gpu_description.FIRST_SLOTS = cases.real_kernels, 0


def file_of(name):
    return locate(os.path.join(cases.DATA, name))


def outputs(links=2, regions=2, periodic=True, precision="double", lone=False):
    """Energies of atoms and caps, forces and stress of a selection with caps, against the CPU's kernels.

    Largest differences in eV, eV/Å and GPa, and whether the Context's own forces are as before.
    """
    use_files()
    positions, types, cell = structure(60, side=9.0, periodic=periodic, closest=1.1)
    placement = cases.hybrid_placement(60, 16, types, [(2, 1, 1.0), (29, 1, 1.1)][:links])
    if regions == 2:
        nodes = np.arange(16 + links)
        placement = replace(placement, regions=(nodes[::2], nodes[1::2]))
    spec = cases.spec_of(placement, periodic)
    system = cases.system_of(60, cell if periodic else None)
    system.addForce(make_force(spec, None, 60, "Native"))
    context = cases.context_of(system, precision)
    context.setPositions(positions * cases.LENGTH)
    calculator = OutputCalculator(context)
    (found,) = calculator.compute()
    before = cases.answer(context)
    (again,) = calculator.compute()
    after = cases.answer(context)
    box = cell * cases.LENGTH if periodic else None
    wanted = spec.open().evaluate(positions * cases.LENGTH, box)
    atomic = np.concatenate([found.atomicEnergies, found.capEnergies])
    scale = cases.ENERGY / cases.LENGTH
    return {
        "energies": float(np.abs(atomic - wanted["atomic_energies"]).max() / cases.ENERGY),
        "sum": float(abs(found.energy / cases.ENERGY - before[0])),
        "forces": float(np.abs(found.forces - wanted["forces"]).max() / scale),
        "step": float(np.abs(found.forces / scale - before[1]).max()),
        "largest": float(np.abs(wanted["forces"]).max() / scale),
        "stress": float(np.abs(found.stress - wanted["stress"]).max() * 1e-4) if periodic else None,
        "largest stress": float(np.abs(wanted["stress"]).max() * 1e-4) if periodic else None,
        "same": bool(
            before[0] == after[0] and np.array_equal(before[1], after[1]) and np.array_equal(found.forces, again.forces)
        ),
        "atoms": found.atoms.tolist() == placement.atoms.tolist(),
    }


def model_files(names):
    """The same structure by each file in the native force and by its CPU kernels: largest deviations."""
    use_files()
    positions, types, cell = structure(24, side=8.5, closest=1.2)
    found = {}
    for name in names:
        spec = replace(cases.spec_of(Placement(24, types), True), source=file_of(name))
        system = cases.system_of(24, cell)
        system.addForce(make_force(spec, None, 24, "Native"))
        energy, forces = spec.open()(positions * cases.LENGTH, cell * cases.LENGTH)
        wanted = energy / cases.ENERGY, forces * cases.LENGTH / cases.ENERGY
        found[name] = cases.deviation(cases.answer(cases.context_of(system), positions), wanted)
    return found


def first_use(precision="double", name="tiny-nequip.nequip.zip"):
    """What is said of a model's kernels, and of the same with another weight."""
    use_files()
    kernels = gpu_description.gpu_kernels(file_of(name))
    place = GpuPlace.default("OpenCL")
    place.properties["Precision"] = precision
    wrong = kernels._replace(fused=replace(kernels.fused, weights=kernels.fused.weights * np.float32(1.001)))
    return [compare_kernels(load_plugin(), each, place) for each in (kernels, wrong)]
