"""What to measure, and the checks of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...choices import BACKENDS
from ..run.run_config import MOST_THREADS

#: Ways to run a model, by the name given to ``--kernels``, as keywords of :func:`openmm_nequip.load_model`.
VARIANTS: dict[str, dict[str, Any]] = {
    "fused": {"kernels": "fused", "compile": None},
    "none": {"kernels": "none", "compile": True},
    "eager": {"kernels": "none", "compile": False},
}
#: Other programs that run the same file.
PEERS = ("openmm-ml", "ase")
DEFAULT_SIZES = (22, 96, 192, 768, 3072, 12288)
DEFAULT_OUTPUT = "bench-output"
DEFAULT_REPEATS = 20
DEFAULT_BUDGET_S = 180.0
#: A system of that many atoms takes some ten gigabytes to build.
MOST_ATOMS = 10_000_000
MOST_REPEATS = 10_000


@dataclass(frozen=True)
class BenchSettings:
    """Everything that a user can set.

    Parameters
    ----------
    model : str, optional
        Model file or ``nequip.net:`` id; the shipped model by default.
    sizes : tuple of int
        Numbers of atoms; the systems built come as near to them as their molecules allow.
    kernels : tuple of str, optional
        Of :data:`VARIANTS`; by default ``fused`` and ``none`` for a checkpoint or package, ``none`` for other files.
    platforms : tuple of str, optional
        OpenMM platforms; by default all present, OpenCL on CPUs left out.
    backends : tuple of str, optional
        ``Native``, ``PythonForce``, ``TorchForce``, ``PythonTorchForce``; all that can run the model by default.
    peers : tuple of str
        Of :data:`PEERS`.
    threads : int, optional
        CPU threads of torch and of OpenMM's CPU platform; torch's own number by default.
    repeats : int
        Samples of each figure, fewer where the budget does not allow them.
    budget : float
        Seconds that the samples of one size may take in all; who needs too much of it alone is left out.
    output : str, optional
        Folder to write to; by default the first of ``bench-output``, ``bench-output-2``, ... that is free.
    units : tuple of str, optional
        The model's units of length and energy; angstrom and eV by default.
    trusted : str, optional
        SHA-256 that the model file must have.

    Raises
    ------
    ValueError
        For a value out of range or an unknown name; the message has the known ones.
    """

    model: str | None = None
    sizes: tuple[int, ...] = DEFAULT_SIZES
    kernels: tuple[str, ...] | None = None
    platforms: tuple[str, ...] | None = None
    backends: tuple[str, ...] | None = None
    peers: tuple[str, ...] = PEERS
    threads: int | None = None
    repeats: int = DEFAULT_REPEATS
    budget: float = DEFAULT_BUDGET_S
    output: str | None = None
    units: tuple[str, str] | None = None
    trusted: str | None = None

    def __post_init__(self) -> None:
        from ..platforms import present_platforms  # OpenMM, which the command line does without

        if not self.sizes:
            raise ValueError("sizes is empty; give at least one number of atoms")
        for size in self.sizes:
            if not _is_whole(size) or not 1 <= size <= MOST_ATOMS:
                raise ValueError(f"size {size!r} is no number of atoms; give whole numbers from 1 to {MOST_ATOMS:,}")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes {' '.join(map(str, self.sizes))}: one is given twice; give each once")
        if not _is_whole(self.repeats) or not 2 <= self.repeats <= MOST_REPEATS:
            raise ValueError(
                f"repeats={self.repeats!r} must be a whole number from 2 to {MOST_REPEATS:,}: a median and a spread "
                "need some, and more tell nothing new"
            )
        if not math.isfinite(self.budget) or self.budget <= 0:
            raise ValueError(f"budget={self.budget!r} must be a finite number of seconds > 0")
        if self.output is not None and not self.output.strip():
            raise ValueError(f"output = {self.output!r}: give a path ('.' is the current folder)")
        if self.threads is not None and (not _is_whole(self.threads) or not 1 <= self.threads <= MOST_THREADS):
            raise ValueError(f"threads={self.threads!r} must be a whole number from 1 to {MOST_THREADS}")
        _check_names("kernels", self.kernels, list(VARIANTS))
        _check_names("platforms", self.platforms, present_platforms())
        _check_names("backends", self.backends, [name for name in BACKENDS if name != "auto"])
        _check_names("peers", self.peers, list(PEERS))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_names(what: str, given: tuple[str, ...] | None, known: list[str]) -> None:
    for name in given or ():
        if name not in known:
            raise ValueError(f"{what}: {name!r} is unknown or not present here; use of {', '.join(known)}")
