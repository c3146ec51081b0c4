"""The atoms as LAMMPS reads them: a data file in units metal, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm.unit as unit

from ...crystal import reduce_box
from ...errors import ExportError
from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from .engine_graph import OPEN_SPACE, EngineEdges, compare, find_edges
from .exported_model import ExportedModel


class LammpsData(NamedTuple):
    """What a data file says, in Å.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        In the order of the atoms' numbers.
    types : numpy.ndarray, (n_atoms,) int64
        LAMMPS' types, from 1.
    cell : numpy.ndarray, (3, 3) float64
        Rows are the box vectors, lower triangular.
    """

    positions: np.ndarray
    types: np.ndarray
    cell: np.ndarray


def _box(model: ExportedModel) -> tuple[np.ndarray, np.ndarray]:
    """Box (3, 3) in Å and where its corner lies (3,)."""
    structure = model.structure
    if structure.box_nm is not None:
        return reduce_box(structure.box_nm)[0] / NM_PER_ANGSTROM, np.zeros(3)
    space = OPEN_SPACE * model.script.info.reach * model.units.length
    low, high = structure.positions_nm.min(axis=0) - space, structure.positions_nm.max(axis=0) + space
    return np.diag(high - low) / NM_PER_ANGSTROM, low / NM_PER_ANGSTROM


def data_text(model: ExportedModel, present: list[int], rotation: np.ndarray) -> str:
    """A data file.

    Parameters
    ----------
    model : ExportedModel
        The model and the structure.
    present : list of int
        Model types that there are, in the order of LAMMPS' types.
    rotation : numpy.ndarray, (3, 3) float64
        From the structure's frame into LAMMPS'.

    Returns
    -------
    str

    Raises
    ------
    ExportError
        If an atom has no mass.
    """
    structure = model.structure
    cell, corner = _box(model)
    positions = structure.positions_nm @ rotation.T / NM_PER_ANGSTROM
    if structure.box_nm is not None:
        positions = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    masses: dict[int, float] = {}
    for kind, atom in zip(model.types.tolist(), structure.topology.atoms(), strict=True):
        mass = None if atom.element is None else atom.element.mass.value_in_unit(unit.dalton)
        if mass is None:
            raise ExportError(f"the atoms of type {model.names[kind]!r} have no element, and LAMMPS needs their mass")
        masses.setdefault(kind, mass)
    symbols = [model.names[kind] for kind in present]
    lines = [
        f"{Path(structure.path).name} for the model {Path(model.source.path).name}",
        "", f"{len(positions)} atoms", f"{len(present)} atom types", "",
        *(f"{corner[k]:.15g} {corner[k] + cell[k, k]:.15g} {'xyz'[k]}lo {'xyz'[k]}hi" for k in range(3)),
    ]  # fmt: skip
    if np.abs(cell - np.diag(np.diag(cell))).max() > 0:
        lines.append(f"{cell[1, 0]:.15g} {cell[2, 0]:.15g} {cell[2, 1]:.15g} xy xz yz")
    lines += ["", "Masses", ""]
    named = zip(present, symbols, strict=True)
    lines += [f"{n} {masses[kind]:.9g}  # {name}" for n, (kind, name) in enumerate(named, 1)]
    lines += ["", "Atoms  # atomic", ""]
    places = {kind: n for n, kind in enumerate(present, 1)}
    for n, (kind, place) in enumerate(zip(model.types.tolist(), positions, strict=True), 1):
        lines.append(f"{n} {places[kind]} " + " ".join(f"{x:.15g}" for x in place))
    return "\n".join(lines) + "\n"


def read_data(text: str) -> LammpsData:
    """A data file of :func:`data_text` as LAMMPS reads it.

    Parameters
    ----------
    text : str
        Its text.

    Returns
    -------
    LammpsData
    """
    head, _, atoms = text.partition("Atoms  # atomic")
    cell = np.zeros((3, 3))
    for line in head.splitlines():
        words = line.split()
        for k, axis in enumerate("xyz"):
            if words[2:] == [f"{axis}lo", f"{axis}hi"]:
                cell[k, k] = float(words[1]) - float(words[0])
        if words[3:] == ["xy", "xz", "yz"]:
            cell[1, 0], cell[2, 0], cell[2, 1] = map(float, words[:3])
    rows = sorted([line.split() for line in atoms.splitlines() if line.strip()], key=lambda row: int(row[0]))
    places = np.array([row[2:] for row in rows], dtype=np.float64)
    return LammpsData(places, np.array([row[1] for row in rows], dtype=np.int64), cell)


class PlacedAtoms(NamedTuple):
    """The atoms of a data file, read back, with what leads from them to the structure.

    Parameters
    ----------
    data : LammpsData
        The file.
    types : numpy.ndarray, (n_atoms,) int64
        Model types.
    rotation : numpy.ndarray, (3, 3) float64
        From the structure's frame into LAMMPS'.
    periodic : bool
        Whether there is a box.
    """

    data: LammpsData
    types: np.ndarray
    rotation: np.ndarray
    periodic: bool

    def edges(self, cutoff: float, cutoffs: np.ndarray) -> EngineEdges:
        """Edges of the atoms; arguments as of :func:`.engine_graph.find_edges`, Å."""
        box = self.data.cell if self.periodic else None
        return find_edges(self.data.positions, box, cutoff, self.types, cutoffs)

    def compare(self, model: ExportedModel, energy: float, forces: np.ndarray) -> dict[str, float]:
        """Differences of an answer from the model's.

        Parameters
        ----------
        model : ExportedModel
            The model and the structure.
        energy : float
            eV.
        forces : numpy.ndarray, (n_atoms, 3) float64
            eV/Å, in LAMMPS' frame.

        Returns
        -------
        dict of str to float
            As :func:`.engine_graph.compare`.

        Raises
        ------
        ExportError
            If they are more than rounding noise.
        """
        back = self.data.positions @ self.rotation * NM_PER_ANGSTROM
        box = self.data.cell @ self.rotation * NM_PER_ANGSTROM if self.periodic else None
        right = model.answer(replace(model.structure, positions_nm=back, box_nm=box))
        energies = energy * KJ_PER_MOL_PER_EV, right.energy
        found = (forces @ self.rotation) * (KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM)
        return compare("LAMMPS", energies, (found, right.forces), model.script.info.dtype)


def with_images(data: LammpsData, edges: EngineEdges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms and images of atoms, as LAMMPS keeps them on a rank.

    Parameters
    ----------
    data : LammpsData
        The atoms.
    edges : EngineEdges
        Edges of the atoms.

    Returns
    -------
    positions : numpy.ndarray, (n_all, 3) float64
        Å; the atoms, and behind them the images that are in an edge.
    owners : numpy.ndarray, (n_all,) int64
        The atom that each is or is an image of.
    neighbors : numpy.ndarray, (n_edges,) int64
        Row of the second atom of each edge.
    """
    n, neighbors = len(data.positions), edges.index[1].copy()
    crossing = np.flatnonzero(edges.shifts.any(axis=1))
    images = np.concatenate([edges.index[1][crossing, None], np.rint(edges.shifts[crossing])], axis=1)
    unique, inverse = np.unique(images.astype(np.int64), axis=0, return_inverse=True)
    neighbors[crossing] = n + inverse.ravel()
    owners = np.concatenate([np.arange(n), unique[:, 0]])
    moved = data.positions[unique[:, 0]] + unique[:, 1:] @ data.cell
    return np.concatenate([data.positions, moved]), owners, neighbors
