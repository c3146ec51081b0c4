"""Copy the first frames of an HDF5 trajectory into a new file: run as a script, in a process of its own.

    python hdf5_recovery.py SOURCE TARGET FRAMES

A process that was killed can leave a file whose structure is broken, as damage can, and the HDF5 library then may end
the process that reads it. All that is taken over are the numbers: everything else is written anew. Prints one JSON
document: how many frames were copied and what :func:`content_digest` says of them.
"""

import os
import sys

if __name__ == "__main__":  # modules of this folder are not to be found in place of others
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]

import hashlib
import json
from typing import Any

#: What may stand in a file beside positions (nm): mdtraj's names; ps, kJ/mol, K, degrees.
_NAMES = ("time", "cell_lengths", "cell_angles", "velocities", "kineticEnergy", "potentialEnergy", "temperature")
_BLOCK = 64


def add_rows(digests: dict[str, Any], root: Any, first: int, last: int) -> None:
    """Add rows of each array of a file to its running SHA-256.

    Parameters
    ----------
    digests : dict of str to hashlib object
        By name of the array; those that are not there yet are made.
    root : tables.Group
        Of the file.
    first, last : int
        From this frame on, and up to but without that one.
    """
    for name in ("coordinates", *_NAMES):
        if name in root:
            running = digests.setdefault(name, hashlib.sha256())
            for start in range(first, last, _BLOCK):
                running.update(root[name][start : min(start + _BLOCK, last)].tobytes())


def content_digest(digests: dict[str, Any]) -> str:
    """One SHA-256 of all arrays."""
    text = json.dumps({name: running.hexdigest() for name, running in sorted(digests.items())})
    return hashlib.sha256(text.encode()).hexdigest()


def copy_frames(source: str, target: str, frames: int) -> dict[str, Any]:
    """Copy at most so many frames.

    Parameters
    ----------
    source, target : str
        Files; the second is replaced.
    frames : int
        How many.

    Returns
    -------
    dict
        ``frames`` that are in the target now, and their ``digest``.
    """
    import tables
    from mdtraj.formats import HDF5TrajectoryFile

    digests: dict[str, Any] = {}
    with tables.open_file(source, "r") as old, HDF5TrajectoryFile(target, "w", force_overwrite=True) as new:
        root = old.root
        names = [name for name in _NAMES if name in root]
        kept = min(frames, *(root[name].shape[0] for name in ("coordinates", *names)))
        for start in range(0, kept, _BLOCK):
            rows = slice(start, min(start + _BLOCK, kept))
            new.write(root.coordinates[rows], **{name: root[name][rows] for name in names})
    # Of the copy, not of what it was made from: a damaged index answers one way now and another way later.
    with tables.open_file(target, "r") as new:
        add_rows(digests, new.root, 0, kept)
    return {"frames": kept, "digest": content_digest(digests)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(copy_frames(sys.argv[1], sys.argv[2], int(sys.argv[3]))) + "\n")
