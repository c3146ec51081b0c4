"""What went wrong in a simulation, in one line, from what OpenMM lets through."""

from __future__ import annotations

import errno
import re

import numpy as np
import openmm.app as app

#: Wrappers of the original error in the text of an OpenMMException.
_WRAPPER = re.compile(r"^(?:\w*ComputationError|OpenMMException|Exception|RuntimeError):\s*")
_NOT_FINITE = re.compile(r"NonFiniteError|\bNaN\b|\binfinite\b", re.IGNORECASE)
#: How NonFiniteError names atoms.
_INDICES = re.compile(r"\(indices ([\d, ]+)")


class SimulationError(RuntimeError):
    """A simulation that cannot go on; what was written so far is whole."""


def first_line(error: BaseException) -> str:
    """The message of an error without the traceback that a force's function carries in its text."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    if lines[0].startswith("The following operation failed in the TorchScript"):
        return f"TorchScript: {lines[-1].strip()}"  # a trace, with the error at its end
    return _WRAPPER.sub("", lines[0].strip())


def is_not_finite(error: BaseException) -> bool:
    """Whether an error says that positions, energies or forces are NaN or infinite."""
    return bool(_NOT_FINITE.search(first_line(error)))


def is_disk_error(error: BaseException) -> bool:
    """Whether an error says that a file could not be written for want of space."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def name_atoms(topology: app.Topology, indices: np.ndarray, most: int = 10) -> str:
    """Atoms by index, name and residue, at most ``most`` of them."""
    atoms = list(topology.atoms())
    named = [f"{i} ({atoms[i].name} of {atoms[i].residue.name} {atoms[i].residue.id})" for i in indices[:most].tolist()]
    return ", ".join(named) + (", ..." if len(indices) > most else "")


def name_stated(topology: app.Topology, text: str) -> str:
    """Names of the atoms whose indices a message states, in brackets; empty if it states none."""
    stated = _INDICES.search(text)
    if stated is None:
        return ""
    indices = np.array([int(number) for number in re.findall(r"\d+", stated[1])])
    if not len(indices) or indices.max() >= topology.getNumAtoms():
        return ""
    return f" ({name_atoms(topology, indices)})"


def culprits(topology: app.Topology, values: np.ndarray | None) -> np.ndarray:
    """Indices of the atoms with a value that is not finite."""
    if values is None or len(values) != topology.getNumAtoms():
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(values).all(axis=1))
