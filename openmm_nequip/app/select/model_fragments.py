"""What of a hybrid frame becomes a frame to label: what the model saw, with its caps, or whole molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openmm.app as app
import torch

from ...choices import FORCE_NAME
from ...errors import RunFolderError, SavedSystemError
from ...evaluate.links import place_caps
from ...evaluate.placement import Placement
from ...hybrid.images import gather, image_distance, nearest_image
from ..run.run_config import RunConfig
from ..run.run_folder import RunFolder
from ..run.system_models import placements_of
from ..structures.bonds import find_molecules, nearest_images

CAPPED, MOLECULES = "capped", "molecules"
FRAGMENTS = (CAPPED, MOLECULES)


@dataclass(frozen=True, eq=False)
class Fragment:
    """Particles of a hybrid System that make a frame of their own.

    Parameters
    ----------
    region : int
        Number of the region.
    atoms : numpy.ndarray, (n_atoms,) int64
        Particles, in the order of the frame.
    symbols : tuple of str
        Elements of the atoms, then of the caps.
    cap_q, cap_m : numpy.ndarray, (n_caps,) int64
        Particles that each cap hangs on and stands for.
    cap_distances : numpy.ndarray, (n_caps,) float64
        nm from the first of them.
    """

    region: int
    atoms: np.ndarray
    symbols: tuple[str, ...]
    cap_q: np.ndarray
    cap_m: np.ndarray
    cap_distances: np.ndarray

    @property
    def particles(self) -> np.ndarray:
        """All particles that a frame must have, (n,) int64, sorted."""
        return np.unique(np.concatenate([self.atoms, self.cap_q, self.cap_m]))

    def place(self, positions: np.ndarray, particles: np.ndarray, box: np.ndarray | None) -> np.ndarray:
        """Positions of atoms and caps, in one piece.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            Of the particles that were read, nm.
        particles : numpy.ndarray, (n_particles,) int64
            Which these are, sorted.
        box : numpy.ndarray, (3, 3) float64, or None
            Rows are the box vectors, reduced.

        Returns
        -------
        numpy.ndarray, (n_atoms + n_caps, 3) float64
            nm.
        """
        atoms = positions[np.searchsorted(particles, self.atoms)]
        atoms = atoms if box is None else gather(atoms, box)
        if not len(self.cap_q):
            return atoms
        row = {particle: k for k, particle in enumerate(self.atoms.tolist())}
        q = np.array([row[particle] for particle in self.cap_q.tolist()], dtype=np.int64)
        outer = positions[np.searchsorted(particles, self.cap_m)]
        if box is not None:
            outer = atoms[q] + nearest_image(outer - atoms[q], box)
        both = torch.from_numpy(np.concatenate([atoms, outer]))
        m = torch.arange(len(atoms), len(both))
        caps = place_caps(both, torch.from_numpy(q), m, torch.from_numpy(np.asarray(self.cap_distances)))
        return np.concatenate([atoms, caps.numpy()])


def fragments_of(folder: RunFolder, config: RunConfig, topology: app.Topology, kind: str) -> list[Fragment]:
    """Fragments of a hybrid run.

    Parameters
    ----------
    folder : RunFolder
        Of the run; its System says which atoms the model saw, and where its caps are.
    config : RunConfig
        Its settings.
    topology : openmm.app.Topology
        All particles, with their bonds.
    kind : str
        One of :data:`FRAGMENTS`.

    Returns
    -------
    list of Fragment
        One for each region.

    Raises
    ------
    RunFolderError
        If the System does not tell.
    """
    where = str(folder.path)
    try:
        text = folder.system.read_text(encoding="utf-8")
        placements = placements_of(text, topology.getNumAtoms())
    except (OSError, UnicodeDecodeError, SavedSystemError) as error:
        raise RunFolderError(f"{folder.system} does not tell what the model describes: {error}", where) from error
    if not placements:
        raise RunFolderError(
            f"{folder.system} has no force {FORCE_NAME!r} of Python: a TorchForce does not tell which atoms its model "
            "describes. Write the fragments yourself and give the file, or run with --backend PythonForce",
            where,
        )
    elements = ["" if atom.element is None else atom.element.symbol for atom in topology.atoms()]
    capped = _regions(placements, elements, config.link_element)
    return capped if kind == CAPPED else [_molecules(fragment, topology, elements) for fragment in capped]


def _regions(placements: Sequence[Placement], elements: list[str], cap: str) -> list[Fragment]:
    """Regions of all models, each set of atoms once."""
    found: dict[tuple[int, ...], Fragment] = {}
    for placement in placements:
        atoms = np.arange(placement.n_particles) if placement.atoms is None else placement.atoms
        nodes = len(atoms) + placement.n_caps
        for members in placement.regions or (np.arange(nodes),):
            own, caps = atoms[members[members < len(atoms)]], members[members >= len(atoms)] - len(atoms)
            symbols = (*(elements[i] for i in own), *[cap] * len(caps))
            ends = placement.cap_q[caps], placement.cap_m[caps], placement.cap_distances[caps]
            found.setdefault(tuple(own.tolist()), Fragment(len(found), own, symbols, *ends))
    return list(found.values())


def _molecules(fragment: Fragment, topology: app.Topology, elements: list[str]) -> Fragment:
    """The whole molecules that a region touches, without particles that are no atoms."""
    pairs = np.array([(a.index, b.index) for a, b in topology.bonds()], dtype=np.int64).reshape(-1, 2)
    labels = find_molecules(len(elements), nearest_images(pairs, np.zeros((len(elements), 3)), None)).labels
    atoms = np.flatnonzero(np.isin(labels, labels[fragment.atoms]))
    atoms = np.array([i for i in atoms.tolist() if elements[i]], dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    return Fragment(fragment.region, atoms, tuple(elements[i] for i in atoms), none, none, np.zeros(0))


def described(fragments: Sequence[Fragment], kind: str) -> str:
    """What the frames of a hybrid run are, in words.

    Parameters
    ----------
    fragments : sequence of Fragment
        Of the run.
    kind : str
        One of :data:`FRAGMENTS`.

    Returns
    -------
    str
    """
    sizes = sorted({len(fragment.symbols) for fragment in fragments})
    atoms = f"{sizes[0]} atoms" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} atoms"
    count = "one region" if len(fragments) == 1 else f"{len(fragments)} regions, each a frame of its own"
    if kind == MOLECULES:
        return f"whole molecules around the model's atoms ({count}, {atoms}), cut out of the rest, not periodic"
    caps = sum(len(fragment.cap_q) for fragment in fragments)
    held = f"with {caps} link caps at the end" if caps else "without caps, as no bond is cut"
    return f"the model's atoms alone ({count}, {atoms}, {held}), cut out of the rest, not periodic"


def own_images(fragment: Fragment, positions: np.ndarray, box: np.ndarray | None) -> float:
    """Distance of a fragment from its own periodic images, nm; infinite without a box.

    Parameters
    ----------
    fragment : Fragment
        What is cut out.
    positions : numpy.ndarray, (n_nodes, 3) float64
        Its atoms and caps, nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors.

    Returns
    -------
    float
    """
    return float("inf") if box is None else image_distance(positions[: len(fragment.atoms)], box)
