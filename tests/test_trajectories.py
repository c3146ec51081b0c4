"""Frames and radial distribution functions of runs: molecules whole, followed or put into the box; water apart."""

from __future__ import annotations

import csv
from pathlib import Path

import ase.build
import ase.io
import mdtraj
import numpy as np
import openmm
import openmm.app as app
import pytest

from openmm_nequip.app.run import run_pictures, trajectory_reading
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.molecule_placement import FrameReporter, MoleculePlacement
from openmm_nequip.app.run.rdf import compute_rdfs, kinds_of_atoms
from openmm_nequip.app.run.run_config import make_config

MODEL = str(Path(__file__).parent / "data" / "tiny-nequip.nequip.pth")
BOX = np.array([[1.0, 0, 0], [0.2, 1.1, 0], [-0.3, 0.4, 1.2]])


@pytest.fixture
def drifting():
    """A molecule and an atom that fly through a triclinic box."""
    system = openmm.System()
    for _ in range(3):
        system.addParticle(10.0)
    bond = openmm.HarmonicBondForce()
    bond.addBond(0, 1, 0.1, 1000.0)
    bond.setUsesPeriodicBoundaryConditions(True)
    system.addForce(bond)
    system.setDefaultPeriodicBoxVectors(*BOX)
    topology = app.Topology()
    residue = topology.addResidue("UNK", topology.addChain())
    atoms = [topology.addAtom(name, app.Element.getBySymbol("C"), residue) for name in "ABC"]
    topology.addBond(atoms[0], atoms[1])
    topology.setPeriodicBoxVectors([openmm.Vec3(*vector) for vector in BOX] * openmm.unit.nanometer)
    integrator = openmm.VerletIntegrator(0.01)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions([[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.1, 0.1, 0.1]])
    velocities = np.array([[1.0, -0.5, 0.7]] * 2 + [[-0.3, 0.2, 0.4]])
    simulation.context.setVelocities(velocities)
    return simulation, velocities


def frames_of(simulation, path: Path, wrap: str, start: np.ndarray) -> np.ndarray:
    placement = MoleculePlacement(np.array([0, 0, 1]), wrap)
    placement.remember(start)
    reporter = FrameReporter(app.DCDReporter(str(path), 10), placement)
    simulation.reporters.append(reporter)
    for _ in range(200):
        simulation.step(10)
        # What a barostat does without a word: molecules are put back into the box.
        positions = simulation.context.getState(positions=True).getPositions(asNumpy=True)._value
        centres = np.repeat([positions[:2].mean(axis=0), positions[2]], [2, 1], axis=0)
        simulation.context.setPositions(positions - np.floor(centres @ np.linalg.inv(BOX)) @ BOX)
    reporter.close()
    simulation.reporters.clear()
    return trajectory_reading.load_trajectory(path, simulation.topology).xyz


def test_followed_molecules_go_where_they_go(drifting, tmp_path):
    simulation, velocities = drifting
    start = np.array([[0.5, 0.5, 0.5], [0.6, 0.5, 0.5], [0.1, 0.1, 0.1]])
    xyz = frames_of(simulation, tmp_path / "out.dcd", "none", start)
    time = 0.1 * np.arange(1, len(xyz) + 1)
    centre = xyz[:, :2].mean(axis=1)
    # Twenty boxes; velocities are half a step behind, and the file has seven digits.
    assert np.abs(centre - (np.array([0.55, 0.5, 0.5]) + time[:, None] * velocities[0])).max() < 0.01
    assert np.linalg.norm(xyz[:, 0] - xyz[:, 1], axis=1).max() < 0.12


def test_wrapped_molecules_are_whole_and_in_the_box(drifting, tmp_path):
    simulation, _ = drifting
    xyz = frames_of(simulation, tmp_path / "out.dcd", "molecules", np.zeros((3, 3)))
    assert np.linalg.norm(xyz[:, 0] - xyz[:, 1], axis=1).max() < 0.12
    box = trajectory_reading.load_trajectory(tmp_path / "out.dcd", simulation.topology).unitcell_vectors
    for centres in (xyz[:, :2].mean(axis=1), xyz[:, 2]):
        inside = np.einsum("fi,fij->fj", centres, np.linalg.inv(box))
        assert inside.min() > -1e-3 and inside.max() < 1 + 1e-3
        assert np.ptp(inside, axis=0).min() > 0.5  # they did go through the faces


@pytest.fixture
def waters(tmp_path) -> str:
    """Three by three by three waters."""
    box = ase.build.molecule("H2O")
    box.set_cell([3.1] * 3)
    box.center()
    box = box.repeat((3, 3, 3))
    box.pbc = True
    ase.io.write(tmp_path / "waters.extxyz", box)
    return str(tmp_path / "waters.extxyz")


