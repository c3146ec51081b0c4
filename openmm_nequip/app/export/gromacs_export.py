"""An NNPot module for GROMACS, with the lines of the .mdp file that use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm.app as app
import torch

from ...errors import ExportError, UsageError
from ...graph.padding import PAD_DISTANCE
from ...topology import common_symbol
from .engine_graph import compare, find_edges
from .exported_model import ExportedModel, load_quietly, save_quietly, script_quietly
from .nnpot_module import ARGUMENTS, HIGHEST_NUMBER, ChosenInputs, NNPotModule

MODEL, LINES = "model.pt", "nnpot.mdp"
#: In the order in which they stand in the .mdp file.
DEFAULT_INPUTS = ("atom-positions", "atom-numbers", "box", "atom-pairs", "pair-shifts")
_REFUSED = {
    "nnp-charge": "a charge is fixed in the module: give --input charge=1 to a model that takes one",
    "atom-positions-mm": "NequIP and Allegro models know nothing of MM atoms; use mechanical embedding",
    "atom-charges-mm": "NequIP and Allegro models know nothing of MM charges; use mechanical embedding",
}


def check_module_inputs(given: Sequence[str] | None) -> tuple[str, ...]:
    """The inputs of a module as a user names them.

    Parameters
    ----------
    given : sequence of str, optional
        GROMACS' names in the order of the .mdp file; :data:`DEFAULT_INPUTS` if there are none.

    Returns
    -------
    tuple of str

    Raises
    ------
    UsageError
        If one is unknown, refused, there twice, or missing.
    """
    names = tuple(given or DEFAULT_INPUTS)
    for name in names:
        if name in _REFUSED:
            raise UsageError(f"--module-inputs {name}: {_REFUSED[name]}")
        if name not in ARGUMENTS:
            raise UsageError(f"--module-inputs {name} is no input of GROMACS' modules; use {', '.join(ARGUMENTS)}")
        if names.count(name) > 1:
            raise UsageError(f"--module-inputs names {name} twice; name it once")
    for name in ("atom-positions", "atom-numbers"):
        if name not in names:
            raise UsageError(f"--module-inputs lacks {name}, which every model needs")
    if names[0] != "atom-positions":
        raise UsageError("--module-inputs: atom-positions comes first, or GROMACS warns of forces by the wrong input")
    if "pair-shifts" in names and "atom-pairs" not in names:
        raise UsageError("--module-inputs: pair-shifts belong to atom-pairs; name both")
    if "pbc" in names and "box" not in names:
        raise UsageError("--module-inputs: pbc says in which directions the box counts; name box as well")
    return names


def export_gromacs(model: ExportedModel, folder: Path, inputs: Sequence[str] | None = None) -> dict[str, Any]:
    """Write a module and the .mdp lines, and check the module with the tensors that GROMACS hands over.

    Parameters
    ----------
    model : ExportedModel
        The model, and a structure for the check.
    folder : pathlib.Path
        Where.
    inputs : sequence of str, optional
        As of :func:`check_module_inputs`.

    Returns
    -------
    dict
        ``differences`` and ``notes``.

    Raises
    ------
    ExportError
        If a type is no element, or the module does not give the model's numbers.
    UsageError
        As :func:`check_module_inputs`.
    """
    names = check_module_inputs(inputs)
    module = script_quietly(ChosenInputs(script_quietly(_core(model))))
    arguments = ", ".join(ARGUMENTS[name] for name in names)
    passed = ", ".join(f"{ARGUMENTS[name]}={ARGUMENTS[name]}" for name in names)
    module.define(f"def forward(self, {arguments}):\n    return self.core({passed})\n")
    path = folder / MODEL
    save_quietly(module, path, {})
    found = _check(model, path, names)
    cutoff = model.script.info.reach * model.units.length
    (folder / LINES).write_text(_lines(model, names, cutoff), encoding="utf-8")
    return {"differences": found, "notes": _notes(model, names)}


def _core(model: ExportedModel) -> NNPotModule:
    info, length = model.script.info, model.units.length
    table = torch.full((HIGHEST_NUMBER + 1,), -1, dtype=torch.int64)
    for number, name in enumerate(model.elements("GROMACS")):
        table[app.element.get_by_symbol(common_symbol(name)).atomic_number] = number
    n = len(info.type_names)
    cutoffs = torch.full((n, n), info.reach, dtype=torch.float64)
    if info.per_edge_type_cutoff is not None:
        cutoffs = torch.tensor(info.per_edge_type_cutoff, dtype=torch.float64)
    inner = model.adapted(range(n), 1.0, 1.0)
    return NNPotModule(inner, table, cutoffs * length, PAD_DISTANCE * info.reach * length)


def _lines(model: ExportedModel, names: tuple[str, ...], cutoff: float) -> str:
    lines = [
        f"; {model.family} model {Path(model.source.path).name} (SHA-256 {model.source.sha256})",
        f"; types: {' '.join(model.names)}; energies in kJ/mol, forces in kJ/mol/nm; GROMACS 2026 or later",
        "nnpot-active        = yes",
        f"nnpot-modelfile     = {MODEL}",
        "nnpot-input-group   = System   ; the group of the NNP atoms in your index file",
        *(f"nnpot-model-input{place} = {name}" for place, name in enumerate(names, 1)),
    ]
    if "atom-pairs" in names:
        lines.append(f"nnpot-pair-cutoff   = {cutoff:.9g}")
    return "\n".join(lines) + "\n"


def _notes(model: ExportedModel, names: tuple[str, ...]) -> list[str]:
    notes = ["GROMACS computes no virial of an NNPot module: run at constant volume"]
    box = model.structure.box_nm
    triclinic = box is not None and not np.allclose(box, np.diag(np.diag(box)))
    if "pair-shifts" in names and triclinic and not model.made_up:
        notes.append(
            "the box is triclinic, for which GROMACS 2026 hands over wrong pair-shifts: export with --module-inputs "
            "atom-positions atom-numbers box pbc, which lets the module find its pairs"
        )
    if "atom-pairs" not in names:
        notes.append("without atom-pairs the module looks at all pairs of NNP atoms: for some hundreds of atoms")
    if "box" not in names and "pair-shifts" not in names and box is not None:
        notes.append("without box and pair-shifts the module knows nothing of periodic images")
    return notes


def _check(model: ExportedModel, path: Path, names: tuple[str, ...]) -> dict[str, float]:
    """The module's answer to GROMACS' tensors against the model's, on the positions as rounded for GROMACS."""
    structure = model.structure
    knows_images = "pair-shifts" in names or "box" in names
    box = structure.box_nm if knows_images else None
    positions = torch.tensor(structure.positions_nm, dtype=torch.float32)
    rounded = replace(
        structure,
        positions_nm=positions.double().numpy(),
        box_nm=None if box is None else torch.tensor(box, dtype=torch.float32).double().numpy(),
    )
    module, _ = load_quietly(path)
    tensors = _tensors(model, rounded, positions)
    try:
        energy, forces = module(*(tensors[name] for name in names))
    except Exception as error:  # TorchScript raises anything
        raise ExportError(f"the module for GROMACS fails on its tensors: {error}") from error
    right = model.answer(rounded)
    scale = None if right.atomic_energies is None else float(np.abs(right.atomic_energies).sum())
    found = float(energy.detach()), forces.detach().double().numpy()
    return compare("GROMACS", (found[0], right.energy), (found[1], right.forces), "float32", scale)


