"""Frames of run folders, trajectories and structure files, as candidates."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm.app as app

from ...errors import RunFolderError, StructureError, UsageError
from ...files import obstacle, parser_reason
from ...units import NM_PER_ANGSTROM
from ..accuracy.labelled_frames import LabelledFrame, frame_range, read_frames
from ..run.config_file import read_toml
from ..run.run_config import TRAJECTORIES, make_config
from ..run.run_folder import RunFolder
from ..run.run_record import refuse_damaged
from ..run.trajectory_files import count_frames
from ..run.trajectory_reading import load_trajectory
from ..structures.structure_files import read_structure
from .candidate import DEVIATION_KEY, Candidate
from .model_fragments import Fragment, described, fragments_of, own_images

logger = logging.getLogger(__name__)

#: Files that hold coordinates alone, and need a topology.
COORDINATES = (".dcd", ".xtc", ".trr", ".nc", ".h5")
#: Names of a deviation: that of a committee's run, and one in files of others.
DEVIATION_KEYS = (DEVIATION_KEY, "deviation")
#: Its mark of the atoms that the models describe.
_MODEL_ATOM = "model_atom"
WHOLE = "whole frames"


@dataclass(frozen=True)
class Reading:
    """How sources are read.

    Parameters
    ----------
    frames : str
        Which frames: ``all``, ``5``, ``10:100:5``.
    topology : str or None
        Structure file with the atoms of trajectories that have none.
    fragments : str
        One of :data:`.model_fragments.FRAGMENTS`, for hybrid runs.
    reach_nm : float
        Distance up to which atoms matter to each other.
    """

    frames: str = "all"
    topology: str | None = None
    fragments: str = "capped"
    reach_nm: float = 0.6


@dataclass(frozen=True, eq=False)
class FrameSource:
    """A file or folder and its frames.

    Parameters
    ----------
    name : str
        As it was named.
    candidates : list of Candidate
        In the order of the frames.
    part : str
        What of each frame they are, in words.
    kind : str
        The same in one word.
    notes : list of str
        What to know.
    """

    name: str
    candidates: list[Candidate]
    part: str = WHOLE
    kind: str = "whole"
    notes: list[str] = field(default_factory=list)


def read_source(name: str, reading: Reading) -> FrameSource:
    """Read a run folder, a trajectory, or a structure file with any number of frames.

    Parameters
    ----------
    name : str
        Folder or file.
    reading : Reading
        How.

    Returns
    -------
    FrameSource

    Raises
    ------
    RunFolderError, StructureError, UsageError, ValueError
        If there is nothing to read, or a topology is missing or another's.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _of_run(name, reading)
    problem = obstacle(path)
    if problem:
        raise StructureError(f"trajectory {name} {problem}", name)
    if path.suffix.lower() in COORDINATES:
        return _of_trajectory(name, path, reading)
    frames = read_frames(name, reading.frames)
    if any(_MODEL_ATOM in frame.known for frame in frames) and path.with_name("config.toml").exists():
        raise StructureError(
            f"{name} has whole frames of a run; give its folder {path.parent}, which tells the model's atoms and caps",
            name,
        )
    return FrameSource(name, [_of_frame(name, frame) for frame in frames])


def _of_frame(name: str, frame: LabelledFrame) -> Candidate:
    """Energies and forces of a frame are left out: whose they are is not known."""
    structure = frame.structure
    place = structure.positions_nm, structure.box_nm, structure.open_directions
    deviation = _deviation_in(frame.info, f"frame {frame.index} of {name}")
    return Candidate(name, frame.index, tuple(structure.symbols), *place, deviation=deviation)


def _deviation_in(info: Mapping[str, Any], where: str) -> float | None:
    """The deviation that a frame states."""
    for key in DEVIATION_KEYS:
        if key in info:
            return _number(info[key], f"{where}: {key}")
    return None


