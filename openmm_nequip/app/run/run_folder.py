"""The output folder of a run: who may use it, what is in it, and checkpoints that are whole or not there."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openmm
import openmm.app as app

from ...errors import RunFolderError
from ...files import folder_obstacle
from ...sealed import Unsealed, seal, unseal
from .append_digests import AppendDigests
from .fresh_lists import drop_lists, settle

logger = logging.getLogger(__name__)

#: Stages in the order in which a run goes through them; each has its own checkpoint.
EQUILIBRATION = "equilibration"
PRODUCTION = "production"
_CHECKPOINTS = {EQUILIBRATION: "equilibration", PRODUCTION: "checkpoint"}


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to, and move it there when the block ends without an error."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


class RunFolder:
    """Names of the files of one run, and the writing of those that must never be half-written.

    Parameters
    ----------
    path : str or path-like
        The folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.provenance = self.path / "provenance.json"
        self.system = self.path / "system.xml"
        self.start = self.path / "start.pdb"
        self.log = self.path / "log.csv"
        self.stress = self.path / "stress.csv"
        self.deviation = self.path / "deviation.csv"
        self.selected = self.path / "selected.extxyz"
        self.text_log = self.path / "run.log"
        self.summary = self.path / "summary.json"
        self.final_pdb = self.path / "final.pdb"
        self.final_cif = self.path / "final.cif"
        self.final_state = self.path / "final-state.xml"
        self.failed = self.path / "failed.pdb"
        self.failed_current = self.path / "failed-current.cif"
        self.energy_picture = self.path / "energy.png"
        self.deviation_picture = self.path / "deviation.png"
        self.rdf_picture = self.path / "rdf.png"
        self.rdf_table = self.path / "rdf.csv"
        self.findings = self.path / "findings.json"
        #: Whether a checkpoint without a digest is taken for damaged; those of release 0.1 have none.
        self.sealed = True
        #: What the checkpoint that was loaded says of other files, and those that are others now.
        self.noted: dict[str, Any] = {}
        self.differing: list[str] = []
        tables = [self.log, self.stress, self.deviation, self.selected]
        self._written = AppendDigests([*tables, *(self.trajectory(suffix) for suffix in ("dcd", "xtc"))])

    def note_content(self, path: Path, content: Callable[[], list[Any]]) -> None:
        """Keep with each checkpoint what a function says of a file that does not only grow.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        content : callable
            Gives a list of plain data.
        """
        self._written.add(path.name, content)

    def set_aside(self, path: Path) -> Path:
        """Give a file another name, under which nothing reads it."""
        names = itertools.chain([f"damaged-{path.name}"], (f"damaged-{i}-{path.name}" for i in itertools.count(2)))
        aside = next(self.path / name for name in names if not (self.path / name).exists())
        return path.rename(aside)

    def trajectory(self, suffix: str) -> Path:
        """The trajectory in the format of this suffix."""
        return self.path / f"trajectory.{suffix}"

    @property
    def results(self) -> list[Path]:
        """What a run leaves behind that is read by others."""
        trajectories = [self.trajectory(suffix) for suffix in ("dcd", "xtc", "h5")]
        tables = [self.log, self.stress, self.rdf_table, self.deviation, self.selected]
        return [*tables, *trajectories, self.final_pdb, self.final_cif, self.final_state]

    def sweep(self) -> None:
        """Remove what a process that was killed had half written; nobody else is in the folder."""
        for path in self.path.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                path.unlink()

    def checkpoint(self, stage: str) -> tuple[Path, Path]:
        """OpenMM checkpoint and state XML of a stage."""
        name = _CHECKPOINTS[stage]
        return self.path / f"{name}.chk", self.path / f"{name}.xml"

    @property
    def holds_run(self) -> bool:
        """Whether a run has been here."""
        names = [self.config, self.log, self.system, self.summary, *self.checkpoint(PRODUCTION)]
        return any(path.exists() for path in [*names, *(self.trajectory(s) for s in ("dcd", "xtc", "h5"))])

    def claim(self) -> None:
        """Make the folder for a new run.

        Raises
        ------
        FileExistsError
            If a run is in it.
        ValueError
            If it cannot be made or written to.
        """
        if self.holds_run:
            raise FileExistsError(
                f"output folder {self.path} holds another run; give --restart to continue that one, or another --output"
            )
        self.make()

    def require_possible(self) -> None:
        """Refuse a name that can be no folder to write to; nothing is made.

        Raises
        ------
        ValueError
            With the reason.
        """
        reason = folder_obstacle(self.path)
        if reason:
            raise ValueError(f"output folder {self.path} {reason}")

    def make(self) -> None:
        """Make the folder itself.

        Raises
        ------
        ValueError
            If it cannot be made or written to.
        """
        self.require_possible()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"output folder {self.path} cannot be made: {error.strerror or error}") from error

    def require_run(self) -> None:
        """Raise ValueError unless there is a run to continue."""
        if not self.config.exists():
            raise ValueError(
                f"--restart: {self.path} holds no run to continue (no {self.config.name}); start one without --restart"
            )

    def write_text(self, path: Path, text: str) -> None:
        """Write a file in one go or not at all.

        Parameters
        ----------
        path : pathlib.Path
            One of the folder's names.
        text : str
            What to write, as UTF-8.
        """
        with written_atomically(path) as scratch:
            scratch.write_text(text, encoding="utf-8")

    def write_json(self, path: Path, value: Any) -> None:
        """Write a JSON document in one go or not at all.

        Parameters
        ----------
        path : pathlib.Path
            One of the folder's names.
        value
            JSON-ready.
        """
        self.write_text(path, json.dumps(value, indent=2) + "\n")

    def write_structure(self, path: Path, topology: app.Topology, positions: Any, box: Any = None) -> None:
        """Write PDB or mmCIF, by suffix, in one go or not at all.

        Parameters
        ----------
        path : pathlib.Path
            ``.pdb`` or ``.cif``.
        topology : openmm.app.Topology
            The atoms.
        positions : openmm.unit.Quantity
            Where they are.
        box : openmm.unit.Quantity, optional
            Box vectors, if they are not the topology's.
        """
        before = topology.getPeriodicBoxVectors()
        if before is not None and box is not None:
            topology.setPeriodicBoxVectors(box)
        try:
            with written_atomically(path) as scratch, open(scratch, "w", encoding="utf-8") as file:
                writer = app.PDBFile if path.suffix == ".pdb" else app.PDBxFile
                writer.writeFile(topology, positions, file, keepIds=True)
        finally:
            topology.setPeriodicBoxVectors(before)

    def save_checkpoint(self, simulation: app.Simulation, stage: str) -> None:
        """Replace the stage's checkpoint by the present state.

        On platforms whose sums have a fixed order, what is kept between steps is dropped with it: a run that goes on
        from here after a restart, and one that was never stopped, then take the same steps bit for bit.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            At a whole step.
        stage : str
            :data:`EQUILIBRATION` or :data:`PRODUCTION`.

        Raises
        ------
        OSError
            If it cannot be written; the checkpoint before it is untouched.
        """
        binary, xml = self.checkpoint(stage)
        content = simulation.context.createCheckpoint()
        state = simulation.context.getState(positions=True, velocities=True, parameters=True)
        facts = {"step": simulation.currentStep, "files": self._written.update()}
        with written_atomically(binary) as scratch:
            scratch.write_bytes(seal(content, facts))
        with written_atomically(xml) as scratch:
            scratch.write_bytes(seal(openmm.XmlSerializer.serialize(state).encode(), facts, xml=True))
        if stage == PRODUCTION:
            for path in self.checkpoint(EQUILIBRATION):
                path.unlink(missing_ok=True)
        drop_lists(simulation)

    def latest_stage(self) -> str | None:
        """The stage of the latest checkpoint, None if there is none yet."""
        for stage in (PRODUCTION, EQUILIBRATION):
            if any(path.exists() for path in self.checkpoint(stage)):
                return stage
        return None

    def require_checkpoint(self) -> None:
        """Refuse a run whose frames would be thrown away, because the checkpoints that they led to are gone.

        Raises
        ------
        RunFolderError
            If there are frames or rows, and no checkpoint of production.
        """
        if self.latest_stage() == PRODUCTION:
            return
        trajectories = [self.trajectory(suffix) for suffix in ("dcd", "xtc", "h5")]
        lost = [path.name for path in (self.log, *trajectories, self.final_state) if path.exists()]
        if lost:
            names = " and ".join(path.name for path in self.checkpoint(PRODUCTION))
            raise RunFolderError(
                f"--restart: {self.path} has {', '.join(lost)} but neither {names}, and starting over would discard "
                "them; put a copy of one of the two back, or start another run in another --output",
                str(self.path),
            )

    def steps_done(self) -> int:
        """Production steps up to the latest checkpoint, 0 if there is none."""
        for path in self.checkpoint(PRODUCTION):
            with contextlib.suppress(OSError, ValueError, openmm.OpenMMException):
                found = self._unsealed(path)
                if found.facts is not None:
                    return int(found.facts["step"])
                if path.suffix == ".xml":
                    return int(openmm.XmlSerializer.deserialize(found.content.decode()).getStepCount())
        return 0

    def _unsealed(self, path: Path) -> Unsealed:
        """A checkpoint or State without its seal; ValueError if it is damaged."""
        found = unseal(path.read_bytes(), path.suffix == ".xml")
        if found.facts is None and self.sealed:
            raise ValueError("damaged: its SHA-256 is missing")
        return found

    def load_checkpoint(self, simulation: app.Simulation, stage: str) -> bool:
        """Put a simulation back to where the stage's checkpoint was written.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            Of the same System.
        stage : str
            What :meth:`latest_stage` said.

        Returns
        -------
        bool
            True if the state of the random-number generators was restored as well; False if the checkpoint is of
            another platform, machine or OpenMM version and the portable state was used instead.

        Raises
        ------
        RunFolderError
            If neither can be read.
        """
        binary, xml = self.checkpoint(stage)
        try:
            found = self._unsealed(binary)
            simulation.context.loadCheckpoint(found.content)
            self._compare(found)
            settle(simulation)
            # Questions for the energy draw random numbers, where the integrator is a CustomIntegrator.
            simulation.context.loadCheckpoint(found.content)
            return True
        except (OSError, ValueError, openmm.OpenMMException) as error:
            reason = str(error)
        try:
            found = self._unsealed(xml)
            simulation.context.setState(openmm.XmlSerializer.deserialize(found.content.decode()))
        except (OSError, ValueError, openmm.OpenMMException) as error:
            raise RunFolderError(
                f"--restart: neither {binary} ({reason}) nor {xml} ({error}) can be read; put a copy of one of them "
                "back, or start another run in another --output",
                str(self.path),
            ) from error
        self._compare(found)
        settle(simulation)
        logger.warning(
            "checkpoint %s cannot be used here (%s): continuing from %s, with the same positions and velocities but "
            "new random numbers",
            binary,
            reason,
            xml.name,
        )
        return False

    def _compare(self, found: Unsealed) -> None:
        """Warn of what was written up to a checkpoint and is another now."""
        self.noted = (found.facts or {}).get("files", {})
        self.differing = self._written.differing(self.noted)
        for name in self.differing:
            logger.warning(
                "%s is not as the run wrote it: up to the last checkpoint its SHA-256 is another; averages and "
                "pictures made from it may be wrong",
                self.path / name,
            )
