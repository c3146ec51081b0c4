"""Frames that are worth a label: planted copies and outliers, fragments of hybrid runs, and what nequip reads."""

import json
import re
from pathlib import Path

import ase.io
import mdtraj
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from nequip.data.dataset import ASEDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from test_mixed_standin import dipeptide, vacuum_system
from toy import evaluate, reference_energy, write_toy

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.select.candidate import Candidate
from openmm_nequip.app.select.distance_vectors import distance_vectors
from openmm_nequip.choices import FORCE_NAME
from openmm_nequip.evaluate.spread import force_spread

PEPTIDE = str(Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb")
REGION = list(range(6, 16))  # the alanine: two cut bonds
#: eV/Å and Å; relative for energies of single-precision frames, of atoms that repel each other like argon.
FORCE, LENGTH, ENERGY = 1e-9, 1e-6, 1e-4
SINGLE = 2e-5  # Å, of frames in a DCD file

#: Methanol, Å; hydrogens of the methyl group are atoms 2 to 4.
METHANOL = ase.Atoms(
    "COHHHH",
    [[-0.05, 0.66, 0], [-0.05, -0.76, 0], [-1.09, 0.98, 0], [0.44, 1.07, 0.89], [0.44, 1.07, -0.89], [0.88, -1.05, 0]],
)


def stretched(atom, by):
    """Methanol with one atom moved away from the others, Å."""
    atoms = METHANOL.copy()
    way = atoms.positions[atom] - atoms.positions.mean(axis=0)
    atoms.positions[atom] += by * way / np.linalg.norm(way)
    return atoms


def turned(atoms, seed=0):
    """The same molecule elsewhere in space."""
    atoms = atoms.copy()
    atoms.euler_rotate(*np.random.default_rng(seed).uniform(0, 360, 3))
    atoms.positions += [3.0, -1.0, 2.0]
    return atoms


def permuted(atoms):
    return atoms[[0, 1, 4, 2, 3, 5]]


def mirrored(atoms):
    atoms = atoms.copy()
    atoms.positions[:, 2] *= -1
    return atoms


#: Frames 1 to 5 are copies of frame 0, and 7 of 6; 6 and 8 are far out, 9 is between.
PLANTED = [
    METHANOL, METHANOL, turned(METHANOL), permuted(METHANOL), turned(permuted(METHANOL), 1), mirrored(METHANOL),
    stretched(5, 1.5), turned(permuted(stretched(5, 1.5)), 2), stretched(1, 1.0), stretched(5, 0.3),
]  # fmt: skip


def write(path, frames, deviations=None, key="deviation_ev_per_angstrom"):
    frames = [frame.copy() for frame in frames]
    for frame, value in zip(frames, deviations or [], strict=False):
        frame.info[key] = value
    ase.io.write(path, frames, format="extxyz")
    return str(path)


def select(tmp_path, *words, name="out"):
    """Frames that the command writes, and its document."""
    assert main(["select", *map(str, words), "--output", str(tmp_path / name), "--quiet"]) == 0
    document = json.loads((tmp_path / name / "select.json").read_text())
    assert (tmp_path / name / "select.png").read_bytes().startswith(b"\x89PNG")
    return ase.io.read(tmp_path / name / "selected.extxyz", ":"), document


@pytest.mark.parametrize(("number", "expected"), [(1, [0]), (2, [0, 6]), (3, [0, 6, 8]), (10, [0, 6, 8, 9])])
def test_copies_are_out_and_outliers_first(tmp_path, number, expected):
    frames, document = select(tmp_path, write(tmp_path / "f.extxyz", PLANTED), "--number", number)
    assert [frame.info["frame"] for frame in frames] == expected
    assert document["fates"]["copy"] == 6 and document["frames_chosen"] == len(expected)
    for frame in frames:
        assert np.abs(frame.positions - PLANTED[frame.info["frame"]].positions).max() < LENGTH
    distances = [row["distance_angstrom"] for row in document["chosen"]]
    assert distances[0] is None and distances[1:] == sorted(distances[1:], reverse=True)


def test_the_deviation_decides_first(tmp_path):
    """Of copies the one of the larger deviation stays; what is too far out or certain is not considered."""
    deviations = [0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.5, 0.6, 5.0, 0.1]
    path = write(tmp_path / "f.extxyz", PLANTED, deviations, "deviation")
    frames, document = select(tmp_path, path, "--above", 0.2, "--below", 2, "--number", 5)
    assert [frame.info["frame"] for frame in frames] == [7, 1]
    assert [frame.info["deviation_ev_per_angstrom"] for frame in frames] == [0.6, 0.3]
    assert document["fates"] == {"chosen": 2, "below the threshold": 5, "too far out": 1, "copy": 2}
    # Without thresholds the five times as many of the largest deviation go on: here all five that differ.
    frames, _ = select(tmp_path, path, "--number", 1, name="one")
    assert [frame.info["frame"] for frame in frames] == [8]


def test_frames_with_labels_are_kept_away_from(tmp_path):
    known = write(tmp_path / "known.extxyz", [turned(stretched(5, 1.5), 3), METHANOL])
    path = write(tmp_path / "f.extxyz", PLANTED)
    frames, document = select(tmp_path, path, "--known", known, "--number", 1)
    assert [frame.info["frame"] for frame in frames] == [8]
    assert document["fates"]["copy"] == 8


def test_nequip_reads_it_and_no_label_of_the_source_is_left(tmp_path):
    frames = [frame.copy() for frame in PLANTED]
    for frame in frames:
        frame.info |= {"energy": -1.0}
        frame.arrays["forces"] = np.ones((6, 3))
    crystal = ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.2]], cell=[[4, 0, 0], [1, 4, 0], [0, 0, 5]], pbc=True)
    path, other = write(tmp_path / "f.extxyz", frames), write(tmp_path / "g.extxyz", [crystal])
    select(tmp_path, path, other, "--number", 20)
    types = ["H", "C", "O"]
    transforms = [ChemicalSpeciesToAtomTypeMapper(types), NeighborListTransform(r_max=3.0)]
    data = ASEDataset(str(tmp_path / "out" / "selected.extxyz"), transforms=transforms)
    assert len(data) == 5
    found = [data[i] for i in range(len(data))]
    molecule = next(each for each in found if len(each["pos"]) == 6)
    assert [types[i] for i in molecule["atom_types"].tolist()] == list("COHHHH")
    assert not molecule["pbc"].any() and molecule["cell"].det().abs() > 1
    solid = next(each for each in found if len(each["pos"]) == 2)
    assert solid["pbc"].all() and np.abs(solid["cell"].numpy().reshape(3, 3) - crystal.cell[:]).max() < LENGTH
    assert not any("total_energy" in each or "forces" in each for each in found)


