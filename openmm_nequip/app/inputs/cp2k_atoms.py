"""&COORD, &TOPOLOGY, &KIND and &VELOCITY of a CP2K input: atoms with their kinds."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import EngineInputError
from ...units import NM_PER_ANGSTROM
from ..structures.structure_files import read_structure
from .cp2k_cell import CP2KCell, repeats_of
from .cp2k_files import find_file
from .cp2k_sections import Keyword, Section, as_number
from .cp2k_units import LENGTH, MASS, VELOCITY, quantities, read_unit
from .translation import Place, Translation

_FORMATS = ("OFF", "XYZ", "PDB", "CIF", "CP2K")
_ATOMIC_VELOCITY = "bohr*au_t^-1"
_NM_PER_PS = "nm*ps^-1"


@dataclass(frozen=True)
class CP2KKind:
    """What &KIND says of a kind of atoms.

    Parameters
    ----------
    element : str
        Symbol.
    mass : float or None
        u, where it is not that of the element.
    """

    element: str
    mass: float | None = None


@dataclass(frozen=True, eq=False)
class CP2KAtoms:
    """Atoms of an input, all unit cells included.

    Parameters
    ----------
    labels : list of str
        Kind of each atom.
    positions : numpy.ndarray, (n_atoms, 3) float64
        Å.
    plain : str or None
        A file that says the same: XYZ as it is, in one cell.
    place : Place
        Where they are stated.
    """

    labels: list[str]
    positions: np.ndarray
    plain: str | None
    place: Place


def read_kinds(subsys: Section, result: Translation) -> dict[str, CP2KKind]:
    """Every &KIND by its name in capitals.

    Parameters
    ----------
    subsys : Section
        &SUBSYS.
    result : Translation
        Gets the entries.

    Returns
    -------
    dict of str to CP2KKind

    Raises
    ------
    EngineInputError
        If an element is unknown, or a kind is a ghost.
    """
    kinds = {}
    for section in subsys.open_all("KIND"):
        if not section.parameter:
            raise section.error("the name of the kind is missing")
        ghost = section.take("GHOST")
        if ghost is not None and ghost.flag():
            raise ghost.error("a ghost has no place in a model")
        element, mass = section.take("ELEMENT", "ELEMENT_SYMBOL"), None
        symbol = element_of(section.parameter) if element is None else element_of(element.word())
        if symbol is None:
            raise (element or section).error("this is no element; give ELEMENT with its symbol")
        stated = section.take("MASS", "ATOMIC_MASS", "ATOMIC_WEIGHT", "WEIGHT")
        if stated is not None:
            mass = quantities(stated, MASS, "amu", "amu")[0]
            if mass <= 0:
                raise stated.error("a mass is more than 0")
            result.note("mapped", f"{section.path} {section.parameter}/{stated.name}", stated.text, stated.place,
                        became="masses of the structure")  # fmt: skip
        if element is not None:
            result.note("mapped", f"{section.path} {section.parameter}/{element.name}", element.text, element.place,
                        became=f"element {symbol}")  # fmt: skip
        kinds[section.parameter.split()[0].upper()] = CP2KKind(symbol, mass)
    return kinds


def element_of(label: str) -> str | None:
    """Element of a label such as ``O``, ``o1`` or ``H_w``; None where it tells none."""
    letters = re.match(r"[A-Za-z]+", label)
    word = letters[0].capitalize() if letters else ""
    for length in (2, 1):
        symbol = word[:length]
        if len(word) == length and (symbol == "D" or symbol in _symbols()):
            return symbol
    return None


@functools.lru_cache(maxsize=1)
def _symbols() -> frozenset[str]:
    from ase.data import chemical_symbols

    return frozenset(chemical_symbols[1:])


def read_atoms(subsys: Section, cell: CP2KCell, folder: Path, result: Translation) -> CP2KAtoms:
    """The atoms, from &COORD or the file that &TOPOLOGY names, repeated as MULTIPLE_UNIT_CELL says.

    Parameters
    ----------
    subsys : Section
        &SUBSYS.
    cell : CP2KCell
        The cell.
    folder : pathlib.Path
        The run folder.
    result : Translation
        Gets the entries.

    Returns
    -------
    CP2KAtoms

    Raises
    ------
    EngineInputError
        If there are none, or they are stated twice, or not as CP2K has them.
    """
    coord, topology = subsys.open("COORD"), subsys.open("TOPOLOGY")
    name = form = several = None
    if topology is not None:
        name, form = topology.take("COORD_FILE_NAME", "COORD_FILE"), topology.take("COORD_FILE_FORMAT", "COORDINATE")
        several = topology.take("MULTIPLE_UNIT_CELL")
    kind = "OFF" if form is None else form.choice(_FORMATS)
    if kind == "OFF":
        if coord is None:
            raise (topology or subsys).error(
                "there are no atoms: give &COORD, or &TOPOLOGY with COORD_FILE_FORMAT and COORD_FILE_NAME"
            )
        if name is not None:
            raise name.error("COORD_FILE_FORMAT is missing, without which CP2K does not read the file; give XYZ")
        atoms = _of_section(coord, cell)
        result.note("mapped", coord.path, f"({len(atoms.labels)} atoms)", coord.place, became="the structure")
    else:
        if coord is not None and coord.keywords:
            raise coord.error(f"the atoms are those of the file named in &TOPOLOGY at {form.place}; leave one out")  # type: ignore[union-attr]
        if name is None:
            raise form.error("COORD_FILE_NAME is missing")  # type: ignore[union-attr]
        atoms = _of_file(name, kind, folder)
        result.note("mapped", name.path, name.text, name.place, became=f"structure, {len(atoms.labels)} atoms")
        result.note("mapped", form.path, form.text, form.place, became="the structure's format")  # type: ignore[union-attr]
    if not atoms.labels:
        raise (coord or name or subsys).error("there are no atoms")
    return _repeated(atoms, cell, several)


def _of_section(coord: Section, cell: CP2KCell) -> CP2KAtoms:
    """Atoms of &COORD."""
    unit, scaled = coord.take("UNIT"), coord.take("SCALED")
    factor = 1.0
    if unit is not None:
        factor = read_unit(unit.word(), unit, LENGTH).factor / read_unit("angstrom", unit, LENGTH).factor
    labels, rows = [], []
    for keyword in coord.take_all(""):
        label, row = _row(keyword.text.split(), keyword.place)
        labels.append(label)
        rows.append(row)
    positions = np.array(rows, dtype=np.float64).reshape(-1, 3)
    is_scaled = scaled is not None and scaled.flag()
    positions = positions @ cell.vectors if is_scaled else positions * factor if factor != 1.0 else positions
    return CP2KAtoms(labels, positions, None, coord.place)


def _row(words: list[str], place: Place) -> tuple[str, list[float]]:
    """Label and position of a line."""
    try:
        if len(words) < 4:
            raise ValueError("a line of an atom is KIND X Y Z")
        return words[0], [as_number(word) for word in words[1:4]]
    except ValueError as error:
        raise EngineInputError(f"{' '.join(words)}: {error}", place.path, place.line) from None


def _of_file(name: Keyword, kind: str, folder: Path) -> CP2KAtoms:
    """Atoms of a file, the first frame of XYZ as CP2K reads it."""
    path = find_file(name, folder)
    if kind == "XYZ":
        labels, rows = _xyz(path)
        symbols = all(element_of(label) == label for label in labels)
        return CP2KAtoms(labels, rows, path if symbols else None, name.place)
    if kind == "CP2K":
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        found = [_row(line.split(), Place(path, k)) for k, line in enumerate(lines, 1) if line.split("#")[0].strip()]
        positions = np.array([row for _, row in found], dtype=np.float64).reshape(-1, 3)
        return CP2KAtoms([label for label, _ in found], positions, None, name.place)
    try:
        structure = read_structure(path, frame=0, elements=True, slabs=True)
    except ValueError as error:
        raise name.error(str(error)) from error
    return CP2KAtoms(structure.symbols, structure.positions_nm / NM_PER_ANGSTROM, None, name.place)


def _xyz(path: str) -> tuple[list[str], np.ndarray]:
    """Labels and positions (n_atoms, 3), Å, of the first frame of an XYZ file."""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        count = int(lines[0].split()[0])
    except (IndexError, ValueError):
        raise EngineInputError("the first line of an XYZ file is the number of its atoms", path, 1) from None
    if count < 1 or len(lines) < count + 2:
        raise EngineInputError(f"{count} atoms are announced and {max(len(lines) - 2, 0)} lines follow", path, 1)
    found = [_row(line.split(), Place(path, k)) for k, line in enumerate(lines[2 : count + 2], 3)]
    return [label for label, _ in found], np.array([row for _, row in found], dtype=np.float64)


def _repeated(atoms: CP2KAtoms, cell: CP2KCell, several: Keyword | None) -> CP2KAtoms:
    """The atoms of all unit cells."""
    repeats = repeats_of(several)
    if repeats != cell.repeats:
        where = several.place if several is not None else cell.place
        raise EngineInputError(
            f"MULTIPLE_UNIT_CELL is {cell.repeats} in &CELL and {repeats} in &TOPOLOGY; CP2K asks for the same in both",
            where.path, where.line,
        )  # fmt: skip
    if repeats == (1, 1, 1):
        return atoms
    shifts = np.array(list(_images(repeats)), dtype=np.float64) @ cell.vectors
    positions = (shifts[:, None, :] + atoms.positions[None, :, :]).reshape(-1, 3)
    return CP2KAtoms(atoms.labels * len(shifts), positions, None, atoms.place)


def _images(repeats: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    for k in range(repeats[2]):
        for j in range(repeats[1]):
            for i in range(repeats[0]):
                yield i, j, k


def read_velocities_of(subsys: Section, atoms: CP2KAtoms, result: Translation) -> np.ndarray | None:
    """&VELOCITY.

    Parameters
    ----------
    subsys : Section
        &SUBSYS.
    atoms : CP2KAtoms
        Whose velocities they are.
    result : Translation
        Gets the entry.

    Returns
    -------
    numpy.ndarray, (n_atoms, 3) float64, or None
        nm/ps.

    Raises
    ------
    EngineInputError
        If they are not three numbers for each atom.
    """
    section = subsys.open("VELOCITY")
    if section is None:
        return None
    keyword = section.take("UNIT")
    owner = keyword or Keyword("UNIT", _ATOMIC_VELOCITY, section.place, section)
    unit = read_unit(owner.word(), owner, VELOCITY).factor / read_unit(_NM_PER_PS, owner, VELOCITY).factor
    rows = [line.numbers(3) for line in section.take_all("")]
    if len(rows) != len(atoms.labels):
        raise section.error(f"{len(rows)} velocities are given, and there are {len(atoms.labels)} atoms")
    result.note("mapped", section.path, f"({len(rows)} velocities)", section.place, became="velocities of the start")
    return np.array(rows, dtype=np.float64) * unit
