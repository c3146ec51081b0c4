"""The table of roads: each kind of foreign module on every road that a NequIP model has."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import module_potentials as potentials
import numpy as np
import openmm
import openmm.app as app
import pytest
from openmmml import MLPotential
from test_modules import hybrid

import openmm_nequip
from openmm_nequip.app.cli import main

REFERENCE = openmm.Platform.getPlatformByName("Reference")
TOLERANCE = 1e-6  # kJ/mol
NNPOT = ("atom-positions", "atom-numbers", "box", "pbc", "dtype=float64")
FULL = ("box", "edge-index", "positions", "cell-shifts", "numbers", "cutoff=14", "outputs=energy+atomic-energies")
SPRINGS = ("positions",)
#: Kind -> module, what it takes, units of the command line.
KINDS = {
    "nnpot": (potentials.InPlace, NNPOT, ()),
    "full list": (potentials.FullList, FULL, ("angstrom", "kJ/mol")),
    "function": (None, SPRINGS, ("nm", "kJ/mol")),
}
ROADS = ("createSystem", "createMixedSystem", "energy", "info", "XML", "deepcopy", "run", "restart")
FAST = ("--no-minimize", "--equilibrate", "0", "--report-interval", "5", "--seed", "7", "--threads", "1", "--quiet")


def energy_of(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    return context.getState(getEnergy=True).getPotentialEnergy()._value


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_table_of_roads(kind, tmp_path, capsys):
    """Every road gives the energy of the first; runs go on where they stopped."""
    maker, inputs, units = KINDS[kind]
    path = "python:module_potentials:springs" if maker is None else potentials.save(maker(), tmp_path / "module.pt")
    options = dict(zip(("lengthUnit", "energyUnit"), units, strict=False))
    topology, positions, box = potentials.box_of_atoms(triclinic=False)
    positions = positions - np.floor(positions @ np.linalg.inv(box)) @ box
    if kind == "function":
        topology.setPeriodicBoxVectors(None)
    structure = tmp_path / "structure.pdb"
    with open(structure, "w") as file:
        app.PDBFile.writeFile(topology, positions * 10, file)
    positions = app.PDBFile(str(structure)).getPositions(asNumpy=True)._value
    declared = ["--module-inputs", *inputs, *(("--units", *units) if units else ())]
    found = {}
    potential = MLPotential("nequip", modelPath=path, moduleInputs=inputs, **options)
    system = potential.createSystem(topology)
    found["createSystem"] = energy_of(system, positions)
    found["XML"] = energy_of(openmm_nequip.read_system(openmm.XmlSerializer.serialize(system)), positions)
    found["deepcopy"] = energy_of(copy.deepcopy(system), positions)
    assert main(["energy", path, str(structure), *declared, "--json"]) == 0
    found["energy"] = json.loads(capsys.readouterr().out)["energy_kj_per_mol"]
    assert main(["info", path, "--module-inputs", *inputs, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] in ("module", "function") and facts["module_inputs"].split(",")[0] == inputs[0]
    assert all(abs(value - found["createSystem"]) < TOLERANCE for value in found.values()), found

    ethanes, field, points = hybrid()
    mixed = potential.createMixedSystem(ethanes, field, list(range(8)))
    assert np.isfinite(energy_of(mixed, points))
    folder = tmp_path / "run"
    run = ["run", "--model", path, "--structure", str(structure), "--output", str(folder), *declared, *FAST]
    assert main([*run, "--ensemble", "nve", "--timestep", "0.1", "--steps", "10"]) in (0, 3)
    assert main(["run", "--restart", "--output", str(folder), "--steps", "20", "--quiet"]) in (0, 3)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 20
    rows = Path(folder / "log.csv").read_text().splitlines()
    assert len(rows) >= 5
    capsys.readouterr()
