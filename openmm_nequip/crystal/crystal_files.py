"""From ASE's atoms, or a file that ASE reads, to a crystal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ..errors import StructureError
from ..files import obstacle, parser_reason
from ..units import NM_PER_ANGSTROM
from .frame import Crystal
from .lattice import check_cell, reduce_box

if TYPE_CHECKING:
    from ase import Atoms

#: Shares of a site that count as all of it: files round.
_FULL_OCCUPANCY = 0.999


def partial_sites(atoms: Atoms) -> list[str]:
    """Sites of a crystal that are occupied partly or by several elements; ASE keeps one element of each and goes on.

    Parameters
    ----------
    atoms : ase.Atoms
        As ASE reads them from a CIF file, with what the file says about occupancies in ``info``.

    Returns
    -------
    list of str
        Elements, shares and fractional coordinates of each such site.
    """
    kinds = atoms.arrays.get("spacegroup_kinds", np.arange(len(atoms))).tolist()
    found = []
    for kind, shares in atoms.info.get("occupancy", {}).items():
        # Of the rows that share a site only the first has atoms.
        if int(kind) not in kinds or (len(shares) == 1 and min(shares.values()) >= _FULL_OCCUPANCY):
            continue
        place = atoms.get_scaled_positions(wrap=False)[kinds.index(int(kind))]
        elements = " + ".join(f"{share:g} {symbol}" for symbol, share in shares.items())
        found.append(f"site {int(kind) + 1} of the list, ({', '.join(f'{x:.4f}' for x in place)}), holds {elements}")
    return found


def fromAse(atoms: Atoms, supercell: int | Iterable[int] = (1, 1, 1)) -> Crystal:
    """Make a crystal for OpenMM from ASE's atoms.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in all three directions, any cell: triclinic, skewed, left-handed, as small as one atom. Not changed.
    supercell : int or three ints
        How often to repeat the cell along its vectors.

    Returns
    -------
    Crystal

    Raises
    ------
    ValueError
        If there are no atoms, they are periodic in no or in some directions only, the cell has no volume, a position
        is not finite, a site is partly occupied, or the supercell is not made of positive whole numbers.
    """
    return _crystal(atoms, supercell, "the structure")


def _crystal(atoms: Atoms, supercell: Any, what: str) -> Crystal:
    counts = np.atleast_1d(np.asarray(supercell))
    whole = counts.dtype.kind in "iuf" and np.isfinite(counts).all()
    if not whole or counts.shape not in ((1,), (3,)) or (counts != np.rint(counts)).any() or (counts < 1).any():
        raise ValueError(f"supercell={supercell!r}: expected one or three whole numbers of at least 1")
    if len(atoms) == 0:
        raise ValueError(f"{what} has no atoms")
    periodic = np.asarray(atoms.pbc)
    if periodic.any() and not periodic.all():
        raise ValueError(
            f"{what} is periodic in some directions only (pbc {periodic.tolist()}), which OpenMM cannot do; make it "
            "periodic in all three with enough vacuum in the cell, or in none"
        )
    if not periodic.all():
        raise ValueError(
            f"{what} is not periodic, so it is no crystal and no barostat could act on it. For a molecule make an "
            "openmm.app.Topology without box; or set a cell with enough vacuum around it and pbc=True"
        )
    check_cell(atoms.cell[:], f"the cell of {what} (Å)")
    partial = partial_sites(atoms)
    if partial:
        raise ValueError(
            f"{what} has partial occupancies: {'; '.join(partial)}. A model needs one whole atom at each site: make an "
            "ordered supercell of this composition"
        )
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        raise ValueError(f"{what} has positions that are NaN or infinite, the first of atom {bad[0]}")
    atoms = atoms.repeat(np.broadcast_to(counts, 3).astype(int).tolist())
    atoms.calc = None
    box, rotation, integers = reduce_box(atoms.cell[:] * NM_PER_ANGSTROM)
    topology = app.Topology()
    chain = topology.addChain()
    for symbol in atoms.get_chemical_symbols():
        # One residue each: PDB files then hold any number of atoms of an element without ambiguous names.
        element = None if symbol == "X" else app.Element.getBySymbol(symbol)
        topology.addAtom(symbol, element, topology.addResidue("UNK", chain))
    topology.setPeriodicBoxVectors([openmm.Vec3(*vector) for vector in box] * unit.nanometer)
    positions = atoms.positions * NM_PER_ANGSTROM @ rotation.T
    return Crystal(topology, positions * unit.nanometer, box * unit.nanometer, rotation, integers, atoms)


def readCrystal(path: str | os.PathLike[str], supercell: int | Iterable[int] = (1, 1, 1), index: int = -1) -> Crystal:
    """Read a crystal from any file that ASE reads: CIF, POSCAR, extxyz, ...

    Parameters
    ----------
    path : str or path-like
        The file. Where it holds lengths and angles of the cell (CIF), the user's frame is the one ASE takes.
    supercell : int or three ints
        As in :func:`fromAse`.
    index : int
        Which frame of several, from 0, or from the end if negative.

    Returns
    -------
    Crystal

    Raises
    ------
    StructureError
        If the file is missing or cannot be read, or has no such frame.
    ValueError
        As :func:`fromAse`.
    """
    import ase.io

    path = Path(path).expanduser()
    problem = obstacle(path)
    if problem:
        raise StructureError(f"crystal file {path} {problem}", str(path))
    try:
        atoms: Any = ase.io.read(path, index=int(index))
    except Exception as error:  # the readers raise anything at all on a foreign file
        reason = parser_reason(error)
        raise StructureError(
            f"crystal file {path} cannot be read, or has no frame {index} ({reason})", str(path)
        ) from error
    return _crystal(atoms, supercell, f"crystal file {path}")
