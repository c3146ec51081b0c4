"""More of what is asked of the native force on OpenCL: outputs, several models, devices, the first use.

As native_cases.py, whose models and units these have.
"""

import json
import os
import tempfile
import zipfile
from dataclasses import replace

import native_cases as cases
import numpy as np
import openmm
import openmm.app
import torch
from nequip_models import structure

from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.forces import make_force
from openmm_nequip.forces.native import gpu_description
from openmm_nequip.forces.native.gpu_first_use import compare_kernels
from openmm_nequip.forces.native.gpu_place import GpuPlace
from openmm_nequip.forces.native.plugin import load_plugin
from openmm_nequip.forces.spec import SumSpec
from openmm_nequip.kernels.read import read_model
from openmm_nequip.model_outputs import OutputCalculator
from openmm_nequip.models import ModelSource, locate
from openmm_nequip.models.carried_program import add_program
from openmm_nequip.models.eager import load_module
from openmm_nequip.models.execution import Execution
from openmm_nequip.models.format import COMMITTEE
from openmm_nequip.models.own_answers import make_references
from openmm_nequip.models.source import FIRST, MEAN
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state


def use_files():
    """The kernels of model files again, where another case has put some in their place."""
    gpu_description.gpu_kernels, gpu_description.FIRST_SLOTS = cases.real_kernels, 0


def file_of(name):
    return locate(os.path.join(cases.DATA, name))


def outputs(periodic=True, precision="double", tables=True):
    """Energies of atoms and caps, forces and stress of a selection with caps, against the CPU's kernels.

    Largest differences in eV, eV/Å and GPa, and whether the Context's own forces are as before.
    """
    use_files()
    positions, types, cell = structure(60, side=9.0, periodic=periodic, closest=1.1)
    nodes = np.arange(18)
    placement = cases.hybrid_placement(60, 16, types, [(2, 1, 1.0), (29, 1, 1.1)], (nodes[::2], nodes[1::2]))
    spec = replace(cases.spec_of(placement, periodic), execution=Execution(tables=tables))
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


def carried():
    """A package with a program in it and no machine code, against the CPU's kernels of the checkpoint."""
    use_files()
    positions, types, cell = structure(24, side=8.5, closest=1.2)
    source = file_of("tiny-nequip.ckpt")
    with preserved_global_state():
        model = load_module(source)
        facts = {key: str(value) for key, value in model.metadata.items()}
        with default_dtype(torch.float64):
            program = read_model(model)
        references = make_references(model, facts)
    stated = facts | {"AOTI_DEVICE_KEY": "cpu", "nequip_aoti_inputs": "pos edge_index atom_types cell edge_cell_shift",
                      "nequip_aoti_outputs": "atomic_energy total_energy forces virial"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.nequip.pt2")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data/aotinductor/model/_metadata.json", json.dumps(stated))
        add_program(path, program, references)
        package = replace(cases.spec_of(Placement(24, types), True), source=locate(path))
        system = cases.system_of(24, cell)
        system.addForce(make_force(package, None, 24, "Native"))
        found = cases.answer(cases.context_of(system), positions)
    energy, forces = replace(package, source=source).open()(positions * cases.LENGTH, cell * cases.LENGTH)
    return cases.deviation(found, (energy / cases.ENERGY, forces * cases.LENGTH / cases.ENERGY))


def answers_of(*specs, **context):
    """Energy and forces of a System of 48 particles with a native force for each potential."""
    positions, _, cell = structure(48, side=9.0, closest=1.1)
    system = cases.system_of(48, cell)
    for spec in specs:
        system.addForce(make_force(spec, None, 48, "Native"))
    return cases.answer(cases.context_of(system, **context), positions)


def several():
    """Two models in one force, in two forces, and as a committee, against each alone: deviations.

    The second model is the first with other weights. Models of one force are compared with their sum, the committee of
    them with their mean; its outputs with those of the step.
    """
    use_files()
    _, types, _ = structure(48, side=9.0, closest=1.1)
    first, second = file_of("tiny-nequip.nequip.zip"), file_of("tiny-nequip.ckpt")

    def kernels(source, *rest):
        found = cases.real_kernels(source, *rest)
        if source.kind == first.kind:
            return found
        other = replace(found.fused, weights=found.fused.weights * 1.01)
        return found._replace(fused=other, references=found.references._replace(structures=()))

    gpu_description.gpu_kernels = kernels
    left, right = (Placement(48, types[atoms], atoms) for atoms in (np.arange(20), np.arange(10, 48)))
    one, two = (replace(cases.spec_of(left, True), source=source) for source in (first, second))
    elsewhere = replace(two, placement=right)
    together = ModelSource("both", COMMITTEE, "0" * 64, 0, members=(first, second), drive=MEAN)
    each = [answers_of(spec) for spec in (one, two, elsewhere)]

    def mean(of, share):
        return share * sum(energy for energy, _ in of), share * sum(forces for _, forces in of)

    committee = replace(one, source=together)
    return {
        "one force": cases.deviation(answers_of(SumSpec((one, elsewhere))), mean(each[::2], 1.0)),
        "two forces": cases.deviation(answers_of(one, elsewhere), mean(each[::2], 1.0)),
        "committee": cases.deviation(answers_of(committee), mean(each[:2], 0.5)),
        "first": cases.deviation(answers_of(replace(one, source=replace(together, drive=FIRST))), each[0]),
        "apart": float(np.abs(each[0][1] - each[1][1]).max()),
        "all": cases.deviation(answers_of(SumSpec((committee, elsewhere))), mean([mean(each[:2], 0.5), each[2]], 1.0)),
    }


