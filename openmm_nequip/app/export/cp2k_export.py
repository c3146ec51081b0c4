"""CP2K's TorchScript file with an input that uses it, in the dialect of CP2K since March 2026 or the one before.

References
----------
``read_nequip_data`` in ``force_fields_input.F``, ``manybody_e3nn.F`` (2026), ``manybody_nequip.F`` and
``manybody_allegro.F`` (before): which metadata are read, which tensors go in and come out, and their dtype.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...choices import FAMILIES
from ...errors import ExportError
from ...graph.fields import CELL, model_inputs
from ...topology import common_symbol
from ...units import ENERGIES_KJ_PER_MOL, LENGTHS_NM, NM_PER_ANGSTROM
from ...upstream.nequip_state import default_dtype
from .engine_graph import OPEN_SPACE, compare, find_edges
from .exported_model import ExportedModel, load_quietly, save_quietly

MODEL, INPUT = "model.nequip.pth", "input.inp"
NEW, OLD = "new", "old"
ALLEGRO = FAMILIES[1]
DIALECTS = (NEW, OLD)
_METADATA = ("r_max", "type_names", "num_types", "model_dtype", "default_dtype", "allow_tf32", "per_edge_type_cutoff")
#: CP2K's words for units.
_LENGTH_WORDS = {"angstrom": "angstrom", "nm": "nm", "bohr": "bohr"}
_ENERGY_WORDS = {"ev": "eV", "kj/mol": "kJmol", "kcal/mol": "kcalmol", "hartree": "hartree"}


def export_cp2k(model: ExportedModel, folder: Path, dialect: str = NEW) -> dict[str, Any]:
    """Write a model and an input, and check the model with the tensors that CP2K makes of that input.

    Parameters
    ----------
    model : ExportedModel
        The model and the structure.
    folder : pathlib.Path
        Where.
    dialect : str
        One of :data:`DIALECTS`.

    Returns
    -------
    dict
        ``differences`` and ``notes``.

    Raises
    ------
    ExportError
        If a type is no element, CP2K has no word for a unit, or the file does not give the model's numbers.
    """
    names = model.elements("CP2K")
    units = _unit_words(model)
    # The kinds of the old dialect are numbered in the order of the atoms: the file then knows them in that order.
    present = sorted(set(model.types.tolist()))
    kinds = present if dialect == OLD else list(range(len(names)))
    order = np.argsort(model.types, kind="stable") if dialect == OLD else np.arange(len(model.types))
    length, energy = model.units.length, model.units.energy
    if dialect == NEW and model.speaks(length, energy):
        (folder / MODEL).write_bytes(model.content)
    else:
        facts = model.metadata(kinds, length)
        if dialect == OLD:
            facts |= {"default_dtype": "float64", "model_dtype": "float64", "nequip_version": "adapted"}
        else:
            facts["model_dtype"] = model.script.info.dtype
        save_quietly(model.adapted(kinds, length, energy), folder / MODEL, facts)
    text = _input(model, dialect, units, order)
    (folder / INPUT).write_text(text, encoding="utf-8")
    found = _check(model, folder, order, dialect)
    notes = [f"CP2K of {'March 2026 or later' if dialect == NEW else 'before March 2026'} reads this input"]
    if dialect == OLD and model.script.info.per_edge_type_cutoff is not None:
        notes.append("CP2K before March 2026 hands over all pairs within the largest cutoff")
    return {"differences": found, "notes": notes}


def _unit_words(model: ExportedModel) -> tuple[str, str]:
    def word(value: float, table: dict[str, float], words: dict[str, str], what: str) -> str:
        for name, factor in table.items():
            if name in words and np.isclose(value, factor, rtol=1e-9, atol=0):
                return words[name]
        raise ExportError(f"CP2K has no word for the model's unit of {what}; give one of {', '.join(words)}")

    return (
        word(model.units.length, LENGTHS_NM, _LENGTH_WORDS, "length"),
        word(model.units.energy, ENERGIES_KJ_PER_MOL, _ENERGY_WORDS, "energy"),
    )


def _input(model: ExportedModel, dialect: str, units: tuple[str, str], order: np.ndarray) -> str:
    structure = model.structure
    symbols = np.array([common_symbol(symbol) for symbol in structure.symbols])[order]
    positions = structure.positions_nm[order] / NM_PER_ANGSTROM
    section = "NEQUIP" if dialect == NEW else model.family.upper()
    length, energy = units
    forces = f"{energy}*{length}^-1"
    lines = [f"ATOMS {' '.join(dict.fromkeys(model.names[t] for t in model.types[order]))}"]
    if dialect == NEW:
        lines += [f"MODEL_TYPE {model.family.upper()}", f"POT_FILE_NAME {MODEL}", f"UNIT_LENGTH {length}"]
    else:
        lines += [f"PARM_FILE_NAME {MODEL}", f"UNIT_COORDS {length}"]
    lines += [f"UNIT_ENERGY {energy}", f"UNIT_FORCES {forces}"]
    if dialect == OLD and model.family != ALLEGRO:
        lines.append(f"UNIT_CELL {length}")
    box = structure.box_nm
    vectors = _open_box(model) if box is None else box
    cell = [
        f"{name} {' '.join(f'{value:.12f}' for value in row)}"
        for name, row in zip("ABC", vectors / NM_PER_ANGSTROM, strict=True)
    ]
    cell += ["PERIODIC NONE"] * (box is None)
    atoms = [f"{s} {' '.join(f'{x:.12f}' for x in row)}" for s, row in zip(symbols, positions, strict=True)]
    stress = ["  STRESS_TENSOR ANALYTICAL"] * (box is not None)
    inner = " " * 8
    return "\n".join([
        f"# {model.family} model {Path(model.source.path).name} (SHA-256 {model.source.sha256})",
        "&GLOBAL", "  PROJECT openmm-nequip", "  RUN_TYPE ENERGY_FORCE", "&END GLOBAL", "",
        "&FORCE_EVAL", "  METHOD FIST", *stress, "  &MM", "    &FORCEFIELD", "      &NONBONDED",
        f"{inner}&{section}", *(f"{inner}  {line}" for line in lines), f"{inner}&END {section}",
        "      &END NONBONDED", "    &END FORCEFIELD",
        "    &POISSON", *(["      PERIODIC NONE"] * (box is None)), "      &EWALD", "        EWALD_TYPE none",
        "      &END EWALD", "    &END POISSON", "  &END MM",
        "  &PRINT", "    &FORCES", "    &END FORCES", "  &END PRINT",
        "  &SUBSYS", "    &CELL", *(f"      {line}" for line in cell), "    &END CELL",
        "    &COORD", *(f"      {line}" for line in atoms), "    &END COORD",
        "  &END SUBSYS", "&END FORCE_EVAL", "",
    ])  # fmt: skip


def _open_box(model: ExportedModel) -> np.ndarray:
    """A box (3, 3) in nm with space around atoms that are not periodic."""
    positions = model.structure.positions_nm
    reach = model.script.info.reach * model.units.length
    return np.diag(np.ptp(positions, axis=0) + 2 * OPEN_SPACE * reach)


def _written(text: str) -> tuple[np.ndarray, np.ndarray, list[str], bool]:
    """Cell (3, 3) and positions (n, 3) in Å, symbols and periodicity as they stand in an input."""
    cell = re.search(r"&CELL\n(.*?)&END CELL", text, re.DOTALL)
    atoms = re.search(r"&COORD\n(.*?)&END COORD", text, re.DOTALL)
    if cell is None or atoms is None:
        raise ExportError("the input for CP2K lacks its &CELL or &COORD")
    rows = [line.split() for line in cell[1].splitlines() if line.split()]
    vectors = np.array([row[1:] for row in rows if row[0] in ("A", "B", "C")], dtype=np.float64)
    places = [line.split() for line in atoms[1].splitlines() if line.split()]
    positions = np.array([row[1:] for row in places], dtype=np.float64)
    return vectors, positions, [row[0] for row in places], "NONE" not in cell[1]


def _check(model: ExportedModel, folder: Path, order: np.ndarray, dialect: str) -> dict[str, float]:
    """The file's answer to CP2K's tensors, all read back, against the model's."""
    module, facts = load_quietly(folder / MODEL, _METADATA)
    if (dialect == NEW and not facts["num_types"]) or facts["allow_tf32"] not in ("0", "1"):
        raise ExportError("the file for CP2K lacks num_types or allow_tf32, without which CP2K stops")
    vectors, places, symbols, periodic = _written((folder / INPUT).read_text(encoding="utf-8"))
    length = model.units.length
    cell, positions = vectors * NM_PER_ANGSTROM / length, places * NM_PER_ANGSTROM / length
    names = facts["type_names"].split()
    types = np.array([names.index(symbol) for symbol in symbols], dtype=np.int64)
    cutoffs = np.full((len(names),) * 2, float(facts["r_max"]))
    if dialect == NEW and facts["per_edge_type_cutoff"]:
        cutoffs = np.array(facts["per_edge_type_cutoff"].split(), dtype=np.float64).reshape(cutoffs.shape)
    edges = find_edges(positions, cell if periodic else None, float(cutoffs.max()), types, cutoffs)
    tensors = model_inputs(*map(torch.from_numpy, (positions, types, edges.index, edges.shifts, cell)))
    tensors[CELL] = tensors[CELL].view(3, 3)  # CP2K knows no batches
    with default_dtype(torch.float64):
        out = module(tensors)
    wanted = {"forces": 2, "atomic_energy": 2, "virial": 3, "total_energy": 2}
    for name, dimensions in wanted.items():
        if name not in out or out[name].dim() != dimensions or out[name].dtype != torch.float64:
            raise ExportError(f"the file for CP2K gives no {name} of {dimensions} dimensions in float64")
    right = model.answer(
        replace(
            model.structure,
            positions_nm=_unordered(places, order) * NM_PER_ANGSTROM,
            box_nm=vectors * NM_PER_ANGSTROM if periodic else None,
        )
    )
    energy = float(out["atomic_energy"].detach().sum()) * model.units.energy
    forces = _unordered(out["forces"].detach().numpy(), order) * model.units.force
    return compare("CP2K", (energy, right.energy), (forces, right.forces), model.script.info.dtype)


def _unordered(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Rows as the structure has its atoms, of rows as the input has them."""
    result = np.empty_like(values)
    result[order] = values
    return result
