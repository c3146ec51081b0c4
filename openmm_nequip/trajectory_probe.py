"""Whether a trajectory can be read: a damaged one can end the process of the library that reads it. Also a script.

    python trajectory_probe.py FILE

The script reads all of a file through mdtraj, in a process of its own, and imports nothing of this package.
"""

import os
import sys

if __name__ == "__main__":  # modules of this folder are not to be found in place of others
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]

import subprocess

#: Formats whose readers crash on some damaged files (XTC: 3 of 400 flipped bits; HDF5: 1 of 200).
CRASHING = (".xtc", ".trr", ".h5", ".hdf5")
#: Seconds that reading may take at least, and more for each byte (10 MB/s).
_PATIENCE_S, _S_PER_BYTE = 120.0, 1e-7
_FRAMES_AT_ONCE = 200


def require_readable(path: str | os.PathLike[str]) -> None:
    """Refuse a trajectory that ends the process that reads it; errors of any other kind are left to the reader.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Formats other than :data:`CRASHING` are not tried.

    Raises
    ------
    ValueError
        If the reader was ended by a signal, or did not come to an end.
    """
    name = os.fspath(path)
    if os.path.splitext(name)[1].lower() not in CRASHING or not os.path.isfile(name):
        return
    patience = _PATIENCE_S + _S_PER_BYTE * os.path.getsize(name)
    command = [sys.executable, os.path.abspath(__file__), name]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"trajectory {name} is damaged: reading it took more than {patience:.0f} s") from None
    if done.returncode < 0:
        raise ValueError(
            f"trajectory {name} is damaged: mdtraj's reader of it was ended by signal {-done.returncode}; put a copy of "
            "it back, or write it again"
        )


def read_through(name: str) -> None:
    """Read all frames of a file."""
    import mdtraj

    with mdtraj.open(name) as file:
        while True:
            block = file.read(_FRAMES_AT_ONCE)
            if not len(block[0]):
                break


if __name__ == "__main__":
    read_through(sys.argv[1])