def test_sorted_distances_see_images_and_turn_with_the_frame():
    random = np.random.default_rng(4)
    box = np.array([[1.0, 0, 0], [0.2, 0.9, 0], [-0.1, 0.3, 1.1]])
    positions = random.uniform(0, 1, (12, 3))
    symbols = tuple("HHHHHHHHOOOO")
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    order = np.concatenate([random.permutation(8), 8 + random.permutation(4)])
    whole = random.integers(-2, 3, (12, 3)) @ box
    frames = [
        Candidate("a", 0, symbols, positions, box),
        Candidate("a", 1, symbols, (positions + whole)[order] @ turn, box @ turn),
    ]
    points = distance_vectors(frames, 0.6)
    assert np.abs(points[0] - points[1]).max() < LENGTH
    # By brute force over images.
    shifts = np.array(np.meshgrid(*[[-2, -1, 0, 1, 2]] * 3)).reshape(3, -1).T @ box
    lengths = [np.linalg.norm(positions[j] + s - positions[i]) for i in range(12) for j in range(12) for s in shifts]
    inside = [length for length in lengths if 1e-9 < length < 0.6]
    assert np.isclose(np.sort(points[0])[: len(inside) // 2], np.sort(inside)[::2] * 10, atol=LENGTH).all()
    assert points.shape[1] == len(inside) // 2


def test_the_deviation_is_that_of_the_field():
    forces = np.zeros((4, 3, 3))
    forces[:, 1, 0], forces[:, 2, 1] = [1, -1, 1, -1], [3, 0, 0, -3]
    assert abs(force_spread(forces).max() - np.sqrt(18 / 4)) < FORCE
    assert not force_spread(np.repeat(forces[:1], 3, axis=0)).any()


def committee_of(tmp_path, **types):
    """Two Lennard-Jones models, the second with forces one and a half times as strong."""
    first = write_toy(tmp_path / "one.nequip.pth")
    return str(first), str(write_toy(tmp_path / "two.nequip.pth", energy=96.48533212331002 * 1.5, **types))


def test_a_committee_is_evaluated_here(tmp_path):
    """Forces F and F/1.5 (in the unit of the file): their standard deviation is F/6."""
    path = write(tmp_path / "f.extxyz", PLANTED)
    pair = committee_of(tmp_path)
    frames, document = select(tmp_path, path, "--committee", *pair, "--number", 3)
    same, _ = select(tmp_path, path, "--committee", pair[0], pair[0], "--number", 1, name="same")
    assert same[0].info["deviation_ev_per_angstrom"] < FORCE
    for frame in frames:
        assert main(["energy", pair[0], write(tmp_path / "g.extxyz", [frame]), "--forces", str(tmp_path / "g.npy"),
                     "--quiet"]) == 0  # fmt: skip
        largest = np.linalg.norm(np.load(tmp_path / "g.npy"), axis=1).max() / 964.8533212331002
        assert frame.info["deviation_ev_per_angstrom"] == pytest.approx(largest / 6, rel=1e-6)
    assert document["deviation_ev_per_angstrom"]["from"] == list(pair)


def run_folder(path, positions, topology, boxes=None, system=None, **settings):
    """A run folder as `run` leaves one behind: settings, start, System, trajectory."""
    path.mkdir()
    config = make_config({"model": str(path.parent / "one.nequip.pth"), "structure": PEPTIDE, "output": str(path),
                          "report_interval": 10} | settings)  # fmt: skip
    (path / "config.toml").write_text(config.to_toml(path))
    (path / "provenance.json").write_text("{}")
    with open(path / "start.pdb", "w") as file:
        app.PDBFile.writeFile(topology, positions[0] * unit.nanometer, file, keepIds=True)
    if system is not None:
        (path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    frames = mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology))
    if boxes is not None:
        frames.unitcell_vectors = boxes
    frames.save_dcd(str(path / "trajectory.dcd"))
    return str(path)


def peptide_frames(count, seed=1):
    pdb = app.PDBFile(PEPTIDE)
    start = np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    noise = np.random.default_rng(seed).normal(0, 0.02, (count, *start.shape))
    return pdb.topology, start + noise


def test_a_run_folder_and_its_deviation_log(tmp_path):
    """Deviations belong to steps; a frame without one is not considered where others have it."""
    committee_of(tmp_path)
    topology, positions = peptide_frames(6)
    positions[3] = positions[1]
    folder = run_folder(tmp_path / "run", positions, topology)
    header = "step,time_ps,deviation_ev_per_angstrom,deviation_atom"
    rows = [f"{step},0.0,{0.1 * step},3" for step in range(5, 56, 5)]
    (tmp_path / "run" / "deviation.csv").write_text("\n".join([header, *rows]) + "\n")
    frames, document = select(tmp_path, folder, "--above", 1.5, "--number", 9)
    assert sorted(frame.info["frame"] for frame in frames) == [2, 3, 4]
    assert frames[0].info["frame"] == 4, "the largest deviation is the first"
    assert [f.info["deviation_ev_per_angstrom"] for f in frames if f.info["frame"] == 2] == [3.0]
    assert document["fates"]["without a deviation"] == 1
    frame = next(frame for frame in frames if frame.info["frame"] == 4)
    assert np.abs(frame.positions - positions[4] * 10).max() < SINGLE


def test_frames_that_a_committee_kept_are_read_too(tmp_path):
    committee_of(tmp_path)
    topology, positions = peptide_frames(4)
    folder = run_folder(tmp_path / "run", positions[:2], topology)
    symbols = [atom.element.symbol for atom in topology.atoms()]
    kept = [ase.Atoms(symbols, place * 10) for place in positions[2:]]
    path = write(tmp_path / "run" / "selected.extxyz", kept, [0.7, 0.9])
    frames, document = select(tmp_path, folder, "--number", 9)
    assert sorted(frame.info["deviation_ev_per_angstrom"] for frame in frames) == [0.7, 0.9]
    assert {frame.info["source"] for frame in frames} == {path}
    assert document["fates"] == {"chosen": 2, "without a deviation": 2}


def test_trajectories_with_a_topology(tmp_path):
    topology, positions = peptide_frames(5)
    positions[4] = positions[0] @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    frames = mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology))
    for suffix in ("dcd", "xtc"):
        path = tmp_path / f"t.{suffix}"
        frames.save(str(path))
        found, document = select(tmp_path, path, "--topology", PEPTIDE, name=suffix)
        assert sorted(frame.info["frame"] for frame in found) == [0, 1, 2, 3]
        assert document["fates"]["copy"] == 1
        every, _ = select(tmp_path, path, "--topology", PEPTIDE, "--frames", "1::2", name=f"some-{suffix}")
        assert sorted(frame.info["frame"] for frame in every) == [1, 3]


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """A run folder of a hybrid System, its atoms wrapped one by one, and where they really are."""
    folder = tmp_path_factory.mktemp("hybrid")
    model, _ = committee_of(folder)
    topology, start = dipeptide()
    mixed = openmm_nequip.create_mixed_system(
        topology, vacuum_system(), REGION, model, positions=start * unit.nanometer, backend="PythonForce", **NO_WARNING
    )
    system = mixed.system
    next(force for force in system.getForces() if force.getName() == FORCE_NAME).setForceGroup(7)
    places = start + np.random.default_rng(5).normal(0, 0.01, (3, *start.shape))
    box = np.array([[3.0, 0, 0], [0.9, 2.8, 0], [-0.9, 0.8, 2.7]])
    wrapped = places + np.random.default_rng(6).integers(-1, 2, places.shape) @ box
    settings = {"ml_atoms": "resname ALA", "forcefield": ["amber14-all.xml"]}
    run_folder(folder / "run", wrapped, topology, np.repeat(box[None], 3, axis=0), system, **settings)
    return folder, topology, system, places


