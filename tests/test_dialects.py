"""CP2K's tensor dialect in all its forms: published energies in any order, and what files may leave out."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import ase
import ase.io
import numpy as np
import pytest
import torch
from toy import evaluate as evaluate_system
from toy import make_topology

from openmm_nequip import ModelFileError, load_model
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import locate, read_info
from openmm_nequip.units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, Units

#: CODATA 2006, which CP2K uses.
EV_PER_HARTREE = 27.211383856556
FLOAT64_RELATIVE, FLOAT32_RELATIVE = 1e-8, 1e-6
#: The MACE file's model is soft (forces of 0.3 kJ/mol/nm) on a total of -4e6 kJ/mol, whose last digits are what
#: differences of energies are made of: kJ/mol/nm and kJ/mol.
DERIVATIVE_NOISE = 5e-5
STEP_NM = 1e-4
STRAIN = 1e-4
THREE_ATOMS = [
    [42.88616967, -0.05568166, 38.32916112], [34.20258872, -0.6185484, 37.36556808],
    [43.20990872, -0.06284565, 47.25931559],
]  # fmt: skip


class Published(NamedTuple):
    """An input of CP2K with its energy in the model's own unit."""

    model: str
    structure: str
    cell: tuple[float, float, float] | None
    energy: float
    relative: float


#: The graphene-water input calls the model's unit Hartree, whatever it is: its number is the model's.
INPUTS = {
    "seed": Published("inputs/seed/NequIP/water-double.pth", "inputs/seed/H2O-32.xyz", (9.8528,) * 3,
                      -550.638647597308932 * EV_PER_HARTREE, FLOAT64_RELATIVE),
    "mid": Published("inputs/mid/Allegro/gra-water-deployed-neq060sp.pth", "inputs/mid/water-gra-film.xyz",
                     (12.8160, 12.3322, 55.0), -2073.192819118499756, FLOAT32_RELATIVE),
    "old": Published("water-deployed-neq060sp.pth", "", (9.85,) * 3,
                     -17.195440909240052 * EV_PER_HARTREE, FLOAT32_RELATIVE),
    "head": Published("waterscan-neq0.16.nequip.pth", "water-bulk.xyz", (9.8528,) * 3,
                      -550.635061584740356 * EV_PER_HARTREE, FLOAT64_RELATIVE),
    "mace": Published("inputs/mace/MACE/MACE_scratch_run-3.model-cp2k.pth", "inputs/mace/mace-test.xyz", None,
                      -1532.363300232407482 * EV_PER_HARTREE, FLOAT64_RELATIVE),
}  # fmt: skip


def structure_of(folder, name):
    """The atoms of an input as ASE has them."""
    given = INPUTS[name]
    if not given.structure:
        return ase.Atoms("HHO", THREE_ATOMS, cell=given.cell)
    atoms = ase.io.read(folder / given.structure, format="extxyz" if given.cell is None else "xyz")
    if given.cell is not None:
        atoms.cell = given.cell
    return atoms


