"""From CP2K's cell and atoms to the structure of a run: a file that is there, or one that the run writes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ...errors import EngineInputError
from ...units import NM_PER_ANGSTROM
from .cp2k_atoms import CP2KAtoms, CP2KKind, element_of, read_atoms, read_kinds, read_velocities_of
from .cp2k_cell import CP2KCell, read_cell
from .cp2k_model import CP2KModel
from .cp2k_sections import Section
from .swapped_types import element_counts, swapped_words
from .translation import Translation


def read_subsys(subsys: Section, model: CP2KModel, folder: Path, result: Translation) -> None:
    """Read &SUBSYS into structure, box, types and velocities.

    Parameters
    ----------
    subsys : Section
        The section.
    model : CP2KModel
        The model that describes the atoms.
    folder : pathlib.Path
        The run folder.
    result : Translation
        Gets the settings.

    Raises
    ------
    EngineInputError
        If the atoms are not as CP2K has them, or the model does not know one.
    """
    cell = read_cell(subsys.require("CELL"), folder, result)
    kinds = read_kinds(subsys, result)
    atoms = read_atoms(subsys, cell, folder, result)
    velocities = read_velocities_of(subsys, atoms, result)
    known = {label: _kind(label, kinds, atoms) for label in dict.fromkeys(atoms.labels)}
    types = {label: _type(label, known[label].element, model, atoms) for label in known}
    _check_listed(model, known)
    symbols = [known[label].element for label in atoms.labels]
    by_element = all(types[label] == {"D": "H"}.get(known[label].element, known[label].element) for label in known)
    if not by_element:
        result.set(
            "types", tuple(types[label] for label in atoms.labels), "kinds", ", ".join(known), atoms.place,
            became="types = " + ", ".join(f"{label}: {types[label]}" for label in known),
        )  # fmt: skip
    _put_structure(atoms, symbols, [known[label].mass for label in atoms.labels], cell, result)
    if velocities is not None:
        file = io.BytesIO()
        np.save(file, velocities)
        result.made["velocities"] = ("velocities.npy", file.getvalue())
    box = cell.whole * NM_PER_ANGSTROM if any(cell.periodic) else None
    words = swapped_words(symbols, atoms.positions * NM_PER_ANGSTROM, box)
    if words:
        result.warnings.append(f"{atoms.place}: {words}")


def _kind(label: str, kinds: dict[str, CP2KKind], atoms: CP2KAtoms) -> CP2KKind:
    """Element and mass of a label."""
    known = kinds.get(label.upper())
    if known is not None:
        return known
    element = element_of(label)
    if element is None:
        raise EngineInputError(
            f"atoms {label!r} are of no element; give a section &KIND {label} with ELEMENT", atoms.place.path,
            atoms.place.line,
        )  # fmt: skip
    return CP2KKind(element)


def _type(label: str, element: str, model: CP2KModel, atoms: CP2KAtoms) -> str:
    """The model's type for a kind: of its name, else of its element."""
    upper = {name.upper(): name for name in model.type_names}
    for name in (label, element, {"D": "H"}.get(element, element)):
        if name.upper() in upper:
            return upper[name.upper()]
    raise EngineInputError(
        f"atoms {label!r} (element {element}) have no type in the model, whose types are {', '.join(model.type_names)}",
        atoms.place.path, atoms.place.line,
    )  # fmt: skip


def _check_listed(model: CP2KModel, known: dict[str, CP2KKind]) -> None:
    """Refuse kinds that ATOMS leaves out, and names in it that the model does not have."""
    listed = {kind.upper() for kind in model.kinds}
    for label, kind in known.items():
        if label.upper() not in listed and kind.element.upper() not in listed:
            raise model.section.error(
                f"ATOMS {' '.join(model.kinds)} leaves out {label}, which the structure has: it would feel nothing"
            )
    names = {name.upper() for name in model.type_names}
    elements = {label.upper(): kind.element.upper() for label, kind in known.items()}
    for stated in model.kinds:
        symbol = elements.get(stated.upper(), (element_of(stated) or "").upper())
        if stated.upper() not in names and {"D": "H"}.get(symbol, symbol) not in names:
            raise model.section.error(
                f"ATOMS has {stated}, which the model does not know; its types are {', '.join(model.type_names)}"
            )


def _put_structure(
    atoms: CP2KAtoms, symbols: list[str], masses: list[float | None], cell: CP2KCell, result: Translation
) -> None:
    """Set structure and box: the input's own file where that says all, else a file that is made."""
    vectors = cell.whole
    words = f"{len(symbols)} atoms ({element_counts(symbols)})"
    if atoms.plain is not None and all(cell.periodic) and not any(masses):
        result.settings |= {"structure": atoms.plain, "frame": 0, "box": tuple(vectors.ravel().tolist())}
        diagonal = np.diag(np.diag(vectors))
        if np.array_equal(vectors, diagonal):
            result.settings["box"] = tuple(np.diag(vectors).tolist())
        result.note("mapped", "atoms", words, atoms.place, became="structure, box")
        return
    columns = "species:S:1:pos:R:3" + (":masses:R:1" if any(masses) else "")
    lattice = " ".join(repr(float(value)) for value in vectors.ravel())
    pbc = " ".join("T" if along else "F" for along in cell.periodic)
    head = f'Properties={columns} pbc="{pbc}"'
    if any(cell.periodic):
        head = f'Lattice="{lattice}" {head}'
    lines = [str(len(symbols)), head]
    for symbol, position, mass in zip(symbols, atoms.positions.tolist(), masses, strict=True):
        line = f"{symbol} {position[0]!r} {position[1]!r} {position[2]!r}"
        lines.append(line + (f" {mass or standard_mass(symbol)!r}" if any(masses) else ""))
    result.made["structure"] = ("structure.extxyz", ("\n".join(lines) + "\n").encode())
    result.note("mapped", "atoms", words, atoms.place, became="a structure file that the run writes")


def standard_mass(symbol: str) -> float:
    """Mass in u of an element or deuterium."""
    from openmm.app import Element

    return float(Element.getBySymbol(symbol).mass._value)