NO_WARNING: dict = {}


def test_fragments_of_a_hybrid_run_are_what_the_model_saw(hybrid, tmp_path):
    """Its energy on each is that of its force in the hybrid System; the caps come last, one for each cut bond."""
    folder, _, system, places = hybrid
    frames, document = select(tmp_path, folder / "run", "--number", 9)
    assert len(frames) == 3 and "2 link caps" in document["sources"][0]["part"]
    for frame in frames:
        assert (frame.info["caps"], frame.info["region"], frame.info["part"]) == (2, 0, "capped")
        assert len(frame) == len(REGION) + 2 and not frame.pbc.any()
        place = places[frame.info["frame"]]
        inside = place[REGION] * 10
        assert np.abs(frame.get_all_distances()[:10, :10] - ase.Atoms("X10", inside).get_all_distances()).max() < 1e-4
        energy, _ = evaluate(system, place, groups=1 << 7)
        assert abs(reference_energy(frame.positions / 10) / energy - 1) < ENERGY


def test_whole_molecules_of_a_hybrid_run(hybrid, tmp_path):
    folder, topology, _, places = hybrid
    frames, document = select(tmp_path, folder / "run", "--fragments", "molecules", "--number", 9)
    assert "whole molecules" in document["sources"][0]["part"]
    for frame in frames:
        assert frame.get_chemical_symbols() == [atom.element.symbol for atom in topology.atoms()]
        expected = ase.Atoms("X22", places[frame.info["frame"]] * 10).get_all_distances()
        assert np.abs(frame.get_all_distances() - expected).max() < 1e-4
        assert frame.info["caps"] == 0


