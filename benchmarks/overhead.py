"""What one MD step costs beyond the model: ours, OpenMM-ML's own `nequip` and NequIPCalculator, in one process.

The limit is the compiled model called on a fixed graph. Run: ``python benchmarks/overhead.py [--rounds N] [--json]``;
the second system is CP2K's published 96-atom water model, left out where its file is absent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from langevin import stepper
from openmmml import MLPotential
from timing import finish, interleaved, report

import openmm_nequip  # noqa: F401  before openmm, so that openmmtorch finds torch in the process
from openmm_nequip import load_model
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.topology import atom_types
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

DATA = Path(openmm_nequip.__file__).parent / "data"
CP2K = Path(__file__).resolve().parents[2] / "shared" / "data" / "cp2k"


def fixed_graph(model, topology, positions_nm, box_nm):
    """The compiled model on the graph of one structure, with everything else taken away."""
    periodic = box_nm is not None
    cell = (box_nm if periodic else np.eye(3)) * 10
    types = atom_types(model.info.type_names, list(topology.atoms()), None)
    edge_index, shifts = NeighborList(model.info.cutoff, 0.0, periodic)(positions_nm * 10, cell)
    inputs = [torch.from_numpy(a) for a in (positions_nm * 10, types, edge_index, shifts, cell)]
    return lambda: model(*inputs)


def built_in(path, topology, positions_nm):
    """OpenMM-ML's own potential, on the same file."""
    from openmmml.models.nequippotential import NequIPPotentialImplFactory

    with preserved_global_state():
        impl = NequIPPotentialImplFactory().createImpl(
            "nequip", modelPath=str(path), lengthScale=0.1, energyScale=96.48533212331
        )
        system = openmm.System()
        for atom in topology.atoms():
            system.addParticle(atom.element.mass)
        impl.addForces(topology, system, None, 0, device="cpu")
    return stepper_in_float64(system, positions_nm)


def stepper_in_float64(system, positions_nm):
    """OpenMM-ML leaves nequip's default dtype behind and needs it: give it back for its own calls only."""
    with default_dtype(torch.float64):
        step = stepper(system, positions_nm)

    def call():
        with default_dtype(torch.float64):
            step()

    return call


def calculator(path, topology, positions_nm, box_nm):
    """One velocity-Verlet step of ASE driven by NequIPCalculator."""
    from ase import Atoms, units
    from ase.md.verlet import VelocityVerlet
    from nequip.integrations.ase import NequIPCalculator

    atoms = Atoms([a.element.symbol for a in topology.atoms()], positions_nm * 10)
    if box_nm is not None:
        atoms.set_cell(box_nm * 10)
        atoms.pbc = True
    with preserved_global_state():
        saved = str(path).endswith("zip")
        build = NequIPCalculator._from_saved_model if saved else NequIPCalculator.from_compiled_model
        atoms.calc = build(str(path), chemical_species_to_atom_type_map=True)
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)

    def call():
        with default_dtype(torch.float64):
            dynamics.run(1)

    return call


def molecule(rounds: int, as_json: bool):
    """The shipped model: 22 atoms."""
    path = DATA / "alanine-dipeptide.nequip.zip"
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer))
    # The cost around a compiled package; `openmm-nequip bench` measures the fused kernels.
    model = load_model(path, kernels="none")
    system = MLPotential("nequip", modelPath=str(path), kernels="none").createSystem(pdb.topology)
    base = "compiled model on a fixed graph"
    times = interleaved(
        {
            base: fixed_graph(model, pdb.topology, positions, None),
            "openmm-nequip, MD step (Reference)": stepper(system, positions),
            "openmm-nequip, MD step (CPU)": stepper(system, positions, "CPU"),
            "openmm-ml's own nequip, MD step": built_in(path, pdb.topology, positions),
            "NequIPCalculator (eager), ASE MD step": calculator(path, pdb.topology, positions, None),
        },
        rounds,
    )
    result = report("alanine dipeptide, 22 atoms, shipped model", times, base, as_json)
    extra = np.median(times["openmm-nequip, MD step (Reference)"] - times[base])
    if not as_json:
        print(f"MD step minus bare model: {extra:.3f} ms (target <= 0.3 ms)")
    return result | {"overhead_ms": float(extra)}


def water(rounds: int, as_json: bool):
    """CP2K's published water model: 96 atoms, float64."""
    import ase.io

    path = CP2K / "waterscan-neq0.16.nequip.pth"
    atoms = ase.io.read(CP2K / "water-bulk.xyz")
    positions, box = atoms.positions / 10, np.eye(3) * 0.98528
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    for symbol in atoms.get_chemical_symbols():
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    topology.setPeriodicBoxVectors([openmm.Vec3(*row) for row in box] * unit.nanometer)
    system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, backend="PythonForce")
    base = "scripted model on a fixed graph"
    times = interleaved(
        {
            base: fixed_graph(load_model(path), topology, positions, box),
            "openmm-nequip, MD step (Reference)": stepper(system, positions),
            "NequIPCalculator (same file), ASE MD step": calculator(path, topology, positions, box),
        },
        max(8, rounds // 20),
        warmup=2,
    )
    result = report("water, 96 atoms, CP2K's model (openmm-ml's own nequip cannot read it)", times, base, as_json)
    return result


def main() -> None:
    """Run both systems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = [molecule(arguments.rounds, arguments.json)]
    if CP2K.is_dir():
        results.append(water(arguments.rounds, arguments.json))
    finish(results, arguments.json)


if __name__ == "__main__":
    main()
