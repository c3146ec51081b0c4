"""Radial distribution functions between the molecules of a run, water and the rest apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm.app as app

from .trajectory_files import count_frames
from .trajectory_reading import load_trajectory

#: From at most so many atoms of a kind and so many frames.
_MOST_ATOMS = 400
_MOST_FRAMES = 200
_LARGEST_R_NM = 1.0
_BIN_NM = 0.005


@dataclass(frozen=True, eq=False)
class RdfTable:
    """Radial distribution functions.

    Parameters
    ----------
    edges_nm : numpy.ndarray, (n_bins + 1,) float64
        Edges of the bins.
    functions : dict of str to numpy.ndarray, (n_bins,) float64
        g(r) by the two kinds of atoms.
    n_frames : int
        Frames they are from.
    """

    edges_nm: np.ndarray
    functions: dict[str, np.ndarray]
    n_frames: int

    @property
    def r_nm(self) -> np.ndarray:
        """Middles of the bins, (n_bins,)."""
        return (self.edges_nm[1:] + self.edges_nm[:-1]) / 2

    def as_csv(self) -> str:
        """A table with a column of r in nm and one for each pair of kinds."""
        lines = [",".join(["r_nm", *(f"g {name}" for name in self.functions)])]
        for row in zip(self.r_nm.tolist(), *(values.tolist() for values in self.functions.values()), strict=True):
            lines.append(",".join(f"{value:.6g}" for value in row))
        return "\n".join(lines) + "\n"


def kinds_of_atoms(topology: app.Topology, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Atoms by element; those of water apart where there is something else.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms.
    labels : numpy.ndarray, (n_atoms,) int64
        Molecule of each atom.

    Returns
    -------
    dict of str to numpy.ndarray, (n,) int64
        Indices by names such as ``O`` or, in a solution, ``O(water)``.
    """
    symbols = np.array(["" if atom.element is None else atom.element.symbol for atom in topology.atoms()])
    real = symbols != ""
    size = np.bincount(labels[real], minlength=labels.max() + 1)
    hydrogens = np.bincount(labels[real & (symbols == "H")], minlength=len(size))
    oxygens = np.bincount(labels[real & (symbols == "O")], minlength=len(size))
    water = ((size == 3) & (hydrogens == 2) & (oxygens == 1))[labels]
    apart = bool((real & water).any() and (real & ~water).any())
    kinds: dict[str, np.ndarray] = {}
    for symbol in sorted(set(symbols[real].tolist())):
        members = symbols == symbol
        for name, part in ((symbol, members & ~water), (f"{symbol}(water)", members & water)):
            if part.any():
                kinds[name if apart else symbol] = np.flatnonzero(part)
    return kinds


def compute_rdfs(path: Path, topology: app.Topology, labels: np.ndarray) -> RdfTable | None:
    """Radial distribution functions between atoms of different molecules, by pairs of kinds.

    Parameters
    ----------
    path : pathlib.Path
        The trajectory.
    topology : openmm.app.Topology
        Its atoms.
    labels : numpy.ndarray, (n_atoms,) int64
        Molecule of each atom.

    Returns
    -------
    RdfTable or None
        None where there is no box, no frame or no pair.
    """
    import mdtraj

    frames_there = count_frames(path)
    if frames_there == 0:
        return None
    kinds = {name: part[:: -(-len(part) // _MOST_ATOMS)] for name, part in kinds_of_atoms(topology, labels).items()}
    atoms = np.unique(np.concatenate(list(kinds.values())))
    frames = load_trajectory(path, topology, -(-frames_there // _MOST_FRAMES), atoms)
    if frames.unitcell_vectors is None or frames.n_frames == 0:
        return None
    reach = min(_LARGEST_R_NM, 0.5 * _smallest_width(frames.unitcell_vectors))
    edges = np.arange(0.0, reach + 0.5 * _BIN_NM, _BIN_NM)
    labels = labels[atoms]
    functions = {}
    for first, second in itertools.combinations_with_replacement(kinds, 2):
        a, b = np.searchsorted(atoms, kinds[first]), np.searchsorted(atoms, kinds[second])
        pairs = np.array(list(_pairs(a, b, labels, first == second)), dtype=np.int64)
        if len(pairs):
            span = (0.0, float(edges[-1]))
            _, g = mdtraj.compute_rdf(frames, pairs, r_range=span, n_bins=len(edges) - 1, periodic=True)
            functions[f"{first}–{second}"] = np.asarray(g, dtype=np.float64)
    return RdfTable(edges, functions, frames.n_frames) if functions else None


def _pairs(first: np.ndarray, second: np.ndarray, labels: np.ndarray, same: bool) -> Iterator[tuple[int, int]]:
    for i in first.tolist():
        for j in second.tolist():
            if (i < j or not same) and labels[i] != labels[j]:
                yield i, j


def _smallest_width(cells: np.ndarray) -> float:
    """Smallest distance between opposite faces over all frames, nm."""
    volumes = np.abs(np.linalg.det(cells))
    areas = [np.linalg.norm(np.cross(cells[:, i], cells[:, (i + 1) % 3]), axis=1) for i in range(3)]
    return float(min((volumes / area).min() for area in areas))
