"""The launcher's end of the ranks: starts them, asks them, and ends them all when one is gone."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ....committee_bias import CommitteeBias
from ....errors import NonFiniteError, RankError
from .lammps_domain import Rules
from .lammps_input import Dynamics, data_file
from .mpi_programs import find_mpiexec, rank_environment
from .pair_files import PairFiles
from .rank_patience import RankPatience
from .rank_worker import ALIVE, ANSWER, error_file, part_file

logger = logging.getLogger(__name__)

_SCRATCH = ".ranks-"
#: Seconds in which ranks that were told to end must have done so.
_LAST_WORDS_S = 10.0
#: Questions during which ranks take steps.
_STEPPING = ("run", "minimize")
#: Lines of the ranks' own output that an error shows.
_LINES_SHOWN = 5


class Assembled(NamedTuple):
    """All atoms, put together from the parts of the ranks."""

    positions: np.ndarray  #: (n_atoms, 3) float64, Å, followed through faces
    velocities: np.ndarray  #: (n_atoms, 3) float64, Å/ps
    forces: np.ndarray  #: (n_atoms, 3) float64, eV/Å


class RankMember(NamedTuple):
    """A model that every rank loads."""

    path: str  #: of a checkpoint or package
    sha256: str  #: of its content
    cutoff: float  #: in its unit of length
    cutoffs: Sequence[Sequence[float]] | None = None  #: of each two types, where these are not those of the list


class RankModel(NamedTuple):
    """What every rank loads."""

    members: Sequence[RankMember]  #: one, or those of a committee
    rules: Rules  #: types, cutoffs and units
    threads: int = 1  #: of each rank
    pairs: PairFiles | None = None  #: the model for pair styles of LAMMPS, where these may be used
    drive: str = ""  #: of a committee, as of :class:`openmm_nequip.models.ModelSource`
    bias: CommitteeBias | None = None  #: of a committee, in model energies


class RankAtoms(NamedTuple):
    """Which atoms there are."""

    types: np.ndarray  #: (n_atoms,) int64, LAMMPS types, from 1
    masses: list[float]  #: of these types, Da


class RankProcesses:
    """Ranks that evaluate one model; they start with the first question.

    Parameters
    ----------
    count : int
        How many.
    model : RankModel
        What they load.
    atoms : RankAtoms
        What they share.
    folder : pathlib.Path
        Where arrays are exchanged; on several machines one that all of them see. Made at the first question.
    timeout : float, optional
        Seconds without progress after which ranks are ended; as of :class:`.rank_patience.RankPatience`.
    """

    def __init__(
        self, count: int, model: RankModel, atoms: RankAtoms, folder: Path, timeout: float | None = None
    ) -> None:
        self.count = count
        self._model = model
        self._atoms = atoms
        self._parent = folder
        self._failed = False
        self._patience = RankPatience(timeout)
        self._process: subprocess.Popen[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._output: IO[str] | None = None
        self.report: dict[str, Any] = {}  #: what the ranks said last
        self.facts: dict[str, Any] = {}  #: what they said when they had loaded the model

    def load(
        self, positions: np.ndarray, velocities: np.ndarray, box: np.ndarray | None, step: int, dynamics: Dynamics
    ) -> None:
        """Give the ranks atoms, and let them compute the forces.

        Parameters
        ----------
        positions, velocities : numpy.ndarray, (n_atoms, 3) float64
            Å and Å/ps.
        box : numpy.ndarray, (3, 3) float64, or None
            Reduced box vectors, Å.
        step : int
            Present step.
        dynamics : Dynamics
            How steps are taken.

        Raises
        ------
        RankError
            If a rank has failed.
        NonFiniteError
            If the model's answer is not finite.
        """
        folder = self._start()
        path = folder / "atoms.data"
        text = data_file(positions, velocities, self._atoms.types.tolist(), self._atoms.masses, box)
        path.write_text(text, encoding="utf-8")
        self._ask("load", data=str(path), periodic=box is not None, step=step, dynamics=asdict(dynamics))

    def run(self, steps: int) -> None:
        """Take steps; errors as of :meth:`load`."""
        self._ask("run", steps=steps)

    def minimize(self, force: float, iterations: int) -> None:
        """Relax the positions until all forces together are shorter than ``force``, eV/Å; errors as of
        :meth:`load`."""
        self._ask("minimize", force=force, iterations=iterations)

    def assemble(self) -> Assembled:
        """All atoms; errors as of :meth:`load`."""
        self._ask("write")
        return Assembled(*(np.ascontiguousarray(part) for part in np.split(self._parts(9), 3, axis=1)))

    def deviation(self) -> tuple[np.ndarray, dict[str, float]]:
        """How far the models of a committee are from each other on the present atoms; errors as of :meth:`load`.

        Returns
        -------
        forces : numpy.ndarray, (n_atoms,) float64
            Standard deviation of the force on each atom, eV/Å.
        facts : dict of str to float
            ``energy`` and ``atomic_energy``, their standard deviations (the largest of an atom), and ``bias``; eV.
        """
        facts = self._ask("deviation")["deviation"]
        return self._parts(1)[:, 0], facts

    def _parts(self, columns: int) -> np.ndarray:
        """What the ranks have written of all atoms, (n_atoms, columns)."""
        folder = self._start()
        whole = np.full((len(self._atoms.types), columns), np.nan)
        for rank in range(self.count):
            rows = np.load(part_file(folder, rank))
            whole[rows[:, 0].astype(np.int64) - 1] = rows[:, 1:]
        return whole

    def summary(self) -> list[dict[str, Any]]:
        """What each rank holds, and what it received from others in an evaluation on average, in bytes.

        Where a pair style of LAMMPS evaluates the model, its name instead of bytes."""
        found = []
        for rank in self.report.get("ranks", []):
            if self.facts.get("pair_style"):  # what LAMMPS sends is not counted
                found.append({"atoms": rank["atoms"], "ghosts": rank["ghosts"], "pair_style": self.facts["pair_style"]})
                continue
            count = max(rank["evaluations"], 1)
            received = {f"{name}_bytes_per_step": rank[name] / count for name in ("features", "gradients", "forces")}
            found.append({"atoms": rank["atoms"], "ghosts": rank["ghosts"], "ghosts_in_use": rank["used_ghosts"],
                          **received, "plan_bytes": rank["plans"]})  # fmt: skip
        return found

    def close(self) -> None:
        """End the ranks, whatever they do; the next question would start them anew."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(OSError, ValueError):
                if process.stdin is not None:
                    process.stdin.close()
            try:
                process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                _end(process)
        if self._output is not None:
            self._output.close()
            self._output = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _start(self) -> Path:
        if self._process is not None and self._scratch is not None:
            return Path(self._scratch.name)
        if self._failed:
            raise RankError("the ranks have ended; --restart continues from the last checkpoint")
        self._parent.mkdir(parents=True, exist_ok=True)
        for left in self._parent.glob(f"{_SCRATCH}*"):  # by a launcher that was killed; the folder is ours alone
            shutil.rmtree(left, ignore_errors=True)
        self._scratch = tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._parent, ignore_cleanup_errors=True)
        folder = Path(self._scratch.name)
        self._output = open(folder / "output.txt", "w+", encoding="utf-8")
        command = [find_mpiexec(), "-n", str(self.count), sys.executable, "-m", "openmm_nequip.app.engines.lammps."
                   "rank_worker", str(folder)]  # fmt: skip
        # In a session of their own: Ctrl-C is for the launcher, which lets them end their step.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._output, text=True,
            env=rank_environment(self._model.threads), start_new_session=True,
        )  # fmt: skip
        self._patience.listen(self._process.stdout or ())
        logger.info("starting %d ranks", self.count)
        pairs = self._model.pairs
        self.facts = self._ask("begin", styles=pairs is not None)
        pair = None if pairs is None else pairs.write(self.facts["styles"], self.count, folder)
        self.facts |= self._ask(
            "open", pair=pair, models=[member._asdict() for member in self._model.members],
            together={"drive": self._model.drive, "bias": self._model.bias and asdict(self._model.bias)},
            rules=self._model.rules._asdict(), threads=self._model.threads,
        )  # fmt: skip
        return folder

    def _ask(self, what: str, **more: Any) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise RankError("the ranks have ended; continue with --restart")
        others: list[str] = []
        try:
            process.stdin.write(json.dumps({"do": what, **more}) + "\n")
            process.stdin.flush()
            # mpiexec tells on the same way that a rank was killed.
            while (line := self._patience.line(what in _STEPPING)) and not line.startswith(ANSWER):
                if line.strip() != ALIVE:
                    others.append(line)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise self._stuck(str(error)) from error
            line = ""
        if not line.endswith("\n"):
            raise self._failure(others)
        answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
        if "energy" in answer:
            self.report = answer
        return answer

    def _stuck(self, limit: str) -> RankError:
        """Ends ranks that do not get on, and says which of them is stopped if one is."""
        here = [(n, pid) for n, (host, pid) in enumerate(self.facts.get("pids", ())) if host == platform.node()]
        stopped = [f"rank {n} (process {pid}) is stopped" for n, pid in here if _is_stopped(pid)]
        which = ", ".join(stopped) or "none of them is stopped, so one waits for a file, a network or a device"
        rank = next((n for n, pid in here if _is_stopped(pid)), None)
        # What is stopped takes no other signal, and mpiexec would wait for it.
        for _, pid in here:
            if self._is_ours(pid):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self._failed = True
        self.close()
        return RankError(
            f"the {self.count} ranks have not got on for {limit} ({which}) and were ended; --rank-timeout sets another "
            "limit, --restart continues from the last checkpoint", (), rank,
        )  # fmt: skip

    def _is_ours(self, pid: int) -> bool:
        """Whether a process is one of these ranks, and not one that got its number after it."""
        folder = "" if self._scratch is None else self._scratch.name
        try:
            return os.fsencode(folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def _failure(self, said: list[str]) -> Exception:
        """Why the ranks are gone, with what mpiexec said; ends what is left of them."""
        process = self._process
        code: int | None = None
        if process is not None:
            try:
                code = process.wait(_LAST_WORDS_S)
            except subprocess.TimeoutExpired:
                _end(process)
        words = self._last_words(said)
        errors = self._errors()
        self._failed = True
        self.close()
        for facts in errors:
            if facts["kind"] == NonFiniteError.__name__:
                return NonFiniteError("the model's energy or forces", facts["indices"], facts["atoms"])
        if errors:
            facts = errors[0]
            logger.debug("rank %d: %s", facts["rank"], facts["traceback"])
            return RankError(
                f"rank {facts['rank']} of {self.count} failed and the others were ended: {facts['kind']}: "
                f"{facts['text']}", facts["indices"], facts["rank"],
            )  # fmt: skip
        how = "ended without a word" if code is None or code == 0 else _words_for(code)
        return RankError(
            f"a rank of {self.count} {how} and the others were ended{words}; if memory ran out, take more machines or "
            "fewer atoms; --restart continues from the last checkpoint"
        )

    def _errors(self) -> list[dict[str, Any]]:
        """What ranks wrote before they ended."""
        found = []
        for rank in range(self.count if self._scratch is not None else 0):
            with contextlib.suppress(OSError, ValueError):
                text = error_file(Path(self._scratch.name), rank).read_text(encoding="utf-8")  # type: ignore[union-attr]
                found.append(json.loads(text))
        return found

    def _last_words(self, said: list[str]) -> str:
        """What mpiexec and the ranks wrote at the end."""
        if self._output is not None:
            self._output.seek(0)
            said = [*said, *self._output]
        lines = [line.strip(" =|\n") for line in said]
        shown = [line for line in lines if line and "CLEAN" not in line][:_LINES_SHOWN]
        return f" ({'; '.join(shown)})" if shown else ""


def _is_stopped(pid: int) -> bool:
    """Whether a process of this machine was stopped by a signal or a debugger."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def _words_for(code: int) -> str:
    number = -code if code < 0 else code - 128 if code > 128 else code
    with contextlib.suppress(ValueError):
        return f"was ended ({signal.Signals(number).name})" if number > 1 else f"ended with exit code {code}"
    return f"ended with exit code {code}"


def _end(process: subprocess.Popen[str]) -> None:
    """End mpiexec, which ends its ranks, and then what is left of its session."""
    process.terminate()
    try:
        process.wait(_LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
