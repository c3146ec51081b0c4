"""A frame that may be chosen, as what a labelling program and a training would get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...topology import common_symbol
from ...units import NM_PER_ANGSTROM

#: Edge of the cell that frames without periodicity carry, Å, and the room that it leaves around them at least.
#: Nothing is periodic in it; nequip-compile, which takes its example from the training data, needs a volume.
OPEN_CELL, OPEN_ROOM = 30.0, 20.0
#: What a frame states of a committee's deviation, eV/Å.
DEVIATION_KEY = "deviation_ev_per_angstrom"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A frame of a trajectory, or the part of one that a model describes.

    Parameters
    ----------
    source : str
        File or run folder, as it was named.
    frame : int
        Number of the frame in it, from 0.
    symbols : tuple of str
        Elements.
    positions_nm : numpy.ndarray, (n_atoms, 3) float64
        Where the atoms are.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors; None where nothing is periodic.
    open_directions : tuple of int
        Box vectors in whose direction it is not periodic, where it is in others.
    region : int, optional
        Region of the hybrid System that it is.
    caps : int
        How many atoms at the end are link caps.
    deviation : float, optional
        Of a committee, eV/Å.
    """

    source: str
    frame: int
    symbols: tuple[str, ...]
    positions_nm: np.ndarray
    box_nm: np.ndarray | None = None
    open_directions: tuple[int, ...] = ()
    region: int | None = None
    caps: int = 0
    deviation: float | None = None

    @property
    def name(self) -> str:
        """Where it comes from, for messages."""
        part = "" if self.region is None else f", region {self.region}"
        return f"frame {self.frame} of {self.source}{part}"


def to_frame(candidate: Candidate, kind: str) -> Any:
    """A candidate as ASE has it, with its origin and without labels.

    Parameters
    ----------
    candidate : Candidate
        The frame.
    kind : str
        What it is of its source, as the report says it.

    Returns
    -------
    ase.Atoms
        In Å.
    """
    from ase import Atoms

    positions = candidate.positions_nm / NM_PER_ANGSTROM
    symbols = [common_symbol(symbol) or "X" for symbol in candidate.symbols]
    pbc = [candidate.box_nm is not None and axis not in candidate.open_directions for axis in range(3)]
    edge = max(OPEN_CELL, float(np.ptp(positions, axis=0).max()) + OPEN_ROOM)
    cell = edge * np.eye(3) if candidate.box_nm is None else candidate.box_nm / NM_PER_ANGSTROM
    atoms = Atoms(symbols, positions, cell=cell, pbc=pbc)
    atoms.info = {"source": candidate.source, "frame": candidate.frame, "part": kind}
    if candidate.region is not None:
        atoms.info |= {"region": candidate.region, "caps": candidate.caps}
    if candidate.deviation is not None:
        atoms.info[DEVIATION_KEY] = candidate.deviation
    return atoms
