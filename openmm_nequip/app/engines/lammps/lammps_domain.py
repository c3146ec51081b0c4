"""The atoms of one rank: LAMMPS owns and moves them, and asks here for the forces on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .border_exchange import BorderExchange
from .domain_committee import DomainCommittee, DomainDeviation
from .domain_edges import DomainEdges
from .domain_model import DomainModel
from .lammps_atoms import LammpsAtoms
from .lammps_input import MODEL_FIX, SKIN, Dynamics


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


class LammpsDomain(LammpsAtoms):
    """LAMMPS on all ranks of a communicator, with a model as its force.

    Every method is called by all ranks at the same time.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.
    model : DomainModel or DomainCommittee
        Evaluates the part of a rank.
    rules : Rules
        Types, cutoffs and units.
    fail : callable
        Called with an error inside a step: LAMMPS would lose it. It must not return.
    alive : callable, optional
        Called when all ranks have finished an evaluation.
    """

    def __init__(
        self, comm: Any, model: DomainModel | DomainCommittee, rules: Rules, fail: Callable[[BaseException], None],
        alive: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(comm)
        self._model = model
        self._rules = rules
        self._cutoffs = np.array(rules.cutoffs, dtype=np.float64)
        self._model_types = np.array(rules.model_types, dtype=np.int64)
        self._fail = fail
        self._alive = alive
        self._forget()

    @property
    def n_used_ghosts(self) -> int:
        """Ghosts that are in an edge."""
        return 0 if self._edges is None else len(self._edges.ghosts)

    def load(self, data: str, periodic: bool, step: int, dynamics: Dynamics) -> None:
        """Begin anew from a data file; parameters as :meth:`.LammpsAtoms.load`."""
        self._forget()
        super().load(data, periodic, step, dynamics)

    def _force_commands(self) -> tuple[bool, list[str]]:
        # The pair style has no forces and lets LAMMPS keep all ghosts within the cutoff.
        return True, [
            f"pair_style zero {float(self._cutoffs.max())!r} nocoeff", "pair_coeff * *",
            f"fix {MODEL_FIX} all external pf/callback 1 1", f"fix_modify {MODEL_FIX} energy yes virial yes",
        ]  # fmt: skip

    def _attach(self) -> None:
        self._lammps.set_fix_external_callback(MODEL_FIX, self._callback, self._lammps)

    def _after(self) -> None:
        """The callback has seen to everything."""

    def _own_forces(self) -> np.ndarray:
        return self._forces.copy()

    def _forget(self) -> None:
        self._tags = np.zeros(0, dtype=np.int64)
        self._types = np.zeros(0, dtype=np.int64)
        self._n_local = 0
        self._edges: DomainEdges | None = None
        self._exchange: BorderExchange | None = None
        self._forces = np.zeros((0, 3))
        self._asked: tuple[np.ndarray, np.ndarray] | None = None

    def deviation(self) -> tuple[np.ndarray, DomainDeviation]:
        """How far the models of a committee are from each other on the present atoms.

        Returns
        -------
        tags : numpy.ndarray, (n_local,) int64
            Of the atoms of this rank.
        found : DomainDeviation
            eV and eV/Å.

        Raises
        ------
        RuntimeError
            If nothing was loaded, or there is one model.
        """
        if self._asked is None or self._exchange is None or not isinstance(self._model, DomainCommittee):
            raise RuntimeError("ranks without atoms or with one model have no deviation; this is an error of "
                               "openmm-nequip")  # fmt: skip
        found = self._model.deviation(*self._asked, self._types, self._exchange)
        self.traffic.evaluations += 1
        energy, force = self._rules.energy, self._rules.energy / self._rules.length
        return self._tags[: self._n_local], DomainDeviation(
            found.forces * force, found.energy * energy, found.atomic_energy * energy, found.bias * energy
        )

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
        self._asked = edge_index, vectors / self._rules.length
        answer = self._model.evaluate(*self._asked, self._types, exchange)
        self.traffic.evaluations += 1
        forces = exchange.add_forces(answer.forces).numpy() * (self._rules.energy / self._rules.length)
        bad = np.flatnonzero(~np.isfinite(forces).all(axis=1))
        here = np.array([float(len(bad)), float(answer.energies.sum()), *(answer.virial[place] for place in _VOIGT)])
        whole = np.empty_like(here)
        self._comm.Allreduce(here, whole)
        if whole[0] or not math.isfinite(whole[1]):
            self._complain(tags[bad] - 1)
        self.energy = (float(whole[1]) + answer.bias) * self._rules.energy
        # LAMMPS wants both from every rank, of all ranks together.
        lmp.fix_external_set_energy_global(MODEL_FIX, self.energy)
        lmp.fix_external_set_virial_global(MODEL_FIX, (whole[2:] * self._rules.energy).tolist())
        self._forces = forces
        if self._alive is not None:
            self._alive()
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


_VOIGT = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
