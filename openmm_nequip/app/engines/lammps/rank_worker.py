"""One rank: does what the launcher asks for, together with the others. Run as a module under ``mpiexec``.

    python -m openmm_nequip.app.engines.lammps.rank_worker FOLDER

Rank 0 reads questions from standard input, a JSON object a line, and answers on standard output, likewise.
Arrays go by files in FOLDER: each rank writes its own atoms, nobody gathers them. What stops a rank is written to
``error-RANK.json`` there, and ends all ranks.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

#: What an answer begins with; other lines are mpiexec's or of libraries.
ANSWER = "@answer "
#: A line that says that all ranks have got on.
ALIVE = "@alive"
#: Seconds between two of them.
_PULSE_S = 0.5
#: Seconds between looks whether rank 0 has something to tell; MPI's own waiting would keep a core busy.
_NAP = 0.0005


def part_file(folder: Path, rank: int) -> Path:
    """Where a rank writes its atoms: rows of tag, position, velocity and force."""
    return folder / f"part-{rank}.npy"


def error_file(folder: Path, rank: int) -> Path:
    """Where a rank writes what stopped it."""
    return folder / f"error-{rank}.json"


class RankWorker:
    """A rank and its conversation with the launcher.

    Parameters
    ----------
    folder : pathlib.Path
        For arrays and errors; all ranks and the launcher see it.
    answers : file
        Where rank 0 answers.
    """

    def __init__(self, folder: Path, answers: TextIO) -> None:
        from mpi4py import MPI

        self._comm = MPI.COMM_WORLD
        self._folder = folder
        self._answers = answers
        self._domain: Any = None
        self._told = 0.0

    def serve(self) -> None:
        """Do what is asked until the launcher says it is enough, or is gone."""
        try:
            while True:
                question = self._next()
                if question["do"] == "quit":
                    return
                answer = getattr(self, f"_do_{question.pop('do')}")(**question)
                if self._comm.rank == 0:
                    self._answers.write(f"{ANSWER}{json.dumps(answer)}\n")
                    self._answers.flush()
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Write down what happened and end all ranks; does not return."""
        facts = {
            "rank": self._comm.rank,
            "kind": type(error).__name__,
            "text": str(error),
            "indices": list(getattr(error, "indices", ())),
            "atoms": getattr(error, "n_atoms", 0),
            "traceback": "".join(traceback.format_exception(error)),
        }
        path = error_file(self._folder, self._comm.rank)
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(facts), encoding="utf-8")
        os.replace(scratch, path)
        self._comm.Abort(1)

    def alive(self) -> None:
        """Tell the launcher now and then that the ranks get on."""
        now = time.monotonic()
        if self._comm.rank == 0 and now - self._told > _PULSE_S:
            self._told = now
            self._answers.write(f"{ALIVE}\n")
            self._answers.flush()

    def _next(self) -> dict[str, Any]:
        """The next question, on all ranks."""
        line = ""
        if self._comm.rank == 0:
            line = sys.stdin.readline()  # empty when the launcher is gone
        request = self._comm.Ibarrier()
        while not request.Test():
            time.sleep(_NAP)
        line = self._comm.bcast(line)
        return json.loads(line) if line.strip() else {"do": "quit"}

    def _do_begin(self, styles: bool) -> dict[str, Any]:
        """Who the ranks are, and if wanted which pair styles their LAMMPS has."""
        from .pair_domain import styles_here

        return {
            "pids": self._comm.gather((platform.node(), os.getpid())),
            "styles": styles_here(self._comm) if styles else [],
        }

    def _do_open(
        self, models: list[dict[str, Any]], together: dict[str, Any], rules: dict[str, Any], threads: int,
        pair: list[Any] | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Load the model, or the models of a committee."""
        import torch

        torch.set_num_threads(threads)
        if pair is not None:
            from .pair_domain import PairDomain, PairModel

            self._domain = PairDomain(self._comm, PairModel(*pair), self.alive)
            return {"pair_style": self._domain.style}
        from ....models import locate
        from .domain_committee import DomainCommittee
        from .domain_model import DomainModel
        from .lammps_domain import LammpsDomain, Rules

        found = [DomainModel(locate(each["path"], each["sha256"]), each["cutoff"]) for each in models]
        tables = [each["cutoffs"] for each in models]
        evaluator = found[0] if len(found) == 1 else DomainCommittee(self._comm, found, tables, **together)
        self._domain = LammpsDomain(self._comm, evaluator, Rules(**rules), self.fail, self.alive)
        return {"passes_messages": any(each.passes_messages for each in found), "pair_style": ""}

    def _do_load(self, data: str, periodic: bool, step: int, dynamics: dict[str, Any]) -> dict[str, Any]:
        """Atoms from a data file."""
        from .lammps_input import Dynamics

        self._domain.load(data, periodic, step, Dynamics(**dynamics))
        return self._report()

    def _do_run(self, steps: int) -> dict[str, Any]:
        """Steps."""
        self._domain.run(steps)
        return self._report()

    def _do_minimize(self, force: float, iterations: int) -> dict[str, Any]:
        """A minimisation."""
        self._domain.minimize(force, iterations)
        return self._report()

    def _do_write(self) -> dict[str, Any]:
        """The atoms of each rank to its file."""
        state = self._domain.state()
        rows = np.concatenate([state.tags[:, None], state.positions, state.velocities, state.forces], axis=1)
        with open(part_file(self._folder, self._comm.rank), "wb") as file:
            np.save(file, rows)
        self._comm.Barrier()
        return self._report()

    def _do_deviation(self) -> dict[str, Any]:
        """How far the models of a committee are from each other; that of the atoms of each rank to its file."""
        tags, found = self._domain.deviation()
        with open(part_file(self._folder, self._comm.rank), "wb") as file:
            np.save(file, np.stack([tags, found.forces], axis=1))
        self._comm.Barrier()
        return {"deviation": {"energy": found.energy, "atomic_energy": found.atomic_energy, "bias": found.bias}}

    def _report(self) -> dict[str, Any]:
        """Where the ranks are."""
        domain = self._domain
        pressure = domain.pressure
        mine = {
            "atoms": domain.n_local,
            "ghosts": domain.n_ghosts,
            "used_ghosts": domain.n_used_ghosts,
            **asdict(domain.traffic),
        }
        found = self._comm.gather(mine) or []
        return {
            "step": domain.step,
            "energy": domain.energy,
            "pressure": pressure,
            "box": domain.box,
            "ranks": found,
        }


def main() -> None:
    """Serve as the rank that ``mpiexec`` says this process is."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    RankWorker(Path(sys.argv[1]), answers).serve()


if __name__ == "__main__":
    main()
