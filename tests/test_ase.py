"""What a user validates with NequIPCalculator is what runs in OpenMM: numbers of one file, and whole trajectories."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from conftest import DATA, PYTHON_BACKENDS
from openmmml import MLPotential
from toy import evaluate, make_topology

import openmm_nequip
from openmm_nequip import load_model
from openmm_nequip.crystal import fromAse
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM, Units
from openmm_nequip.upstream.nequip_state import preserved_global_state

#: Between NequIPCalculator and OpenMM on one float64 file: eV per atom, eV/Å, eV/Å^3.
ENERGY_PER_ATOM = 1e-9
FORCE = 1e-8
STRESS = 1e-10
#: Along a trajectory at constant energy, Å and eV. Forces differ in the last bits between neighbour lists of different
#: order, and the difference grows along the trajectory. OpenMM's masses instead of ASE's, or velocities half a step
#: off, are far above.
POSITION = 1e-6
TOTAL_ENERGY = 1e-5
EXAMPLE = Path(__file__).parents[1] / "examples" / "ase_to_openmm"
SHIPPED = Path(openmm_nequip.__file__).parent / "data"
SKEWED = [[7.0, 0, 0], [2.0, 6.0, 0], [-1.0, 1.5, 8.0]]
#: Not in OpenMM's form: rotated, left-handed.
ROTATED = [[1.0, 6.5, 2.0], [7.0, -1.0, 0.5], [0.5, -1.0, 7.5]]


def structures():
    acetamide = molecule("CH3CONH2")
    skewed, rotated = acetamide.copy(), acetamide.copy()
    skewed.set_cell(SKEWED)
    rotated.set_cell(ROTATED)
    skewed.pbc = rotated.pbc = True
    return {"molecule": acetamide, "periodic": skewed, "rotated": rotated}


def by_ase(atoms, path):
    """Energy (eV), forces (eV/Å) and, with a cell, stress (eV/Å^3) by NequIPCalculator."""
    from nequip.integrations.ase import NequIPCalculator

    atoms = atoms.copy()
    with preserved_global_state():
        atoms.calc = NequIPCalculator.from_compiled_model(str(path), chemical_species_to_atom_type_map=True)
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        return atoms.get_potential_energy(), atoms.get_forces(), stress


@pytest.mark.torchforce_stack
@pytest.mark.parametrize("backend", PYTHON_BACKENDS)
@pytest.mark.parametrize("name", ["molecule", "periodic", "rotated"])
def test_openmm_gives_the_calculators_numbers(compiled, name, backend):
    """On the calculator's own file and on the other files of the model; the cell as it is, or turned for OpenMM."""
    atoms = structures()[name]
    energy, forces, stress = by_ase(atoms, compiled / "tiny-nequip.nequip.pt2")
    if atoms.pbc.all():
        crystal = fromAse(atoms)
        topology, positions, box = crystal.topology, crystal.positions._value, crystal.box._value
        back = crystal.vectorsToUser
    else:
        topology, box, back = make_topology(atoms.get_chemical_symbols()), None, np.asarray
        positions = atoms.positions * NM_PER_ANGSTROM
    types = np.array(["HCNO".index(symbol) for symbol in atoms.get_chemical_symbols()])
    for path, keywords in (
        (compiled / "tiny-nequip.nequip.pt2", {}),
        (DATA / "tiny-nequip.nequip.zip", {"compile": False}),
        (DATA / "tiny-nequip.nequip.pth", {}),
    ):
        system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, backend=backend, **keywords)
        found, found_forces = evaluate(system, positions)
        assert abs(found / KJ_PER_MOL_PER_EV - energy) < ENERGY_PER_ATOM * len(atoms), path
        assert np.abs(back(found_forces) / Units().force - forces).max() < FORCE, path
        if stress is not None:
            model = load_model(path, **keywords)
            evaluator = Evaluator(model, Units(), Placement(len(atoms), types), True, 0.0)
            out = evaluator.evaluate(np.asarray(positions), box)
            assert np.abs(crystal.tensorToUser(out["stress"]) / Units().stress_bar - stress).max() < STRESS, path


def run(script, *arguments, cwd):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / script), *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def both_trajectories(folder, structure, model, steps=20):
    """The example in short form; what ``compare.py`` found, step by step."""
    run("ase_md.py", structure, model, "--langevin-steps", 20, "--nve-steps", steps, cwd=folder)
    run("openmm_md.py", "start.traj", model, "--langevin-steps", 40, "--nve-steps", steps, cwd=folder)
    run("compare.py", cwd=folder)
    rows = json.loads((folder / "compare.json").read_text())
    assert [row["step"] for row in rows] == list(range(steps + 1))
    return rows


def agree(rows):
    """Same start, same trajectory, energy conserved in both: and the atoms did move."""
    assert rows[0]["position_angstrom"] < 1e-12 and rows[0]["velocity_angstrom_per_fs"] < 1e-9
    assert max(row["position_angstrom"] for row in rows) < POSITION
    assert rows[-1]["moved_angstrom"] > 0.02
    assert max(abs(row["total_energy_ase_ev"] - row["total_energy_openmm_ev"]) for row in rows) < TOTAL_ENERGY


def test_the_example_runs_step_for_step_as_ase(compiled, tmp_path):
    agree(both_trajectories(tmp_path, SHIPPED / "alanine-dipeptide.pdb", compiled / "tiny-nequip.nequip.pt2"))
    assert len((tmp_path / "production.csv").read_text().splitlines()) == 3
    assert (tmp_path / "production.dcd").stat().st_size > 0


def test_a_cell_that_openmm_cannot_take_runs_as_in_ase(compiled, tmp_path):
    """Velocities turn with the cell on the way in, and back on the way out."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    cell = np.array(ROTATED)
    atoms = Atoms(rng.choice(list("HCNO"), 27), grid / 3 @ cell + rng.normal(0, 0.05, (27, 3)), cell=cell, pbc=True)
    ase.io.write(tmp_path / "crystal.traj", atoms)
    agree(both_trajectories(tmp_path, "crystal.traj", compiled / "tiny-nequip.nequip.pt2", steps=40))


def test_an_extended_xyz_file_starts_it_too(compiled, tmp_path):
    """Its momenta and cell are read; its eight decimals are all that is lost."""
    atoms = structures()["periodic"]
    atoms.set_velocities(np.random.default_rng(1).normal(0, 0.02, (len(atoms), 3)))
    ase.io.write(tmp_path / "start.extxyz", atoms, format="extxyz")
    model = compiled / "tiny-nequip.nequip.pt2"
    run("openmm_md.py", "start.extxyz", model, "--langevin-steps", 20, "--nve-steps", 2, cwd=tmp_path)
    first = ase.io.read(tmp_path / "openmm.traj", index=0)
    assert np.abs(first.positions - atoms.positions).max() < 1e-7
    assert np.abs(first.get_velocities() - atoms.get_velocities()).max() < 1e-7
    assert np.abs(first.cell[:] - atoms.cell[:]).max() < 1e-7 and first.pbc.all()


@pytest.mark.slow
def test_trajectories_of_different_length_are_not_compared(tmp_path):
    ase.io.write(tmp_path / "ase.traj", [molecule("H2O")] * 2)
    ase.io.write(tmp_path / "openmm.traj", [molecule("H2O")] * 3)
    done = subprocess.run([sys.executable, str(EXAMPLE / "compare.py")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "ase.traj has 2 frames, openmm.traj 3" in done.stderr
