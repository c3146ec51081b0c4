"""Structure files that ASE reads: symbols, positions in nm, box, and the directions without periodicity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ...cache import private_folder
from ...crystal import partial_sites
from ...errors import StructureError
from ...topology import DEUTERIUM, HYDROGEN
from ...units import NM_PER_ANGSTROM
from .slabs import complete_box

#: Mass of deuterium in u, and how far masses in files are off.
_DEUTERIUM_MASS, _MASS_NOISE = 2.014, 0.01


def read_atoms(path: str, frame: int) -> tuple[list[str], np.ndarray, np.ndarray | None, tuple[int, ...]]:
    """A frame of a file.

    Parameters
    ----------
    path : str
        The file.
    frame : int
        Counted from 0, or from the end if negative.

    Returns
    -------
    symbols : list of str
        Of the elements; deuterium is D.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        nm; None where nothing is periodic.
    open_directions : tuple of int
        Box vectors in whose direction it is not periodic, where it is in others.

    Raises
    ------
    StructureError
        If there is no such frame, no atom, or a site is occupied in part.
    """
    from ase import Atoms

    try:
        atoms = _read(path, frame)
    except (IndexError, StopIteration):
        if frame in (0, -1):
            raise
        raise StructureError(f"frame {frame} was asked for, but the file has fewer") from None
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise StructureError("no atoms")
    return symbols_of(atoms), atoms.positions * NM_PER_ANGSTROM, *box_of_atoms(atoms)


def box_of_atoms(atoms: Any) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """The box of ASE's atoms.

    Parameters
    ----------
    atoms : ase.Atoms
        Any.

    Returns
    -------
    box : numpy.ndarray, (3, 3) float64, or None
        nm; None where nothing is periodic.
    open_directions : tuple of int
        Box vectors in whose direction they are not periodic, where they are in others.

    Raises
    ------
    StructureError
        If a site is occupied in part.
    """
    partial = partial_sites(atoms)
    if partial:
        raise StructureError(f"partial occupancies: {'; '.join(partial)}; a model needs one whole atom at each site")
    if not np.any(atoms.pbc):
        return None, ()
    open_directions = tuple(np.flatnonzero(~np.asarray(atoms.pbc)).tolist())
    box = np.array(atoms.cell[:]) * NM_PER_ANGSTROM
    return complete_box(atoms.positions * NM_PER_ANGSTROM, box, open_directions), open_directions


def read_masses(path: str, frame: int) -> np.ndarray | None:
    """Masses that an extended XYZ file states in its column ``masses``.

    Parameters
    ----------
    path : str
        The file.
    frame : int
        Counted from 0, or from the end if negative.

    Returns
    -------
    numpy.ndarray, (n_atoms,) float64, or None
        u; None for files of other formats and without the column.
    """
    if Path(path).suffix.lower() not in (".extxyz", ".xyz"):
        return None
    atoms = _read(path, frame)
    return np.asarray(atoms.get_masses(), dtype=np.float64) if atoms.has("masses") else None


def _read(path: str, frame: int) -> Any:
    """A frame as ASE reads it. It knows no deuterium, which becomes its X, an element that is none."""
    import ase.io

    try:
        return ase.io.read(path, index=frame)
    except KeyError as error:
        if error.args != (DEUTERIUM,):
            raise
    text = Path(path).read_text(encoding="utf-8")
    with private_folder() as folder:
        copy = folder / Path(path).name
        copy.write_text(re.sub(rf"(?<!\S){DEUTERIUM}(?!\S)", "X", text), encoding="utf-8")
        atoms: Any = ase.io.read(copy, index=frame)
    atoms.info[DEUTERIUM] = True
    return atoms


def symbols_of(atoms: Any) -> list[str]:
    """Symbols of ASE's atoms with deuterium where the file has it: by its name, or by its mass as of CIF."""
    named = DEUTERIUM in atoms.info
    symbols = [DEUTERIUM if named and symbol == "X" else symbol for symbol in atoms.get_chemical_symbols()]
    if atoms.has("masses"):
        heavy = np.abs(atoms.get_masses() - _DEUTERIUM_MASS) < _MASS_NOISE
        symbols = [DEUTERIUM if symbol == HYDROGEN and heavy[i] else symbol for i, symbol in enumerate(symbols)]
    return symbols
