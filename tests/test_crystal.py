"""Crystals: edge counts, the reduced box and the way back, invariances, the user's frame, bad input."""

from __future__ import annotations

import warnings

import ase.build
import ase.io
import numpy as np
import openmm
import openmm.unit as unit
import pytest
import torch
from ase import Atoms
from conftest import BACKENDS, DATA
from crystals import ENTRIES, NAMES, awkward_cells, carbon, random_rotation, rattled, rotated
from matscipy.neighbours import neighbour_list
from openmmml import MLPotential
from toy import evaluate, write_toy

from openmm_nequip import load_model
from openmm_nequip.app.cli import main
from openmm_nequip.crystal import fromAse, readCrystal, reduce_box
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.graph.graph import Outputs
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.models.base import Model
from openmm_nequip.units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, Units

#: Å: positions and cells after there and back again.
ROUND_TRIP = 1e-10
#: Supercell against cell, relative.
SUPERCELL = 1e-6
#: Of one crystal told in two ways, float64: eV per atom, eV/Å, and eV/Å^3.
ENERGY = 1e-9
FORCE = 1e-8
STRESS = 1e-9
CUTOFFS = (2.0, 3.0, 4.0, 5.0)
MODEL = DATA / "tiny-nequip.nequip.zip"


def edges_of(atoms, cutoff):
    """Edges as matscipy finds them: a sorted list of (i, j, vector rounded to 1e-6 Å)."""
    i, j, vectors = neighbour_list("ijD", pbc=[True] * 3, cell=atoms.cell[:], positions=atoms.positions, cutoff=cutoff)
    return canonical(i, j, vectors)


def canonical(i, j, vectors):
    # Adding zero turns -0.0 into 0.0.
    return sorted((int(a), int(b), *v) for a, b, v in zip(i, j, (np.round(vectors, 6) + 0.0).tolist(), strict=True))


def vectors_of(edge_index, shifts, positions, cell):
    i, j = edge_index
    return i, j, positions[j] - positions[i] + shifts @ cell


class EdgeRecorder(Model):
    """Keeps the graph it is given."""

    def _evaluate(self, graph):
        edge_index, shifts = graph.edges
        self.graph = edge_index.numpy(), shifts.numpy(), graph.positions.numpy(), graph.cell.numpy()
        return Outputs(torch.zeros(()), torch.zeros_like(graph.positions))


class EdgeCounter(torch.nn.Module):
    """A scripted model whose energy is the number of edges within the cutoff."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        positions = data["pos"]
        centre, neighbor = data["edge_index"][0], data["edge_index"][1]
        vectors = positions[neighbor] - positions[centre] + data["edge_cell_shift"] @ data["cell"].view(3, 3)
        near = (torch.linalg.vector_norm(vectors, dim=1) < self.cutoff).to(positions.dtype)
        atomic = torch.zeros(positions.size(0), dtype=positions.dtype).index_add(0, centre, near)
        return {
            "total_energy": atomic.sum().view(1, 1),
            "atomic_energy": atomic.view(-1, 1),
            "forces": torch.zeros_like(positions),
        }


def counting_model(path, cutoff, by_pair):
    """Write an EdgeCounter for carbon, with one cutoff or with the same as a table of pairs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.script(EdgeCounter(cutoff))
        extra = {"r_max": str(cutoff), "type_names": "C", "model_dtype": "float64", "allow_tf32": "0"}
        if by_pair:
            # The list searches to the larger cutoff and prunes.
            extra |= {"r_max": str(cutoff + 0.7), "per_edge_type_cutoff": str(cutoff)}
        torch.jit.save(module, str(path), _extra_files=extra)
    return path


# ---- edges


