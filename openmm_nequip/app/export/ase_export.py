"""A TorchScript file for nequip's ASE calculator, with the structure and a short script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ExportError
from ...topology import common_symbol
from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...upstream.nequip_state import preserved_global_state
from .engine_graph import compare
from .exported_model import ExportedModel, save_quietly

MODEL, ATOMS, SCRIPT = "model.nequip.pth", "structure.extxyz", "run.py"

_TEXT = '''"""Energy and forces of {structure} by the {family} model {name}, in eV and Å."""

import ase.io
from nequip.integrations.ase import NequIPCalculator

atoms = ase.io.read("{atoms}")
atoms.calc = NequIPCalculator.from_compiled_model(
    "{model}", device="cpu", chemical_species_to_atom_type_map={{{types}}}
)
print(atoms.get_potential_energy())
print(atoms.get_forces())
'''


def export_ase(model: ExportedModel, folder: Path) -> dict[str, Any]:
    """Write a model, a structure and a script, and check the model by nequip's calculator on that structure.

    Parameters
    ----------
    model : ExportedModel
        The model and the structure. Models in other units than Å and eV are converted inside the file.
    folder : pathlib.Path
        Where.

    Returns
    -------
    dict
        ``differences`` and ``notes``.

    Raises
    ------
    ExportError
        If the file does not give the model's numbers.
    ImportError
        If nequip is not installed: its calculator is what the script runs.
    """
    import ase
    import ase.io

    kinds = range(len(model.names))
    if model.speaks(NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV):
        (folder / MODEL).write_bytes(model.content)
    else:
        adapted = model.adapted(kinds, NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV)
        save_quietly(adapted, folder / MODEL, model.metadata(kinds, NM_PER_ANGSTROM))
    structure = model.structure
    symbols = [common_symbol(symbol) for symbol in structure.symbols]
    used = {symbol: model.names[kind] for symbol, kind in zip(symbols, model.types.tolist(), strict=True)}
    if len(set(zip(symbols, model.types.tolist(), strict=True))) > len(used):
        raise ExportError("nequip's ASE calculator takes one type for each element, and the atoms have several of one")
    atoms = ase.Atoms(symbols, structure.positions_nm / NM_PER_ANGSTROM, pbc=structure.box_nm is not None)
    if structure.box_nm is not None:
        atoms.cell = structure.box_nm / NM_PER_ANGSTROM
    atoms.info["positions_of"] = Path(structure.path).name
    ase.io.write(folder / ATOMS, atoms, format="extxyz")
    text = _TEXT.format(
        structure=Path(structure.path).name.replace('"', "'"), family=model.family, name=Path(model.source.path).name,
        atoms=ATOMS, model=MODEL, types=", ".join(f'"{symbol}": "{name}"' for symbol, name in used.items()),
    )  # fmt: skip
    (folder / SCRIPT).write_text(text, encoding="utf-8")
    return {"differences": _check(model, folder, used), "notes": ["the script needs nequip and ASE"]}


def _check(model: ExportedModel, folder: Path, used: dict[str, str]) -> dict[str, float]:
    """The calculator's answer on the structure as written against the model's."""
    import ase.io

    from ..structures.structure_files import read_structure

    with preserved_global_state():
        from nequip.integrations.ase import NequIPCalculator

        atoms: Any = ase.io.read(folder / ATOMS)
        calculator = NequIPCalculator.from_compiled_model(
            str(folder / MODEL), device="cpu", chemical_species_to_atom_type_map=used
        )
        atoms.calc = calculator
        energy, forces = float(atoms.get_potential_energy()), np.asarray(atoms.get_forces(), dtype=np.float64)
    right = model.answer(read_structure(folder / ATOMS))
    factor = KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM
    return compare(
        "ASE", (energy * KJ_PER_MOL_PER_EV, right.energy), (forces * factor, right.forces), model.script.info.dtype
    )
