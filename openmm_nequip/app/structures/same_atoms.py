"""Whether two files list the same atoms in the same order, and whether bonded atoms are where bonds can be."""

from __future__ import annotations

import logging

import numpy as np
import openmm.app as app

from ...units import NM_PER_ANGSTROM
from .bonds import Bonds

logger = logging.getLogger(__name__)

#: A bond longer than this multiple of the sum of the covalent radii joins atoms that are not bonded.
_TORN = 3.0
_MOST_NAMED = 5


def check_same_atoms(first: app.Topology, second: app.Topology, first_path: str, second_path: str) -> None:
    """Refuse two topologies of the same number of atoms that are not the same atoms in the same order.

    Elements must agree where both files have them. Names may follow different conventions; but where a residue has the
    same names in another order, its atoms are in another order.

    Parameters
    ----------
    first, second : openmm.app.Topology
        The topologies.
    first_path, second_path : str
        Their files, for messages.

    Raises
    ------
    ValueError
        If the numbers of atoms differ, or elements or the order of names do; the message names the first atoms.
    """
    if first.getNumAtoms() != second.getNumAtoms():
        raise ValueError(
            f"{second_path} has {second.getNumAtoms()} atoms, {first_path} has {first.getNumAtoms()}; give files that "
            "belong together"
        )
    pairs = list(zip(first.atoms(), second.atoms(), strict=True))
    wrong = [
        f"atom {a.index} is {_named(a)} here and {_named(b)} there"
        for a, b in pairs
        if a.element is not None and b.element is not None and a.element is not b.element
    ]
    for residue in second.residues():
        rows = [pairs[atom.index] for atom in residue.atoms()]
        names, others = [a.name for a, _ in rows], [b.name for _, b in rows]
        if names != others and sorted(names) == sorted(others) and len(set(names)) == len(names):
            k = next(k for k in range(len(rows)) if names[k] != others[k])
            wrong.append(f"atom {rows[k][0].index} is {_named(rows[k][0])} here and {_named(rows[k][1])} there")
    if wrong:
        raise ValueError(
            f"{first_path} and {second_path} do not list the same atoms in the same order: "
            f"{'; '.join(wrong[:_MOST_NAMED])}{'; ...' * (len(wrong) > _MOST_NAMED)}. Write the coordinates in the "
            "order of the topology"
        )
    renamed = sum(a.name != b.name for a, b in pairs)
    if renamed:
        logger.info("%d of %d atoms have other names in %s than in %s", renamed, len(pairs), first_path, second_path)


def _named(atom: app.topology.Atom) -> str:
    element = "" if atom.element is None else f" ({atom.element.symbol})"
    return f"{atom.name}{element} of {atom.residue.name}"


def check_bond_lengths(
    path: str, topology: app.Topology, positions: np.ndarray, bonds: Bonds, box: np.ndarray | None
) -> None:
    """Refuse coordinates in which bonded atoms are far apart, as where a file without names has another order.

    Parameters
    ----------
    path : str
        The file of the coordinates.
    topology : openmm.app.Topology
        Elements.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    bonds : Bonds
        Bonds and their images.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Raises
    ------
    ValueError
        If a bond is longer than three times the sum of the covalent radii.
    """
    from ase.data import covalent_radii

    if len(bonds.pairs) == 0:
        return
    atoms = list(topology.atoms())
    numbers = np.array([0 if atom.element is None else atom.element.atomic_number for atom in atoms])
    i, j = bonds.pairs.T
    steps = positions[j] - positions[i] + (0.0 if box is None else bonds.shifts @ box)
    lengths = np.linalg.norm(steps, axis=1)
    limits = _TORN * NM_PER_ANGSTROM * (covalent_radii[numbers[i]] + covalent_radii[numbers[j]])
    torn = np.flatnonzero((lengths > limits) & (numbers[i] > 0) & (numbers[j] > 0))
    if len(torn):
        k = torn[np.argmax(lengths[torn] / limits[torn])]
        raise ValueError(
            f"{path}: {len(torn)} of {len(lengths)} bonds of the topology are torn; atoms {i[k]} "
            f"({_named(atoms[i[k]])}) and {j[k]} ({_named(atoms[j[k]])}) are {lengths[k]:.3f} nm apart. Expected the "
            "atoms in the order of the topology; give files that belong together"
        )