@pytest.mark.parametrize("name", NAMES)
def test_edge_counts_of_the_tutorial(name):
    expected = {"mp-47": 16, "mp-48": 12, "mp-66": 32, "mp-169": 12}[name]
    atoms = carbon(name)
    assert ENTRIES[name]["edges_at_2_angstrom"] == len(edges_of(atoms, 2.0)) == expected
    assert NeighborList(2.0, 0.0, True)(atoms.positions, atoms.cell[:]).index.shape == (2, expected)


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skin", [0.0, 0.75])
@pytest.mark.parametrize("by_pair", [False, True])
def test_neighbor_list_of_the_given_and_the_reduced_cell(name, cutoff, skin, by_pair):
    atoms, reduced = carbon(name), fromAse(carbon(name)).toAse()
    box = fromAse(atoms).box.value_in_unit(unit.angstrom)
    expected = edges_of(atoms, cutoff)
    assert edges_of(reduced, cutoff) == expected
    table = ((cutoff,),) if by_pair else None
    for cell in (atoms.cell[:], box @ fromAse(atoms).rotation):
        types = np.zeros(len(atoms), dtype=np.int64)
        neighbors = NeighborList(cutoff + 0.7 * by_pair, skin, True, types, table)
        for _ in range(2):  # the second call comes from the list that the skin keeps
            edge_index, shifts = neighbors(atoms.positions, cell)
            assert canonical(*vectors_of(edge_index, shifts, atoms.positions, cell)) == expected


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("name", NAMES)
def test_cutoffs_by_pair_prune_each_pair_of_types(name, cutoff):
    atoms = carbon(name)
    types = np.arange(len(atoms)) % 2
    table = np.array([[cutoff, 0.8 * cutoff], [0.6 * cutoff, 0.9 * cutoff]])
    edge_index, shifts = NeighborList(cutoff, 0.5, True, types, table)(atoms.positions, atoms.cell[:])
    i, j, vectors = neighbour_list("ijD", atoms=atoms, cutoff=cutoff)
    kept = np.linalg.norm(vectors, axis=1) < table[types[i], types[j]]
    expected = canonical(i[kept], j[kept], vectors[kept])
    assert canonical(*vectors_of(edge_index, shifts, atoms.positions, atoms.cell[:])) == expected


