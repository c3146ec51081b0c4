"""Wrong modules and wrong declarations: refused in words that name what is wrong; the process goes on."""

from __future__ import annotations

import module_potentials as potentials
import numpy as np
import openmm
import pytest
import torch
from ase.build import bulk
from openmmml import MLPotential
from toy import make_topology

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.models.modules.module_interface import parse_interface

REFERENCE = openmm.Platform.getPlatformByName("Reference")
UNITS = ("nm", "kJ/mol")
OWN = "positions,outputs=energy+forces"


def energy_of(potential, periodic=False):
    """Energy of the atoms of :func:`module_potentials.box_of_atoms`, in kJ/mol."""
    topology, positions, _ = potentials.box_of_atoms(triclinic=False)
    if not periodic:
        topology.setPeriodicBoxVectors(None)
    system = potential.createSystem(topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    return context.getState(getEnergy=True, getForces=True).getPotentialEnergy()._value


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("gradients", "forces that are not the derivative"),
        ("units", "forces that are not the derivative"),
        ("shape", r"gave forces of the shape \[7, 3\], expected \[8, 3\]"),
        ("flat", r"gave forces of the shape \[24\]"),
        ("vector", r"energy of the shape \[8\], expected one number"),
        ("nan", "NaN or infinite"),
        ("directions", "another energy for the turned structure"),
        ("raises", "no such structure was ever seen"),
    ],
)
@pytest.mark.parametrize("scripted", [True, False])
def test_wrong_answers_are_named(how, words, scripted):
    """Each check has its own message, from a scripted module and from a plain function."""
    module = potentials.OwnForces(how)
    given = module if scripted else lambda positions: module(positions)
    with pytest.raises(openmm.OpenMMException, match=words):
        energy_of(openmm_nequip.potential_from(given, OWN, UNITS))


def test_the_right_one_passes_and_checks_can_be_switched_off():
    """The same module without a fault, and one with wrong forces that is meant so."""
    assert energy_of(openmm_nequip.potential_from(potentials.OwnForces(), OWN, UNITS)) > 0
    wrong = openmm_nequip.potential_from(potentials.OwnForces("gradients"), OWN + ",check=no", UNITS)
    assert energy_of(wrong) > 0