def fails(capsys, *words):
    """What the command says on stderr where it does not do it."""
    try:
        assert main(["select", *map(str, words)]) == 1
    except SystemExit as stop:
        assert stop.code == 2
    return capsys.readouterr().err


def test_words_for_what_cannot_be(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "f.extxyz", PLANTED, [0.1] * 10)
    bare = write(tmp_path / "bare.extxyz", PLANTED)
    pair = committee_of(tmp_path, types="H C O")
    topology, positions = peptide_frames(2)
    mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology)).save_dcd("t.dcd")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.extxyz").write_text("")
    (tmp_path / "no.xtc").write_bytes(b"no trajectory" * 20)
    one = write_toy(tmp_path / "argon.nequip.pth", types="Ar")
    for words, expected in (
        (["f.extxyz", "--above", 0.5], "left to choose of 10: 10 below the threshold; the largest deviation"),
        (["f.extxyz", "--below", 0.05], "10 too far out; the smallest deviation is 0.1"),
        (["f.extxyz", "--known", path], "all are like frames that have labels"),
        (["bare.extxyz", "--above", 0.5], "no frame has one .* --committee"),
        (["f.extxyz", "--above", 2, "--below", 1], "no frame can be between"),
        (["f.extxyz", "--above", "nan"], "a deviation >= 0"), (["f.extxyz", "--number", 0], "number >= 1"),
        (["f.extxyz", "--alike", -1], "distance >= 0"), (["f.extxyz", "--reach", 0], "from 1 to 100"),
        (["f.extxyz", "f.extxyz"], "named twice"), (["f.extxyz", "--frames", "20:"], "10 frames, and"),
        (["f.extxyz", "--output", ""], "--output is empty"),
        (["nowhere.extxyz"], "does not exist"), (["empty.extxyz"], "empty.extxyz"), (["empty"], "holds no run"),
        (["no.xtc", "--topology", PEPTIDE], "no whole frame"),
        (["t.dcd"], "give the structure of its atoms with --topology"),
        (["t.dcd", "--topology", "bare.extxyz"], "with 6 atoms .* --topology that belongs to it"),
        ([bare, "--committee", pair[0]], "a committee needs at least 2 models"),
        ([bare, "--committee", *pair], r"two.nequip.pth are no committee: they differ in types .* H C O\)"),
        ([bare, "--committee", one, one], "frame 0 of .*C"),
    ):  # fmt: skip
        said = fails(capsys, *words, *([] if "--output" in words else ["--output", "o"]))
        assert re.search(expected, said), (words, said)
    assert not (tmp_path / "o").exists(), "nothing is written where nothing is chosen"
    select(tmp_path, path, name="o")
    assert "is there already" in fails(capsys, path, "--output", "o")
    assert main(["select", path, "--output", "o", "--overwrite", "--quiet"]) == 0


def test_logs_that_are_none(tmp_path, capsys):
    committee_of(tmp_path)
    topology, positions = peptide_frames(2)
    folder = run_folder(tmp_path / "run", positions, topology)
    for text, words in (("step,energy\n10,1\n", "has the columns step, energy"),
                        ("step,deviation_ev_per_angstrom\n10,x\n", "deviation.csv:2: .* is 'x'")):  # fmt: skip
        (tmp_path / "run" / "deviation.csv").write_text(text)
        assert re.search(words, fails(capsys, folder, "--output", tmp_path / "o"))