def _tensors(model: ExportedModel, structure: Any, positions: torch.Tensor) -> dict[str, torch.Tensor]:
    """What GROMACS hands over, by the names of its inputs."""
    info, box = model.script.info, structure.box_nm
    cutoff = info.reach * model.units.length
    everywhere = np.full((len(info.type_names),) * 2, cutoff)
    half = find_edges(structure.positions_nm, box, cutoff, model.types, everywhere).half()
    symbols = [common_symbol(symbol) for symbol in structure.symbols]
    numbers = [app.element.get_by_symbol(symbol).atomic_number for symbol in symbols]
    cell = np.zeros((3, 3)) if box is None else box
    # The vector of a pair is x[first] - x[second] + shift.
    pairs = torch.tensor(np.array([half.index[1], half.index[0]]).T.copy(), dtype=torch.int32)
    return {
        "atom-positions": positions.clone().requires_grad_(True),
        "atom-numbers": torch.tensor(numbers, dtype=torch.int32),
        "box": torch.tensor(cell, dtype=torch.float32),
        "pbc": torch.tensor([box is not None] * 3),
        "atom-pairs": pairs.reshape(-1, 2),
        "pair-shifts": torch.tensor(half.shifts @ cell, dtype=torch.float32).reshape(-1, 3),
    }