def _number(value: Any, what: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise StructureError(f"{what} is {str(value)[:40]!r}; a deviation is a number >= 0, in eV/Å")
    return found


def _of_trajectory(name: str, path: Path, reading: Reading) -> FrameSource:
    if reading.topology is None and path.suffix.lower() != ".h5":
        raise UsageError(f"{name} holds coordinates alone: give the structure of its atoms with --topology FILE")
    topology = app.Topology()
    if reading.topology is not None:
        topology = read_structure(reading.topology).topology
    frames = _load(name, path, topology, None)
    symbols = np.array(["" if is_no_atom(atom.element) else atom.element.symbol for atom in frames.topology.atoms])
    wanted = _wanted(name, len(frames), reading.frames)
    positions, boxes = _places(frames)
    real = np.flatnonzero(symbols != "")
    elements = tuple(symbols[real].tolist())
    sites = len(symbols) - len(real)
    notes = [f"{sites} particles without an element were left out: they are no atoms"] if sites else []
    found = [Candidate(name, i, elements, positions[i][real], boxes[i]) for i in wanted]
    return FrameSource(name, found, notes=notes)


def is_no_atom(element: Any) -> bool:
    """Whether mdtraj's element is that of a virtual site or an extra particle."""
    return element is None or element.number == 0


def _load(name: str, path: Path, topology: app.Topology, atoms: np.ndarray | None) -> Any:
    """A trajectory through mdtraj, whose errors are foreign."""
    if path.suffix[1:] in TRAJECTORIES and count_frames(path) == 0:
        raise StructureError(f"trajectory {name} has no whole frame, or is none of its suffix", name)
    try:
        return load_trajectory(path, topology, 1, atoms)
    except Exception as error:  # its readers raise anything on a foreign file
        raise StructureError(
            f"trajectory {name} cannot be read with {topology.getNumAtoms()} atoms ({parser_reason(error)}); give the "
            "--topology that belongs to it",
            name,
        ) from error


def _places(frames: Any) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Positions (n_frames, n_atoms, 3) float64 and boxes of mdtraj's frames, nm."""
    vectors = frames.unitcell_vectors
    boxes = [None] * len(frames) if vectors is None else [box.astype(np.float64) for box in vectors]
    return frames.xyz.astype(np.float64), boxes


def _wanted(name: str, count: int, text: str) -> range:
    wanted = range(count)[frame_range(text)]
    if not wanted:
        raise StructureError(f"trajectory {name} has {count} frames, and --frames {text} is none of them", name)
    return wanted


def _of_run(name: str, reading: Reading) -> FrameSource:
    """A run folder: its trajectory, and the frames that a committee kept, with the deviations it wrote."""
    folder = RunFolder(name)
    if not folder.config.exists():
        raise RunFolderError(f"{name} holds no run; give a folder that `run` has written, or a trajectory file", name)
    config = make_config(read_toml(folder.config))
    trajectory = next((folder.trajectory(s) for s in TRAJECTORIES if folder.trajectory(s).exists()), None)
    if not folder.start.exists() or (trajectory is None and not folder.selected.exists()):
        raise RunFolderError(f"{name} has no trajectory; let the run produce frames first", name)
    topology = app.PDBFile(str(folder.start)).topology
    fragments = [] if config.ml_atoms is None else fragments_of(folder, config, topology, reading.fragments)
    particles = np.unique(np.concatenate([f.particles for f in fragments])) if fragments else None
    cutter = _Cutter(name, topology, fragments, particles)
    found: list[Candidate] = []
    if trajectory is not None:
        refuse_damaged(folder, trajectory)
        known = read_deviations(folder.deviation)
        frames = _load(str(trajectory), trajectory, topology, particles)
        positions, boxes = _places(frames)
        for i in _wanted(str(trajectory), len(frames), reading.frames):
            # A run writes its first frame after so many steps of production.
            deviation = known.get((i + 1) * config.report_interval)
            found += cutter.cut(i, positions[i], boxes[i], deviation)
    kept = _kept(folder.selected, cutter)
    notes = [f"{len(kept)} frames are from {folder.selected}"] if kept else []
    found += kept
    if not fragments:
        return FrameSource(name, found, notes=notes)
    notes += cutter.notes_on(found[: len(fragments)], reading.reach_nm)
    return FrameSource(name, found, described(fragments, reading.fragments), reading.fragments, notes)


def _kept(path: Path, cutter: _Cutter) -> list[Candidate]:
    """Frames that a committee kept of a run, whole."""
    if not path.exists():
        return []
    found = []
    real = np.array([atom.index for atom in cutter.topology.atoms() if atom.element is not None], dtype=np.int64)
    for frame in read_frames(str(path)):
        if len(frame.structure.positions_nm) != len(real):
            raise StructureError(
                f"frame {frame.index} of {path} has {len(frame.structure.positions_nm)} atoms, the run {len(real)}; "
                "it is another run's",
                str(path),
            )
        # Particles that are no atoms are not in the file, and in no fragment.
        positions = np.full((cutter.topology.getNumAtoms(), 3), np.nan)
        positions[real] = frame.structure.positions_nm
        chosen = positions if cutter.particles is None else positions[cutter.particles]
        deviation = _deviation_in(frame.info, f"frame {frame.index} of {path}")
        cut = cutter.cut(frame.index, chosen, frame.structure.box_nm, deviation)
        found += [replace(candidate, source=str(path)) for candidate in cut]
    return found


@dataclass(frozen=True, eq=False)
class _Cutter:
    """Makes candidates of the frames of a run."""

    name: str
    topology: app.Topology
    fragments: Sequence[Fragment]
    particles: np.ndarray | None

    def cut(
        self, index: int, positions: np.ndarray, box: np.ndarray | None, deviation: float | None
    ) -> list[Candidate]:
        """The whole frame, or its fragments; positions (n, 3) and box (3, 3) in nm."""
        if self.particles is None:
            symbols = tuple("" if atom.element is None else atom.element.symbol for atom in self.topology.atoms())
            return [Candidate(self.name, index, symbols, positions, box, deviation=deviation)]
        return [
            Candidate(
                self.name, index, each.symbols, each.place(positions, self.particles, box), None,
                region=each.region, caps=len(each.cap_q), deviation=deviation,
            )
            for each in self.fragments
        ]  # fmt: skip

    def notes_on(self, first: Sequence[Candidate], reach_nm: float) -> list[str]:
        """What to know of fragments, from those of the first frame."""
        box = self.topology.getPeriodicBoxVectors()
        vectors = None if box is None else np.array(box.value_in_unit(app.internal.unitcell.nanometers))
        notes = []
        for fragment, candidate in zip(self.fragments, first, strict=False):
            near = own_images(fragment, candidate.positions_nm, vectors)
            if near < reach_nm:
                notes.append(
                    f"region {fragment.region} comes within {near / NM_PER_ANGSTROM:.1f} Å of its periodic image, "
                    "which a label of the fragment alone knows nothing of"
                )
        return notes


def read_deviations(path: Path) -> dict[int, float]:
    """Deviations of a committee by step, from its log; none where there is no log.

    Parameters
    ----------
    path : pathlib.Path
        CSV file with the columns ``step`` and ``deviation_ev_per_angstrom``.

    Returns
    -------
    dict of int to float
        eV/Å.

    Raises
    ------
    StructureError
        If it has other columns, or a value that is none.
    """
    if not path.exists():
        return {}
    found: dict[int, float] = {}
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        names = rows.fieldnames or []
        key = next((key for key in DEVIATION_KEYS if key in names), None)
        if key is None or "step" not in names:
            raise StructureError(
                f"{path} has the columns {', '.join(names) or 'none'}; step and {DEVIATION_KEYS[0]} are expected",
                str(path),
            )
        for number, row in enumerate(rows, 2):
            found[round(_number(row["step"], f"{path}:{number}: step"))] = _number(row[key], f"{path}:{number}: {key}")
    return found
