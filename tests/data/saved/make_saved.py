"""Systems and a hybrid run folder as the first layout of the package saved them: run with commit 6279453.

    PYTHONPATH=<checkout of 6279453> python tests/data/saved/make_saved.py OUTPUT

Models and structures are read from FOLDER, whose name stands in the files: tests put copies there. ``energies.json``
has the energies (kJ/mol) on the Reference platform. Made twice: with OpenMM 8.6.1, and with openmmtorch and OpenMM
8.5.2 into ``openmm-8.5``, which both OpenMMs read.
"""

import json
import shutil
import sys
from pathlib import Path

import openmm
import openmm.app as app
import openmm.unit as unit
from openmm_nequip.cli import main
from openmmml import MLPotential

import openmm_nequip
from openmm_nequip.forces.probe import probe_plugin

FOLDER = Path("/tmp/openmm-nequip-saved-systems")
DATA = Path(__file__).resolve().parents[1]
FILES = ("tiny-nequip.nequip.zip", "tiny-nequip.nequip.pth", "peptide-water.prmtop", "peptide-water.inpcrd")
LINKED = "resname ALA and (name CB or name HB1 or name HB2 or name HB3)"


def energy(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def write(output):
    FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(DATA / name, FOLDER)
    model, script = FOLDER / FILES[0], FOLDER / FILES[1]
    prmtop = app.AmberPrmtopFile(str(FOLDER / FILES[2]))
    inpcrd = app.AmberInpcrdFile(str(FOLDER / FILES[3]))
    topology = prmtop.topology
    topology.setPeriodicBoxVectors(inpcrd.boxVectors)
    mm = prmtop.createSystem(nonbondedMethod=app.PME, nonbondedCutoff=0.4 * unit.nanometer, constraints=app.HBonds)
    mm.setDefaultPeriodicBoxVectors(*inpcrd.boxVectors)
    potential = MLPotential("nequip", modelPath=model, backend="PythonForce")
    embedded = MLPotential("nequip", modelPath=model, backend="PythonForce", embedModel=True)
    waters = [[atom.index for atom in residue.atoms()] for residue in topology.residues() if residue.name == "HOH"]

    def mixed(atoms, **options):
        return openmm_nequip.create_mixed_system(topology, mm, atoms, model, backend="PythonForce", **options).system

    systems = {"plain": potential.createSystem(topology), "embedded": embedded.createSystem(topology)}
    peptide = [atom.index for atom in topology.atoms() if atom.residue.name != "HOH"]
    side = [atom.index for atom in topology.atoms() if atom.residue.name == "ALA" and atom.name in
            ("CB", "HB1", "HB2", "HB3")]  # fmt: skip
    systems["links"] = mixed(side)
    systems["lambda"] = mixed(peptide, interpolate=True)
    systems["regions"] = mixed([side, waters[0]])
    if probe_plugin().works:
        del systems["embedded"]
        systems["torchforce"] = MLPotential("nequip", modelPath=script, backend="TorchForce").createSystem(topology)
    found = {}
    for name, system in systems.items():
        found[name] = energy(system, inpcrd.positions)
        (output / f"{name}.xml").write_text(openmm.XmlSerializer.serialize(system))
    (output / "energies.json").write_text(json.dumps(found, indent=1) + "\n")
    if "torchforce" in systems:
        return
    settings = ["--model", model, "--structure", FOLDER / FILES[3], "--topology", FOLDER / FILES[2], "--ml-atoms",
                "resname ALA", "--steps", 10, "--equilibrate", 10, "--timestep", 0.5, "--report-interval", 5,
                "--checkpoint-interval", 5, "--platform", "Reference", "--seed", 1, "--backend", "PythonForce",
                "--output", output / "run"]  # fmt: skip
    if main(["run", *map(str, settings)]) != 0:
        sys.exit("the run failed")


if __name__ == "__main__":
    write(Path(sys.argv[1]).resolve())
