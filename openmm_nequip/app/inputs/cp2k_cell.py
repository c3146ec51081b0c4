"""&CELL of a CP2K input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import EngineInputError
from ...units import NM_PER_ANGSTROM
from ..structures.structure_files import read_structure
from .cp2k_files import find_file
from .cp2k_sections import Keyword, Section
from .cp2k_units import ANGLE, LENGTH, quantities
from .translation import Place, Translation

_FORMATS = ("CP2K", "XSC", "CIF", "EXTXYZ", "XYZ", "PDB")
_COLUMNS = 9


@dataclass(frozen=True, eq=False)
class CP2KCell:
    """A cell.

    Parameters
    ----------
    vectors : numpy.ndarray, (3, 3) float64
        Rows are the vectors of one unit cell, Å.
    periodic : tuple of bool
        Along which of them it is periodic.
    repeats : tuple of int
        How often each is repeated.
    place : Place
        Where it is stated.
    """

    vectors: np.ndarray
    periodic: tuple[bool, bool, bool]
    repeats: tuple[int, int, int]
    place: Place

    @property
    def whole(self) -> np.ndarray:
        """Vectors of all unit cells together, in rows, Å."""
        return self.vectors * np.array(self.repeats, dtype=np.float64)[:, None]


def read_cell(section: Section, folder: Path, result: Translation) -> CP2KCell:
    """Read &CELL.

    Parameters
    ----------
    section : Section
        &CELL.
    folder : pathlib.Path
        The run folder.
    result : Translation
        Gets the entries.

    Returns
    -------
    CP2KCell

    Raises
    ------
    EngineInputError
        If the cell is not stated, stated twice, or has no volume.
    """
    abc, angles = section.take("ABC"), section.take("ALPHA_BETA_GAMMA", "ANGLES")
    rows = [section.take(name) for name in "ABC"]
    name, form = section.take("CELL_FILE_NAME"), section.take("CELL_FILE_FORMAT")
    stated = [k for k in (abc, name, next((row for row in rows if row is not None), None)) if k is not None]
    if not stated:
        raise section.error("the cell is missing: give ABC, or A, B and C, or CELL_FILE_NAME")
    if len(stated) > 1:
        raise stated[1].error(f"the cell is already stated at {stated[0].place}; give it in one way")
    if abc is not None:
        if min(quantities(abc, LENGTH, "angstrom", "angstrom", 3)) < 0:
            raise abc.error("lengths are above 0")
        vectors = _of_edges(quantities(abc, LENGTH, "angstrom", "angstrom", 3), angles)
    elif name is not None:
        vectors = _of_file(name, form, folder)
    else:
        vectors = np.array([quantities(_needed(row, section), LENGTH, "angstrom", "angstrom", 3) for row in rows])
    if angles is not None and abc is None:
        raise angles.error("angles belong to ABC, and the cell is stated by its vectors")
    if form is not None and name is None:
        raise form.error("CELL_FILE_NAME is missing")
    scale = max(float(np.abs(vectors).max()), 1e-300)
    if abs(np.linalg.det(vectors / scale)) < 1e-10:
        raise stated[0].error("the cell has no volume")
    periodic = _periodic(section.take("PERIODIC"))
    several = section.take("MULTIPLE_UNIT_CELL")
    cell = CP2KCell(vectors, periodic, repeats_of(several), stated[0].place)
    used = [k for k in (abc, angles, *rows, name, several) if k is not None]
    for keyword in used:
        result.note("mapped", keyword.path, keyword.text, keyword.place, became="the box")
    return cell


def repeats_of(keyword: Keyword | None) -> tuple[int, int, int]:
    """Three whole numbers of MULTIPLE_UNIT_CELL; ones where it is not there.

    Raises
    ------
    EngineInputError
        If they are not positive whole numbers.
    """
    if keyword is None:
        return 1, 1, 1
    values = keyword.numbers(3)
    if any(value != int(value) or value < 1 for value in values):
        raise keyword.error("give three whole numbers of 1 or more")
    return int(values[0]), int(values[1]), int(values[2])


def _needed(keyword: Keyword | None, section: Section) -> Keyword:
    if keyword is None:
        raise section.error("of A, B and C one is missing; give all three")
    return keyword


def _of_edges(edges: list[float], keyword: Keyword | None) -> np.ndarray:
    """Vectors (3, 3), Å, in rows: a along x, b in the xy plane."""
    a, b, c = edges
    if keyword is None:
        return np.diag(edges)
    angles = quantities(keyword, ANGLE, "deg", "deg", 3)
    # cos(90°) is 6e-17 to a computer.
    alpha, beta, gamma = (0.0 if angle == 90.0 else math.cos(math.radians(angle)) for angle in angles)
    sine = 1.0 if angles[2] == 90.0 else math.sin(math.radians(angles[2]))
    if not all(0 < angle < 180 for angle in angles):
        raise keyword.error("angles lie between 0 and 180 degrees")
    y = (alpha - beta * gamma) / sine
    z2 = 1 - beta**2 - y**2
    if z2 <= 0:
        raise keyword.error("no cell has these three angles")
    return np.array([[a, 0, 0], [b * gamma, b * sine, 0], [c * beta, c * y, c * math.sqrt(z2)]])


def _of_file(name: Keyword, form: Keyword | None, folder: Path) -> np.ndarray:
    """Vectors (3, 3), Å, of a file."""
    path = find_file(name, folder)
    kind = "CP2K" if form is None else form.choice(_FORMATS)
    if kind == "CP2K":
        return _of_cell_file(name, path)
    if kind == "XSC":
        raise (form or name).error(f"this format is not read here; use one of {', '.join(_FORMATS)} but XSC")
    try:
        if kind in ("XYZ", "EXTXYZ"):
            import ase.io

            box = np.asarray(ase.io.read(path, index=0, format="extxyz").cell)  # type: ignore[union-attr]
        else:
            found = read_structure(path, frame=0, elements=False, slabs=True).box_nm
            box = np.zeros((3, 3)) if found is None else found / NM_PER_ANGSTROM
    except Exception as error:  # readers raise anything on a foreign file
        raise name.error(f"{path} cannot be read as {kind}: {error}") from error
    if not box.any():
        raise name.error(f"{path} states no cell (an extended XYZ file has Lattice=... in its second line)")
    return box


def _of_cell_file(name: Keyword, path: str) -> np.ndarray:
    """The last row of the file that CP2K's own &CELL print key writes: step, time, nine components, volume."""
    rows = [line.split() for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines()]
    rows = [row for row in rows if row and not row[0].startswith("#")]
    try:
        return np.array([float(word) for word in rows[-1][2 : 2 + _COLUMNS]]).reshape(3, 3)
    except (IndexError, ValueError):
        raise EngineInputError(
            f"this is no .cell file of CP2K (step, time and nine components a row); give CELL_FILE_FORMAT for others, "
            f"named at {name.place}", path, len(rows) or None,
        ) from None  # fmt: skip


def _periodic(keyword: Keyword | None) -> tuple[bool, bool, bool]:
    if keyword is None:
        return True, True, True
    word = keyword.choice(("NONE", "X", "Y", "Z", "XY", "XZ", "YZ", "XYZ"))
    found = tuple(word != "NONE" and axis in word for axis in "XYZ")
    return found[0], found[1], found[2]