def settings(structure: str, output: Path, **more) -> dict:
    fast = {"minimize": False, "equilibrate": 0, "report_interval": 2, "seed": 7, "threads": 1, "temperature": 30.0}
    return {**fast, "model": MODEL, "structure": structure, "output": str(output), "timestep": 0.1, **more}


@pytest.mark.parametrize("name", ["dcd", "xtc"])
@pytest.mark.parametrize("wrap", ["molecules", "none"])
def test_a_restart_goes_on_from_the_last_frame(waters, tmp_path, name, wrap):
    start_run(make_config(settings(waters, tmp_path / "out", steps=10, trajectory=name, wrap=wrap)))
    summary = restart_run(str(tmp_path / "out"), {"steps": 20}).summary
    assert summary["wrap"] == wrap and summary["frames"] == 10
    frames = mdtraj.load(str(tmp_path / "out" / f"trajectory.{name}"), top=str(tmp_path / "out" / "start.pdb"))
    assert np.abs(np.diff(frames.xyz, axis=0)).max() < 0.05 or wrap == "molecules"
    bonds = np.linalg.norm(frames.xyz[:, 0::3] - frames.xyz[:, 1::3], axis=2)
    assert bonds.max() < 0.15


def test_water_and_solute_are_told_apart():
    made = app.Topology()
    chain = made.addChain()
    labels = []
    for molecule, symbols in enumerate(("C O H H H H", "O H H", "O H H", "O H", "Na")):
        residue = made.addResidue("UNK", chain)
        for symbol in symbols.split():
            made.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
            labels.append(molecule)
    kinds = kinds_of_atoms(made, np.array(labels))
    assert set(kinds) == {"C", "H", "H(water)", "Na", "O", "O(water)"}
    assert kinds["O(water)"].tolist() == [6, 9] and kinds["O"].tolist() == [1, 12]


def test_rdfs_of_pure_water_need_no_name_for_it():
    made = app.Topology()
    chain = made.addChain()
    for _ in range(4):
        residue = made.addResidue("HOH", chain)
        for symbol in "OHH":
            made.addAtom(symbol, app.Element.getBySymbol(symbol), residue)
    assert set(kinds_of_atoms(made, np.repeat(np.arange(4), 3))) == {"H", "O"}


def test_rdf_of_an_ideal_gas_is_one(tmp_path, monkeypatch):
    """From a file: a table, and a picture from the table; only some frames are read."""
    rng = np.random.default_rng(5)
    n_atoms, n_frames = 60, 450
    made = app.Topology()
    chain = made.addChain()
    for k in range(n_atoms):
        made.addAtom("A", app.Element.getBySymbol("Ar" if k % 2 else "Ne"), made.addResidue("UNK", chain))
    box = np.diag([2.0, 2.1, 2.2])
    xyz = rng.uniform(size=(n_frames, n_atoms, 3)) @ box
    frames = mdtraj.Trajectory(xyz, mdtraj.Topology.from_openmm(made))
    frames.unitcell_vectors = np.repeat(box[None], n_frames, axis=0)
    path = tmp_path / "trajectory.dcd"
    frames.save_dcd(str(path))
    table = compute_rdfs(path, made, np.arange(n_atoms))
    assert set(table.functions) == {"Ar–Ar", "Ar–Ne", "Ne–Ne"} and table.n_frames <= 200
    far = table.r_nm > 0.3
    for values in table.functions.values():
        assert values[far].mean() == pytest.approx(1.0, abs=0.03)
    rows = list(csv.reader(table.as_csv().splitlines()))
    assert rows[0] == ["r_nm", "g Ar–Ar", "g Ar–Ne", "g Ne–Ne"] and len(rows) == len(table.r_nm) + 1
    assert float(rows[-1][0]) == pytest.approx(table.r_nm[-1], abs=1e-5)
    run_pictures.draw_rdfs(table, tmp_path / "rdf.png")
    assert (tmp_path / "rdf.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_fails_costs_neither_summary_nor_the_other_picture(waters, tmp_path, monkeypatch):
    monkeypatch.setattr(run_pictures, "draw_energies", lambda *_: 1 / 0)
    summary = start_run(make_config(settings(waters, tmp_path / "out", steps=10))).summary
    assert summary["pictures"] == ["rdf.png"] and (tmp_path / "out" / "rdf.csv").read_text().startswith("r_nm,g H–H")
    assert (tmp_path / "out" / "summary.json").exists()