def several_outputs():
    """What a committee and another model in one force tell: differences from the step's energy and forces."""
    use_files()
    positions, types, cell = structure(48, side=9.0, closest=1.1)
    sources = [file_of(name) for name in ("tiny-nequip.nequip.zip", "tiny-nequip.ckpt")]
    together = ModelSource("both", COMMITTEE, "0" * 64, 0, members=tuple(sources), drive=MEAN)
    left, right = (Placement(48, types[atoms], atoms) for atoms in (np.arange(20), np.arange(10, 48)))
    pairs = (left, together), (right, sources[0])
    parts = [replace(cases.spec_of(place, True), source=each) for place, each in pairs]
    system = cases.system_of(48, cell)
    system.addForce(make_force(SumSpec(tuple(parts)), None, 48, "Native"))
    context = cases.context_of(system)
    energy, forces = cases.answer(context, positions)
    told = OutputCalculator(context).compute()
    scale = cases.ENERGY / cases.LENGTH
    return [
        float(abs(sum(each.energy for each in told) / cases.ENERGY - energy)),
        float(np.abs(sum(each.forces for each in told) / scale - forces).max()),
        [len(each.atoms) for each in told],
    ]


def two_regions():
    """Two regions of water with a model each, by create_mixed_system, against PythonForce; and the native forces."""
    use_files()
    import openmm_nequip

    pdb = openmm.app.PDBFile(os.path.join(os.path.dirname(openmm.app.__file__), "data", "tip3p.pdb"))
    modeller = openmm.app.Modeller(pdb.topology, pdb.positions)
    modeller.delete(list(modeller.topology.residues())[6:])
    modeller.topology.setPeriodicBoxVectors(None)
    field = openmm.app.ForceField("tip3p.xml")
    plain = field.createSystem(modeller.topology, rigidWater=False)
    models = [os.path.join(cases.DATA, name) for name in ("tiny-nequip.nequip.zip", "tiny-nequip.ckpt")]
    answers, native = [], 0
    for backend in ("Native", "PythonForce"):
        mixed = openmm_nequip.create_mixed_system(
            modeller.topology, plain, [[0, 1, 2], [3, 4, 5, 6, 7, 8]], modelPath=models, backend=backend
        )
        native += sum(type(force).__name__ == "Force" for force in mixed.system.getForces())
        context = cases.context_of(mixed.system)
        answers.append(cases.answer(context, np.array(modeller.positions.value_in_unit(openmm.unit.angstrom))))
    return cases.deviation(*answers), native


def devices():
    """Contexts of one System on two devices in turn, on both at once, and a device that is not the Context's.

    Both are this CPU: the process has to be told so by ``POCL_DEVICES``.
    """
    use_files()
    _, types, cell = structure(48, side=9.0, closest=1.1)
    positions, _, _ = structure(48, side=9.0, closest=1.1)
    spec = cases.spec_of(Placement(48, types), True)
    platform = openmm.Platform.getPlatformByName("OpenCL")

    def context_on(index, **execution):
        system = cases.system_of(48, cell)
        system.addForce(make_force(replace(spec, execution=Execution(**execution)), None, 48, "Native"))
        given = {"Precision": "double", "DeviceIndex": index}
        return openmm.Context(system, openmm.VerletIntegrator(0.0005), platform, given)

    contexts = [context_on("0"), context_on("1", device="cuda:1"), context_on("0,1")]
    answers = [cases.answer(each, positions) for each in contexts]
    moved = positions + np.random.default_rng(5).normal(0, 0.05, positions.shape)
    turns = [cases.answer(each, moved) for _ in range(5) for each in contexts]
    try:
        context_on("0", device="cuda:1")
        said = ""
    except openmm.OpenMMException as error:
        said = str(error)
    return {
        "deviations": [cases.deviation(each, answers[0]) for each in answers[1:]],
        "turns": [cases.deviation(each, turns[0]) for each in turns[1:]],
        "moved": cases.deviation(answers[0], turns[0])[1],
        "indices": [platform.getPropertyValue(each, "DeviceIndex") for each in contexts],
        "said": said,
    }