def evaluator_of(path, atoms, **options):
    """An evaluator of a model file on these atoms."""
    model = load_model(path, **options)
    types = np.array([model.info.type_names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    return Evaluator(model, Units(), Placement(len(types), types), True, 0.0)


def energy_of(path, atoms, **options):
    """Its energy in eV."""
    out = evaluator_of(path, atoms, **options).evaluate(atoms.positions / 10, atoms.cell.array / 10)
    return out["energy"] / KJ_PER_MOL_PER_EV


@pytest.mark.slow
@pytest.mark.torchforce_stack
def test_published_energies_in_any_order_in_one_process(cp2k):
    """Float64 after float32 and back, old after new, twice each but for the large one, with the atoms moved."""
    structures = {name: structure_of(cp2k, name) for name in INPUTS}
    generator = np.random.default_rng(1)
    for name in ("seed", "old", "mace", "head", "old", "seed", "mid", "mace", "head"):
        given, atoms = INPUTS[name], structures[name]
        evaluator = evaluator_of(cp2k / given.model, atoms, kernels="none")
        energy = evaluator.evaluate(atoms.positions / 10, atoms.cell.array / 10)["energy"] / KJ_PER_MOL_PER_EV
        assert energy == pytest.approx(given.energy, rel=given.relative), name
        moved = atoms.positions / 10 + 1e-4 * generator.standard_normal(atoms.positions.shape)
        assert np.isfinite(evaluator.evaluate(moved, atoms.cell.array / 10)["energy"])


@pytest.mark.parametrize("name", ["seed", "old", "mace"])
def test_published_energies_in_a_system(cp2k, backend, name):
    given, atoms = INPUTS[name], structure_of(cp2k, name)
    topology = make_topology(atoms.get_chemical_symbols(), atoms.cell.array / 10)
    from openmmml import MLPotential

    system = MLPotential("nequip", modelPath=str(cp2k / given.model)).createSystem(topology, backend=backend)
    energy, _ = evaluate_system(system, atoms.positions / 10)
    assert energy / KJ_PER_MOL_PER_EV == pytest.approx(given.energy, rel=given.relative)


@pytest.mark.slow
def test_forces_and_stress_of_the_mace_file(cp2k):
    atoms = structure_of(cp2k, "mace")
    evaluator = evaluator_of(cp2k / INPUTS["mace"].model, atoms)
    # Compressed and shaken, for the published structure is at rest.
    positions, box = 0.098 * atoms.positions, 0.098 * atoms.cell.array
    positions += 0.005 * np.random.default_rng(2).standard_normal(positions.shape)
    out = evaluator.evaluate(positions, box)

    def slope(change, step):
        return (change(step) - change(-step)) / (2 * step)

    def moved(step):
        shifted = positions.copy()
        shifted[3, 1] += step
        return evaluator.evaluate(shifted, box)["energy"]

    def strained(step):
        return evaluator.evaluate(positions * (1 + step), box * (1 + step))["energy"]

    forces = out["forces"]
    assert abs(forces[3, 1]) > 0.1
    assert -slope(moved, STEP_NM) == pytest.approx(forces[3, 1], abs=DERIVATIVE_NOISE)
    by_strain = np.trace(out["stress"]) * np.linalg.det(box) / BAR_PER_KJ_PER_MOL_PER_NM3
    assert abs(by_strain) > 0.1 and slope(strained, STRAIN) == pytest.approx(by_strain, abs=DERIVATIVE_NOISE)
    assert out["atomic_energies"].sum() == pytest.approx(out["energy"], rel=1e-12)


def resave(source, target, **changes):
    """A scripted file with other extra files; None leaves one out."""
    known = ("r_max", "type_names", "model_dtype", "default_dtype", "allow_tf32", "nequip_version", "num_types")
    extra = dict.fromkeys(known, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(source), map_location="cpu", _extra_files=extra)
        stated = {key: value.decode() if isinstance(value, bytes) else value for key, value in extra.items()}
        stated |= changes
        torch.jit.save(module, str(target), _extra_files={key: value for key, value in stated.items() if value})
    return target


@pytest.mark.parametrize("lost", [
    ("model_dtype", "default_dtype"), ("nequip_version",), ("model_dtype", "default_dtype", "nequip_version"),
    ("allow_tf32", "num_types", "nequip_version", "default_dtype"),
])  # fmt: skip
@pytest.mark.slow
@pytest.mark.parametrize("name", ["old", "mace"])
def test_files_that_lack_facts(cp2k, tmp_path, name, lost):
    """The dtype is then that of the parameters, and the generation that of the modules."""
    given, atoms = INPUTS[name], structure_of(cp2k, name)
    path = resave(cp2k / given.model, tmp_path / "model.pth", **dict.fromkeys(lost))
    info = read_info(locate(path))
    assert info.dtype == ("float32" if given.relative == FLOAT32_RELATIVE else "float64")
    assert energy_of(path, atoms, kernels="none") == pytest.approx(given.energy, rel=given.relative)


@pytest.mark.parametrize("name", ["old", pytest.param("mid", marks=pytest.mark.slow)])
def test_positions_in_the_precision_that_the_file_states(cp2k, tmp_path, name):
    """nequip 0.6: ``default_dtype`` float64 with weights in float32, its own default, keeps positions in float64."""
    given = INPUTS[name]
    path = resave(cp2k / given.model, tmp_path / "model.pth", default_dtype="float64", model_dtype="float32")
    atoms = structure_of(cp2k, name)
    model = load_model(path, kernels="none")
    assert model.info.dtype == "float32" and model.input_dtype == torch.float64
    for kernels in ("none", "auto"):  # as it is, and fused where it can be
        assert energy_of(path, atoms, kernels=kernels) == pytest.approx(given.energy, rel=FLOAT32_RELATIVE)


def test_foreign_dictionaries(tmp_path):
    """A file of another root without a total, and one that is no potential at all."""

    class Springs(torch.nn.Module):
        def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            i, j = data["edge_index"][0], data["edge_index"][1]
            r = data["pos"][j] - data["pos"][i] + data["edge_cell_shift"] @ data["cell"].view(3, 3)
            atomic = torch.zeros_like(data["pos"][:, 0]).index_add(0, i, 0.25 * (r * r).sum(1))
            forces = torch.zeros_like(data["pos"]).index_add(0, i, r)
            return {"atomic_energy": atomic.view(-1, 1), "forces": forces}

    class Wrong(torch.nn.Module):
        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            return positions.sum()

    extra = {"r_max": "3.0", "type_names": "H O", "model_dtype": "float64"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Springs()), str(tmp_path / "springs.pth"), _extra_files=extra)
        torch.jit.save(torch.jit.script(Wrong()), str(tmp_path / "wrong.pth"), _extra_files=extra)
    atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, 2.0]], cell=[20] * 3)
    assert energy_of(tmp_path / "springs.pth", atoms) == pytest.approx(2.0)
    with pytest.raises(ModelFileError, match=r"takes \(Tensor\) and gives \(Tensor\)"):
        load_model(tmp_path / "wrong.pth")