@pytest.mark.parametrize("cutoff", CUTOFFS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("skin_nm", [0.0, 0.075])
def test_edges_that_the_evaluator_gives_to_a_model(name, cutoff, skin_nm, tmp_path):
    atoms, crystal = carbon(name), fromAse(carbon(name))
    info = load_model(counting_model(tmp_path / "count.pth", cutoff, False)).info
    recorder = EdgeRecorder(info, torch.device("cpu"))
    evaluator = Evaluator(recorder, Units(), Placement(len(atoms), np.zeros(len(atoms), dtype=np.int64)), True, skin_nm)
    for _ in range(2):
        evaluator(crystal.positions._value, crystal.box._value)
        i, j, vectors = vectors_of(*recorder.graph)
        assert canonical(i, j, crystal.vectorsToUser(vectors)) == edges_of(atoms, cutoff)


@pytest.mark.parametrize("by_pair", [False, True])
@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_edges_in_openmm_on_every_backend(cutoff, by_pair, backend, tmp_path):
    path = counting_model(tmp_path / "count.pth", cutoff, by_pair)
    potential = MLPotential("nequip", modelPath=str(path), lengthUnit="angstrom", energyUnit="kJ/mol")
    for name in NAMES:
        crystal = fromAse(carbon(name))
        system = potential.createSystem(crystal.topology, backend=backend)
        assert evaluate(system, crystal.positions)[0] == len(edges_of(carbon(name), cutoff)), name


# ---- there and back


def same_crystal(first, second, cutoff=4.0):
    """Whether every atom has the same surroundings in both, vectors included."""
    return edges_of(first, cutoff) == edges_of(second, cutoff)


ALL_CELLS = {name: carbon(name) for name in NAMES} | awkward_cells()


@pytest.mark.parametrize("supercell", [1, (2, 2, 2), (1, 2, 3)])
@pytest.mark.parametrize("name", ALL_CELLS)
def test_round_trip(name, supercell):
    atoms = ALL_CELLS[name]
    crystal = fromAse(atoms, supercell)
    a, b, c = box = crystal.box.value_in_unit(unit.nanometer)
    assert np.array_equal(box, np.tril(box)) and (np.diag(box) > 0).all()
    assert 2 * abs(b[0]) <= a[0] and 2 * abs(c[0]) <= a[0] and 2 * abs(c[1]) <= b[1]
    openmm.System().setDefaultPeriodicBoxVectors(*crystal.box)  # which takes exactly reduced boxes only
    assert np.allclose(crystal.rotation @ crystal.rotation.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(crystal.rotation) == pytest.approx(1.0)
    expected = atoms.repeat(supercell)
    back = crystal.toAse()
    assert np.abs(back.positions - expected.positions).max() < ROUND_TRIP
    assert np.abs(back.cell[:] - expected.cell[:]).max() < ROUND_TRIP
    assert back.get_chemical_symbols() == expected.get_chemical_symbols()
    assert [atom.element.symbol for atom in crystal.topology.atoms()] == expected.get_chemical_symbols()
    in_openmm = Atoms(expected.symbols, crystal.positions._value * 10, cell=box * 10, pbc=True)
    turned = rotated(expected, crystal.rotation)
    assert same_crystal(in_openmm, turned, 3.0)


def test_a_reduced_right_handed_box_is_left_alone():
    atoms = ase.build.bulk("C", cubic=True)
    crystal = fromAse(atoms)
    assert np.array_equal(crystal.rotation, np.eye(3)) and np.array_equal(crystal.integers, np.eye(3))
    assert np.abs(crystal.positions._value * 10 - atoms.positions).max() < ROUND_TRIP


@pytest.mark.parametrize(("name", "vector"), [("mp-169", 2), ("mp-47", 1)])
def test_cells_on_the_edge_of_the_reduced_form_survive(name, vector):
    """mp-169: third vector (-1.37907, 0, 3.50283); mp-47: second vector at exactly -a/2, which must not flip."""
    atoms = carbon(name)
    box = fromAse(atoms).box.value_in_unit(unit.angstrom)
    assert np.allclose(box[vector], ENTRIES[name]["lattice"][vector], rtol=0, atol=ROUND_TRIP)
    for seed in range(20):
        crystal = fromAse(rotated(atoms, random_rotation(seed)))
        assert np.allclose(crystal.box.value_in_unit(unit.angstrom), box, rtol=0, atol=ROUND_TRIP)


def test_reduction_is_a_change_of_vectors_alone():
    rng = np.random.default_rng(8)
    for _ in range(50):
        box = rng.normal(size=(3, 3)) + rng.normal()
        reduced, rotation, integers = reduce_box(box)
        assert np.abs(integers @ reduced - box @ rotation.T).max() < 1e-12
        assert round(np.linalg.det(integers)) == np.sign(np.linalg.det(box))


def test_files(tmp_path):
    atoms = carbon("mp-169")
    for name, form in (("a.cif", None), ("POSCAR", "vasp"), ("a.extxyz", None)):
        ase.io.write(tmp_path / name, atoms, format=form)
        crystal = readCrystal(tmp_path / name, supercell=2)
        assert crystal.topology.getNumAtoms() == 32
        # CIF files hold lengths and angles, so their frame is their own.
        assert same_crystal(crystal.toAse(), ase.io.read(tmp_path / name).repeat(2), 2.0)


def test_frame_of_a_file_and_names_in_pdb(tmp_path):
    frames = [carbon("mp-66"), carbon("mp-47")]
    ase.io.write(tmp_path / "two.extxyz", frames)
    assert readCrystal(tmp_path / "two.extxyz", index=0).topology.getNumAtoms() == 8
    crystal = readCrystal(tmp_path / "two.extxyz", supercell=6)
    assert crystal.topology.getNumAtoms() == 864
    with open(tmp_path / "out.pdb", "w") as file:
        openmm.app.PDBFile.writeFile(crystal.topology, crystal.positions, file)
    assert openmm.app.PDBFile(str(tmp_path / "out.pdb")).topology.getNumAtoms() == 864


# ---- energies and the user's frame


def answer(atoms, model, supercell=1):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of atoms through crystal and evaluator, in the user's frame."""
    crystal = fromAse(atoms, supercell)
    types = np.array([model.info.type_names.index(symbol) for symbol in crystal.atoms.get_chemical_symbols()])
    out = Evaluator(model, Units(), Placement(len(types), types), True, 0.0).evaluate(
        crystal.positions._value, crystal.box._value
    )
    frame = crystal.toAse(energy=out["energy"], forces=out["forces"], stress=out["stress"])
    return frame.get_potential_energy(), frame.get_forces(), frame.get_stress(voigt=False)


@pytest.fixture(scope="module")
def tiny():
    return load_model(MODEL, compile=False)


def test_same_numbers_as_nequip_in_ase(compiled):
    """What NequIPCalculator gives for the atoms as they are, OpenMM gives back for them."""
    from nequip.integrations.ase import NequIPCalculator

    path = compiled / "tiny-nequip.nequip.pt2"
    calculator = NequIPCalculator.from_compiled_model(
        str(path), device="cpu", chemical_species_to_atom_type_map={s: s for s in "HCNO"}
    )
    for name in ("mp-169", "left-handed"):
        atoms = rattled(name) if name in NAMES else awkward_cells()[name]
        atoms = rotated(atoms, random_rotation(5))
        crystal = fromAse(atoms)
        system = MLPotential("nequip", modelPath=str(path)).createSystem(crystal.topology, backend="PythonForce")
        energy, forces = evaluate(system, crystal.positions)
        frame = crystal.toAse(energy=energy, forces=forces, stress=None)
        stress = answer(atoms, load_model(path))[2]
        atoms.calc = calculator
        assert abs(frame.get_potential_energy() - atoms.get_potential_energy()) / len(atoms) < ENERGY
        assert np.abs(frame.get_forces() - atoms.get_forces()).max() < FORCE
        assert np.abs(stress - atoms.get_stress(voigt=False)).max() < STRESS


@pytest.mark.parametrize("name", NAMES)
def test_supercell_is_eight_cells(name, tiny):
    atoms = rattled(name)
    one, eight = answer(atoms, tiny), answer(atoms, tiny, 2)
    assert eight[0] == pytest.approx(8 * one[0], rel=SUPERCELL)
    assert np.abs(eight[1] - np.tile(one[1], (8, 1))).max() < FORCE
    assert np.abs(eight[2] - one[2]).max() < STRESS


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_supercell_in_openmm(name, backend, tmp_path):
    path = DATA / "tiny-nequip.nequip.pth" if "TorchForce" in BACKENDS else MODEL
    potential = MLPotential("nequip", modelPath=str(path), compile=None if path.suffix == ".pth" else False)
    energies = []
    for supercell in (1, 2):
        crystal = fromAse(rattled(name), supercell)
        system = potential.createSystem(crystal.topology, backend=backend)
        energies.append(evaluate(system, crystal.positions)[0])
    assert energies[1] == pytest.approx(8 * energies[0], rel=SUPERCELL)


@pytest.mark.parametrize("name", NAMES)
def test_rotating_the_input_rotates_the_answer(name, tiny):
    atoms = rattled(name)
    energy, forces, stress = answer(atoms, tiny)
    rotation = random_rotation(11)
    turned = answer(rotated(atoms, rotation), tiny)
    assert abs(turned[0] - energy) / len(atoms) < ENERGY
    assert np.abs(turned[1] - forces @ rotation.T).max() < FORCE
    assert np.abs(turned[2] - rotation @ stress @ rotation.T).max() < STRESS
    assert np.abs(forces).max() > 1e3 * FORCE and np.abs(stress).max() > 1e3 * STRESS


@pytest.mark.parametrize("name", NAMES)
def test_permutation_and_whole_lattice_vectors_change_nothing(name, tiny):
    atoms = rattled(name)
    energy, forces, stress = answer(atoms, tiny)
    rng = np.random.default_rng(4)
    order = rng.permutation(len(atoms))
    moved = atoms[order]
    moved.positions += rng.integers(-3, 4, (len(atoms), 3)) @ atoms.cell[:]
    other = answer(moved, tiny)
    assert abs(other[0] - energy) / len(atoms) < ENERGY
    assert np.abs(other[1] - forces[order]).max() < FORCE
    assert np.abs(other[2] - stress).max() < STRESS


def test_another_choice_of_lattice_vectors_changes_nothing(tiny):
    atoms = rattled("mp-47")
    energy, forces, stress = answer(atoms, tiny)
    for steps in (
        [[1, 0, 0], [2, 1, 0], [-3, 1, 1]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ):
        other = atoms.copy()
        other.set_cell(np.array(steps) @ atoms.cell[:], scale_atoms=False)
        again = answer(other, tiny)
        assert abs(again[0] - energy) / len(atoms) < ENERGY
        assert np.abs(again[1] - forces).max() < FORCE and np.abs(again[2] - stress).max() < STRESS


def test_quantities_keep_their_units():
    crystal = fromAse(rotated(carbon("mp-66"), random_rotation(2)))
    force = crystal.vectorsToUser(np.ones((8, 3)) * unit.kilocalorie_per_mole / unit.angstrom)
    assert force.unit == unit.kilocalorie_per_mole / unit.angstrom
    assert np.allclose(force._value, np.ones((8, 3)) @ crystal.rotation)
    tensor = crystal.tensorToUser(np.diag([1.0, 2, 3]) * unit.bar)
    assert np.allclose(np.linalg.eigvalsh(tensor.value_in_unit(unit.bar)), [1, 2, 3])
    stress = crystal.toAse(stress=np.eye(3) * BAR_PER_KJ_PER_MOL_PER_NM3 * unit.bar).get_stress()
    assert np.allclose(stress[:3], 1e-3 / KJ_PER_MOL_PER_EV) and np.allclose(stress[3:], 0)


# ---- boxes that change


def test_the_users_vectors_are_found_again_when_the_box_has_flipped():
    crystal = fromAse(rotated(carbon("mp-47"), random_rotation(9)), (2, 1, 1))
    box = crystal.box._value
    for strain in (
        np.eye(3) * 1.03,
        np.diag([1.02, 0.97, 1.05]),
        np.eye(3) + [[0, 0, 0], [0.04, 0, 0], [0.02, -0.03, 0]],
    ):
        strained = box @ strain
        expected = crystal.integers @ strained @ crystal.rotation * 10
        for steps in (
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[1, 0, 0], [1, 1, 0], [0, 0, 1]],
            [[1, 0, 0], [0, 1, 0], [-1, 1, 1]],
        ):
            found = crystal.cellToUser(np.array(steps) @ strained)
            assert np.abs(found - expected).max() < ROUND_TRIP
    with pytest.raises(ValueError, match="too far from the lattice"):
        crystal.cellToUser(np.diag([3.0, 0.4, 0.1]))
    with pytest.raises(ValueError, match="no volume"):
        crystal.cellToUser(np.zeros((3, 3)))


# ---- bad input


PARTIAL_CIF = """data_alloy
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na 0.5 0.0 0.5 1.0
Au1 Au 0 0 0 0.5
Ag1 Ag 0 0 0 0.5
Cu1 Cu 0.5 0.5 0.25 0.75
"""


def test_partial_occupancies(tmp_path, capsys):
    path = tmp_path / "alloy.cif"
    path.write_text(PARTIAL_CIF)
    expected = (
        r"partial occupancies: site 2 of the list, \(0.0000, 0.0000, 0.0000\), holds 0.5 Au \+ 0.5 Ag; site 4.*0.75 Cu"
    )
    with pytest.raises(ValueError, match=expected) as caught:
        readCrystal(path)
    assert "Na" not in str(caught.value) and "ordered supercell" in str(caught.value)
    assert main(["energy", str(MODEL), str(path)]) == 1
    assert "partial occupancies: site 2" in capsys.readouterr().err
    path.write_text(
        PARTIAL_CIF.replace("Ag1 Ag 0 0 0 0.5\n", "").replace("0 0 0 0.5", "0 0 0 1").replace("0.75", "1.0")
    )
    assert readCrystal(path).topology.getNumAtoms() == 3


def test_unknown_element(tmp_path, capsys):
    crystal = fromAse(ase.build.bulk("NaCl", "rocksalt", 5.64))
    with pytest.raises(
        ValueError, match=r"atom 0 \(Na of UNK\) is Na, which the model does not know; its types are H, C"
    ):
        MLPotential("nequip", modelPath=str(MODEL), compile=False).createSystem(crystal.topology)
    ase.io.write(tmp_path / "salt.cif", ase.build.bulk("NaCl", "rocksalt", 5.64))
    assert main(["energy", str(MODEL), str(tmp_path / "salt.cif")]) == 1
    assert "is Na, which the model does not know" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.set_pbc(False), "not periodic, so it is no crystal and no barostat .*vacuum"),
        (lambda atoms: atoms.set_pbc([True, True, False]), r"in some directions only.*True, False\]\), which OpenMM"),
        (lambda atoms: atoms.set_cell(np.zeros((3, 3))), "has no volume"),
        (lambda atoms: atoms.set_cell([[1, 0, 0], [0, 1, 0], [1, 1, 0]]), "has no volume: its vectors are"),
        (lambda atoms: atoms.set_cell(np.full((3, 3), np.nan)), "has no volume"),
        (lambda atoms: atoms.positions.__setitem__(2, np.nan), "NaN or infinite, the first of atom 2"),
        (lambda atoms: atoms.__delitem__(slice(None)), "has no atoms"),
    ],
)  # fmt: skip
def test_bad_atoms(change, message, tmp_path):
    atoms = carbon("mp-66")
    change(atoms)
    with pytest.raises(ValueError, match=message):
        fromAse(atoms)


