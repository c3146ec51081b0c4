"""Trajectories through mdtraj, whose readers can end the process on a damaged file: those run in another: a script.

    python trajectory_loading.py FILE ARRAYS.npz STRIDE [ATOMS.npy]

The script reads a file and, if it is XTC or TRR, writes what is in it; it imports nothing of this package.
"""

import os
import sys

if __name__ == "__main__":  # modules of this folder are not to be found in place of others
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]

import subprocess
import tempfile
from typing import Any

import numpy as np

#: Formats whose readers write and read outside their memory on damaged files (XTC: 3 of 400 flipped bits): only another
#: process reads them.
_RAW = (".xtc", ".trr")
#: The HDF5 library ends the process on some damaged files (1 of 200 flipped bits): tried in another process first.
_TRIED = (".h5", ".hdf5")
#: Seconds that reading may take at least, and more for each byte (10 MB/s).
_PATIENCE_S, _S_PER_BYTE = 120.0, 1e-7
_FRAMES_AT_ONCE = 200


def load_frames(path: str | os.PathLike[str], topology: Any, stride: int = 1, atoms: np.ndarray | None = None) -> Any:
    """A trajectory of any format that mdtraj reads.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    topology : mdtraj.Topology or None
        Its atoms; HDF5 has its own.
    stride : int
        Every so-many-th frame is read.
    atoms : numpy.ndarray, (n,) int64, optional
        Which atoms; all if not given.

    Returns
    -------
    mdtraj.Trajectory
        nm.

    Raises
    ------
    ValueError
        If XTC, TRR or HDF5 cannot be read, or end the process that tries; or another number of atoms is in it.
    Exception
        Whatever mdtraj's other readers raise.
    """
    import mdtraj

    name = os.fspath(path)
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _RAW:
        xyz, time, vectors = _from_another_process(name, stride, atoms)
        part = topology if atoms is None else topology.subset(atoms)
        if xyz.shape[1] != part.n_atoms:
            raise ValueError(f"trajectory {name} has {xyz.shape[1]} atoms, and {part.n_atoms} were expected")
        found = mdtraj.Trajectory(xyz, part, time=time)
        if vectors is not None and np.any(vectors):  # without a box these formats have zeros
            found.unitcell_vectors = vectors
        return found
    if suffix in _TRIED:
        _from_another_process(name, stride, atoms)
        return mdtraj.load(name, stride=stride, atom_indices=atoms)
    return mdtraj.load(name, stride=stride, atom_indices=atoms, top=topology)


def read_elsewhere(script: str, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script that reads a file, in a process of its own, for as long as a file of that size may take.

    Parameters
    ----------
    script : str
        Path of the script; its first argument is the file.
    name : str
        The file.
    arguments : str
        More arguments.

    Returns
    -------
    subprocess.CompletedProcess
        With what it printed; ended by a signal, its exit code is negative.

    Raises
    ------
    ValueError
        If it does not come to an end.
    """
    patience = _PATIENCE_S + _S_PER_BYTE * (os.path.getsize(name) if os.path.isfile(name) else 0)
    command = [sys.executable, script, name, *arguments]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took more than {patience:.0f} s") from None


def _from_another_process(name: str, stride: int, atoms: np.ndarray | None) -> Any:
    """Positions, times and boxes."""
    with tempfile.TemporaryDirectory(prefix="openmm-nequip-") as folder:
        arrays, wanted = os.path.join(folder, "arrays.npz"), os.path.join(folder, "atoms.npy")
        arguments = [arrays, str(stride)]
        if atoms is not None:
            np.save(wanted, atoms)
            arguments.append(wanted)
        try:
            done = read_elsewhere(os.path.abspath(__file__), name, *arguments)
        except ValueError as error:
            raise ValueError(f"trajectory {name} is damaged: {error}") from None
        if done.returncode < 0:
            raise ValueError(
                f"trajectory {name} is damaged: mdtraj's reader of it was ended by signal {-done.returncode}; put a "
                "copy of it back, or write it again"
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise ValueError(f"trajectory {name} cannot be read ({lines[-1][:200] if lines else 'without a reason'})")
        if not os.path.exists(arrays):
            return None
        with np.load(arrays) as found:
            return found["xyz"], found["time"], found["vectors"] if "vectors" in found else None


def _read(name: str, arrays: str, stride: int, atoms: np.ndarray | None) -> None:
    """Read all frames of a file."""
    import mdtraj

    with mdtraj.open(name) as file:
        if os.path.splitext(name)[1].lower() in _RAW:
            if name.lower().endswith(".xtc"):
                xyz, time, _, vectors = file.read(stride=stride, atom_indices=atoms)[:4]
            else:  # mdtraj 1.11 ends its process on a sound TRR where some frames or atoms are wanted
                xyz, time, _, vectors = (array[::stride] for array in file.read()[:4])
                xyz = xyz if atoms is None else xyz[:, atoms]
            boxes = {} if vectors is None else {"vectors": vectors}
            np.savez(arrays, xyz=xyz, time=time, **boxes)
            return
        while len(file.read(_FRAMES_AT_ONCE)[0]):
            pass


if __name__ == "__main__":
    _read(sys.argv[1], sys.argv[2], int(sys.argv[3]), np.load(sys.argv[4]) if len(sys.argv) > 4 else None)
