"""What stopped a simulation, told from the error, and the atoms it names."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import numpy as np
import openmm
import openmm.app as app

from ...errors import MOST_NAMED, NonFiniteError
from ...kept_error import error_behind
from ...upstream.openmm_messages import says_not_finite


def is_not_finite(error: BaseException) -> bool:
    """Whether an error says that positions, energies or forces are NaN or infinite.

    Parameters
    ----------
    error : BaseException
        What a step, a minimisation or a reporter raised.

    Returns
    -------
    bool
    """
    if isinstance(error_behind(error), (NonFiniteError, FloatingPointError)):
        return True
    # OpenMM's integrators and file writers have a message and no type of their own for it.
    return isinstance(error, (openmm.OpenMMException, ValueError)) and says_not_finite(str(error).partition("\n")[0])


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that a file could not be written for want of space."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def atoms_at_fault(error: BaseException, topology: app.Topology) -> Sequence[int]:
    """Indices of the atoms that an error of ours names, the first :data:`openmm_nequip.errors.MOST_NAMED` of them.

    Parameters
    ----------
    error : BaseException
        Any error.
    topology : openmm.app.Topology
        The atoms.

    Returns
    -------
    sequence of int
        Empty where it names none, or some that are not there.
    """
    behind = error_behind(error)
    indices = behind.indices[:MOST_NAMED] if isinstance(behind, NonFiniteError) else ()
    return indices if all(i < topology.getNumAtoms() for i in indices) else ()


def name_atoms(topology: app.Topology, indices: Sequence[int], most: int = MOST_NAMED) -> str:
    """Atoms by index, name and residue.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms.
    indices : sequence of int
        Which.
    most : int
        How many are named at most.

    Returns
    -------
    str
    """
    atoms = list(topology.atoms())
    named = [f"{i} ({atoms[i].name} of {atoms[i].residue.name} {atoms[i].residue.id})" for i in indices[:most]]
    return ", ".join(named) + (", ..." if len(indices) > most else "")


def not_finite_rows(values: np.ndarray | None, n_atoms: int) -> list[int]:
    """Rows with a value that is not finite.

    Parameters
    ----------
    values : numpy.ndarray, (n_atoms, 3) float64, or None
        Positions, any unit.
    n_atoms : int
        Number of rows that are expected.

    Returns
    -------
    list of int
        Empty where there are no values, or of another number of atoms.
    """
    if values is None or len(values) != n_atoms:
        return []
    return np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()