@pytest.mark.parametrize("supercell", [0, (1, 2), (1, 1, 0), 1.5, (2, -1, 1)])
def test_bad_supercell(supercell):
    with pytest.raises(ValueError, match="supercell=.*whole numbers of at least 1"):
        fromAse(carbon("mp-66"), supercell)


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        readCrystal(tmp_path / "none.cif")
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site_fract_x\n")
    with pytest.raises(ValueError, match="broken.cif cannot be read"):
        readCrystal(tmp_path / "broken.cif")
    ase.io.write(tmp_path / "one.extxyz", carbon("mp-66"))
    with pytest.raises(ValueError, match="has no frame 3"):
        readCrystal(tmp_path / "one.extxyz", index=3)
    ase.io.write(tmp_path / "water.xyz", ase.build.molecule("H2O"))
    with pytest.raises(ValueError, match="water.xyz is not periodic"):
        readCrystal(tmp_path / "water.xyz")


def test_bad_frames():
    crystal = fromAse(carbon("mp-66"))
    with pytest.raises(ValueError, match=r"shape \(3, 3\); expected \(8, 3\)"):
        crystal.toAse(np.zeros((3, 3)))


def test_tiny_cell_smaller_than_the_cutoff_by_far(tmp_path):
    """One atom in a cell with edges of 3.7 Å with a cutoff of 9 Å, through OpenMM."""
    path = write_toy(tmp_path / "toy.pth", types="Ar")
    crystal = fromAse(ase.build.bulk("Ar", "fcc", 5.3))
    energy, forces = evaluate(
        MLPotential("nequip", modelPath=str(path)).createSystem(crystal.topology), crystal.positions
    )
    big = fromAse(ase.build.bulk("Ar", "fcc", 5.3), 4)
    whole, _ = evaluate(MLPotential("nequip", modelPath=str(path)).createSystem(big.topology), big.positions)
    assert whole == pytest.approx(64 * energy, rel=SUPERCELL) and np.abs(forces).max() < 1e-8