class IgnoresBox(torch.nn.Module):
    """Takes a box and does nothing with it."""

    def forward(self, positions: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Energy ()."""
        return ((positions.unsqueeze(0) - positions.unsqueeze(1)) ** 2).sum()


class Detached(torch.nn.Module):
    """An energy that torch cannot differentiate."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energy ()."""
        return (positions.detach() ** 2).sum()


class Dictionary(torch.nn.Module):
    """Takes something else than tensors."""

    def forward(self, positions: dict[str, torch.Tensor]) -> torch.Tensor:
        """Energy ()."""
        return positions["pos"].sum()


def test_atoms_at_rest_are_not_compared():
    """In an ideal crystal all forces vanish: what is left of their sums is no wrong derivative."""

    def argon(positions, pairs, shifts):
        s6 = (3.4 / torch.linalg.vector_norm(positions[pairs[:, 1]] - positions[pairs[:, 0]] + shifts, dim=1)) ** 6
        return (s6 * s6 - s6).sum()

    crystal = openmm_nequip.crystal.fromAse(bulk("Ar", cubic=True, a=5.8), supercell=3)
    given = "positions,pairs,shifts,cutoff=10,list=half,vectors=second-first"
    system = openmm_nequip.potential_from(argon, given, units=("angstrom", "eV")).createSystem(crystal.topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(crystal.positions)
    assert context.getState(energy=True).getPotentialEnergy()._value < 0


class Argon(torch.nn.Module):
    """Pairs by the nearest image, smooth to zero at 5 Å."""

    def forward(self, positions: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Energy () of positions (n, 3) in a box (3, 3)."""
        pairs = torch.triu_indices(positions.shape[0], positions.shape[0], 1)
        vectors = positions[pairs[1]] - positions[pairs[0]]
        vectors = vectors - torch.round(vectors @ torch.linalg.inv(box)) @ box
        x = 3.82 / torch.linalg.norm(vectors, dim=1)
        end = (1 - (3.82 / 5.0 / x) ** 2) ** 2 * (x > 3.82 / 5.0).to(x.dtype)
        return (0.01545 * (x**10.0 - 10.0 / 6.0 * x**6) * end).sum()


def test_neighbours_that_come_in_are_no_wrong_derivative(tmp_path):
    """At rest, with neighbours just beyond a cutoff: a long step sees these, and a short one tells the derivative."""
    crystal = bulk("Ar", "fcc", 5.3, cubic=True) * (2, 2, 2)
    topology = make_topology(crystal.get_chemical_symbols(), crystal.cell.array / 10)
    path = str(tmp_path / "argon.pt")
    torch.jit.script(Argon()).save(path)
    potential = MLPotential(
        "nequip", modelPath=path, moduleInputs=["atom-positions", "box"], lengthUnit="angstrom", energyUnit="eV"
    )
    context = openmm.Context(potential.createSystem(topology), openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(crystal.positions / 10)
    assert context.getState(energy=True).getPotentialEnergy()._value < 0


def test_a_box_that_is_ignored():
    with pytest.raises(openmm.OpenMMException, match="atoms leave the box and come in at the opposite face"):
        energy_of(openmm_nequip.potential_from(IgnoresBox(), "positions,box", UNITS), periodic=True)


def test_an_energy_without_derivative():
    with pytest.raises(openmm.OpenMMException, match="does not depend on the positions as torch sees it"):
        energy_of(openmm_nequip.potential_from(Detached(), "positions", UNITS))


def test_inputs_that_are_no_tensors():
    with pytest.raises(openmm.OpenMMException, match="expected a Tensor for positions"):
        energy_of(openmm_nequip.potential_from(Dictionary(), "positions", UNITS))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("positions", "takes 4 inputs .* and 1 are declared"),
        ("positions,numbers,box,pbc,charge", "takes 4 inputs .* and 5 are declared"),
        ("positions,numbers,box,pbc,outputs=energy+forces", "gives 1 outputs .* and 2 are declared"),
    ],
)
def test_a_signature_that_is_another(inputs, words):
    """Told from the scripted signature, before the module is called."""
    potential = openmm_nequip.potential_from(
        potentials.InPlace(), inputs, UNITS, modelInputs={"charge": 0} if "charge" in inputs else None
    )
    with pytest.raises(openmm.OpenMMException, match=words):
        energy_of(potential, periodic="box" in inputs)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ("", "names no input"),
        ("numbers", "has no positions"),
        ("positions,foo", "there is no input 'foo'"),
        ("positions,positions", "has the positions twice"),
        ("positions:float16", "the dtype is none of"),
        ("positions,pairs", "add cutoff=LENGTH"),
        ("positions,cutoff=3", "has a cutoff, and no pairs"),
        ("positions,shifts", "shifts of pairs, and no pairs"),
        ("positions,pairs,cutoff=-1", "give a positive length"),
        ("positions,pairs,cutoff=nan", "give a positive length"),
        ("positions,pairs,cutoff=3,list=quarter", "list=quarter is unknown"),
        ("positions,pairs,cutoff=3,vectors=up", "vectors=up is unknown"),
        ("positions,types", "elements=H"),
        ("positions,types,elements=H+Xx", "'Xx' is unknown"),
        ("positions,outputs=forces", "has no energy"),
        ("positions,outputs=energy+dipole", "'dipole' is unknown"),
        ("positions,outputs=energy+energy", "has one twice"),
        ("positions,check=maybe", "check=maybe is unknown"),
        ("positions,check=no,check=no", "gives check twice"),
        ("positions,speed=high", "'speed=high' is unknown"),
        ("atom-positions,atom-positions-mm", "takes both"),
        ("positions,outputs=energy+forces+mm-forces", "go with the inputs"),
        (7, "give the names of the inputs"),
        ([1, 2], "give the names of the inputs"),
    ],
)
def test_bad_declarations(inputs, words):
    with pytest.raises(openmm_nequip.ModuleError, match=words):
        parse_interface(inputs)
    with pytest.raises(openmm_nequip.ModuleError, match=words):
        openmm_nequip.potential_from(potentials.springs, inputs, UNITS)


made = openmm_nequip.potential_from


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: made(potentials.springs, "positions"), "units of the model are not known"),
        (lambda path: made(potentials.springs, "positions", "nm"), "give units="),
        (lambda path: made(potentials.springs, "positions", lengthUnit="nm"), "both of them"),
        (lambda path: made(7, "positions", UNITS), "got a int"),
        (lambda path: made("python:no_such_module:f", "positions", UNITS), "cannot be imported"),
        (lambda path: made("python:math:pi", "positions", UNITS), "no function or class"),
        (lambda path: made(path / "none.pt", "positions", UNITS), "does not exist"),
        (
            lambda path: MLPotential("nequip", modelPath=potentials.save(potentials.InPlace(), path / "a.pt")),
            "its forward takes positions, atomic_numbers, box, pbc",
        ),
        (
            lambda path: MLPotential("nequip", modelPath="python:module_potentials:springs"),
            "say what it takes",
        ),
    ],
)
def test_bad_potentials(make, words, tmp_path):
    """Units that nobody stated, things that are no potentials, files that need a declaration."""
    with pytest.raises((openmm_nequip.ModuleError, openmm_nequip.ModelFileError, ValueError), match=words):
        energy_of(make(tmp_path))


def test_a_declaration_for_a_file_that_needs_none():
    """NequIP's own files say what they take."""
    from conftest import DATA

    for name in ("tiny-nequip.nequip.pth", "tiny-nequip.nequip.zip"):
        with pytest.raises(openmm_nequip.ModuleError, match="needs no declaration"):
            MLPotential("nequip", modelPath=DATA / name, moduleInputs="positions")


def test_libraries_are_loaded_only_when_trusted(tmp_path):
    """A file that names extension libraries is refused, until its digest is given; then they are looked for."""
    path = potentials.save(potentials.Springs(), tmp_path / "a.pt", extension_libs=f"{tmp_path}/one.so:two.so")
    potential = MLPotential("nequip", modelPath=path, moduleInputs="positions", lengthUnit="nm", energyUnit="kJ/mol")
    with pytest.raises(openmm_nequip.ModelFileError, match=r"one.so, two.so.*nothing was loaded") as caught:
        energy_of(potential)
    digest = str(caught.value).partition("trusted='")[2][:64]
    potential = MLPotential(
        "nequip", modelPath=path, moduleInputs="positions", lengthUnit="nm", energyUnit="kJ/mol", trusted=digest
    )
    with pytest.raises(openmm.OpenMMException, match="its library .*one.so cannot be loaded"):
        energy_of(potential)


def test_damaged_files(tmp_path):
    """Every byte of the archive is checked before torch sees it."""
    path = tmp_path / "a.pt"
    potentials.save(potentials.Springs(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(openmm_nequip.ModelFileError, match=r"damaged|truncated|is a zip|not a model"):
        MLPotential("nequip", modelPath=path, moduleInputs="positions")
    path.write_bytes(bytes(content[:100]))
    with pytest.raises(openmm_nequip.ModelFileError):
        MLPotential("nequip", modelPath=path, moduleInputs="positions")


def test_a_failed_check_is_told_again():
    """The second step of a module that failed does not go through either."""
    topology, positions, _ = potentials.box_of_atoms()
    topology.setPeriodicBoxVectors(None)
    system = openmm_nequip.potential_from(potentials.OwnForces("gradients"), OWN, UNITS).createSystem(topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    for _ in range(2):
        with pytest.raises(openmm.OpenMMException, match="not the derivative"):
            context.getState(getEnergy=True)


def test_the_command_line_names_the_option(tmp_path, capsys):
    """`energy` and `info` on a foreign module say how it is declared; a wrong declaration ends with one line."""
    path = potentials.save(potentials.InPlace(), tmp_path / "a.pt")
    structure = tmp_path / "two.xyz"
    structure.write_text("2\n\nO 0 0 0\nH 0 0 1\n")
    for command in (["info", path], ["energy", path, str(structure)]):
        assert main(command) == 1
        assert "--module-inputs" in capsys.readouterr().err
    assert main(["info", path, "--module-inputs", "positions", "numbers"]) == 0
    shown = capsys.readouterr().out
    assert "to be stated with --units" in shown and "positions,numbers" in shown and "module" in shown
    assert main(["energy", path, str(structure), "--module-inputs", "positions", "numbers"]) == 1
    assert "--units" in capsys.readouterr().err
    assert main(["energy", path, str(structure), "--module-inputs", "atom-positions", "atom-numbers", "--json"]) == 0
    assert np.isfinite(float(capsys.readouterr().out.partition('"energy_kj_per_mol": ')[2].partition(",")[0]))
